"""What the tiers of a bundle trade: answers before the full model against accuracy and cost, on labelled records.

1. The records are dealt into two halves by a fixed seed. The first chooses, the second shows: figures of the rows that
   chose would be too kind.
2. A point is a cut of the rule list and a threshold of the middle tier. The cut leaves out rules whose proven precision
   is below it: the lower bound that a rule carries (``evidence``), else that of its answers in the first half (exact,
   one-sided, 95 %); rules that abstain, and pinned ones, stay. At each point the share of each tier, the accuracy and
   its share of the full model's alone are counted.
3. The cost of a tier is measured on this machine, in this process: the median over records that it answers, each asked
   several times, from the record to the prediction. It contains the tiers that were asked before it. The mean cost of a
   point is that of its tiers by their shares, beside the full model's alone.
4. For an accuracy budget the cheapest point is taken whose accuracy is below the full model's by at most the budget;
   for a cost budget the most accurate one that costs no more. On the second half the share of answers that the tiers
   lost stands with its exact upper bound, which holds because these rows have chosen nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import RequestError
from edgeml.monitor.binomial import lower_bound, upper_bound
from edgeml.runtime.known_labels import label_in, written_label
from edgeml.runtime.middle import MiddleTier
from edgeml.runtime.other_tiers import with_tiers
from edgeml.runtime.prediction import FALLBACK, MIDDLE, MODEL, RULE, TIERS
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.rules import Rule, RuleList

CONFIDENCE = 0.95
# Of each tier, how many records are timed, and how often each.
TIMED_RECORDS = 200
REPEATS = 5
# Thresholds of the middle tier: at these shares of the records of the first half it would answer.
SHARES = np.linspace(0.0, 1.0, 41)
FEWEST_RECORDS = 20
# A threshold that no score reaches.
NEVER = 2.0


@dataclass(frozen=True)
class Cost:
    """What one answer costs here, in microseconds.

    Attributes:
        wall_us: Median of the time that passes.
        cpu_us: Mean of the processor's time.
        records: How many different records were asked; 0 where there were none of this kind.
    """

    wall_us: float
    cpu_us: float
    records: int


@dataclass(frozen=True)
class Point:
    """One way of setting the tiers, and what came of it.

    Attributes:
        cut: Rules stay whose proven precision is at least this.
        rules: How many of them.
        threshold: That of the middle tier; None where it is left out.
        records: How many records were looked at.
        shares: Tier -> share of the records.
        accuracy: Share of right answers.
        model_accuracy: The full model's alone.
        lost: Records that the full model alone would have answered rightly, and this does not.
        lost_bound: Upper bound of their share (exact, one-sided, 95 %).
        cost_us: Mean cost of an answer.
    """

    cut: float
    rules: int
    threshold: float | None
    records: int
    shares: Mapping[str, float]
    accuracy: float
    model_accuracy: float
    lost: int
    lost_bound: float
    cost_us: float

    @property
    def before(self) -> float:
        """Share of the records that are answered before the full model."""
        return self.shares["rule"] + self.shares["middle"]

    @property
    def kept(self) -> float:
        """Accuracy as a share of the full model's."""
        return self.accuracy / self.model_accuracy if self.model_accuracy else 1.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "cut": self.cut,
            "rules": self.rules,
            "threshold": self.threshold,
            "records": self.records,
            "shares": dict(self.shares),
            "before_model": self.before,
            "accuracy": self.accuracy,
            "model_accuracy": self.model_accuracy,
            "kept": self.kept,
            "lost": self.lost,
            "lost_bound": self.lost_bound,
            "cost_us": self.cost_us,
        }


