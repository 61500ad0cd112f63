"""Contradictions that show in the file alone, whatever the machine."""

from __future__ import annotations

from aisexec.config.grammar import Section
from aisexec.config.network import link_number
from aisexec.config.problems import Problems
from aisexec.config.schema import Values, keys
from aisexec.config.security import check_crypto

SERVED = ("udp", "udpu")
"""Transports of this version."""


def check_sections(root: Section, problems: Problems) -> None:
    """Report sections that must not be repeated."""
    for section in root.named("nodelist")[1:]:
        # corosync numbers the nodes of each from 0, so that later ones take the place of earlier ones.
        first = root.named("nodelist")[0].where
        what = f"a second nodelist (the first is at {first})"
        problems.error(section.where, what, "write one with all nodes")


def check_values(root: Values, problems: Problems) -> None:
    """Report what cannot be used as it is written."""
    _check_transport(root, problems)
    check_crypto(root, problems)
    _check_interfaces(root, problems)
    _check_nodelist(root, problems)
    _note_ignored(root, problems)
    _note_ipc(root, problems)


def _check_transport(root: Values, problems: Problems) -> None:
    totem = root.one("totem")
    if totem.value("transport") in SERVED or "transport" in totem.wrong:
        return
    if totem.given("transport"):
        what = "transport knet is not served by this version"
    else:
        what = "no transport is given, which means knet (as in corosync 3); this version serves udp and udpu"
    write = "write 'transport: udpu' (each node by its address) or 'transport: udp' (multicast), on all nodes"
    problems.error(totem.where_of("transport"), what, write)


def _check_interfaces(root: Values, problems: Problems) -> None:
    totem = root.one("totem")
    sections = totem.all("interface")
    named = {0}
    for section in sections:
        link = link_number(section)
        key = "linknumber" if section.given("linknumber") else "ringnumber"
        if link >= 8:
            problems.error(
                section.where_of(key),
                f"interface ring number {link} is bigger than allowed maximum 7",
                "write 'linknumber: 0'",
            )
        elif link > 0 and totem.value("transport") in SERVED:
            _further_interface(section, key, link, problems)
        named.add(link)
        if section.value("knet_link_priority") != 1 and totem.value("transport") in SERVED:
            problems.error(
                section.where_of("knet_link_priority"),
                f"can only set link priority on knet transport type for interface {link}",
                "remove it",
            )
        if section.given("bindnetaddr") and root.one("nodelist").all("node"):
            problems.warning(
                section.where_of("bindnetaddr"),
                "interface section bindnetaddr is used together with nodelist",
                "the nodelist one is used: remove it",
            )
        if section.all("member"):
            problems.warning(
                section.all("member")[0].where, "member sections are ignored", "write a nodelist instead"
            )


def _further_interface(section: Values, key: str, link: int, problems: Problems) -> None:
    if key == "ringnumber":
        # corosync 3 does not know ringnumber and takes such a section for one more of interface 0.
        what = f"ring {link} is not used: redundant rings need transport knet"
        problems.warning(section.where, what, "remove the section")
    elif section.given("bindnetaddr"):
        problems.error(
            section.where,
            f"interface {link}: too many configured interfaces for non-Knet transport",
            "udp and udpu have one interface: remove the section",
        )
    else:
        problems.warning(
            section.where, f"interface {link} is not used by udp and udpu", "remove the section"
        )


def _check_nodelist(root: Values, problems: Problems) -> None:
    nodes = root.one("nodelist").all("node")
    if not nodes:
        members = [
            member.value("memberaddr")[-1]
            for interface in root.one("totem").all("interface")
            for member in interface.all("member")
            if member.value("memberaddr")
        ]
        example = members[0] if members else "ADDRESS"
        problems.error(
            root.one("nodelist").where,
            "no nodes are listed, so no valid name is found for the local host",
            f"write nodelist {{ node {{ ring0_addr: {example} nodeid: 1 }} ... }}, a line for each key,"
            " with a node section for every node of the cluster",
        )


def _note_ignored(root: Values, problems: Problems) -> None:
    totem = root.one("totem")
    if totem.given("nodeid"):
        problems.warning(
            totem.where_of("nodeid"),
            "nodeid in totem section is deprecated and ignored",
            "the nodeid of the nodelist (or one made from the address) is used",
        )
    old = [
        info.key
        for info in keys()
        if info.section == "totem" and info.change == "ignored" and info.key != "nodeid"
    ]
    for key in old:
        if totem.given(key):
            problems.warning(
                totem.where_of(key), f"totem.{key} of an older version has no effect", "remove it"
            )
    for section in (root.one("timeout"), totem.one("timeout")):
        if section.written:
            problems.warning(
                section.where, "section timeout is the old form", "write its keys in section totem"
            )
    logging = root.one("logging")
    if logging.given("logoutput"):
        problems.warning(
            logging.where_of("logoutput"),
            "logging.logoutput of openais has no effect",
            "write to_stderr, to_logfile and to_syslog",
        )


def _note_ipc(root: Values, problems: Problems) -> None:
    system, old = root.one("system"), root.one("qb")
    for section, key in ((system, "qb_ipc_type"), (old, "ipc_type")):
        if section.value(key) == "socket":
            problems.warning(
                section.where_of(key), "IPC over sockets is not served", "shared memory is used"
            )
    if system.value("ipc_semaphores") == "sysv":
        problems.warning(
            system.where_of("ipc_semaphores"),
            "with System V semaphores only client libraries of this project can connect",
            "write 'ipc_semaphores: posix' for others",
        )
