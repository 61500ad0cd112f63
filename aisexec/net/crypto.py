"""Keeping strangers out: which sealed frames are taken, and how sessions prove that they are alive.

Every executive draws a random session id when it starts, and counts what it seals.  A receiver
takes frames of a session only after that session has answered a challenge of the receiver's, and
then only those sealed after the answer: whatever was recorded before, be it before a restart of
the sender or of the receiver, stays without effect.  A session that has been silent for long has
to answer anew.  No state is kept for sessions that have not answered; a challenge is computed a
second time to judge its answer.  docs/encryption.md tells the whole story.

Pure: bytes and the time go in, frames and replies come out.
"""

from __future__ import annotations

import hmac
import struct
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from aisexec.net.keys import Keys, SessionKeys
from aisexec.net.limits import (
    CHALLENGE_LIFETIME,
    CLOSED_SESSIONS_MAX,
    DERIVATION_INTERVAL,
    DERIVATIONS_MAX,
    HANDSHAKE_INTERVAL,
    REPEATED_AGE_MAX,
    SILENCE_ASKED,
    SILENCE_LOOKED,
    SILENCE_MAX,
)
from aisexec.net.replay_window import ReplayWindow
from aisexec.net.sealed_frame import (
    CHALLENGE_SIZE,
    HANDSHAKE,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    NOTHING,
    OVERHEAD,
    SESSION_SIZE,
    TO_ALL,
    VERSION,
    Handshake,
    Purpose,
    SealedHeader,
)
from aisexec.ratelimit import RateLimit


class Verdict(Enum):
    """Why a datagram held no frame for us."""

    FOREIGN = "foreign"
    """Not sealed, or of another version of the format."""
    ALGORITHM = "algorithm"
    """Sealed in a way other than ours."""
    STRANGER = "stranger"
    """From a nodeid that is not in the nodelist."""
    REFLECTED = "reflected"
    """From our own nodeid."""
    MISDIRECTED = "misdirected"
    """To another node."""
    REPLAYED = "replayed"
    """Taken before, or too old to tell."""
    OUTDATED = "outdated"
    """Of a session that a later one of the same node has replaced."""
    INVALID = "invalid"
    """Sealed with another key."""
    ALTERED = "altered"
    """Not genuine, in the name of a session whose key is right."""
    UNPROVEN = "unproven"
    """Genuine, of a session that has yet to prove (or to prove anew) that it is alive."""
    HANDSHAKE = "handshake"
    """Genuine, and meant for this layer."""
    UNREAD = "unread"
    """Of an unknown session, when too many of these have been looked at in this moment."""


class _Peer:
    """A node of the nodelist."""

    __slots__ = ("closed", "generation", "keys", "window")

    def __init__(self) -> None:
        self.keys: SessionKeys | None = None
        """Of the session that has proven itself last."""
        self.window = ReplayWindow(0, _LONG_AGO)
        self.generation = 0
        """Proofs so far; challenges of one generation are void in the next."""
        self.closed: deque[bytes] = deque(maxlen=CLOSED_SESSIONS_MAX)

    def trusts(self, session: bytes, now: float) -> bool:
        """Has this session proven itself, and been heard since?"""
        keys = self.keys
        return keys is not None and keys.session == session and now - self.window.heard_at <= SILENCE_MAX


_LONG_AGO: Final = float("-inf")
_HEAD: Final = HEADER.struct
_CHALLENGED: Final = struct.Struct("<IQq")
_PERIODS_VALID: Final = 2


