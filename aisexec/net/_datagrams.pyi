from collections.abc import Callable

SOL_UDP: int
UDP_SEGMENT: int
UDP_GRO: int

SEGMENTS_MAX: int
"""Frames of one call: the limit of kernels before 6.9; newer ones take 128."""

CALL_BYTES_MAX: int
"""Bytes of one call."""

def receive(
    fd: int,
    buffer: bytearray,
    names: dict[bytes, str],
    judge: Callable[[bytes, int], str | None],
    *,
    frames_max: int,
    bytes_max: int,
) -> tuple[list[tuple[bytes, str]], int, int]:
    """Read from a socket until nothing is left or much was read: the frames with their senders' names, their
    bytes altogether, and the errno of what ended it other than that, or 0.

    names: of senders by `struct sockaddr`.  judge: called with the `struct sockaddr` of one that is not
    among them, or of any whose frame fills the buffer, and that frame's size; gives the name, or None to
    have the datagram thrown away.
    """

def runs(frames: list[bytes]) -> list[int]:
    """How many frames go in each call of `send`: those of one size, then perhaps a shorter one."""

def send(
    fd: int, frames: list[bytes], start: int, address: bytes, in_runs: bool
) -> tuple[int, int, int, int]:
    """Send frames[start:] to a `struct sockaddr`, in runs of which each is one call, or one by one.

    Returns the index of the first frame not sent, the bytes sent, and, when a call failed, its errno and
    how many frames it had; 0 and 0 otherwise.
    """
