"""Promise P7: a bundle whose answers differ from the pipeline's is not built.

1. The runtime's own Predictor is asked, in a batch and one by one, without rules; scikit-learn's answers are the judge.
2. The rows are those of ``parity_rows``; what counts as a difference stands in ``parity_report``.
3. Rows that the schema or the pipeline refuses are left out and counted; of the held-out rows some must remain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.export import final_name
from edgeml.builder.image_form import ImageForm
from edgeml.builder.parity_report import (
    Answers,
    ParityReport,
    batch_answers,
    check_parity,
    joined,
    pipeline_answers,
    single_answer,
)
from edgeml.builder.parity_rows import HELD_OUT_ROWS, ParityRows, Record, RecordForm, held_out_records, parity_rows
from edgeml.errors import BuildError, SchemaError
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Frame

__all__ = ["Answers", "ParityReport", "check_parity", "check_pipeline"]

ONE_BY_ONE = 64
ASKED_AGAIN = 500


def _answers_or_none(ask: Callable[[Any], Answers], form: RecordForm, records: list[Record]) -> list[int]:
    """Numbers of the records that the pipeline answers; a block that it refuses is tried in halves."""

    def answered(low: int, high: int) -> list[int]:
        try:
            ask(form.table(records[low:high]))
        except Exception:  # a pipeline may refuse a row with whatever it likes
            if high - low <= 1:
                return []
            middle = (low + high) // 2
            return answered(low, middle) + answered(middle, high)
        return list(range(low, high))

    return answered(0, len(records))


def check_pipeline(
    pipeline: Any, predictor: Predictor, form: RecordForm, held_out: Any, *, tolerance: float = 1e-5
) -> ParityReport:
    """Checks the real Predictor, made without rules, against the pipeline.

    Args:
        pipeline: The fitted pipeline.
        predictor: What will serve.
        form: The schema, and the way between records and tables (``InferredSchema``).
        held_out: Rows that the pipeline has not seen.
        tolerance: Largest difference allowed.

    Raises:
        ParityError: They differ; names the worst rows.
        BuildError: No held-out row is left to compare.
    """
    return ParityQuestions(pipeline, predictor, form, held_out).check(predictor, tolerance)


class ParityQuestions:
    """The rows with the pipeline's answers, to be put to one predictor or several that answer alike.

    Args:
        pipeline: The fitted pipeline.
        predictor: One of the predictors; its schema says which rows are allowed.
        form: The schema, and the way between records and tables.
        held_out: Rows that the pipeline has not seen.

    Raises:
        BuildError: No held-out row is left to compare.
    """

    def __init__(self, pipeline: Any, predictor: Predictor, form: RecordForm, held_out: Any) -> None:
        self._pipeline = pipeline
        self._form = form
        self._outputs = predictor.outputs
        rows = self._rows(held_out)
        before = len(rows.records)
        rows, expected = self._answered(rows)
        allowed, self._frame = _allowed(predictor, rows)
        self._asked = _picked(rows, allowed)
        if expected is None or "held_out" not in self._asked.kinds:
            raise BuildError("parity cannot be checked: the schema or the pipeline refuses every held-out row")
        self._refused = before - len(allowed)
        self._expected = expected.rows(np.array(allowed, dtype=np.int64))
        self._equal = np.zeros(len(self._asked.records), dtype=bool)

    def check(self, predictor: Predictor, tolerance: float) -> ParityReport:
        """Compares a predictor's answers.

        Raises:
            ParityError: They differ; names the worst rows.
        """
        rows, expected, outputs = self._asked, self._expected, self._outputs
        got = batch_answers(predictor.predict_frame(self._frame), relative=expected.relative)
        self._equal = np.isin(np.arange(len(got)), list(got.unanswered), invert=True)
        if expected.labels is not None and got.labels is not None:
            self._equal &= expected.labels == got.labels
        # One by one the same records take another way through the core: other buffers, other matrix kernels.
        alone = _one_by_one(rows)
        singles = [single_answer(predictor.predict(rows.records[row]), outputs) for row in alone]
        rows = ParityRows(rows.records + [rows.records[r] for r in alone], rows.kinds + ["one_by_one"] * len(alone))
        every = np.concatenate([np.arange(len(got)), alone]).astype(np.int64)
        given = joined([got, *singles])
        return check_parity(
            expected.rows(every),
            given,
            tolerance=tolerance,
            rows=rows,
            labels=outputs.labels,
            refused=self._refused,
            otherwise=_asked_otherwise(self._ask, self._form.table(rows.records), expected.rows(every), given),
        ).require(final_name(self._pipeline))

    def edge_cases(self) -> ParityRows:
        """The rows beside the held-out ones to which the predictor that was checked last gave the pipeline's answer."""
        made = [row for row, kind in enumerate(self._asked.kinds) if kind != "held_out" and self._equal[row]]
        return _picked(self._asked, made)

    def _answered(self, rows: ParityRows) -> tuple[ParityRows, Answers | None]:
        """The rows that the pipeline answers, and its answers; where it answers all, nothing is asked twice."""
        form = self._form
        try:
            return rows, self._ask(form.table(rows.records))
        except Exception:  # a pipeline may refuse a row with whatever it likes
            rows = _picked(rows, _answers_or_none(self._ask, form, rows.records))
            return rows, self._ask(form.table(rows.records)) if rows.records else None

    def _ask(self, table: Any) -> Answers:
        return pipeline_answers(self._pipeline, table, self._outputs)

    def _rows(self, held_out: Any) -> ParityRows:
        form, ask = self._form, self._ask
        if isinstance(form, ImageForm):
            return form.parity_rows(held_out_records(form, held_out, limit=min(form.limit, HELD_OUT_ROWS)))

        def signal(records: list[Record]) -> NDArray[np.float64]:
            numbers = np.full(len(records), np.nan)
            try:
                # Nearly always all are answered, and then nothing is asked twice.
                answers, kept = ask(form.table(records)), list(range(len(records)))
            except Exception:  # whatever a pipeline raises is its way to refuse
                kept = _answers_or_none(ask, form, records)
                if not kept:
                    return numbers
                answers = ask(form.table([records[row] for row in kept]))
            numbers[kept] = answers.labels if answers.labels is not None else _first(answers.values)
            return numbers

        labelled = self._outputs.labels is not None
        return parity_rows(form, held_out_records(form, held_out), signal, labelled=labelled)


