"""Files of older versions, and our own examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aisexec.config import effective, load
from tests.unit.config_support import address, addresses_list, derived, machine, messages

ROOT = Path(__file__).resolve().parents[2]

OPENAIS = """
totem {
	version: 2
	secauth: off
	threads: 0
	interface {
		ringnumber: 0
		bindnetaddr: 192.0.2.0
		mcastaddr: 226.94.1.1
		mcastport: 5405
	}
}
logging {
	debug: off
	timestamp: on
	logger {
		ident: AMF
		debug: off
		tags: enter|leave|trace1
	}
}
amf {
	mode: disabled
}
aisexec {
	user: root
	group: root
}
service {
	name: openais_clm
	ver: 0
}
"""

COROSYNC_1 = """
compatibility: whitetank
totem {
	version: 2
	secauth: off
	threads: 0
	rrp_mode: passive
	interface {
		ringnumber: 0
		bindnetaddr: 192.0.2.0
		mcastaddr: 239.255.1.1
		mcastport: 5405
		ttl: 1
	}
	interface {
		ringnumber: 1
		bindnetaddr: 198.51.100.0
		mcastaddr: 239.255.2.1
		mcastport: 5407
		ttl: 1
	}
}
logging {
	fileline: off
	to_stderr: no
	to_syslog: yes
	debug: off
	timestamp: on
	logger_subsys {
		subsys: AMF
		debug: off
	}
}
"""

COROSYNC_1_UDPU = """
compatibility: whitetank
totem {
	version: 2
	secauth: off
	interface {
		member {
			memberaddr: 192.0.2.1
		}
		member {
			memberaddr: 192.0.2.2
		}
		ringnumber: 0
		bindnetaddr: 192.0.2.0
		mcastport: 5405
		ttl: 1
	}
	transport: udpu
}
"""

COROSYNC_3_KNET = """
totem {
	version: 2
	cluster_name: pve
	config_version: 7
	ip_version: ipv4-6
	link_mode: passive
	secauth: on
	interface {
		linknumber: 0
		knet_link_priority: 10
	}
	interface {
		linknumber: 1
		knet_transport: sctp
		knet_ping_interval: 200
	}
}
nodelist {
	node {
		name: node1
		nodeid: 1
		quorum_votes: 1
		ring0_addr: 192.0.2.1
	}
}
quorum {
	provider: corosync_votequorum
}
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "corosync.conf"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("text", [OPENAIS, COROSYNC_1])
def test_old_multicast_file_needs_a_transport_and_nodes_only(tmp_path: Path, text: str) -> None:
    loaded = load(write(tmp_path, text), {})
    effective(loaded, machine())
    assert [p.what.split(",")[0] for p in loaded.errors] == ["no nodes are listed", "no transport is given"]
    mended = text.replace("\ttotem {", "totem {").replace("version: 2", "version: 2\n\ttransport: udp")
    config = derived(load(write(tmp_path, mended + addresses_list(2)), {}))
    assert config.network.mcast_address in ("226.94.1.1", "239.255.1.1")
    assert config.network.port == 5405


def test_old_unicast_file_names_the_nodelist_to_write(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, COROSYNC_1_UDPU), {})
    found = messages(loaded)
    assert "write nodelist { node { ring0_addr: 192.0.2.1 nodeid: 1 } ... }" in found[0]
    assert len(loaded.errors) == 1


def test_knet_file_has_one_error_and_works_over_udpu_without_encryption(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, COROSYNC_3_KNET), {})
    effective(loaded, machine())
    assert [p.what.split(",")[0] for p in loaded.errors] == ["no transport is given"]
    mended = COROSYNC_3_KNET.replace("secauth: on", "secauth: off\n\ttransport: udpu")
    mended = mended.replace("knet_link_priority: 10", "")
    config = derived(load(write(tmp_path, mended), {}))
    assert (config.config_version, config.cluster_name) == (7, "pve")


@pytest.mark.parametrize("name", ["corosync.conf.example", "corosync.conf.example.udp"])
def test_our_examples_can_be_used(name: str) -> None:
    loaded = load(str(ROOT / "etc" / name), {})
    on = replace(machine("node1", (address("eth0", "192.0.2.1/24"),)), read_key=lambda path: bytes(256))
    config = effective(loaded, on)
    assert config is not None
    assert not loaded.problems.found
    assert config.network.nodeid == 1
    assert config.network.security is not None
    assert config.quorum.provider == "corosync_votequorum"
