"""Encrypted and authenticated frames: altered, replayed, misdirected, across restarts and silences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING, Final

from aisexec.net.base import NetworkSettings, Security
from aisexec.net.limits import CLOSED_SESSIONS_MAX
from aisexec.net.refusals import refusal
from aisexec.net.sealed_frame import HANDSHAKE, HEADER, HEADER_SIZE, Purpose
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.unit.crypto_support import SECRET, Nodes, keys

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

RAW, SEAL, REPLAY, ALTER, TIME, RESTART, PASS, HONEST = range(8)
"""Step.what; Step.where is the node in its two low bits, the rest a choice."""

NODES: Final = (1, 2, 3)
KEPT: Final = 64
"""Datagrams that an eavesdropper remembers."""
_SETTINGS: Final = NetworkSettings("udpu", 1, "192.0.2.1", members={n: f"192.0.2.{n}" for n in NODES})
_SECURITY: Final = Security("sha256", SECRET, "a test")


class Wire:
    """Three nodes, and somebody who hears, alters and repeats everything."""

    def __init__(self, seed: int = 1) -> None:
        self.nodes = Nodes(NODES, seed, make_keys=lambda nodeid: keys(algorithm="sha256"))
        self.contents: dict[bytes, bytes] = {}
        self.taken: set[tuple[int, bytes, bytes]] = set()
        for nodeid in NODES:
            self._record(nodeid)
        self.nodes.meet()
        self.heard: list[bytes] = [datagram for _, datagram in self.nodes.wire[-KEPT:]]

    def _record(self, nodeid: int) -> None:
        """Whatever the node seals from here on."""
        sealer = self.nodes[nodeid]
        seal = sealer._seal

        def recorded(purpose: Purpose, target: int, data: bytes) -> bytes:
            datagram = seal(purpose, target, data)
            self.contents[datagram] = data
            return datagram

        sealer._seal = recorded  # type: ignore[method-assign]

    def restart(self, nodeid: int) -> None:
        self.nodes.start(nodeid)
        self._record(nodeid)

    def seal(self, nodeid: int, frame: bytes, target: int) -> None:
        datagram = self.nodes[nodeid].seal(frame, self.nodes.now, target)
        self.heard = [*self.heard, datagram][-KEPT:]

    def give(self, nodeid: int, datagram: bytes) -> None:
        """What comes out was sealed by another node, is unaltered, and comes out once in a life."""
        sealer = self.nodes[nodeid]
        result = sealer.open(datagram, self.nodes.now)
        if isinstance(result, bytes):
            assert self.contents.get(datagram) == result, "taken though nobody has sealed it"
            assert HEADER.unpack(datagram).sender != nodeid
            once = nodeid, sealer.session, datagram
            assert once not in self.taken, "taken twice"
            self.taken.add(once)
        else:
            text = refusal(result, datagram, "192.0.2.66", _SETTINGS, _SECURITY, sealer.session)
            assert text is None or len(text) < 500
        self.carry()

    def carry(self) -> None:
        """Handshakes reach those they are for; each is heard."""
        for nodeid in NODES:
            replies, self.nodes[nodeid].replies = self.nodes[nodeid].replies, []
            assert len(replies) <= 2 * len(NODES)
            for target, datagram in replies:
                self.heard = [*self.heard, datagram][-KEPT:]
                self.nodes[target].open(datagram, self.nodes.now)

    def check(self) -> None:
        for nodeid in NODES:
            sealer = self.nodes[nodeid]
            assert set(sealer._peers) == set(NODES) - {nodeid}
            for peer in sealer._peers.values():
                assert len(peer.closed) <= CLOSED_SESSIONS_MAX
                if peer.keys is not None:
                    assert len(peer.keys._ciphers) <= 6


def fuzz(data: bytes) -> None:
    """Nothing forged or repeated passes, and afterwards the three still hear each other."""
    wire = Wire()
    for step in steps(data):
        _take(wire, step)
    wire.check()
    wire.nodes.now += 0.1
    for _ in range(4):  # a session that was started anew, or was silent, proves itself first
        results = [wire.nodes.send(*pair) for pair in permutations(NODES, 2)]
        if all(result == b"frame" for result in results):
            return
        wire.nodes.now += 0.1
    raise AssertionError(f"they do not hear each other: {results}")


def _take(wire: Wire, step: Step) -> None:
    nodeid = NODES[(step.where & 3) % len(NODES)]
    chosen = wire.heard[(step.where >> 2) % len(wire.heard)] if wire.heard else b""
    match step.what % 8:
        case 0:
            wire.give(nodeid, step.data)
        case 1:
            wire.seal(nodeid, step.data, (step.where >> 2) % 4)
        case 2:
            wire.give(nodeid, chosen)
        case 3:
            mixed = bytearray(chosen)
            for at, value in enumerate(step.data[: len(mixed)]):
                mixed[at] ^= value
            wire.give(nodeid, bytes(mixed) + step.data[len(mixed) :])
        case 4:
            wire.nodes.now += int.from_bytes(step.data[:2], "little") / 100
            for each in NODES:
                wire.nodes[each].ask_silent(wire.nodes.now)
            wire.carry()
        case 5:
            wire.restart(nodeid)
        case 6:
            wire.carry()
        case _:
            wire.seal(nodeid, step.data, 0)
            for other in NODES:
                if other != nodeid:
                    wire.give(other, wire.heard[-1])


def _fields(step: Step) -> Sequence[Leaf]:
    return (*leaves(HEADER), *leaves(HANDSHAKE, HEADER_SIZE))


@cache
def seeds() -> Sequence[bytes]:
    """Frames of an eavesdropped ring, at once and later; an xor of one bit in every field."""
    wire = Wire(seed=2)  # its frames are of other sessions, none that the fuzzed nodes will seal
    wire.seal(1, b"a frame", 0)
    honest = [Step(HONEST, n, b"a frame") for n in range(3)]
    found = [[Step(RAW, n, datagram) for datagram in wire.heard[-4:]] for n in range(3)]
    found.append(honest)
    found.append([*honest, *(Step(REPLAY, n | m << 2, b"") for n in range(3) for m in range(4))])
    replays = [Step(REPLAY, m << 2 | 1, b"") for m in range(8)]
    found.append([*honest, Step(RESTART, 0, b""), *honest, *replays])
    found.append([*honest, Step(TIME, 0, b"\xff\xff"), *honest, Step(TIME, 0, b"\x10\x01"), *honest])
    for leaf in leaves(HEADER):
        found.append([*honest, *(Step(ALTER, n, bytes(leaf.offset) + b"\1") for n in (1, 5, 250))])
    found.append([Step(SEAL, 2 << 2, b"for node 2"), Step(REPLAY, 250, b""), Step(REPLAY, 253, b"")])
    return [join(parts) for parts in found]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of a datagram, or the order of things."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Headers and handshakes from their layouts, in all steps."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, followed, mixed, step, step_lists, structure

    datagram = followed(structure(HEADER), structure(HANDSHAKE) | st.binary(max_size=40))
    any_step = step(st.integers(0, 7), cut(datagram) | st.binary(max_size=4))
    return mixed(step_lists(any_step, 12), damaged(seeds(), mutate))
