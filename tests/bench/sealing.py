"""What sealing and opening a frame costs, by algorithm and library:

    python -m tests.bench.sealing [--size 1400] [--frames 20000]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

from aisexec.net.crypto import Sealer
from aisexec.net.crypto_models import ALGORITHMS, cipher_maker
from aisexec.net.keys import Keys
from aisexec.net.sealed_frame import OVERHEAD

CASES = (
    ("aes256", "openssl"),
    ("aes128", "openssl"),
    ("chacha20", "openssl"),
    ("aes256", "pycryptodome"),
    ("chacha20", "pycryptodome"),
    ("sha256", None),
    ("sha1", None),
)


def microseconds(work: Callable[[], object], frames: int) -> float:
    """Processor time for each frame, which others on the machine disturb least."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / frames * 1e6


def measure(algorithm: str, model: str | None, size: int, frames: int) -> tuple[float, float, float, float]:
    """Sealing and opening a frame, header, key and replay window included; and the library's share."""
    maker = cipher_maker(ALGORITHMS[algorithm], model)
    keys = Keys(os.urandom(256), maker)
    sender, receiver = (Sealer(keys, nodeid, (1, 2), os.urandom) for nodeid in (1, 2))
    receiver.open(sender.seal(b"join", 0.0), 0.0)
    while sender.replies or receiver.replies:
        for one, other in ((sender, receiver), (receiver, sender)):
            replies, one.replies = one.replies, []
            for _, datagram in replies:
                other.open(datagram, 0.0)
    frame = os.urandom(size)
    sealed: list[bytes] = []
    sealing = microseconds(lambda: sealed.extend(sender.seal(frame, 0.0) for _ in range(frames)), frames)
    opened: list[object] = []
    opening = microseconds(lambda: opened.extend(receiver.open(each, 0.0) for each in sealed), frames)
    assert all(each == frame for each in opened)
    cipher, nonce, header = maker.make(bytes(16 if algorithm == "aes128" else 32)), bytes(12), bytes(37)
    body = cipher.seal(nonce, frame, header)
    seal = microseconds(lambda: [cipher.seal(nonce, frame, header) for _ in range(frames)], frames)
    open_ = microseconds(lambda: [cipher.open(nonce, body, header) for _ in range(frames)], frames)
    return sealing, opening, seal, open_


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.sealing", description=__doc__)
    parser.add_argument("--size", type=int, default=1400, help="bytes of a frame (default %(default)s)")
    parser.add_argument("--frames", type=int, default=20000)
    arguments = parser.parse_args(argv)
    print(f"{arguments.size} bytes, {OVERHEAD} more when sealed; microseconds a frame")
    print(f"{'':28} {'seal':>8} {'open':>8}   library alone")
    for algorithm, model in CASES:
        costs = measure(algorithm, model, arguments.size, arguments.frames)
        cells = f"{costs[0]:>8.2f} {costs[1]:>8.2f} {costs[2]:>8.2f} {costs[3]:>8.2f}"
        print(f"{algorithm + ' ' + (model or 'hashlib'):28} {cells}")


if __name__ == "__main__":
    main()
