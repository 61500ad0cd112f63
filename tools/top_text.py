"""The picture of aisexec-top as rows of words: what the screen, plain text and JSON are made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from libais.votequorum import InfoFlag

from .top_state import Node, Reading
from .top_story import Happening, Rates, Story

NODE_COLUMNS = ("id", "node", "state", "votes", "joins", "addresses", "why and since when")
CLIENT_COLUMNS = ("program", "pid", "service", "requests/s", "requests", "events", "waiting", "refused")
NUMERIC = frozenset({"id", "votes", "joins", "pid", *CLIENT_COLUMNS[3:]})
"""Columns that are aligned to the right."""


class Fact(NamedTuple):
    """A label and what there is to say about it; grave: it needs attention."""

    label: str
    text: str
    grave: bool = False


def printable(text: str) -> str:
    """Names are somebody else's choice: what would steer the terminal becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def headline(reading: Reading) -> str:
    """Cluster, time and the size of the ring."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(reading.clock))
    ring = f"  ring {reading.ring_id.nodeid}.{reading.ring_id.seq:x}" if reading.ring_id.seq else ""
    return printable(
        f"{reading.cluster or 'cluster'} ({reading.transport}){ring}  "
        f"{len(reading.members)} of {len(reading.nodes)} nodes  {moment}"
    )


def quorum_fact(reading: Reading) -> Fact:
    """Quorate or not, and by which votes."""
    text = "yes" if reading.quorate else "NO, activity is blocked"
    votes = reading.votes
    if votes is None:
        text += f"  ({reading.provider or 'no provider'})"
    else:
        flags = " ".join(
            flag.name.lower() for flag in InfoFlag if flag.name and votes.flags & flag & ~InfoFlag.QUORATE
        )
        text += f"  {votes.total_votes} of {votes.expected_votes} votes, {votes.quorum} needed  {flags}"
    return Fact("quorate", text.rstrip(), not reading.quorate)


def traffic_facts(reading: Reading, rates: Rates | None) -> list[Fact]:
    """Token and messages."""
    counters = reading.counters
    silence = counters["time_since_token_last_received"]
    if rates is None:
        return [Fact("token", f"last received {silence} ms ago")]
    rotation = "did not come round" if rates.rotation is None else f"comes round in {rates.rotation:.2f} ms"
    facts = [
        Fact("token", f"{rotation}, last received {silence} ms ago", rates.rotation is None),
        Fact("messages/s", f"{rates.received:.0f} received, {rates.sent:.0f} sent"),
        Fact(
            "sent again",
            f"{rates.retransmitted:.1f}/s, {counters['mcast_retx']} so far; dropped {rates.dropped:.1f}/s",
            rates.retransmitted > 0,
        ),
        Fact(
            "ring",
            f"formed {counters['gather_entered']} times anew, token lost "
            f"{counters['operational_token_lost']} times in operation",
        ),
    ]
    if counters["firewall_enabled_or_nic_failure"]:
        facts.append(Fact("network", "sending works, but nothing comes back: firewall?", True))
    return facts


def event_line(happening: Happening) -> str:
    """With the time of day."""
    moment = time.strftime("%H:%M:%S", time.localtime(happening.clock))
    return f"{moment} {printable(happening.text)}"


def node_rows(story: Story) -> list[tuple[str, ...]]:
    """A row for each node, in the order of NODE_COLUMNS."""
    return [_node_row(node, story) for node in story.now.nodes] if story.now else []


def _node_row(node: Node, story: Story) -> tuple[str, ...]:
    departure = story.departures.get(node.nodeid)
    why = ""
    if departure is not None:
        why = f"{departure.reason} {time.strftime('%H:%M:%S', time.localtime(departure.clock))}"
    elif node.status == "left":
        why = "before aisexec-top began"
    name = printable(f"{node.label} (local)" if node.local else node.label)
    votes = "" if node.votes is None else str(node.votes)
    return (str(node.nodeid), name, node.status, votes, str(node.joins), " ".join(node.addresses), why)


def client_rows(story: Story) -> list[tuple[str, ...]]:
    """A row for each program and service it uses, in the order of CLIENT_COLUMNS."""
    return [
        (
            printable(client.program),
            str(client.pid),
            client.service,
            f"{rate:.0f}",
            str(client.requests),
            str(client.events),
            str(client.queued),
            str(client.refused),
        )
        for client, rate in story.busiest()
    ]


def plain(story: Story) -> str:
    """The whole picture as text without colours."""
    reading = story.now
    if reading is None:
        return "".join(f"{event_line(happening)}\n" for happening in story.happenings)
    facts = [quorum_fact(reading), *traffic_facts(reading, story.rates())]
    lines = [headline(reading), *(f"{fact.label + ':':12} {fact.text}" for fact in facts)]
    lines += ["", *_table(NODE_COLUMNS, node_rows(story))]
    lines += ["", f"clients: {reading.connections} connections", *_table(CLIENT_COLUMNS, client_rows(story))]
    lines += ["", "events", *(event_line(happening) for happening in story.happenings)]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in NUMERIC else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        for row in (columns, *rows)
    ]


def as_json(story: Story) -> dict[str, object]:
    """The same for programs.  Times are seconds since 1970; rates are null before the second reading."""
    reading = story.now
    if reading is None:
        return {"executive": False, "events": _json_events(story)}
    rates = story.rates()
    votes = reading.votes
    return {
        "executive": True,
        "time": reading.clock,
        "cluster": reading.cluster,
        "transport": reading.transport,
        "ring_id": {"nodeid": reading.ring_id.nodeid, "seq": reading.ring_id.seq},
        "quorate": reading.quorate,
        "votes": None
        if votes is None
        else {
            "total": votes.total_votes,
            "expected": votes.expected_votes,
            "quorum": votes.quorum,
            "flags": [flag.name.lower() for flag in InfoFlag if flag.name and votes.flags & flag],
        },
        "nodes": [_json_node(node, story) for node in reading.nodes],
        "rates": None
        if rates is None
        else {
            "seconds": rates.seconds,
            "token_rotation_ms": rates.rotation,
            "messages_received": rates.received,
            "messages_sent": rates.sent,
            "retransmits": rates.retransmitted,
            "dropped": rates.dropped,
        },
        "counters": dict(reading.counters),
        "connections": reading.connections,
        "clients": [
            {
                "program": client.program,
                "pid": client.pid,
                "service": client.service,
                "requests": client.requests,
                "requests_per_second": rate,
                "events": client.events,
                "queued": client.queued,
                "refused": client.refused,
            }
            for client, rate in story.busiest()
        ],
        "events": _json_events(story),
    }


def _json_node(node: Node, story: Story) -> dict[str, object]:
    departure = story.departures.get(node.nodeid)
    return {
        "nodeid": node.nodeid,
        "name": node.name,
        "local": node.local,
        "status": node.status,
        "addresses": list(node.addresses),
        "joins": node.joins,
        "votes": node.votes,
        "left": None if departure is None else {"time": departure.clock, "why": departure.reason},
    }


def _json_events(story: Story) -> list[dict[str, object]]:
    return [
        {"time": happening.clock, "text": happening.text, "grave": happening.grave}
        for happening in story.happenings
    ]
