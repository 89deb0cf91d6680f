"""A small model for the middle tier, learned from the training data.

1. Texts: the weights of their 300 or 2,000 commonest words, in a logistic regression; no pairs of words, which would
   cost more than they bring. Numbers and categories: logistic regression, or 30 small trees.
2. That of several candidates is taken which would answer the most growing rows before it has spent its budget of
   errors, counted out of fold; of two that answer about as much the simpler one.
3. Nothing here depends on chance: all seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edgeml.builder.schema_inference import InferredSchema
from edgeml.errors import BuildError

FOLDS = 3
WORDS = (300, 2000)
TREES = 30
# A candidate must answer so much more than a simpler one to be worth its cost.
BETTER = 0.01


def learn_middle(inferred: InferredSchema, X: Any, y: Any, *, budget: float) -> Any:
    """Learns a small pipeline.

    Args:
        inferred: The schema, and the form of the table.
        X: Rows to learn from.
        y: Their known answers.
        budget: Share of the rows that may be lost.

    Returns:
        A fitted Pipeline.

    Raises:
        BuildError: It has nothing to learn from.
    """
    y = np.asarray(y)
    best: tuple[float, Any] | None = None
    candidates = list(_candidates(inferred, X))
    if not candidates:
        raise BuildError("middle: the table has no column that a small model could learn from; give a fitted pipeline")
    for candidate in candidates:
        answered = 0.0 if len(candidates) == 1 else _answered(candidate, X, y, budget)
        if best is None or answered > best[0] + BETTER:
            best = answered, candidate
    assert best is not None
    return best[1].fit(X, y)


def _candidates(inferred: InferredSchema, X: Any) -> Iterator[Pipeline]:
    """From the simplest on."""
    kinds: dict[str, list[Any]] = {"number": [], "integer": [], "boolean": [], "category": [], "text": []}
    for column, feature in zip(inferred.columns, inferred.schema.features, strict=True):
        if feature.kind != "boolean" or np.dtype(bool) == column.dtype:
            kinds[feature.kind].append(column.label)
    numbers, categories, texts = kinds["number"] + kinds["integer"], kinds["category"], kinds["text"]
    steps: list[tuple[str, Any, Any]] = []
    if numbers:
        steps.append(("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers))
    if kinds["boolean"]:
        steps.append(("booleans", "passthrough", kinds["boolean"]))
    if categories:
        steps.append(("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories))
    for words in WORDS if texts else (0,):
        vectorizers = [
            (f"text {label}", TfidfVectorizer(max_features=words, sublinear_tf=True), label) for label in texts
        ]
        if steps or vectorizers:
            yield Pipeline(
                [
                    ("columns", ColumnTransformer([*steps, *vectorizers])),
                    ("classifier", LogisticRegression(C=10.0 if texts else 1.0, max_iter=1000)),
                ]
            )
    if steps and not texts:
        trees = HistGradientBoostingClassifier(
            max_iter=TREES, max_leaf_nodes=8, learning_rate=0.2, early_stopping=False, random_state=0
        )
        yield Pipeline([("columns", ColumnTransformer(steps)), ("classifier", trees)])


def _answered(candidate: Pipeline, X: Any, y: NDArray[Any], budget: float) -> float:
    """Share of the rows that a candidate answers, out of fold, before its errors exceed the budget."""
    top, wrong = np.zeros(len(y)), np.ones(len(y), dtype=bool)
    for train, test in KFold(min(FOLDS, len(y)), shuffle=True, random_state=0).split(y):
        if len(np.unique(y[train])) < 2:
            continue
        fitted = clone(candidate).fit(_rows(X, train), y[train])
        scores = fitted.predict_proba(_rows(X, test))
        top[test] = scores.max(axis=1)
        wrong[test] = fitted.classes_[scores.argmax(axis=1)] != y[test]
    order = np.argsort(-top, kind="stable")
    spent = np.cumsum(wrong[order])
    return float(np.searchsorted(spent, budget * len(y), side="right") / len(y))


def _rows(X: Any, chosen: NDArray[np.int64]) -> Any:
    return X.iloc[chosen] if hasattr(X, "iloc") else np.asarray(X)[chosen]
