"""Sends datagrams to a node that no node of a cluster would send:

    python -m tests.harness.hostile_frames ADDRESS PORT RING_REP RING_SEQ

Runs on the host of another node, so that they come from an address of the nodelist.  None of them can be
taken for a frame that is in order; what a forged frame in order does is for authentication to prevent.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
from collections.abc import Iterator

from aisexec.totem import wire
from aisexec.totem.types import RingId

STRANGER = 77
"""Node id that is not in the nodelist."""
HUGE = (385, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
RANDOM_FRAMES = 1500
LONGEST = 60_000


def frames(ring: RingId, rng: random.Random) -> Iterator[bytes]:
    """Every kind of them."""
    yield from random_bytes(rng)
    whole = list(well_formed(ring))
    for frame in whole:
        yield from truncated(frame)
        yield from foreign(frame)
    yield from oversized_counts(ring)
    yield from wild_payloads(ring, rng)


def random_bytes(rng: random.Random) -> Iterator[bytes]:
    """Nothing of a frame, or the magic and version and then nothing."""
    for number in range(RANDOM_FRAMES):
        size = LONGEST if number % 100 == 0 else rng.randrange(120)
        head = struct.pack("<HB", wire.MAGIC, wire.VERSION) if number % 2 else b""
        # Types from 6 on do not exist.
        yield head + bytes([rng.randrange(6, 256)]) + rng.randbytes(size)


def well_formed(ring: RingId) -> Iterator[bytes]:
    """A frame of each type, to be spoiled."""
    token = wire.header(wire.FrameType.ORF_TOKEN, STRANGER)
    yield wire.OrfToken(token, 1, 1, 0, 0, ring, 0, 0, 0, (wire.RtrItem(ring, 1),) * 3).pack()
    yield wire.Join(STRANGER, STRANGER, (1, 2, 3, STRANGER), (4, 5), ring.seq).pack()
    entry = wire.CommitEntry(ring, 0, 0, 0)
    yield wire.CommitToken(STRANGER, 0, ring, 0, 0, (1, 2, 3), (entry,) * 3).pack()
    yield wire.MERGE_DETECT.pack(
        wire.MergeDetectFrame(wire.header(wire.FrameType.MERGE_DETECT, STRANGER), STRANGER, ring)
    )
    yield wire.HOLD_CANCEL.pack(wire.HoldCancelFrame(wire.header(wire.FrameType.HOLD_CANCEL, STRANGER), ring))


def truncated(frame: bytes) -> Iterator[bytes]:
    """All that are too short."""
    yield from (frame[:length] for length in range(len(frame)))


def foreign(frame: bytes) -> Iterator[bytes]:
    """Of another protocol, version, or byte order."""
    yield b"\xfe\xfe" + frame[2:]
    for version in (0, 2, 4, 255):
        yield frame[:2] + bytes([version]) + frame[3:]
    yield frame[1::-1] + frame[2:]


def oversized_counts(ring: RingId) -> Iterator[bytes]:
    """Counts beyond the limit, and counts of what is not there."""
    for count in HUGE:
        join = wire.header(wire.FrameType.JOIN, STRANGER)
        yield wire.JOIN.pack(wire.JoinFixed(join, STRANGER, count, 1, 8)) + bytes(200)
        yield wire.JOIN.pack(wire.JoinFixed(join, STRANGER, 1, count, 8)) + bytes(200)
        token = wire.header(wire.FrameType.ORF_TOKEN, STRANGER)
        fixed = wire.OrfTokenFixed(token, 1, 0xFFFFFFF0, 0, 0, ring, 0, 0, 0, count)
        yield wire.ORF_TOKEN.pack(fixed) + bytes(200)
        commit = wire.header(wire.FrameType.COMMIT_TOKEN, STRANGER)
        yield wire.COMMIT_TOKEN.pack(wire.CommitTokenFixed(commit, 1, ring, 0, 0, count)) + bytes(200)


def wild_payloads(ring: RingId, rng: random.Random) -> Iterator[bytes]:
    """Messages of the ring whose inside points beyond their end, with numbers nobody waits for."""
    for _ in range(50):
        seq = rng.choice([0, 0x40000000, 0x7FFFFFFF, 0xFFFFFFFF])
        head = wire.McastHeader(
            wire.header(wire.FrameType.MCAST, STRANGER, wire.Encapsulated.PLAIN), STRANGER, seq, 0, ring, 0, 0
        )
        yield wire.MCAST.pack(head) + rng.choice([b"", b"\xff" * 40, rng.randbytes(1300)])


def main() -> None:
    address, port, rep, seq = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4], 16)
    count = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for frame in frames(RingId(rep, seq), random.Random(1)):
            sender.sendto(frame, (address, port))
            count += 1
    print(count)


if __name__ == "__main__":
    main()
