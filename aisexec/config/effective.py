"""The effective configuration, derived from a loaded one and the machine it is meant for."""

from __future__ import annotations

from dataclasses import replace

from aisexec.config.load import Loaded
from aisexec.config.logging_section import derive_logging
from aisexec.config.machine import Machine
from aisexec.config.model import Effective, Network, Node, System
from aisexec.config.network import derive_network
from aisexec.config.nodes import ResolvedNode, find_local, resolve_nodes
from aisexec.config.problems import Problem, Problems
from aisexec.config.quorum import check_expected_votes, derive_quorum
from aisexec.config.schema import Values
from aisexec.config.security import OVERHEAD, derive_security
from aisexec.config.timing import Timing
from aisexec.exit_codes import ExitCode

NICE = {"max": -20, "min": 19}


def effective(loaded: Loaded, machine: Machine) -> Effective | None:
    """Everything the executive runs with; None when there are errors.

    What is found here joins `loaded.problems`, which is then in the order of the file's lines.
    """
    if not loaded.readable:
        return None
    derived, loaded.problems.found = _derive(loaded, machine)
    return None if loaded.errors else derived


def _derive(loaded: Loaded, machine: Machine) -> tuple[Effective | None, list[Problem]]:
    """Derive as much as possible; None when there is no local node to derive for."""
    problems = Problems()
    root = loaded.values
    nodes = resolve_nodes(root, machine, problems)
    local = _local_node(root, nodes, machine, problems)
    # Timeouts grow with the nodes that have an address, as corosync counts them.
    timing = Timing(root, sum(1 for n in root.one("nodelist").all("node") if n.value("ring0_addr")))
    security = derive_security(root, nodes, machine, problems)
    timing.check(problems)
    quorum = derive_quorum(root, nodes, local, problems)
    check_expected_votes(root, nodes, problems)
    logging = derive_logging(root, machine, problems)
    system = _system(root, machine, problems)
    network: Network | None = None
    if local is not None:
        network = replace(derive_network(root, nodes, local, machine, problems), security=security)
    found = _in_order(loaded.problems.found + problems.found, loaded.path)
    if network is None:
        return None, found
    totem = root.one("totem")
    result = Effective(
        totem=timing.settings(OVERHEAD if security else 0),
        network=network,
        quorum=quorum,
        logging=logging,
        system=system,
        uids=frozenset(loaded.admitted.uids),
        gids=frozenset(loaded.admitted.gids),
        cluster_name=totem.value("cluster_name") or "",
        config_version=totem.value("config_version") or 0,
        nodes=tuple(Node(n.nodeid, str(n.address), n.name, n.votes) for n in nodes),
        derived=tuple(timing.derived.values()),
        warnings=tuple(str(problem) for problem in found if problem.warning),
    )
    return result, found


def _local_node(
    root: Values, nodes: list[ResolvedNode], machine: Machine, problems: Problems
) -> ResolvedNode | None:
    listed = root.one("nodelist").all("node")
    if not listed:
        return None  # reported by check_values
    position = find_local(listed, machine)
    if position is None:
        addresses = ", ".join(sorted(str(a.address) for a in machine.addresses)) or "none"
        problems.error(
            root.one("nodelist").where,
            f"no valid name found for local host: no node is named {machine.hostname!r}"
            f" or has an address of this machine ({addresses})",
            "write a node section with this machine's ring0_addr",
        )
        return None
    return next((node for node in nodes if node.position == position), None)


def _system(root: Values, machine: Machine, problems: Problems) -> System:
    section = root.one("system")
    state_dir = section.value("state_dir")
    reason = machine.directory_problem(state_dir)
    if reason:
        problems.error(
            section.where_of("state_dir"),
            f"cannot chdir to state directory {state_dir}: {reason}",
            f"create it (mkdir -p {state_dir}) or write another state_dir in section system",
            ExitCode.DIR_NOT_PRESENT,
        )
    priority = section.value("priority")
    ipc_type = section.value("qb_ipc_type")
    if not section.given("qb_ipc_type") and root.one("qb").value("ipc_type") is not None:
        ipc_type = root.one("qb").value("ipc_type")
    return System(
        state_dir=state_dir,
        sched_rr=section.value("sched_rr") == "yes",
        priority=NICE[priority] if isinstance(priority, str) else priority,
        move_to_root_cgroup=section.value("move_to_root_cgroup"),
        qb_ipc_type=ipc_type,
        ipc_semaphores=section.value("ipc_semaphores"),
    )


def _in_order(found: list[Problem], main_file: str) -> list[Problem]:
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda p: (p.where.file != main_file, p.where.file, p.where.line))
