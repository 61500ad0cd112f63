"""The benchmark's arithmetic, its tables and pictures, and that both clients speak alike."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import plan, report
from tests.bench.charts import picture
from tests.bench.plan import KNET, OURS, STOCK, Goal, Part, points
from tests.bench.ring import figures_of
from tests.bench.rounds import Bench, Measured, Record
from tests.bench.rows import rows
from tests.bench.svg import Chart, Line, decades, document, panel, short, steps
from tools.bench import wire
from tools.bench.build import SOURCES
from tools.bench.command import build_parser
from tools.bench.executives import kind_of
from tools.bench.figures import (
    BenchError,
    MemberReport,
    Result,
    Spread,
    parse_result,
    percentile,
    ratio,
)
from tools.bench.profiling import by_function, by_room, parse_folded, summary
from tools.bench.python_client import parse_run
from tools.bench.wire import Head, Kind, Mode, Plan, Report, Senders

SECOND = 1_000_000_000
GOOD = Report(messages=1500, window_messages=1000, window_time=2 * SECOND, digest=7, cpu=SECOND // 2)


def result(*reports: Report, mode: Mode = Mode.FLOOD) -> Result:
    members = tuple(MemberReport(node, 100 + node, seen) for node, seen in enumerate(reports, start=1))
    return Result(mode, Senders.ONE, 8000, members)


class TestFigures:
    def test_the_slowest_member_counts(self) -> None:
        found = result(GOOD, GOOD._replace(window_time=4 * SECOND))
        assert found.rate == 250
        assert found.megabytes == 2.0
        assert found.client_cpu == 1.0
        assert found.problems() == []

    @pytest.mark.parametrize(
        ("harm", "told"),
        [
            ({"lost": 2}, "node 2: 2 messages lost"),
            ({"duplicated": 1}, "node 2: 1 messages duplicated"),
            ({"corrupt": 1}, "node 2: 1 messages corrupt"),
            ({"digest": 8}, "same order"),
            ({"messages": 1499}, "same order"),
            ({"window_messages": 0}, "fewer than two"),
        ],
    )
    def test_broken_promises_are_told(self, harm: dict[str, int], told: str) -> None:
        (problem,) = result(GOOD, GOOD._replace(**harm)).problems()
        assert told in problem

    def test_only_the_same_clock_counts(self) -> None:
        found = result(GOOD._replace(boot=1), GOOD._replace(boot=1), GOOD._replace(boot=2))
        assert found.same_clock(2) == [1]

    def test_latencies_are_microseconds(self) -> None:
        found = result(*(Report(p50=node * 3000, boot=1) for node in (1, 2, 3)), mode=Mode.PING)
        figures = figures_of(found)
        assert figures["self_p50"] == 6
        assert figures["remote_p50"] == pytest.approx((3 + 9) / 2)

    def test_what_the_client_prints(self) -> None:
        event = {
            "event": "result",
            "mode": "flood",
            "senders": "all",
            "size": 64,
            "members": [{"node": 1, "pid": 5, **GOOD._asdict()}],
        }
        found = parse_result(json.loads(json.dumps(event)))
        assert (found.mode, found.senders, found.size) == (Mode.FLOOD, Senders.ALL, 64)
        assert found.member(1).seen == GOOD

    @pytest.mark.parametrize("event", [{}, {"mode": "x", "senders": "one", "size": 1, "members": []}])
    def test_anything_else_is_refused(self, event: dict[str, object]) -> None:
        with pytest.raises(BenchError, match="not understood"):
            parse_result(event)

    @given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(0, 1000))
    def test_percentile_is_the_nearest_rank(self, samples: list[int], thousandths: int) -> None:
        value, share = percentile(samples, thousandths), thousandths / 1000
        not_above = sum(sample <= value for sample in samples)
        below = sum(sample < value for sample in samples)
        assert value in samples
        assert not_above >= share * len(samples) - 1e-6
        assert below <= share * len(samples) + 1e-6

    def test_ratio_of_medians(self) -> None:
        assert ratio(Spread((1, 9, 4)), Spread((2, 2, 100))) == 2
        assert ratio(Spread((1.0,)), Spread((0.0,))) is None


class TestWire:
    @given(st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
    def test_head_comes_back(self, kind: int, run: int, number: int, time: int) -> None:
        head = Head(kind, run, wire.HEAD.size, number, time)
        assert wire.unpack_head(wire.pack_head(head)) == head

    @given(st.integers(0, 31), st.integers(1, 255))
    def test_a_harmed_head_is_found(self, place: int, change: int) -> None:
        message = bytearray(wire.pack_head(Head(Kind.DATA, 7, wire.HEAD.size, 3, 10**15)))
        message[place] ^= change
        assert wire.unpack_head(bytes(message)) is None

    def test_a_cut_message_is_found(self) -> None:
        message = wire.pack_head(Head(Kind.DATA, 7, 100, 3, 0)) + bytes(67)
        assert wire.unpack_head(message) is None

    def test_digest_tells_orders_apart(self) -> None:
        deliveries = [(1, 0), (2, 0), (1, 1)]
        one = other = 0
        for delivery in deliveries:
            one = wire.next_digest(one, *delivery)
        for delivery in (deliveries[1], deliveries[0], deliveries[2]):
            other = wire.next_digest(other, *delivery)
        assert one != other

    def test_reports_have_the_same_fields_in_c(self) -> None:
        text = (SOURCES / "wire.h").read_text()
        block = text[text.index("#define REPORT_FIELDS") : text.index("struct report {")]
        assert tuple(re.findall(r"FIELD\((\w+)\)", block)) == Report._fields

    def test_numbers_are_the_same_in_c(self) -> None:
        text = (SOURCES / "wire.h").read_text() + (SOURCES / "pattern.c").read_text()
        assert f"BENCH_MAGIC 0x{wire.MAGIC:x}u" in text
        assert f"BENCH_SIZE_MAX {wire.SIZE_MAX}u" in text
        assert f"BENCH_MULTIPLIER 0x{wire.MULTIPLIER:x}u" in text
        assert f"PLACES {wire.PLACES}\n" in text

    def test_command_of_a_run(self) -> None:
        plan = parse_run(["run", "rate", "64", "2", "0.5", "100", "all"])
        assert plan == Plan(Mode.RATE, Senders.ALL, 64, SECOND // 2, 2 * SECOND, 100_000)

    @pytest.mark.parametrize(
        "line", ["", "run", "run x 64 1 0 0 one", "run ping 1 1 0 0 one", "run ping 64 nan 0 0 one"]
    )
    def test_other_commands_are_refused(self, line: str) -> None:
        assert parse_run(line.split()) is None


class FakeRing:
    """Measures nothing: twice the rate for ours."""

    def __init__(self, kind: str, nodes: int, directory: Path, **more: object) -> None:
        if kind == KNET:
            raise AssertionError("does not form")
        self.kind, self.nodes = kind, nodes

    def __enter__(self) -> FakeRing:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def measure(
        self, point: plan.Point, seconds: float, warmup: float, interval: float
    ) -> tuple[dict[str, float], list[str]]:
        factor = 2.0 if self.kind == OURS else 1.0
        shares = {"executives_share": 0.5, "clients_share": 0.2, "machine_share": 0.9}
        if point.mode == Mode.FLOOD:
            rate = factor * 1000
            return {"rate": rate, "megabytes": rate * point.size / 1e6, "cpu": 10 / factor, **shares}, []
        names = ("p50", "p99", "p999")
        latency = {f"{where}_{name}": 100.0 for where in ("self", "remote") for name in names}
        return {**latency, "interval": interval, **shares}, ["node 1: 1 messages lost"]

    def resident(self) -> float:
        return 30.0

    def failover(self) -> float:
        return 2.0


@pytest.fixture(scope="module")
def measured() -> Measured:
    effort = plan.Effort(rounds=2, curve=(2, 4), curve_rounds=1)
    return Bench(effort, FakeRing).run()  # type: ignore[arg-type]


class TestRounds:
    def test_rings_take_turns(self, measured: Measured) -> None:
        turns = [r.ring for r in measured.records if r.part == Part.MEMORY]
        assert turns == [STOCK, OURS, STOCK, OURS]

    def test_half_load_is_half_of_stock_for_both(self, measured: Measured) -> None:
        half = {r.figures["interval"] for r in measured.records if "half load" in r.point}
        assert half == {1 / 500}

    def test_what_went_wrong_is_told(self, measured: Measured) -> None:
        assert any("does not form" in problem for problem in measured.problems)
        assert any("1 messages lost" in problem for problem in measured.problems)

    def test_rows_have_ratios_and_verdicts(self, measured: Measured) -> None:
        found = {row.name: row for row in rows(measured)}
        assert found["throughput, one sending, 64 bytes"].ratio == 2
        assert found["throughput, one sending, 64 bytes"].verdict == "yes"
        assert found["throughput, one sending, 8000 bytes"].verdict == "no"
        assert found["CPU of executives, all sending, 64 bytes"].verdict == "yes"
        assert found["kept from 2 to 4 nodes: throughput, all sending, 64 bytes"].ratio == 1
        assert not any("knet" in name for name in found)

    @pytest.mark.parametrize("part", [Part.ONE, Part.ALL, Part.LATENCY, Part.CURVE, Part.LINK])
    def test_points_of_a_part_have_different_names(self, part: Part) -> None:
        names = [point.name for point in points(part)]
        assert len(set(names)) == len(names) > 0

    def test_goals(self) -> None:
        assert Goal(2.0).reached(1.996)
        assert not Goal(2.0).reached(1.99)
        assert Goal(1.2, at_least=False).reached(1.2)
        assert not Goal(1.2, at_least=False).reached(1.21)


class TestReport:
    def test_three_files(self, measured: Measured, tmp_path: Path) -> None:
        text = report.write(tmp_path, measured, plan.QUICK, {"machine": "a test"})
        assert (tmp_path / "bench.md").read_text() == text
        columns = {line.count("|") for line in text.splitlines() if line.startswith("| throughput, all")}
        assert columns == {8, 4}
        assert "50% / 20% / 20% / 10%" in text
        stored = json.loads((tmp_path / "bench.json").read_text())
        assert {row["name"] for row in stored["table"]} == {row.name for row in rows(measured)}
        assert Record(**stored["records"][0]) == measured.records[0]
        ElementTree.parse(tmp_path / "bench.svg")

    def test_a_picture_of_nothing(self) -> None:
        assert picture(Measured()).count("not measured") == 4


class TestSvg:
    def test_points_lie_inside(self) -> None:
        line = Line("a <line>", [(64, 2.0), (1000, 80.0)], [(1.5, 3.0), (70.0, 95.0)])
        root = ElementTree.fromstring(document("t", [Chart("c", "x", "y", [line])]))
        circles = [element for element in root.iter() if element.tag.endswith("circle")]
        (left, low), (right, high) = ((float(c.get("cx", 0)), float(c.get("cy", 0))) for c in circles)
        assert 0 < left < right < 460
        assert 320 > low > high > 0
        assert any(element.text == "a <line>" for element in root.iter())

    def test_zero_has_no_place_on_a_logarithmic_axis(self) -> None:
        assert "not measured" in panel(Chart("c", "x", "y", [Line("a", [(1, 0.0)])]))

    @given(st.floats(1e-3, 1e9), st.floats(1, 1e6))
    def test_ticks_enclose_the_values(self, least: float, span: float) -> None:
        most = least * span
        log, linear = decades(least, most), steps(most)
        assert log[0] <= least * 1.001
        assert most <= log[-1] * 1.001
        assert len(log) <= 24
        assert linear[0] == 0
        assert most <= linear[-1] * 1.001
        assert len(linear) <= 7

    def test_short_numbers(self) -> None:
        shown = [short(number) for number in (0.5, 64, 1600, 40_000, 1e6)]
        assert shown == ["0.5", "64", "1.6k", "40k", "1M"]


FOLDED = """\
gevent.hub:Hub.run;aisexec.driver:Driver._turn;aisexec.totem.ring:Ring.receive 6
gevent.hub:Hub.run;aisexec.driver:Driver._turn;socket:socket.recvmsg 3
gevent.hub:Hub.run 1
"""


class TestProfile:
    def test_rooms_own_what_they_call(self) -> None:
        assert by_room(parse_folded(FOLDED)) == {"aisexec.totem": 6, "aisexec.driver": 3, "gevent.hub": 1}

    def test_functions(self) -> None:
        own, total = by_function(parse_folded(FOLDED))
        assert own["aisexec.driver:Driver._turn"] == 0
        assert total["aisexec.driver:Driver._turn"] == 9
        assert total["gevent.hub:Hub.run"] == 10

    def test_summary(self) -> None:
        lines = [line.split() for line in summary(parse_folded(FOLDED))]
        assert ["60.0%", "60.0%", "aisexec.totem.ring:Ring.receive"] in lines
        assert "No samples" in summary(parse_folded(""))[0]

    @pytest.mark.parametrize("text", ["a;b", "a;b x", " 3"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(BenchError, match=":1 "):
            parse_folded(text)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("corosync -f", "corosync"),
        ("/usr/sbin/corosync", "corosync"),
        ("/opt/aisexec/bin/python3 /opt/aisexec/bin/aisexec -f", "aisexec"),
        ("python -m aisexec.main -f", "aisexec"),
        ("/usr/bin/python3 /usr/bin/aisexec-bench cpg", ""),
        ("vi corosync.conf aisexec", ""),
        ("", ""),
    ],
)
def test_executives_are_known_by_their_command(command: str, kind: str) -> None:
    assert kind_of(command.split(" ")) == kind


def test_command_line() -> None:
    parser = build_parser()
    assert parser.parse_args(["cpg", "--profile"]).profile == "auto"
    assert parser.parse_args(["--profile", "12"]).profile == "12"
    for wrong in (["cpg", "--size", "8"], ["--profile", "cpg"], ["quorum"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)
