"""The rows that parity asks about: those that would show a difference first.

1. ``held_out``: rows of the data that the builder was given.
2. ``boundary``: pairs of rows on both sides of a decision, a billionth of their distance apart, found by halving the
   way between rows with different labels (for a regression: towards the larger jump). Behind any scaler this finds
   the splits of trees and the borders of every other model.
3. ``split``: held-out rows with one number in the middle of two values next to each other in the data, where trees put
   their thresholds; ``jitter``: held-out rows a few units of float32's last place away.
4. ``missing`` and ``unseen``: where the schema allows them; ``edge``: zeros, smallest, largest and huge numbers, and
   -0.5 in the place of whole numbers, which may be a booster's categories: each library has its own rule for it.

Every row passes through the training data's own form once, so that a float32 or integer column holds what it can hold.
All choices are random with a fixed seed: the same pipeline gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeml.runtime.schema import Feature, Schema

HELD_OUT_ROWS = 2000
BOUNDARY_PAIRS = 96
HALVINGS = 30
SPLIT_ROWS = 256
JITTER_ROWS = 96
MISSING_ROWS = 128
UNSEEN_ROWS = 64
EDGE_ROWS = 128

# What a person would not type as a level, and what no training set holds.
UNSEEN = "\u2049 unseen"

Record = dict[str, Any]
Signal = NDArray[np.float64]


class RecordForm(Protocol):
    """How records and the training data's tables turn into each other (``schema_inference.InferredSchema``)."""

    @property
    def schema(self) -> Schema:
        """What a record holds."""

    def records(self, table: Any) -> list[Record]:
        """A table's rows as records."""

    def table(self, rows: Sequence[Record]) -> Any:
        """Records as a table of the training data's form."""


@dataclass(frozen=True)
class ParityRows:
    """Records with the kind of each.

    Attributes:
        records: The records.
        kinds: Kind of each record.
    """

    records: list[Record]
    kinds: list[str]


def held_out_records(form: RecordForm, table: Any, *, limit: int = HELD_OUT_ROWS) -> list[Record]:
    """The table's rows, evenly spread where there are more than the limit."""
    count = len(table)
    chosen = np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))
    return form.records(table.iloc[chosen] if hasattr(table, "iloc") else np.asarray(table)[chosen])


def parity_rows(
    form: RecordForm, held_out: Sequence[Record], signal: Callable[[list[Record]], Signal], *, labelled: bool
) -> ParityRows:
    """Makes all rows.

    Args:
        form: The schema and the way between records and tables.
        held_out: Records that the pipeline answers.
        signal: The pipeline's answers to records as numbers, NaN where it gives none: the label's index, or the value.
        labelled: Whether the signal is a label.
    """
    random = np.random.default_rng(0)
    features = list(form.schema.features)
    records, kinds = list(held_out), ["held_out"] * len(held_out)
    if held_out:
        made = {
            "boundary": _boundary(features, held_out, signal, random, labelled=labelled),
            "split": _split(features, held_out, random),
            "jitter": _jitter(features, held_out, random),
            "missing": _missing(features, held_out, random),
            "unseen": _unseen(features, held_out, random),
            "edge": _edge(features, held_out, random),
        }
        for kind, rows in made.items():
            records += form.records(form.table(rows)) if rows else []
            kinds += [kind] * len(rows)
    return ParityRows(records, kinds)


def _numbers(features: Sequence[Feature], records: Sequence[Record], kinds: tuple[str, ...]) -> dict[str, Signal]:
    """The values of the numeric features, NaN for missing."""
    return {
        feature.name: np.array(
            [np.nan if record.get(feature.name) is None else float(record[feature.name]) for record in records]
        )
        for feature in features
        if feature.kind in kinds
    }


def _within(feature: Feature, value: float) -> Any:
    """A value as the feature allows it."""
    if feature.min is not None:
        value = max(value, feature.min)
    if feature.max is not None:
        value = min(value, feature.max)
    return int(value) if feature.kind == "integer" else float(value)


def _boundary(
    features: Sequence[Feature],
    held_out: Sequence[Record],
    signal: Callable[[list[Record]], Signal],
    random: np.random.Generator,
    *,
    labelled: bool,
) -> list[Record]:
    columns = _numbers(features, held_out, ("number",))
    names = [name for name, values in columns.items() if not np.isnan(values).all()]
    if not names or len(held_out) < 2:
        return []
    values = np.column_stack([columns[name] for name in names])
    first = random.integers(0, len(held_out), 4 * BOUNDARY_PAIRS)
    second = random.integers(0, len(held_out), 4 * BOUNDARY_PAIRS)
    # Half of the pairs differ in one number only: these meet a tree's thresholds one at a time.
    moved = np.ones((len(first), len(names)), dtype=bool)
    moved[::2] = np.arange(len(names)) == random.integers(0, len(names), len(moved[::2]))[:, None]
    low = values[first]
    high = np.where(moved & ~np.isnan(low) & ~np.isnan(values[second]), values[second], low)

    def ask(numbers: Signal) -> Signal:
        rows = []
        for index, row in zip(first, numbers.tolist(), strict=True):
            replaced = {name: value for name, value in zip(names, row, strict=True) if value == value}
            rows.append({**held_out[index], **replaced})
        return signal(rows)

    at_low, at_high = ask(low), ask(high)
    with np.errstate(invalid="ignore"):
        gap = np.abs(at_high - at_low)
    usable = np.flatnonzero(gap > 0)[:BOUNDARY_PAIRS]
    first, low, high = first[usable], low[usable], high[usable]
    at_low, at_high = at_low[usable], at_high[usable]
    for _ in range(HALVINGS if len(usable) else 0):
        middle = low + (high - low) / 2.0
        at_middle = ask(middle)
        if labelled:
            go_high = at_middle == at_low
        else:
            with np.errstate(invalid="ignore"):
                go_high = np.abs(at_high - at_middle) >= np.abs(at_middle - at_low)
        low, at_low = np.where(go_high[:, None], middle, low), np.where(go_high, at_middle, at_low)
        high, at_high = np.where(go_high[:, None], high, middle), np.where(go_high, at_high, at_middle)
    rows = []
    for index, *sides in zip(first, low.tolist(), high.tolist(), strict=True):
        for row in sides:
            rows.append({**held_out[index], **{n: v for n, v in zip(names, row, strict=True) if v == v}})
    return rows


