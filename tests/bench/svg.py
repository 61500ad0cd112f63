"""Line charts as SVG: only what a benchmark needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#6b7280", "#c2410c", "#2563eb", "#15803d")
WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 78
LEGEND_COLUMNS = 3
TITLE_HEIGHT = 30
COLUMNS = 2

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """One line: points (x, y), each with the least and the most of y."""

    name: str
    points: Sequence[tuple[float, float]]
    ranges: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Chart:
    """Lines over logarithmic x; y is logarithmic with `log_y`, else it begins at 0."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_y: bool = True
    labels: Sequence[str] = ()
    """Names of x = 1, 2, ... where it is not a number; x is linear then."""


def short(value: float) -> str:
    """A number for an axis: 40000 as 40k."""
    for divisor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= divisor:
            return f"{value / divisor:g}{unit}"
    return f"{value:g}"


def decades(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last one below `least` to the first one above `most`."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5)]
    below = max(tick for tick in ticks if tick <= least * 1.0001)
    above = min((tick for tick in ticks if tick >= most * 0.9999), default=ticks[-1])
    kept = [tick for tick in ticks if below <= tick <= above]
    if len(kept) <= 9:
        return kept
    # Over many decades only the powers of ten have room.
    return [tick for tick in kept if math.log10(tick).is_integer() or tick in (below, above)]


def steps(most: float) -> list[float]:
    """0 to at least `most`, about five round steps."""
    power = 10.0 ** math.floor(math.log10(most / 5)) if most > 0 else 1.0
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= most) if most > 0 else 1.0
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def scale(ticks: Sequence[float], start: float, end: float, *, log: bool) -> Scale:
    """From values to places."""
    change: Scale = math.log10 if log else float
    low, high = change(ticks[0]), change(ticks[-1])
    span = high - low or 1.0
    return lambda value: start + (end - start) * (change(value) - low) / span


def text(x: float, y: float, what: str, *, anchor: str = "middle", size: int = 11, turn: int = 0) -> str:
    """A text element."""
    rotation = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}{rotation}>{escape(what)}</text>"


def _values(chart: Chart) -> list[float]:
    medians = [y for line in chart.lines for _, y in line.points]
    return medians + [extreme for line in chart.lines for pair in line.ranges for extreme in pair]


def _line(line: Line, colour: str, x: Scale, y: Scale) -> Iterable[str]:
    places = [(x(a), y(b)) for a, b in line.points]
    for (place, _), (low, high) in zip(places, line.ranges, strict=False):
        yield (
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"'
            f' stroke="{colour}" stroke-width="5" stroke-opacity="0.25"/>'
        )
    yield (
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
        + " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        + '"/>'
    )
    yield from (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places)


def panel(chart: Chart) -> str:
    """One chart, WIDTH by HEIGHT, as group elements; a chart without points says so."""
    parts = [text(WIDTH / 2, 20, chart.title, size=13)]
    numbers = sorted({a for line in chart.lines for a, _ in line.points})
    values = _values(chart)
    if not numbers or (chart.log_y and min(values) <= 0):
        return "\n".join([*parts, text(WIDTH / 2, HEIGHT / 2, "not measured")])
    y_ticks = decades(min(values), max(values)) if chart.log_y else steps(max(values))
    x = scale(numbers, LEFT + 12, WIDTH - RIGHT - 12, log=not chart.labels)
    y = scale(y_ticks, HEIGHT - BOTTOM, TOP, log=chart.log_y)
    for tick in y_ticks:
        place = y(tick)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}" stroke="#e5e7eb"/>'
        )
        parts.append(text(LEFT - 6, place + 4, short(tick), anchor="end"))
    for number in numbers:
        name = chart.labels[int(number) - 1] if chart.labels else short(number)
        parts.append(text(x(number), HEIGHT - BOTTOM + 16, name))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 32, chart.x_label))
    parts.append(text(14, (TOP + HEIGHT - BOTTOM) / 2, chart.y_label, turn=-90))
    for index, line in enumerate(chart.lines):
        colour = COLOURS[index % len(COLOURS)]
        parts += _line(line, colour, x, y)
        row, column = divmod(index, LEGEND_COLUMNS)
        place, below = LEFT + column * (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS, HEIGHT - 24 + 16 * row
        parts.append(f'<rect x="{place:.1f}" y="{below - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(text(place + 14, below, line.name, anchor="start"))
    return "\n".join(parts)


def document(title: str, charts: Sequence[Chart]) -> str:
    """All charts in one picture."""
    rows = math.ceil(len(charts) / COLUMNS)
    width, height = WIDTH * COLUMNS, TITLE_HEIGHT + HEIGHT * rows
    groups = [
        f'<g transform="translate({index % COLUMNS * WIDTH} {TITLE_HEIGHT + index // COLUMNS * HEIGHT})">\n'
        f"{panel(chart)}\n</g>"
        for index, chart in enumerate(charts)
    ]
    space = 'xmlns="http://www.w3.org/2000/svg"'
    return "\n".join(
        [
            f'<svg {space} viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            text(width / 2, 22, title, size=15),
            *groups,
            "</svg>\n",
        ]
    )
