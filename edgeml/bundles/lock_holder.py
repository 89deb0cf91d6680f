"""Which process holds a lock among processes (``Disk.lock``), as the kernel knows it.

What a process has written into the file says less: on a disk that has become read-only it could not write, and its
predecessor's number still stands there, which may be anybody's by now.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeml.bundles.disk import LOCK_S

_LOCKS = Path("/proc/locks")


def holder_of(path: Path) -> int | None:
    """Process id of who holds a lock; None where nobody does, or nobody can be made out for certain.

    Args:
        path: The lock's file.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return next((pid for pid in _who_lock(found.st_ino) if _has_open(pid, found)), None)


def named_holder(path: Path) -> str:
    """Who holds a lock, for people.

    Args:
        path: The lock's file.
    """
    pid = holder_of(path)
    if pid is None:
        return "another process, which cannot be made out (see 'lslocks' as root)"
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return f"process {pid} ({' '.join(words).strip()[:120]})"
    return f"process {pid}"


def hanging(path: Path) -> str:
    """What to say where a lock that is held for milliseconds did not become free.

    Args:
        path: The lock's file.
    """
    return (
        f"{path} has been held by {named_holder(path)} for more than {LOCK_S:g} s, and a change takes milliseconds; "
        "nothing was changed. See whether that process is stopped, or waits for a disk that does not answer; end it, "
        "and try again"
    )


def _who_lock(inode: int) -> Iterator[int]:
    """Processes that hold a lock on a file of such a number, on whatever file system."""
    # ``1: FLOCK  ADVISORY  WRITE 6749 fe:00:2482291 0 EOF``; who waits has ``->`` in the second place.
    with suppress(OSError, ValueError):
        for line in _LOCKS.read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                yield int(words[4])


def _has_open(pid: int, file: os.stat_result) -> bool:
    """Whether a process has a file open. The device that ``/proc/locks`` tells is not always the one of ``stat``."""
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), file):
                    return True
    return False