def _asked_otherwise(ask: Callable[[Any], Answers], table: Any, expected: Answers, got: Answers) -> list[Answers]:
    """Where labels differ: the pipeline's answers to the same numbers in float64, and to each row alone."""
    if expected.labels is None or got.labels is None:
        return []
    differing = np.flatnonzero(expected.labels != got.labels)[:ASKED_AGAIN]
    if not len(differing):
        return []
    in_double = _double(table)
    labels = expected.labels.copy()
    for row in differing:
        one = ask(table.iloc[[row]] if hasattr(table, "iloc") else table[[row]]).labels
        assert one is not None  # the same pipeline gave labels before
        labels[row] = one[0]
    return [Answers(labels=labels), *([] if in_double is None else [ask(in_double)])]


def _double(table: Any) -> Any:
    """The same numbers in float64; None where the table holds no float32."""
    if isinstance(table, np.ndarray):
        return table.astype(np.float64) if table.dtype == np.float32 else None
    single = [label for label in table.columns if table[label].dtype == np.float32]
    return table.astype(dict.fromkeys(single, np.float64)) if single else None


def _first(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    assert values is not None  # a regression has values
    return values[:, 0]


def _picked(rows: ParityRows, kept: Sequence[int]) -> ParityRows:
    return ParityRows([rows.records[row] for row in kept], [rows.kinds[row] for row in kept])


def _allowed(predictor: Predictor, rows: ParityRows) -> tuple[list[int], Frame]:
    """Numbers of the rows that the schema allows, and the frame that holds them."""
    frame = predictor.reader.new_frame(max(1, len(rows.records)))
    allowed = list(range(len(rows.records)))
    while True:
        try:
            predictor.reader.read_many(frame, [rows.records[row] for row in allowed])
        except SchemaError as error:
            bad = {violation.row for violation in error.violations}
            kept = [row for place, row in enumerate(allowed) if place not in bad]
            if len(kept) == len(allowed):
                raise
            allowed = kept
            continue
        return allowed, frame


def _one_by_one(rows: ParityRows) -> list[int]:
    """Row numbers to ask one at a time, from every kind."""
    by_kind: dict[str, list[int]] = {}
    for row, kind in enumerate(rows.kinds):
        by_kind.setdefault(kind, []).append(row)
    share = max(1, ONE_BY_ONE // len(by_kind))
    return [row for numbers in by_kind.values() for row in numbers[:share]]
