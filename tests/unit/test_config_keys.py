"""The configuration as keys of cmap: a table of what corosync 3.1.7 has put there for the same file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import NamedTuple

from aisexec.config.effective import effective
from aisexec.config.keys import configuration_keys
from aisexec.config.load import load
from aisexec.config.machine import Machine, resolve
from aisexec.icmap import Value, ValueType

FILE = """
totem {
    version: 2
    cluster_name: lab
    transport: TRANSPORT
    token: 1000
    config_version: 7
    token_coefficient: 100
    knet_compression_level: -3
    interface {
        linknumber: 0
        mcastport: 5410
    }
}
nodelist {
    node {
        name: one
        ring0_addr: 10.77.0.1
        nodeid: 1
    }
    node {
        name: two
        ring0_addr: 10.77.0.2
        quorum_votes: 3
    }
}
quorum {
    provider: corosync_votequorum
    two_node: 0
    device {
        model: net
        votes: 1
        net {
            host: qnetd
        }
    }
}
logging {
    to_stderr: no
    logger_subsys {
        subsys: QUORUM
        debug: on
        debug: off
    }
}
uidgid {
    uid: 65534
    gid: 4711
}
resources {
    watchdog_timeout: 6
    system {
        load_15min {
            max: 9.5
            poll_period: 2500
        }
    }
}
pload {
    count: 100
}
"""

WRITTEN = """
logging.logger_subsys.QUORUM.debug STRING on
logging.logger_subsys.QUORUM.subsys STRING QUORUM
logging.to_stderr STRING no
nodelist.local_node_pos U32 1
nodelist.node.0.name STRING one
nodelist.node.0.nodeid U32 1
nodelist.node.0.ring0_addr STRING 10.77.0.1
nodelist.node.1.name STRING two
nodelist.node.1.nodeid U32 172818434
nodelist.node.1.quorum_votes U32 3
nodelist.node.1.ring0_addr STRING 10.77.0.2
pload.count STRING 100
quorum.device.model STRING net
quorum.device.net.host STRING qnetd
quorum.device.votes U32 1
quorum.provider STRING corosync_votequorum
quorum.two_node U8 0
resources.system.load_15min.max STRING 9.5
resources.system.load_15min.poll_period U64 2500
resources.watchdog_timeout U32 6
totem.cluster_name STRING lab
totem.config_version U64 7
totem.interface.0.bindnetaddr STRING 10.77.0.2
totem.interface.0.mcastport U16 5410
totem.knet_compression_level I32 -3
totem.token U32 1000
totem.token_coefficient U32 100
totem.transport STRING TRANSPORT
totem.version U32 2
uidgid.config.gid.4711 U8 1
uidgid.config.uid.65534 U8 1
"""

UDP_ONLY = """
totem.interface.0.mcastaddr STRING 239.192.2.214
"""

IN_FORCE = {
    "block_unlisted_ips": 1,
    "cancel_token_hold_on_retransmit": 0,
    "consensus": 1200,
    "hold": 180,
    "interface.0.knet_ping_interval": 250,
    "interface.0.knet_ping_timeout": 500,
    "knet_compression_level": -3,
    "knet_pmtud_interval": 30,
    "token": 1000,
    "token_retransmit": 238,
    "window_size": 50,
}


class Address(NamedTuple):
    """Of this machine."""

    name: str
    flags: int
    address: ipaddress.IPv4Address
    prefix: int


def keys_of(tmp_path: Path, text: str) -> dict[str, Value]:
    path = tmp_path / "corosync.conf"
    path.write_text(text)
    loaded = load(str(path))
    machine = Machine("two", [Address("eth0", 1, ipaddress.IPv4Address("10.77.0.2"), 24)], resolve)
    config = effective(loaded, machine)
    assert config is not None, loaded.errors
    return configuration_keys(loaded, config)


def shown(keys: dict[str, Value]) -> list[str]:
    lines = []
    for key, value in sorted(keys.items()):
        content = value.text if value.type is ValueType.STRING else value.number
        lines.append(f"{key} {value.type.name} {content}")
    return lines


def test_keys_and_types_are_corosyncs(tmp_path: Path) -> None:
    for transport, more in (("udpu", ""), ("udp", UDP_ONLY)):
        keys = keys_of(tmp_path, FILE.replace("TRANSPORT", transport))
        in_force = {key: keys.pop(key) for key in list(keys) if key.startswith("runtime.config.totem.")}
        expected = (WRITTEN + more).replace("TRANSPORT", transport).split("\n")
        assert shown(keys) == sorted(line for line in expected if line)
        for name, number in IN_FORCE.items():
            assert in_force[f"runtime.config.totem.{name}"].number == number


def test_a_daemons_logging_is_named_after_it(tmp_path: Path) -> None:
    daemon = """
logging {
    logging_daemon {
        name: corosync
        subsys: CPG
        debug: on
    }
    logging_daemon {
        name: pacemaker
        to_syslog: no
    }
}
"""
    keys = keys_of(tmp_path, FILE.replace("TRANSPORT", "udpu") + daemon)
    assert keys["logging.logger_subsys.CPG.debug"].text == "on"
    assert keys["logging.logger_subsys.CPG.subsys"].text == "CPG"
    assert keys["logging.logging_daemon.pacemaker.to_syslog"].text == "no"
    assert keys["logging.logging_daemon.pacemaker.name"].text == "pacemaker"


def test_members_of_an_interface_are_counted_from_the_last(tmp_path: Path) -> None:
    interface = """        member {
            memberaddr: 10.77.0.1
        }
        member {
            memberaddr: 10.77.0.2
        }
"""
    text = FILE.replace("TRANSPORT", "udpu").replace("        mcastport: 5410\n", interface)
    keys = keys_of(tmp_path, text)
    assert keys["totem.interface.0.member.0"].text == "10.77.0.2"
    assert keys["totem.interface.0.member.1"].text == "10.77.0.1"
