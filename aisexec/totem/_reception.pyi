from collections.abc import Callable

from aisexec.totem.core import Core

def receive(
    core: Core,
    frames: list[tuple[bytes, str]],
    visit: Callable[[Core, bytes, Callable[[Core, bool], object]], bool],
    one_frame: Callable[[bytes, str], object],
    own_frames: Callable[[], object],
) -> None:
    """Handle frames in order, as they came with their senders' names.

    In OPERATIONAL, messages of our own ring that follow each other are taken in one go, and ordinary tokens
    go to `visit`; what is said of messages in `ring._mcast` and `_keep` holds here.  Every other frame
    goes to `one_frame`.  `own_frames` is called when something was left for ourselves.
    """

def holds_token(frames: list[tuple[bytes, str]]) -> bool:
    """Is a token among these frames?"""
