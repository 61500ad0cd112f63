"""The picture of aisexec-top on a terminal, drawn with rich."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from . import top_text
from .top_story import Story

FIXED_LINES = 14
"""Of the screen's height: frames, headings and facts, which are always shown."""
STATE_STYLES = {"joined": "green", "left": "bold red", "never seen": "yellow"}


class Screen:
    """A terminal that is drawn again with every story; a context manager, ended by its end."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, screen=self._console.is_terminal, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, story: Story) -> None:
        """Draw it."""
        self._live.update(picture(story, self._console.height), refresh=True)


def picture(story: Story, height: int) -> RenderableType:
    """Everything that fits in `height` lines: nodes first, then the latest events, then clients."""
    reading = story.now
    if reading is None:
        return Panel(_events(story, height - 2), title="no executive", border_style="red")
    room = max(height - FIXED_LINES, 6)
    nodes = top_text.node_rows(story)
    shown_nodes = nodes[: max(3, room - 6)]
    room = max(room - len(shown_nodes), 6)
    events = min(len(story.happenings), max(3, room // 2))
    clients = top_text.client_rows(story)[: max(room - events, 1)]
    facts = [top_text.quorum_fact(reading), *top_text.traffic_facts(reading, story.rates())]
    return Group(
        Panel(_facts(facts), title=Text(top_text.headline(reading)), title_align="left"),
        _nodes(shown_nodes, len(nodes)),
        _clients(clients, reading.connections),
        Panel(_events(story, events), title="events", title_align="left"),
    )


def _facts(facts: Sequence[top_text.Fact]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for fact in facts:
        table.add_row(Text(fact.label, style="bold"), Text(fact.text, style="bold red" if fact.grave else ""))
    return table


def _nodes(rows: Sequence[Sequence[str]], total: int) -> RenderableType:
    table = _table(top_text.NODE_COLUMNS, f"{total} nodes" if total > len(rows) else None)
    for row in rows:
        style = STATE_STYLES.get(row[2], "")
        table.add_row(*(Text(cell, style=style if index in (2, 6) else "") for index, cell in enumerate(row)))
    return table


def _clients(rows: Sequence[Sequence[str]], connections: int) -> RenderableType:
    table = _table(top_text.CLIENT_COLUMNS, f"{connections} connections")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _table(columns: Sequence[str], title: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=None, expand=True, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in top_text.NUMERIC else "left", no_wrap=True)
    return table


def _events(story: Story, number: int) -> RenderableType:
    latest = list(story.happenings)[-number:] if number > 0 else []
    return Group(*(Text(top_text.event_line(each), style="red" if each.grave else "") for each in latest))
