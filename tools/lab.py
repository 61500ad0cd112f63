"""A small network on this machine: a switch and hosts, each in a network namespace of its own.

The switch's namespace has a bridge; a cable (veth pair) leads from each of its ports to `eth0` of a
host.  Needs to be root, or root of a user namespace (`unshare -Urnm`) with a /run of its own.
Names begin with a prefix that the maker chooses, so that several networks can be there at once.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from types import TracebackType

MTU = 1500
COMMAND_TIMEOUT = 20.0
"""Seconds for one call of ip or nft."""


def command(*arguments: str, stdin: str | None = None) -> str:
    """Run it and return what it printed; RuntimeError with its error output when it fails."""
    done = subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Namespace:
    """A named network namespace with loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        command("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """ip(8) inside."""
        return command("ip", "-n", self.name, *arguments)

    def enter(self, arguments: Sequence[str], *, private_run: bool = False) -> list[str]:
        """The command line that runs `arguments` inside; the process dies with the calling thread.

        private_run: with an empty /run, where daemons keep their pid files.
        """
        head = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.name}"]
        if private_run:
            # exec "$@": the process keeps its id, so that signals reach it.
            script = 'mount -t tmpfs none /run && exec "$@"'
            head += ["unshare", "--mount", "sh", "-c", script, "sh"]
        return [*head, *arguments]

    def delete(self) -> None:
        """Gone, as soon as the last process inside has ended."""
        with contextlib.suppress(RuntimeError):
            command("ip", "netns", "delete", self.name)


class Host(Namespace):
    """A machine at the switch, with one interface, eth0."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address = address


class Network:
    """The switch and its hosts; a context manager that takes everything down.

    prefix: begins the names of its namespaces; subnet: the first three parts of its addresses.
    """

    def __init__(self, prefix: str, subnet: str = "10.77.0") -> None:
        self.prefix = prefix
        self.subnet = subnet
        self.hosts: dict[int, Host] = {}
        self.switch = Namespace(f"{prefix}-switch")
        # A bridge that learns who listens to which group, without a router that asks, forgets them.
        self.switch.ip("link", "add", "switch", "type", "bridge", "mcast_snooping", "0", "stp_state", "0")
        self.switch.ip("link", "set", "switch", "up")

    def add_host(self, number: int) -> Host:
        """Host `number` (1 to 254) with the address of that number."""
        address = f"{self.subnet}.{number}"
        host = Host(f"{self.prefix}-{number}", address)
        self.hosts[number] = host
        port = f"port{number}"
        self.switch.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        self.switch.ip("link", "set", port, "mtu", str(MTU), "master", "switch", "up")
        host.ip("address", "add", f"{address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "mtu", str(MTU), "up")
        return host

    def unplug(self, number: int) -> None:
        """Take the cable out of the switch; the host's interface stays up, as behind a failed switch."""
        self.switch.ip("link", "set", f"port{number}", "nomaster")

    def plug_in(self, number: int) -> None:
        """And back."""
        self.switch.ip("link", "set", f"port{number}", "master", "switch")

    def close(self) -> None:
        """Remove the namespaces; processes inside should have ended."""
        for host in self.hosts.values():
            host.delete()
        self.switch.delete()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
