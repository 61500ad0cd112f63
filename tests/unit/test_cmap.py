"""cmap served to programs: what libcmap cannot ask for, limits; the configuration's version on the ring."""

from __future__ import annotations

import pytest

from aisexec.icmap import u8, u64
from aisexec.limits import CMAP_ITERATIONS_PER_CLIENT_MAX, CMAP_TRACKS_PER_CLIENT_MAX, SERVICE_TIMERS_MAX
from aisexec.messages import CMAP_MCAST
from aisexec.services import cmap_requests
from aisexec.services.base import Client
from aisexec.services.cmap import Cmap
from aisexec.services.timers import Alarms
from aisexec.totem.types import RingId
from ipc import cmap_layouts as cmap
from ipc.cmap_layouts import CmapRequest, ValueType
from ipc.errors import CsError
from ipc.layout import Buffer
from ipc.layouts import RESPONSE_HEADER
from tests.unit.service_support import StageContext

RING = RingId(1, 4)


class Stage:
    """The engine and one program."""

    def __init__(self, version: int = 0) -> None:
        self.context = StageContext(1)
        if version:
            self.context.map.set("totem.config_version", u64(version))
        self.engine = Cmap(self.context)
        self.requests = self.engine.requests()
        self.client = Client(1, 100, 0, 0)
        self.engine.connected(self.client)

    def ask(self, number: CmapRequest, message: bytes) -> bytes:
        """The answer to a request; empty when there is none."""
        self.context.answers.clear()
        self.requests[number].handler(self.client, message)
        return self.context.answers[0][1] if self.context.answers else b""

    def error(self, number: CmapRequest, message: bytes) -> CsError:
        return CsError(RESPONSE_HEADER.unpack(self.ask(number, message)).error)

    def set(
        self, key: bytes, value: bytes, kind: int = ValueType.BINARY, announced: int | None = None
    ) -> bytes:
        size = len(value) if announced is None else announced
        head = cmap.SetRequest(CmapRequest.SET, cmap.SET_REQUEST.size + len(value), len(key), key, size, kind)
        return cmap.SET_REQUEST.pack(head) + value

    def get(self, key: bytes, room: int) -> bytes:
        size = cmap.GET_REQUEST.size
        return cmap.GET_REQUEST.pack(cmap.GetRequest(CmapRequest.GET, size, len(key), key, room))

    def named(self, number: CmapRequest, key: bytes = b"") -> bytes:
        size = cmap.KEY_REQUEST.size
        return cmap.KEY_REQUEST.pack(cmap.KeyRequest(number, size, len(key), key))

    def track(self, key: bytes = b"some.key", bits: int = 4, inst: int = 7) -> bytes:
        size = cmap.TRACK_ADD_REQUEST.size
        request = cmap.TrackAddRequest(CmapRequest.TRACK_ADD, size, len(key), key, bits, inst)
        return cmap.TRACK_ADD_REQUEST.pack(request)

    def map(self, number: int) -> bytes:
        size = cmap.SET_CURRENT_MAP_REQUEST.size
        request = cmap.SetCurrentMapRequest(CmapRequest.SET_CURRENT_MAP, size, number)
        return cmap.SET_CURRENT_MAP_REQUEST.pack(request)

    def handle(self, number: CmapRequest, handle: int) -> bytes:
        return cmap.HANDLE_REQUEST.pack(cmap.HandleRequest(number, cmap.HANDLE_REQUEST.size, handle))


# What no library sends.


def test_a_value_that_is_not_there_cuts_the_program_off() -> None:
    stage = Stage()
    assert stage.ask(CmapRequest.SET, stage.set(b"some.key", b"ab", announced=3)) == b""
    assert stage.ask(CmapRequest.SET, stage.set(b"some.key", b"", announced=2**64 - 1)) == b""
    assert [client for client, _ in stage.context.closed] == [1, 1]
    assert len(stage.context.map) == 0


def test_a_key_longer_than_its_field_cuts_the_program_off() -> None:
    stage = Stage()
    size = cmap.GET_REQUEST.size
    stage.ask(CmapRequest.GET, cmap.GET_REQUEST.pack(cmap.GetRequest(CmapRequest.GET, size, 300, b"key", 0)))
    assert stage.context.closed


@pytest.mark.parametrize("kind", [0, 13, 255])
def test_there_are_twelve_types(kind: int) -> None:
    stage = Stage()
    assert stage.error(CmapRequest.SET, stage.set(b"some.key", b"", kind)) is CsError.INVALID_PARAM


