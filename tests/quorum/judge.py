"""Script for script: what votequorum decides here, and what it decides in corosync-vqsim."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

from aisexec.config import Machine, effective, load
from aisexec.config.machine import numeric_address
from aisexec.main import quorum_options
from aisexec.services.votequorum_state import QuorumOptions
from tests.quorum.model import World
from tests.quorum.scripts import Script
from tests.quorum.vqsim import Vqsim, address, configuration
from tests.unit.config_support import Address

ORDERS = 60
"""Orders of events that are tried before a transcript of vqsim counts as impossible here."""
SETTLED = 2.0
"""Seconds of the model's clock after which nothing changes any more."""
ATTEMPTS = 3
"""A machine under load can be too slow for a script's timers; each attempt leaves them more time."""

Transcript = list[list[str]]
"""The state of all nodes after the start and after each command."""


def options_of(script: Script, directory: Path) -> Callable[[int], QuorumOptions]:
    """What each node starts with, by the configuration file that vqsim reads, too."""
    path = directory / "judged.conf"
    path.write_text(configuration(script, directory / "state"))
    loaded = load(str(path), {})

    def of(nodeid: int) -> QuorumOptions:
        # A stranger takes the place of the nodelist's first node, as in vqsim.
        place = script.nodes.index(nodeid) if nodeid in script.nodes else 0
        interface = ipaddress.ip_interface(f"{address(place)}/24")
        card = Address("eth0", interface.ip, 24)
        machine = Machine("none", (card,), _resolve, lambda _: None, {"eth0": 1}.get)
        config = effective(loaded, machine)
        assert config is not None, [str(problem) for problem in loaded.errors]
        return quorum_options(config.quorum)

    known = {nodeid: of(nodeid) for nodeid in script.nodes}
    return lambda nodeid: known.get(nodeid, known[script.nodes[0]])


def _resolve(name: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = numeric_address(name)
    return [] if found is None else [found]


def ours(script: Script, options: Callable[[int], QuorumOptions], order: int) -> Transcript:
    """What our votequorum does; `order` decides what comes first of things that happen at once."""
    world = World(options, order)
    world.up(0, script.nodes)
    world.settle(SETTLED)
    transcript = [world.show()]
    for command in script.commands:
        world.run(command)
        world.settle(SETTLED)
        transcript.append(world.show())
    return transcript


def stock(script: Script, directory: Path, patience: float) -> Transcript:
    """What corosync's does; patience: seconds after each command."""
    with Vqsim(script, directory) as vqsim:
        vqsim.settle(patience)
        transcript = [vqsim.show()]
        for command in script.commands:
            vqsim.run(command)
            vqsim.settle(patience)
            transcript.append(vqsim.show())
        return transcript


def disagreement(script: Script, directory: Path) -> str:
    """Empty when both decide the same; otherwise the script, and the first state that differs."""
    options = options_of(script, directory)
    theirs: Transcript = []
    for attempt in range(1, ATTEMPTS + 1):
        theirs = stock(script, directory / f"run{attempt}", attempt**2 * (0.05 + script.settle_time))
        if any(ours(script, options, order) == theirs for order in range(ORDERS)):
            return ""
    return explain(script, ours(script, options, 0), theirs)


def explain(script: Script, mine: Transcript, theirs: Transcript) -> str:
    """Where two transcripts part."""
    steps = ("start", *script.commands)
    lines = [f"seed {script.seed}: {script.feature}, nodes {script.nodes}, votes {dict(script.votes)}"]
    lines.append(f"quorum {dict(script.quorum)} device {dict(script.device)}")
    for step, (here, there) in zip(steps, zip(mine, theirs, strict=True), strict=True):
        lines.append(f"  {step}")
        if here != there:
            lines += ["    aisexec: " + line for line in here] + ["    corosync: " + line for line in there]
            break
    return "\n".join(lines)


