"""libais.cmap as a client of stock corosync and of ours."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Iterator

import pytest

from libais import cmap, errors
from libais.cmap import TrackEvent, ValueType
from tests.conftest import need
from tests.harness.inside import inside
from tests.harness.node import PATIENCE, Node
from tests.harness.rings import Rings

NUMBERS = [
    ("int8", -128, ValueType.I8),
    ("uint8", 255, ValueType.U8),
    ("int16", -32768, ValueType.I16),
    ("uint16", 65535, ValueType.U16),
    ("int32", -(2**31), ValueType.I32),
    ("uint32", 2**32 - 1, ValueType.U32),
    ("int64", -(2**63), ValueType.I64),
    ("uint64", 2**64 - 1, ValueType.U64),
    ("float", 0.5, ValueType.FLOAT),
    ("double", -math.inf, ValueType.DOUBLE),
    ("string", "gr\u00fcn \udcff", ValueType.STRING),
    ("binary", b"\x00\xff", ValueType.BINARY),
]


@pytest.fixture(scope="module", params=["ss", "aa"])
def mix(request: pytest.FixtureRequest) -> str:
    """The kinds of nodes; of the module, so that a ring serves all tests before the next one is made."""
    return str(request.param)


@pytest.fixture
def node(mix: str, rings: Rings) -> Node:
    """The first node of a ring of two."""
    need(mix)
    return rings.get(mix, "udpu")[1]


def connect(node: Node, map: cmap.Map = cmap.Map.ICMAP) -> cmap.Handle:
    with inside(node):
        return cmap.Handle(map, retry_for=PATIENCE)


@pytest.fixture
def handle(node: Node) -> Iterator[cmap.Handle]:
    with connect(node) as connected:
        yield connected
        for entry in connected.iteration("test."):
            connected.delete(entry.key)


@pytest.fixture
def stats(node: Node) -> Iterator[cmap.Handle]:
    with connect(node, cmap.Map.STATS) as connected:
        yield connected


def take(handle: cmap.Handle, count: int) -> list[cmap.Notification]:
    """The next `count` notifications."""
    changes = []
    for change in handle.events(PATIENCE):
        changes.append(change)
        if len(changes) == count:
            return changes
    raise AssertionError(f"only {len(changes)} of {count} changes came: {changes}")


def test_every_type_comes_back(handle: cmap.Handle) -> None:
    for name, value, kind in NUMBERS:
        getattr(handle, f"set_{name}")("test.key", value)
        assert getattr(handle, f"get_{name}")("test.key") == value
        assert handle.get("test.key").type == kind
        assert handle.get("test.key").plain == value
        other = "get_string" if name != "string" else "get_uint8"
        with pytest.raises(errors.InvalidParamError, match=r"test\.key"):
            getattr(handle, other)("test.key")
    handle.set_string("test.key", "text")
    assert handle.get_entry("test.key") == cmap.Entry("test.key", ValueType.STRING, 5)
    assert handle.get("test.key").raw == b"text\0"


def test_long_values(handle: cmap.Handle) -> None:
    for size in (1, 1023, 1024, 1025, 16383):
        handle.set_string("test.long", "x" * size)
        assert handle.get_string("test.long") == "x" * size
    handle.set_binary("test.long", bytes(cmap.VALUE_MAX))
    assert handle.get_binary("test.long") == bytes(cmap.VALUE_MAX)
    with pytest.raises(errors.CsException):
        handle.set_binary("test.long", bytes(cmap.VALUE_MAX + 1))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (256, ValueType.U8),
        (-1, ValueType.U64),
        (1.5, ValueType.I32),
        ("1", ValueType.I32),
        (1, ValueType.STRING),
    ],
)
def test_what_does_not_fit_is_refused(handle: cmap.Handle, value: cmap.Plain, kind: ValueType) -> None:
    with pytest.raises(errors.InvalidParamError):
        handle.set("test.key", value, kind)
    with pytest.raises(errors.NotExistError):
        handle.get("test.key")


def test_wrong_keys(handle: cmap.Handle) -> None:
    for bad in ("ab", "no blanks", "k" * 256, "umlaut.\u00e4"):
        with pytest.raises(errors.NameTooLongError):
            handle.set_uint8(bad, 1)
    with pytest.raises(errors.InvalidParamError):
        handle.set_uint8("with\0nul", 1)
    for call in (handle.get, handle.delete, handle.inc, handle.get_entry):
        with pytest.raises(errors.NotExistError, match=r"no\.such"):
            call("no.such")
    with pytest.raises(errors.AccessError):
        handle.set_uint32("totem.version", 3)
    with pytest.raises(errors.AccessError):
        handle.delete("totem.version")


def test_adjusting(handle: cmap.Handle) -> None:
    handle.set_uint8("test.count", 254)
    for _ in range(3):
        handle.inc("test.count")
    assert handle.get_uint8("test.count") == 1
    handle.dec("test.count")
    handle.adjust("test.count", -2)
    assert handle.get_uint8("test.count") == 254
    handle.set_int64("test.count", 2**40)
    handle.adjust("test.count", -(2**31))
    assert handle.get_int64("test.count") == 2**40 - 2**31
    with pytest.raises(errors.InvalidParamError):
        handle.adjust("test.count", 2**31)
    handle.set_string("test.count", "1")
    with pytest.raises(errors.InvalidParamError):
        handle.inc("test.count")


def test_adjusting_is_atomic(node: Node, handle: cmap.Handle) -> None:
    handle.set_uint32("test.count", 0)

    def count() -> None:
        with connect(node) as own:
            for _ in range(200):
                own.inc("test.count")

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert handle.get_uint32("test.count") == 600


def test_walking(handle: cmap.Handle) -> None:
    for key in ("test.b", "test.B", "test.a", "test.a/x", "test.a.x", "testing"):
        handle.set_uint16(key, 1)
    expected = ["test.B", "test.a", "test.a.x", "test.a/x", "test.b"]
    assert [entry.key for entry in handle.iteration("test.")] == expected
    assert {entry.type for entry in handle.iteration("test.")} == {ValueType.U16}
    everything = [entry.key for entry in handle.iteration()]
    assert everything == sorted(everything, key=str.encode)
    assert {"totem.version", "testing", *expected} <= set(everything)
    for entry in handle.iteration("test."):
        handle.delete(entry.key)
    assert list(handle.iteration("test.")) == []
    handle.delete("testing")
    with handle.iteration() as walk:
        next(walk)
    assert list(walk) == []


def test_as_a_dictionary(handle: cmap.Handle) -> None:
    view = handle.mapping("test.")
    assert len(view) == 0
    view["text"] = "x"
    view["binary"] = b"y"
    view["real"] = 1.5
    handle.set_uint16("test.number", 1)
    view["number"] = 2
    assert handle.get_uint16("test.number") == 2
    assert dict(view) == {"binary": b"y", "number": 2, "real": 1.5, "text": "x"}
    with pytest.raises(errors.InvalidParamError, match="set_uint32"):
        view["new"] = 1
    with pytest.raises(errors.InvalidParamError):
        view["number"] = 70_000
    del view["text"]
    assert "text" not in view
    assert view.get("text", "default") == "default"
    for missing in (view.__getitem__, view.__delitem__):
        with pytest.raises(KeyError):
            missing("text")
    assert handle.mapping()["totem.version"] == 2


def test_tracking(handle: cmap.Handle) -> None:
    track = handle.track_add("test.", prefix=True)
    handle.set_uint8("test.key", 1)
    handle.set_uint8("test.key", 1)
    handle.set_string("test.key", "text")
    handle.set_uint8("other.key", 1)
    handle.delete("other.key")
    handle.delete("test.key")
    added, modified, deleted = take(handle, 3)
    assert (added.event, added.key, added.old, added.track) == (TrackEvent.ADD, "test.key", None, track)
    assert added.new == cmap.Value(ValueType.U8, 1, b"\x01")
    assert modified.event == TrackEvent.MODIFY
    assert (modified.old, modified.new) == (added.new, cmap.Value(ValueType.STRING, "text", b"text\0"))
    assert (deleted.event, deleted.old, deleted.new) == (TrackEvent.DELETE, modified.new, None)
    handle.set_uint8("test.key", 1)
    track.delete()
    handle.delete("test.key")
    assert list(handle.events(0.0)) == []
    with pytest.raises(errors.BadHandleError):
        track.delete()


def test_callbacks(handle: cmap.Handle) -> None:
    calls: list[tuple[str, str, TrackEvent]] = []

    def callback(name: str) -> cmap.NotifyCallback:
        return lambda _, change: calls.append((name, change.key, change.event))

    with (
        handle.track_add("test.one", TrackEvent.ADD, callback("one")),
        handle.track_add("", TrackEvent.DELETE | TrackEvent.PREFIX, callback("all")),
    ):
        handle.set_uint8("test.one", 1)
        handle.set_uint8("test.one", 2)
        handle.delete("test.one")
        while len(calls) < 2:
            handle.dispatch(cmap.Dispatch.ONE)
        with pytest.raises(errors.TryAgainError):
            handle.dispatch(cmap.Dispatch.ONE_NONBLOCKING)
    with pytest.raises(errors.InvalidParamError):
        handle.track_add("test.one", TrackEvent(64))
    assert calls == [("one", "test.one", TrackEvent.ADD), ("all", "test.one", TrackEvent.DELETE)]


def test_tracking_with_asyncio(handle: cmap.Handle) -> None:
    async def watch() -> list[str]:
        handle.track_add("test.", prefix=True)
        keys = []
        async with contextlib.aclosing(handle.aevents(PATIENCE)) as changes:  # type: ignore[type-var]
            await asyncio.to_thread(handle.set_uint8, "test.one", 1)
            await asyncio.to_thread(handle.set_uint8, "test.two", 1)
            async for change in changes:
                keys.append(change.key)
                if len(keys) == 2:
                    break
        return keys

    assert asyncio.run(watch()) == ["test.one", "test.two"]


def test_statistics(stats: cmap.Handle) -> None:
    assert stats.get_uint64("stats.srp.mcast_tx") >= 0
    own = [entry for entry in stats.iteration("stats.ipcs.") if entry.key.endswith(".requests")]
    assert own
    before = stats.get_uint64("stats.ipcs.global.active")
    assert before >= 1
    with pytest.raises(errors.AccessError):
        stats.set_uint64("stats.srp.mcast_tx", 0)
    with pytest.raises(errors.NotExistError):
        stats.get("totem.version")
    stats.set_uint32("stats.clear.totem", 1)
    with pytest.raises(errors.NotSupportedError):
        stats.set_uint32("stats.clear.nonsense", 1)
    with pytest.raises(errors.NotSupportedError):
        stats.track_add("stats.", TrackEvent.ADD, prefix=True)


def test_new_connections_are_tracked_in_the_statistics(node: Node, stats: cmap.Handle) -> None:
    stats.track_add("stats.ipcs.", TrackEvent.ADD | TrackEvent.DELETE | TrackEvent.PREFIX)
    with connect(node):
        changes = take(stats, 1)
    assert changes[0].event == TrackEvent.ADD
    assert changes[0].key.startswith("stats.ipcs.service0.")


def test_unknown_map(node: Node) -> None:
    with pytest.raises(errors.NotExistError), inside(node):
        cmap.Handle(9)  # type: ignore[arg-type]
