"""What the supervisor knows of its worker, and how the worker is to be run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeml.monitor.link import Link
from edgeml.supervisor.worker_process import WorkerProcess


@dataclass(frozen=True)
class WorkerOptions:
    """How the worker is run.

    Attributes:
        arguments: For ``edgeml worker``, beside the store and the socket.
        stall_s: It is killed after so many seconds without a sign of life.
        start_s: ... or so many while it loads.
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
    """What the worker says of one model."""

    digest: str | None = None
    ready: bool = False
    reason: str = ""


@dataclass
class Waiting:
    """Somebody who waits until the worker follows the record."""

    answer: Callable[[dict[str, Any]], None]
    until: float
    turn: int


@dataclass
class WorkerState:
    """What is known of the worker that runs now."""

    process: WorkerProcess | None = None
    link: Link | None = None
    serving: dict[str, Serving] = field(default_factory=dict)
    heard: float = 0.0
    since: float = 0.0
    loading: bool = True
    healthy: bool = False
    deaths: int = 0
    start_at: float | None = None
    rss_bytes: int = 0
    turn: int = 0
    done: int = 0
