"""Reloading the configuration of all nodes: nothing takes effect anywhere while one file is broken.

corosync multicasts the order at once, and each node takes its own file or, when that is broken,
alone goes on as before.  Here the node that is asked checks its own file first; then all members of
our kind (Sync.companions) check theirs and say what came of it, in messages that corosync drops
unread; only when all are good the order follows, and what was checked takes effect on its delivery:
at the same place in the order of messages everywhere.  An order that was not preceded by a check,
corosync's that is, is followed as corosync would: each node for itself, as soon as it has read its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from aisexec.icmap import i32
from aisexec.limits import (
    LOG_INTERVAL,
    RELOAD_CHECK_TIMEOUT,
    RELOAD_ERRORS_LOGGED_MAX,
    RELOAD_READ_INTERVAL,
    RELOAD_REQUESTS_MAX,
)
from aisexec.messages import (
    CFG_RELOAD_CONFIG,
    RELOAD_CHECK,
    RELOAD_TEXT_MAX,
    RELOAD_VERDICT,
    CfgReloadConfig,
    ExecHeader,
    ReloadCheck,
    ReloadVerdict,
    Source,
    exec_id,
)
from aisexec.ratelimit import RateLimit
from aisexec.services.base import AnomalyError, Context, Message, Service
from aisexec.services.options import Findings, Reconfiguration
from aisexec.services.timers import Alarm
from aisexec.totem.types import LOG_ERR, LOG_NOTICE
from ipc.errors import CsError

CHECK, VERDICT = range(2)
CFG_ID = 1
RELOAD_CONFIG = 3
OURS = 0
"""No node's id: what we have to say about our own round."""

Answer = Callable[[CsError], None]


@dataclass(slots=True)
class Round:
    """A reload that was asked for here, from the check of our file to the order."""

    number: int
    answers: list[Answer]
    findings: Findings | None = None
    """Of our own file; the others are asked when it is good."""
    waiting: set[int] = field(default_factory=set)
    """Companions that have not said yet what they think of theirs."""
    ordered: bool = False
    alarm: Alarm | None = None


class Checked(NamedTuple):
    """Our file's state for a round of another node; None while it is being read."""

    round: int
    findings: Findings | None