def _split(features: Sequence[Feature], held_out: Sequence[Record], random: np.random.Generator) -> list[Record]:
    known = {feature.name: feature for feature in features}
    distinct = {}
    for name, values in _numbers(features, held_out, ("number",)).items():
        levels = np.unique(values[~np.isnan(values)])
        if len(levels) > 1:
            distinct[name] = levels
    rows = []
    for _ in range(SPLIT_ROWS if distinct else 0):
        name = list(distinct)[int(random.integers(len(distinct)))]
        levels = distinct[name]
        at = int(random.integers(len(levels) - 1))
        middle = levels[at] / 2.0 + levels[at + 1] / 2.0
        record = held_out[int(random.integers(len(held_out)))]
        rows.append({**record, name: _within(known[name], float(middle))})
    return rows


def _jitter(features: Sequence[Feature], held_out: Sequence[Record], random: np.random.Generator) -> list[Record]:
    numbers = [feature for feature in features if feature.kind == "number"]
    rows = []
    for _ in range(JITTER_ROWS if numbers else 0):
        record = dict(held_out[int(random.integers(len(held_out)))])
        steps = random.integers(-2, 3, len(numbers))
        for feature, step in zip(numbers, steps.tolist(), strict=True):
            value = record.get(feature.name)
            if value is not None:
                record[feature.name] = _within(feature, value * (1.0 + step * 2.0**-24))
        rows.append(record)
    return rows


def _missing(features: Sequence[Feature], held_out: Sequence[Record], random: np.random.Generator) -> list[Record]:
    return _replaced([f for f in features if f.missing == "allow"], held_out, random, None, MISSING_ROWS)


def _unseen(features: Sequence[Feature], held_out: Sequence[Record], random: np.random.Generator) -> list[Record]:
    open_features = [f for f in features if f.kind == "category" and f.unseen == "allow"]
    return _replaced(open_features, held_out, random, UNSEEN, UNSEEN_ROWS)


def _replaced(
    features: Sequence[Feature], held_out: Sequence[Record], random: np.random.Generator, value: Any, count: int
) -> list[Record]:
    """Rows with one feature replaced, each feature in turn; every fourth row has several replaced."""
    rows = []
    for number in range(max(count, len(features)) if features else 0):
        record = dict(held_out[int(random.integers(len(held_out)))])
        chosen = [features[number % len(features)]]
        if number % 4 == 3:
            chosen += [feature for feature in features if random.random() < 0.5]
        for feature in chosen:
            record[feature.name] = value
        rows.append(record)
    return rows


def _edge(features: Sequence[Feature], held_out: Sequence[Record], random: np.random.Generator) -> list[Record]:
    numbers = [feature for feature in features if feature.kind in ("number", "integer")]
    columns = _numbers(features, held_out, ("number", "integer"))
    extremes = {}
    for feature in numbers:
        values = columns[feature.name]
        if not np.isnan(values).all():
            extremes[feature] = (0.0, float(np.nanmin(values)), float(np.nanmax(values)), -1e6, 1e6)
    rows = []
    for position in range(5 if extremes else 0):
        # All numbers at once: all zero, all smallest, all largest, all huge.
        chosen = {feature.name: _within(feature, values[position]) for feature, values in extremes.items()}
        rows.append({**held_out[int(random.integers(len(held_out)))], **chosen})
    for _ in range(EDGE_ROWS if extremes else 0):
        feature = list(extremes)[int(random.integers(len(extremes)))]
        value = _within(feature, extremes[feature][int(random.integers(5))])
        rows.append({**held_out[int(random.integers(len(held_out)))], feature.name: value})
    codes = [feature for feature in numbers if feature.kind == "number" and _holds_codes(columns[feature.name])]
    for number in range(max(EDGE_ROWS, len(codes)) if codes else 0):
        feature = codes[number % len(codes)]
        rows.append({**held_out[int(random.integers(len(held_out)))], feature.name: _within(feature, -0.5)})
    for feature in features:
        if feature.kind == "category":
            for level in (feature.levels or ())[:32]:
                rows.append({**held_out[int(random.integers(len(held_out)))], feature.name: level})
        elif feature.kind == "boolean":
            for truth in (False, True):
                rows.append({**held_out[int(random.integers(len(held_out)))], feature.name: truth})
    return rows


def _holds_codes(values: Signal) -> bool:
    """Whether numbers may be the codes of categories."""
    known = values[~np.isnan(values)]
    return bool(len(known)) and bool((known >= 0).all()) and bool((known == np.floor(known)).all())
