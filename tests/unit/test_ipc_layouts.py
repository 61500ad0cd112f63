"""Every structure that crosses the border has the size and offsets that corosync's C headers give it.

The table was printed by a C program with sizeof and offsetof against the 3.1.7 headers on x86-64.
"""

from __future__ import annotations

import errno

import pytest

from ipc import cfg_layouts as cfg
from ipc import cmap_layouts as cmap
from ipc import cpg_layouts as cpg
from ipc import layouts
from ipc.errors import CsError, from_errno, strerror
from ipc.layout import Layout, ShortBufferError

C_STRUCTURES = {
    layouts.REQUEST_HEADER: "16: id 0, size 8",
    layouts.RESPONSE_HEADER: "24: id 0, size 8, error 16",
    layouts.CONNECT_REQUEST: "24: id 0, size 8, max_msg_size 16",
    layouts.CONNECT_RESPONSE: "12328: id 0, size 8, error 16, connection_type 24, max_msg_size 28, "
    "connection 32, request 40, response 4136, event 8232",
    cpg.JOIN_REQUEST: "168: group_length 16, group 24, pid 152, flags 160",
    cpg.LEAVE_REQUEST: "160: group_length 16, group 24, pid 152",
    cpg.MCAST_REQUEST: "40: id 0, size 8, guarantee 24, msglen 32",
    cpg.PARTIAL_MCAST_REQUEST: "56: id 0, size 8, guarantee 24, msglen 32, fraglen 40, type 48",
    cpg.MEMBERSHIP_GET_REQUEST: "152: group_length 16, group 24",
    cpg.ITERATION_INITIALIZE_REQUEST: "160: group_length 16, group 24, iteration_type 152",
    cpg.ITERATION_REQUEST: "24: iteration_handle 16",
    cpg.ZC_ALLOC_REQUEST: "152: map_size 16, path_to_file 24",
    cpg.ZC_FREE_REQUEST: "32: map_size 16, server_address 24",
    cpg.ZC_EXECUTE_REQUEST: "24: server_address 16",
    cpg.MEMBERSHIP_GET_RESPONSE: "32: member_count 24",
    cpg.LOCAL_GET_RESPONSE: "32: local_nodeid 24",
    cpg.ITERATION_INITIALIZE_RESPONSE: "32: iteration_handle 24",
    cpg.ITERATION_NEXT_RESPONSE: "168: group_length 24, group 32, nodeid 160, pid 164",
    cpg.CONFCHG_EVENT: "184: group_length 24, group 32, member_list_entries 160, "
    "joined_list_entries 168, left_list_entries 176",
    cpg.DELIVER_EVENT: "184: group_length 24, group 32, msglen 160, nodeid 168, pid 176",
    cpg.PARTIAL_DELIVER_EVENT: "200: group_length 24, group 32, msglen 160, fraglen 168, nodeid 176, "
    "pid 184, type 192",
    cpg.TOTEM_CONFCHG_EVENT: "48: ring_nodeid 24, ring_seq 32, member_list_entries 40",
    cpg.ADDRESS: "24: nodeid 0, pid 8, reason 16",
    cpg.ZC_HEADER: "16: map_size 0, server_address 8",
    cmap.SET_REQUEST: "296: key_length 16, key 24, value_len 280, type 288",
    cmap.KEY_REQUEST: "280: key_length 16, key 24",
    cmap.GET_REQUEST: "288: key_length 16, key 24, value_len 280",
    cmap.ADJUST_INT_REQUEST: "288: key_length 16, key 24, step 280",
    cmap.HANDLE_REQUEST: "24: handle 16",
    cmap.TRACK_ADD_REQUEST: "296: key_length 16, key 24, track_type 280, track_inst_handle 288",
    cmap.SET_CURRENT_MAP_REQUEST: "24: map 16",
    cmap.GET_RESPONSE: "40: value_len 24, type 32",
    cmap.HANDLE_RESPONSE: "32: handle 24",
    cmap.ITER_NEXT_RESPONSE: "304: key_length 24, key 32, value_len 288, type 296",
    cmap.NOTIFY_EVENT: "336: track_inst_handle 24, key_length 32, key 40, event 296, new_value_type 304, "
    "old_value_type 312, new_value_len 320, old_value_len 328",
    cfg.NAME: "258: length 0, value 2",
    cfg.KILL_NODE_REQUEST: "288: nodeid 16, reason 24",
    cfg.TRY_SHUTDOWN_REQUEST: "24: flags 16",
    cfg.REPLY_TO_SHUTDOWN_REQUEST: "24: response 16",
    cfg.NODE_REQUEST: "24: nodeid 16",
    cfg.NODE_STATUS_REQUEST: "32: nodeid 16, version 24",
    cfg.TRACK_START_REQUEST: "24: track_flags 16",
    cfg.RING_STATUS_RESPONSE: "32: interface_count 24",
    cfg.NODE_ADDRS_RESPONSE: "32: family 24, num_addrs 28",
    cfg.LOCAL_GET_RESPONSE: "32: local_nodeid 24",
    cfg.NODE_STATUS_VERSION_RESPONSE: "32: version 24",
    cfg.NODE_STATUS_HEAD: "16: version 0, nodeid 4, reachable 8, remote 9, external 10, onwire_min 11, "
    "onwire_max 12, onwire_ver 13",
    cfg.LINK_STATUS: "520: enabled 0, connected 1, dynconnected 2, mtu 4, src_ipaddr 8, dst_ipaddr 264",
    cfg.TEST_SHUTDOWN_EVENT: "32: error 16, flags 24",
}


