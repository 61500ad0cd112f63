"""What the C client counts is what the Python client counts, and harm is found by both."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.bench import wire
from tools.bench.build import FLAGS, SOURCES
from tools.bench.python_client import Tally
from tools.bench.wire import HEAD, MEMBERS_MAX, Head, Kind, Mode, Plan, Report, Senders

MEMBERS = [(1, 10), (2, 20), (300, 7)]
WARMUP = 50
BEGAN = 1000


class Origin(ctypes.Structure):
    """struct origin of tally.h."""

    _fields_ = [
        ("nodeid", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("next", ctypes.c_uint64),
        ("sends", ctypes.c_int),
        ("ended", ctypes.c_int),
    ]


class CTally(ctypes.Structure):
    """struct tally of tally.h."""

    _fields_ = [
        ("origins", Origin * MEMBERS_MAX),
        ("count", ctypes.c_size_t),
        ("timed", ctypes.c_int),
        ("window_from", ctypes.c_uint64),
        ("window_first", ctypes.c_uint64),
        ("window_last", ctypes.c_uint64),
        ("report", ctypes.c_uint64 * len(Report._fields)),
    ]


class Arrival(NamedTuple):
    """A DATA: whose, its number, how long after the one before, how late, and whether a byte is wrong."""

    sender: int
    number: int
    pause: int
    latency: int
    harmed: bool


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        st.integers(0, len(MEMBERS) - 1),
        st.integers(0, 12),
        st.integers(0, 30),
        st.integers(0, 900),
        st.booleans(),
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        pytest.skip("needs packages: gcc")
    path = tmp_path_factory.mktemp("tally") / "tally.so"
    sources = [SOURCES / "tally.c", SOURCES / "pattern.c"]
    subprocess.run(["gcc", *FLAGS, "-Werror", "-shared", "-fPIC", "-o", path, *sources], check=True)
    library = ctypes.CDLL(str(path))
    library.tally_origin.restype = ctypes.c_void_p
    library.pattern_make()
    return library


def message_of(arrival: Arrival, size: int, now: int) -> tuple[Head, bytes]:
    head = Head(Kind.DATA, 5, size, arrival.number, now - arrival.latency)
    body = bytearray(wire.content(MEMBERS[arrival.sender][0], arrival.number, size - HEAD.size))
    if arrival.harmed and body:
        body[arrival.number % len(body)] ^= 1
    return head, wire.pack_head(head) + bytes(body)


def count_in_c(library: ctypes.CDLL, plan: Plan, arrivals: list[Arrival]) -> Report:
    tally = CTally()
    library.tally_begin(ctypes.byref(tally), wire.pack_plan(plan), ctypes.c_uint64(BEGAN))
    tally.count = len(MEMBERS)
    for index, (nodeid, pid) in enumerate(MEMBERS):
        tally.origins[index] = Origin(nodeid, pid, 0, 1, 0)
    now = BEGAN
    for arrival in arrivals:
        now += arrival.pause
        _, message = message_of(arrival, plan.size, now)
        origin = library.tally_origin(ctypes.byref(tally), *MEMBERS[arrival.sender])
        library.tally_data(ctypes.byref(tally), ctypes.c_void_p(origin), message, ctypes.c_uint64(now))
    for index, sender in enumerate(MEMBERS):
        assert not library.tally_all_ended(ctypes.byref(tally))
        origin = library.tally_origin(ctypes.byref(tally), *sender)
        library.tally_end(ctypes.byref(tally), ctypes.c_void_p(origin), ctypes.c_uint64(10 + index))
    assert library.tally_all_ended(ctypes.byref(tally))
    library.tally_finish(ctypes.byref(tally))
    return Report(*tally.report)


def count_in_python(plan: Plan, arrivals: list[Arrival]) -> Report:
    tally = Tally(plan, MEMBERS, MEMBERS[0], BEGAN)
    now = BEGAN
    for arrival in arrivals:
        now += arrival.pause
        head, message = message_of(arrival, plan.size, now)
        tally.data(MEMBERS[arrival.sender], head, message, now)
    ends = [tally.end(sender, 10 + index) for index, sender in enumerate(MEMBERS)]
    assert ends == [False, False, True]
    return tally.report()


@given(ARRIVALS, st.sampled_from(Mode), st.sampled_from([HEAD.size, HEAD.size + 1, 320, 5000]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_both_count_alike(library: ctypes.CDLL, arrivals: list[Arrival], mode: Mode, size: int) -> None:
    plan = Plan(mode, Senders.ALL, size, WARMUP, 10_000, 0)
    assert count_in_c(library, plan, arrivals) == count_in_python(plan, arrivals)


def test_every_harm_is_counted(library: ctypes.CDLL) -> None:
    """From the first sender 0, 1 harmed, 1 again, 4 and then the end after 10; from the others nothing."""
    numbers = ((0, False), (1, True), (1, False), (4, False))
    arrivals = [Arrival(0, number, 1, 5, harmed) for number, harmed in numbers]
    plan = Plan(Mode.PING, Senders.ALL, 320, 0, 10_000, 0)
    report = count_in_c(library, plan, arrivals)
    assert (report.messages, report.corrupt, report.duplicated) == (4, 1, 1)
    assert report.lost == 2 + 5 + 11 + 12
    assert (report.samples, report.p50, report.longest) == (4, 5, 5)


@pytest.mark.parametrize("place", [0, 1, 4091, 4092, 4093, 10**6])
def test_the_pattern_is_the_same(library: ctypes.CDLL, place: int) -> None:
    library.pattern_of.restype = ctypes.c_void_p
    address = library.pattern_of(ctypes.c_uint32(place), ctypes.c_uint64(place))
    assert ctypes.string_at(address, wire.SIZE_MAX) == wire.content(place, place, wire.SIZE_MAX)
