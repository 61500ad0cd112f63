"""Delivery of multicasts to the programs of this node, from the frame to the event in one go."""

from collections.abc import Callable, Sequence

from aisexec.totem.assembly import Sink
from ipc._event_batch import EventBatch

class Multicasts(Sink):
    """Takes ordinary cpg multicasts; what is wrong with one is found out and said by the engine."""

    batch: EventBatch | None
    """Where events go; to be set to None when something else is said to a client."""
    watch: Callable[[int, bytes], object] | None
    """Told of each message that is taken: its sender, and the executive message."""
    taken: int
    """How many messages so far."""

    def __init__(
        self,
        open_batch: Callable[[], EventBatch],
        receivers: Callable[[int, bytes], Sequence[int]],
    ) -> None:
        """receivers: clients that get the messages of a node to a group; raises AnomalyError."""

    def forget(self) -> None:
        """Groups or their members have changed: ask for the receivers again."""
