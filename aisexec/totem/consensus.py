"""Agreement on the next membership (paper: Gather state, consensus; spec 4.3 to 4.5)."""

from __future__ import annotations

from aisexec.totem.commit import create_commit_token, enter_commit
from aisexec.totem.core import Core, Gathering, State
from aisexec.totem.gather import add_failed, add_proc, enter_gather
from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.survey import join_in_survey, survey_timeout
from aisexec.totem.types import LOG_DEBUG
from aisexec.totem.wire import Join


def ignored_in_operational(core: Core, join: Join) -> bool:
    """A JOIN of somebody who has given up on us, or one sent before the present ring was formed."""
    if core.me in join.failed:
        return True
    return join.system_from in core.memb and join.ring_seq < core.ring_id.seq


def process_join(core: Core, join: Join) -> None:
    """Compare the sender's lists with ours: agree, wait, or learn and gather again."""
    sender = join.system_from
    if join.leave and join.failed:
        if len(core.leavers) < PROCESSOR_COUNT_MAX:
            core.leavers.add(join.failed[-1])
            core.story.said_goodbye(join.failed[-1])
        core.log(LOG_DEBUG, f"Received LEAVE message from {join.failed[-1]}")
    survey = core.connectivity.survey
    if survey is not None:
        join_in_survey(core, survey, join)
        return
    proc, failed = set(core.proc), set(core.failed)
    if set(join.proc) == proc and set(join.failed) == failed:
        _same_lists(core, join)
    elif proc.issuperset(join.proc) and failed.issuperset(join.failed):
        pass  # nothing new; the sender has yet to hear from us
    elif sender in failed:
        pass  # we gave up on the sender: what it believes does not count
    else:
        # All of them may fail in the end, so all count.
        if len(proc.union(failed, join.proc, join.failed, (sender,))) > PROCESSOR_COUNT_MAX:
            detail = f"join would make more than {PROCESSOR_COUNT_MAX} processors"
            core.anomaly("limit", f"node {sender}", detail)
            return
        if _learn(core, join):
            enter_gather(core, Gathering.MERGE_JOIN)
            return
    if core.state is State.OPERATIONAL:
        enter_gather(core, Gathering.JOIN_OPERATIONAL)


def _same_lists(core: Core, join: Join) -> None:
    if core.state in (State.COMMIT, State.RECOVERY):
        return  # a ring is being formed; the caller gathers again
    if not join.leave:
        core.consensus.add(join.system_from)
    if not core.agreed():
        return
    if core.failed_to_recv:
        # We excluded ourselves; the others agree. Go on alone and merge back later.
        core.failed_to_recv = False
        core.proc = [core.me]
        core.failed = []
        enter_commit(core, create_commit_token(core))
        return
    alive = core.believed_alive()
    if alive and min(alive) == core.me:
        enter_commit(core, create_commit_token(core))


def _learn(core: Core, join: Join) -> bool:
    """Take over what the sender knows; False when our lists stay as they were.

    Stock gathers again in any case: two nodes that disagree then answer each other's JOINs as fast
    as the network carries them, until one of them runs into the consensus timeout.
    """
    known = len(core.proc), len(core.failed)
    for nodeid in join.proc:
        add_proc(core, nodeid)
    if core.me in join.failed:
        add_failed(core, join.system_from)  # it gave up on us: be symmetric
        core.story.gave_us_up(join.system_from)
    elif join.system_from in core.memb:
        for nodeid in join.failed:  # believe only those who shared our ring
            add_failed(core, nodeid)
        core.story.given_up(join.system_from, join.failed)
    return known != (len(core.proc), len(core.failed))


def consensus_timeout(core: Core) -> None:
    """Those who did not agree in time are failed; with agreement the commit token is overdue."""
    survey = core.connectivity.survey
    if survey is not None:
        survey_timeout(core, survey)
        return
    core.stats.consensus_timeouts += 1
    if core.agreed():
        core.consensus = {core.me}
        core.arm_token()
        return
    disagreeing = [n for n in core.believed_alive() if n not in core.consensus]
    core.connectivity.quarrelled(disagreeing, core.now)
    heard = core.connectivity.heard_since(core.now - core.settings.consensus / 2)
    core.story.no_consensus(disagreeing, heard, core.settings.consensus)
    for nodeid in disagreeing:
        add_failed(core, nodeid)
    enter_gather(core, Gathering.CONSENSUS_TIMEOUT)
