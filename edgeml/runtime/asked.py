"""The ways in which an engine is asked, and how a few of the records are asked about again later.

Whoever wants that keeps of a question only what belongs to the records that he has drawn: a caller may change his
arrays and mappings as soon as he has his answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.monitor.capture_source import JsonRecords
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor

# What a number, and the place that it stands in, is taken to weigh.
_CELL_BYTES = 64


@dataclass(frozen=True, slots=True)
class Kept:
    """Some records of a question.

    Attributes:
        ask: Asks a predictor of the same bundle about them; one answer for each.
        size: Bytes that they take, roughly.
    """

    ask: Callable[[Predictor], Sequence[Prediction]]
    size: int


# Keeps the given rows of a question.
Way = Callable[[Any, Sequence[int]], Kept]


def of_record(record: Mapping[str, Any], _: Sequence[int]) -> Kept:
    """One mapping."""
    kept = dict(record)
    return Kept(lambda predictor: (predictor.predict(kept),), _bytes_of(kept))


def of_line(line: bytes, _: Sequence[int]) -> Kept:
    """One JSON object."""
    return Kept(lambda predictor: (predictor.predict_json_record(line),), len(line))


def of_row(matrix: Any, _: Sequence[int]) -> Kept:
    """An array [1, d]."""
    kept = np.array(matrix)
    return Kept(lambda predictor: (predictor.predict_row(kept),), kept.nbytes)


def of_numbers(numbers: bytes, _: Sequence[int], *, single: bool) -> Kept:
    """A flat JSON array of one record's numbers."""

    def ask(predictor: Predictor) -> Sequence[Prediction]:
        answer = predictor.predict_json_row(numbers, single=single)
        return () if answer is None else (answer,)

    return Kept(ask, len(numbers))


def of_body(asked: tuple[bytes, Sequence[int]], rows: Sequence[int]) -> Kept:
    """The body of a records request, with the places of records in it that were refused."""
    body, refused = asked
    wanted = frozenset(rows)
    source = JsonRecords(body, refused)

    def ask(predictor: Predictor) -> Sequence[Prediction]:
        last = max(wanted)
        answers = []
        for row, record in enumerate(source.records()):
            if row in wanted:
                # As it came: the reader of JSON is the one that answered.
                answers.append(predictor.predict_json_record(json.dumps(record).encode()))
            if row >= last:
                break
        return answers

    return Kept(ask, source.size)


def of_matrix(matrix: Any, rows: Sequence[int]) -> Kept:
    """An array [n, d]."""
    kept = np.asarray(matrix)[list(rows)]
    return Kept(lambda predictor: predictor.predict_matrix(kept), kept.nbytes)


def of_columns(columns: Mapping[str, Any], rows: Sequence[int]) -> Kept:
    """One array of values for each feature."""
    kept = {name: _picked(column, list(rows)) for name, column in columns.items()}
    # An array of objects holds their addresses alone.
    size = sum(
        sum(map(_bytes_of_value, np.ravel(each))) if each.dtype == object else each.nbytes for each in kept.values()
    )
    return Kept(lambda predictor: predictor.predict_columns(kept), size)


def of_many(records: Any, rows: Sequence[int]) -> Kept:
    """Whatever ``predict_many`` takes."""
    if isinstance(records, np.ndarray):
        return of_matrix(records, rows)
    if hasattr(records, "columns") and hasattr(records, "__getitem__"):
        return of_columns({str(name): records[name] for name in records.columns}, rows)
    kept = [dict(records[row]) for row in rows]
    return Kept(lambda predictor: predictor.predict_many(kept), sum(map(_bytes_of, kept)))


# Whether each number is rounded to float32 first -> the way.
BY_NUMBERS: Mapping[bool, Way] = {single: partial(of_numbers, single=single) for single in (False, True)}


def _picked(column: Any, places: list[int]) -> NDArray[Any]:
    if isinstance(column, list | tuple):
        # Values as they came: as an array of one type, True beside a text would be a text.
        picked = np.empty(len(places), dtype=object)
        picked[:] = [column[place] for place in places]
        return picked
    return np.asarray(column)[places]


def _bytes_of(record: Mapping[str, Any]) -> int:
    return sum(map(_bytes_of_value, record.values()))


def _bytes_of_value(value: Any) -> int:
    return _CELL_BYTES + (len(value) if isinstance(value, str | bytes) else 0)