class Reload(Service):
    """One node's part in it."""

    id: ClassVar[int] = 16
    name: ClassVar[str] = "aisexec configuration check"
    subsystem: ClassVar[str] = "CFG"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._round: Round | None = None
        self._number = 0
        self._next: list[Answer] = []
        self._checked: dict[int, Checked] = {}
        """By the node whose round it is."""
        self._unsent: dict[int, bytes] = {}
        """The newest message for each node's round that waits for room, and that of ours."""
        self._follow = False
        """An order that no check preceded has come since the file was read last."""
        self._reading = False
        """The file is being read for others."""
        self._read_at = float("-inf")
        """When that began last."""
        self._read_later: Alarm | None = None
        self._orders = RateLimit(LOG_INTERVAL)
        self._broken = RateLimit(LOG_INTERVAL)
        self._counts = {"reloads": 0, "reloads_refused": 0, "reload_files_broken": 0}

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {
            CHECK: Message(self._check, RELOAD_CHECK.size),
            VERDICT: Message(self._verdict, RELOAD_VERDICT.size),
        }

    def counters(self) -> Mapping[str, int]:
        """Statistics by name."""
        return self._counts

    # ------------------------------------------------------------- asked here

    def request(self, answer: Answer) -> None:
        """Reload on all nodes; `answer` is called once, when it is done or refused."""
        if self._round is None:
            self._begin([answer])
        elif len(self._next) < RELOAD_REQUESTS_MAX:
            self._next.append(answer)  # the file may have changed since the check that is under way
        else:
            answer(CsError.TRY_AGAIN)

    def _begin(self, answers: list[Answer]) -> None:
        # Never that of an earlier life: others may still have what they found out for it.
        self._number = max(self._number + 1, int(self.context.now * 1_000_000))
        self._round = ours = Round(self._number, answers)
        ours.alarm = self.context.call_later(RELOAD_CHECK_TIMEOUT, lambda: self._too_late(ours))
        self.context.read_configuration(lambda findings: self._own_file(ours, findings))

    def _own_file(self, ours: Round, findings: Findings) -> None:
        if self._round is not ours:
            return
        if findings.reconfiguration is None:
            self._log_broken(findings)
            self._refuse(CsError.INVALID_PARAM)
            return
        ours.findings = findings
        ours.waiting = set(self.context.companions) - {self.context.nodeid}
        if ours.waiting:
            self._send_check(ours)
        else:
            self._order(ours)

    def _send_check(self, ours: Round) -> None:
        header = self.header(CHECK, RELOAD_CHECK.size)
        self._send(OURS, RELOAD_CHECK.pack(ReloadCheck(header, ours.number)))

    def _order(self, ours: Round) -> None:
        """All are ready: what is delivered to everybody next in this matter is the order itself."""
        ours.ordered = True
        header = ExecHeader(exec_id(CFG_ID, RELOAD_CONFIG), CFG_RELOAD_CONFIG.size)
        order = CfgReloadConfig(header, Source(self.context.nodeid, ours.number))
        self._send(OURS, CFG_RELOAD_CONFIG.pack(order))
        if ours.alarm is not None:
            ours.alarm.cancel()
        ours.alarm = self.context.call_later(RELOAD_CHECK_TIMEOUT, lambda: self._too_late(ours))

    def _verdict(self, nodeid: int, message: bytes) -> None:
        verdict = RELOAD_VERDICT.unpack(message)
        ours = self._round
        if verdict.requester != self.context.nodeid or ours is None or verdict.round != ours.number:
            return
        if nodeid not in ours.waiting:
            return
        ours.waiting.discard(nodeid)
        if verdict.errors:
            text = verdict.text.split(b"\0")[0].decode("utf-8", "replace")
            for line in text.splitlines()[:RELOAD_ERRORS_LOGGED_MAX]:
                self.context.log(LOG_ERR, f"Node {nodeid}: {line}")
            self.context.log(
                LOG_ERR,
                f"Configuration not reloaded: node {nodeid} has found {_errors(verdict.errors)} in its"
                " configuration file. Nothing has changed on any node.",
            )
            self._refuse(CsError.INVALID_PARAM)
        elif not ours.waiting:
            self._order(ours)

    def _too_late(self, ours: Round) -> None:
        if self._round is not ours:
            return
        why = "Nothing has changed on any node."
        if not ours.ordered:
            slow = " ".join(map(str, sorted(ours.waiting))) or str(self.context.nodeid)
            what = f"node {slow} has not checked its configuration file"
        else:
            what = "the order has not come back from the ring"
            if OURS not in self._unsent and ours.findings is not None:
                # It is on its way and cannot be called back; what was checked is kept for it.
                self._checked[self.context.nodeid] = Checked(ours.number, ours.findings)
                why = "It takes effect on all nodes when it does."
        self.context.log(
            LOG_ERR, f"Configuration not reloaded: {what} within {RELOAD_CHECK_TIMEOUT:g} s. {why}"
        )
        self._refuse(CsError.TIMEOUT)

    def _refuse(self, error: CsError) -> None:
        self._counts["reloads_refused"] += 1
        self.context.map.set("config.reload_status", i32(error))
        self._end(error)

    def _end(self, error: CsError) -> None:
        ours, self._round = self._round, None
        assert ours is not None
        if ours.alarm is not None:
            ours.alarm.cancel()
        self._unsent.pop(OURS, None)
        for answer in ours.answers:
            answer(error)
        if self._next:
            answers, self._next = self._next, []
            self._begin(answers)

    # ------------------------------------------------------------- asked by another node of our kind

    def _check(self, nodeid: int, message: bytes) -> None:
        if nodeid == self.context.nodeid:
            return
        if nodeid not in self.context.companions:
            raise AnomalyError("asks to check the configuration, and is not known to be one of our kind")
        number = RELOAD_CHECK.unpack(message).round
        known = self._checked.get(nodeid)
        if known is not None and known.round == number and known.findings is not None:
            self._send_verdict(nodeid, number, known.findings)
        else:
            self._checked[nodeid] = Checked(number, None)
            self._look()

    def _send_verdict(self, requester: int, number: int, findings: Findings) -> None:
        text = "\n".join(findings.errors).encode("utf-8", "backslashreplace")[: RELOAD_TEXT_MAX - 1]
        count = 0 if findings.reconfiguration is not None else max(1, len(findings.errors))
        header = self.header(VERDICT, RELOAD_VERDICT.size)
        verdict = ReloadVerdict(header, requester, number, count, text)
        self._send(requester, RELOAD_VERDICT.pack(verdict))

    # ------------------------------------------------------------- our file, for others

    def _look(self) -> None:
        """Read our file for all who have asked by now, not too often.

        What is asked while it is read, or too early, waits for the next time: the file may have changed.
        """
        if self._reading or self._read_later is not None:
            return
        asked = [nodeid for nodeid, known in self._checked.items() if known.findings is None]
        if not asked and not self._follow:
            return
        wait = self._read_at + RELOAD_READ_INTERVAL - self.context.now
        if wait > 0:
            self._read_later = self.context.call_later(wait, self._look_again)
            return
        self._reading, self._read_at = True, self.context.now
        rounds = {nodeid: self._checked[nodeid].round for nodeid in asked}
        follow, self._follow = self._follow, False
        self.context.read_configuration(lambda findings: self._read(rounds, follow, findings))

    def _look_again(self) -> None:
        self._read_later = None
        self._look()

    def _read(self, rounds: Mapping[int, int], follow: bool, findings: Findings) -> None:
        self._reading = False
        if findings.reconfiguration is None:
            self._log_broken(findings, limited=True)
        for nodeid, number in rounds.items():
            if self._checked.get(nodeid) == Checked(number, None):
                self._checked[nodeid] = Checked(number, findings)
                self._send_verdict(nodeid, number, findings)
        try:
            if follow:
                self._followed(findings)
        finally:
            self._look()

    # ------------------------------------------------------------- ordered

    def ordered(self, nodeid: int, number: int) -> None:
        """The order of a node, in its place in the order of messages."""
        if self._orders.allow(("reload", nodeid), self.context.now) is not None:
            self.context.log(LOG_NOTICE, f"Config reload requested by node {nodeid}")
        ours = self._round
        if nodeid == self.context.nodeid and ours is not None and ours.ordered and ours.number == number:
            good = ours.findings.reconfiguration if ours.findings is not None else None
            assert good is not None
            error = CsError.LIBRARY  # should it fail half way, who has asked must not wait for ever
            try:
                self._take_effect(good)
                error = CsError.OK
            finally:
                self._end(error)
            return
        checked = self._checked.get(nodeid)
        if checked is not None and checked.round == number and checked.findings is not None:
            del self._checked[nodeid]
            if checked.findings.reconfiguration is not None:
                self._take_effect(checked.findings.reconfiguration)
            return
        # As corosync: every node for itself.
        self._follow = True
        self._look()

    def _followed(self, findings: Findings) -> None:
        if findings.reconfiguration is None:
            self.context.map.set("config.reload_status", i32(CsError.INVALID_PARAM))
        else:
            self._take_effect(findings.reconfiguration)

    def _take_effect(self, reconfiguration: Reconfiguration) -> None:
        self._counts["reloads"] += 1
        self.context.reconfigure(reconfiguration)

    def _log_broken(self, findings: Findings, *, limited: bool = False) -> None:
        """limited: for another node, which may ask again and again."""
        self._counts["reload_files_broken"] += 1
        if limited and self._broken.allow(hash(findings.errors), self.context.now) is None:
            return
        for error in findings.errors[:RELOAD_ERRORS_LOGGED_MAX]:
            self.context.log(LOG_ERR, error)
        self.context.log(
            LOG_ERR,
            f"Configuration not reloaded: {_errors(len(findings.errors))} in this node's configuration file,"
            " see above. Nothing has changed.",
        )

    # ------------------------------------------------------------- the ring

    def synchronised(self) -> None:
        """Who has left is not waited for; who has come is asked, too."""
        for nodeid in list(self._checked):
            if nodeid not in self.context.members:
                del self._checked[nodeid]
                self._unsent.pop(nodeid, None)
        ours = self._round
        if ours is None or ours.findings is None or ours.ordered:
            return
        others = set(self.context.companions) - {self.context.nodeid}
        # All once more: a node that was away in between has forgotten what it was asked.
        ours.waiting = others
        if others:
            self._send_check(ours)
        else:
            self._order(ours)

    def _send(self, about: int, message: bytes) -> None:
        """about: whose round.  What is said anew about it takes the place of what was not sent yet.

        So nothing is ever dropped for want of room, and no more waits than there are members.
        """
        if self._unsent or not self.context.multicast([message]):
            self._unsent[about] = message

    @property
    def wants_token(self) -> bool:
        """Messages wait for room."""
        return bool(self._unsent)

    def token_passed(self) -> None:
        """There may be room."""
        while self._unsent:
            about, message = next(iter(self._unsent.items()))
            if not self.context.multicast([message]):
                return
            del self._unsent[about]


def _errors(count: int) -> str:
    return f"{count} error" if count == 1 else f"{count} errors"
