"""Messages survive packing, cutting and joining, whatever their sizes; malformed packets are refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aisexec.totem.assembly import Assembly, PacketError, split
from aisexec.totem.interrupted import InterruptedMessage
from aisexec.totem.limits import ASSEMBLY_SIZE_MAX
from aisexec.totem.packing import Packer

NET_MTU = 210
SIZES = st.lists(st.lists(st.integers(0, 900), min_size=1, max_size=4), max_size=12)


def pack(messages: list[list[bytes]], net_mtu: int = NET_MTU) -> list[bytes]:
    packets: list[bytes] = []
    packer = Packer(net_mtu, lambda packet, _: packets.append(packet))
    for parts in messages:
        packer.add(parts, 0)
    packer.flush()
    return packets


def assemble(packets: list[bytes]) -> list[bytes]:
    received: list[bytes] = []

    def deliver(nodeid: int, message: bytes) -> None:
        received.append(bytes(message))

    assembly = Assembly(deliver)
    for packet in packets:
        assembly.packet(1, memoryview(packet))
    return received


def contents(sizes: list[list[int]]) -> list[list[bytes]]:
    count = iter(range(1, 1000))
    return [[bytes([next(count) % 256]) * size for size in parts] for parts in sizes]


@given(SIZES)
@example([[199], [198], [197], [196], [195]])
@example([[200], [400], [600]])
def test_what_goes_in_comes_out(sizes: list[list[int]]) -> None:
    messages = contents(sizes)
    packets = pack(messages)
    assert all(len(packet) <= NET_MTU for packet in packets)
    assert assemble(packets) == [b"".join(parts) for parts in messages if any(parts)]


def test_fragment_numbers_wrap_without_zero() -> None:
    message = bytes(200_000)
    packets = pack([[message]])
    assert len(packets) > 600
    assert 0 not in {packet[4] for packet in packets[:-1]}
    assert assemble(packets) == [message]


def test_a_newcomer_throws_away_only_the_tail_it_does_not_know() -> None:
    packets = pack([[bytes(500)], [b"small"], [b"big" * 200]])
    late = assemble(packets[1:])
    assert late == [b"small", b"big" * 200]


def test_an_interrupted_message_is_sent_again_from_its_beginning() -> None:
    """Veterans and newcomers deliver the same: the whole message, once."""
    packets = pack([[b"first"], [b"x" * 900], [b"behind"]])
    half = len(packets) // 2
    memory = InterruptedMessage()
    for packet in packets[:half]:
        memory.sent(packet, 0)
    again = [packet for packet, _ in memory.restart()] + packets[half:]
    veteran = assemble(packets[:half] + again)
    newcomer = assemble(again)
    assert veteran == [b"first", b"x" * 900, b"behind"]
    assert newcomer == [b"x" * 900, b"behind"]


def test_nothing_is_restarted_when_nothing_is_open() -> None:
    memory = InterruptedMessage()
    for packet in pack([[b"a" * 900], [b"b"]]):
        memory.sent(packet, 0)
    assert memory.restart() == []


@given(st.binary(max_size=120))
def test_random_bytes_are_a_packet_or_an_error(data: bytes) -> None:
    try:
        _, _, pieces = split(memoryview(data))
    except PacketError:
        return
    assert sum(map(len, pieces)) + 8 + 2 * len(pieces) == len(data)


def test_a_message_without_end_is_refused() -> None:
    assembly = Assembly(lambda nodeid, message: None)
    piece = bytes(60000)

    def packet(fragmented: int, continuation: int) -> memoryview:
        head = bytes([0, 0, 0, 0, fragmented, continuation, 1, 0])
        return memoryview(head + len(piece).to_bytes(2, "little") + piece)

    def feed() -> None:
        assembly.packet(1, packet(1, 0))
        for number in range(1, ASSEMBLY_SIZE_MAX // len(piece) + 2):
            assembly.packet(1, packet(number + 1, number))

    with pytest.raises(PacketError):
        feed()
