"""The drift reference: what the training data and the model's answers on it looked like, in counts.

1. Everything is an integer count over fixed bins, so that a box counts in constant memory and fleets merge by addition.
2. A number has at most 32 quantile bins of the reference, plus underflow and overflow; missing values are counted
   apart. Mean and M2 (sum of squared deviations, merged by Chan's formula) stand beside them.
3. A category has its at most 64 most frequent levels, then ``other``; unseen and missing are counted apart.
4. A text has a histogram of its length in bytes (powers of two) and the count of empty ones.
5. The answers have label counts, counts of each tier and of the rows on which a rule abstained. What the model gave
   (confidence: a histogram of the largest score in 20 equal bins; values) is counted over the rows that it answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.runtime.prediction import MODEL, TIERS, PredictionBatch
from edgeml.runtime.reader import Frame
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

NUMBER_BINS = 32
CATEGORY_LEVELS = 64
SCORE_BINS = 20
TEXT_EDGES = [0, *(2**power for power in range(1, 17))]


def drift_reference(
    schema: Schema, frame: Frame, answers: PredictionBatch, rules: RuleList | None = None
) -> dict[str, Any]:
    """Counts the reference data.

    Args:
        schema: The bundle's schema.
        frame: The reference rows.
        answers: The bundle's own answers to these rows.
        rules: The bundle's rules, None where it has none; they say on which rows they abstain.

    Returns:
        The document of ``reference.json``.
    """
    features: dict[str, Any] = {}
    for feature in schema.features:
        slot = schema.slots[feature.name]
        if slot.bank == "number":
            features[feature.name] = number_reference(np.asarray(frame.number_column(slot.index)))
        elif slot.bank == "category":
            codes = np.asarray(frame.code_column(slot.index))
            features[feature.name] = category_reference(codes, feature.levels or [])
        else:
            texts = [frame.text(slot.index, row) for row in range(frame.n_rows)]
            features[feature.name] = text_reference(texts)
    return {"format": 1, "rows": frame.n_rows, "features": features, "answers": _answers(frame, answers, rules)}


def number_reference(values: NDArray[np.float64]) -> dict[str, Any]:
    """Bins and counts of one numeric column.

    Args:
        values: float64[n]; NaN where missing.

    Returns:
        ``edges`` (b + 1 numbers, strictly rising), ``counts`` (b + 2 integers: below the first edge, each bin
        ``edges[i] <= v < edges[i + 1]`` with the last one closed, above the last edge), ``n``, ``missing``,
        ``mean``, ``m2``, ``min``, ``max``.
    """
    known = values[~np.isnan(values)]
    document: dict[str, Any] = {"kind": "number", "n": int(values.size), "missing": int(values.size - known.size)}
    if not known.size:
        return document | {"edges": [], "counts": []}
    distinct = np.unique(known)
    if distinct.size <= NUMBER_BINS:
        # A bin for each value: few distinct values are categories in disguise, and quantiles would merge them.
        edges = np.append(distinct, np.nextafter(distinct[-1], np.inf))
    else:
        edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, NUMBER_BINS + 1)))
    inner, _ = np.histogram(known, bins=edges)
    mean = float(known.mean())
    return document | {
        "edges": edges.tolist(),
        "counts": [0, *inner.tolist(), 0],
        "mean": mean,
        "m2": float(np.square(known - mean).sum()),
        "min": float(known.min()),
        "max": float(known.max()),
    }


def category_reference(codes: NDArray[np.int32], levels: Sequence[str]) -> dict[str, Any]:
    """Counts of one category column: its most frequent levels, the others together, unseen, missing."""
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    # Ties in the order of the levels, so that the same data give the same document.
    kept = sorted(range(len(levels)), key=lambda code: (-counts[code], code))[:CATEGORY_LEVELS]
    return {
        "kind": "category",
        "n": int(codes.size),
        "missing": int((codes == -1).sum()),
        "unseen": int((codes == -2).sum()),
        "levels": [levels[code] for code in kept],
        "counts": [int(counts[code]) for code in kept],
        "other": int(counts.sum() - counts[kept].sum()),
    }


def text_reference(texts: Sequence[bytes | None]) -> dict[str, Any]:
    """Length histogram of one text column, in bytes: bin i counts ``edges[i] <= length < edges[i + 1]``."""
    lengths = np.array([len(text) for text in texts if text is not None], dtype=np.int64)
    inner, _ = np.histogram(lengths, bins=[*TEXT_EDGES, np.iinfo(np.int64).max])
    return {
        "kind": "text",
        "n": len(texts),
        "missing": len(texts) - int(lengths.size),
        "empty": int((lengths == 0).sum()),
        "edges": TEXT_EDGES,
        "counts": inner.tolist(),
    }


def _answers(frame: Frame, answers: PredictionBatch, rules: RuleList | None) -> dict[str, Any]:
    tiers = np.bincount(answers.tiers, minlength=len(TIERS)).tolist()
    document: dict[str, Any] = {
        "tiers": dict(zip(TIERS, tiers, strict=True)),
        "abstain": _abstained(frame, rules),
    }
    by_model = answers.tiers == MODEL
    if answers.label_index is not None:
        counts = np.bincount(answers.label_index[answers.label_index >= 0], minlength=len(answers.labels))
        document["labels"] = {str(label): int(count) for label, count in zip(answers.labels, counts, strict=True)}
    if answers.scores is not None and answers.scores.shape[1] > 1:
        # Rows of other tiers have no scores; their NaN would leave no edges to count between.
        top = answers.scores[by_model].max(axis=1).astype(np.float64)
        low, high = float(top.min(initial=0.0)), float(top.max(initial=1.0))
        edges = np.linspace(low, high, SCORE_BINS + 1)
        document["confidence"] = {"edges": edges.tolist(), "counts": np.histogram(top, bins=edges)[0].tolist()}
    elif answers.scores is not None:
        document["score"] = number_reference(answers.scores[by_model, 0].astype(np.float64))
    if answers.values is not None:
        columns = answers.values.reshape(len(answers), -1)[by_model].astype(np.float64)
        document["values"] = [number_reference(columns[:, column]) for column in range(columns.shape[1])]
    return document


def _abstained(frame: Frame, rules: RuleList | None) -> int:
    """Rows whose first rule that matches leaves the answer to the model."""
    if rules is None or not rules.rules:
        return 0
    matched = np.full(frame.n_rows, -1, dtype=np.int32)
    rules.match(frame.capsule, matched)
    abstains = np.array([rule.abstains for rule in rules.rules])
    return int(abstains[matched[matched >= 0]].sum())
