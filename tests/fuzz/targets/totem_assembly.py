"""Compiled reassembly beside its plain twin: the same packets, the same messages and complaints."""

from __future__ import annotations

from aisexec.totem._assembly import Assembly, PacketError
from tests.fuzz.records import steps
from tests.fuzz.targets import totem_packets
from tests.fuzz.targets.totem_packets import LEFT, SENDERS, frame_head
from tests.twins import assembly as twin

SECONDS = totem_packets.SECONDS

AS_PACKET = 4
"""Bit of Step.what: not within a frame."""


def fuzz(data: bytes) -> None:
    """Whatever comes, both say the same of it and keep the same."""
    ours: list[tuple[int, bytes | str]] = []
    theirs: list[tuple[int, bytes | str]] = []
    compiled = Assembly(lambda nodeid, message: ours.append((nodeid, message)), lambda *what: ours.append(what))
    plain = twin.Assembly(lambda nodeid, message: theirs.append((nodeid, bytes(message))))
    for step in steps(data):
        sender = step.where % SENDERS + 1
        if step.what & LEFT:
            compiled.forget(sender)
            plain.forget(sender)
            continue
        for _ in range(1 + (step.what & 3)):
            if step.what & AS_PACKET:
                try:
                    compiled.packet(sender, step.data)
                except PacketError as error:
                    ours.append((sender, str(error)))
            else:
                assert compiled.frames([frame_head(sender) + step.data]) == 1
            try:
                plain.packet(sender, memoryview(step.data))
            except twin.PacketError as error:
                theirs.append((sender, str(error)))
        assert ours == theirs
        assert compiled.open_sizes == {nodeid: message.size for nodeid, message in plain._open.items()}
        ours.clear()
        theirs.clear()


seeds, mutate, inputs = totem_packets.seeds, totem_packets.mutate, totem_packets.inputs
