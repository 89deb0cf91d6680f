"""Which rows become golden rows: few, and those that would notice a difference first.

1. Edge cases that parity has made up and that passed it, some of each kind: both sides of a decision, missing values,
   unseen levels, extreme numbers.
2. Of the held-out rows, in this order, until there are enough: one row for each rule that fires, rows on both sides of
   the threshold of the middle tier, the rows nearest to a decision between two labels, rows with missing values or
   unseen levels, the smallest and the largest value of each numeric feature, then rows spread over the labels (or over
   the range of the values).
3. Never a row whose best labels are closer together than scores may differ, or that is so close to the threshold of the
   middle tier: another processor may rightly answer it with the other label, or by the other tier.

The answers are those of the very Predictor that was found equal to the pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.runtime.prediction import MIDDLE, MODEL, Prediction, PredictionBatch
from edgeml.runtime.reader import Frame
from edgeml.runtime.schema import Schema

GOLDEN_ROWS = 48
EDGE_CASES = 20
# Kinds of parity_rows, the most telling first; each gets its turn until there are enough.
EDGE_KINDS = ("boundary", "missing", "unseen", "edge", "split", "jitter")


def choose_edge_cases(
    kinds: Sequence[str], answers: PredictionBatch, *, tolerance: float, threshold: float = 0.0
) -> list[int]:
    """Picks edge cases that the model answers, each kind in turn.

    Args:
        kinds: Kind of each candidate.
        answers: The bundle's answers to them.
        tolerance: Largest difference of a score.
        threshold: That of the middle tier, where there is one.

    Returns:
        Row numbers, rising; at most ``EDGE_CASES``.
    """
    learnt = (answers.tiers == MODEL) | (answers.tiers == MIDDLE)
    usable = learnt & certain(answers, tolerance=tolerance, threshold=threshold)
    if answers.labels and answers.scores is None:
        # Nothing says how near the other label is; on the border it is as near as can be.
        usable &= np.array([kind != "boundary" for kind in kinds], dtype=bool)
    key = np.array(
        [EDGE_KINDS.index(kind) if kind in EDGE_KINDS else len(EDGE_KINDS) for kind in kinds], dtype=np.int64
    )
    rows = np.flatnonzero(usable)
    return sorted(rows[_spread(key[rows])[:EDGE_CASES]].tolist())


def certain(answers: PredictionBatch, *, tolerance: float, threshold: float) -> NDArray[np.bool_]:
    """Which rows any processor answers with the same label and tier.

    Args:
        answers: The bundle's answers.
        tolerance: Largest difference of a score.
        threshold: That of the middle tier, where there is one.
    """
    sure: NDArray[np.bool_] = np.minimum(_gaps(answers), _margins(answers, threshold)) > 2 * tolerance
    return sure


def choose(
    schema: Schema,
    frame: Frame,
    answers: PredictionBatch,
    *,
    tolerance: float,
    wanted: int = GOLDEN_ROWS,
    threshold: float = 0.0,
) -> list[int]:
    """Picks held-out rows.

    Args:
        schema: What the frame holds.
        frame: The held-out rows.
        answers: The bundle's answers to them.
        tolerance: Largest difference of a score.
        wanted: How many rows at the most.
        threshold: That of the middle tier, where there is one.

    Returns:
        Row numbers, rising.
    """
    quarter = max(1, wanted // 4)
    gaps = _gaps(answers)
    margins = _margins(answers, threshold)
    unsure = ~certain(answers, tolerance=tolerance, threshold=threshold)
    chosen: dict[int, None] = {}

    def take(rows: Iterable[int], limit: int) -> None:
        room = min(limit, wanted - len(chosen))
        for row in rows:
            if room <= 0:
                return
            if row not in chosen and not unsure[row]:
                chosen[row] = None
                room -= 1

    take(_first_of_each(answers.rule_index), quarter)
    by_margin = np.argsort(margins, kind="stable")[: np.isfinite(margins).sum()]
    for tier in (MIDDLE, MODEL):
        take(by_margin[answers.tiers[by_margin] == tier].tolist(), max(1, quarter // 2))
    take(np.argsort(gaps, kind="stable")[: np.isfinite(gaps).sum()].tolist(), quarter)
    take(_with_holes(schema, frame), quarter)
    take(_extremes(schema, frame), quarter)
    key = answers.label_index if answers.label_index is not None else _tenths(answers)
    take(_spread(key), wanted)
    return sorted(chosen)


def _gaps(answers: PredictionBatch) -> NDArray[np.float64]:
    """Between the two largest scores of each row; infinite where there are none."""
    gaps = np.full(len(answers), np.inf)
    for scores, tier in ((answers.scores, MODEL), (answers.middle_scores, MIDDLE)):
        if scores is not None and scores.shape[1] > 1:
            scored = np.isfinite(scores).all(axis=1) & (answers.tiers == tier)
            ordered = np.sort(scores[scored].astype(np.float64), axis=1)
            gaps[scored] = ordered[:, -1] - ordered[:, -2]
    return gaps


def _margins(answers: PredictionBatch, threshold: float) -> NDArray[np.float64]:
    """Between the middle tier's largest score and its threshold, on either side; infinite where it was not asked."""
    margins = np.full(len(answers), np.inf)
    if answers.middle_scores is not None:
        scored = np.isfinite(answers.middle_scores).all(axis=1)
        margins[scored] = np.abs(answers.middle_scores[scored].max(axis=1) - threshold)
    return margins


