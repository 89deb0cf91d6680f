"""The drift reference: what the training data and the model's answers looked like, in counts.

1. Everything is an integer count over fixed bins, so that a box counts in constant memory and fleets merge by addition.
2. A number has at most 32 quantile bins of the reference, plus underflow and overflow; missing values are counted
   apart. Mean and M2 (sum of squared deviations, merged by Chan's formula) stand beside them.
3. A category has its at most 64 most frequent levels, then ``other``; unseen and missing are counted apart.
4. A text has a histogram of its length in bytes (powers of two) and the count of empty ones; and of the share of its
   words that the reference does not know. A row of the reference is asked of all *other* rows, so its own singletons
   are unknown to it: that is the Good-Turing estimate of the mass of unseen words (I. J. Good, "The population
   frequencies of species and the estimation of population parameters", Biometrika 40, 1953), and what a new row of
   the same source is expected to show. Counted against its own vocabulary, every word of the reference would be known.
5. The answers have label counts, counts of each tier and of the rows on which a rule abstained. What the model gave
   (confidence: a histogram of the largest score in 20 equal bins; values) is counted over the rows that it answered.
   They are counted on held-out rows where there are some: on the rows that a model has learnt from it is too sure of
   itself, so ``held_out`` says whether new answers may be compared with these.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.monitor.drift import word_buckets
from edgeml.monitor.drift_layout import SHARES, VOCABULARY_BYTES
from edgeml.runtime.prediction import MIDDLE, MODEL, PredictionBatch
from edgeml.runtime.reader import Frame
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

NUMBER_BINS = 32
CATEGORY_LEVELS = 64
SCORE_BINS = 20
MAX_WORDS = 8_192
# Texts whose words are watched: on the box each takes a bitmap of 8 KiB.
WORD_FEATURES = 64
TEXT_EDGES = [0, *(2**power for power in range(1, 17))]


def drift_reference(
    schema: Schema,
    frame: Frame,
    asked: Frame,
    answers: PredictionBatch,
    rules: RuleList | None = None,
    *,
    held_out: bool = False,
) -> dict[str, Any]:
    """Counts the reference data.

    Args:
        schema: The bundle's schema.
        frame: The reference rows.
        asked: The rows that were answered: held-out ones where there are some, else the reference rows.
        answers: The bundle's own answers to them.
        rules: The bundle's rules, None where it has none; they say on which rows they abstain.
        held_out: Whether the pipeline never saw the answered rows.

    Returns:
        The document of ``reference.json``.
    """
    features: dict[str, Any] = {}
    with_words = 0
    for feature in schema.features:
        slot = schema.slots[feature.name]
        if slot.bank == "image":
            continue  # what is watched of a picture are the numbers derived from it
        if slot.bank == "number":
            features[feature.name] = number_reference(np.asarray(frame.number_column(slot.index)))
        elif slot.bank == "category":
            codes = np.asarray(frame.code_column(slot.index))
            features[feature.name] = category_reference(codes, feature.levels or [])
        else:
            texts = [frame.text(slot.index, row) for row in range(frame.n_rows)]
            features[feature.name] = text_reference(texts)
            if with_words < WORD_FEATURES:
                features[feature.name]["words"] = word_reference(texts)
                with_words += 1
    return {
        "format": 1,
        "rows": frame.n_rows,
        "features": features,
        "answers": answers_reference(asked, answers, rules, held_out=held_out),
    }


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


def output_reference(values: NDArray[np.float64]) -> dict[str, Any]:
    """Bins and counts of what a model gave: as for a number, but that no edge is a value.

    On another processor, or in another runtime, the same model gives values that differ in their last digits. A value
    that many rows have, such as a leaf of a tree, must not fall into another bin for that.
    """
    document = number_reference(values)
    if not document["edges"]:
        return document
    distinct = np.unique(values[~np.isnan(values)])
    inner = np.array(document["edges"][1:-1])
    after = np.searchsorted(distinct, inner)
    between = distinct[after - 1] / 2 + distinct[after] / 2
    ends = [distinct[0] - _margin(distinct[0]), distinct[-1] + _margin(distinct[-1])]
    edges = np.unique(np.concatenate([between, ends]))
    counts, _ = np.histogram(values[~np.isnan(values)], bins=edges)
    return document | {"edges": edges.tolist(), "counts": [0, *counts.tolist(), 0]}


def _margin(value: Any) -> Any:
    """What an answer may differ by, and is still the same answer: the tolerance with which bundles are built."""
    return 1e-5 * np.maximum(1.0, np.abs(value))


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


def word_reference(texts: Sequence[bytes | None]) -> dict[str, Any]:
    """The vocabulary of one text column, and how much of a row's words the other rows do not know.

    Returns:
        ``vocabulary``: base64 of a bitmap of 2**16 bits, one for each hash of a word that stands in at least ``least``
        rows (1, or as many as it takes for at most 8,192 bits); ``counts`` (12 integers): missing, no words, and ten
        bins of the share of the row's words that stand in fewer than ``least`` other rows.
    """
    rows: Counter[int] = Counter()
    for text in texts:
        rows.update(set(word_buckets(text or b"")))
    least = 1
    if len(rows) > MAX_WORDS:
        least += sorted(rows.values(), reverse=True)[MAX_WORDS]
    counts = [0] * (2 + SHARES)
    for text in texts:
        words = word_buckets(text or b"")  # again, rather than keep the words of all rows
        if not words:
            counts[0 if text is None else 1] += 1
            continue
        unknown = sum(rows[word] - 1 < least for word in words)
        counts[2 + min(SHARES - 1, unknown * SHARES // len(words))] += 1
    bitmap = bytearray(VOCABULARY_BYTES)
    for word, count in rows.items():
        if count >= least:
            bitmap[word >> 3] |= 1 << (word & 7)
    return {"least": least, "vocabulary": base64.b64encode(bitmap).decode(), "counts": counts}


def answers_reference(
    frame: Frame, answers: PredictionBatch, rules: RuleList | None, *, held_out: bool
) -> dict[str, Any]:
    """What the answers look like: the member ``answers`` of ``reference.json``.

    Args:
        frame: The answered rows.
        answers: The bundle's answers.
        rules: Its rules, None where it has none.
        held_out: Whether the pipeline never saw these rows.
    """
    document: dict[str, Any] = {
        "held_out": held_out,
        "tiers": answers.tier_counts(),
        "abstain": _abstained(frame, rules),
        "rows": len(answers),
    }
    by_model = answers.tiers == MODEL
    if answers.label_index is not None:
        given = answers.label_index[by_model & (answers.label_index >= 0)]
        counts = np.bincount(given, minlength=len(answers.labels))
        document["labels"] = {str(label): int(count) for label, count in zip(answers.labels, counts, strict=True)}
        document["label_counts"] = _label_counts(answers)
    if answers.scores is not None and answers.scores.shape[1] > 1:
        # Rows of other tiers have no scores; their NaN would leave no edges to count between.
        top = answers.scores[by_model].max(axis=1).astype(np.float64)
        low, high = float(top.min(initial=0.0)), float(top.max(initial=1.0))
        # Trees score in round numbers: the edges lie beside them.
        edges = np.linspace(low, high, SCORE_BINS + 1)
        edges[1:-1] -= _margin(edges[1:-1])
        edges[-1] += _margin(high)
        document["confidence"] = {"edges": edges.tolist(), "counts": np.histogram(top, bins=edges)[0].tolist()}
    elif answers.scores is not None:
        document["score"] = output_reference(answers.scores[by_model, 0].astype(np.float64))
    if answers.values is not None:
        columns = answers.values.reshape(len(answers), -1)[by_model].astype(np.float64)
        document["values"] = [output_reference(columns[:, column]) for column in range(columns.shape[1])]
    return document


def _label_counts(answers: PredictionBatch) -> dict[str, Any]:
    """The labels in the order of their indexes, and how often each was answered, by whichever tier."""
    assert answers.label_index is not None
    indexed = (answers.tiers == MODEL) | (answers.tiers == MIDDLE)
    given = answers.label_index[indexed]
    counts = np.bincount(given[given >= 0], minlength=len(answers.labels)).tolist()
    index_of = {str(label): index for index, label in enumerate(answers.labels)}
    for row in np.flatnonzero(~indexed).tolist():
        label = answers[row].label
        if label is not None:
            counts[index_of[str(label)]] += 1
    return {"labels": list(index_of), "counts": counts}


def _abstained(frame: Frame, rules: RuleList | None) -> int:
    """Rows whose first rule that matches leaves the answer to the model."""
    if rules is None or not rules.rules:
        return 0
    matched = np.full(frame.n_rows, -1, dtype=np.int32)
    rules.match(frame.capsule, matched)
    abstains = np.array([rule.abstains for rule in rules.rules])
    return int(abstains[matched[matched >= 0]].sum())
