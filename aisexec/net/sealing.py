"""Between a transport and the `Sealer`: batches, counters, and what the log says of refused frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from aisexec.net.base import Log, NetStats, NetworkSettings, Received, Security
from aisexec.net.crypto import Sealer, Verdict
from aisexec.net.crypto_models import ALGORITHMS, TITLES, CipherMaker, cipher_maker
from aisexec.net.keys import Keys
from aisexec.net.refusals import refusal
from aisexec.net.reports import Reports
from aisexec.net.sealed_frame import TO_ALL
from aisexec.totem.types import LOG_INFO, LOG_NOTICE, LOG_WARNING


class Sealing:
    """Seals and opens the frames of one transport.  Raises NetError when the library is missing."""

    def __init__(
        self,
        settings: NetworkSettings,
        security: Security,
        stats: NetStats,
        reports: Reports,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._security = security
        self._stats = stats
        self._reports = reports
        self._log = log
        self._clock = clock
        maker = cipher_maker(ALGORITHMS[security.algorithm], security.model)
        self._sealer = Sealer(
            Keys(security.key, maker), settings.nodeid, settings.members, os.urandom, self._proven
        )
        self._announce(maker)

    def _announce(self, maker: CipherMaker) -> None:
        security = self._security
        self._log(
            LOG_NOTICE,
            f"Initializing transmit/receive security ({maker.model}) crypto: {security.algorithm}"
            f" ({TITLES[maker.algorithm]}, {maker.library}), key from {security.key_source}",
        )

    def _proven(self, nodeid: int, replaces: bool) -> None:
        again = ", with a new session: it has been started anew" if replaces else ""
        self._log(LOG_INFO, f"Node {nodeid} has our key{again}.")

    def reconfigure(self, settings: NetworkSettings) -> None:
        """Another nodelist; nodes in both go on with the sessions they have."""
        self._settings = settings
        self._sealer.set_members(settings.members)

    def seal(self, frames: Sequence[bytes], target: int = TO_ALL) -> list[bytes]:
        """The datagrams of a batch, for all nodes or for one."""
        seal, now = self._sealer.seal, self._clock()
        return [seal(frame, now, target) for frame in frames]

    def open(self, received: list[Received], reply: Callable[[int, bytes], None]) -> list[Received]:
        """The frames among what came in; `reply` sends a datagram to a node."""
        sealer, now = self._sealer, self._clock()
        frames: list[Received] = []
        for datagram, sender in received:
            frame = sealer.open(datagram, now)
            if isinstance(frame, bytes):
                frames.append((frame, sender))
            else:
                self._refused(frame, datagram, sender)
            if sealer.replies:
                self._send_replies(reply)
        sealer.ask_silent(now)
        if sealer.replies:
            self._send_replies(reply)
        return frames

    def _send_replies(self, reply: Callable[[int, bytes], None]) -> None:
        replies, self._sealer.replies = self._sealer.replies, []
        self._stats.handshakes_sent += len(replies)
        for nodeid, datagram in replies:
            reply(nodeid, datagram)

    def _refused(self, verdict: Verdict, datagram: bytes, sender: str) -> None:
        self._stats.refused[verdict.value] += 1
        text = refusal(verdict, datagram, sender, self._settings, self._security, self._sealer.session)
        if text is not None:
            self._reports.report(verdict.value, sender, LOG_WARNING, text)
