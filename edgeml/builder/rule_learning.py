"""Learns an ordered list of rules whose precision is guaranteed.

1. Rows are split, stratified by label, into growing and proving rows. Everything is fixed on the growing rows: which
   literals there are, conjunctions, cards, points, thresholds and order.
2. Short conjunctions first, label by label (``rule_growing``), then one scorecard after the other
   (``scorecard_learning``), each grown on the growing rows that are left.
3. A candidate joins the list where the growing rows say that the proving rows will probably prove it: a candidate that
   cannot be proven makes the bound of all others harder.
4. The proving rows are asked once, and decide which candidates are proven (``rule_proof``).
5. The same rows, options and seed give the same list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.rule_fingerprint import rule_id
from edgeml.builder.rule_growing import Part, grow_conjunction, rows_of, words_of
from edgeml.builder.rule_literals import Literals, literals_of
from edgeml.builder.rule_proof import TESTED, lower_bound, p_value, proven, rows_needed, upper_bound
from edgeml.builder.scorecard_learning import Card, fit_card, held_out_scores
from edgeml.errors import BuildError
from edgeml.runtime.prediction import Label
from edgeml.runtime.reader import Frame
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

# Standard deviations below what the growing rows say: a rule that is tried and fails costs the rows it would answer.
_CAUTION = 1.0
_CAUTION_OF_SHORT = 1.5


@dataclass(frozen=True)
class LearnOptions:
    """How rules are learned.

    Attributes:
        target: The precision that every rule is to have.
        confidence: How sure it is to be that all have it.
        aim: The precision that rules are grown for; None lies halfway between the target and 1.
        max_rules: Most rules of the list, guards included.
        max_conditions: Most conditions of a conjunction; 0 grows none.
        max_points: Most conditions of a scorecard; 0 makes none.
        proving: Share of the rows that prove and are not used for growing.
        phrases: Whether two words that follow each other may be a condition.
        veto: Features, words and conditions that must not be used.
        seed: Of the split and the folds.
    """

    target: float = 0.95
    confidence: float = 0.95
    aim: float | None = None
    max_rules: int = 40
    max_conditions: int = 3
    max_points: int = 20
    proving: float = 0.4
    phrases: bool = False
    veto: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("target", self.target), ("confidence", self.confidence), ("proving", self.proving)):
            if not _is_number(value) or not 0 < value < 1:
                raise BuildError(f"rules: {name} {value!r} must be a number above 0 and below 1")
        if self.aim is not None and not (_is_number(self.aim) and self.target <= self.aim < 1):
            raise BuildError(f"rules: aim {self.aim!r} must be at least the target {self.target} and below 1")
        for name, count in (
            ("max_rules", self.max_rules),
            ("max_conditions", self.max_conditions),
            ("max_points", self.max_points),
            ("seed", self.seed),
        ):
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise BuildError(f"rules: {name} {count!r} must be a whole number that is not negative")
        if not isinstance(self.phrases, bool):
            raise BuildError(f"rules: phrases {self.phrases!r} must be true or false")

    @property
    def grown_for(self) -> float:
        """The precision that rules are grown for."""
        return (1 + self.target) / 2 if self.aim is None else self.aim

    @property
    def alpha(self) -> float:
        """How likely the promise may be broken."""
        return 1 - self.confidence


@dataclass(frozen=True)
class Candidate:
    """A rule before it is proven.

    Attributes:
        when: Its condition.
        label: Index of its label.
        kind: ``conjunction`` or ``scorecard``.
        conditions: How many conditions it has.
        rows: Where the condition is true, over all rows.
        lines: The condition in pieces for people to read, to be joined by spaces.
    """

    when: str
    label: int
    kind: str
    conditions: int
    rows: NDArray[np.bool_]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What the proving rows say of one candidate.

    Attributes:
        rows: How many lie in its region.
        right: How many of these have its label.
        p: The exact p-value.
        lower: The lower bound of its precision; all lower bounds hold together with the stated confidence.
        interval: Its precision's two-sided Clopper-Pearson interval, looked at alone.
        agreement: Share of the rows on which the model gives the same label; None without a model.
        coverage: Share of all proving rows.
        proven: Whether the target is proven.
    """

    rows: int
    right: int
    p: float
    lower: float
    interval: tuple[float, float]
    agreement: float | None
    coverage: float
    proven: bool


