"""Frames of a real corosync 3.1.7 ring decode and encode to the same bytes; so do its packets."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from aisexec.totem import wire
from aisexec.totem.assembly import Assembly, split
from tests.twins.packing import Packer
from tests.wire.pcap import CAPTURES, datagrams

ALL = sorted(path.stem for path in CAPTURES.glob("*.pcap"))
STOCK_NET_MTU = 1410


@pytest.mark.parametrize("name", ALL)
def test_every_frame_round_trips(name: str) -> None:
    kinds = set()
    for datagram in datagrams(name):
        frame = datagram.payload
        kind = wire.check_header(frame)
        kinds.add(kind)
        header = wire.HEADER.unpack(frame)
        match kind:
            case wire.FrameType.ORF_TOKEN:
                assert wire.read_orf_token(frame).pack() == frame
            case wire.FrameType.JOIN:
                again = bytearray(wire.read_join(frame).pack())
                again[9:13] = frame[9:13]  # target_nodeid is uninitialised memory of the sender
                assert again == frame
            case wire.FrameType.COMMIT_TOKEN:
                again = bytearray(wire.read_commit_token(frame).pack())
                again[9:13] = frame[9:13]
                assert again == frame
            case wire.FrameType.MERGE_DETECT:
                assert wire.MERGE_DETECT.pack(wire.read_merge_detect(frame)) == frame
            case wire.FrameType.HOLD_CANCEL:
                assert wire.HOLD_CANCEL.pack(wire.read_hold_cancel(frame)) == frame
            case wire.FrameType.MCAST:
                parsed = wire.MCAST.unpack(frame)
                key = wire.read_mcast_key(frame)
                assert (key.seq, key.system_from) == (parsed.seq, parsed.system_from)
                built = wire.pack_mcast_header(
                    wire.Encapsulated(header.encapsulated),
                    header.nodeid,
                    parsed.seq,
                    parsed.this_seqno,
                    parsed.ring_id,
                    parsed.guarantee,
                )
                assert built == frame[: wire.MCAST_SIZE]
    assert wire.FrameType.ORF_TOKEN in kinds


def packets(name: str) -> Iterator[tuple[int, memoryview]]:
    """(sender, packet) of every plain mcast, copies left out."""
    seen = set()
    for datagram in datagrams(name):
        frame = datagram.payload
        if wire.check_header(frame) is not wire.FrameType.MCAST:
            continue
        header = wire.HEADER.unpack(frame)
        key = wire.read_mcast_key(frame)
        if header.encapsulated == wire.Encapsulated.PLAIN and key not in seen:
            seen.add(key)
            yield header.nodeid, memoryview(frame)[wire.MCAST_SIZE :]


# Parts as stock hands them down: group head, names, executive header struct, payload.
HEAD_SIZES = {0x20003: 184, 0x20006: 200}


def as_parts(message: bytes) -> list[bytes]:
    count, length = struct.unpack_from("<HH", message)
    assert count == 1
    body = message[4 + length :]
    (ident,) = struct.unpack_from("<I", body)
    cut = HEAD_SIZES.get(ident, len(body)) if message[4 : 4 + length] == b"a" else len(body)
    return [message[:4], message[4 : 4 + length], body[:cut], body[cut:]]


@pytest.mark.parametrize("name", ["udpu-cpg-100k", "udp-formation", "udp-leave", "udp-cpg-small"])
def test_packing_is_equal_to_stock(name: str) -> None:
    """Re-pack what each sender sent: same packets, wherever one run of packets is whole."""
    runs: dict[int, list[memoryview]] = {}
    compared = fragmented_runs = 0
    for nodeid, packet in packets(name):
        fragmented, continuation, _ = split(packet)
        run = runs.setdefault(nodeid, [])
        if not run and continuation:
            continue
        run.append(packet)
        if fragmented:
            continue
        messages: list[bytes] = []

        def collect(_: int, message: bytes, messages: list[bytes] = messages) -> None:
            messages.append(bytes(message))

        assembly = Assembly(collect)
        for p in run:
            assembly.packet(nodeid, p)
        packed: list[bytes] = []
        packer = Packer(STOCK_NET_MTU, lambda p, _, packed=packed: packed.append(p), stock=True)  # type: ignore[misc]
        for message in messages:
            packer.add(as_parts(message), 0)
        packer.flush()
        assert [bytes(p) for p in run] == packed
        compared += len(run)
        fragmented_runs += len(run) > 1
        runs[nodeid] = []
    assert compared >= 4
    if name in ("udpu-cpg-100k", "udp-formation"):
        assert fragmented_runs


def test_recovery_frames_carry_whole_old_frames() -> None:
    inner = [
        d.payload[wire.MCAST_SIZE :]
        for d in datagrams("udp-recovery")
        if d.payload[3] == wire.FrameType.MCAST and d.payload[4] == wire.Encapsulated.RECOVERY
    ]
    assert inner
    for frame in inner:
        assert wire.check_header(frame) is wire.FrameType.MCAST
        assert wire.read_mcast_key(frame).encapsulated == wire.Encapsulated.PLAIN
