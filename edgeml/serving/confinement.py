"""How the process that tries a bundle makes itself small and harmless, before it looks at the bundle.

1. It dies with its parent, yields to everybody else, and leaves no core.
2. It may write no file and open few, and has so many seconds of processor time.
3. It has no network: a network name space of its own where the kernel allows one, and a filter of system calls
   (``seccomp``). Either suffices; which of them work is reported.
4. Its address space may grow by so many bytes from here. What Python and numpy have mapped by now is not counted.

Nothing here can be undone by the process itself, but for a root's right to raise limits.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass

from edgeml.serving.seccomp import close_system_calls

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
NICENESS = 10
# Between the signal that says that the time is up and the one that nobody can hold back.
GRACE_S = 1


@dataclass(frozen=True)
class Confinement:
    """What keeps the process in.

    Attributes:
        namespace: Whether it has a network name space of its own, in which there is nothing.
        seccomp: Whether the filter of system calls is on.
    """

    namespace: bool
    seccomp: bool

    @property
    def network(self) -> str:
        """``none`` or ``open``."""
        return "none" if self.namespace or self.seccomp else "open"

    @property
    def means(self) -> tuple[str, ...]:
        """Names of what works."""
        return tuple(name for name in ("namespace", "seccomp") if getattr(self, name))


def confine(*, parent: int, memory_bytes: int, cpu_seconds: int, open_files: int) -> Confinement:
    """Confines this process.

    Args:
        parent: Process id of the parent, with which this process dies.
        memory_bytes: Bytes by which the address space may grow.
        cpu_seconds: Seconds of processor time from the start of the process.
        open_files: Files open at a time.

    Raises:
        ProcessLookupError: The parent is gone already.
        OSError: A limit cannot be set.
    """
    namespace = _leave_network()
    # Only now: the kernel forgets it when the credentials change, as they do in a new user name space.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError("the process that asked is gone")
    os.nice(NICENESS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, open_files)
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + GRACE_S)
    _limit(resource.RLIMIT_AS, _address_space() + memory_bytes)
    return Confinement(namespace=namespace, seccomp=close_system_calls())


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    """Lowers a limit; one that is lower already stays."""
    wanted = soft if hard is None else hard
    most = resource.getrlimit(what)[1]
    top = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(what, (min(soft, top), top))


def _leave_network() -> bool:
    """Goes where there is no network; as root at once, otherwise by way of a user name space."""
    system = ctypes.CDLL(None)
    if not hasattr(system, "unshare"):
        return False
    return not system.unshare(_CLONE_NEWNET) or not system.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
