"""Reloading the configuration of running nodes, ours and corosync's, with stock's corosync-cfgtool -R."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NewCluster
from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.node import PATIENCE, Node
from tests.harness.wait import wait_until

INVALID_PARAM = 7
RESTART = "takes effect when the executive is restarted"


def reload(node: Node) -> tuple[int, str]:
    """Exit status and all output of corosync-cfgtool -R."""
    program = node.popen(["corosync-cfgtool", "-R"], stderr=subprocess.STDOUT)
    output, _ = program.communicate(timeout=PATIENCE)
    return program.returncode, output


def edit(cluster: Cluster, change: Callable[[str], str]) -> None:
    """Change the files of all nodes."""
    for node in cluster.nodes.values():
        node.configuration.write_text(change(node.configuration.read_text()))


def replace(old: str, new: str) -> Callable[[str], str]:
    """A change that must be possible."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def value(node: Node, key: str) -> str:
    """Of a key of cmap."""
    return node.run(["corosync-cmapctl", "-g", key]).strip().partition(" = ")[2]


def wait_value(node: Node, key: str, wanted: str) -> None:
    """Nodes that corosync or another node has ordered to reload are in no hurry."""
    wait_until(lambda: value(node, key) == wanted, PATIENCE, lambda: f"{key} is {value(node, key)} on {node}")


def wait_log(node: Node, text: str) -> None:
    wait_until(lambda: text in node.log.text(0), PATIENCE, lambda: f"{text!r} in\n{node.log.text(0)[-3000:]}")


TOKEN = "runtime.config.totem.token"


@pytest.mark.parametrize(("mix", "asked"), [("aa", 1), ("as", 1), ("as", 2)])
def test_timeouts_change_on_all_nodes(mix: str, asked: int, new_cluster: NewCluster) -> None:
    cluster = new_cluster(mix)
    cluster.start()
    ring = cluster[1].membership()
    edit(cluster, replace("token: 1000", "token: 700\n    netmtu: 1400"))
    assert reload(cluster[asked]) == (0, "Reloading corosync.conf...\nDone\n")
    for node in cluster.nodes.values():
        wait_value(node, TOKEN, "700")
    wait_log(cluster[1], "changes: 1 in force now, 1 after a restart, 0 without effect; 0 errors")
    wait_log(cluster[1], f"{cluster[1].configuration}:5: totem.token: 1000 -> 700: in force now")
    wait_log(cluster[1], f"totem.netmtu: not written -> 1400: {RESTART}")
    assert cluster[1].membership() == ring
    cluster[2].kill()
    cluster.wait_formed([1])
    wait_log(cluster[1], "token timed out (700ms), waiting 840ms for consensus")


@pytest.mark.parametrize(("mix", "broken"), [("aaa", 1), ("aaa", 3), ("saa", 2), ("saa", 3)])
def test_one_broken_file_and_nothing_changes_anywhere(mix: str, broken: int, new_cluster: NewCluster) -> None:
    """Node 2 is asked; it is of our kind, so corosync's nodes are not even told."""
    cluster = new_cluster(mix)
    cluster.start()
    edit(cluster, replace("token: 1000", "token: 700"))
    path = cluster[broken].configuration
    path.write_text(path.read_text().replace("token: 700", "token: 7oo\n    window_siz: 3"))
    asked = cluster[2]
    status, output = reload(asked)
    assert status == INVALID_PARAM
    assert "CS_ERR_INVALID_PARAM" in output
    wait_log(asked, f"{path}:5: totem.token: '7oo'")
    wait_log(asked, f"{path}:6: unknown key 'window_siz'")
    wait_log(asked, "2 errors in")
    for node in cluster.nodes.values():
        assert value(node, TOKEN) == "1650"
        assert "onfiguration reloaded" not in node.log.text(0)
    assert value(asked, "config.reload_status") == str(INVALID_PARAM)
    path.write_text(path.read_text().replace("7oo\n    window_siz: 3", "700"))
    assert reload(asked)[0] == 0
    for node in cluster.nodes.values():
        wait_value(node, TOKEN, "1350")


def test_a_broken_file_beside_corosync_concerns_that_node_only(new_cluster: NewCluster) -> None:
    """When corosync is asked, each node is for itself, as among nodes of corosync."""
    cluster = new_cluster("sa")
    cluster.start()
    edit(cluster, replace("token: 1000", "token: 700"))
    path = cluster[2].configuration
    path.write_text(path.read_text() + "quorum {\n")
    assert reload(cluster[1])[0] == 0
    assert value(cluster[1], TOKEN) == "700"
    wait_log(cluster[2], "Configuration not reloaded: 1 error in this node's configuration file")
    assert value(cluster[2], TOKEN) == "1000"


def wait_expected_votes(node: Node, votes: int) -> None:
    wanted = f"Expected votes:   {votes}\n"
    wait_until(lambda: wanted in node.popen(["corosync-quorumtool"]).communicate()[0], PATIENCE, wanted)


NODE_3 = 'node {{\n    nodeid: 3\n    name: node3\n    ring0_addr: {}\n}}\n'


