"""What systemd is told: ready, alive, stopping. Nothing where it does not listen.

Source: ``sd_notify(3)``: a datagram of ``KEY=value`` lines to the socket named by NOTIFY_SOCKET.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Speaks to systemd, where it started this process.

    Args:
        environment: The process's environment.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        period = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(period) / 1e6 if period.isdigit() and mine else None

    def ready(self, status: str) -> None:
        """The service answers."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """The main loop turns; to be said more often than every ``watchdog_s`` seconds."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(text.replace("\r", " ").encode(), address)
