"""What is compared when parity is checked, and what is said about it.

1. Labels: no flip. Two kinds of rows have no right label and are counted as a ``tie``: those whose two best scores are
   exactly equal in scikit-learn, and those on which the pipeline contradicts itself: asked for the very same numbers
   alone instead of in a batch, or in float64 instead of float32, it gives the label that the bundle gave. Any other
   gap counts, however small.
2. Probabilities: |difference| <= tolerance. Decisions and values, which have a scale of their own: |difference| <=
   tolerance * max(1, |expected|).
3. Where scikit-learn itself gives no finite number, the bundle must fall back, or give the same label: ``undefined``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.export import plain_label
from edgeml.builder.parity_rows import ParityRows
from edgeml.errors import BuildError, ParityError
from edgeml.runtime.outputs import Outputs
from edgeml.runtime.prediction import MODEL, TIERS, Prediction, PredictionBatch

WORST_ROWS = 5
SHOWN_FEATURES = 8


@dataclass(frozen=True)
class Answers:
    """Answers to n rows.

    Attributes:
        labels: Index of each label, -1 where there is no answer; None for a regression.
        scores: Scores [n, k]; None where there are none.
        values: Values [n, m]; None unless a regression.
        relative: Whether the scores are decisions, compared relative to their size.
        unanswered: Row -> tier and reason, where the bundle's model gave no answer.
    """

    labels: NDArray[np.int64] | None = None
    scores: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None
    relative: bool = False
    unanswered: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        for part in (self.labels, self.values, self.scores):
            if part is not None:
                return len(part)
        return 0

    def rows(self, chosen: NDArray[np.int64]) -> Answers:
        """Some of the rows."""
        return Answers(
            labels=None if self.labels is None else self.labels[chosen],
            scores=None if self.scores is None else self.scores[chosen],
            values=None if self.values is None else self.values[chosen],
            relative=self.relative,
            unanswered={at: self.unanswered[row] for at, row in enumerate(chosen.tolist()) if row in self.unanswered},
        )


@dataclass(frozen=True)
class ParityReport:
    """What came of the comparison.

    Attributes:
        rows: Kind of row -> how many were compared.
        flips: Labels that differ.
        ties: Rows that have no right label in scikit-learn (see above) and whose labels differ.
        undefined: Rows for which scikit-learn gives no finite number.
        refused: Rows left out because the schema or the pipeline refuses them.
        max_difference: Largest difference, in the measure of the tolerance.
        tolerance: What is allowed.
        worst: The rows with a flip or the largest differences, JSON-ready.
    """

    rows: dict[str, int]
    flips: int
    ties: int
    undefined: int
    refused: int
    max_difference: float
    tolerance: float
    worst: list[dict[str, Any]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the bundle may be built."""
        return self.flips == 0 and self.max_difference <= self.tolerance

    def summary(self) -> dict[str, Any]:
        """The figures for the bundle's config; the largest difference is None where there is no finite one."""
        return {
            "rows": sum(self.rows.values()),
            "kinds": dict(sorted(self.rows.items())),
            "flips": self.flips,
            "ties": self.ties,
            "undefined": self.undefined,
            "refused": self.refused,
            "max_difference": self.max_difference if np.isfinite(self.max_difference) else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return self.summary() | {"tolerance": self.tolerance, "worst": self.worst}

    def sentence(self, who: str = "pipeline") -> str:
        """What is wrong, with the worst row."""
        text = (
            f"the bundle answers differently from the {who} on {sum(self.rows.values())} rows: {self.flips} labels "
            f"differ, largest difference {self.max_difference:.3g} (allowed: no label, {self.tolerance:g})"
        )
        shown = [
            f"{row['kind']} row {_brief(row['record'])}: expected {row['expected']}, got {row['got']}"
            for row in self.worst[:3]
        ]
        return text + ("; worst: " + "; ".join(shown) if shown else "")

    def require(self, who: str = "pipeline") -> ParityReport:
        """The report itself, if it has passed.

        Args:
            who: What the bundle was compared with.

        Raises:
            ParityError: It has not; names the worst rows.
        """
        if not self.passed:
            raise ParityError(self.sentence(who), report=self.to_dict())
        return self


def _brief(record: Any) -> str:
    """A record with its first features; the report has all of them."""
    if not isinstance(record, dict) or len(record) <= SHOWN_FEATURES:
        return str(record)
    first = ", ".join(f"{name!r}: {value!r}" for name, value in list(record.items())[:SHOWN_FEATURES])
    return f"{{{first}, ... {len(record) - SHOWN_FEATURES} more}}"


def check_parity(
    expected: Answers,
    got: Answers,
    *,
    tolerance: float = 1e-5,
    rows: ParityRows | None = None,
    labels: Sequence[Any] | None = None,
    refused: int = 0,
    otherwise: Sequence[Answers] = (),
) -> ParityReport:
    """Compares answers.

    Args:
        expected: scikit-learn's.
        got: The bundle's.
        otherwise: scikit-learn's to the same numbers, asked in other ways.
        tolerance: Largest difference allowed.
        rows: The records and their kinds, for the report.
        labels: The labels, for the report.
        refused: Rows that were left out.
    """
    n = len(expected)
    if len(got) != n:
        raise BuildError(f"parity: {n} rows were asked, {len(got)} were answered")
    kinds = rows.kinds if rows is not None else ["held_out"] * n
    undefined = _not_finite(expected)
    answered = ~_not_finite(got)
    if got.labels is not None:
        answered &= got.labels >= 0
    differing = np.zeros(n, dtype=bool)
    if expected.labels is not None and got.labels is not None:
        differing = (expected.labels != got.labels) & ~(undefined & ~answered)
    ties = differing & _tied(expected, got)
    for again in otherwise:
        if again.labels is not None:
            ties |= differing & (again.labels == got.labels)
    flips = differing & ~ties
    difference = _difference(expected, got)
    difference[undefined] = 0.0
    difference[~undefined & ~answered] = np.inf
    # The flips first, then by the size of the difference.
    order = np.lexsort((-difference, ~flips))
    worst = [row for row in order[:WORST_ROWS].tolist() if flips[row] or difference[row] > 0]
    return ParityReport(
        rows=dict(Counter(kinds)),
        flips=int(flips.sum()),
        ties=int(ties.sum()),
        undefined=int(undefined.sum()),
        refused=refused,
        max_difference=float(difference.max(initial=0.0)),
        tolerance=tolerance,
        worst=[
            {
                "kind": kinds[row],
                "record": rows.records[row] if rows is not None else row,
                "expected": _shown(expected, row, labels),
                "got": _shown(got, row, labels),
                "difference": float(difference[row]) if np.isfinite(difference[row]) else None,
                "flip": bool(flips[row]),
            }
            for row in worst
        ],
    )


def _not_finite(answers: Answers) -> NDArray[np.bool_]:
    bad = np.zeros(len(answers), dtype=bool)
    for part in (answers.scores, answers.values):
        if part is not None:
            bad |= ~np.isfinite(part).all(axis=1)
    return bad


def _tied(expected: Answers, got: Answers) -> NDArray[np.bool_]:
    """Rows where the label that came has exactly the score of the label that was expected."""
    if expected.scores is None or expected.labels is None or got.labels is None:
        return np.zeros(len(expected), dtype=bool)
    row = np.arange(len(expected))
    at_got = expected.scores[row, np.maximum(got.labels, 0)]
    known = (got.labels >= 0) & (expected.labels >= 0)
    tied: NDArray[np.bool_] = known & (at_got == expected.scores[row, expected.labels])
    return tied


def _difference(expected: Answers, got: Answers) -> NDArray[np.float64]:
    """The largest difference of each row, in the measure of the tolerance."""
    result = np.zeros(len(expected))
    for want, have, relative in (
        (expected.scores, got.scores, expected.relative),
        (expected.values, got.values, True),
    ):
        if want is None or have is None or want.shape[1] == 0:
            continue
        if want.shape != have.shape:
            raise BuildError(f"parity: expected scores or values of shape {want.shape}, got {have.shape}")
        with np.errstate(invalid="ignore", over="ignore"):
            delta = np.abs(want - have)
            if relative:
                delta = delta / np.maximum(1.0, np.abs(want))
        result = np.maximum(result, np.nan_to_num(delta, nan=0.0, posinf=np.inf).max(axis=1))
    return result


def _shown(answers: Answers, row: int, labels: Sequence[Any] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if answers.labels is not None:
        index = int(answers.labels[row])
        shown["label"] = None if index < 0 else labels[index] if labels is not None else index
    for name, part in (("scores", answers.scores), ("values", answers.values)):
        if part is not None:
            shown[name] = [value if np.isfinite(value) else None for value in part[row].tolist()]
    # Nothing but the reason tells why there is no label: a model that cannot run at all looks like one that is wrong.
    return {"answered_by": answers.unanswered[row]} if row in answers.unanswered else shown


# The pipeline's side


def pipeline_answers(pipeline: Any, table: Any, outputs: Outputs) -> Answers:
    """scikit-learn's answers in the form of the bundle's outputs.

    Args:
        pipeline: The fitted pipeline.
        table: Rows of the training data's form.
        outputs: How the bundle answers.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        predicted = np.asarray(pipeline.predict(table))
        if outputs.labels is None:
            return Answers(values=predicted.astype(np.float64).reshape(len(predicted), -1))
        position = {plain_label(label): index for index, label in enumerate(outputs.labels)}
        # A label that is none of the bundle's (such as a label for outliers) gets -1, which no answer equals.
        labels = np.array([position.get(plain_label(label), -1) for label in predicted], dtype=np.int64)
        if outputs.scores is None:
            return Answers(labels=labels)
        if outputs.scores == "probability":
            return Answers(labels=labels, scores=np.asarray(pipeline.predict_proba(table), dtype=np.float64))
        decision = np.asarray(pipeline.decision_function(table), dtype=np.float64)
        if decision.ndim == 1 or decision.shape[1] == 1:
            decision = np.column_stack([-decision.reshape(-1), decision.reshape(-1)])
        return Answers(labels=labels, scores=decision, relative=True)


# The bundle's side


def batch_answers(batch: PredictionBatch, *, relative: bool = False) -> Answers:
    """A batch's arrays as answers; a row that the model did not answer has label -1 and NaN."""
    by_model = batch.tiers == MODEL
    labels = scores = values = None
    if batch.label_index is not None:
        labels = np.where(by_model, batch.label_index, -1).astype(np.int64)
    if batch.scores is not None:
        scores = np.where(by_model[:, None], batch.scores.astype(np.float64), np.nan)
    if batch.values is not None:
        values = np.where(by_model[:, None], batch.values.astype(np.float64).reshape(len(batch), -1), np.nan)
    others = np.flatnonzero(~by_model).tolist()
    unanswered = {row: _unanswered(TIERS[batch.tiers[row]], batch.reasons.get(row)) for row in others}
    return Answers(labels, scores, values, relative, unanswered)


def single_answer(answer: Prediction, outputs: Outputs) -> Answers:
    """One Prediction as answers; a row that the model did not answer has label -1 and NaN."""
    by_model = answer.tier == "model"
    unanswered = {} if by_model else {0: _unanswered(answer.tier, answer.reason)}
    if outputs.labels is None:
        width = outputs.n_values or 1
        given = answer.value if isinstance(answer.value, list) else [answer.value]
        values = np.array([given if by_model else [np.nan] * width], dtype=np.float64)
        return Answers(values=values, unanswered=unanswered)
    index = outputs.labels.index(answer.label) if by_model and answer.label is not None else -1
    scores = None
    if outputs.scores is not None:
        keyed = (answer.scores or {}) if by_model else {}
        scores = np.array([[keyed.get(str(label), np.nan) for label in outputs.labels]], dtype=np.float64)
    relative = outputs.scores == "decision"
    return Answers(np.array([index], dtype=np.int64), scores, relative=relative, unanswered=unanswered)


def _unanswered(tier: str, reason: str | None) -> str:
    return f"{tier}: {reason}" if reason else tier


def joined(parts: Sequence[Answers]) -> Answers:
    """Answers to several lots of rows, one after the other."""

    def stack(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    unanswered: dict[int, str] = {}
    start = 0
    for part in parts:
        unanswered |= {start + row: said for row, said in part.unanswered.items()}
        start += len(part)
    return Answers(stack("labels"), stack("scores"), stack("values"), parts[0].relative, unanswered)
