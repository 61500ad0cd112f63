"""Faults of the network, made where frames arrive: packet filter rules in the receiver's namespace.

They work alike for every kind of node and for unicast and multicast: the sender is told by its address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tools.lab import Host, command


class Faults:
    """What one host does not get; set the attributes, then `apply`.

    deaf_to: nodes of which nothing arrives.
    drop_percent: of all cluster datagrams, at random.
    """

    def __init__(self, host: Host, addresses: Mapping[int, str]) -> None:
        self._host = host
        self._addresses = addresses
        self.deaf_to: set[int] = set()
        self.drop_percent = 0

    def apply(self) -> None:
        """Replace the rules in one step."""
        rules = [f"ip saddr {self._addresses[nodeid]} drop" for nodeid in sorted(self.deaf_to)]
        if self.drop_percent:
            rules.append(f"meta l4proto udp numgen random mod 100 < {self.drop_percent} counter drop")
        text = "\n        ".join(["type filter hook input priority 0;", *rules])
        # Naming the table first makes the delete succeed whether or not it was there.
        script = (
            f"table inet faults\ndelete table inet faults\n"
            f"table inet faults {{\n    chain input {{\n        {text}\n    }}\n}}\n"
        )
        self._nft("-f", "-", stdin=script)

    def dropped(self) -> int:
        """Datagrams dropped at random since `apply`."""
        return sum(map(int, re.findall(r"counter packets (\d+)", self._nft("list", "ruleset"))))

    def _nft(self, *arguments: str, stdin: str | None = None) -> str:
        return command("nsenter", f"--net=/run/netns/{self._host.name}", "nft", *arguments, stdin=stdin)

    def clear(self) -> None:
        """No faults."""
        self.deaf_to = set()
        self.drop_percent = 0
        self.apply()
