"""When evidence and size of a drift become an alarm, and when an alarm is over.

1. **Threshold.** The operator says how often a box may be wrong: once in so many days, or rows. From it come the
   number of starts J (closings of a sub-window) and, with K watched columns, the threshold t = K J on the summed
   evidence R of each (``monitor.drift_evidence`` has the proof).
2. **Two conditions.** ``drift``, the level that alarms, needs the evidence *and* a size: the population stability
   index less what noise alone gives, over the suffix with most of the evidence, of at least ``min_effect``. With many
   rows the smallest change is certain, and is no reason to wake anyone: evidence alone is ``small``, shown and no more.
   Size alone is noise.
3. **Latch.** An alarm stays until the operator has acknowledged it AND it is calm, with R below t / 10: evidence that
   hovers at the threshold gives one alarm and not one each minute. An alarm that ends by itself waits to be seen.
4. **Hysteresis.** An acknowledged alarm that goes on says nothing more, unless the size grows to 1.5 times the largest
   that it had when it was acknowledged: then it is raised again. After the end a new one needs the whole threshold.

Nothing here looks at a clock: times are the caller's, and are only kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeml.monitor.distances import psi, psi_bias
from edgeml.monitor.drift_evidence import DriftEvidence
from edgeml.monitor.windows import ROWS, SECONDS

Level = Literal["none", "small", "drift"]
Event = Literal["raised", "raised again", "ended"]

MIN_EFFECT = 0.1
BUDGET_DAYS = 30.0
_CALM = math.log(10.0)
_GROWTH = 1.5
_DAY_S = 86_400.0
_MOST_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class FalseAlarmBudget:
    """At most one false alarm per box in this time, or in this many rows; if both are given, in the longer of them.

    Attributes:
        days: Days; None where rows are given instead.
        rows: Rows; None where days are given.
    """

    days: float | None = BUDGET_DAYS
    rows: float | None = None

    def starts(self, *, rows_per_start: int = ROWS, seconds_per_start: float = SECONDS) -> float:
        """How many sub-windows can close within the budget: J, at least 1.

        Args:
            rows_per_start: Rows that a sub-window has at least.
            seconds_per_start: Seconds that it lasts at least.

        Raises:
            ValueError: The budget is neither days nor rows, or not positive, or the sub-windows are empty.
        """
        given = [length for length in (self.days, self.rows) if length is not None]
        if not given or not all(0 < length < math.inf for length in given):
            raise ValueError(
                f"a budget of false alarms is positive days or rows; got days={self.days}, rows={self.rows}"
            )
        if rows_per_start < 1 or seconds_per_start <= 0:
            raise ValueError("sub-windows need rows and a length, or they close without end")
        most = [1.0]
        if self.days is not None:
            most.append(self.days * _DAY_S / seconds_per_start)
        if self.rows is not None:
            most.append(self.rows / rows_per_start)
        return max(most)


def log_threshold(columns: int, starts: float) -> float:
    """Logarithm of the threshold on R: columns times starts, so one false alarm in that many starts at most.

    Args:
        columns: How many columns are watched for alarms, in all models of the box.
        starts: Closings of a sub-window in the budget.

    Raises:
        ValueError: One of them is not positive.
    """
    if columns < 1 or not 0 < starts < math.inf:
        raise ValueError(f"no threshold for {columns} columns and {starts} starts")
    return math.log(columns) + math.log(starts)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one column shows now.

    Attributes:
        level: ``none``, ``small`` (certain, and too small to matter) or ``drift``.
        log_evidence: log R; -inf where there is none.
        effect: Debiased population stability index over the rows with most of the evidence; None where there are none.
        rows: How many rows those are.
        calm: Whether the evidence is below a tenth of the threshold.
    """

    level: Level
    log_evidence: float
    effect: float | None
    rows: int
    calm: bool


def judge(
    reference: Sequence[int],
    evidence: DriftEvidence,
    suffixes: Iterable[Sequence[int]],
    *,
    threshold: float,
    min_effect: float = MIN_EFFECT,
) -> Finding:
    """Judges one column.

    Args:
        reference: Its reference, counts by bin.
        evidence: The same, prepared.
        suffixes: What was counted since each of the last starts.
        threshold: Of log R; see ``log_threshold``.
        min_effect: Debiased index from which a certain change is an alarm.

    Raises:
        ValueError: The counts do not fit the reference.
    """
    log_evidence, most = evidence.restarts(suffixes)
    effect = debiased_psi(reference, most) if most else None
    level: Level = "none"
    if log_evidence >= threshold:
        level = "drift" if effect is not None and effect >= min_effect else "small"
    return Finding(level, log_evidence, effect, sum(most), log_evidence < threshold - _CALM)


