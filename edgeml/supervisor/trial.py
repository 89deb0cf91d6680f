"""The trial of a new bundle: from what is seen of it to confirm, roll back, or hold.

Pure rules: no clock, no disk, no threads. The supervisor calls, and does what the verdict says.

1. Time is what was *observed*: the gap between two reports of one life of the worker, if it is at most
   ``stall_seconds``. Power cuts, suspends and restarts add nothing, so a box that was off for a day is not confirmed by
   the wall clock. All windows run on this time too; a gap makes them longer, never forgetful.
2. A signal that failed (``trial_signals``) is latched: the verdict is ``roll_back`` from then on, whatever follows.
3. Reports of one instant are judged together, when the next instant begins or a verdict is asked for; so it does not
   matter in how many pieces, or over how many lives of the worker, the counts of an instant arrive.
4. Without a failed signal, ``hold`` while anything is ambiguous, when the last report is too old, or until enough
   seconds *and* questions were seen; then ``confirm``. After ``max_seconds`` fewer questions do, and it says so.

``to_document`` goes to disk now and then, so that a supervisor that starts again continues the trial. What came since
the last document is caught up if the worker still lives (its counters are totals); what a dead worker counted is lost,
time and questions alike, and is asked for again. Deaths of a worker are worth a document at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgeml.monitor.burn_rate import BurnRate, EventRing
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters, CounterSum
from edgeml.supervisor.trial_signals import AMBIGUOUS, FAILED, Measures, Signal, judge

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """A signal and what it says.

    Attributes:
        signal: Stable word, such as ``error_rate``.
        reason: A sentence with the numbers and the limit.
    """

    signal: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with the candidate.

    Attributes:
        kind: ``hold``, ``confirm`` or ``roll_back``.
        signal: The signal that rolls back; ``passed`` or ``passed_low_traffic`` for confirm; for hold what is waited
            for: ``collecting`` (time or questions), ``no_report`` or ``ambiguous`` (a person).
        reason: A sentence with the numbers and the limit.
        warnings: The ambiguous signals; they hold, and are to be reported.
    """

    kind: str
    signal: str
    reason: str
    warnings: tuple[Finding, ...] = ()


