"""What a caller hands to ``build`` is looked at before anything takes time; the message names the argument.

1. Tables: X and held_out have rows, the same columns or width, and one known answer for each row.
2. The fallback is an answer that the model could give.
3. SLO: known keys, positive numbers of milliseconds.
4. For a bare ONNX model, what belongs to pipelines is refused rather than ignored; and the other way round.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from edgeml.builder.task import Task
from edgeml.bundles.config import check_config
from edgeml.errors import BuildError, BundleError
from edgeml.runtime.fallback import fallback_error

# p99_ms: what 99 of 100 answers must keep. deadline_ms: when the fallback takes over.
DEFAULT_SLO = {"p99_ms": 20.0, "deadline_ms": 100.0}


def full_slo(given: Mapping[str, Any] | None) -> dict[str, float]:
    """The SLO with its defaults.

    Raises:
        BuildError: A key is unknown, or a value is no positive number.
    """
    if given is not None and not isinstance(given, Mapping):
        raise BuildError(f"slo must be a dict such as {DEFAULT_SLO}, got {type(given).__name__}")
    slo = dict(DEFAULT_SLO)
    for key, value in (given or {}).items():
        if key not in DEFAULT_SLO:
            near = difflib.get_close_matches(str(key), list(DEFAULT_SLO), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(DEFAULT_SLO)}"
            raise BuildError(f"slo: unknown key {key!r}; {hint}")
        number = plain(value)
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 < number < math.inf:
            raise BuildError(f"slo: {key} must be a positive number of milliseconds, got {value!r}")
        slo[key] = float(number)
    return slo


def check_facts(config: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    """Checks name, version and what else goes into the config unchanged.

    Args:
        config: The beginning of the bundle's config.
        texts: The author's words for the card, by argument.

    Raises:
        BuildError: One of them cannot stand in a bundle; names it.
    """
    for name, text in texts.items():
        if not isinstance(text, str):
            raise BuildError(f"{name} must be a text, got {type(text).__name__}")
    try:
        check_config({**config, "schema": {}})
    except BundleError as error:
        raise BuildError(str(error).removeprefix("config: ")) from error


def check_answers(y: Any, rows: int, task: Task, *, name: str, table: str) -> None:
    """Checks that there is one known answer for each row.

    Args:
        y: The known answers; None where there are none.
        rows: Rows of the table.
        task: What is answered; a regression has numbers for answers.
        name: What y is called in messages.
        table: What the table is called.

    Raises:
        BuildError: There are more or fewer, or they are no answers of the task.
    """
    if y is None:
        return
    given = np.shape(y)
    if not given:
        raise BuildError(f"{name} must hold one known answer for each row of {table}, got {type(y).__name__}")
    if given[0] != rows:
        raise BuildError(f"{name} has {given[0]} answers and {table} has {rows} rows; give one answer for each row")
    if task.name == "regression":
        try:
            finite = bool(np.isfinite(np.asarray(y, dtype=np.float64)).all())
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise BuildError(f"{name} must hold finite numbers, for this is a regression; drop the rows without one")


def check_width(y: Any, task: Task, pipeline: Any, X: Any) -> None:
    """Checks that a regression's known answers are as many for each row as the pipeline gives.

    Raises:
        BuildError: They are more or fewer.
    """
    if y is None or task.labels is not None or not task.has_truth:
        return
    known = np.shape(y)[1] if len(np.shape(y)) > 1 else 1
    given = np.asarray(pipeline.predict(X[:1])).reshape(1, -1).shape[1]
    if known != given:
        raise BuildError(f"y has {known} numbers for each row, and the pipeline gives {given}; give the y of its fit")


def check_held_out(held_out: Any, X: Any, task: Task) -> tuple[Any, Any]:
    """Checks the held-out rows against the table of the training data.

    Args:
        held_out: ``(X, y)``; its y may be None.
        X: The table that the pipeline was fitted on.
        task: What is answered.

    Returns:
        Its two parts.

    Raises:
        BuildError: It is no pair, is empty, has other columns, or y has another length.
    """
    if not isinstance(held_out, tuple | list) or len(held_out) != 2:
        what = f"{len(held_out)} parts" if isinstance(held_out, tuple | list) else type(held_out).__name__
        raise BuildError(f"held_out must be a pair (X, y), where y may be None, got {what}")
    table, answers = held_out
    if isinstance(X, pd.DataFrame):
        if not isinstance(table, pd.DataFrame):
            raise BuildError(f"held_out: X must be a DataFrame as the training data is, got {type(table).__name__}")
        missing = [str(label) for label in X.columns if label not in table.columns]
        if missing:
            raise BuildError(f"held_out: X lacks the column {missing[0]!r}; give it the columns of the training data")
    else:
        width, shape = np.shape(X)[1:], np.shape(table)
        if isinstance(table, pd.DataFrame) or len(shape) != len(np.shape(X)) or shape[1:] != width:
            wanted = f"an array [n, {width[0] if width else '?'}]"
            raise BuildError(f"held_out: X must be {wanted} as the training data is, got {_kind(table)}")
    if not len(table):
        raise BuildError("held_out: X has no rows; give some, or leave held_out away")
    check_answers(answers, len(table), task, name="held_out: y", table="its X")
    return table, answers


def checked_fallback(given: Any, task: Task, pipeline: Any, X: Any) -> dict[str, Any]:
    """A declared fallback in JSON types.

    Raises:
        BuildError: It is no answer that the model could give; says why.
    """
    if not isinstance(given, Mapping):
        raise BuildError(f"fallback must be {{'label': ...}} or {{'value': ...}}, got {type(given).__name__}")
    document = {str(name): plain(value) for name, value in given.items()}
    if isinstance(document.get("scores"), Mapping):
        document["scores"] = {str(label): plain(score) for label, score in document["scores"].items()}
    n_values = 1
    if task.labels is None:
        first = np.asarray(pipeline.predict(X[:1]))
        n_values = first.shape[1] if first.ndim > 1 else 1
    else:
        label = document.get("label")
        # A class of floats that are whole is an integer in the bundle.
        if isinstance(label, float) and label.is_integer():
            document["label"] = int(label)
    shares = hasattr(pipeline, "predict_proba")
    wrong = fallback_error(document, labels=task.labels, n_values=n_values, shares=shares)
    if wrong:
        raise BuildError(f"fallback: {wrong}")
    return document


def refuse_given(arguments: Mapping[str, Any], *, why: str) -> None:
    """Refuses arguments that would have no effect.

    Args:
        arguments: Argument -> what was given, None where nothing was.
        why: Why they do not apply.

    Raises:
        BuildError: One was given; names it.
    """
    for name, value in arguments.items():
        if value is not None:
            raise BuildError(f"{name} does not apply: {why}; leave it away")


def plain(value: Any) -> Any:
    """numpy's scalars and arrays as Python values; anything else as it is."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _kind(table: Any) -> str:
    shape: Sequence[int] = np.shape(table)
    return f"shape {list(shape)}" if shape and not isinstance(table, pd.DataFrame) else type(table).__name__
