"""What one request may cost at most."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

MOST_THREADS = 8


def default_threads() -> int:
    """Two threads for each usable core. One answers all short requests and the others sleep, so more would cost little
    but memory; they come in while requests take longer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, 2 * cores)


@dataclass(frozen=True)
class Limits:
    """Bounds of the data plane.

    Attributes:
        body_bytes: Largest body, as sent and as inflated.
        rows: Largest number of records in one JSON body or tensor request. NDJSON is answered line by line and has
            no bound but ``body_bytes``.
        connections: Connections open at a time; more wait in the listener's queue.
        waiting_bytes: Bodies larger than 64 KiB that are read or answered at a time, in bytes; the others wait unread.
            A compressed one counts as ``body_bytes`` besides, whatever its size. One is always let in.
        head_s: How long a client may take to send the head of a request, and how long an idle connection is kept.
        stall_s: How long a client may send nothing of a body, or read nothing of an answer, before it is sent away;
            beyond that it has to keep up 8 KiB a second on the average.
        threads: Requests worked on at a time; two for each usable core where nothing is said.
        hold_s: How long a request waits while there is no memory to load a bundle beside the one it replaces.
        quiet_s: After a signal to stop, how long no request must have come before connections are closed.
        drain_s: After a signal to stop, how long new requests are answered at most.
        finish_s: How long a request that is being answered may still take after that.
    """

    body_bytes: int = 8 * 1024 * 1024
    rows: int = 10_000
    connections: int = 256
    waiting_bytes: int = 64 * 1024 * 1024
    head_s: float = 30.0
    stall_s: float = 30.0
    threads: int = field(default_factory=default_threads)
    hold_s: float = 60.0
    quiet_s: float = 0.25
    drain_s: float = 5.0
    finish_s: float = 10.0
