"""The answer to --what-if in plain words, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .what_if import Reason, Side, Situation, TieBreaker, Verdict, Voter, deciding_node


def as_json(verdict: Verdict) -> dict[str, object]:
    """For --json; `explanation` holds the plain words."""
    situation = verdict.situation
    return {
        "now": {
            "quorate": situation.quorate,
            "quorum": situation.quorum,
            "expected_votes": situation.expected_votes,
            "members": [voter.as_json() for voter in situation.members],
        },
        "gone": [voter.as_json() for voter in verdict.gone],
        "not_members": [voter.as_json() for voter in verdict.absent],
        "remaining": verdict.remaining.as_json(),
        "cut_off": verdict.cut_off.as_json() if verdict.cut_off else None,
        "after_last_man_standing_window": (
            {"expected_votes": verdict.settled[0], "quorum": verdict.settled[1]} if verdict.settled else None
        ),
        "critical_next": [voter.as_json() for voter in verdict.critical],
        "one_by_one": [step.as_json() for step in verdict.one_by_one],
        "explanation": explain(verdict),
    }


def explain(verdict: Verdict) -> list[str]:
    """Lines of text; the first one says it all."""
    situation = verdict.situation
    lines = [_headline(verdict)]
    lines += [
        f"{names(verdict.absent)}: not in the cluster now, so nothing changes by that."
        for _ in verdict.absent[:1]
    ]
    lines += _reckoning(situation, verdict.remaining)
    if verdict.remaining.quorate is not True and verdict.remaining.nodes:
        lines += _way_back(situation, verdict.remaining)
    if verdict.settled:
        lines.append(
            f"last_man_standing: {_seconds(situation.window)} later {_votes(verdict.settled[0])} "
            f"{_are(verdict.settled[0])} expected and {verdict.settled[1]} needed."
        )
    if verdict.cut_off is not None and verdict.remaining.nodes:
        lines += _other_side(situation, verdict.remaining, verdict.cut_off)
    lines += _next(verdict)
    lines += _one_by_one(verdict)
    return lines


def _headline(verdict: Verdict) -> str:
    if not verdict.gone:
        return f"Nobody goes: quorum {'stays' if verdict.situation.quorate else 'is missing'} as it is."
    who = names(verdict.gone)
    go = "goes" if len(verdict.gone) == 1 else "go"
    match verdict.remaining:
        case Side(nodes=()):
            return f"If {who} {go}, no node is left."
        case Side(quorate=None):
            return f"If {who} {go}, it depends on the quorum device whether the rest is quorate."
        case Side(quorate=True):
            return f"If {who} {go}, the rest ({names(verdict.remaining.nodes)}) is quorate and goes on."
        case _:
            rest = names(verdict.remaining.nodes)
            return f"If {who} {go}, the rest ({rest}) is NOT quorate: activity is blocked there."


def _reckoning(situation: Situation, side: Side) -> Iterator[str]:
    if not side.nodes:
        return
    yield (
        f"Left: {_count(side.nodes)} with {_votes(side.votes)}; {_votes(side.needed)} {_are(side.needed)} "
        f"needed of {situation.expected_votes} expected."
    )
    match side.reason:
        case Reason.TWO_NODE:
            yield "two_node: each of the two nodes goes on without the other."
        case Reason.TIE_BREAKER:
            yield f"auto_tie_breaker: this half has {_deciding(situation)}, which decides."
        case Reason.TOO_FEW_VOTES if situation.tie_breaker is not TieBreaker.NONE:
            yield _why_no_tie(situation, side)
        case Reason.WAITING:
            yield f"wait_for_all: not all {_votes(situation.expected_votes)} have been there together yet."
    if side.quorate is None:
        device = situation.device_name or "the quorum device"
        yield (
            f"{device} gives {_votes(situation.device_votes)} to one side: quorate if to this one"
            + (" (it alone decides, master_wins)." if side.reason is Reason.DEVICE_MASTER else ".")
        )
    elif side.with_device is not None:
        yield "Whether the quorum device votes for them makes no difference."


def _why_no_tie(situation: Situation, side: Side) -> str:
    half = situation.expected_votes // 2
    if side.votes != half:
        return f"auto_tie_breaker: it helps with half of the votes ({half}) only."
    deciding = deciding_node(situation)
    if deciding not in {node.nodeid for node in side.nodes}:
        return f"auto_tie_breaker: {_deciding(situation)}, which decides, is not in this half."
    return "auto_tie_breaker: those who went could have quorum by themselves, so it does not help."


def _deciding(situation: Situation) -> str:
    nodeid = deciding_node(situation)
    for voter in (*situation.members, *situation.absent):
        if voter.nodeid == nodeid:
            return voter.label
    return "no node" if nodeid is None else f"node {nodeid}"


def _way_back(situation: Situation, side: Side) -> Iterator[str]:
    if side.quorate is None:
        return
    if situation.wait_for_all:
        yield (
            f"wait_for_all: quorum comes back only when all {_votes(situation.expected_votes)} are there "
            "together (or somebody sets quorum.cancel_wait_for_all)."
        )
    else:
        missing = side.needed - side.votes
        yield (
            f"Quorum comes back with {_votes(missing)} more, or when an administrator lowers the expected "
            f"votes (corosync-quorumtool -e {side.votes})."
        )


def _other_side(situation: Situation, remaining: Side, cut_off: Side) -> Iterator[str]:
    who = names(cut_off.nodes)
    start = f"If {who} {'lives' if len(cut_off.nodes) == 1 else 'live'} on, cut off from the rest:"
    if cut_off.quorate and remaining.quorate:
        yield f"{start} quorate there, too. BOTH sides go on, so fencing has to stop one of them."
    elif cut_off.quorate:
        yield f"{start} quorate there, instead of the rest."
    elif cut_off.quorate is None and remaining.quorate is None:
        yield f"{start} quorate there if the quorum device votes for that side."
    elif cut_off.quorate is None:
        yield f"{start} perhaps quorate there, too, by the quorum device's vote."
    else:
        yield f"{start} not quorate there."
    if situation.wait_for_all:
        yield (
            f"wait_for_all: a node that restarts does not become quorate by itself before all "
            f"{_votes(situation.expected_votes)} have been there together, unless it joins a quorate part."
        )


def _next(verdict: Verdict) -> Iterator[str]:
    if not verdict.remaining.quorate or not verdict.gone:
        return
    if not verdict.critical:
        yield "After that, any one more node may go."
    elif len(verdict.critical) == len(verdict.remaining.nodes):
        yield "After that, no further node may go."
    else:
        yield f"After that, the loss of {names(verdict.critical, 'or')} would end quorum."


def _one_by_one(verdict: Verdict) -> Iterator[str]:
    if not verdict.one_by_one:
        return
    situation = verdict.situation
    if situation.allow_downscale:
        yield "allow_downscale, if they are shut down in order, one after the other:"
    else:
        yield (
            f"last_man_standing, if they go one after the other, each {_seconds(situation.window)} or more "
            "after the one before:"
        )
    for step in verdict.one_by_one:
        word = {True: "quorate", False: "NOT quorate", None: "quorate only with the quorum device"}
        yield (
            f"  without {step.gone.label}: {word[step.side.quorate]}; then {_votes(step.expected_votes)} "
            f"expected, {step.quorum} needed."
        )


def names(voters: Sequence[Voter], conjunction: str = "and") -> str:
    """Node names as one would say them."""
    labels = [voter.label for voter in voters]
    if len(labels) < 2:
        return "".join(labels)
    return f"{', '.join(labels[:-1])} {conjunction} {labels[-1]}"


def _votes(number: int) -> str:
    return "1 vote" if number == 1 else f"{number} votes"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _count(nodes: Sequence[Voter]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"
