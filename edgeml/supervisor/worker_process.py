"""The worker as a process: started, watched, adopted, ended.

1. It is spawned, never forked from the supervisor's memory: no lock, thread or handle of the management plane can reach
   it half-made.
2. The first worker binds the listening socket and hands it over; every later one gets it as an open file. So the socket
   outlives them: connections wait in the kernel's queue while a new worker starts.
3. A supervisor that starts again finds the worker of the one that died still serving. It cannot wait for a process
   that is not its child, so it watches a pidfd.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

# Exit status of a worker that cannot bind its address: no later one could, and no bundle is to blame.
CANNOT_LISTEN = 3
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0


class WorkerProcess:
    """A worker that lives, or did.

    Attributes:
        pid: Its process id.
        life: Number of this life of the worker.
        status: Its exit status once it has ended; None before, and where nobody knows.
    """

    def __init__(self, pid: int, life: int, handle: int, child: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.life = life
        self._handle = handle
        self._child = child
        self.status: int | None = None

    @classmethod
    def start(cls, arguments: Sequence[str], descriptor: int | None, life: int) -> WorkerProcess:
        """Starts a worker.

        Args:
            arguments: Behind ``edgeml worker``.
            descriptor: The listening socket, handed over as ``--listen-fd``; None lets the worker bind one.
            life: Number of the life.

        Raises:
            OSError: No process could be made.
        """
        command = [sys.executable, "-m", "edgeml", "worker", *arguments]
        if descriptor is not None:
            command += ["--listen-fd", str(descriptor)]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else None,
            pass_fds=() if descriptor is None else (descriptor,),
            # Ctrl-C in a terminal is the supervisor's to deal with; it ends the worker in its own way.
            start_new_session=True,
        )
        try:
            return cls(child.pid, life, os.pidfd_open(child.pid), child)
        except OSError:
            child.kill()
            child.wait()
            raise

    @classmethod
    def adopt(cls, pid: int, life: int) -> WorkerProcess:
        """Takes over a worker that another supervisor started.

        Raises:
            OSError: There is no such process.
        """
        return cls(pid, life, os.pidfd_open(pid), None)

    def watch(self, ended: Callable[[WorkerProcess, str], None]) -> None:
        """Calls once the process has ended, from a thread of its own, with how it ended."""
        threading.Thread(target=self._wait, args=(ended,), name="edgeml-worker-watch", daemon=True).start()

    def signal(self, number: int) -> None:
        """Sends a signal; nothing where the process is gone."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._handle, number)

    def wait(self, timeout_s: float) -> bool:
        """Waits for the end; False where it does not come in time."""
        ready, _, _ = select.select([self._handle], [], [], timeout_s)
        return bool(ready)

    def end(self, timeout_s: float, say: Callable[[str], None]) -> bool:
        """Asks it to end, and kills it where it does not.

        Args:
            timeout_s: How long it may take.
            say: Told where it is killed.

        Returns:
            Whether it ended by itself.
        """
        self.signal(signal.SIGTERM)
        if self.wait(timeout_s):
            return True
        say(f"the worker has not ended within {timeout_s:g} s and is killed")
        self.signal(signal.SIGKILL)
        self.wait(5.0)
        return False

    def close(self) -> None:
        """Lets go of a process that has ended."""
        os.close(self._handle)
        self._handle = -1

    def _wait(self, ended: Callable[[WorkerProcess, str], None]) -> None:
        select.select([self._handle], [], [])
        if self._child is None:
            how = "it ended; another supervisor had started it, so nobody knows how"
        else:
            self.status = self._child.wait()
            how = _how(self.status)
        ended(self, how)


def pause_s(deaths: int) -> float:
    """How long to wait before a worker is started again.

    Args:
        deaths: Deaths in a row.
    """
    return 0.0 if deaths == 0 else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (min(deaths, 20) - 1))


def address_of(listening: socket.socket) -> str:
    """Where a socket listens, for people and clients: a URL or a path."""
    name = listening.getsockname()
    if isinstance(name, (str, bytes)):
        return os.fsdecode(name)
    host = f"[{name[0]}]" if listening.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"


def is_reachable(listening: socket.socket) -> bool:
    """Whether clients can still find a socket: a worker that is asked to end takes its path away."""
    name = listening.getsockname()
    return not isinstance(name, (str, bytes)) or os.path.exists(name)


def _how(status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"
    return f"ended with status {status}"


def _has_descriptor(stream: object) -> bool:
    try:
        return stream is not None and stream.fileno() >= 0  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return False