class Trial:
    """One bundle on trial. Not for several threads at once."""

    __slots__ = (
        "_burn",
        "_candidate",
        "_config",
        "_deaths",
        "_elapsed",
        "_errors",
        "_failed",
        "_invalid",
        "_last_death",
        "_last_report",
        "_now",
        "_previous",
        "_reference",
        "_reported",
        "_silence",
    )

    def __init__(
        self,
        config: TrialConfig | None = None,
        *,
        reference_labels: Mapping[str, int] | None = None,
        previous_history: Counters | None = None,
    ) -> None:
        """Begins a trial.

        Args:
            config: The limits; the defaults where None.
            reference_labels: Label -> answers in the bundle's drift reference; None where there are no labels.
            previous_history: Totals of the previous release from lives of the worker that have *ended*; what a living
                worker still reports comes with ``observe``.
        """
        self._config = config or TrialConfig()
        self._reference = reference_labels
        self._candidate = CounterSum()
        self._previous = CounterSum(previous_history) if previous_history is not None else None
        self._elapsed = 0.0
        self._now: float | None = None
        self._last_report: float | None = None
        self._deaths = 0
        self._last_death = ""
        self._silence = 0.0
        self._failed: Finding | None = None
        self._reported: dict[str, str] = {}
        c = self._config
        self._invalid = EventRing(c.failure_window_seconds, c.failure_window_seconds / 12)
        self._errors = EventRing(c.failure_window_seconds, c.failure_window_seconds / 12)
        self._burn = BurnRate(c.deadline_budget, long_s=c.burn_long_seconds, short_s=c.burn_short_seconds)

    def observe(self, now: float, candidate: Counters, previous: Counters | None, *, worker_life: int) -> None:
        """Takes a report of the worker.

        Args:
            now: When it came, in seconds of CLOCK_BOOTTIME.
            candidate: Totals of the candidate since that worker loaded it; loading begins at 0.
            previous: Totals of the previous release in that worker; None where it does not serve it, or there is none.
            worker_life: Number of the life of the worker process, the same as long as the process is, after a restart
                of the supervisor too; never one that was used before.
        """
        self._begin(now)
        if self._last_report is not None:
            gap = now - self._last_report
            if 0 < gap <= self._config.stall_seconds:
                self._elapsed += gap
            self._last_report = max(now, self._last_report)
        else:
            self._last_report = now
        more = self._candidate.add(candidate, worker_life)
        if previous is not None:
            if self._previous is None:
                self._previous = CounterSum()
            self._previous.add(previous, worker_life)
        self._invalid.add(self._elapsed, more.invalid_outputs, more.requests)
        self._errors.add(self._elapsed, more.model_errors, more.requests)
        self._burn.add(self._elapsed, more.deadline_misses, more.requests)

    def worker_died(self, now: float, how: str) -> None:
        """Notes that the worker died without having been told to.

        Args:
            now: When, in seconds of CLOCK_BOOTTIME.
            how: For people, such as ``signal 11 (SIGSEGV)``.
        """
        self._begin(now)
        self._deaths += 1
        self._last_death = how
        self._last_report = None  # the time until the next life reports was not observed

    def stalled(self, now: float, silent_s: float) -> None:
        """Notes for how long the worker has been silent; may be called at every look.

        Args:
            now: When, in seconds of CLOCK_BOOTTIME.
            silent_s: Seconds since its last sign of life by CLOCK_MONOTONIC, which stands still while the box is
                suspended: a box that slept has no worker that hung.
        """
        self._begin(now)
        self._silence = max(self._silence, silent_s)

    @property
    def memory_bytes(self) -> int | None:
        """How much resident memory the worker may have; None while nobody has said so."""
        return self._config.memory_bytes

    def limit_memory(self, memory_bytes: int) -> None:
        """Says how much resident memory the worker may have from here on, in bytes."""
        self._config = replace(self._config, memory_bytes=memory_bytes)

    def report(self, now: float, signal: str, reason: str | None) -> None:
        """Takes an ambiguous signal of somebody else, such as ``drift``; it holds and is reported, no more.

        Args:
            now: When, in seconds of CLOCK_BOOTTIME.
            signal: Stable word.
            reason: A sentence; None once it is over.
        """
        self._begin(now)
        if reason is None:
            self._reported.pop(signal, None)
        else:
            self._reported[signal] = reason

    def verdict(self, now: float) -> Verdict:
        """What to do now.

        Args:
            now: Seconds of CLOCK_BOOTTIME.
        """
        self._begin(now)
        signals = self._judge()
        warnings = self._warnings(signals)
        if self._failed is not None:
            return Verdict("roll_back", self._failed.signal, self._failed.reason, warnings)
        c, requests, seconds = self._config, self._candidate.total.requests, self._elapsed
        seen = f"{requests} questions in {seconds:.0f} observed seconds"
        if self._last_report is None or now - self._last_report > c.stall_seconds:
            return Verdict("hold", "no_report", f"no report within {c.stall_seconds:g} s; {seen} so far", warnings)
        enough = seconds >= c.min_seconds and requests >= c.min_requests
        if not enough and seconds < c.max_seconds:
            needed = f"of {c.min_requests} in at least {c.min_seconds:g} s, or {c.max_seconds:g} s"
            return Verdict("hold", "collecting", f"{seen}, {needed}", warnings)
        if warnings:
            reason = f"{seen}, but {warnings[0].signal}: {warnings[0].reason}; confirm or roll back by hand"
            return Verdict("hold", "ambiguous", reason, warnings)
        if enough:
            return Verdict("confirm", "passed", f"{seen}, and no signal")
        return Verdict("confirm", "passed_low_traffic", f"{seen}, fewer than {c.min_requests}, and no signal")

    def progress(self, now: float) -> dict[str, Any]:
        """How the trial goes, JSON-ready, for ``edgeml status``.

        Args:
            now: Seconds of CLOCK_BOOTTIME.
        """
        verdict = self.verdict(now)
        c, total = self._config, self._candidate.total
        return {
            "verdict": verdict.kind,
            "signal": verdict.signal,
            "reason": verdict.reason,
            "elapsed_seconds": round(self._elapsed, 3),
            "requests": total.requests,
            "previous_requests": self._previous.total.requests if self._previous else None,
            "needed": {
                "seconds": round(max(c.min_seconds - self._elapsed, 0.0), 3),
                "requests": max(c.min_requests - total.requests, 0),
                "seconds_at_low_traffic": round(max(c.max_seconds - self._elapsed, 0.0), 3),
            },
            "signals": {
                signal.name: {"value": signal.value, "limit": signal.limit, "state": signal.state}
                for signal in judge(self._measures(), c)
            },
            "warnings": [asdict(warning) for warning in verdict.warnings],
        }

    def to_document(self) -> dict[str, Any]:
        """Everything that a supervisor needs to continue, JSON-ready, some kilobytes."""
        self._judge()
        return {
            "format": FORMAT,
            "elapsed_seconds": self._elapsed,
            "deaths": self._deaths,
            "last_death": self._last_death,
            "longest_silence_s": self._silence,
            "failed": asdict(self._failed) if self._failed else None,
            "reported": dict(self._reported),
            "candidate": self._candidate.to_document(),
            "previous": self._previous.to_document() if self._previous else None,
            "windows": {name: ring.to_document() for name, ring in self._rings().items()},
        }

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        config: TrialConfig | None = None,
        *,
        reference_labels: Mapping[str, int] | None = None,
    ) -> Trial:
        """Takes a trial up again; the time since the document was made counts as not observed.

        Args:
            document: What ``to_document`` gave.
            config: The limits; the lengths of the windows must be those of before.
            reference_labels: As for a new trial.

        Raises:
            ValueError: It is not such a document; the message names the member. A new trial is the safe answer.
        """
        trial = cls(config, reference_labels=reference_labels)
        if document.get("format") != FORMAT:
            raise ValueError(f"trial document: format must be {FORMAT}, not {document.get('format')!r}")
        for name, (place, accepts) in _MEMBERS.items():
            value = document.get(name)
            if not accepts(value):
                raise ValueError(f"trial document: {name} cannot be {value!r}"[:300])
            setattr(trial, place, value)
        trial._elapsed = float(trial._elapsed)
        failed, previous, windows = document.get("failed"), document.get("previous"), document.get("windows")
        try:
            trial._failed = None if failed is None else Finding(str(failed["signal"]), str(failed["reason"]))
            trial._candidate = CounterSum.from_document(document.get("candidate") or {})
            trial._previous = None if previous is None else CounterSum.from_document(previous)
            for name, ring in trial._rings().items():
                ring.restore((windows or {})[name])
        except (KeyError, TypeError) as error:
            raise ValueError(f"trial document: a member is missing or has the wrong type: {error}") from error
        trial._reported = dict(trial._reported)
        return trial

    def _begin(self, now: float) -> None:
        """What was seen until now is judged before anything is added to it."""
        if self._now is not None and now > self._now:
            self._judge()
        self._now = now if self._now is None else max(now, self._now)

    def _judge(self) -> tuple[Signal, ...]:
        signals = judge(self._measures(), self._config)
        for signal in signals:
            if signal.state == FAILED and self._failed is None:
                self._failed = Finding(signal.name, signal.reason)
        return signals

    def _measures(self) -> Measures:
        at = self._elapsed
        return Measures(
            deaths=self._deaths,
            last_death=self._last_death,
            longest_silence_s=self._silence,
            candidate=self._candidate.total,
            previous=self._previous.total if self._previous else None,
            invalid_recently=self._invalid.events(at),
            errors_recently=self._errors.events(at),
            missed_long=self._burn.long.events(at),
            missed_short=self._burn.short.events(at),
            reference_labels=self._reference,
        )

    def _warnings(self, signals: tuple[Signal, ...]) -> tuple[Finding, ...]:
        own = [Finding(signal.name, signal.reason) for signal in signals if signal.state == AMBIGUOUS]
        return (*own, *(Finding(signal, reason) for signal, reason in sorted(self._reported.items())))

    def _rings(self) -> dict[str, EventRing]:
        return {
            "invalid": self._invalid,
            "errors": self._errors,
            "missed_long": self._burn.long,
            "missed_short": self._burn.short,
        }


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


# member of the document -> (attribute, test)
_MEMBERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "elapsed_seconds": ("_elapsed", _is_time),
    "deaths": ("_deaths", lambda value: type(value) is int and value >= 0),
    "last_death": ("_last_death", lambda value: isinstance(value, str)),
    "longest_silence_s": ("_silence", _is_time),
    "reported": (
        "_reported",
        lambda value: isinstance(value, dict) and all(isinstance(text, str) for item in value.items() for text in item),
    ),
}