class Sealer:
    """Seals what this node sends and opens what it receives.

    members: nodeids of the nodelist; draw: random bytes, as os.urandom; proven: told the nodeid of
    a session that has just proven itself, and whether it replaces an earlier one.
    """

    def __init__(
        self,
        keys: Keys,
        nodeid: int,
        members: Iterable[int],
        draw: Callable[[int], bytes],
        proven: Callable[[int, bool], object] = lambda nodeid, replaces: None,
    ) -> None:
        self.nodeid = nodeid
        self.session = draw(SESSION_SIZE)
        self.replies: list[tuple[int, bytes]] = []
        """Nodeid and datagram, to be sent before anything else is opened."""
        self._all_keys = keys
        self._keys = SessionKeys(keys, nodeid, self.session)
        self._counter = 0
        self._peers: dict[int, _Peer] = {}
        self.set_members(members)
        self._challenge_key = draw(CHALLENGE_SIZE)
        self._replies_limit = RateLimit(HANDSHAKE_INTERVAL)
        self._look_at = _LONG_AGO
        self._last_frame = b""
        self._last_at = _LONG_AGO
        self._proven = proven
        self._derivations = 0
        self._derivations_since = float("-inf")

    def set_members(self, members: Iterable[int]) -> None:
        """The nodelist has changed: sessions of nodes that stay are kept, those of the others forgotten."""
        known = self._peers
        self._peers = {
            member: known.get(member) or _Peer() for member in members if member != self.nodeid
        }

    # Sending.

    def seal(self, frame: bytes, now: float, target: int = TO_ALL) -> bytes:
        """The datagram for all nodes, or for one of them."""
        if target == TO_ALL:
            self._last_frame, self._last_at = frame, now
        return self._seal(Purpose.FRAME, target, frame)

    def _seal(self, purpose: Purpose, target: int, data: bytes) -> bytes:
        self._counter = counter = self._counter + 1
        header = _HEAD.pack(
            MAGIC, VERSION, self._all_keys.algorithm, purpose, self.nodeid, target, self.session, counter
        )
        return self._keys.seal(purpose, counter, header, data)

    # Receiving.

    def open(self, datagram: bytes, now: float) -> bytes | Verdict:
        """The frame in a datagram, or why there is none; `replies` may have grown."""
        if len(datagram) < OVERHEAD:
            return Verdict.FOREIGN
        header = datagram[:HEADER_SIZE]
        magic, version, algorithm, purpose, sender, target, session, counter = _HEAD.unpack(header)
        if magic != MAGIC or version != VERSION:
            return Verdict.FOREIGN
        if algorithm != self._all_keys.algorithm:
            return Verdict.ALGORITHM
        peer = self._peers.get(sender)
        if peer is None:
            return Verdict.REFLECTED if sender == self.nodeid else Verdict.STRANGER
        if target not in (TO_ALL, self.nodeid):
            return Verdict.MISDIRECTED
        keys = peer.keys
        if keys is None or keys.session != session:
            return self._open_unknown(peer, HEADER.unpack(header), datagram, now)
        window = peer.window
        if not window.is_new(counter, now):
            return Verdict.REPLAYED
        if not keys.has_key(purpose, counter) and not self._may_derive(now):
            return Verdict.UNREAD
        data = keys.open(purpose, counter, header, datagram[HEADER_SIZE:])
        if data is None:
            return Verdict.ALTERED
        if now - window.heard_at > SILENCE_MAX:
            return self._unproven(peer, HEADER.unpack(header), keys, data, now)
        window.mark(counter, now)
        if purpose == Purpose.FRAME:
            return data
        return self._handshake(peer, HEADER.unpack(header), keys, data, now)

    def _open_unknown(self, peer: _Peer, head: SealedHeader, datagram: bytes, now: float) -> Verdict:
        if head.session in peer.closed:
            return Verdict.OUTDATED
        if not self._may_derive(now):
            return Verdict.UNREAD
        keys = SessionKeys(self._all_keys, head.sender, head.session)
        data = keys.open(head.purpose, head.counter, datagram[:HEADER_SIZE], datagram[HEADER_SIZE:])
        if data is None:
            return Verdict.INVALID
        return self._unproven(peer, head, keys, data, now)

    def _may_derive(self, now: float) -> bool:
        """Deriving a key costs more than anything else that a stranger can make us do."""
        if now - self._derivations_since >= DERIVATION_INTERVAL:
            self._derivations_since = now
            self._derivations = 0
        self._derivations += 1
        return self._derivations <= DERIVATIONS_MAX

    def _unproven(
        self, peer: _Peer, head: SealedHeader, keys: SessionKeys, data: bytes, now: float
    ) -> Verdict:
        if head.purpose == Purpose.HANDSHAKE:
            return self._handshake(peer, head, keys, data, now)
        if self._may_reply("challenge", head, now):
            self._reply(peer, head, NOTHING, now)
        return Verdict.UNPROVEN

    # The handshake.

    def _handshake(
        self, peer: _Peer, head: SealedHeader, keys: SessionKeys, data: bytes, now: float
    ) -> Verdict:
        """Judge an answer, answer a challenge.

        Also of a session that has proven nothing: an answer tells nobody anything and changes
        nothing here, so that the two sides need not wait for each other.
        """
        if len(data) < HANDSHAKE.size:
            return Verdict.ALTERED
        said = HANDSHAKE.unpack(data)
        if said.session != self.session:
            return Verdict.HANDSHAKE  # for a former life of ours
        if not peer.trusts(head.session, now) and self._answers(peer, head, said.answer, now):
            self._prove(peer, head, keys, now)
        if said.challenge != NOTHING and self._may_reply("answer", head, now):
            self._reply(peer, head, said.challenge, now)
            self._repeat_last(head.sender, now)
        return Verdict.HANDSHAKE

    def _repeat_last(self, nodeid: int, now: float) -> None:
        """Who challenges us has dropped what we have just sent to all: a JOIN, when we are new.

        Totem bears duplicates, and would otherwise wait until it sends one again.
        """
        if now - self._last_at <= REPEATED_AGE_MAX:
            self.replies.append((nodeid, self._seal(Purpose.FRAME, nodeid, self._last_frame)))

    def _prove(self, peer: _Peer, head: SealedHeader, keys: SessionKeys, now: float) -> None:
        """From here on the session counts, with what it seals after its answer."""
        before = peer.keys
        keys.prepare(Purpose.FRAME, head.counter)  # from here on a flood does not matter to it
        peer.keys = keys
        peer.window = ReplayWindow(head.counter, now)
        peer.generation += 1
        if before is None or before.session != head.session:
            if before is not None:
                peer.closed.append(before.session)
            self._proven(head.sender, before is not None)

    def _may_reply(self, what: str, head: SealedHeader, now: float) -> bool:
        return self._replies_limit.allow((what, head.sender, head.session), now) is not None

    def _reply(self, peer: _Peer, head: SealedHeader, answer: bytes, now: float) -> None:
        """Give an answer, and ask in turn where the other side has proven nothing yet."""
        challenge = NOTHING
        if not peer.trusts(head.session, now):
            challenge = self._challenge(peer, head.sender, head.session, _period(now))
        self._send_handshake(head.sender, Handshake(head.session, challenge, answer))

    def ask_silent(self, now: float) -> None:
        """Ask sessions that have not been heard for a while; call it now and then.

        On an idle ring most nodes have nothing to say to each other.  Without this their first
        frame after a pause would only bring about a challenge.
        """
        if now < self._look_at:
            return
        self._look_at = now + SILENCE_LOOKED
        for nodeid, peer in self._peers.items():
            keys = peer.keys
            if keys is None or not SILENCE_ASKED < now - peer.window.heard_at <= SILENCE_MAX:
                continue
            challenge = self._challenge(peer, nodeid, keys.session, _period(now))
            self._send_handshake(nodeid, Handshake(keys.session, challenge, NOTHING))

    def _send_handshake(self, nodeid: int, content: Handshake) -> None:
        datagram = self._seal(Purpose.HANDSHAKE, nodeid, HANDSHAKE.pack(content))
        self.replies.append((nodeid, datagram))

    def _answers(self, peer: _Peer, head: SealedHeader, answer: bytes, now: float) -> bool:
        return any(
            hmac.compare_digest(
                answer, self._challenge(peer, head.sender, head.session, _period(now) - age)
            )
            for age in range(_PERIODS_VALID)
        )

    def _challenge(self, peer: _Peer, nodeid: int, session: bytes, period: int) -> bytes:
        """Nobody can know it who has not been told, and it is good for one session only."""
        text = session + _CHALLENGED.pack(nodeid, peer.generation, period)
        return hmac.digest(self._challenge_key, text, "sha256")[:CHALLENGE_SIZE]


def _period(now: float) -> int:
    return int(now // CHALLENGE_LIFETIME)
