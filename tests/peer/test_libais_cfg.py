"""libais.cfg as a client of stock corosync and of ours."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator

import pytest

from libais import cfg, cmap, errors
from libais.cfg import ShutdownFlag, ShutdownReply
from tests.conftest import NewCluster, need
from tests.harness.inside import inside
from tests.harness.node import PATIENCE, Node
from tests.harness.rings import Rings


@pytest.fixture(scope="module", params=["ss", "aa"])
def mix(request: pytest.FixtureRequest) -> str:
    """The kinds of nodes; of the module, so that a ring serves all tests before the next one is made."""
    return str(request.param)


@pytest.fixture
def node(mix: str, rings: Rings) -> Node:
    """The first node of a ring of two."""
    need(mix)
    return rings.get(mix, "udpu")[1]


def connect(node: Node, shutdown: cfg.ShutdownCallback | None = None) -> cfg.Handle:
    with inside(node):
        return cfg.Handle(shutdown, retry_for=PATIENCE)


@pytest.fixture
def handle(node: Node) -> Iterator[cfg.Handle]:
    with connect(node) as connected:
        yield connected


def test_state(node: Node, handle: cfg.Handle) -> None:
    own = node.host.address
    other = own.rpartition(".")[0] + ".2"
    assert handle.local_get() == 1
    assert handle.ring_status_get() == (cfg.RingStatus(f"0 {own}", "OK"),)
    assert handle.get_node_addrs() == (ipaddress.ip_address(own),)
    assert handle.get_node_addrs(2) == (ipaddress.ip_address(other),)
    with pytest.raises(errors.NotExistError, match="node 99"):
        handle.get_node_addrs(99)
    status = handle.node_status_get(2)
    assert (status.nodeid, status.reachable, len(status.links)) == (2, True, 8)
    link = status.links[0]
    assert (link.enabled, link.connected, link.source) == (True, True, other)
    assert [each.enabled for each in status.links[1:]] == [False] * 7
    assert not handle.node_status_get(99).reachable


def test_what_is_refused(handle: cfg.Handle) -> None:
    with pytest.raises(errors.NotExistError, match="kill_node 99"):
        handle.kill_node(99, "nobody")
    with pytest.raises(errors.NameTooLongError):
        handle.kill_node(99, "x" * 256)
    with pytest.raises(errors.NotSupportedError):
        handle.ring_reenable()
    with pytest.raises(errors.AccessError):
        handle.replyto_shutdown(ShutdownReply.YES)
    for wrong in (-1, 2**32):
        with pytest.raises(errors.InvalidParamError):
            handle.node_status_get(wrong)


def test_reload_and_reopen(node: Node, handle: cfg.Handle) -> None:
    handle.reload_config()
    moved = node.log.path.with_name("moved")
    node.log.path.rename(moved)
    try:
        handle.reopen_log_files()
        assert node.log.path.exists()
    finally:
        # The harness reads the log from where it was.
        moved.write_bytes(moved.read_bytes() + node.log.path.read_bytes())
        moved.replace(node.log.path)
        handle.reopen_log_files()


def in_background(call: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Begin a call that waits for an answer; the result waits for its end and gives its exception."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except errors.CsException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> BaseException | None:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return raised[0]

    return result


def test_an_objection_prevents_a_shutdown(node: Node, handle: cfg.Handle) -> None:
    with connect(node) as objector, connect(node) as friend:
        objector.trackstart()
        objector.trackstart()
        friend.trackstart()
        result = in_background(handle.try_shutdown)
        for tracker, reply in ((objector, ShutdownReply.NO), (friend, ShutdownReply.YES)):
            assert next(tracker.events(PATIENCE)) == cfg.Shutdown(ShutdownFlag.REQUEST)
            tracker.replyto_shutdown(reply)
        assert isinstance(result(), errors.BusyError)
        friend.trackstop()
    assert node.running


def test_silence_prevents_a_shutdown(node: Node, handle: cfg.Handle) -> None:
    asked: list[cfg.Shutdown] = []
    with inside(node), cmap.Handle() as keys:
        keys.set_uint32("cfg.shutdown_timeout", 500)
        with connect(node, lambda _, question: asked.append(question)) as silent, connect(node) as keen:
            silent.trackstart()
            keen.trackstart()
            result = in_background(keen.try_shutdown)
            silent.dispatch(cfg.Dispatch.ONE)
            with pytest.raises(errors.ExistError):
                handle.try_shutdown()
            assert isinstance(result(), errors.BusyError)
            # Having asked for the shutdown, it is told of the end; the other one is not.
            assert next(keen.events(PATIENCE)) == cfg.Shutdown(ShutdownFlag.REQUEST, timed_out=True)
            silent.local_get()
            silent.dispatch()
        keys.delete("cfg.shutdown_timeout")
    assert asked == [cfg.Shutdown(ShutdownFlag.REQUEST)]
    assert node.running


@pytest.mark.parametrize("kind", ["s", "a"])
def test_killing_and_shutting_down(kind: str, new_cluster: NewCluster) -> None:
    cluster = new_cluster(kind * 3)
    cluster.start()
    with connect(cluster[1]) as handle:
        handle.kill_node(2, "because")
        cluster[2].wait()
        cluster.wait_formed([1, 3])
        with connect(cluster[3]) as third, connect(cluster[3]) as objector:
            objector.trackstart()
            result = in_background(lambda: third.try_shutdown(ShutdownFlag.REGARDLESS))
            assert next(objector.events(PATIENCE)) == cfg.Shutdown(ShutdownFlag.REGARDLESS)
            objector.replyto_shutdown(ShutdownReply.NO)
            assert result() is None
        assert cluster[3].wait() == 0
        handle.try_shutdown(ShutdownFlag.IMMEDIATE)
    assert cluster[1].wait() == 0
