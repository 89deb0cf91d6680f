"""The numbers by which a trial is judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrialConfig:
    """The numbers by which a trial is judged. Shares are fractions, 0 to 1.

    Attributes:
        min_seconds: A trial is not confirmed before it was observed for so long ...
        min_requests: ... and has answered so many questions.
        max_seconds: After so long it is confirmed with fewer questions, and marked as low traffic.
        process_deaths: The worker died so often: rolled back.
        stall_seconds: The worker was silent for longer: rolled back. Also the longest gap between two reports that
            counts as observed time.
        failures: So many failures of one kind within ``failure_window_seconds`` ...
        failure_window_seconds: Length of that window.
        failure_share: ... that are also more than this share of the answers in it are too many: rolled back. Failures
            are invalid outputs; and errors of the model where there is no previous release to compare with.
        error_evidence: Evidence (e-value) that the candidate fails more often than the previous release, from which
            on it is rolled back, with ``failures`` or more of them: under 1 in so many trials of a candidate that is no
            worse.
        doubtful_evidence: Evidence from which on the trial is held.
        error_rate_increase: A rate that is higher by less than this holds, however evident; more rolls back.
        deadline_budget: Share of answers that may miss their deadline.
        burn_rate: Burn rate of that budget from which on the trial is rolled back.
        burn_bad_events: The long window must hold so many missed deadlines.
        burn_long_seconds: Length of the long window.
        burn_short_seconds: Length of the short window.
        memory_bytes: The worker's resident memory was larger: rolled back. None: the trials of a box take what the
            worker has at their first report, and room for the bundle (``Trials``).
        collapse_share: One class has more than this share of the answers ...
        collapse_reference_share: ... although it had less than this share in the bundle's reference: rolled back.
        collapse_answers: Answers needed for that. 1,000 is the least number of which one dissenting answer is a
            thousandth; with fewer, "more than 99.9 %" would only mean "all". A class with 90 % of the reference fills
            1,000 independent answers once in 10^45; the margin is for answers that are not independent.
    """

    min_seconds: float = 600.0
    min_requests: int = 200
    max_seconds: float = 86_400.0
    process_deaths: int = 3
    stall_seconds: float = 10.0
    failures: int = 5
    failure_window_seconds: float = 60.0
    failure_share: float = 0.01
    error_evidence: float = 100.0
    doubtful_evidence: float = 10.0
    error_rate_increase: float = 0.001
    deadline_budget: float = 0.001
    burn_rate: float = 14.4
    burn_bad_events: int = 10
    burn_long_seconds: float = 3600.0
    burn_short_seconds: float = 300.0
    memory_bytes: int | None = None
    collapse_share: float = 0.999
    collapse_reference_share: float = 0.9
    collapse_answers: int = 1000

    def __post_init__(self) -> None:
        """Checks every number.

        Raises:
            ValueError: One is no number of its kind or out of its range; the message names it.
        """
        for name in _COUNTS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"trial: {name} must be a whole number, 1 or more, not {value!r}")
        for name in (*_SECONDS, "burn_rate"):
            value = getattr(self, name)
            if not _is_number(value) or value <= 0:
                raise ValueError(f"trial: {name} must be a number above 0, not {value!r}")
        for name in _SHARES:
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise ValueError(f"trial: {name} must be a share, 0 to 1, not {value!r}")
        if self.deadline_budget == 0:
            raise ValueError("trial: deadline_budget must be above 0; burn rates are measured by it")
        for name in ("error_evidence", "doubtful_evidence"):
            value = getattr(self, name)
            if not _is_number(value) or value <= 1:
                raise ValueError(f"trial: {name} must be a number above 1, not {value!r}")
        if self.memory_bytes is not None and (type(self.memory_bytes) is not int or self.memory_bytes < 1):
            raise ValueError(f"trial: memory_bytes must be a number of bytes or null, not {self.memory_bytes!r}")
        for low, high in (
            ("min_seconds", "max_seconds"),
            ("doubtful_evidence", "error_evidence"),
            ("burn_short_seconds", "burn_long_seconds"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"trial: {low} ({getattr(self, low)}) must not be above {high} ({getattr(self, high)})"
                )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TrialConfig:
        """Reads a configuration; what it does not name keeps its default.

        Args:
            mapping: Field -> number.

        Raises:
            ValueError: A field is unknown, or its value is not acceptable; the message names it.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in mapping:
            if name not in known:
                raise ValueError(f"trial: unknown field {name!r}; known are {', '.join(known)}")
        return cls(**mapping)


_COUNTS = ("min_requests", "process_deaths", "failures", "burn_bad_events", "collapse_answers")
_SECONDS = (
    "min_seconds",
    "max_seconds",
    "stall_seconds",
    "failure_window_seconds",
    "burn_long_seconds",
    "burn_short_seconds",
)
_SHARES = (
    "failure_share",
    "error_rate_increase",
    "deadline_budget",
    "collapse_share",
    "collapse_reference_share",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