def document(records: Sequence[Mapping[str, Any]], answers: Sequence[Prediction], keys: Sequence[str]) -> bytes:
    """The member ``golden.jsonl``: one record with its expected answer a line."""
    lines = []
    for record, answer in zip(records, answers, strict=True):
        expected: dict[str, Any] = {"tier": answer.tier}
        if answer.label is not None:
            expected["label"] = answer.label
        if answer.value is not None:
            expected["value"] = answer.value
        if answer.tier in ("model", "middle") and answer.scores is not None:
            expected["scores"] = [answer.scores[key] for key in keys if key in answer.scores]
        lines.append(
            json.dumps({"record": dict(record), "expected": expected}, ensure_ascii=False, separators=(",", ":"))
        )
    return "".join(line + "\n" for line in lines).encode()


def _first_of_each(rule_index: NDArray[np.int32]) -> list[int]:
    values, first = np.unique(rule_index, return_index=True)
    return [int(row) for value, row in zip(values, first, strict=True) if value >= 0]


def _with_holes(schema: Schema, frame: Frame) -> list[int]:
    holed = np.zeros(frame.n_rows, dtype=np.int64)
    for slot in schema.slots.values():
        if slot.bank == "number":
            holed += np.isnan(np.asarray(frame.number_column(slot.index)))
        elif slot.bank == "category":
            holed += np.asarray(frame.code_column(slot.index)) < 0
    rows = np.flatnonzero(holed)
    # Rows with few holes first: with many, one missing value hides what another does.
    order: list[int] = rows[np.argsort(holed[rows], kind="stable")].tolist()
    return order


def _extremes(schema: Schema, frame: Frame) -> list[int]:
    rows = []
    for slot in schema.slots.values():
        if slot.bank != "number":
            continue
        values = np.asarray(frame.number_column(slot.index))
        if not np.isnan(values).all():
            rows += [int(np.nanargmin(values)), int(np.nanargmax(values))]
    return rows


def _tenths(answers: PredictionBatch) -> NDArray[np.int64]:
    values = np.asarray(answers.values, dtype=np.float64).reshape(len(answers), -1)[:, 0]
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return rank * 10 // max(1, len(values))


def _spread(key: NDArray[np.int64]) -> list[int]:
    """Row numbers that visit the keys in turn."""
    position = np.zeros(len(key), dtype=np.int64)
    for value in np.unique(key):
        of_value = np.flatnonzero(key == value)
        position[of_value] = np.arange(len(of_value))
    order: list[int] = np.lexsort((key, position)).tolist()
    return order
