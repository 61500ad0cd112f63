"""State of one node in the single-ring protocol, and the few things it can do to the outside.

The procedures live in one file for each part of the paper: gather, consensus, commit, recovery,
operational, token_visit.  They change this state and leave effects behind; nothing here reads a
clock, a socket or a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from aisexec.totem import wire
from aisexec.totem._state import CoreState
from aisexec.totem.anomalies import Anomalies
from aisexec.totem.change_story import ChangeStory
from aisexec.totem.connectivity import Connectivity
from aisexec.totem.flow_control import FlowControl
from aisexec.totem.interrupted import InterruptedMessage
from aisexec.totem.limits import OWN_FRAMES_MAX, SEND_QUEUE_BYTES
from aisexec.totem.retransmit_report import RetransmitReport
from aisexec.totem.sequence import BEFORE_FIRST, MASK
from aisexec.totem.settings import Settings
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.stats import Stats
from aisexec.totem.timers import Timer, Timers
from aisexec.totem.types import (
    LOG_DEBUG,
    LOG_WARNING,
    Broadcast,
    Configuration,
    Log,
    RingId,
    Unicast,
)


class State(Enum):
    """The four states of the membership protocol."""

    OPERATIONAL = "OPERATIONAL"
    GATHER = "GATHER"
    COMMIT = "COMMIT"
    RECOVERY = "RECOVERY"

    __hash__ = object.__hash__  # members are single objects; Enum's own takes a call of Python code


class Gathering(Enum):
    """Why a node entered GATHER: corosync's number and wording, for logs."""

    CONSENSUS_TIMEOUT = (0, "consensus timeout")
    TOKEN_LOST_OPERATIONAL = (2, "The token was lost in the OPERATIONAL state.")
    CONSENSUS_EXPIRED = (3, "The consensus timeout expired.")
    TOKEN_LOST_COMMIT = (4, "The token was lost in the COMMIT state.")
    TOKEN_LOST_RECOVERY = (5, "The token was lost in the RECOVERY state.")
    FAILED_TO_RECEIVE = (6, "failed to receive")
    FOREIGN_MESSAGE_OPERATIONAL = (7, "foreign message in operational state")
    FOREIGN_MESSAGE_GATHER = (8, "foreign message in gather state")
    MERGE_OPERATIONAL = (9, "merge during operational state")
    MERGE_GATHER = (10, "merge during gather state")
    MERGE_JOIN = (11, "merge during join")
    JOIN_OPERATIONAL = (12, "join during operational state")
    JOIN_COMMIT = (13, "join during commit state")
    JOIN_RECOVERY = (14, "join during recovery")
    INTERFACE_CHANGE = (15, "interface change")


class RingUser(Protocol):
    """Who sits above the ring: the packer of messages into frames."""

    def deliver_frames(self, frames: list[bytes]) -> None:
        """Mcast frames in total order."""

    def configuration(self, change: Configuration) -> None:
        """Transitional or regular configuration, in its place in the total order."""

    def recovered(self) -> None:
        """All old-ring messages were delivered: from here on the new ring's are put together."""

    def token_received(self) -> None:
        """The token is here: hand down what is staged."""

    @property
    def token_leaves(self) -> Callable[[], object]:
        """Called when the token is among the effects: everybody waits for it."""

    def token_passed(self) -> None:
        """The token has gone."""


