"""What the numbers of a trial say, signal by signal.

1. ``failed``: the candidate is bad, and going back to the previous release helps. The trial is rolled back.
2. ``ambiguous``: something is wrong, but the candidate may not be the cause, or the previous release is no better. The
   trial is held and the signal reported; a person decides.
3. ``fine``.

Where a limit is absolute (invalid outputs, missed deadlines, errors of the model without a comparison) and the previous
release was beyond it too, the signal is ambiguous unless the counts are evidence that the candidate is worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeml.monitor.burn_rate import Events
from edgeml.monitor.error_evidence import error_evidence
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import OTHER, Counters

FINE, AMBIGUOUS, FAILED = "fine", "ambiguous", "failed"


@dataclass(frozen=True, slots=True)
class Signal:
    """What one rule says.

    Attributes:
        name: Stable word, such as ``error_rate``.
        value: The number that the rule looks at; None where there is none.
        limit: The number that it is compared with; None where there is none.
        state: ``fine``, ``ambiguous`` or ``failed``.
        reason: A sentence with the numbers; empty where all is fine.
    """

    name: str
    value: float | None
    limit: float | None
    state: str = FINE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Measures:
    """All numbers of a trial at one instant.

    Attributes:
        deaths: How often the worker died in the trial.
        last_death: How it died last, in words.
        longest_silence_s: Longest silence of the worker, in seconds.
        candidate: Totals of the candidate since the trial began.
        previous: Totals of the previous release, before and during the trial; None on a first install.
        invalid_recently: Invalid outputs in the failure window.
        errors_recently: Errors of the model in the failure window.
        missed_long: Missed deadlines in the long window.
        missed_short: Missed deadlines in the short window.
        reference_labels: Label -> answers in the bundle's drift reference; None where it has none.
    """

    deaths: int
    last_death: str
    longest_silence_s: float
    candidate: Counters
    previous: Counters | None
    invalid_recently: Events
    errors_recently: Events
    missed_long: Events
    missed_short: Events
    reference_labels: Mapping[str, int] | None


def judge(m: Measures, c: TrialConfig) -> tuple[Signal, ...]:
    """Asks every rule, the gravest first.

    Args:
        m: The numbers.
        c: The limits.
    """
    return (
        _process_deaths(m, c),
        _stall(m, c),
        _golden_failure(m),
        _memory(m, c),
        _invalid_outputs(m, c),
        _error_rate(m, c),
        _deadline_burn(m, c),
        _output_collapse(m, c),
        _fallback_rate(m, c),
    )


def _process_deaths(m: Measures, c: TrialConfig) -> Signal:
    failed = m.deaths >= c.process_deaths
    return Signal(
        "process_deaths",
        m.deaths,
        c.process_deaths,
        FAILED if failed else FINE,
        f"the worker died {m.deaths} times (limit {c.process_deaths}), last by {m.last_death}" if failed else "",
    )


def _stall(m: Measures, c: TrialConfig) -> Signal:
    failed = m.longest_silence_s > c.stall_seconds
    return Signal(
        "stall",
        m.longest_silence_s,
        c.stall_seconds,
        FAILED if failed else FINE,
        f"the worker was silent for {m.longest_silence_s:.1f} s (limit {c.stall_seconds:g} s)" if failed else "",
    )


def _golden_failure(m: Measures) -> Signal:
    count = m.candidate.golden_failures
    reason = f"{count} self-tests on the golden rows failed (none may)" if count else ""
    return Signal("golden_failure", count, 0, FAILED if count else FINE, reason)


def _memory(m: Measures, c: TrialConfig) -> Signal:
    used = m.candidate.rss_bytes
    if c.memory_bytes is None or used <= c.memory_bytes:
        return Signal("memory", used, c.memory_bytes)
    reason = f"the worker used {used / 1e6:.1f} MB of memory (limit {c.memory_bytes / 1e6:.1f} MB)"
    return Signal("memory", used, c.memory_bytes, FAILED, reason)


def _invalid_outputs(m: Measures, c: TrialConfig) -> Signal:
    recent = m.invalid_recently
    if not _too_many(recent, c):
        return Signal("invalid_outputs", recent.share, c.failure_share)
    reason = f"{_of(recent)} outputs within {c.failure_window_seconds:g} s were invalid {_limit(c)}"
    return _unless_previous_is_as_bad("invalid_outputs", "invalid_outputs", recent.share, c.failure_share, reason, m, c)


def _error_rate(m: Measures, c: TrialConfig) -> Signal:
    name, candidate, previous = "error_rate", m.candidate, m.previous
    evidence = _evidence("failures", m)
    counts = f"{candidate.failures} of {candidate.requests} answers failed"
    if previous is not None:
        counts += f", {previous.failures} of {previous.requests} of the previous release"
    more = candidate.share("failures") - (previous.share("failures") if previous else 0.0)
    if evidence >= c.error_evidence and more >= c.error_rate_increase and candidate.failures >= c.failures:
        return Signal(name, _finite(evidence), c.error_evidence, FAILED, f"{counts}: {_says(evidence, c)}")
    if (previous is None or previous.requests < c.min_requests) and _too_many(m.errors_recently, c):
        recent = m.errors_recently
        reason = f"the model raised at {_of(recent)} questions within {c.failure_window_seconds:g} s {_limit(c)}"
        return _unless_previous_is_as_bad(name, "failures", recent.share, c.failure_share, reason, m, c)
    if evidence >= c.error_evidence:
        # One failure after a million good answers is evidence too, if rates never change; but they do a little.
        reason = f"{counts}: evidently more, but by less than {c.error_rate_increase:.2%}, or fewer than {c.failures}"
    elif evidence >= c.doubtful_evidence:
        reason = f"{counts}: evidence {evidence:.3g}, of {c.error_evidence:g} that roll back"
    elif candidate.failures >= c.failures and candidate.share("failures") > c.failure_share:
        reason = f"{counts}: much (limit {c.failure_share:.2%}), but not evidently more than before"
    else:
        return Signal(name, _finite(evidence), c.error_evidence)
    return Signal(name, _finite(evidence), c.error_evidence, AMBIGUOUS, reason)


def _deadline_burn(m: Measures, c: TrialConfig) -> Signal:
    burn = min(m.missed_long.share, m.missed_short.share) / c.deadline_budget
    if burn < c.burn_rate or m.missed_long.bad < c.burn_bad_events:
        return Signal("deadline_burn", burn, c.burn_rate)
    reason = (
        f"{_of(m.missed_long)} answers came after their deadline, {_of(m.missed_short)} in the last "
        f"{c.burn_short_seconds:g} s: burn rate {burn:.1f} (limit {c.burn_rate:g})"
    )
    share = c.burn_rate * c.deadline_budget
    return _unless_previous_is_as_bad("deadline_burn", "deadline_misses", burn, c.burn_rate, reason, m, c, share)


def _output_collapse(m: Measures, c: TrialConfig) -> Signal:
    name, limit = "output_collapse", c.collapse_share
    answers, label, share = _commonest(m.candidate)
    if not m.reference_labels or not answers:
        return Signal(name, None, limit)
    usual = m.reference_labels.get(label, 0) / max(sum(m.reference_labels.values()), 1)
    gathered = label == OTHER and OTHER not in m.reference_labels  # many classes, not one
    if share <= limit or answers < c.collapse_answers or usual >= c.collapse_reference_share or gathered:
        return Signal(name, share, limit)
    reason = f"{share:.2%} of {answers} answers are {label!r}, {usual:.1%} of the bundle's reference"
    if m.previous is not None:
        before, was, share_before = _commonest(m.previous)
        if before >= c.collapse_answers and was == label and share_before > limit:
            reason += f"; the previous release gave it too, to {share_before:.2%} of {before}"
            return Signal(name, share, limit, AMBIGUOUS, reason)
    return Signal(name, share, limit, FAILED, reason)


def _fallback_rate(m: Measures, c: TrialConfig) -> Signal:
    name, candidate, previous = "fallback_rate", m.candidate, m.previous
    share, before = candidate.share("fallbacks"), previous.share("fallbacks") if previous else 0.0
    counts = f"{candidate.fallbacks} of {candidate.requests} answers are the fallback"
    # Never rolled back for this alone: an open breaker or a late model shows in its own signal.
    if share > 0.5:
        return Signal(name, share, 0.5, AMBIGUOUS, f"{counts}, more than half")
    if _evidence("fallbacks", m) >= c.error_evidence and share - before >= c.error_rate_increase:
        return Signal(name, share, 0.5, AMBIGUOUS, f"{counts}, evidently more than {before:.2%} before")
    return Signal(name, share, 0.5)


def _unless_previous_is_as_bad(
    name: str,
    counter: str,
    value: float,
    limit: float,
    reason: str,
    m: Measures,
    c: TrialConfig,
    share: float | None = None,
) -> Signal:
    """A signal that failed, or is ambiguous because the previous release went beyond the share too."""
    before = m.previous.share(counter) if m.previous else 0.0
    if before <= (c.failure_share if share is None else share) or _evidence(counter, m) >= c.error_evidence:
        return Signal(name, value, limit, FAILED, reason)
    return Signal(name, value, limit, AMBIGUOUS, f"{reason}; the previous release had {before:.2%} itself")


def _evidence(counter: str, m: Measures) -> float:
    if m.previous is None:
        return 1.0
    counts = [(min(getattr(of, counter), of.requests), of.requests) for of in (m.candidate, m.previous)]
    return error_evidence(*counts[0], *counts[1])


def _too_many(recent: Events, c: TrialConfig) -> bool:
    return recent.bad >= c.failures and recent.share > c.failure_share


def _commonest(counters: Counters) -> tuple[int, str, float]:
    total = sum(counters.labels.values())
    if not total:
        return 0, "", 0.0
    label = min(counters.labels, key=lambda name: (-counters.labels[name], name))
    return total, label, counters.labels[label] / total


def _of(events: Events) -> str:
    return f"{events.bad} of {events.total}"


def _limit(c: TrialConfig) -> str:
    return f"(limit {c.failures}, and {c.failure_share:.2%})"


def _says(evidence: float, c: TrialConfig) -> str:
    return f"evidence {evidence:.3g} that it fails more often (limit {c.error_evidence:g})"


def _finite(evidence: float) -> float:
    # JSON has no infinity.
    return evidence if math.isfinite(evidence) else 1e308