def test_an_answer_is_never_longer_than_a_value_can_be() -> None:
    stage = Stage()
    stage.context.map.set("some.key", u8(1))
    answer = stage.ask(CmapRequest.GET, stage.get(b"some.key", 2**63))
    assert cmap.GET_RESPONSE.unpack(answer).value_len == 1
    assert len(answer) == cmap.GET_RESPONSE.size + cmap.VALUE_MAX + 1


def test_a_key_ends_at_its_nul() -> None:
    stage = Stage()
    assert stage.error(CmapRequest.SET, stage.set(b"some.key\0xy", b"1", ValueType.U8)) is CsError.OK
    assert stage.context.map.keys() == ["some.key"]


def test_the_map_is_not_changed_under_iterations_and_tracks() -> None:
    stage = Stage()
    iteration = cmap.HANDLE_RESPONSE.unpack(
        stage.ask(CmapRequest.ITER_INIT, stage.named(CmapRequest.ITER_INIT))
    )
    assert stage.error(CmapRequest.SET_CURRENT_MAP, stage.map(1)) is CsError.BUSY
    stage.ask(CmapRequest.ITER_FINALIZE, stage.handle(CmapRequest.ITER_FINALIZE, iteration.handle))
    track = cmap.HANDLE_RESPONSE.unpack(stage.ask(CmapRequest.TRACK_ADD, stage.track()))
    assert stage.error(CmapRequest.SET_CURRENT_MAP, stage.map(7)) is CsError.BUSY
    deleted = stage.ask(CmapRequest.TRACK_DELETE, stage.handle(CmapRequest.TRACK_DELETE, track.handle))
    assert cmap.HANDLE_RESPONSE.unpack(deleted).handle == 7
    assert stage.error(CmapRequest.SET_CURRENT_MAP, stage.map(7)) is CsError.NOT_EXIST
    assert stage.error(CmapRequest.SET_CURRENT_MAP, stage.map(1)) is CsError.OK
    assert stage.error(CmapRequest.SET, stage.set(b"some.key", b"1", ValueType.U8)) is CsError.ACCESS


# Limits.


def test_a_program_has_so_many_iterations() -> None:
    stage = Stage()
    init = stage.named(CmapRequest.ITER_INIT)
    errors = [stage.error(CmapRequest.ITER_INIT, init) for _ in range(CMAP_ITERATIONS_PER_CLIENT_MAX + 1)]
    assert set(errors[:-1]) == {CsError.OK}
    assert errors[-1] is CsError.NO_RESOURCES


def test_a_program_has_so_many_tracks_and_they_end_with_it() -> None:
    stage = Stage()
    errors = [
        stage.error(CmapRequest.TRACK_ADD, stage.track()) for _ in range(CMAP_TRACKS_PER_CLIENT_MAX + 1)
    ]
    assert set(errors[:-1]) == {CsError.OK}
    assert errors[-1] is CsError.NO_RESOURCES
    stage.context.map.set("some.key", u8(1))
    assert len(stage.context.events) == CMAP_TRACKS_PER_CLIENT_MAX
    stage.engine.disconnected(stage.client)
    stage.context.map.delete("some.key")
    stage.context.map.set("some.key", u8(1))
    assert len(stage.context.events) == CMAP_TRACKS_PER_CLIENT_MAX


def test_all_programs_together_have_so_many_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmap_requests, "CMAP_TRACKS_MAX", 3)
    stage = Stage()
    others = [Client(number, 100, 0, 0) for number in (2, 3)]
    for other in others:
        stage.engine.connected(other)
        stage.requests[CmapRequest.TRACK_ADD].handler(other, stage.track())
    assert stage.error(CmapRequest.TRACK_ADD, stage.track()) is CsError.OK
    assert stage.error(CmapRequest.TRACK_ADD, stage.track()) is CsError.NO_RESOURCES
    stage.engine.disconnected(others[0])
    assert stage.error(CmapRequest.TRACK_ADD, stage.track()) is CsError.OK


def test_handles_are_of_one_program() -> None:
    stage = Stage()
    answer = cmap.HANDLE_RESPONSE.unpack(stage.ask(CmapRequest.ITER_INIT, stage.named(CmapRequest.ITER_INIT)))
    other = Client(2, 101, 0, 0)
    stage.engine.connected(other)
    stage.context.answers.clear()
    stage.requests[CmapRequest.ITER_NEXT].handler(other, stage.handle(CmapRequest.ITER_NEXT, answer.handle))
    (_, reply), *_ = stage.context.answers
    assert cmap.ITER_NEXT_RESPONSE.unpack(reply).error == CsError.BAD_HANDLE


