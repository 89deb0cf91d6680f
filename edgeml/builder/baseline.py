"""What would a child answer? The pipeline beside a majority vote and the best single rule.

A model that does not beat these is not worth a box. The single rule is Holte's 1R (Machine Learning 11, 1993) in its
plain form: for a category the most frequent label (or mean value) of each level, for a number one split.
Everything is fitted on the reference rows and measured on the held-out rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from edgeml.runtime.reader import Frame
from edgeml.runtime.schema import Feature, Schema

# A level or branch with fewer reference rows than this has no say of its own.
FEWEST_ROWS = 5


@dataclass(frozen=True)
class Baseline:
    """Quality of the simplest answers on the held-out rows.

    Attributes:
        measure: ``accuracy`` (share of labels right) or ``mean absolute error`` (in the target's unit).
        majority: Quality of always answering the most frequent label, or the median.
        one_rule: Quality of the best single rule.
        rule: That rule in words; empty where there is none.
    """

    measure: str
    majority: float
    one_rule: float
    rule: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "measure": self.measure,
            "majority": self.majority,
            "one_rule": self.one_rule,
            "rule": self.rule,
        }


def baseline(
    schema: Schema, train: Frame, y_train: NDArray[Any], held_out: Frame, y_held_out: NDArray[Any], *, classify: bool
) -> Baseline:
    """Fits and measures both.

    Args:
        schema: What the frames hold.
        train: Reference rows.
        y_train: Their n labels, or n values.
        held_out: Rows to measure on.
        y_held_out: Their labels or values.
        classify: Whether the targets are labels.
    """
    constant = _mode(y_train) if classify else float(np.median(y_train))
    majority = _quality(np.full(len(y_held_out), constant), y_held_out, classify)
    best, rule = majority, ""
    fitted: tuple[NDArray[Any], str] | None
    for feature in schema.features:
        slot = schema.slots[feature.name]
        if slot.bank == "category":
            fitted = _by_level(
                feature,
                np.asarray(train.code_column(slot.index)),
                y_train,
                np.asarray(held_out.code_column(slot.index)),
                constant,
                classify,
            )
        elif slot.bank == "number":
            fitted = _one_split(
                feature,
                np.asarray(train.number_column(slot.index)),
                y_train,
                np.asarray(held_out.number_column(slot.index)),
                constant,
                classify,
            )
        else:
            continue
        if fitted is None:
            continue
        quality = _quality(fitted[0], y_held_out, classify)
        if quality > best if classify else quality < best:
            best, rule = quality, fitted[1]
    return Baseline("accuracy" if classify else "mean absolute error", majority, best, rule)


def _mode(y: NDArray[Any]) -> Any:
    values, counts = np.unique(y, return_counts=True)
    return values[counts.argmax()]


def _quality(answers: NDArray[Any], y: NDArray[Any], classify: bool) -> float:
    if classify:
        return float(np.mean(answers == y))
    return float(np.mean(np.abs(answers - y)))


def _by_level(
    feature: Feature,
    codes: NDArray[np.int32],
    y: NDArray[Any],
    held_out: NDArray[np.int32],
    constant: Any,
    classify: bool,
) -> tuple[NDArray[Any], str]:
    answers = np.full(len(held_out), constant, dtype=y.dtype if classify else np.float64)
    words = []
    for code, level in enumerate(feature.levels or []):
        of_level = y[codes == code]
        if len(of_level) < FEWEST_ROWS:
            continue
        answer = _mode(of_level) if classify else float(np.median(of_level))
        answers[held_out == code] = answer
        words.append(f"{level} -> {answer if classify else format(answer, '.6g')}")
    shown = ", ".join(words[:6]) + (", ..." if len(words) > 6 else "")
    return answers, f"by {feature.name}: {shown}"


def _one_split(
    feature: Feature,
    values: NDArray[np.float64],
    y: NDArray[Any],
    held_out: NDArray[np.float64],
    constant: Any,
    classify: bool,
) -> tuple[NDArray[Any], str] | None:
    known = ~np.isnan(values)
    if known.sum() < 2 * FEWEST_ROWS:
        return None
    stump_class = DecisionTreeClassifier if classify else DecisionTreeRegressor
    stump = stump_class(max_depth=1, min_samples_leaf=FEWEST_ROWS, random_state=0)
    stump.fit(values[known].reshape(-1, 1), y[known])
    if stump.tree_.node_count < 3:
        return None
    answers = np.full(len(held_out), constant, dtype=y.dtype if classify else np.float64)
    asked = ~np.isnan(held_out)
    if asked.any():
        answers[asked] = stump.predict(held_out[asked].reshape(-1, 1))
    threshold = float(stump.tree_.threshold[0])
    low, high = stump.predict(np.array([[threshold - abs(threshold) - 1.0], [threshold + abs(threshold) + 1.0]]))
    shape = "{}" if classify else "{:.6g}"
    return answers, f"{feature.name} <= {threshold:.6g} -> {shape.format(low)}, else {shape.format(high)}"
