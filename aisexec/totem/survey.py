"""Membership where links are known to be broken: find out who hears whom, then choose a clique.

Takes the place of consensus.py while `Connectivity.suspected`.  The frames are ordinary JOINs:

* While listening, a node's JOIN names in `proc` those it has heard itself, and nobody in `failed`.
  Others learn from it who hears whom; to stock it is a JOIN that knows little.
* When nothing new has been heard for a while, each node takes the best clique it could be part of
  (clique.py) and says so: `proc` is everybody known, `failed` are those outside. Members of the best
  clique of all see the same best one each, so they agree at once, and fall silent. For the others
  those are then out of the question, and the best clique of the rest agrees: round after round.
"""

from __future__ import annotations

from aisexec.totem.clique import largest_clique
from aisexec.totem.commit import create_commit_token, enter_commit
from aisexec.totem.connectivity import Survey
from aisexec.totem.core import Core
from aisexec.totem.gather import schedule_join
from aisexec.totem.limits import PROCESSOR_COUNT_MAX, SURVEY_ROUNDS_MAX
from aisexec.totem.timers import Timer
from aisexec.totem.types import LOG_DEBUG
from aisexec.totem.wire import CommitToken, Join


def join_in_survey(core: Core, survey: Survey, join: Join) -> None:
    """What somebody hears, or whom it has chosen."""
    if join.leave:
        _left(core, survey, join.system_from)
    elif join.system_from == core.me:
        _conclude(core, survey)
    elif not _note(core, survey, join):
        core.anomaly("limit", f"node {join.system_from}", f"more than {PROCESSOR_COUNT_MAX} processors")
    elif survey.choosing:
        _compare(core, survey, join)
    else:
        _listen(core, survey, join)


def may_accept(core: Core, survey: Survey, token: CommitToken) -> bool:
    """Those who do not survey choose sooner; who sends on their commit token is there and wants us.

    Following it at once would be to form, again and again, the ring that does not last. They send it
    again until their token timeout.
    """
    if core.me not in token.addr or len(survey.known.union(token.addr)) > PROCESSOR_COUNT_MAX:
        return False
    survey.expected.intersection_update(token.addr)
    for nodeid in token.addr[: token.memb_index]:
        if nodeid in survey.rows and nodeid != core.me:
            survey.rows[nodeid].update(token.addr)
            survey.last_join[nodeid] = core.now
    return survey.choosing


def survey_timeout(core: Core, survey: Survey) -> None:
    """Listening or a round of choosing is over."""
    if not survey.choosing:
        if not _all_heard(core, survey):
            return
        core.log(LOG_DEBUG, f"Heard directly: {sorted(survey.last_join)}; choosing members.")
        survey.choosing = True
    elif core.agreed() and not survey.waiting_for_rep:
        survey.waiting_for_rep = True
        _until(core, survey, core.now + core.settings.token)
        return
    else:
        if survey.waiting_for_rep:
            survey.waiting_for_rep = False
            core.connectivity.attempt_lost(core.now)
        for nodeid in core.believed_alive():
            if nodeid not in core.consensus:
                survey.disagreed[nodeid] = survey.disagreed.get(nodeid, 0) + 1
    _choose(core, survey)


def _left(core: Core, survey: Survey, nodeid: int) -> None:
    survey.gone.add(nodeid)
    survey.last_join.pop(nodeid, None)
    survey.rows.pop(nodeid, None)
    if not survey.choosing and nodeid in core.proc:
        core.proc.remove(nodeid)


def _note(core: Core, survey: Survey, join: Join) -> bool:
    """False when it would be more than a ring can hold."""
    sender = join.system_from
    named = {sender, *join.proc, *join.failed}
    if len(survey.known | named) > PROCESSOR_COUNT_MAX:
        return False
    survey.known |= named
    survey.gone.discard(sender)
    survey.last_join[sender] = core.now
    if not join.failed:
        survey.told.setdefault(sender, core.now)
    row = survey.rows.setdefault(sender, set())
    hears = set(join.proc).difference(join.failed)
    if not hears <= row:
        row |= hears
        # Who does not survey, as stock, names those it has not heard either, and waits for them.
        survey.expected |= hears - core.connectivity.silent - {core.me}
        survey.changed = core.now
    return True


def _listen(core: Core, survey: Survey, join: Join) -> None:
    if core.me not in join.failed:
        # Who has already chosen, and counts on us, does not wait for those any more.
        survey.expected.difference_update(join.failed)
    if join.system_from not in core.proc:
        core.proc.append(join.system_from)
        survey.changed = core.now
        schedule_join(core)
    if survey.changed == core.now:
        _until(core, survey, core.now + core.connectivity.listening)


def _all_heard(core: Core, survey: Survey) -> bool:
    """May we choose?  A member of the last ring may be busy with a ring that cannot be formed."""
    patience = survey.began + core.connectivity.patience
    missing = survey.expected.difference(survey.last_join, survey.gone, core.leavers)
    if missing and core.now < patience:
        _until(core, survey, min(core.now + core.connectivity.listening / 2, patience))
        return False
    return True


def _choose(core: Core, survey: Survey) -> None:
    """A round: the best clique with us in it, of those that are still there."""
    recently = core.now - core.connectivity.listening
    candidates = {
        n
        for n, at in survey.last_join.items()
        if at >= recently
        and core.me in survey.rows[n]
        and survey.disagreed.get(n, 0) < SURVEY_ROUNDS_MAX
    }
    rows = survey.rows
    conflicts = {
        a: {b for b in candidates if a != b and (b not in rows[a] or a not in rows[b])}
        for a in candidates
    }
    chosen = largest_clique(candidates, conflicts) | {core.me}
    core.proc = sorted(survey.known | {core.me})
    core.failed = [n for n in core.proc if n not in chosen]
    core.consensus = {core.me}
    schedule_join(core)
    _until(core, survey, core.now + core.connectivity.listening / 2)


def _compare(core: Core, survey: Survey, join: Join) -> None:
    if join.system_from in core.failed:
        return
    proc, failed = set(core.proc), set(core.failed)
    if set(join.proc) == proc and set(join.failed) == failed:
        core.consensus.add(join.system_from)
        _conclude(core, survey)
        return
    new = sorted(survey.known - proc)
    if new:  # whoever else is known there is not among the chosen
        core.proc += new
        core.failed += new
        core.consensus = {core.me}
        schedule_join(core)


def _conclude(core: Core, survey: Survey) -> None:
    if survey.choosing and core.agreed() and min(core.believed_alive()) == core.me:
        enter_commit(core, create_commit_token(core))


def _until(core: Core, survey: Survey, deadline: float) -> None:
    survey.deadline = deadline
    core.arm(Timer.CONSENSUS, deadline - core.now)