class Core(CoreState):
    """See spec section 3 for each name; lists of nodeids keep the order they were learnt in."""

    def __init__(self, settings: Settings, nodeid: int, ring_seq: int, user: RingUser) -> None:
        assert nodeid > 0
        self.settings = settings
        self.me = nodeid
        self.user = user
        self.now = 0.0
        self.effects = []
        self.own_frames = deque(maxlen=OWN_FRAMES_MAX)
        self.timers = Timers(Timer)
        self.stats = Stats()
        self.anomalies = Anomalies(self.stats)
        self.connectivity = Connectivity(nodeid, settings, self.stats)
        self.story = ChangeStory()
        self.retransmits = RetransmitReport(nodeid)

        self.state = State.OPERATIONAL
        self.ring_id = RingId(nodeid, ring_seq + 1)
        self.old_ring_id = RingId(0, 0)
        self.previous_ring_id = RingId(0, 0)
        self.token_ring_seq = self.ring_id.seq
        self.proc: list[int] = []
        self.failed: list[int] = []
        self.consensus: set[int] = set()
        self.memb = ()
        self.memb_set = frozenset()
        self.new_memb: tuple[int, ...] = ()
        self.trans_memb: tuple[int, ...] = ()
        self.deliver_memb: frozenset[int] = frozenset()
        self.leavers: set[int] = set()

        self.regular_q = SortQueue()
        self.recovery_q = SortQueue()
        self.my_aru = 0
        self.my_high_seq = 0
        self.my_high_delivered = 0
        self.last_released = 0
        self.safe_aru = 0
        self.recovered_safe_aru = 0
        self.my_last_aru = 0
        self.my_token_seq = BEFORE_FIRST
        self.my_last_seq = 0
        self.my_seq_unchanged = 0
        self.token_held = False
        self.hold_cancels = 0
        """Received since the token was here."""
        self.aru_count = 0
        self.flow: FlowControl = FlowControl()
        self.last_token_frame = b""
        self.next_hop = nodeid

        self.old_saved = False
        self.old_aru = 0
        self.old_high = 0
        self.received_flg = True
        self.set_retrans_flg = False
        self.retrans_flg_count = 0
        self.rotation_counter = 0
        self.install_seq = 0
        self.discard_token = False
        self.originated_orf = False
        self.failed_to_recv = False
        self.waiting_trans_ack = True
        self.token_callback_wanted = False

        self.q_new = deque()
        self.q_trans = deque()
        self.q_retrans: dict[int, bytes] = {}
        """Old-ring frames to send again, by their old sequence number, in order."""
        self.interrupted = InterruptedMessage()
        """Of q_new ..."""
        self.interrupted_trans = InterruptedMessage()
        """... and of q_trans, which a change may cut as well while services are being synchronised."""
        self.queue_slots = SEND_QUEUE_BYTES // settings.net_mtu
        self.usual_size = settings.net_mtu + 3 * wire.MCAST_SIZE
        """Bytes of the longest frame that a node with our netmtu sends, in recovery too."""
        self.global_seqno = 0
        self.last_pause_check = 0.0
        self.last_token_at = 0.0
        self.retransmit_logged_at = float("-inf")

    # What the node can do.

    def unicast(self, nodeid: int, frame: bytes) -> None:
        """Send to one member, possibly ourselves."""
        self.effects.append(Unicast(nodeid, frame))

    def broadcast(self, frame: bytes) -> None:
        """Send to all others."""
        self.effects.append(Broadcast(frame))

    def broadcast_and_own(self, frame: bytes) -> None:
        """Send to all others, and handle it ourselves after what is going on now.

        Stock does this with a socket pair; our own JOIN takes part in consensus and the
        representative's HOLD CANCEL frees its own token (spec section 8.3).
        """
        self.effects.append(Broadcast(frame))
        self.own_frames.append(frame)

    def log(self, priority: int, text: str) -> None:
        """A line of subsystem TOTEM."""
        self.effects.append(Log("TOTEM", priority, text))

    def anomaly(self, kind: str, sender: str, detail: str) -> None:
        """A frame was dropped."""
        text = self.anomalies.note(kind, sender, detail, self.now)
        if text is not None:
            self.log(LOG_WARNING, text)

    def arm(self, timer: Timer, after: float) -> None:
        """(Re)start a timer; `after` in seconds."""
        self.timers.start(timer, self.now + after)

    def arm_token_timers(self) -> None:
        """(Re)start the token timer, its warning and the retransmit timer."""
        self.arm_token()
        self.arm(Timer.TOKEN_RETRANSMIT, self.settings.token_retransmit)

    def arm_token(self) -> None:
        """(Re)start the token timer and its warning."""
        settings = self.settings
        self.arm(Timer.TOKEN, settings.token)
        if settings.token_warning:
            self.arm(Timer.TOKEN_WARNING, settings.token * settings.token_warning / 100)

    def enter(self, state: State) -> None:
        """The one place where the state changes."""
        self.state = state
        self.log(LOG_DEBUG, f"entering {state.value} state.")

    # What follows from the state.

    @property
    def i_am_rep(self) -> bool:
        """We are the representative of the ring."""
        return self.ring_id.rep == self.me

    def send_queue(self) -> deque[tuple[bytes, int]]:
        """Where what is handed down goes: during synchronisation a queue of its own (spec 7.6)."""
        return self.q_trans if self.waiting_trans_ack else self.q_new

    def queued(self) -> int:
        """Messages this member has waiting, as flow control counts them."""
        if self.state is State.RECOVERY:
            return len(self.q_retrans)
        if self.state is State.OPERATIONAL:
            return len(self.send_queue())
        return 0

    def slots_free(self) -> int:
        """Slots of the send queue that may still be filled; stock keeps two back."""
        return self.queue_slots - len(self.send_queue()) - 2

    def sort_queue(self) -> SortQueue:
        """The queue that aru and retransmission are about."""
        return self.recovery_q if self.state is State.RECOVERY else self.regular_q

    def believed_alive(self) -> list[int]:
        """proc - failed, in the order learnt."""
        return [n for n in self.proc if n not in self.failed]

    def agreed(self) -> bool:
        """Everybody believed alive has sent a JOIN equal to our lists."""
        return all(n in self.consensus for n in self.believed_alive())

    # Old-ring state (spec section 6.1): that of the last installed ring survives failed attempts.

    def save_old_ring(self) -> None:
        """On entering COMMIT, unless an earlier attempt has saved it."""
        if self.old_saved:
            return
        self.old_ring_id = self.ring_id
        self.old_aru = self.my_aru
        self.old_high = self.my_high_seq
        self.old_saved = True
        self.log(LOG_DEBUG, f"Saving state aru {self.my_aru:x} high seq received {self.my_high_seq:x}")

    def restore_old_ring(self) -> None:
        """Recovery failed."""
        self.my_aru = self.old_aru
        self.my_high_seq = self.old_high
        self.log(LOG_DEBUG, f"Restoring my_aru {self.my_aru:x} my high seq received {self.my_high_seq:x}")

    # Sending and receiving on the current ring.

    def resend_token(self) -> None:
        """Send the last token once more."""
        if self.last_token_frame:
            if self.last_token_frame[3] == wire.FrameType.ORF_TOKEN:
                self.stats.orf_token_tx += 1
            else:
                self.stats.memb_commit_token_tx += 1
            self.unicast(self.next_hop, self.last_token_frame)

    def cancel_hold(self) -> None:
        """Something wants to be sent: free a held token (spec section 5.2)."""
        if self.token_held:
            self.token_held = False
            self.stats.token_hold_cancel_tx += 1
            head = wire.header(wire.FrameType.HOLD_CANCEL, self.me)
            self.broadcast_and_own(wire.HOLD_CANCEL.pack(wire.HoldCancelFrame(head, self.ring_id)))

    def deliver(self, to: int, *, safe_only: bool) -> None:
        """Hand up my_high_delivered+1 .. `to`, stopping at the first hole.

        With `safe_only` it stops as well at a message that asks for safe delivery and is not known
        to be at all members.  The total order then holds back what comes behind it.
        """
        frames = self.regular_q.ordered(self.my_high_delivered, to, safe_only, self.safe_aru)
        if frames:
            self.my_high_delivered = (self.my_high_delivered + len(frames)) & MASK
            self.user.deliver_frames(frames)
