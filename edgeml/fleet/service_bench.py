"""What a service can do and how quickly it answers, measured as its clients would see it.

First it is saturated, which gives the throughput. Then it is asked at a steady rate, half of that where none is wanted,
and latencies count from the moment at which each request was due (see ``request_load``). The service level objective is
judged by the second part: a p99 means little at a rate that no box of this kind will ever keep up with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeml.fleet.request_load import Outcome, Target, pace, saturate

# Shares of the answers that may be too late.
P99_BUDGET = 0.01
DEADLINE_BUDGET = 0.001
# With fewer answers, a share of one in a thousand cannot be told.
FEWEST_ANSWERS = 1_000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Objective:
    """A service level objective and what was measured.

    Attributes:
        name: ``p99_ms`` or ``deadline_ms``, as in the bundle.
        limit_ms: What is promised.
        share: Share of the requests that took longer, or failed.
        budget: Share that may.
    """

    name: str
    limit_ms: float
    share: float
    budget: float

    @property
    def holds(self) -> bool:
        """Whether the share stays within the budget."""
        return self.share <= self.budget


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        saturated: The closed loop.
        paced: The open loop.
        rate: Requests a second that the open loop asked.
        cpu_us: CPU time of the service for each answer of the open loop, in microseconds; None where its process is not
            known.
        memory_bytes: Proportional set size of the service after the load; None where its process is not known.
        objectives: What the bundle promises.
    """

    saturated: Outcome
    paced: Outcome
    rate: float
    cpu_us: float | None
    memory_bytes: int | None
    objectives: tuple[Objective, ...] = field(default=())

    @property
    def doubts(self) -> list[str]:
        """Why the figures may mislead, one sentence each."""
        found = []
        if self.paced.lateness_ns > 1_000_000:
            found.append(
                f"requests left up to {self.paced.lateness_ns / 1e6:.1f} ms late because this side was busy, and that "
                "counts as latency; measure from another machine, or at a lower --rate"
            )
        if 0 < len(self.paced.latencies_ns) < FEWEST_ANSWERS:
            found.append(
                f"{len(self.paced.latencies_ns)} answers are few for a p99.9; give more --seconds or a higher --rate"
            )
        return found

    @property
    def holds(self) -> bool:
        """Whether every objective holds and every request was answered."""
        return not (self.paced.errors or self.saturated.errors) and all(each.holds for each in self.objectives)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times in the unit that their name says."""
        paced = self.paced
        return {
            "throughput": round(self.saturated.rate, 1),
            "rate": round(self.rate, 1),
            "answers": self.saturated.answers + paced.answers,
            "errors": self.saturated.errors + paced.errors,
            "first_error": self.saturated.first_error or paced.first_error,
            "latency_ms": {
                f"p{name}": round(paced.percentile_ms(share), 4) if paced.latencies_ns else None
                for name, share in (("50", 50.0), ("90", 90.0), ("99", 99.0), ("999", 99.9), ("100", 100.0))
            },
            "cpu_us": None if self.cpu_us is None else round(self.cpu_us, 2),
            "memory_bytes": self.memory_bytes,
            "objectives": [
                {"name": each.name, "limit_ms": each.limit_ms, "share": each.share, "budget": each.budget}
                | {"holds": each.holds}
                for each in self.objectives
            ],
            "holds": self.holds,
            "doubts": self.doubts,
        }


def measure_service(
    target: Target,
    requests: Sequence[bytes],
    *,
    slo: Mapping[str, float],
    pid: int | None = None,
    rate: float | None = None,
    connections: int = 8,
    seconds: float = 5.0,
) -> Measured:
    """Measures a service.

    Args:
        target: Where it listens.
        requests: Whole requests, sent in turn.
        slo: ``p99_ms`` and ``deadline_ms``, each where there is one.
        pid: Its process on this machine, where it is known.
        rate: Requests a second of the open loop; None for half of the throughput.
        connections: As many at a time.
        seconds: For how long each of the two parts runs.

    Raises:
        RequestError: Nobody listens there.
    """
    saturate(target, requests, connections=1, seconds=min(0.5, seconds / 4))  # caches, lazy set-up
    saturated = saturate(target, requests, connections=connections, seconds=seconds)
    rate = rate or max(1.0, saturated.rate / 2)
    before = cpu_seconds(pid)
    paced = pace(target, requests, rate=rate, connections=connections, seconds=seconds)
    after = cpu_seconds(pid)
    spent = None if before is None or after is None or not paced.answers else (after - before) / paced.answers * 1e6
    limits = (("p99_ms", P99_BUDGET), ("deadline_ms", DEADLINE_BUDGET))
    objectives = tuple(
        Objective(name, slo[name], paced.share_above(slo[name]), budget) for name, budget in limits if name in slo
    )
    return Measured(saturated, paced, rate, spent, memory_bytes(pid), objectives)


def cpu_seconds(pid: int | None) -> float | None:
    """CPU time that a process has taken so far, in seconds; None where nobody knows."""
    if pid is None:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return None


def memory_bytes(pid: int | None) -> int | None:
    """Proportional set size of a process, in bytes; None where nobody knows."""
    if pid is None:
        return None
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