@pytest.mark.parametrize(
    ("mix", "transport"), [("aaa", "udpu"), ("asa", "udpu"), ("aas", "udpu"), ("aas", "udp")]
)
def test_a_node_is_added_and_taken_away(mix: str, transport: str, new_cluster: NewCluster) -> None:
    add_and_take_away(new_cluster(mix, Settings(transport=transport)))


def test_a_node_is_added_to_an_encrypted_ring(new_cluster: NewCluster, tmp_path: Path) -> None:
    key = tmp_path / "authkey"
    key.touch(0o400)
    key.write_bytes(bytes(range(256)))
    totem = {"token": 1000, "secauth": "on", "keyfile": key}
    add_and_take_away(new_cluster("aaa", Settings(totem=totem)))


def add_and_take_away(cluster: Cluster) -> None:
    """Node 3 of three."""
    section = NODE_3.format(cluster[3].host.address)
    edit(cluster, lambda text: text.replace(section, ""))
    cluster[1].start()
    cluster[2].start()
    cluster.wait_formed([1, 2])
    edit(cluster, replace("nodelist {\n", "nodelist {\n" + section))
    assert reload(cluster[1])[0] == 0
    for node in (cluster[1], cluster[2]):
        wait_value(node, TOKEN, "1650")
        wait_value(node, "runtime.votequorum.ev_barrier", "3")
    cluster[3].start()
    cluster.wait_formed([1, 2, 3])
    assert "nodeid: 3 reachable" in cluster[1].run(["corosync-cfgtool", "-n"])

    assert cluster[3].stop() == 0
    cluster.wait_formed([1, 2])
    edit(cluster, replace(section, ""))
    assert reload(cluster[1])[0] == 0
    for node in (cluster[1], cluster[2]):
        wait_value(node, TOKEN, "1000")
        wait_expected_votes(node, 2)
    assert "nodeid: 3" not in cluster[1].run(["corosync-cfgtool", "-s"])


def test_an_address_that_changes_is_an_error(new_cluster: NewCluster) -> None:
    cluster = new_cluster("aa")
    cluster.start()
    edit(cluster, replace(f"ring0_addr: {cluster[2].host.address}", "ring0_addr: 10.77.0.99"))
    cluster[2].configuration.write_text(
        cluster[2].configuration.read_text().replace("10.77.0.99", cluster[2].host.address)
    )
    assert reload(cluster[1])[0] == INVALID_PARAM
    wait_log(cluster[1], "node 2 has another address, 10.77.0.99")


def test_log_and_users_change_too(new_cluster: NewCluster) -> None:
    cluster = new_cluster("a")
    node = cluster[1]
    cluster.start()
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "corosync-cfgtool"]
    program = node.popen([*as_nobody, "-a", "1"], stderr=subprocess.STDOUT)
    assert "error" in program.communicate(timeout=PATIENCE)[0]
    logfile = node.directory / "log2"
    edit(cluster, replace(f"logfile: {node.log.path}", f"logfile: {logfile}\n    debug: on"))
    directory = node.directory / "uidgid.d"
    directory.mkdir()
    (directory / "nobody").write_text("uidgid {\n    uid: 65534\n}\n")
    assert reload(node)[0] == 0
    assert node.host.address in node.run([*as_nobody, "-a", "1"])
    wait_until(logfile.exists, PATIENCE, "the new log file")
    node.run(["corosync-cfgtool", "-L"])
    reopening = "debug   [CFG   ] Reopening logging files"
    wait_until(lambda: reopening in logfile.read_text(), PATIENCE, "debug lines")
    (directory / "nobody").unlink()
    assert reload(node)[0] == 0
    program = node.popen([*as_nobody, "-a", "1"], stderr=subprocess.STDOUT)
    assert "error" in program.communicate(timeout=PATIENCE)[0]


def test_a_program_changes_a_timeout_in_cmap(new_cluster: NewCluster) -> None:
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        node = cluster[1]
        seen = []
        for arguments in (
            ["-s", "totem.token", "u32", "2000"],
            ["-s", "totem.token_retransmits_before_loss_const", "u32", "10"],
            ["-d", "totem.token"],
            ["-s", "totem.block_unlisted_ips", "str", "no"],
        ):
            node.run(["corosync-cmapctl", *arguments])
            for key in ("token", "token_retransmit", "hold", "consensus"):
                seen.append(value(node, f"runtime.config.totem.{key}"))
        seen += [value(node, "runtime.config.totem.block_unlisted_ips")]
        transcripts.append(seen)
    assert transcripts[0] == transcripts[1]


def test_a_log_file_that_cannot_be_written(new_cluster: NewCluster) -> None:
    cluster = new_cluster("a")
    cluster.start()
    node = cluster[1]
    edit(cluster, replace(f"logfile: {node.log.path}", "logfile: /no/such/directory/log"))
    line = node.configuration.read_text().splitlines().index("    logfile: /no/such/directory/log") + 1
    assert reload(node)[0] == INVALID_PARAM
    wait_log(node, f"{node.configuration}:{line}: can't open logfile '/no/such/directory/log'")