@pytest.mark.parametrize("layout", C_STRUCTURES, ids=lambda layout: layout.name)
def test_structure_is_where_c_puts_it(layout: Layout[tuple[object, ...]]) -> None:
    size, fields = C_STRUCTURES[layout].split(": ")
    assert layout.size == int(size)
    for field in fields.split(", "):
        name, offset = field.split()
        assert layout.offset_of(name) == int(offset), name


def test_derived_sizes() -> None:
    assert cpg.MEMBERSHIP_GET_RESPONSE_SIZE == 9248
    assert cpg.ZC_PAYLOAD_OFFSET == 56
    assert cfg.RING_STATUS_RESPONSE_SIZE == 10272
    assert cfg.NODE_STATUS_RESPONSE_SIZE == 4200
    assert cpg.ATOMIC_MESSAGE_MAX == 1047552
    # Found with a C program: a stock receiver gets 1048392 bytes, and stalls for ever on more.
    assert cpg.DELIVER_MAX == 1048392
    assert cpg.PARTIAL_DELIVER_MAX == 1048376


def test_every_request_is_described() -> None:
    assert set(cpg.CALLS) == set(cpg.CpgRequest)
    flow_controlled = {int(request) for request, call in cpg.CALLS.items() if call.flow_control}
    assert flow_controlled == {0, 1, 2, 8, 9, 10, 11, 12}


def test_connect_request_bytes() -> None:
    request = layouts.ConnectRequest(layouts.CONNECT_ID, layouts.CONNECT_REQUEST.size, 0x100000)
    expected = "ffffffff00000000 1800000000000000 0000100000000000"
    assert layouts.CONNECT_REQUEST.pack(request) == bytes.fromhex(expected)


# Events of a real corosync 3.1.7, with the garbage that its padding holds.
STOCK_CONFCHG = (
    bytes.fromhex("04000000fc7f0000 e8000000fc7f0000 01000000fc7f0000 0400000000000000")
    + b"grp1".ljust(128, b"\0")
    + bytes.fromhex("0100000000000000 01000000f17f0000 0000000000000000")
    + bytes.fromhex("01000000f17f0000 fe2c000030000000 00000000fc7f0000")
    + bytes.fromhex("010000001b560000 fe2c000000000000 01000000f17f0000")
)
STOCK_TOTEM_CONFCHG = bytes.fromhex(
    "0d0000001b560000 340000001b560000 01000000fc7f0000 0100000000000000 0500000000000000"
    "01000000 01000000 e0ef662c"
)


