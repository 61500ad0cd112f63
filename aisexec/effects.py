"""What the executive wants done in the world, in the order in which it has to be carried out."""

from __future__ import annotations

from typing import NamedTuple

from aisexec.totem.types import Broadcast, Broadcasts, Effect, Unicast
from ipc._event_batch import EventBatch
from ipc.layout import Buffer


class Respond(NamedTuple):
    """Answer a client's synchronous request."""

    client: int
    message: bytes


class Event(NamedTuple):
    """Send an event, its parts joined, to a client."""

    client: int
    parts: tuple[Buffer, ...]


class Events(NamedTuple):
    """The same event to several clients: one entry, however many they are."""

    clients: tuple[int, ...]
    parts: tuple[Buffer, ...]


class CloseClient(NamedTuple):
    """Close a client that broke the rules."""

    client: int
    reason: str


class Shutdown(NamedTuple):
    """End the executive."""

    reason: str
    exit_code: int
    leave: bool


class ReadConfiguration(NamedTuple):
    """Read and check the configuration file beside the loop, then call configuration_read()."""

    serial: int


class StoreExpectedVotes(NamedTuple):
    """Keep the most votes that were ever expected over restarts."""

    votes: int


class Reconfigured(NamedTuple):
    """A new configuration is in force here: network, log and files have to follow."""

    world: object


class TotemKeysChanged(NamedTuple):
    """A program has set keys of totem. in the map: call change_settings() with what follows from them."""


class LoggingKeysChanged(NamedTuple):
    """A program has set keys of logging. in the map: the log has to follow."""


class ReopenLogs(NamedTuple):
    """Open the log files anew, and answer the client with what came of it."""

    client: int
    done: bytes
    failed: bytes


ExecutiveEffect = (
    Effect
    | Respond
    | Event
    | Events
    | EventBatch
    | CloseClient
    | Shutdown
    | StoreExpectedVotes
    | ReadConfiguration
    | Reconfigured
    | TotemKeysChanged
    | LoggingKeysChanged
    | ReopenLogs
)


FRAMES = (Unicast, Broadcast, Broadcasts)
FOR_CLIENTS = (EventBatch, Event, Events, Respond, CloseClient)
"""Carried out behind the frames that were made with them."""