class Trade:
    """The tiers of one bundle over labelled records.

    Args:
        predictor: The bundle; a classification with a model.
        records: The records.
        labels: Their known labels.
        document: ``rules.json``; None where the bundle has none.

    Attributes:
        predictor: The bundle.
        proven: Proven precision of each rule; None for one that stays in any case.
        costs: Tier -> cost, and ``model only``.

    Raises:
        RequestError: There is nothing to trade: no classification, no model, too few records, or no label is known.
        SchemaError: A record breaks the schema.
    """

    def __init__(
        self,
        predictor: Predictor,
        records: Sequence[Mapping[str, Any]],
        labels: Sequence[Any],
        document: Mapping[str, Any] | None = None,
    ) -> None:
        _check(predictor, records, labels)
        self.predictor = predictor
        self._records = records
        self._document = document or {"rules": []}
        self._lists: dict[tuple[int, ...], tuple[RuleList | None, NDArray[np.int32]]] = {}
        known = [label_in(predictor.labels, label) for label in labels]
        self._truth = np.asarray(
            [str(label if found is None else found) for label, found in zip(labels, known, strict=True)], dtype=object
        )
        reader = predictor.reader
        frame = reader.new_frame(len(records))
        reader.read_many(frame, records)
        self._frame = frame
        order = np.random.default_rng(0).permutation(len(records))
        self._halves = (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :]))
        self._model = with_tiers(predictor, rules=None, middle=None)
        self._model_said = self._model.predict_frame(frame).label_list()
        self._model_right = self._right(np.asarray(self._model_said, dtype=object))
        self._scores = self._middle_scores()
        self.proven = self._proven()
        self.costs = self._measured()

    # What is known once

    def _right(self, given: NDArray[Any]) -> NDArray[np.bool_]:
        said = np.asarray([str(label) for label in given], dtype=object)
        right: NDArray[np.bool_] = said == self._truth
        return right

    def _middle_scores(self) -> NDArray[np.float64] | None:
        tier = self.predictor.middle
        if tier is None:
            return None
        return tier.scores_of(tier.lane(), self._frame, np.arange(self._frame.n_rows, dtype=np.int64))

    def _proven(self) -> list[float | None]:
        rules = self._rules()
        matched = self.matched(range(len(rules)))
        chosen = np.zeros(len(self._truth), dtype=bool)
        chosen[self._halves[0]] = True
        proven: list[float | None] = []
        for index, rule in enumerate(rules):
            document = self._document["rules"][index]
            evidence = document.get("evidence")
            lower = evidence.get("lower") if isinstance(evidence, Mapping) else None
            if rule.abstains or document.get("pinned") is True:
                proven.append(None)
            elif isinstance(lower, int | float) and not isinstance(lower, bool):
                proven.append(float(lower))
            else:
                fired = chosen & (matched == index)
                right = int((self._truth[fired] == str(rule.label)).sum())
                proven.append(lower_bound(right, int(fired.sum()), CONFIDENCE))
        return proven

    def _rules(self) -> tuple[Rule, ...]:
        return () if self.predictor.rules is None else tuple(self.predictor.rules.rules)

    def rules_of(self, kept: Sequence[int]) -> tuple[RuleList | None, NDArray[np.int32]]:
        """Some of the rules, in their order.

        Args:
            kept: Their indexes.

        Returns:
            Their list, None where there is none; and which of them answers each record, by its place in the list: -1
            where none does, or one abstains.
        """
        key = tuple(kept)
        if key not in self._lists:
            matched = np.full(self._frame.n_rows, -1, dtype=np.int32)
            rules = None
            if key:
                documents = [self._document["rules"][index] for index in key]
                labels = list(self.predictor.labels)
                whole = {**self._document, "rules": documents}
                rules = RuleList.from_document(whole, self.predictor.schema, labels=labels)
                rules.match(self._frame.capsule, matched)
                abstains = np.array([rule.abstains for rule in rules.rules])
                hit = matched >= 0
                hit[hit] = abstains[matched[hit]]
                matched[hit] = -1
            self._lists[key] = rules, matched
        return self._lists[key]

    def matched(self, kept: Sequence[int]) -> NDArray[np.int32]:
        """Which of some rules answers each record; see ``rules_of``."""
        return self.rules_of(kept)[1]

    def model_answers(self) -> list[Any]:
        """The full model's label of each record, without any other tier."""
        return list(self._model_said)

    # Cost

    def _measured(self) -> dict[str, Cost]:
        """Costs of the tiers; a tier is timed by a variant in which it answers all that it is asked."""
        whole, tier = self.predictor, self.predictor.middle
        by_rule = self.matched(range(len(self._rules()))) >= 0
        left = np.flatnonzero(~by_rule)
        costs = {"model only": self._timed(self._model, np.arange(len(self._records)))}
        costs["rule"] = self._timed(whole, np.flatnonzero(by_rule))
        costs["model"] = self._timed(with_tiers(whole, rules=whole.rules, middle=_with_threshold(tier, NEVER)), left)
        costs["middle"] = (
            Cost(0.0, 0.0, 0)
            if tier is None
            else self._timed(with_tiers(whole, rules=whole.rules, middle=_with_threshold(tier, 0.0)), left)
        )
        return costs

    def _timed(self, predictor: Predictor, rows: NDArray[np.int64]) -> Cost:
        rows = rows[:: max(1, len(rows) // TIMED_RECORDS)][:TIMED_RECORDS]
        if not len(rows):
            return Cost(0.0, 0.0, 0)
        records = [self._records[row] for row in rows]
        for record in records[:20]:
            predictor.predict(record)
        walls: list[int] = []
        cpu = time.thread_time_ns()
        for _ in range(REPEATS):
            for record in records:
                start = time.perf_counter_ns()
                predictor.predict(record)
                walls.append(time.perf_counter_ns() - start)
        cpu = time.thread_time_ns() - cpu
        return Cost(median(walls) / 1e3, cpu / len(walls) / 1e3, len(rows))

    # Points

    def curve(self) -> list[Point]:
        """All points, on the half that chooses; by cut, then from the strictest threshold on."""
        return [self._point(cut, threshold, self._halves[0]) for cut in self.cuts() for threshold in self.thresholds()]

    def cuts(self) -> list[float]:
        """Cuts of the rule list that differ in what they leave: at most 8 of them, then no rule at all."""
        proven = sorted({0.0, *(each for each in self.proven if each is not None)})
        if len(proven) > 8:
            proven = [proven[round(at)] for at in np.linspace(0, len(proven) - 1, 8)]
        return [*proven, 1.1] if any(each is not None for each in self.proven) else [0.0]

    def thresholds(self) -> list[float | None]:
        """Thresholds of the middle tier, None (left out) first."""
        if self._scores is None:
            return [None]
        top = self._scores[self._halves[0]].max(axis=1)
        top = top[np.isfinite(top)]
        if not len(top):
            return [None]
        found = np.unique(np.quantile(top, 1.0 - SHARES, method="higher"))[::-1]
        return [None, *found.tolist()]

    def chosen(
        self, *, accuracy_budget: float | None = None, cost_budget: float | None = None
    ) -> tuple[Point, Point] | None:
        """The point that fits a budget, as the half that chose saw it and as the other half shows it.

        Args:
            accuracy_budget: By how much the accuracy may be below the full model's alone.
            cost_budget: Largest mean cost of an answer, in microseconds.

        Returns:
            None where no point fits.
        """
        points = self.curve()
        if accuracy_budget is not None:
            fit = [each for each in points if each.model_accuracy - each.accuracy <= accuracy_budget]
            best = min(fit, key=lambda each: (each.cost_us, -each.accuracy), default=None)
        else:
            assert cost_budget is not None  # one of the two is given
            fit = [each for each in points if each.cost_us <= cost_budget]
            best = max(fit, key=lambda each: (each.accuracy, -each.cost_us), default=None)
        return None if best is None else (best, self.shown(best.cut, best.threshold))

    def shown(self, cut: float, threshold: float | None) -> Point:
        """A point on the half that chose nothing."""
        return self._point(cut, threshold, self._halves[1])

    @property
    def shown_rows(self) -> NDArray[np.int64]:
        """Numbers of the records that choose nothing."""
        return self._halves[1]

    def kept_rules(self, cut: float) -> list[int]:
        """Indexes of the rules that a cut leaves."""
        return [index for index, proven in enumerate(self.proven) if proven is None or proven >= cut]

    def _point(self, cut: float, threshold: float | None, rows: NDArray[np.int64]) -> Point:
        kept = self.kept_rules(cut)
        rules = [self._rules()[index] for index in kept]
        matched = self.matched(kept)[rows]
        tiers = np.where(matched >= 0, RULE, MODEL)
        right = self._model_right[rows].copy()
        by_rule = matched >= 0
        said = np.asarray([str(rule.label) for rule in rules], dtype=object)
        right[by_rule] = said[matched[by_rule]] == self._truth[rows][by_rule] if len(rules) else False
        if threshold is not None and self._scores is not None:
            scores = self._scores[rows]
            best = np.nan_to_num(scores, nan=-1.0).argmax(axis=1)
            sure = ~by_rule & (scores.max(axis=1) >= threshold)
            tiers[sure] = MIDDLE
            keys = np.asarray(self._keys(), dtype=object)
            right[sure] = keys[best[sure]] == self._truth[rows][sure]
        counts = np.bincount(tiers, minlength=len(TIERS))
        n = len(rows)
        lost = int((self._model_right[rows] & ~right).sum())
        shares = {name: float(counts[code]) / n for code, name in enumerate(TIERS) if code != FALLBACK}
        return Point(
            cut=cut,
            rules=len(kept),
            threshold=threshold,
            records=n,
            shares=shares,
            accuracy=float(right.mean()),
            model_accuracy=float(self._model_right[rows].mean()),
            lost=lost,
            lost_bound=upper_bound(lost, n, CONFIDENCE),
            cost_us=sum(share * self._cost(name, threshold, kept) for name, share in shares.items()),
        )

    def _cost(self, tier: str, threshold: float | None, kept: Sequence[int]) -> float:
        if tier == "model" and threshold is None:
            # Without a middle tier the model costs what it does alone, and a look at the rules if there are any.
            rules = self.costs["rule"].wall_us if kept and self.costs["rule"].records else 0.0
            return min(self.costs["model"].wall_us, self.costs["model only"].wall_us + rules)
        return self.costs[tier].wall_us

    def _keys(self) -> tuple[str, ...]:
        return tuple(map(str, self.predictor.labels))


def _with_threshold(tier: MiddleTier | None, threshold: float) -> MiddleTier | None:
    if tier is None:
        return None
    return MiddleTier(tier.program, tier.session, threshold=threshold, labels=tier.labels)


def _check(predictor: Predictor, records: Sequence[Mapping[str, Any]], labels: Sequence[Any]) -> None:
    name = f"{predictor.name} {predictor.version}"
    if predictor.task != "classification":
        raise RequestError(f"{name}: a {predictor.task} has no label that could be right; tiers need one", code="task")
    if predictor.session.backend == "none":
        raise RequestError(f"{name} has no model that its tiers could be compared with", code="no_model")
    if predictor.middle is None and (predictor.rules is None or not predictor.rules.rules):
        raise RequestError(
            f"{name} has neither rules nor a middle tier, so nothing can be traded; build it with rules or a middle",
            code="no_tiers",
        )
    if len(records) < FEWEST_RECORDS:
        raise RequestError(f"{len(records)} records are too few: give at least {FEWEST_RECORDS}", code="too_few")
    known = list(map(written_label, predictor.labels))
    found = {written_label(label) for label in labels if label is not None}
    if all(label_in(predictor.labels, label) is None for label in found):
        shown = ", ".join(sorted(found)[:3])
        raise RequestError(
            f"none of the labels ({shown}) is one of the bundle's: {', '.join(known[:8])}", code="bad_label"
        )
