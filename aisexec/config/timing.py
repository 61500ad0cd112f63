"""Timeouts and constants of totem{}: defaults, formulas and limits as totemconfig.c has them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from aisexec.config.limits import NETMTU_MIN, UDP_PAYLOAD_MAX, WATCHDOG_TYPICAL
from aisexec.config.model import Derived
from aisexec.config.problems import Problems, Where
from aisexec.config.schema import Values
from aisexec.totem.settings import Settings

MINIMUM = 30
"""Milliseconds: three ticks of a kernel with HZ 100."""
MINIMUM_HOLD = 14
UDP_NETMTU = 1500
FRAME_HEADERS = 90
"""Two mcast headers of 45 bytes: the outer one is needed when a frame is re-sent in recovery."""
U32_MAX = 2**32 - 1

# openais' section timeout{} in terms of totem{}.
_OLD_NAMES = {
    "token": ("token",),
    "token_retransmit": ("token_retransmit", "retransmit"),
    "token_retransmits_before_loss_const": ("retransmits_before_loss",),
    "hold": ("hold",),
    "join": ("join",),
    "consensus": ("consensus",),
    "merge": ("merge",),
    "downcheck": ("downcheck",),
    "fail_recv_const": ("fail_recv_const",),
}

_MAY_BE_ZERO = frozenset(
    {"token_warning", "token_coefficient", "send_join", "heartbeat_failures_allowed", "accelerated_window"}
)

ACCELERATED_MISS_COUNT = 2
"""Least miss_count_const with which messages may come behind the token."""


class Timing:
    """Derives the numbers one by one and remembers the source of each (`derived`)."""

    def __init__(self, root: Values, nodes: int) -> None:
        self.totem = root.one("totem")
        self.old = [self.totem.one("timeout"), root.one("timeout")]
        self.nodes = nodes
        self.derived: dict[str, Derived] = {}
        self.where: dict[str, Where] = {}
        self._derive()

    def __getitem__(self, key: str) -> int:
        return self.derived[key].value

    def _derive(self) -> None:
        base = self._plain("token", "ms")
        coefficient = self._plain("token_coefficient", "ms")
        retransmits = self._plain("token_retransmits_before_loss_const", "times")
        if self.nodes > 2:
            extra = self.nodes - 2
            formula = f"{base} + ({self.nodes} nodes - 2) * token_coefficient {coefficient}"
            source = f"{formula}; token {base} is from {self.derived['token'].source}"
            self.derived["token"] = Derived("token", base + extra * coefficient, "ms", source)
        token = self["token"]
        self._plain("token_warning", "%")
        retransmit = self._plain(
            "token_retransmit", "ms", int(token / (retransmits + 0.2)),
            f"token / (token_retransmits_before_loss_const {retransmits} + 0.2)",
        )  # fmt: skip
        self._plain("hold", "ms", int(retransmit * 0.8 - 10), "0.8 * token_retransmit - 10")
        self._plain("consensus", "ms", _single_precision(1.2 * token), "1.2 * token")
        for key in ("join", "send_join", "merge", "downcheck", "max_network_delay"):
            self._plain(key, "ms")
        for key in ("fail_recv_const", "seqno_unchanged_const"):
            self._plain(key, "rotations")
        self._plain("miss_count_const", "token visits")
        for key in ("window_size", "max_messages", "accelerated_window"):
            self._plain(key, "messages")
        self._plain("heartbeat_failures_allowed", "times")
        self._plain("netmtu", "bytes", UDP_NETMTU, "default")

    def _plain(self, key: str, unit: str, default: int | None = None, source: str = "default") -> int:
        """A number as written, or its default; 0 counts as not written where corosync sees it so."""
        values, name = self._holder(key)
        written = values.value(name) if values.given(name) else None
        if written is None or (written == 0 and key not in _MAY_BE_ZERO):
            number = self._schema_default(key) if default is None else default
            if written == 0:
                source = f"{source} ({values.where_of(name)} says 0)"
        else:
            number, source = written, str(values.where_of(name))
        computed = default is not None and not values.given(name)
        self.where[key] = self.where["token"] if computed else values.where_of(name)
        self.derived[key] = Derived(key, number, unit, source)
        return number

    def _holder(self, key: str) -> tuple[Values, str]:
        """The section and name a number was written under: totem{} before timeout{}."""
        if not self.totem.given(key):
            for old in self.old:
                for name in _OLD_NAMES.get(key, ()):
                    if old.written and old.given(name):
                        return old, name
        return self.totem, key

    def _schema_default(self, key: str) -> int:
        default = self.totem.defaults.get(key)
        assert isinstance(default, int), key
        return default

    def check(self, problems: Problems) -> None:
        """Corosync's limits, with its texts; then what would not work or surprise."""
        for key, what, minimum in _minima():
            if self[key] < minimum:
                text = f"the {what} parameter ({self[key]} ms) may not be less than ({minimum} ms)"
                if key == "token_retransmit" and not self.totem.given(key):
                    text = (
                        "not appropriate token or token_retransmits_before_loss_const value set:"
                        f" token_retransmit becomes {self[key]} ms, less than {minimum} ms"
                    )
                problems.error(self.where[key], f"totem.{key}: {text}", "raise it or remove the key")
            if self[key] > U32_MAX:
                problems.error(self.where[key], f"totem.{key} becomes {self[key]} ms", "lower the timeouts")
        if not 0 <= self["token_warning"] <= 100:
            problems.error(
                self.where["token_warning"],
                f"totem.token_warning: the token warning parameter ({self['token_warning']}%)"
                " must be between 0 (disabled) and 100",
            )
        if self["consensus"] < self["join"]:
            problems.error(
                self.where["consensus"],
                f"totem.consensus: the consensus timeout parameter ({self['consensus']} ms) may not be"
                f" less than join timeout ({self['join']} ms)",
                f"write {int(1.2 * self['token'])} or remove the key",
            )
        if not NETMTU_MIN <= self["netmtu"] <= UDP_PAYLOAD_MAX:
            problems.error(
                self.where["netmtu"],
                f"totem.netmtu: no frames of {self['netmtu']} bytes can be sent over UDP",
                f"write a number from {NETMTU_MIN} to {UDP_PAYLOAD_MAX}, or remove the key",
            )
        self._check_wisdom(problems)

    def _check_wisdom(self, problems: Problems) -> None:
        if self.nodes > 2 and self.totem.given("consensus") and self["consensus"] < self["token"]:
            problems.warning(
                self.where["consensus"],
                f"totem.consensus ({self['consensus']} ms) is less than token ({self['token']} ms)",
                "with three nodes or more that makes odd membership changes likely",
            )
        for key in ("window_size", "max_messages"):
            limit = 256000 // max(1, self["netmtu"])
            if self[key] > limit:
                problems.warning(
                    self.where[key],
                    f"totem.{key} ({self[key]}) is more than 256000 / netmtu ({limit})",
                    "socket buffers may overflow and messages be sent again",
                )
        if self["accelerated_window"] and not self.accelerated_window:
            problems.warning(
                self.where["accelerated_window"],
                f"totem.accelerated_window has no effect with miss_count_const {self['miss_count_const']}",
                "nodes would ask for what is under way to be sent again; set miss_count_const to 2 or more",
            )
        if self.recovery > WATCHDOG_TYPICAL:
            problems.warning(
                self.where["token"],
                f"a failed node blocks the others for up to {self.recovery:.1f} s (token + consensus),"
                f" longer than a watchdog usually waits ({WATCHDOG_TYPICAL:.0f} s)",
                "lower token_coefficient (125 ms does for a good network) or lengthen the watchdog",
            )

    @property
    def accelerated_window(self) -> int:
        """0 where a message that is not there when the token comes is asked for at once."""
        return self["accelerated_window"] if self["miss_count_const"] >= ACCELERATED_MISS_COUNT else 0

    @property
    def recovery(self) -> float:
        """Seconds from the failure of a node to the new membership, at worst."""
        return (self["token"] + self["consensus"]) / 1000

    def settings(self, overhead: int = 0) -> Settings:
        """The numbers in the form the protocol takes; `overhead` is what encryption adds to each frame."""
        return Settings(
            token=self["token"] / 1000,
            token_retransmit=self["token_retransmit"] / 1000,
            token_warning=self["token_warning"],
            hold=self["hold"] / 1000,
            join=self["join"] / 1000,
            send_join=self["send_join"] / 1000,
            consensus=self["consensus"] / 1000,
            merge=self["merge"] / 1000,
            downcheck=self["downcheck"] / 1000,
            fail_recv_const=self["fail_recv_const"],
            seqno_unchanged_const=self["seqno_unchanged_const"],
            miss_count_const=self["miss_count_const"],
            window_size=self["window_size"],
            max_messages=self["max_messages"],
            net_mtu=self["netmtu"] - FRAME_HEADERS - overhead,
            heartbeat_failures_allowed=self["heartbeat_failures_allowed"],
            max_network_delay=self["max_network_delay"] / 1000,
            cancel_token_hold_on_retransmit=self.totem.value("cancel_token_hold_on_retransmit") == "yes",
            accelerated_window=self.accelerated_window,
        )


def _minima() -> Iterator[tuple[str, str, int]]:
    """Key, its name in corosync's message, least milliseconds."""
    yield "max_network_delay", "max_network_delay", MINIMUM
    yield "token", "token timeout", MINIMUM
    yield "token_retransmit", "token retransmit timeout", MINIMUM
    yield "hold", "token hold timeout", MINIMUM_HOLD
    yield "join", "join timeout", MINIMUM
    yield "consensus", "consensus timeout", MINIMUM
    yield "merge", "merge timeout", MINIMUM
    yield "downcheck", "downcheck timeout", MINIMUM


def _single_precision(number: float) -> int:
    # corosync cuts the product to a C float first, which decides the last millisecond.
    value: float = struct.unpack("f", struct.pack("f", number))[0]
    return int(value)
