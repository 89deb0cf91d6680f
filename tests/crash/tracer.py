"""Kills a real process at its n-th system call, or makes that call fail, with strace."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Calls that change something, SQLite's too; both the old and the new names of a call, since C libraries differ.
CALLS = (
    "openat,write,pwrite64,fsync,fdatasync,?rename,?renameat,?renameat2,?link,?linkat,?unlink,?unlinkat,?mkdir,?mkdirat,"
    "close,?chmod,?fchmod,?fchmodat,ftruncate,fallocate"
)
PATIENCE = 60
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class End:
    """How a child ended.

    Attributes:
        told: What it wrote about the transition; empty where it was killed before that.
        calls: The system calls that it made, by name.
    """

    told: str
    calls: tuple[str, ...]


class Tracer:
    """A victim that waits, and the means to hurt its children.

    Args:
        mistake: Name of the one in ``broken_variants.KILLED`` that the victim has; empty for none.
    """

    def __init__(self, mistake: str = "") -> None:
        self._told, told = os.pipe()
        self._child = 0
        self._victim = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("victim.py")), str(told), mistake],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(told,),
        )
        os.close(told)
        assert self._line() == "ready"

    def close(self) -> None:
        assert self._victim.stdin is not None and self._victim.stdout is not None
        self._victim.stdin.close()
        self._victim.wait(PATIENCE)
        self._victim.stdout.close()
        os.close(self._told)

    def run(self, scenario: str, root: Path, inject: str = "") -> End:
        """Carries a transition out in a child with one injection.

        Args:
            scenario: Name of the transition.
            root: Folder of the store.
            inject: What happens and when, such as ``fsync:signal=KILL:when=2``; empty for nothing.
        """
        assert self._victim.stdin is not None
        self._victim.stdin.write(f"{scenario}\t{root}\n")
        self._victim.stdin.flush()
        child = self._child = int(self._line())
        _wait_until_stopped(child)
        options = ["-e", f"inject={inject}"] if inject else []
        command = ["strace", "-f", "-o", "/dev/stdout", "-e", f"trace={CALLS}", *options, "-p", str(child)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            attached = "attached" in said
            if not attached:
                os.kill(child, signal.SIGKILL)
            os.kill(child, signal.SIGCONT)
            assert self._line() == "ended"
            self._child = 0
            log, _ = tracer.communicate(timeout=PATIENCE)
        if not attached:
            raise TracerError(said.strip())
        return End(self._what_it_told(), tuple(_CALL.findall(log)))

    def _line(self) -> str:
        assert self._victim.stdout is not None
        if not select.select([self._victim.stdout], [], [], PATIENCE)[0]:
            os.kill(self._child or self._victim.pid, signal.SIGKILL)
            self._child = 0
            self._victim.stdout.readline()  # that it has ended
            raise TimeoutError("the transition does not end")
        return self._victim.stdout.readline().strip()

    def _what_it_told(self) -> str:
        if not select.select([self._told], [], [], 0)[0]:
            return ""
        return os.read(self._told, 65536).decode().strip()


class TracerError(Exception):
    """Nothing can be traced here."""


def places(calls: tuple[str, ...]) -> list[tuple[str, int]]:
    """Each call of a run as strace counts them: its name, and the how-manieth of that name it is."""
    found: list[tuple[str, int]] = []
    seen: dict[str, int] = {}
    for call in calls:
        seen[call] = seen.get(call, 0) + 1
        found.append((call, seen[call]))
    return found


@contextmanager
def tracing(mistake: str = "") -> Iterator[Tracer]:
    """A tracer.

    Args:
        mistake: As for ``Tracer``.

    Raises:
        TracerError: There is no strace, or the kernel does not let one process trace another.
    """
    if shutil.which("strace") is None:
        raise TracerError("strace is not installed (apt-get install strace)")
    tracer = Tracer(mistake)
    try:
        yield tracer
    finally:
        tracer.close()


def _wait_until_stopped(process: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
            return
        time.sleep(0.001)
    raise TimeoutError("the child does not stop")
