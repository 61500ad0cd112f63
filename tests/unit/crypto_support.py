"""Two or more sealers that talk to each other without a network."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from aisexec.net.crypto import Sealer, Verdict
from aisexec.net.crypto_models import ALGORITHMS, cipher_maker
from aisexec.net.keys import Keys

SECRET = bytes(range(256))


def keys(secret: bytes = SECRET, algorithm: str = "aes256", model: str | None = None) -> Keys:
    return Keys(secret, cipher_maker(ALGORITHMS[algorithm], model))


class Nodes:
    """Sealers by nodeid, a clock, and everything that was ever on the wire."""

    def __init__(
        self,
        nodeids: Iterable[int] = (1, 2, 3),
        seed: int = 1,
        make_keys: Callable[[int], Keys] | None = None,
    ) -> None:
        self.nodeids = tuple(nodeids)
        self.random = random.Random(seed)
        self.make_keys = make_keys or (lambda nodeid: keys())
        self.now = 1000.0
        self.wire: list[tuple[int, bytes]] = []
        """Target and datagram of each handshake."""
        self.proven: list[tuple[int, int, bool]] = []
        self.repeated = 0
        """Frames that came a second time, since a session had to prove itself at the first."""
        self.sealers: dict[int, Sealer] = {}
        for nodeid in self.nodeids:
            self.start(nodeid)

    def __getitem__(self, nodeid: int) -> Sealer:
        return self.sealers[nodeid]

    def start(self, nodeid: int) -> Sealer:
        """Also again, with nothing left of what it knew."""
        sealer = Sealer(
            self.make_keys(nodeid),
            nodeid,
            self.nodeids,
            self.random.randbytes,
            lambda other, replaces: self.proven.append((nodeid, other, replaces)),
        )
        self.sealers[nodeid] = sealer
        return sealer

    def pass_replies(self, lost: Callable[[int, bytes], bool] = lambda target, datagram: False) -> int:
        """Carry handshakes until there are none; how many were sent."""
        count = 0
        while any(sealer.replies for sealer in self.sealers.values()):
            for sealer in self.sealers.values():
                replies, sealer.replies = sealer.replies, []
                for target, datagram in replies:
                    count += 1
                    self.wire.append((target, datagram))
                    if not lost(target, datagram) and target in self.sealers:
                        self.repeated += isinstance(self.sealers[target].open(datagram, self.now), bytes)
        return count

    def send(self, source: int, target: int, frame: bytes = b"frame") -> bytes | Verdict:
        """What the target makes of a frame; handshakes are passed on."""
        result = self[target].open(self[source].seal(frame, self.now), self.now)
        self.pass_replies()
        return result

    def meet(self) -> None:
        """Everybody has proven himself to everybody."""
        for source in self.nodeids:
            for target in self.nodeids:
                if source != target and self.send(source, target) == Verdict.UNPROVEN:
                    self.now += 0.1
        for source in self.nodeids:
            for target in self.nodeids:
                if source != target:
                    assert self.send(source, target, b"hello") == b"hello"
