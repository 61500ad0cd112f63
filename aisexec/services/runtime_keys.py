"""The keys that the executive itself keeps in the configuration map, and what programs may not write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from aisexec.icmap import Change, Icmap, Value, text, u8, u16, u32, u64
from aisexec.messages import exec_id
from aisexec.services.base import Service
from aisexec.services.options import ExecutiveOptions

READ_ONLY_PREFIXES = (
    "internal_configuration.",
    "runtime.services.",
    "runtime.config.",
    "runtime.totem.",
    "uidgid.config.",
    "system.",
    "nodelist.",
)
READ_ONLY = (
    "totem.crypto_cipher",
    "totem.crypto_hash",
    "totem.crypto_model",
    "totem.keyfile",
    "totem.key",
    "totem.secauth",
    "totem.ip_version",
    "totem.rrp_mode",
    "totem.transport",
    "totem.cluster_name",
    "totem.netmtu",
    "totem.threads",
    "totem.version",
    "totem.nodeid",
    "totem.clear_node_high_bit",
    "config.reload_in_progress",
    "config.totemconfig_reload_in_progress",
    "nodelist.local_node_pos",
)
SHORT_NAMES = {
    0: "cmap", 1: "cfg", 2: "cpg", 3: "quorum", 4: "pload", 5: "votequorum", 6: "mon", 7: "wd",
}  # fmt: skip
"""Names of the services that corosync has, too."""

FORCE_GATHER = "runtime.force_gather"
BLACKBOX = ("runtime.blackbox.dump_flight_data", "runtime.blackbox.dump_state")
IDLE = text("no")


def begin(map: Icmap, options: ExecutiveOptions) -> None:
    """What the map holds before there are services: the configuration, and who may not change what."""
    for key, value in options.keys.items():
        map.set(key, value)
    if options.config_version and "totem.config_version" not in map:
        map.set("totem.config_version", u64(options.config_version))
    for kind, ids in (("uid", options.uids), ("gid", options.gids)):
        for number in ids:
            map.set(f"uidgid.config.{kind}.{number}", u8(1))
    for prefix in READ_ONLY_PREFIXES:
        map.protect(prefix, prefix=True)
    for key in READ_ONLY:
        map.protect(key)


def triggers(map: Icmap, force_gather: Callable[[], None]) -> None:
    """Keys that set something off when a program writes anything but "no"; the recorder watches its own."""
    for key in (FORCE_GATHER, *BLACKBOX):
        map.set(key, IDLE)

    def changed(change: Change) -> None:
        if change.new != IDLE:
            map.set(FORCE_GATHER, IDLE)
            force_gather()

    map.track(FORCE_GATHER, changed)


class Traffic:
    """Executive messages by service and function, as keys runtime.services.<name>.<function>.{tx,rx}."""

    def __init__(self) -> None:
        self.sent: Counter[int] = Counter()
        self.received: Counter[int] = Counter()
        """By the id that stands in their headers."""

    def publish(
        self, map: Icmap, services: Iterable[Service], *, fast: Mapping[int, Callable[[], int]]
    ) -> None:
        """fast: messages received that are counted elsewhere, by id."""
        for service in services:
            if service.id not in SHORT_NAMES:
                continue
            short = SHORT_NAMES[service.id]
            map.set(f"internal_configuration.service.{service.id}.name", text(f"corosync_{short}"))
            map.set(f"internal_configuration.service.{service.id}.ver", u32(0))
            map.set(f"runtime.services.{short}.service_id", u16(service.id))
            for function in service.messages():
                ident, key = exec_id(service.id, function), f"runtime.services.{short}.{function}"
                map.provide(f"{key}.tx", self._reader(self.sent, ident))
                map.provide(f"{key}.rx", self._reader(self.received, ident, fast.get(ident)))

    @staticmethod
    def _reader(
        counts: Counter[int], ident: int, more: Callable[[], int] | None = None
    ) -> Callable[[], Value]:
        if more is None:
            return lambda: u64(counts[ident])
        return lambda: u64(counts[ident] + more())


class Members:
    """runtime.members.<nodeid>: who is in the ring, and who was."""

    def __init__(self, map: Icmap, options: Callable[[], ExecutiveOptions]) -> None:
        self._map = map
        self._options = options

    def changed(self, left: Sequence[int], joined: Sequence[int]) -> None:
        """At every configuration, the transitional one, too."""
        for nodeid in left:
            self._map.set(f"runtime.members.{nodeid}.status", text("left"))
        for nodeid in joined:
            key = f"runtime.members.{nodeid}"
            if f"{key}.ip" in self._map:
                count = self._map.number(f"{key}.join_count")  # programs may have written anything there
                self._map.set(f"{key}.join_count", u32((count + 1) % 2**32))
            else:
                self._map.set(f"{key}.ip", text(self._address(nodeid)))
                self._map.set(f"{key}.join_count", u32(1))
            self._map.set(f"{key}.status", text("joined"))

    def _address(self, nodeid: int) -> str:
        address = self._options().addresses.get(nodeid)
        return "no interface found for nodeid" if address is None else f"r(0) ip({address}) "


def is_admitted(map: Icmap, uid: int, gid: int) -> bool:
    """May programs of this user connect?  Real ids; supplementary groups do not count."""
    keys = (f"uidgid.uid.{uid}", f"uidgid.config.uid.{uid}", f"uidgid.gid.{gid}", f"uidgid.config.gid.{gid}")
    return any(map.get(key) == ADMITTED for key in keys)


ADMITTED = u8(1)