def test_stock_configuration_change() -> None:
    change = cpg.unpack_confchg(STOCK_CONFCHG)
    assert change == cpg.Confchg(
        b"grp1", (cpg.Address(1, 0x2CFE, 0),), (), (cpg.Address(1, 0x2CFE, cpg.Reason.JOIN),)
    )
    ours = cpg.pack_confchg(change.group, change.members, change.left, change.joined)
    assert len(ours) == len(STOCK_CONFCHG)
    assert cpg.unpack_confchg(ours) == change


def test_left_precedes_joined_behind_the_members() -> None:
    members, left, joined = [cpg.Address(1, 1)], [cpg.Address(2, 2, 3)], [cpg.Address(3, 3, 1)]
    message = cpg.pack_confchg(b"g", members, left, joined)
    nodeids = [message[184 + 24 * i] for i in range(3)]
    assert nodeids == [1, 2, 3]
    assert cpg.unpack_confchg(message) == (b"g", (*members,), (*left,), (*joined,))


def test_stock_totem_change() -> None:
    change = cpg.unpack_totem_confchg(STOCK_TOTEM_CONFCHG)
    assert change == (1, 5, (1,))
    ours = cpg.pack_totem_confchg(*change)
    assert len(ours) == len(STOCK_TOTEM_CONFCHG)
    assert cpg.unpack_totem_confchg(ours) == change


def test_membership_response_is_always_full_size() -> None:
    members = [cpg.Address(node, 100 + node) for node in range(1, 4)]
    message = cpg.pack_membership(members)
    assert len(message) == 9248
    assert cpg.unpack_membership(message) == tuple(members)


def test_lists_longer_than_a_client_takes_are_not_packed() -> None:
    many = [cpg.Address(1, pid) for pid in range(129)]
    with pytest.raises(ValueError, match="129"):
        cpg.pack_confchg(b"g", many, [], [])
    with pytest.raises(ValueError, match="129"):
        cpg.pack_totem_confchg(1, 5, range(129))


@pytest.mark.parametrize("count_offset", [160, 168, 176])
def test_hostile_counts_are_refused(count_offset: int) -> None:
    message = bytearray(STOCK_CONFCHG)
    message[count_offset : count_offset + 4] = b"\xff\xff\xff\x7f"
    with pytest.raises(cpg.BadMessageError):
        cpg.unpack_confchg(message)
    message[count_offset : count_offset + 4] = (100).to_bytes(4, "little")
    with pytest.raises(ShortBufferError):
        cpg.unpack_confchg(message)


def test_hostile_lengths_are_refused() -> None:
    with pytest.raises(cpg.BadMessageError):
        cpg.payload(b"x" * 200, 184, 17)
    request = cpg.JoinRequest(0, 168, 129, b"x" * 128, 1, 0)
    with pytest.raises(cpg.BadMessageError, match="129"):
        cpg.group_name(request)
    message = bytearray(STOCK_TOTEM_CONFCHG)
    message[40:44] = (100).to_bytes(4, "little")
    with pytest.raises(ShortBufferError):
        cpg.unpack_totem_confchg(message)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, CsError.OK),
        (errno.EAGAIN, CsError.TRY_AGAIN),
        (-errno.EACCES, CsError.ACCESS),
        (errno.ENOTCONN, CsError.LIBRARY),
        (errno.ECONNREFUSED, CsError.LIBRARY),
        (errno.EMSGSIZE, CsError.TOO_BIG),
        (errno.ENOSYS, CsError.NOT_SUPPORTED),
        (errno.ETIME, CsError.TIMEOUT),
    ],
)
def test_errno_becomes_result_code(number: int, code: CsError) -> None:
    assert from_errno(number) is code


def test_texts_are_those_of_cs_strerror() -> None:
    assert strerror(1) == "success"
    assert strerror(6) == "CS_ERR_TRY_AGAIN"
    assert strerror(100) == "CS_ERR_SECURITY"
    assert strerror(29) == "unknown error"
