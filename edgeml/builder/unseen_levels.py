"""Whether a pipeline takes all unseen levels alike, as a category must, or looks into the text.

A frame keeps one code for every level that training has not seen, not its text. To an encoder that makes no difference;
to a TfidfVectorizer it does, because the words of a new sentence may be well known. So the pipeline is asked: if it
answers two unseen levels differently, the column is a text.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.parity_rows import RecordForm
from edgeml.runtime.schema import Feature

# Levels whose pieces make up new ones, and rows that carry them.
LEVELS = 16
ROWS = 4


def taken_alike(
    pipeline: Any, form: RecordForm, feature: Feature, sample: Sequence[Mapping[str, Any]], unseen: str
) -> bool:
    """Asks a pipeline for unseen levels that share pieces with known ones.

    Args:
        pipeline: The fitted pipeline.
        form: The way from records to its table.
        feature: A category whose unseen levels the pipeline bears.
        sample: Records that it answers.
        unseen: A level that shares nothing with the known ones.

    Returns:
        Whether every unseen level gets the answer of ``unseen``; also True where the pipeline refuses unseen levels.
    """
    texts = [text for text in _recombined(list(feature.levels or ())[:LEVELS]) if text not in (feature.levels or ())]
    if not texts:
        return True
    for record in sample[:ROWS]:
        records = [{**record, feature.name: text} for text in (unseen, *texts)]
        answers = _answers(pipeline, form, records)
        if answers is not None and not all(_alike(answers[0], answer) for answer in answers[1:]):
            return False
    return True


def _recombined(levels: Sequence[str]) -> list[str]:
    """Texts made of the levels: two in a row, one and a half, turned around, in other letters."""
    made = []
    for first, second in zip(levels, [*levels[1:], *levels[:1]], strict=True):
        made += [f"{first} {second}", f"{first}{second[: len(second) // 2]}", " ".join(reversed(first.split()))]
        made += [first.upper(), first.lower()]
    return list(dict.fromkeys(made))


def _answers(pipeline: Any, form: RecordForm, records: Sequence[Mapping[str, Any]]) -> NDArray[Any] | None:
    for name in ("predict_proba", "decision_function", "predict", "transform"):
        ask = getattr(pipeline, name, None)
        if ask is not None:
            break
    else:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            given = ask(form.table([dict(record) for record in records]))
        except Exception:  # whatever a pipeline raises is its way to refuse
            return None
    return np.asarray(given.toarray() if hasattr(given, "toarray") else given)


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if np.asarray(one).dtype.kind != "f":
        return bool(np.array_equal(one, other))
    # A batch may round each of its rows a little differently.
    return bool(np.allclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True))
