"""Changes that take a while: each on a thread of its own, with an id, a state, a step, and a reason when it fails.

They are kept in memory, the newest of them, until the process ends. What they change is on the disk, and what happened
is in the journal; an operation only tells how far a request has come.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeml.errors import ConflictError, EdgemlError, NotInstalledError

KEPT = 100
RUNNING = "running"
DONE = "done"
FAILED = "failed"


@dataclass
class Operation:
    """One change.

    Attributes:
        kind: ``activate``, ``confirm``, ``rollback``, ``deny``, ``allow`` or ``pull``.
        model: Name of the model; empty where nobody knows it yet.
        digest: Hex digest concerned; empty where there is none.
        key: What makes a second request the same one.
        id: Its id.
        state: ``running``, ``done`` or ``failed``.
        step: What it does now, or did last.
        reason: Why it failed, or what is to be said about the end.
        started: Seconds since 1970.
        ended: Seconds since 1970; None while it runs.
        result: What came of it, JSON-ready.
        error: What it failed of.
        cancelled: Why it shall stop before it changes anything; empty where it may go on.
    """

    kind: str
    model: str
    digest: str
    key: tuple[object, ...]
    id: str = field(default_factory=lambda: os.urandom(8).hex())
    state: str = RUNNING
    step: str = "accepted"
    reason: str = ""
    started: float = 0.0
    ended: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    cancelled: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> bool:
        """Waits for the end; says whether it has come."""
        return self.over.wait(seconds)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.id,
            "kind": self.kind,
            "model": self.model,
            "digest": f"sha256:{self.digest}" if self.digest else None,
            "state": self.state,
            "step": self.step,
            "reason": self.reason,
            "started": self.started,
            "ended": self.ended,
            "result": self.result,
        }


class Operations:
    """The operations of one process.

    Args:
        clock: Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, Operation] = {}
        # Reentrant: whoever decides what to begin holds it while it begins.
        self.lock = threading.RLock()

    def begin(self, operation: Operation, work: Callable[[Operation], dict[str, Any]]) -> Operation:
        """Starts an operation.

        Args:
            operation: What it is.
            work: Does it and gives the result; an ``EdgemlError`` or ``OSError`` says why it failed.

        Raises:
            OSError: The system gives no thread.
        """
        operation.started = self._clock()
        with self.lock:
            ended = [each.id for each in self._known.values() if each.state != RUNNING]
            for old in ended[: max(0, len(self._known) - KEPT + 1)]:
                del self._known[old]
            self._known[operation.id] = operation
        name = f"edgeml-{operation.kind}"
        thread = threading.Thread(target=self._run, args=(operation, work), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # It must not stay under way for ever: every state has an exit.
            refusal = OSError(errno.EAGAIN, f"no thread for it: {error}")
            self._end(operation, FAILED, refusal, str(refusal))
            raise refusal from error
        return operation

    def running(self, model: str, *kinds: str) -> Operation | None:
        """The operation that is under way for a model."""
        with self.lock:
            return next(
                (
                    each
                    for each in self._known.values()
                    if each.state == RUNNING and each.model == model and (not kinds or each.kind in kinds)
                ),
                None,
            )

    def latest(self, key: tuple[object, ...]) -> Operation | None:
        """The newest operation for the same request."""
        with self.lock:
            return next((each for each in reversed(self._known.values()) if each.key == key), None)

    def get(self, identity: str) -> Operation:
        """An operation.

        Raises:
            NotInstalledError: It is not known, or long past.
        """
        with self.lock:
            found = self._known.get(identity)
        if found is None:
            raise NotInstalledError(f"there is no operation {identity[:40]!r}; old ones are forgotten, see the history")
        return found

    def all(self) -> list[Operation]:
        """All that are known, newest first."""
        with self.lock:
            return list(reversed(self._known.values()))

    def refuse_beside(self, model: str) -> None:
        """Refuses a change while another one for the same model is under way.

        Raises:
            ConflictError: There is one.
        """
        other = self.running(model)
        if other is not None:
            raise ConflictError(
                f"{model}: {other.kind} {other.id} is under way ({other.step}); wait for it, or go back with rollback"
            )

    def _run(self, operation: Operation, work: Callable[[Operation], dict[str, Any]]) -> None:
        try:
            operation.result = work(operation)
            self._end(operation, DONE)
        except (EdgemlError, OSError) as error:
            self._end(operation, FAILED, error, str(error))
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            self._end(operation, FAILED, error, "internal error; the service's log has the details")

    def _end(self, operation: Operation, state: str, error: Exception | None = None, reason: str = "") -> None:
        operation.error, operation.reason = error, reason
        operation.ended = self._clock()
        operation.state = state
        operation.over.set()
