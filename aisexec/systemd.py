"""Telling systemd how far we are: the sd_notify(3) protocol, one datagram a message."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Sends READY, STATUS and STOPPING when the service manager asked for it, else does nothing.

    NOTIFY_SOCKET is taken out of the environment, so that programs we start do not answer for us.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        name = environment.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of an abstract socket name.
        self._address = "\0" + name[1:] if name.startswith("@") else name

    @property
    def wanted(self) -> bool:
        """Somebody listens."""
        return self._address[:1] in ("/", "\0")

    def ready(self, status: str) -> bool:
        """Starting is finished.  False when the message could not be sent, in all three."""
        return self._send(f"READY=1\nSTATUS={_one_line(status)}\nMAINPID={os.getpid()}")

    def status(self, text: str) -> bool:
        """One line for systemctl status."""
        return self._send(f"STATUS={_one_line(text)}")

    def stopping(self, status: str) -> bool:
        """We are ending on purpose."""
        return self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def _send(self, message: str) -> bool:
        if not self.wanted:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # The ring does not wait for a service manager that does not read.
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError:
            return False
        return True


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))