@dataclass(frozen=True)
class Learned:
    """The outcome.

    Attributes:
        candidates: All that were tried, in order.
        proofs: One for each.
        growing: The growing rows.
        proving: The proving rows that no kept rule answers, and the others.
        unproven: Label index -> how many more rows would probably be needed, or None where nobody knows.
    """

    candidates: tuple[Candidate, ...]
    proofs: tuple[Proof, ...]
    growing: NDArray[np.int64]
    proving: NDArray[np.int64]
    unproven: dict[int, int | None] = field(default_factory=dict)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def split_rows(truth: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Growing and proving rows, stratified by label."""
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(np.flatnonzero(truth == label)) for label in np.unique(truth)])
    steps = np.floor(np.arange(1, len(order) + 1) * share)
    proves = np.diff(steps, prepend=0.0) > 0
    return np.sort(order[~proves]), np.sort(order[proves])


def learn_rules(
    schema: Schema,
    frame: Frame,
    truth: NDArray[np.int64],
    labels: Sequence[Label],
    *,
    options: LearnOptions,
    model: NDArray[np.int64] | None = None,
    answered: NDArray[np.bool_] | None = None,
    split: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Learned:
    """Learns a list.

    Args:
        schema: What a record looks like.
        frame: All rows.
        truth: The known answer of each, as an index into the labels.
        labels: The labels.
        options: How.
        model: The model's answers, likewise, for the agreement that is told of each rule. They do not choose rules: a
            model that was fitted on the proving rows knows their labels, and what it chose could not be proven on them.
        answered: Rows that rules before the list answer or abstain on.
        split: Growing and proving rows, chosen without a look at how they turn out; default ``split_rows``. Rows that
            are neither have no part in it.
    """
    growing, proving = split_rows(truth, options.proving, options.seed) if split is None else split
    literals = literals_of(schema, frame, growing, veto=options.veto, phrases=options.phrases)
    before = np.zeros(len(truth), dtype=bool) if answered is None else answered
    grower = _Grower(literals, truth, growing[~before[growing]], labels, options)
    grower.conjunctions()
    grower.cards()
    candidates = tuple(grower.candidates)
    answering = _answering(candidates, schema, frame, labels, before)
    proofs = _proofs(candidates, answering, truth, model, proving, options)
    return Learned(candidates, proofs, growing, proving, grower.missed)


class _Grower:
    """Candidates, one after the other, on growing rows alone."""

    def __init__(
        self,
        literals: Literals,
        truth: NDArray[np.int64],
        growing: NDArray[np.int64],
        names: Sequence[Label],
        options: LearnOptions,
    ) -> None:
        self.literals = literals
        self.names = names
        self.truth = truth
        self.taught = truth
        self.options = options
        self.left = growing
        self.matrix = literals.matrix.tocsr()
        self.candidates: list[Candidate] = []
        self.narrow = 0
        self.missed: dict[int, int | None] = {}
        # Growing rows -> proving rows.
        self.ratio = options.proving / (1 - options.proving)
        self.labels = [label for label in range(len(names)) if (self.taught[growing] == label).any()]
        self.fewest = self.needed(self.share)

    @property
    def share(self) -> float:
        """What of alpha a candidate is expected to be judged with: Holm's test leaves it to those that barely pass."""
        return self.options.alpha * TESTED / (2 + self.narrow)

    def needed(self, alpha: float) -> int:
        rows = rows_needed(self.options.target, alpha)
        assert rows is not None
        return max(1, math.ceil(rows / self.ratio))

    def provable(self, rows: float, right: float, caution: float = _CAUTION) -> bool:
        """Whether the proving rows will probably prove a rule that is right on so many of so many growing rows."""
        expected = math.floor(rows * self.ratio)
        if expected < 1:
            return False
        # Less a part of a standard deviation, so that most are proven.
        share = min(1.0, right / rows)
        some = math.floor(expected * share - caution * math.sqrt(expected * share * (1 - share)))
        return p_value(expected, some, self.options.target) <= self.share

    def refused(self, when: str, label: int) -> bool:
        """Whether a veto names the rule, by its condition or its id."""
        if not self.options.veto:
            return False
        return bool({when, rule_id(when, self.names[label])} & set(self.options.veto))

    def full(self) -> bool:
        return len(self.candidates) >= self.options.max_rules

    def add(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        here = self.left[candidate.rows[self.left]]
        expected = math.floor(len(here) * self.ratio)
        share = float((self.taught[here] == candidate.label).mean()) if len(here) else 0.0
        self.narrow += p_value(expected, math.floor(expected * share), self.options.target) > self.options.alpha / 50
        self.left = self.left[~candidate.rows[self.left]]

    def conjunctions(self) -> None:
        options = self.options
        if not options.max_conditions or not len(self.literals.items):
            return
        inner = np.random.default_rng(options.seed + 1)
        looked = np.zeros(len(self.truth), dtype=bool)
        looked[self.left[inner.random(len(self.left)) < 0.6]] = True
        for label in sorted(self.labels, key=lambda label: (-int((self.truth[self.left] == label).sum()), label)):
            ignored = np.zeros(len(self.truth), dtype=bool)
            for _ in range(options.max_rules):
                if self.full():
                    return
                rows = self.left[looked[self.left] & ~ignored[self.left]]
                found = grow_conjunction(
                    self.literals,
                    rows,
                    self.taught[rows] == label,
                    aim=options.grown_for,
                    longest=options.max_conditions,
                    min_rows=max(5, math.ceil(self.fewest * 0.5)),
                )
                if found is None:
                    break
                region = rows_of(self.literals, found)
                judged = self.left[region[self.left] & ~looked[self.left]]
                right = float((self.taught[judged] == label).sum())
                n_all = int(region[self.left].sum())
                share = right / (len(judged) + 0.5)
                refused = self.refused(words_of(self.literals, found), label)
                if (
                    not refused
                    and share >= options.grown_for - 0.01
                    and self.provable(n_all, share * n_all, _CAUTION_OF_SHORT)
                ):
                    self.add(Candidate(words_of(self.literals, found), label, "conjunction", len(found), region))
                else:
                    ignored |= region

    def cards(self) -> None:
        options = self.options
        if not options.max_points:
            return
        open_labels = list(self.labels)
        scored: dict[int, tuple[int, float]] = {}
        while open_labels and not self.full():
            for label in list(open_labels):
                found = self.promising(label)
                if found is None:
                    open_labels.remove(label)
                    scored.pop(label, None)
                else:
                    scored[label] = found
            if not scored:
                return
            best = max(sorted(scored), key=lambda label: scored[label][0])
            card = fit_card(self.matrix[self.left], self.taught[self.left] == best, options.max_points, options.seed)
            _, logit = scored.pop(best)
            made = None if card is None else self.of_card(card, logit, best)
            if made is None or self.refused(made.when, best) or not made.rows[self.left].any():
                open_labels.remove(best)
            else:
                self.add(made)

    def promising(self, label: int) -> tuple[int, float] | None:
        """How many growing rows a card for the label would answer, and from which score on."""
        truth = self.taught[self.left] == label
        if truth.sum() < self.fewest:
            self.missed[label] = self.fewest - int(truth.sum())
            return None
        scores = held_out_scores(self.matrix[self.left], truth, self.options.max_points, self.options.seed)
        order = np.argsort(-scores, kind="stable")
        right = np.cumsum(truth[order])
        # Rows for which no card could be made come last, and have no score.
        some = scores[order][np.isfinite(scores[order])]
        last = np.flatnonzero(np.diff(some, append=-np.inf) < 0)
        for at in last[::-1].tolist():
            rows = at + 1
            if right[at] / (rows + 1) >= self.options.grown_for and self.provable(rows, float(right[at])):
                following = scores[order[rows]] if rows < len(order) else -np.inf
                here = scores[order[at]]
                middle = (here + following) / 2 if np.isfinite(following) else here
                return rows, float(middle)
        self.missed[label] = None
        return None

    def of_card(self, card: Card, logit: float, label: int) -> Candidate:
        points, threshold = card.points, card.threshold(logit)
        region = np.asarray(self.matrix[:, card.columns] @ points) >= threshold
        order = np.argsort(-points, kind="stable").tolist()
        told = [f"{points[at]} if {self.literals.items[card.columns[at]].text}" for at in order]
        lines = ("points(", *(f"{part}," for part in told[:-1]), told[-1], f") >= {threshold}")
        return Candidate(" ".join(lines), label, "scorecard", len(points), region, lines)


def _answering(
    candidates: Sequence[Candidate], schema: Schema, frame: Frame, labels: Sequence[Label], before: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Which candidate answers each row, as a box finds it: by the compiled list; -1 where none does."""
    documents = [{"when": candidate.when, "then": {"label": labels[candidate.label]}} for candidate in candidates]
    found = np.full(frame.n_rows, -1, dtype=np.int32)
    RuleList.from_document({"rules": documents}, schema, labels).match(frame.capsule, found)
    found[before] = -1
    return found


def _proofs(
    candidates: Sequence[Candidate],
    answering: NDArray[np.int32],
    truth: NDArray[np.int64],
    model: NDArray[np.int64] | None,
    proving: NDArray[np.int64],
    options: LearnOptions,
) -> tuple[Proof, ...]:
    counted: list[tuple[int, int, float | None]] = []
    for number, candidate in enumerate(candidates):
        here = proving[answering[proving] == number]
        right = int((truth[here] == candidate.label).sum())
        agreed = float((model[here] == candidate.label).mean()) if model is not None and len(here) else None
        counted.append((len(here), right, agreed))
    p_values = [p_value(rows, right, options.target) for rows, right, _ in counted]
    passed = proven(p_values, options.alpha * TESTED)
    even = options.alpha * (1 - TESTED) / max(1, len(candidates))
    alone = options.alpha / 2
    return tuple(
        Proof(
            rows=rows,
            right=right,
            p=p,
            lower=max(lower_bound(rows, right, even), options.target if good else 0.0),
            interval=(lower_bound(rows, right, alone), upper_bound(rows, right, alone)),
            agreement=agreed,
            coverage=rows / max(1, len(proving)),
            proven=good,
        )
        for (rows, right, agreed), p, good in zip(counted, p_values, passed, strict=True)
    )


__all__ = ["Candidate", "LearnOptions", "Learned", "Part", "Proof", "learn_rules", "split_rows"]
