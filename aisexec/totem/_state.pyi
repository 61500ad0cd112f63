from collections import deque

from aisexec.totem._packing import Packer
from aisexec.totem.core import RingUser, State
from aisexec.totem.interrupted import InterruptedMessage
from aisexec.totem.settings import Settings
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.stats import Stats
from aisexec.totem.timers import Timer, Timers
from aisexec.totem.types import Effect, RingId

class FlowState:
    """What this member put into fcc and backlog at its last visit."""

    sent_last_visit: int
    queued_last_visit: int

class CoreState:
    """The part of `core.Core` that the compiled leaves read and write; see there for each name.

    Sequence numbers, nodeids and counts raise OverflowError when their 32 bits do not hold what is given.
    """

    settings: Settings
    state: State
    ring_id: RingId
    user: RingUser
    effects: list[Effect]
    own_frames: deque[bytes]
    timers: Timers[Timer]
    stats: Stats
    memb: tuple[int, ...]
    memb_set: frozenset[int]
    regular_q: SortQueue
    staging: Packer | None
    """Whose packets `user.token_received()` hands down; asked first whether there are any."""
    q_new: deque[tuple[bytes, int]]
    q_trans: deque[tuple[bytes, int]]
    interrupted: InterruptedMessage
    interrupted_trans: InterruptedMessage
    last_token_frame: bytes
    now: float
    last_token_at: float
    last_pause_check: float
    global_seqno: int
    my_seq_unchanged: int
    hold_cancels: int
    aru_count: int
    usual_size: int
    me: int
    next_hop: int
    my_aru: int
    my_high_seq: int
    my_high_delivered: int
    last_released: int
    safe_aru: int
    my_last_aru: int
    my_token_seq: int
    my_last_seq: int
    token_held: bool
    old_saved: bool
    discard_token: bool
    waiting_trans_ack: bool
    token_callback_wanted: bool
