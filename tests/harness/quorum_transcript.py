"""Every call of libais.quorum and libais.votequorum, and what came of it, as lines.

python -m tests.harness.quorum_transcript, on the first node of a ring of two without a quorum device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from libais import quorum, votequorum
from libais.errors import CsException

PATIENCE = 10.0
LOOKS = 6
"""After a call that may have been refused."""


def say(what: str, call: Callable[[], object]) -> object:
    """A call, and its result or exception."""
    try:
        result = call()
    except CsException as error:
        print(f"{what}: {type(error).__name__} {int(error.code)}")
        return None
    print(f"{what}: {result}")
    return result


def tell(events: Iterable[object]) -> None:
    """Events, without the number of the ring."""
    for event in events:
        text = str(event)
        ring_id = getattr(event, "ring_id", None)
        print("event", text.replace(f"seq={ring_id.seq}", "seq=*") if ring_id else text)


def through_quorum() -> None:
    """libquorum's calls, both models."""
    for model in quorum.QuorumModel:
        with quorum.Handle(model=model, context="mine") as handle:
            print(model, handle.quorum_type)
            use_quorum(handle)
    say("model 2", partial(quorum.Handle, model=cast("quorum.QuorumModel", 2)))


def use_quorum(handle: quorum.Handle) -> None:
    """Everything a connection can do."""
    calls: list[str] = []
    handle.notify = lambda _, event: calls.append(f"notify {event.quorate} {event.members}")
    handle.nodelist = lambda _, event: calls.append(f"nodelist {event.members} {event.joined} {event.left}")
    say("getquorate", handle.getquorate)
    for flags in (0, 1, 4, 2, 3, 7):
        say(f"trackstart {flags}", partial(handle.trackstart, quorum.Track(flags)))
        tell(handle.events(0))
    say("trackstart again", handle.trackstart)
    say("dispatch", handle.dispatch)
    say("nothing more", partial(handle.dispatch, quorum.Dispatch.ONE_NONBLOCKING))
    print(calls)
    say("trackstop", handle.trackstop)
    say("trackstop again", handle.trackstop)
    say("context", handle.context_get)
    say("finalize", handle.finalize)
    say("finalize again", handle.finalize)
    say("getquorate", handle.getquorate)


def through_votequorum() -> None:
    """libvotequorum's calls."""
    with votequorum.Handle() as handle, votequorum.Handle() as other:
        for nodeid in (0, 1, 2, 99):
            say(f"getinfo {nodeid}", partial(handle.getinfo, nodeid))
        for flags in (0, 1, 4, 3):
            say(f"trackstart {flags}", partial(handle.trackstart, votequorum.Track(flags), context=1 << 63))
            tell(handle.events(0))
        say("other trackstop", other.trackstop)
        for votes in (0, 1, 5, 3, 2):
            say(f"setexpected {votes}", partial(handle.setexpected, votes))
            settle(handle, other, partial(expects, votes))
        # Node 0 is the quorum device.
        for nodeid, votes in ((99, 1), (2, 2), (1, 2), (1, 1), (2, 1), (0, 3), (1, 1)):
            say(f"setvotes {nodeid} {votes}", partial(handle.setvotes, nodeid, votes))
            settle(handle, other, partial(has, votes), nodeid)
        device(handle, other)
        say("trackstop", handle.trackstop)
        say("trackstop again", handle.trackstop)
        say("finalize", handle.finalize)
        say("finalize again", handle.finalize)
        say("getinfo", handle.getinfo)


def settle(
    handle: votequorum.Handle,
    other: votequorum.Handle,
    good: Callable[[votequorum.Info], bool],
    nodeid: int = 0,
) -> None:
    """Changes come back as messages: take the events they bring, for a while, then look."""
    for _ in range(LOOKS):
        tell(handle.events(0.05))
        if good(other.getinfo(nodeid if nodeid < 99 else 0)):
            break
    tell(handle.events(0.05))
    say("info", other.getinfo)


def expects(votes: int, info: votequorum.Info) -> bool:
    return info.expected_votes == votes


def has(votes: int, info: votequorum.Info) -> bool:
    return info.votes == votes


def device(handle: votequorum.Handle, other: votequorum.Handle) -> None:
    """The life of a quorum device."""
    handle.trackstop()
    handle.trackstart(votequorum.Track.CURRENT)
    ring = next(e.ring_id for e in handle.events(PATIENCE) if isinstance(e, votequorum.NodeListChange))
    old = votequorum.RingId(ring.nodeid, ring.seq - 4)
    list(handle.events(0))
    handle.trackstart()
    list(handle.events(0))
    for name in ("", "x" * 255):
        say(f"register {len(name)}", partial(handle.qdevice_register, name))
    say("unregister nothing", lambda: handle.qdevice_unregister("device"))
    say("poll nothing", lambda: handle.qdevice_poll("device", True, ring))
    say("master_wins nothing", lambda: handle.qdevice_master_wins("device", True))
    say("update nothing", lambda: handle.qdevice_update("device", "other"))
    say("register", lambda: handle.qdevice_register("x" * 254))
    say("register again", lambda: other.qdevice_register("x" * 254))
    say("register another", lambda: other.qdevice_register("y"))
    say("update wrongly", lambda: handle.qdevice_update("y", "z"))
    say("update", lambda: handle.qdevice_update("x" * 254, "device"))
    wait_for(other, lambda info: info.qdevice_name == "device")
    say("info", other.getinfo)
    say("poll with an old ring", lambda: handle.qdevice_poll("device", True, old))
    say("poll another", lambda: handle.qdevice_poll("y", True, ring))
    say("poll", lambda: handle.qdevice_poll("device", True, ring))
    wait_for(other, lambda info: bool(info.flags & info.flags.QDEVICE_CAST_VOTE))
    say("info", other.getinfo)
    say("info of the other", lambda: other.getinfo(2))
    say("master_wins another", lambda: handle.qdevice_master_wins("y", True))
    say("master_wins", lambda: handle.qdevice_master_wins("device", True))
    wait_for(other, lambda info: bool(info.flags & info.flags.QDEVICE_MASTER_WINS))
    say("info", other.getinfo)
    say("master_wins off", lambda: handle.qdevice_master_wins("device", False))
    say("poll without vote", lambda: handle.qdevice_poll("device", False, ring))
    wait_for(other, lambda info: not info.flags & info.flags.QDEVICE_CAST_VOTE)
    say("info", other.getinfo)
    say("unregister another", lambda: handle.qdevice_unregister("y"))
    say("unregister", lambda: handle.qdevice_unregister("device"))
    wait_for(other, lambda info: not info.flags & info.flags.QDEVICE_REGISTERED)
    say("info", other.getinfo)


def wait_for(handle: votequorum.Handle, good: Callable[[votequorum.Info], bool]) -> None:
    """Until this node's votes are so: what a device does goes round the ring first."""
    end = time.monotonic() + PATIENCE
    while not good(handle.getinfo()) and time.monotonic() < end:
        time.sleep(0.01)


if __name__ == "__main__":
    through_quorum()
    through_votequorum()
