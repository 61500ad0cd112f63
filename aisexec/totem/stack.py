"""Totem as the executive sees it: named groups of messages in total order, and configurations.

Puts packing, reassembly and group names on top of the ring.  Like the ring it is fed with bytes and
time and leaves effects behind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from aisexec.totem.assembly import Assembly, Sink
from aisexec.totem.core import Core, State
from aisexec.totem.limits import ASSEMBLY_SIZE_MAX, GROUPS_MAX, MESSAGE_SIZE_MAX
from aisexec.totem.packing import LENGTH_SIZE, PACKET_HEAD, Packer
from aisexec.totem.ring import Ring
from aisexec.totem.settings import Settings
from aisexec.totem.stats import Stats
from aisexec.totem.types import Configuration, Effect, RingId, Upper

_U16 = struct.Struct("<H")
_ONE_GROUP = struct.Struct("<HH")

EXECUTIVE_MESSAGE_MAX = MESSAGE_SIZE_MAX + 1024
"""Bytes of the longest message that may be submitted: the biggest application message and headers.

Stock peers abort on messages near ASSEMBLY_SIZE_MAX.
"""
assert EXECUTIVE_MESSAGE_MAX < ASSEMBLY_SIZE_MAX

GROUP_ROOM = 16
"""Bytes that are counted for the name of a group in front of a message."""


def nothing() -> None:
    """Nobody is in a hurry."""


class Totem:
    """One node's protocol stack."""

    def __init__(self, settings: Settings, nodeid: int, ring_seq: int, upper: Upper) -> None:
        self._upper = upper
        self.frame_room = settings.net_mtu - PACKET_HEAD.size - 16
        """Bytes of messages that are counted for a frame when room is looked for."""
        self._ring = Ring(settings, nodeid, ring_seq, self)
        self._core = self._ring.core
        # Doors that are used for every frame, and nothing but the way to the ring's.
        self.receive = self._ring.receive
        self.next_timer = self._ring.next_timer
        self.take_effects = self._ring.take_effects
        self.token_leaves: Callable[[], object] = nothing
        """Called in the middle of `receive`, when the token is among the effects: everybody waits for it,
        so they may be carried out before what we have still to do."""
        self._packer = self._core.staging = Packer(settings.net_mtu, self._enqueue)
        # Packets delivered while the services are being synchronised are put together apart: a
        # message interrupted by the change goes on after it (spec 7.6).
        self._regular = Assembly(self._message, self._malformed)
        self._transitional = Assembly(self._message, self._malformed)
        self._assembly = self._transitional
        self._joined = False
        self._left: tuple[int, ...] = ()

    # Doors, see Ring.

    def pour_into(self, sink: Sink) -> None:
        """Whole messages are offered to a compiled receiver first."""
        self._regular.sink = self._transitional.sink = sink

    def start(self, now: float) -> None:
        """The network is up."""
        self._ring.start(now)

    def without_stale(
        self, frames: Sequence[tuple[bytes, str]], now: float
    ) -> Sequence[tuple[bytes, str]]:
        """See Ring."""
        return self._ring.without_stale(frames, now)

    def handle_timer(self, now: float) -> None:
        """Run the timers that are due."""
        self._ring.handle_timer(now)

    def interface_up(self, now: float) -> None:
        """The network came back."""
        self._ring.start(now)

    def force_gather(self, now: float) -> None:
        """Form a new membership, as if the token had been lost."""
        self._ring.force_gather(now)

    def leave(self, now: float) -> None:
        """Say goodbye to the ring."""
        self._ring.leave(now)

    def reconfigure(self, settings: Settings, now: float) -> None:
        """Go on with other settings, all but net_mtu; on every node at the same place in the order."""
        self._ring.reconfigure(settings, now)

    # For the layer above.

    @property
    def core(self) -> Core:
        """For aisexec._turn."""
        return self._core

    @property
    def ring(self) -> Ring:
        """For aisexec._turn."""
        return self._ring

    @property
    def effects(self) -> Sequence[Effect]:
        """What take_effects() would give."""
        return self._core.effects

    @property
    def members(self) -> tuple[int, ...]:
        """Members of the installed ring."""
        return self._core.memb

    @property
    def ring_id(self) -> RingId:
        """The current ring."""
        return self._core.ring_id

    def expect_end(self, nodeid: int, by: str) -> None:
        """This node has been ordered to end at once; said when it is missed."""
        self._core.story.killed(nodeid, by)

    def explain_change(self) -> str:
        """The membership change that is over now that services are in step, in one line."""
        return self._core.story.in_service(self._core.ring_id, self._core.now)

    def hears(self, nodeid: int) -> bool:
        """Is this node a member, or has it been heard while a new ring is being formed?"""
        return nodeid in self._core.proc

    @property
    def token_received_at(self) -> float:
        """When the token came last, on the clock of `now`; 0 before the first one."""
        return self._core.last_token_at

    @property
    def mtu(self) -> int:
        """Bytes of a frame behind its header."""
        return self._core.settings.net_mtu

    @property
    def stats(self) -> Stats:
        """Counters."""
        return self._core.stats

    def submit(self, group: bytes, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        """Queue one message, its parts joined, for the total order; False when there is no room.

        Raises ValueError for a message longer than EXECUTIVE_MESSAGE_MAX.
        """
        size = sum(map(len, parts))
        if size > EXECUTIVE_MESSAGE_MAX:
            raise ValueError(f"message of {size} bytes, limit {EXECUTIVE_MESSAGE_MAX}")
        if not self.room_for(size):
            return False
        self._ring.wake()
        self._packer.add([_ONE_GROUP.pack(1, len(group)), group, *parts], int(safe))
        return True

    def room_for(self, size: int) -> bool:
        """Would a message of `size` bytes be taken?"""
        frames = (size + GROUP_ROOM) // self.frame_room + 1
        return self.slots_free() > frames

    def slots_free(self) -> int:
        """Frames for which there is room in the send queue."""
        return self._core.slots_free()

    @property
    def backlog(self) -> int:
        """Frames that waited in the send queue when the token came last."""
        return self._core.flow.queued_last_visit

    @property
    def packer(self) -> Packer:
        """For who looks for room and wakes us himself (aisexec.services._intake)."""
        return self._packer

    def wake(self) -> None:
        """Something is about to be handed to the packer."""
        self._ring.wake()

    @property
    def circulating(self) -> bool:
        """The token goes round without a rest, and will be here again soon."""
        core = self._core
        return core.state is State.OPERATIONAL and not core.token_held and len(core.memb) > 1

    def frames_waiting(self) -> int:
        """Frames in the send queue."""
        return len(self._core.send_queue())

    def queue_fill(self) -> int:
        """Percent of the send queue in use."""
        core = self._core
        free = core.queue_slots - len(core.q_trans if core.waiting_trans_ack else core.q_new) - 2
        return 100 - max(0, free) * 100 // core.queue_slots

    def call_when_token_passed(self) -> None:
        """Upper.token_passed() will be called once, after the token has been passed on."""
        self._core.token_callback_wanted = True
        self._ring.wake()

    def synchronised(self) -> None:
        """The services are in step: normal traffic goes on."""
        self._packer.flush()
        core = self._core
        core.waiting_trans_ack = False
        if self._joined:
            core.q_new.extendleft(reversed(core.interrupted.restart()))
            self._joined = False
        # Receivers put together apart what comes from here on, so the rest of a message that is partly
        # sent would be of no use to them.
        core.q_new.extend(core.interrupted_trans.restart())
        core.q_new.extend(core.q_trans)
        core.q_trans.clear()
        self._assembly.stop = True  # the frame that is being looked at is the last one for it
        self._assembly = self._regular

    # RingUser.

    def deliver_frames(self, frames: list[bytes]) -> None:
        """Mcast frames in total order."""
        done = 0
        while done < len(frames):
            done = self._assembly.frames(frames, done)

    def configuration(self, change: Configuration) -> None:
        """A configuration change in its place in the total order."""
        if change.transitional:
            # The rest of what those who left had begun may still be among the last old messages.
            self._left = change.left
            self._packer.flush()
        if change.joined:
            self._joined = True
            # Who joins has not seen its beginning (see aisexec.totem.interrupted).
            self._core.q_trans.extendleft(reversed(self._core.interrupted_trans.restart()))
        self._upper.configuration(change)

    def recovered(self) -> None:
        """From here on the new ring's messages are put together."""
        for nodeid in self._left:
            self._regular.forget(nodeid)
            self._transitional.forget(nodeid)
        self._assembly = self._transitional

    def token_received(self) -> None:
        """Hand down what is staged."""
        if self._packer.staged and self._core.slots_free() > 0:
            self._packer.flush()

    def token_passed(self) -> None:
        """The token has gone."""
        self._upper.token_passed()

    # Inside.

    def _enqueue(self, packet: bytes, guarantee: int) -> None:
        self._core.send_queue().append((packet, guarantee))

    def _malformed(self, nodeid: int, problem: str) -> None:
        self._core.anomaly("packet", f"node {nodeid}", problem)

    def _message(self, nodeid: int, message: bytes) -> None:
        """Find the group in front of the message and hand it up."""
        size = len(message)
        try:
            (count,) = _U16.unpack_from(message)
            offset = LENGTH_SIZE * (count + 1)
            lengths = struct.unpack_from(f"<{count}H", message, LENGTH_SIZE)
        except struct.error:
            self._core.anomaly("packet", f"node {nodeid}", f"message of {size} bytes without a group")
            return
        names = []
        for length in lengths:
            names.append(message[offset : offset + length])
            offset += length
        if offset > size or count > GROUPS_MAX:
            self._core.anomaly("packet", f"node {nodeid}", f"message for {count} groups in {size} bytes")
            return
        body = message[offset:]
        for name in names:
            self._upper.deliver(name, nodeid, body)
