"""A pipeline that was fitted on a plain list of texts, as one over a table with the one column ``text``.

``make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)`` takes no table, and a record has named
fields. So its steps before the estimator are put into a ColumnTransformer over one column, fitted as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from edgeml.errors import BuildError

TEXT = "text"


def is_list_of_texts(X: Any) -> bool:
    """Whether it is one text after the other, and no table."""
    if isinstance(X, pd.DataFrame) or np.ndim(X) != 1 or len(X) == 0:
        return False
    return all(isinstance(value, str) for value in X)


def over_table(pipeline: Any, X: Any, held_out: tuple[Any, Any] | None) -> tuple[Any, Any, tuple[Any, Any] | None]:
    """The same pipeline and data with a table where there was a list.

    Args:
        pipeline: A fitted Pipeline whose first step takes texts.
        X: The texts; a Series gives the column its name.
        held_out: Texts and answers, or None.

    Raises:
        BuildError: It is no Pipeline with a step before its estimator, or held_out is no list of texts.
    """
    while not isinstance(pipeline, Pipeline) and hasattr(pipeline, "best_estimator_"):
        pipeline = pipeline.best_estimator_
    if not isinstance(pipeline, Pipeline) or len(pipeline.steps) < 2:
        raise BuildError("X is a list of texts, which takes a Pipeline that begins with a vectorizer; give a table")
    name = _name(X)
    before = pipeline.steps[:-1]
    inner = before[0][1] if len(before) == 1 else Pipeline(before)
    columns = ColumnTransformer([(name, inner, name)], sparse_threshold=1.0)
    columns.transformers_ = [(name, inner, name)]
    columns.feature_names_in_ = np.array([name], dtype=object)
    columns.n_features_in_ = 1
    columns.sparse_output_ = True
    columns._columns = [name]
    columns._remainder = ("remainder", "drop", [])
    columns._transformer_to_input_indices = {name: [0]}
    columns._name_to_fitted_passthrough = {}
    if held_out is not None:
        held_out = texts_over_table(X, held_out)
    return Pipeline([("texts", columns), pipeline.steps[-1]]), _table(X, name), held_out


def texts_over_table(X: Any, held_out: tuple[Any, Any]) -> tuple[Any, Any]:
    """Other texts with their answers, as a table like that of X.

    Args:
        X: The texts that the pipeline was fitted on.
        held_out: Texts and answers.

    Raises:
        BuildError: It is no list of texts.
    """
    if not is_list_of_texts(held_out[0]):
        raise BuildError("held_out must be a list of texts as X is one")
    return _table(held_out[0], _name(X)), held_out[1]


def _name(X: Any) -> str:
    return str(X.name) if isinstance(X, pd.Series) and X.name is not None else TEXT


def _table(texts: Any, name: str) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(list(texts), dtype=object)})
