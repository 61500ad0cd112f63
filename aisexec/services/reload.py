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
    RELOAD_OUTBOX_MAX,
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
from aisexec.totem.types import LOG_ERR, LOG_NOTICE, LOG_WARNING
from ipc.errors import CsError

CHECK, VERDICT = range(2)
CFG_ID = 1
RELOAD_CONFIG = 3

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
        self._outbox: list[bytes] = []
        self._following = False
        """The file is being read for an order that no check preceded ..."""
        self._follow_again = False
        """... and after that once more, for the order that has come since."""
        self._orders = RateLimit(LOG_INTERVAL)
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
        self._send(RELOAD_CHECK.pack(ReloadCheck(header, ours.number)))

    def _order(self, ours: Round) -> None:
        """All are ready: what is delivered to everybody next in this matter is the order itself."""
        ours.ordered = True
        header = ExecHeader(exec_id(CFG_ID, RELOAD_CONFIG), CFG_RELOAD_CONFIG.size)
        order = CfgReloadConfig(header, Source(self.context.nodeid, ours.number))
        self._send(CFG_RELOAD_CONFIG.pack(order))

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
            for line in text.splitlines():
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
        if self._round is not ours or ours.ordered:
            return
        slow = " ".join(map(str, sorted(ours.waiting))) or str(self.context.nodeid)
        self.context.log(
            LOG_ERR,
            f"Configuration not reloaded: node {slow} has not checked its configuration file within"
            f" {RELOAD_CHECK_TIMEOUT:g} s. Nothing has changed on any node.",
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
        if known is not None and known.findings is None:
            # Its file's reading began before this was asked for: begin anew when that is over.
            self._checked[nodeid] = Checked(number, None)
        elif known is not None and known.round == number and known.findings is not None:
            self._send_verdict(nodeid, number, known.findings)
        else:
            self._read_for(nodeid, number)

    def _read_for(self, nodeid: int, number: int) -> None:
        self._checked[nodeid] = Checked(number, None)
        self.context.read_configuration(lambda findings: self._read(nodeid, number, findings))

    def _read(self, nodeid: int, number: int, findings: Findings) -> None:
        wanted = self._checked.get(nodeid)
        if wanted is None:
            return
        if wanted.round != number:
            self._read_for(nodeid, wanted.round)
            return
        self._checked[nodeid] = Checked(number, findings)
        if findings.reconfiguration is None:
            self._log_broken(findings)
        self._send_verdict(nodeid, number, findings)

    def _send_verdict(self, requester: int, number: int, findings: Findings) -> None:
        text = "\n".join(findings.errors).encode("utf-8", "backslashreplace")[: RELOAD_TEXT_MAX - 1]
        count = 0 if findings.reconfiguration is not None else max(1, len(findings.errors))
        header = self.header(VERDICT, RELOAD_VERDICT.size)
        verdict = ReloadVerdict(header, requester, number, count, text)
        self._send(RELOAD_VERDICT.pack(verdict))

    # ------------------------------------------------------------- ordered

    def ordered(self, nodeid: int, number: int) -> None:
        """The order of a node, in its place in the order of messages."""
        if self._orders.allow(("reload", nodeid), self.context.now) is not None:
            self.context.log(LOG_NOTICE, f"Config reload requested by node {nodeid}")
        ours = self._round
        if nodeid == self.context.nodeid and ours is not None and ours.ordered and ours.number == number:
            good = ours.findings.reconfiguration if ours.findings is not None else None
            assert good is not None
            self._take_effect(good)
            self._end(CsError.OK)
            return
        checked = self._checked.get(nodeid)
        if checked is not None and checked.round == number and checked.findings is not None:
            del self._checked[nodeid]
            if checked.findings.reconfiguration is not None:
                self._take_effect(checked.findings.reconfiguration)
            return
        self._follow()

    def _follow(self) -> None:
        """As corosync: every node for itself."""
        if self._following:
            self._follow_again = True
            return
        self._following = True
        self.context.read_configuration(self._followed)

    def _followed(self, findings: Findings) -> None:
        self._following = False
        if findings.reconfiguration is None:
            self._log_broken(findings)
            self.context.map.set("config.reload_status", i32(CsError.INVALID_PARAM))
        else:
            self._take_effect(findings.reconfiguration)
        if self._follow_again:
            self._follow_again = False
            self._follow()

    def _take_effect(self, reconfiguration: Reconfiguration) -> None:
        self._counts["reloads"] += 1
        self.context.reconfigure(reconfiguration)

    def _log_broken(self, findings: Findings) -> None:
        self._counts["reload_files_broken"] += 1
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

    def _send(self, message: bytes) -> None:
        if self._outbox or not self.context.multicast([message]):
            if len(self._outbox) >= RELOAD_OUTBOX_MAX:
                self.context.log(LOG_WARNING, "Too much to say about the configuration: a message is dropped")
                return
            self._outbox.append(message)

    @property
    def wants_token(self) -> bool:
        """Messages wait for room."""
        return bool(self._outbox)

    def token_passed(self) -> None:
        """There may be room."""
        while self._outbox and self.context.multicast(self._outbox[:1]):
            self._outbox.pop(0)


def _errors(count: int) -> str:
    return f"{count} error" if count == 1 else f"{count} errors"
