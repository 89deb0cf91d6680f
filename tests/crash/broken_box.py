"""``edgeml`` with one mistake in its supervisor, as a program: what the harnesses of real processes must catch.

``python broken_box.py "an attempt is not counted" serve --store ...`` is ``edgeml serve --store ...`` with it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeml.bundles import attempts
from edgeml.bundles.store import Store
from edgeml.supervisor import box
from edgeml.supervisor.left_behind import end_left_behind
from edgeml.supervisor.operations import Operation
from edgeml.supervisor.releases import Releases
from edgeml.supervisor.supervisor import Supervisor
from edgeml.supervisor.worker_process import WorkerProcess

PROGRAM = sys.executable, str(Path(__file__))
# How long the mistakes leave open what must be closed at once.
GAP_S = 0.3


def answered_before_it_is_kept(self: Releases, name: str, *, leave: str = "", who: str, **_: Any) -> Operation:
    model = self.store.state().models[name]

    def work(operation: Operation) -> dict[str, Any]:
        time.sleep(GAP_S)
        self.store.roll_back(name, leave=leave or None, reason="asked for", who=who)
        return self._follow(operation)

    return self.operations.begin(Operation("rollback", name, model.previous or "", ("rollback", object())), work)


def uploads_thrown_away(root: Path, *arguments: Any, **options: Any) -> int:
    for part in (root / "incoming").iterdir():
        part.unlink()
    return run_box(root, *arguments, **options)


def ends_the_worker_that_was_left(self: Supervisor) -> None:
    end_left_behind(self.store.root, signal.SIGKILL, wait_s=10, say=self._say)


def hopeless(self: Supervisor, process: WorkerProcess, how: str) -> None:
    for waiting in self._waiting:
        waiting.answer({"models": {}, "reason": f"the worker {how}"})
    self._waiting.clear()
    on_ended(self, process, how)


def attempt_not_counted(state: Any, running: Any = (), degraded: Any = ()) -> Any:
    return state, (), attempts.answering(state)


def ends_at_once(self: WorkerProcess, timeout_s: float, say: Callable[[str], None]) -> bool:
    self.signal(signal.SIGKILL)
    return self.wait(timeout_s)


def activated_in_two_steps(self: Store, digest: str, **options: Any) -> Any:
    """The old one is taken away, and then the new one is put in its place."""
    state = self.state()
    name = state.find(digest) or ""
    if options.get("now") and state.models[name].previous is not None:
        self.roll_back(name, reason="makes room")
        time.sleep(GAP_S)
    return activate(self, digest, **options)


run_box = box.run_box
on_ended = Supervisor._on_ended
activate = Store.activate
MISTAKES: dict[str, tuple[object, str, object]] = {
    "going back is acknowledged before it is kept": (Releases, "roll_back", answered_before_it_is_kept),
    "uploads are thrown away at a start": (box, "run_box", uploads_thrown_away),
    "a worker that was left is ended": (Supervisor, "_adopt", ends_the_worker_that_was_left),
    "a change fails with the worker that dies": (Supervisor, "_on_ended", hopeless),
    "an attempt is not counted": (attempts, "load", attempt_not_counted),
    "a worker is ended before it has answered": (WorkerProcess, "end", ends_at_once),
    "an activation takes two steps": (Store, "activate", activated_in_two_steps),
}


def main() -> None:
    from edgeml.cli import main as edgeml

    mistake, *words = sys.argv[1:]
    target, name, made = MISTAKES[mistake]
    assert hasattr(target, name), f"{target} has no {name}: the mistake would be none"
    setattr(target, name, made)
    edgeml(words, prog_name="edgeml")


if __name__ == "__main__":
    main()
