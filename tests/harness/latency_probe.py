"""A well-behaved member of a group that tells how long it has to wait:

    python -m tests.harness.latency_probe GROUP

Prints `ready`; for each line `COUNT PAUSE_MS` it makes so many round trips, one at a time, and prints in
microseconds `MCAST median p99 worst QUERY median p99 worst`: from a multicast to its own delivery, and
from a question to its answer.  Ends with its input.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from libais import cpg

PATIENCE = 60.0
"""Seconds for one round trip."""
SIZE = 64


def summary(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and worst."""
    ordered = sorted(seconds)
    chosen = (ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])
    return " ".join(f"{value * 1e6:.0f}" for value in chosen)


def round_trip(handle: cpg.Handle, number: int) -> None:
    """Send and wait for the own delivery."""
    message = str(number).encode().ljust(SIZE)
    handle.mcast_joined(message)
    for event in handle.events(PATIENCE):
        if isinstance(event, cpg.Deliver) and event.message == message:
            return
    sys.exit(f"message {number} was not delivered within {PATIENCE:g} s")


def main() -> None:
    with cpg.Handle(retry_for=PATIENCE) as handle:
        handle.join(sys.argv[1])
        round_trip(handle, -1)
        print("ready", flush=True)
        for line in sys.stdin:
            count, pause = map(float, line.split())
            mcast: list[float] = []
            query: list[float] = []
            for number in range(int(count)):
                started = time.perf_counter()
                round_trip(handle, number)
                between = time.perf_counter()
                handle.local_get()
                ended = time.perf_counter()
                mcast.append(between - started)
                query.append(ended - between)
                time.sleep(pause / 1000)
            print("MCAST", summary(mcast), "QUERY", summary(query), flush=True)


if __name__ == "__main__":
    main()
