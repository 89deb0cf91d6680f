"""What one contestant did in one task, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

Say = Callable[[str], None]


# edgeml with nothing watched, beside which the cost of watching is seen.
UNWATCHED = "edgeml, nothing watched"
# What a machine takes for waking a thread at all, beside which idleness is seen.
BARE_THREAD = "one bare thread that wakes as often"
SHARE = "share of a core"


@dataclass
class Measurement:
    """The rounds of one contestant in one task.

    Attributes:
        task: Such as ``w1_lr_one``.
        who: Such as ``edgeml``.
        unit: ``s/call``, ``req/s``, ``bytes`` or ``s``.
        rounds: One value for each round; round k of every contestant in a task was taken in the same minute.
        cpu: CPU seconds for each call or request, one value for each round; empty where that is not measured.
        predictions: Predictions that one call gives.
        facts: What else was seen, such as errors and latencies under load.
    """

    task: str
    who: str
    unit: str
    rounds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    predictions: int = 1
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """``task/who``."""
        return f"{self.task}/{self.who}"

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds)

    @property
    def cpu_per_prediction(self) -> float | None:
        """Median CPU seconds for one prediction."""
        return statistics.median(self.cpu) / self.predictions if self.cpu else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the medians written out for readers."""
        return asdict(self) | {"median": self.median, "cpu_per_prediction": self.cpu_per_prediction}


@dataclass
class Findings:
    """Everything that a run found.

    Attributes:
        measurements: Key -> measurement.
        gaps: Key -> why it could not be measured.
        notes: Sentences for the reader, such as answers that differ.
    """

    measurements: dict[str, Measurement] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, measurement: Measurement) -> None:
        """Keeps a measurement."""
        self.measurements[measurement.key] = measurement
