"""One bundle under watch: the counts of all its processes put together, and what is to be said of them.

1. Counts come in as whole documents (``counted``); what is kept in memory is their sum, a ring of sub-windows, the
   rings of the objectives, and the alarms: all of a fixed size.
2. The evidence for drift is looked at when counts have come, at most every ``LOOK_S`` seconds, and never for more than
   a fiftieth of the time: with many columns on a slow box the looks become rarer, which no guarantee depends on.
3. What happened is given back as events, for somebody else to write down. Nothing is decided here.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeml.monitor.alarms import MIN_EFFECT, Alarms, FalseAlarmBudget, Finding, judge, log_threshold
from edgeml.monitor.burn_rate import EventRing
from edgeml.monitor.counted import Answered, DriftCounts, Total
from edgeml.monitor.drift_evidence import DriftEvidence
from edgeml.monitor.drift_layout import Column, Layout
from edgeml.monitor.objectives import Objectives
from edgeml.monitor.rule_promises import RulePromise
from edgeml.monitor.rule_report import audited_rules, labelled_rules
from edgeml.monitor.rule_watch import RuleFinding, RuleWatch
from edgeml.monitor.windows import SubWindows

LOOK_S = 5.0
# A look may take this share of the time.
LOOK_SHARE = 0.02
# Kinds of columns whose neighbouring bins are alike.
ORDERED = ("number", "text", "words", "confidence", "value")
_MINUTE_S, _HOUR_S = 60.0, 3600.0


@dataclass(frozen=True)
class WatchSettings:
    """How a box is watched.

    Attributes:
        budget: How often it may raise a false alarm.
        min_effect: Population stability index from which a certain change is an alarm.
        disables: Whether a rule that does not keep what it promises is disabled.
    """

    budget: FalseAlarmBudget = FalseAlarmBudget()
    min_effect: float = MIN_EFFECT
    disables: bool = False


@dataclass(frozen=True)
class WatchEvent:
    """Something that people should know.

    Attributes:
        kind: ``drift``, ``objective`` or ``rule``.
        subject: Name of the column or objective, or id of the rule.
        text: A sentence.
    """

    kind: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class _Mark:
    sums: array[float]
    known: array[int]


class Watch:
    """Watches one bundle.

    Args:
        digest: Its hex digest.
        layout: Its columns; None where it has no drift reference.
        slo: Its objectives.
        settings: How the box is watched.
        promises: What its rules promise.
        clock: Seconds of CLOCK_MONOTONIC.

    Attributes:
        digest: Hex digest of the bundle.
        layout: Its columns; None where it has no drift reference.
        since: Since when it counts, in seconds since 1970; 0 before the first count.
        answered: What was counted of its answers.
        drift: What was counted of its columns.
        windows: The last few sub-windows of that.
        alarms: The alarms that have not ended.
        findings: What each watched column shows, by name.
        objectives: Its error budgets.
        rules: Its rules.
        pending: Whether counts have come that nobody has looked at.
        settings: How the box is watched; may be replaced.
        capture_failure: Why what was captured last could not be kept; empty where it could.
        changed: Whether anything was counted since ``to_document`` was called last.
    """

    def __init__(
        self,
        digest: str,
        layout: Layout | None,
        slo: Mapping[str, float],
        settings: WatchSettings,
        *,
        promises: Sequence[RulePromise] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.digest = digest
        self.layout = layout
        self.since = 0.0
        self.changed = False
        self.pending = False
        self.capture_failure = ""
        self.settings = settings
        self._clock = clock
        self._looked_at = -math.inf
        self._look_took = 0.0
        size, numbers = (layout.size, layout.n_numbers) if layout is not None else (0, 0)
        self._evidence = {
            each.name: DriftEvidence(each.reference, ordered=each.kind in ORDERED)
            for each in (layout.columns if layout is not None else ())
            if each.watched
        }
        self.answered = Total(Answered())
        self.drift = Total(DriftCounts.nothing(size, numbers))
        self.windows = SubWindows(size)
        # Sums and known values of the columns of numbers, at each closing of a sub-window that is kept.
        self._marks: deque[_Mark] = deque([self._mark()], maxlen=self.windows.kept + 1)
        self.alarms = Alarms()
        self.findings: dict[str, Finding] = {}
        self.objectives = Objectives(slo)
        self._levels = {name: "ok" for name in self.objectives.limits}
        self.traffic = EventRing(_HOUR_S, _MINUTE_S)
        self.rules = RuleWatch(promises)

    @property
    def watched_columns(self) -> int:
        """Columns that may raise an alarm."""
        return len(self._evidence)

    def take(self, life: int, document: Mapping[str, Any], now: float, *, columns: int) -> list[WatchEvent]:
        """Takes what a process has counted of this bundle.

        Args:
            life: Number of the process.
            document: What ``Engine.watched`` gave.
            now: Seconds since 1970.
            columns: Columns that may raise an alarm, of all bundles that answer on this box.

        Returns:
            What happened with that.

        Raises:
            ValueError: It is no such document, or one of another layout; nothing was taken.
        """
        answered = Answered.from_document(document)
        before = self.answered.now
        drift = document.get("drift")
        counted = None
        if drift is not None and self.layout is not None:
            counted = DriftCounts.from_document(drift, self.layout.size, self.layout.n_numbers)
        if not self.answered.take(f"{life}.{int(document['birth'])}", answered):
            return []
        self.since = self.since or now
        self.capture_failure = str(document.get("capture_failure", ""))
        self.changed = True
        answered = self.answered.now
        events = self._observe(before, answered, now)
        found = self.rules.look(labelled_rules(answered), audited_rules(answered), now)
        events += [WatchEvent("rule", each.rule, each.text) for each in found]
        if counted is not None and drift is not None and self.drift.take(f"{life}.{int(drift['birth'])}", counted):
            total = self.drift.now
            closed = self.windows.read(total.counts, total.rows, self._clock())
            if closed:
                self._marks.append(self._mark())
            events += self._look(columns, now, closed=closed)
        return events

    def wrong_rules(self) -> dict[str, RuleFinding]:
        """Rules that should not answer any more, by id; see ``RuleWatch.wrong``."""
        return self.rules.wrong(labelled_rules(self.answered.now)) if self.rules.findings else {}

    def look_again(self, now: float, *, columns: int) -> list[WatchEvent]:
        """Looks at what came too soon after the last look, where its time has come.

        Args:
            now: Seconds since 1970.
            columns: As of ``take``.

        Returns:
            As ``take``.
        """
        return self._look(columns, now, closed=False) if self.pending else []

    def acknowledge(self, column: str, now: float) -> bool:
        """The operator has seen an alarm; see ``Alarms.acknowledge``.

        Raises:
            KeyError: The column has none.
        """
        self.changed = True
        return self.alarms.acknowledge(column, now)

    def threshold(self, columns: int) -> float:
        """The threshold on the logarithm of a column's evidence; see ``alarms``.

        Args:
            columns: Columns that may raise an alarm, of all bundles that answer on this box.
        """
        return log_threshold(max(1, columns), self.settings.budget.starts())

    def judged(self, column: Column, columns: int) -> Finding | None:
        """What a column shows, as of the last look, or now where nobody has looked since the start.

        Args:
            column: The column.
            columns: Columns that may raise an alarm, of all bundles that answer on this box.

        Returns:
            None where it may raise no alarm.
        """
        if column.name not in self._evidence:
            return None
        return self.findings.get(column.name) or self._judge(column, self.threshold(columns))

    def window(self, column: Column) -> list[int]:
        """Counts of a column over all sub-windows that are kept."""
        *_, counts = self.windows.suffixes(column.start, column.bins)
        return counts

    def moments(self, column: Column) -> tuple[float | None, float | None]:
        """Mean and standard deviation of a column of numbers over the sub-windows that are kept.

        After a restart they begin anew.

        Returns:
            None and None where no value was known.
        """
        first, last = self._marks[0], self._mark()
        known = last.known[column.sums] - first.known[column.sums]
        if known <= 0:
            return None, None
        total, squares = (last.sums[place] - first.sums[place] for place in (2 * column.sums, 2 * column.sums + 1))
        mean = total / known
        spread = squares / known - mean * mean
        if not math.isfinite(spread):
            return None, None
        return mean, math.sqrt(max(0.0, spread))

    def by_window(self, column: Column) -> list[Sequence[int]]:
        """Counts of a column in each closed sub-window, oldest first."""
        stop = column.start + column.bins
        return [each.counts[column.start : stop] for each in self.windows.closed]

    def _mark(self) -> _Mark:
        counted = self.drift.now
        known = array("q")
        for column in self.layout.columns if self.layout is not None else ():
            if column.sums >= 0:
                known.append(sum(counted.counts[column.start + 1 : column.start + column.bins]))
        return _Mark(counted.sums, known)

    def _observe(self, before: Answered, after: Answered, now: float) -> list[WatchEvent]:
        answers = sum(after.answers.values()) - sum(before.answers.values())
        refused = after.refused - before.refused
        self.traffic.add(now, max(0, refused), max(0, answers) + max(0, refused))
        late = {}
        if "p99_ms" in self.objectives.limits:
            limit = int(self.objectives.limits["p99_ms"] * 1e6)
            late["p99_ms"] = max(0, after.together().count_above(limit) - before.together().count_above(limit))
        late["deadline_ms"] = max(0, after.missed - before.missed)
        self.objectives.add(now, late, max(0, answers))
        events = []
        for standing in self.objectives.standings(now):
            if standing.level == "fast" and self._levels[standing.name] != "fast":
                text = (
                    f"{standing.name} {standing.limit_ms:g}: {standing.share:.2%} of the last hour's answers were "
                    f"later, {standing.burn[3600]:.1f} times what the objective allows"
                )
                events.append(WatchEvent("objective", standing.name, text))
            self._levels[standing.name] = standing.level
        return events

    def _look(self, columns: int, now: float, *, closed: bool) -> list[WatchEvent]:
        begun = self._clock()
        self.pending = not closed and begun - self._looked_at < max(LOOK_S, self._look_took / LOOK_SHARE)
        if self.pending:
            return []
        threshold = self.threshold(columns)
        told: list[tuple[float, WatchEvent]] = []
        assert self.layout is not None
        for column in self.layout.columns:
            if column.name not in self._evidence:
                continue
            finding = self._judge(column, threshold)
            self.findings[column.name] = finding
            said = self.alarms.update(column.name, finding, now)
            if said is not None:
                told.append((-finding.log_evidence, WatchEvent("drift", column.name, _sentence(column, finding, said))))
        self._looked_at = self._clock()
        self._look_took = self._looked_at - begun
        return [event for _, event in sorted(told, key=lambda each: each[0])]

    def _judge(self, column: Column, threshold: float) -> Finding:
        return judge(
            column.reference,
            self._evidence[column.name],
            self.windows.suffixes(column.start, column.bins),
            threshold=threshold,
            min_effect=self.settings.min_effect,
        )

    def to_document(self) -> dict[str, Any]:
        """Everything that a restart goes on from, JSON-ready."""
        self.changed = False
        return {
            "digest": self.digest,
            "since": self.since,
            "answered": self.answered.to_document(),
            "drift": self.drift.to_document(),
            "windows": self.windows.to_document(),
            "alarms": self.alarms.to_document(),
            "objectives": self.objectives.to_document(),
            "traffic": self.traffic.to_document(),
            "rules": self.rules.to_document(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Takes up what ``to_document`` gave.

        Raises:
            ValueError: It is no such document of this bundle; nothing was taken up.
        """
        try:
            if document["digest"] != self.digest:
                raise ValueError(f"it is of sha256:{str(document['digest'])[:12]}")
            answered = _total(Total(Answered()), document["answered"], Answered.from_document)
            size, numbers = (self.layout.size, self.layout.n_numbers) if self.layout is not None else (0, 0)
            drift = _total(
                Total(DriftCounts.nothing(size, numbers)),
                document["drift"],
                lambda each: DriftCounts.from_document(each, size, numbers),
            )
            windows, alarms = SubWindows(size), Alarms()
            windows.restore(document["windows"])
            alarms.restore(document["alarms"])
            objectives, traffic = Objectives(self.objectives.limits), EventRing(_HOUR_S, _MINUTE_S)
            objectives.restore(document["objectives"])
            traffic.restore(document["traffic"])
            rules = RuleWatch(self.rules.promises)
            rules.restore(document.get("rules", []))  # an older edgeml kept none
            since = float(document["since"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{error!r} is missing or of another type") from error
        if not 0 <= since < math.inf:
            raise ValueError(f"since is a time, not {since}")
        self.answered, self.drift, self.windows, self.alarms = answered, drift, windows, alarms
        self.objectives, self.traffic, self.since, self.rules = objectives, traffic, since, rules
        self._marks = deque([self._mark()], maxlen=self.windows.kept + 1)

    @property
    def state_bytes(self) -> int:
        """Memory of the counts, rings and references, in bytes; small objects beside them are left out."""
        layout = self.layout
        if layout is None:
            return 0
        # Ended, running, the ring's beginning and the open sub-window; the closed ones have half of the width.
        copies = 4 + self.windows.kept / 2
        references = sum(
            8 * each.bins + 8 * len(each.edges) + len(each.codes) + len(each.vocabulary) for each in layout.columns
        )
        return int(8 * layout.size * copies) + 2 * 16 * layout.n_numbers + 4 * references


def _total(total: Total[Any], document: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> Total[Any]:
    total.ended = read(document["ended"])
    total.running = None if document["running"] is None else read(document["running"])
    total.key = str(document["key"])
    return total


def _sentence(column: Column, finding: Finding, said: str) -> str:
    what = "the data" if column.feature else "the answers"
    if said == "ended":
        return f"{column.name}: {what} are again as in the reference"
    effect = 0.0 if finding.effect is None else finding.effect
    more = "" if said == "raised" else ", more than when it was acknowledged"
    return (
        f"{column.name}: {what} differ from the reference (PSI {effect:.2f} over {finding.rows} rows, evidence "
        f"10^{finding.log_evidence / math.log(10):.1f}){more}"
    )


__all__ = ["ORDERED", "Watch", "WatchEvent", "WatchSettings"]
