"""Which sealed frames are taken: keys, sessions, replay, reflection, the handshake and its bounds."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisexec.config import security
from aisexec.net.crypto import Verdict
from aisexec.net.limits import (
    CHALLENGE_LIFETIME,
    CLOSED_SESSIONS_MAX,
    DERIVATION_INTERVAL,
    DERIVATIONS_MAX,
    HANDSHAKE_INTERVAL,
    KEY_FRAMES_BITS,
    LATENESS_MAX,
    REPEATED_AGE_MAX,
    REPLAY_WINDOW,
    SILENCE_ASKED,
    SILENCE_MAX,
)
from aisexec.net.replay_window import ReplayWindow
from aisexec.net.sealed_frame import HEADER, HEADER_SIZE, OVERHEAD, Purpose
from tests.unit.crypto_support import Nodes, keys


@pytest.fixture
def nodes() -> Nodes:
    made = Nodes()
    made.meet()
    return made


def test_the_configuration_knows_the_overhead() -> None:
    assert security.OVERHEAD == OVERHEAD


# Frames.


@pytest.mark.parametrize("size", [0, 1, 45, 1400, 65000])
def test_a_frame_comes_out_as_it_went_in(nodes: Nodes, size: int) -> None:
    frame = random.Random(size).randbytes(size)
    datagram = nodes[1].seal(frame, nodes.now)
    assert len(datagram) == size + OVERHEAD
    assert size < 16 or frame not in datagram
    assert nodes[2].open(datagram, nodes.now) == frame
    assert nodes[3].open(datagram, nodes.now) == frame


def test_a_changed_bit_anywhere_is_noticed(nodes: Nodes) -> None:
    datagram = nodes[1].seal(b"a frame of some length", nodes.now)
    for position in range(len(datagram)):
        for bit in range(8):
            changed = bytearray(datagram)
            changed[position] ^= 1 << bit
            assert isinstance(nodes[2].open(bytes(changed), nodes.now), Verdict), (position, bit)
    assert nodes[2].open(datagram, nodes.now) == b"a frame of some length"


def test_a_frame_cut_short_or_made_longer_is_noticed(nodes: Nodes) -> None:
    datagram = nodes[1].seal(b"a frame of some length", nodes.now)
    for size in range(len(datagram)):
        assert isinstance(nodes[2].open(datagram[:size], nodes.now), Verdict)
    assert nodes[2].open(datagram + b"\0", nodes.now) is Verdict.ALTERED


@given(st.binary(max_size=200), st.binary(min_size=0, max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_bytes_pass_or_raise(head: bytes, tail: bytes) -> None:
    nodes = Nodes((1, 2))
    prefix = nodes[1].seal(b"", nodes.now)[: len(head) % (HEADER_SIZE + 1)]
    for datagram in (head, prefix + tail, prefix + head + tail):
        assert isinstance(nodes[2].open(datagram, nodes.now), Verdict)
    assert not nodes[2].replies


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None)
def test_handshakes_of_any_content_are_borne(content: bytes) -> None:
    """Such as a later version may send."""
    nodes = Nodes((1, 2))
    for known in (False, True):
        if known:
            nodes.meet()
        datagram = nodes[1]._seal(Purpose.HANDSHAKE, 2, nodes[2].session + content)
        assert isinstance(nodes[2].open(datagram, nodes.now), Verdict)
        assert bool(nodes.proven) is known
        nodes[2].replies = []


def test_nonces_never_repeat_within_a_session_and_sessions_differ() -> None:
    nodes = Nodes((1, 2))
    seen: set[bytes] = set()
    sessions = set()
    for _ in range(50):
        sealer = nodes.start(1)
        sessions.add(sealer.session)
        for number in range(1, 21):
            head = HEADER.unpack(sealer.seal(b"x", nodes.now, number % 3))
            assert head.counter == number
            seen.add(head.session + head.counter.to_bytes(8, "big"))
    assert len(sessions) == 50
    assert len(seen) == 50 * 20


def test_the_same_frame_never_looks_the_same(nodes: Nodes) -> None:
    bodies = {nodes[1].seal(bytes(64), nodes.now)[HEADER_SIZE:] for _ in range(100)}
    assert len(bodies) == 100


def test_another_key_is_told_from_a_damaged_frame() -> None:
    nodes = Nodes((1, 2, 3), make_keys=lambda nodeid: keys(bytes(256)) if nodeid == 3 else keys())
    assert nodes.send(1, 2) is Verdict.UNPROVEN
    assert nodes.send(1, 2) == b"frame"
    for _ in range(5):
        nodes.now += 1
        assert nodes.send(3, 1) is Verdict.INVALID
        assert nodes.send(1, 3) is Verdict.INVALID
    datagram = nodes[1].seal(b"x", nodes.now)
    assert nodes[2].open(datagram[:-1] + bytes([datagram[-1] ^ 1]), nodes.now) is Verdict.ALTERED
    assert not [proof for proof in nodes.proven if 3 in proof]


def test_another_algorithm_is_named() -> None:
    nodes = Nodes((1, 2), make_keys=lambda nodeid: keys(algorithm="aes128" if nodeid == 1 else "sha256"))
    assert nodes.send(1, 2) is Verdict.ALGORITHM
    assert nodes.send(2, 1) is Verdict.ALGORITHM


@pytest.mark.parametrize("datagram", [b"", b"\x70\xc0\x03" + bytes(80), b"\xfe\xfe" + bytes(80), bytes(80)])
def test_foreign_formats(nodes: Nodes, datagram: bytes) -> None:
    assert nodes[1].open(datagram, nodes.now) is Verdict.FOREIGN


def test_another_version_of_the_format(nodes: Nodes) -> None:
    datagram = bytearray(nodes[1].seal(b"x", nodes.now))
    datagram[2] += 1
    assert nodes[2].open(bytes(datagram), nodes.now) is Verdict.FOREIGN


def test_a_node_outside_the_nodelist() -> None:
    nodes = Nodes((1, 2))
    stranger = Nodes((1, 2, 9))
    assert nodes[1].open(stranger[9].seal(b"x", nodes.now), nodes.now) is Verdict.STRANGER


def test_reflected_frames(nodes: Nodes) -> None:
    assert nodes[1].open(nodes[1].seal(b"x", nodes.now), nodes.now) is Verdict.REFLECTED
    old = nodes[1].seal(b"x", nodes.now)
    assert nodes.start(1).open(old, nodes.now) is Verdict.REFLECTED


def test_a_frame_for_one_node_is_good_for_no_other(nodes: Nodes) -> None:
    datagram = nodes[1].seal(b"token", nodes.now, 2)
    assert nodes[3].open(datagram, nodes.now) is Verdict.MISDIRECTED
    for target in (0, 3):
        head = HEADER.unpack(datagram)._replace(target=target)
        assert nodes[3].open(HEADER.pack(head) + datagram[HEADER_SIZE:], nodes.now) is Verdict.ALTERED
    assert nodes[2].open(datagram, nodes.now) == b"token"


def test_keys_change_before_they_wear_out(nodes: Nodes) -> None:
    edge = 1 << KEY_FRAMES_BITS
    nodes[1]._counter = edge - 4
    datagrams = [nodes[1].seal(bytes([number]), nodes.now) for number in range(8)]
    order = [0, 5, 1, 4, 2, 3, 7, 6]  # also those of the old key behind those of the new one
    assert [nodes[2].open(datagrams[n], nodes.now) for n in order] == [bytes([n]) for n in order]
    nodes[1]._counter = 7 * edge
    for number in range(3):
        assert nodes.send(1, 2, bytes([number])) == bytes([number])
    nodes.now += SILENCE_ASKED + 1
    nodes[2].ask_silent(nodes.now)
    nodes.pass_replies()  # handshakes have keys of their own
    sides = (nodes[1]._keys, nodes[2]._peers[1].keys)
    assert all(side is not None and len(side._ciphers) <= 4 for side in sides)
    one, other = (nodes[1]._all_keys.cipher(Purpose.FRAME, 1, bytes(16), epoch) for epoch in (0, 1))
    assert one.seal(bytes(12), b"x", b"") != other.seal(bytes(12), b"x", b"")


def test_a_key_is_bound_to_everything_in_its_context() -> None:
    """Otherwise two nodes, or two lives of one, would use a key with the same nonces."""
    made = keys()
    contexts = [(1, 1, bytes(16), 0), (2, 1, bytes(16), 0), (1, 2, bytes(16), 0)]
    contexts += [(1, 1, bytes([*bytes(15), 1]), 0), (1, 1, bytes(16), 1)]
    sealed = {made.cipher(*context).seal(bytes(12), b"data", b"") for context in contexts}
    sealed.add(keys(bytes(128)).cipher(*contexts[0]).seal(bytes(12), b"data", b""))
    sealed.add(keys(algorithm="aes128").cipher(*contexts[0]).seal(bytes(12), b"data", b""))
    assert len(sealed) == 7


def test_forged_counters_leave_no_keys_behind(nodes: Nodes) -> None:
    head = HEADER.unpack(nodes[1].seal(b"x", nodes.now))
    for epoch in range(1, 200):
        forged = head._replace(counter=epoch << KEY_FRAMES_BITS)
        assert nodes[2].open(HEADER.pack(forged) + bytes(20), nodes.now) is Verdict.ALTERED
        nodes.now += 2 * DERIVATION_INTERVAL
    session = nodes[2]._peers[1].keys
    assert session is not None
    assert {epoch for _, epoch in session._ciphers} == {0}


# Replay.


def test_each_frame_is_taken_once_in_any_order(nodes: Nodes) -> None:
    datagrams = [nodes[1].seal(bytes([number]), nodes.now) for number in range(200)]
    rng = random.Random(3)
    taken: Counter[bytes] = Counter()
    for datagram in rng.sample(datagrams * 4, len(datagrams) * 4):
        result = nodes[2].open(datagram, nodes.now)
        if isinstance(result, bytes):
            taken[result] += 1
        else:
            assert result is Verdict.REPLAYED
    assert taken == Counter({bytes([number]): 1 for number in range(200)})


def test_too_far_behind_is_too_old(nodes: Nodes) -> None:
    late = [nodes[1].seal(b"late", nodes.now) for _ in range(2)]
    for _ in range(REPLAY_WINDOW - 2):
        nodes[2].open(nodes[1].seal(b"x", nodes.now), nodes.now)
    assert nodes[2].open(late[1], nodes.now) == b"late"
    nodes[2].open(nodes[1].seal(b"x", nodes.now), nodes.now)
    assert nodes[2].open(late[0], nodes.now) is Verdict.REPLAYED


def test_what_was_kept_from_us_is_soon_too_late(nodes: Nodes) -> None:
    """Recorded where we could not hear it, played to us when we hear the sender again."""
    held = [nodes[1].seal(b"held", nodes.now) for _ in range(10)]
    for _ in range(3):
        assert nodes.send(1, 2) == b"frame"
        nodes.now += LATENESS_MAX
    assert nodes.send(1, 2) == b"frame"
    assert {nodes[2].open(datagram, nodes.now) for datagram in held} == {Verdict.REPLAYED}


@given(
    st.lists(st.tuples(st.integers(1, 3 * REPLAY_WINDOW), st.floats(0, 3)), max_size=60),
    st.integers(0, 50),
)
@settings(max_examples=300, deadline=None)
def test_window_against_a_set(steps: list[tuple[int, float]], floor: int) -> None:
    window = ReplayWindow(floor, 0.0)
    seen: set[int] = set()
    now = 0.0
    for counter, pause in steps:
        now += pause
        highest = max([floor, *seen])
        if window.is_new(counter, now):
            assert counter not in seen
            assert counter > max(floor, highest - REPLAY_WINDOW)
            window.mark(counter, now)
            seen.add(counter)
            assert not window.is_new(counter, now)
        else:
            assert counter in seen or counter <= highest
        assert window.is_new(max([floor, *seen]) + 1, now)


# Sessions.


def test_the_first_frame_of_a_session_only_brings_about_the_handshake() -> None:
    nodes = Nodes((1, 2))
    assert nodes[2].open(nodes[1].seal(b"join", nodes.now), nodes.now) is Verdict.UNPROVEN
    nodes.pass_replies()
    # Challenge; answer with challenge, and the frame again; answer.
    assert [HEADER.unpack(datagram).purpose for _, datagram in nodes.wire] == [2, 2, 1, 2]
    assert nodes.repeated == 1
    assert nodes.proven == [(2, 1, False), (1, 2, False)]
    assert nodes.send(1, 2) == b"frame"
    assert nodes.send(2, 1) == b"frame"


def test_nothing_sealed_before_the_answer_is_taken() -> None:
    nodes = Nodes((1, 2))
    before = [nodes[1].seal(bytes([number]), nodes.now) for number in range(20)]
    nodes.meet()
    assert {nodes[2].open(datagram, nodes.now) for datagram in before} == {Verdict.REPLAYED}


@pytest.mark.parametrize("seed", range(20))
def test_handshakes_get_through_a_bad_network(seed: int) -> None:
    nodes = Nodes((1, 2, 3), seed)
    rng = random.Random(seed)
    for _ in range(400):
        source, target = rng.sample((1, 2, 3), 2)
        nodes[target].open(nodes[source].seal(b"join", nodes.now), nodes.now)
        nodes.pass_replies(lambda target, datagram: rng.random() < 0.6)
        nodes.now += 0.05
    nodes.meet()


@pytest.mark.parametrize("seed", range(20))
def test_handshakes_out_of_order(seed: int) -> None:
    nodes = Nodes((1, 2), seed)
    rng = random.Random(seed)
    under_way: list[tuple[int, bytes]] = []
    for _ in range(100):
        for source, target in ((1, 2), (2, 1)):
            under_way.append((target, nodes[source].seal(b"join", nodes.now)))
            under_way += nodes[source].replies
            nodes[source].replies = []
        rng.shuffle(under_way)
        for target, datagram in under_way[: len(under_way) // 2]:
            nodes[target].open(datagram, nodes.now)
        del under_way[: len(under_way) // 2]
        nodes.now += 0.05
    nodes.meet()
    assert sorted(nodes.proven) == [(1, 2, False), (2, 1, False)]


def test_a_node_that_starts_anew_replaces_its_former_session(nodes: Nodes) -> None:
    former = nodes[1]
    late = former.seal(b"late", nodes.now)
    nodes.start(1)
    assert nodes[2].open(late, nodes.now) == b"late"  # nothing is known of the new one yet
    assert nodes.send(1, 2) is Verdict.UNPROVEN
    assert nodes.send(1, 2) == b"frame"
    assert nodes.proven[-2:] == [(2, 1, True), (1, 2, False)]
    assert nodes[2].open(former.seal(b"x", nodes.now), nodes.now) is Verdict.OUTDATED
    assert nodes.pass_replies() == 0


def test_two_executives_with_one_nodeid_do_not_take_turns(nodes: Nodes) -> None:
    first = nodes[1]
    second = nodes.start(1)
    nodes.meet()
    proofs = len(nodes.proven)
    for _ in range(20):
        nodes.now += 1
        assert nodes[2].open(first.seal(b"x", nodes.now), nodes.now) is Verdict.OUTDATED
        assert nodes[2].open(second.seal(b"x", nodes.now), nodes.now) == b"x"
        nodes.pass_replies()
    assert len(nodes.proven) == proofs


def test_an_answer_is_good_for_one_session_of_one_node(nodes: Nodes) -> None:
    """And only once: a later session makes it void, though it was kept back."""
    first = nodes.start(1)
    nodes[2].open(first.seal(b"join", nodes.now), nodes.now)
    (_, challenge), = nodes[2].replies
    nodes[2].replies = []
    first.open(challenge, nodes.now)
    _, answer = first.replies[0]
    nodes.start(1)  # the node ends before its answer arrives
    assert nodes.send(1, 2) is Verdict.UNPROVEN
    assert nodes.send(1, 2) == b"frame"
    assert nodes[2].open(answer, nodes.now) is Verdict.HANDSHAKE
    nodes[2].replies = []
    assert nodes.send(1, 2) == b"frame"
    assert nodes[2].open(first.seal(b"x", nodes.now), nodes.now) is Verdict.UNPROVEN


def test_only_what_was_just_sent_is_repeated() -> None:
    nodes = Nodes((1, 2))
    nodes[2].open(nodes[1].seal(b"join", nodes.now), nodes.now)
    nodes.now += 2 * REPEATED_AGE_MAX
    nodes.pass_replies()
    assert nodes.proven
    assert nodes.repeated == 0


def test_frames_for_one_node_are_not_repeated() -> None:
    nodes = Nodes((1, 2))
    nodes[2].open(nodes[1].seal(b"token", nodes.now, 2), nodes.now)
    nodes.pass_replies()
    assert nodes.repeated == 0


def test_a_challenge_is_bound_to_node_session_proofs_and_time(nodes: Nodes) -> None:
    peer = nodes[1]._peers[2]
    sessions = (bytes(16), bytes([*bytes(15), 1]))
    made = {
        nodes[1]._challenge(peer, nodeid, session, period)
        for nodeid in (2, 3)
        for session in sessions
        for period in (7, 8)
    }
    peer.generation += 1
    made.add(nodes[1]._challenge(peer, 2, sessions[0], 7))
    made.add(nodes[2]._challenge(nodes[2]._peers[1], 2, sessions[0], 7))
    assert len(made) == 10


def test_challenges_for_a_former_life_are_not_answered(nodes: Nodes) -> None:
    nodes[1].ask_silent(nodes.now)
    nodes.now += SILENCE_ASKED + 1
    nodes[1].ask_silent(nodes.now)
    challenge = next(datagram for target, datagram in nodes[1].replies if target == 2)
    nodes[1].replies = []
    nodes.start(2)
    assert nodes[2].open(challenge, nodes.now) is Verdict.HANDSHAKE
    assert nodes[2].replies == []


def test_an_answer_of_a_session_that_is_trusted_changes_nothing(nodes: Nodes) -> None:
    nodes.now += SILENCE_ASKED + 1
    nodes[2].ask_silent(nodes.now)
    before = nodes[1].seal(b"overtaken", nodes.now)
    assert nodes.pass_replies() >= 2
    assert nodes[2].open(before, nodes.now) == b"overtaken"


def test_challenges_expire() -> None:
    nodes = Nodes((1, 2))
    nodes[2].open(nodes[1].seal(b"join", nodes.now), nodes.now)
    (_, challenge), = nodes[2].replies
    nodes[2].replies = []
    nodes[1].open(challenge, nodes.now)
    _, answer = nodes[1].replies[0]
    nodes[1].replies = []
    nodes.now += 2 * CHALLENGE_LIFETIME
    nodes[2].open(answer, nodes.now)
    assert nodes.proven == []
    nodes[2].replies = []
    nodes.meet()


def test_whole_captures_do_nothing_after_any_restarts() -> None:
    """Every datagram ever sent, frames and handshakes, to everybody, in any order."""
    nodes = Nodes((1, 2, 3))
    captured: list[bytes] = []

    def traffic() -> None:
        for number in range(30):
            for source in (1, 2, 3):
                datagram = nodes[source].seal(bytes([number]), nodes.now)
                captured.append(datagram)
                for target in {1, 2, 3} - {source}:
                    assert nodes[target].open(datagram, nodes.now) == bytes([number])
            nodes.now += 0.01

    rng = random.Random(4)
    for life in range(4):
        nodes.meet()
        traffic()
        if life < 3:
            nodes.start(1 + life % 3)
        replayed = captured + [datagram for _, datagram in nodes.wire]
        proofs = len(nodes.proven)
        for datagram in rng.sample(replayed, len(replayed)):
            for target in (1, 2, 3):
                assert isinstance(nodes[target].open(datagram, nodes.now), Verdict)
            nodes.pass_replies()
            nodes.now += 0.001
        # Replay may make live nodes prove themselves earlier than they would, and nothing else.
        assert all(not replaces or nodeid != other for nodeid, other, replaces in nodes.proven[proofs:])
        assert len(nodes.proven) - proofs <= 4


def test_single_frames_of_a_node_that_is_down_do_nothing(nodes: Nodes) -> None:
    """Frames of a dead node that we never saw: soon they would need an answer it cannot give."""
    held = [nodes[3].seal(b"held", nodes.now) for _ in range(3)]
    del nodes.sealers[3]
    nodes.now += SILENCE_MAX + 0.1
    for datagram in held:
        assert nodes[1].open(datagram, nodes.now) is Verdict.UNPROVEN
        nodes.pass_replies()
        nodes.now += 1


def test_silence_is_asked_about_so_that_the_next_frame_is_taken(nodes: Nodes) -> None:
    for _ in range(100):
        nodes.now += 1
        for sealer in nodes.sealers.values():
            sealer.ask_silent(nodes.now)
        nodes.pass_replies()
    assert nodes.send(1, 2) == b"frame"
    # Each pair once in SILENCE_ASKED seconds and a bit, in both directions, challenge and answer.
    assert len(nodes.wire) < 6 * 2 * (100 / SILENCE_ASKED + 1)


def test_after_long_silence_a_session_proves_itself_anew(nodes: Nodes) -> None:
    nodes.now += SILENCE_MAX + 1
    held = nodes[1].seal(b"held", nodes.now)
    proofs = list(nodes.proven)
    assert nodes.send(1, 2) is Verdict.UNPROVEN
    assert nodes.send(1, 2) == b"frame"
    assert nodes[2].open(held, nodes.now) is Verdict.REPLAYED
    assert nodes.proven == proofs  # nothing new to tell


# Bounds.


def test_strangers_bring_about_nothing(nodes: Nodes) -> None:
    rng = random.Random(9)
    head = HEADER.unpack(nodes[2].seal(b"x", nodes.now))
    verdicts: Counter[bytes | Verdict] = Counter()
    for _ in range(3000):
        forged = head._replace(
            session=rng.randbytes(16), counter=rng.getrandbits(64), purpose=rng.choice((1, 2, 77))
        )
        datagram = HEADER.pack(forged) + rng.randbytes(rng.randrange(16, 200))
        verdicts[nodes[1].open(datagram, nodes.now)] += 1
    # Keys are derived for a few of them; whoever has proven himself does not need one.
    assert verdicts == {Verdict.INVALID: DERIVATIONS_MAX, Verdict.UNREAD: 3000 - DERIVATIONS_MAX}
    assert nodes[1].replies == []
    assert set(nodes[1]._peers) == {2, 3}
    assert nodes.send(2, 1) == b"frame"
    nodes.now += 2 * DERIVATION_INTERVAL
    assert nodes[1].open(datagram, nodes.now) is Verdict.INVALID


def test_a_flood_of_forged_counters_does_not_stop_a_session(nodes: Nodes) -> None:
    head = HEADER.unpack(nodes[1].seal(b"x", nodes.now))
    for epoch in range(1, 500):
        forged = head._replace(counter=epoch << KEY_FRAMES_BITS)
        assert isinstance(nodes[2].open(HEADER.pack(forged) + bytes(20), nodes.now), Verdict)
    assert nodes.send(1, 2) == b"frame"


def test_replayed_frames_of_a_session_bring_about_few_challenges() -> None:
    nodes = Nodes((1, 2))
    captured = [nodes[1].seal(b"join", nodes.now) for _ in range(1000)]
    started = nodes.now
    for datagram in captured * 3:
        assert nodes[2].open(datagram, nodes.now) in (Verdict.UNPROVEN, Verdict.UNREAD)
        nodes.now += 0.0001
    assert 1 <= len(nodes[2].replies) <= (nodes.now - started) / HANDSHAKE_INTERVAL + 1
    # Never more bytes out than came in.
    assert sum(len(datagram) for _, datagram in nodes[2].replies) <= sum(map(len, captured * 3))


def test_replayed_challenges_bring_about_few_answers(nodes: Nodes) -> None:
    former = nodes[1]
    nodes.start(1)
    nodes[1].open(nodes[2].seal(b"x", nodes.now), nodes.now)
    (_, challenge), = nodes[1].replies
    nodes[1].replies = []
    nodes.sealers[1] = former
    for _ in range(1000):
        nodes[2].open(challenge, nodes.now)
        nodes.now += 0.0001
    # Each an answer, and a repetition of what was just sent.
    assert 1 <= len(nodes[2].replies) <= 2 * (1000 * 0.0001 / HANDSHAKE_INTERVAL + 1)


def test_memory_does_not_grow_with_restarts() -> None:
    nodes = Nodes((1, 2))
    for _ in range(3 * CLOSED_SESSIONS_MAX):
        nodes.start(1)
        nodes.now += 1
        nodes.meet()
    peer = nodes[2]._peers[1]
    assert len(peer.closed) == CLOSED_SESSIONS_MAX
    assert len(nodes[2]._replies_limit._entries) <= 1024


def test_members_are_added_and_taken_away_while_it_runs(nodes: Nodes) -> None:
    stranger = Nodes((1, 2, 3, 9))
    stranger.now = nodes.now
    nodes.sealers[9] = stranger[9]
    assert nodes.send(9, 1) is Verdict.STRANGER
    nodes[1].set_members((1, 2, 3, 9))
    assert nodes.send(9, 1) is Verdict.UNPROVEN
    nodes.now += 1
    assert nodes.send(9, 1) == b"frame"
    assert nodes.send(2, 1) == b"frame"
    nodes[1].set_members((1, 2, 3))
    assert nodes.send(9, 1) is Verdict.STRANGER
    assert nodes.send(3, 1) == b"frame"
