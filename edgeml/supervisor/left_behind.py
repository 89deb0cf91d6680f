"""A worker that an earlier supervisor has left serving: whether there is one, and its end where it must be ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.lock_holder import holder_of
from edgeml.supervisor.worker_process import WorkerProcess

# Held by the one worker of a store as long as it lives. The process id that stands in it is for people alone: on a
# read-only disk it may be an earlier worker's.
WORKER_LOCK = "worker.lock"
ALONE = "its supervisor has died, and it goes on with what it served before"


def is_left_behind(root: Path) -> bool:
    """Whether a worker lives. To be asked before one is started.

    Args:
        root: Folder of the store.
    """
    with SYSTEM.lock(root / WORKER_LOCK, wait=False) as free:
        return not free


def runs_alone(root: Path) -> bool:
    """Whether a worker serves from a store although no supervisor runs that could tell it anything.

    To be asked only where no supervisor answers: the worker of one that starts would find its lock taken.

    Args:
        root: Folder of the store.
    """
    with suppress(OSError):
        return (root / WORKER_LOCK).exists() and is_left_behind(root)
    return False


def end_left_behind(root: Path, number: signal.Signals, *, wait_s: float, say: Callable[[str], None]) -> None:
    """Ends a worker that holds the address and cannot be talked to, or that is to end with everything else.

    Args:
        root: Folder of the store.
        number: The signal that it gets.
        wait_s: After so long it gets SIGKILL.
        say: Told what is done.
    """
    pid = holder_of(root / WORKER_LOCK)
    if pid is None:
        if is_left_behind(root):
            say(f"a worker was left behind and holds {root / WORKER_LOCK}; which process it is cannot be made out")
        return
    try:
        process = WorkerProcess.adopt(pid, 0)
    except OSError:
        return  # it has just ended
    # Only now is it certain that the number has not been given to another process since.
    if holder_of(root / WORKER_LOCK) == pid:
        say(f"process {pid} was left behind; it gets {number.name}")
        process.signal(number)
        if not process.wait(wait_s):
            process.signal(signal.SIGKILL)
            process.wait(wait_s)
    process.close()
