"""What the supervisor knows of its worker, and how the worker is to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeml.bundles.state import State
from edgeml.monitor.link import Link
from edgeml.supervisor.worker_process import WorkerProcess


@dataclass(frozen=True)
class WorkerOptions:
    """How the worker is run.

    Attributes:
        arguments: For ``edgeml worker``, beside the store and the socket.
        stall_s: It is killed after so many seconds without a sign of life.
        start_s: ... or so many while it starts; and so long a bundle may load.
        healthy_s: After so many seconds of answering, earlier deaths are forgotten.
        stop_s: It has so many seconds to end after SIGTERM.
    """

    arguments: tuple[str, ...] = ()
    stall_s: float = 10.0
    start_s: float = 300.0
    healthy_s: float = 60.0
    stop_s: float = 30.0


@dataclass
class Serving:
    """What the worker says of one model.

    Attributes:
        digest: Hex digest of what answers; None where nothing does.
        ready: Whether the whole of it answers.
        reason: Why not.
        degraded: Whether its rules and its fallback answer, without its model.
        disabled_rules: Ids of its rules that are disabled.
    """

    digest: str | None = None
    ready: bool = False
    reason: str = ""
    degraded: bool = False
    disabled_rules: tuple[str, ...] = ()


@dataclass
class Waiting:
    """Somebody who waits until the worker follows the record."""

    answer: Callable[[dict[str, Any]], None]
    until: float


@dataclass
class WorkerState:
    """What is known of the worker that runs now.

    Attributes:
        process: None while there is none.
        link: By which it is told things; None while it has not said hello, or where it takes nothing.
        voice: By which it speaks; what it said before it died is heard to the end.
        serving: What it says of each model.
        heard: When it gave a sign of life.
        since: Since when it answers.
        loading: Whether it has not answered yet.
        healthy: Whether earlier deaths have been forgotten on its account.
        blamed: Whether a bundle on trial has been blamed for its end.
        stuck: Hex digest of the bundle that has not come back from a question; empty where all have.
        culprit: ... or was being loaded, on whose account the worker was killed; empty where nobody knows whose it is.
        ordered: Whether it has been told of a bundle.
        deaths: How many workers died in a row before it.
        start_at: When the next one is to be started.
        rss_bytes: Its resident memory.
        settled: Number of the last orders when it had followed them, and its resident memory then.
        turn: Number of the last orders.
        done: Number of the last orders that it has followed.
        postponed: Whether its first orders left out bundles on trial.
        trying: Hex digests on trial whose attempt has been counted for it.
        trying_degraded: ... and those whose attempt without their model has.
        making: Hex digest that it has begun to load, told before it began; empty once all are loaded.
        forget_at: When the record may be asked again to forget earlier deaths.
        load: Hex digest that it is loading now, as it says once a second; empty where none ...
        load_s: ... and for how long.
    """

    process: WorkerProcess | None = None
    link: Link | None = None
    voice: Link | None = None
    serving: dict[str, Serving] = field(default_factory=dict)
    heard: float = 0.0
    since: float = 0.0
    loading: bool = True
    healthy: bool = False
    ordered: bool = False
    blamed: bool = False
    stuck: str = ""
    culprit: str = ""
    deaths: int = 0
    start_at: float | None = None
    rss_bytes: int = 0
    settled: tuple[int, int] = (0, 0)
    turn: int = 0
    done: int = 0
    postponed: bool = False
    trying: set[str] = field(default_factory=set)
    trying_degraded: set[str] = field(default_factory=set)
    making: str = ""
    forget_at: float = 0.0
    load: str = ""
    load_s: float = 0.0

    @property
    def settled_bytes(self) -> int:
        """Resident memory with what was ordered last and nothing else; 0 while nobody knows."""
        turn, rss_bytes = self.settled
        return rss_bytes if turn == self.turn else 0

    def counted(self, document: Mapping[str, Any]) -> None:
        """Takes what the worker tells of itself with its counters."""
        self.rss_bytes = int(document.get("rss_bytes", 0))
        if self.done >= self.turn > 0:
            self.settled = (self.turn, self.rss_bytes)
        loading = document.get("loading") or {}
        self.load, self.load_s = str(loading.get("digest", "")), float(loading.get("seconds", 0.0))

    def excuses(self, state: State) -> bool:
        """Whether its end must not be counted against the bundle that was confirmed last, as ``Store.died`` would.

        A bundle on trial has been blamed already, or another bundle is known to be at fault, or it serves one that has
        been gone back from.

        Args:
            state: The record.
        """
        return self.blamed or self._serves_what_is_gone(state) or self.culprit not in ("", _confirmed_last(state))

    def _serves_what_is_gone(self, state: State) -> bool:
        return any(
            each.digest and each.digest not in (model.active, model.candidate, model.last_resort)
            for model, each in ((state.model(name), each) for name, each in self.serving.items())
        )

    def to_document(self, now: float) -> dict[str, Any]:
        """What it serves and how it is, JSON-ready.

        Args:
            now: Seconds of CLOCK_MONOTONIC.
        """
        return {
            "models": {
                name: {
                    "digest": f"sha256:{each.digest}" if each.digest else None,
                    "ready": each.ready,
                    "reason": each.reason,
                    # Only where it is so: tools that know nothing of it see that the model is not ready.
                    **({"degraded": True} if each.degraded else {}),
                    **({"disabled_rules": list(each.disabled_rules)} if each.disabled_rules else {}),
                }
                for name, each in sorted(self.serving.copy().items())
            },
            "worker": {
                "pid": self.process.pid if self.process else None,
                "deaths": self.deaths,
                "seconds": round(now - self.since, 1) if self.process else 0.0,
                "rss_bytes": self.rss_bytes,
            },
        }


def _confirmed_last(state: State) -> str:
    """Hex digest of the bundle that a death is counted against; see ``attempts.died``."""
    answering = [
        (model.releases[model.active].confirmed, name, model.active)
        for name, model in state.models.items()
        if model.active is not None
    ]
    return max(answering, default=(0, "", ""))[2]
