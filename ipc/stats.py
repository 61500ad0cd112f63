"""Counters of the server and of each connection; all count from the start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from ipc._histogram import Histogram


class CutOff(StrEnum):
    """Why the server closed a client of its own accord."""

    RULES = "broke the rules"
    """What it sent cannot be a request, or the handler found it to be none."""
    FAULT = "internal error"
    """The handler has failed with what it sent."""
    RINGS = "spoiled its rings"
    EVENTS = "does not read events"
    RESPONSES = "does not read responses"
    ALL = "most of all when too much waits for all"


class Refusal(StrEnum):
    """Why a client was not let in."""

    HANDLER = "by the handler"
    SIZE = "message size"
    CLIENTS = "too many clients"
    PROCESS = "too many clients of one process"
    DESCRIPTORS = "descriptors"
    RINGS = "no memory for rings"


@dataclass(slots=True)
class ConnectionStats:
    """What stock corosync publishes per connection under stats.ipcs.*, under the same names."""

    procname: str = ""
    queueing: int = 0
    """1 while events wait in memory."""
    queued: int = 0
    """Events waiting now."""
    sent: int = 0
    """Events that waited and went out since the queue last was empty."""
    invalid_request: int = 0
    overload: int = 0
    """How often a request found no room and was put off."""
    requests: int = 0
    responses: int = 0
    dispatched: int = 0
    """Events written into the ring."""
    send_retries: int = 0
    recv_retries: int = 0
    flow_control: int = 0
    """Flow-control level in force."""
    flow_control_count: int = 0
    """How often it changed."""


@dataclass(slots=True)
class ServerStats:
    """Of all clients together."""

    accepted: int = 0
    closed: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)
    cut_off: Counter[CutOff] = field(default_factory=Counter)
    half_open_dropped: int = 0
    """Connections without a set-up request in time, or too many of them."""
    put_off: int = 0
    """Requests that found no room and were offered again later."""
    turns_cut: int = 0
    """Turns that ended because their time was over while clients still had requests."""
    requests_per_turn: Histogram = field(default_factory=Histogram)
    events_per_notification: Histogram = field(default_factory=Histogram)