# The configuration's version.


def version_from(nodeid: int, version: int) -> tuple[int, bytes]:
    other = Stage(version)
    assert other.engine.sync_process()
    return nodeid, other.context.sent[0]


def test_versions_of_all_members_are_in_the_map() -> None:
    stage = Stage(3)
    stage.engine.sync_init([1], [1, 2, 3], RING)
    mcast = stage.engine.messages()[0].handler
    mcast(*version_from(2, 3))
    mcast(*version_from(3, 0))
    assert stage.context.map.number("runtime.members.2.config_version") == 3
    assert stage.context.map.get("runtime.members.3.config_version") == u64(0)
    stage.engine.sync_activate()
    assert stage.context.shutdowns == []


def test_a_node_with_an_old_configuration_goes() -> None:
    stage = Stage(3)
    stage.engine.sync_init([1], [1, 2], RING)
    stage.engine.messages()[0].handler(*version_from(2, 4))
    stage.engine.sync_activate()
    assert [(code, leave) for _, code, leave in stage.context.shutdowns] == [(0, True)]


def test_a_version_that_changes_while_rings_meet_is_no_reason_to_go() -> None:
    stage = Stage()
    stage.engine.sync_init([1], [1], RING)
    assert stage.engine.sync_process()
    stage.engine.messages()[0].handler(1, stage.context.sent[0])
    stage.context.map.set("totem.config_version", u64(12))
    stage.engine.sync_activate()
    assert stage.context.shutdowns == []


def test_a_changed_version_is_told_as_soon_as_there_is_room() -> None:
    stage = Stage(3)
    stage.context.room = 0
    stage.context.map.set("totem.config_version", u64(4))
    assert stage.context.sent == []
    stage.context.room = 5
    stage.context.pass_time(1.0)
    assert [CMAP_MCAST.unpack(message).reason for message in stage.context.sent] == [1]
    stage.context.pass_time(1.0)
    assert len(stage.context.sent) == 1


def test_one_alarm_waits_for_room_however_often_the_version_changes() -> None:
    stage = Stage(3)
    stage.context.room = 0
    for version in range(4, 4 + 2 * SERVICE_TIMERS_MAX):
        stage.context.map.set("totem.config_version", u64(version))
        if version % 100 == 0:
            stage.context.pass_time(1.0)
    started = stage.context.alarms.next()
    assert started is not None
    stage.context.room = 5
    stage.context.pass_time(1.0)
    assert len(stage.context.sent) == 1
    assert stage.context.sent[0].endswith((3 + 2 * SERVICE_TIMERS_MAX).to_bytes(8, "little"))
    assert stage.context.alarms.next() is None


def test_alarms_for_the_same_are_shared_when_there_are_too_many() -> None:
    rung: list[str] = []
    alarms = Alarms()

    def again_and_again() -> None:
        rung.append("again")

    for number in range(2 * SERVICE_TIMERS_MAX):
        alarms.start(float(number), again_and_again)
    alarms.start(0.5, lambda: rung.append("other"))
    alarms.run(10_000_000.0)
    assert rung.count("again") == SERVICE_TIMERS_MAX
    assert rung.count("other") == 1


# Notifications.


def test_a_change_is_packed_once_for_all_tracks() -> None:
    stage = Stage()
    told: list[tuple[Buffer, ...]] = []
    stage.context.event = lambda client, *parts: told.append(parts)  # type: ignore[method-assign]
    for inst in (7, 8):
        stage.ask(CmapRequest.TRACK_ADD, stage.track(b"some.key", bits=7, inst=inst))
    stage.context.map.set("some.key", u8(1))
    stage.context.map.set("some.key", u8(2))
    seen = [cmap.unpack_notification(b"".join(parts)) for parts in told]
    one, two = (cmap.StoredValue(ValueType.U8, bytes([number])) for number in (1, 2))
    none = cmap.StoredValue(0, b"")
    assert seen == [
        cmap.Notification(8, b"some.key", 4, one, none),
        cmap.Notification(7, b"some.key", 4, one, none),
        cmap.Notification(8, b"some.key", 2, two, one),
        cmap.Notification(7, b"some.key", 2, two, one),
    ]
    assert told[0][2] is told[1][2]
    assert told[2][2] is told[3][2]