def debiased_psi(reference: Sequence[int], current: Sequence[int]) -> float | None:
    """The population stability index less ``psi_bias``, and no less than 0; None where either side is empty.

    Raises:
        ValueError: The lengths differ, or a count is negative.
    """
    index, bias = psi(reference, current), psi_bias(reference, current)
    return None if index is None or bias is None else max(index - bias, 0.0)


@dataclass(slots=True)
class Alarm:
    """One alarm that has not ended.

    Attributes:
        since: When it was raised, as the caller counts time.
        effect: The largest size it has had.
        log_evidence: The most evidence it has had.
        raised: How many times it was raised.
        acknowledged: When the operator acknowledged it; None as long as it waits for that.
        acknowledged_effect: The largest size it had by then.
    """

    since: float
    effect: float
    log_evidence: float
    raised: int = 1
    acknowledged: float | None = None
    acknowledged_effect: float = 0.0


class Alarms:
    """The alarms of one bundle's columns.

    Attributes:
        latched: The alarms that have not ended, by the column's name.
    """

    __slots__ = ("_calm", "latched")

    def __init__(self) -> None:
        self.latched: dict[str, Alarm] = {}
        self._calm: set[str] = set()

    def update(self, column: str, finding: Finding, now: float) -> Event | None:
        """Takes what a column shows now.

        Args:
            column: Its name.
            finding: What ``judge`` said.
            now: Time, as the caller counts it.

        Returns:
            ``raised``, ``raised again`` (it grew after it was acknowledged), ``ended``, or None where nothing changed.
        """
        alarm = self.latched.get(column)
        if finding.calm:
            self._calm.add(column)
        else:
            self._calm.discard(column)
        if alarm is None:
            if finding.level != "drift" or finding.effect is None:
                return None
            self.latched[column] = Alarm(now, finding.effect, finding.log_evidence)
            return "raised"
        if finding.level == "drift" and finding.effect is not None:
            alarm.effect = max(alarm.effect, finding.effect)
            alarm.log_evidence = max(alarm.log_evidence, finding.log_evidence)
            if alarm.acknowledged is not None and finding.effect >= _GROWTH * alarm.acknowledged_effect:
                alarm.acknowledged, alarm.raised = None, alarm.raised + 1
                return "raised again"
        return "ended" if self._end(column) else None

    def acknowledge(self, column: str, now: float) -> bool:
        """The operator has seen it.

        Args:
            column: Name of the column.
            now: Time, as the caller counts it.

        Returns:
            Whether the alarm has ended with that, because the column was calm already.

        Raises:
            KeyError: The column has no alarm.
        """
        alarm = self.latched[column]
        if alarm.acknowledged is None:
            alarm.acknowledged, alarm.acknowledged_effect = now, alarm.effect
        return self._end(column)

    def to_document(self) -> dict[str, Any]:
        """The alarms, JSON-ready."""
        return {"latched": {column: asdict(alarm) for column, alarm in self.latched.items()}}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Takes up what ``to_document`` gave, instead of what is there. Whether columns are calm is looked at anew.

        Raises:
            ValueError: It is not such a document; the alarms stay as they were.
        """
        latched = document.get("latched") if isinstance(document, Mapping) and set(document) == {"latched"} else None
        if not isinstance(latched, Mapping) or len(latched) > _MOST_COLUMNS:
            raise ValueError(f"alarms are a member 'latched' with one object for each column, at most {_MOST_COLUMNS}")
        self.latched = {str(column): _alarm(column, alarm) for column, alarm in latched.items()}
        self._calm = set()

    def _end(self, column: str) -> bool:
        if column not in self._calm or self.latched[column].acknowledged is None:
            return False
        del self.latched[column]
        return True


_MEMBERS = tuple(Alarm.__dataclass_fields__)


def _alarm(column: Any, document: Any) -> Alarm:
    if not isinstance(document, Mapping) or set(document) != set(_MEMBERS):
        raise ValueError(f"the alarm of column {column!r} has the members {', '.join(_MEMBERS)}")
    for member in _MEMBERS:
        value = document[member]
        if member == "acknowledged" and value is None:
            continue
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"the alarm of column {column!r}: member '{member}' is a finite number, not {value!r}")
    if type(document["raised"]) is not int or document["raised"] < 1:
        raise ValueError(f"the alarm of column {column!r}: member 'raised' counts from 1, not {document['raised']!r}")
    return Alarm(**document)
