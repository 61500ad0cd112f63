"""corosync.conf and the files of uidgid.d: parsed, checked, derived from, explained, and run with."""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aisexec.config import Effective, effective, load
from aisexec.config.explain import check_report, explain
from aisexec.config.keyfile import read_key
from aisexec.config.limits import NODES_MAX, SYNTAX_ERRORS_MAX
from aisexec.config.machine import directory_problem
from aisexec.config.schema import keys
from tests.fuzz.hostile import HOSTILE
from tests.fuzz.records import STEPS_MAX, Step, join, steps
from tests.sim.network import Network
from tests.unit.config_support import addresses_list, machine

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 10.0

MAIN, ADMITTED = range(2)
"""Step.what: a piece of the main file, or a file of uidgid.d."""

ROOT: Final = Path(__file__).parents[3]
_NUMBERS: Final = tuple(str(value).encode() for value in (*HOSTILE["q"], *HOSTILE["Q"][-3:]))
_ODD: Final = (b"", b"on", b"yes", b"no", b"\xff", b"-", b"0x10", b"1e3", b" ", b"{", b"}", b":", b"\0")


def fuzz(data: bytes) -> None:
    """Problems or a configuration; what is accepted makes a ring."""
    directory = tempfile.mkdtemp(prefix="aisexec-fuzz-config-", dir="/dev/shm")
    try:
        _in_directory(directory, data)
    finally:
        shutil.rmtree(directory)


def _in_directory(directory: str, data: bytes) -> None:
    main = b""
    os.mkdir(f"{directory}/uidgid.d")
    for number, step in enumerate(steps(data)):
        if step.what % 2 == MAIN:
            main += step.data
        else:
            Path(directory, "uidgid.d", str(number)).write_bytes(step.data)
    path = Path(directory, "corosync.conf")
    path.write_bytes(main)
    loaded = load(str(path), {})
    imagined = replace(machine(), read_key=read_key, directory_problem=directory_problem)
    config = effective(loaded, imagined)
    assert (config is None) == bool(loaded.errors)
    files = 1 + STEPS_MAX
    lines = main.count(b"\n") + files
    assert len(loaded.problems.found) <= files * (SYNTAX_ERRORS_MAX + 1) + 20 * lines + 200
    for report in (check_report(loaded), explain(config) if config is not None else "\n"):
        assert report.endswith("\n")
        assert report.replace("\n", "").isprintable()
    if config is not None:
        _run(config)


def _run(config: Effective) -> None:
    """A node of its own with these timeouts and sizes: it forms a ring and hears itself."""
    assert 1 <= len(config.nodes) <= NODES_MAX
    assert all(0 <= uid < 2**32 - 1 for uid in (*config.uids, *config.gids))
    settings = config.totem
    net = Network([1], settings=settings)
    net.start()
    patience = 10 * (settings.token + settings.consensus + settings.join + settings.send_join + 1)
    net.settle([1], within=patience)
    node = net.nodes[1]
    message = bytes(range(256)) * 20
    assert node.submit(message)
    event = ("D", 1, message)
    visits = 2 * len(message) / settings.net_mtu + 5
    patience = visits * (settings.hold + settings.token_retransmit + 1)
    assert net.run_until(lambda: event in node.app.history, net.now + patience), "not delivered"


@cache
def seeds() -> Sequence[bytes]:
    """Our examples, files of older versions, and one with every key."""
    from tests.unit import test_config_examples

    texts = [path.read_bytes() for path in sorted(ROOT.glob("etc/*.example*"))]
    written = (value for value in vars(test_config_examples).values() if isinstance(value, str))
    texts += [value.encode() for value in written if "{" in value]
    good = f"totem {{\nversion: 2\ntransport: udpu\n}}\n{addresses_list(3)}".encode()
    texts += [good, good + b"quorum {\nprovider: corosync_votequorum\ntwo_node: 1\n}\n", _every_key()]
    admitted = Step(ADMITTED, 0, b"uidgid {\n\tuid: root\n\tgid: 1000\n}\n")
    return [join([Step(MAIN, 0, text[:6000]), admitted]) for text in texts]


def _every_key() -> bytes:
    lines: list[bytes] = []
    for info in keys():
        path = [part for part in info.section.split(".") if part]
        lines += [part.encode() + b" {" for part in path]
        value = info.options[0] if info.options else "1" if info.default is None else str(info.default)
        lines.append(f"{info.key}: {value}".encode())
        lines += [b"}"] * len(path)
    return b"\n".join(lines) + b"\n"


@cache
def _words() -> tuple[bytes, ...]:
    found = {word for info in keys() for word in (info.key, *info.section.split("."), *info.options)}
    return tuple(sorted(word.encode() for word in found if word))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A line: its value, its key, its place; or a whole section of another file."""
    parts = list(steps(data)) or [Step(MAIN, 0, b"")]
    index = rng.randrange(len(parts))
    lines = parts[index].data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, rng.choice(lines))
        case 2:
            lines.insert(at, rng.choice(_words()) + rng.choice((b" {", b": ", b"", b": 1")))
        case 3:
            other = rng.choice(list(steps(rng.choice(seeds())))).data.split(b"\n")
            start = rng.randrange(len(other))
            lines[at:at] = other[start : start + rng.randint(1, 10)]
        case 4:
            long = b"a" * rng.choice((250, 300, 507, 508, 600)) + b": 1"
            lines[at] = rng.choice((b"}", b"{", b"#", b"\t", long))
        case _:
            key = re.match(rb"[^:]*", lines[at])
            value = rng.choice(rng.choice((_NUMBERS, _ODD, _words())))
            lines[at] = (key[0] if key else b"") + b": " + value
    parts[index] = parts[index]._replace(data=b"\n".join(lines))
    return join(parts)


def inputs() -> SearchStrategy[bytes]:
    """Sections and keys of the schema with hostile values; spoilt files."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, mixed

    value = st.sampled_from((*_NUMBERS, *_ODD, *_words())) | st.binary(max_size=20)
    known = st.sampled_from([(info.section, info.key, info.options) for info in keys()])

    def line(info: tuple[str, str, tuple[str, ...]], odd: bytes, option: int | None) -> bytes:
        section, key, options = info
        path = [part.encode() for part in section.split(".") if part]
        said = options[option % len(options)].encode() if options and option is not None else odd
        body = b"".join(part + b" {\n" for part in path) + key.encode() + b": " + said + b"\n"
        return body + b"}\n" * len(path)

    entry = st.builds(line, known, value, st.none() | st.integers(0, 9))
    base = st.sampled_from([b"", f"totem {{\nversion: 2\ntransport: udpu\n}}\n{addresses_list(2)}".encode()])

    def whole(start: bytes, entries: list[bytes], admitted: bytes) -> bytes:
        return join([Step(MAIN, 0, start), *(Step(MAIN, 0, e) for e in entries), Step(ADMITTED, 0, admitted)])

    files = st.builds(whole, base, st.lists(entry, max_size=6), entry | st.binary(max_size=60))
    return mixed(files, damaged(seeds(), mutate))
