"""How fast is our executive next to stock corosync: the same client, the same three nodes, in turn.

    python -m tests.bench.compare [--seconds N] [--sizes 64 320 ...] [--transport udpu] [--mixes sss aaa]

Needs root and Debian's corosync and libcpg-dev.  One program sends, on node 2 (node 1 is the ring's
representative), the others receive.  Throughput counts the sender's own deliveries; latency is the
median from a send to its delivery when nothing else is under way.  What encryption costs:
`--mixes aaa aaa+openssl aaa+pycryptodome aaa+pycryptodome/chacha20`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.needs import missing
from tests.harness.node import Node
from tests.harness.programs import compiled

SIZES = (64, 320, 1600, 8000, 40000, 200000)
SECONDS = 4.0
SENDER = 2
GROUP = "bench"
SLACK = 60.0
"""Seconds beyond the time of sending, for latency and for what is still under way."""

KINDS = {"s": "corosync", "a": "aisexec"}


class Measured(NamedTuple):
    """One size on one ring: messages and megabytes a second, microseconds."""

    messages: float
    megabytes: float
    latency: float


Table = dict[int, Measured]


def start(node: Node, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """cpg_bench on a node, joined."""
    program = node.popen([compiled("cpg_bench"), *arguments], stdin=subprocess.PIPE)
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line == "ready\n", f"cpg_bench on {node}: {line!r}"
    return program


def measure(cluster: Cluster, sizes: Iterable[int], seconds: float) -> Table:
    """Every size on a ring that has formed."""
    receivers = [start(node, ["receive", GROUP]) for node in cluster.nodes.values() if node.nodeid != SENDER]
    numbers = [str(size) for size in sizes]
    sender = start(cluster[SENDER], ["send", GROUP, str(seconds), *numbers])
    output, _ = sender.communicate(timeout=len(numbers) * (seconds + SLACK))
    assert sender.returncode == 0, output
    sent = sum(int(line.split()[2]) for line in output.splitlines() if line.startswith("throughput"))
    for receiver in receivers:
        # Ends at the end of its input, and tells how much arrived: nothing may be missing.
        rest, _ = receiver.communicate(timeout=SLACK)
        received = int(rest.split()[1])
        assert received >= sent, f"a receiver got {received} of {sent}"
    return table(output)


def table(output: str) -> Table:
    """Of what cpg_bench printed."""
    throughput: dict[int, tuple[float, float]] = {}
    latency: dict[int, float] = {}
    for line in output.splitlines():
        match line.split():
            case ["throughput", size, messages, seconds]:
                throughput[int(size)] = (int(messages), float(seconds))
            case ["latency", size, microseconds]:
                latency[int(size)] = float(microseconds)
    return {
        size: Measured(count / seconds, count * size / seconds / 1e6, latency[size])
        for size, (count, seconds) in throughput.items()
    }


def name(mix: str) -> str:
    """`corosync`, `aisexec`, or the mix where it is one; the library when it encrypts."""
    kinds, _, crypto = mix.partition("+")
    return crypto or (KINDS[kinds[0]] if len(set(kinds)) == 1 else kinds)


def settings_of(mix: str, transport: str, directory: Path) -> Settings:
    """Behind a `+`: crypto_model, and behind a `/` crypto_cipher."""
    totem: dict[str, object] = {"token": 1000}
    _, _, crypto = mix.partition("+")
    if crypto:
        key = directory / "authkey"
        key.write_bytes(os.urandom(256))
        key.chmod(0o400)
        model, _, cipher = crypto.partition("/")
        totem |= {"secauth": "on", "keyfile": key, "crypto_model": model, "crypto_cipher": cipher or "aes256"}
    return Settings(transport=transport, totem=totem)


def report(tables: dict[str, Table]) -> str:
    """Side by side, with the ratio of the last ring to the first."""
    mixes = list(tables)
    head = " ".join(f"{name(mix):>10} msg/s {'MB/s':>8} {'us':>8}" for mix in mixes)
    lines = [f"{'size':>8} {head}   throughput  latency (ratio {name(mixes[-1])}/{name(mixes[0])})"]
    for size in tables[mixes[0]]:
        cells = [tables[mix][size] for mix in mixes]
        row = " ".join(f"{c.messages:>16.0f} {c.megabytes:>8.2f} {c.latency:>8.0f}" for c in cells)
        first, last = cells[0], cells[-1]
        ratios = f"{last.messages / first.messages:>12.2f} {last.latency / first.latency:>8.2f}"
        lines.append(f"{size:>8} {row} {ratios}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.compare", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each size (default %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of a message")
    parser.add_argument("--transport", choices=["udpu", "udp"], default="udpu")
    parser.add_argument(
        "--mixes",
        nargs="+",
        default=["sss", "aaa"],
        help="rings: a letter for each node, s stock, a aisexec; +MODEL[/CIPHER] encrypts",
    )
    arguments = parser.parse_args(argv)
    lacking = missing("".join(mix.partition("+")[0] for mix in arguments.mixes))
    if lacking:
        print(lacking, file=sys.stderr)
        return 1
    tables: dict[str, Table] = {}
    for mix in arguments.mixes:
        with tempfile.TemporaryDirectory(prefix="aisexec-bench-") as directory:
            settings = settings_of(mix, arguments.transport, Path(directory))
            with Cluster(mix.partition("+")[0], Path(directory), settings) as cluster:
                cluster.start()
                tables[mix] = measure(cluster, arguments.sizes, arguments.seconds)
    print(report(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
