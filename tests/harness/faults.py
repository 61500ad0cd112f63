"""Faults of the network, made where frames arrive: packet filter rules in the receiver's namespace.

They work alike for every kind of node and for unicast and multicast: the sender is told by its address.
"""

from __future__ import annotations

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
            rules.append(f"meta l4proto udp numgen random mod 100 < {self.drop_percent} drop")
        text = "\n        ".join(["type filter hook input priority 0;", *rules])
        # Naming the table first makes the delete succeed whether or not it was there.
        script = (
            f"table inet faults\ndelete table inet faults\n"
            f"table inet faults {{\n    chain input {{\n        {text}\n    }}\n}}\n"
        )
        command("nsenter", f"--net=/run/netns/{self._host.name}", "nft", "-f", "-", stdin=script)

    def clear(self) -> None:
        """No faults."""
        self.deaf_to = set()
        self.drop_percent = 0
        self.apply()
