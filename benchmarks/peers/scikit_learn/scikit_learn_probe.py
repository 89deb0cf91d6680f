"""scikit-learn in one process: ``predict_proba`` of the fitted pipeline on a DataFrame, which is ready beforehand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import sklearn

from benchmarks import workloads
from benchmarks.probes.probe import Work, serve, walk
from benchmarks.text_rows import mark


def labels(pipeline: Any, table: pd.DataFrame) -> list[int]:
    """The pipeline's labels."""
    return [int(label) for label in pipeline.predict(table)]


def one(pipeline: Any, table: pd.DataFrame) -> Work:
    """One row a call."""
    rows = [table.iloc[i : i + 1] for i in range(len(table))]
    return Work(walk(pipeline.predict_proba, rows), lambda: labels(pipeline, table))


def batch(pipeline: Any, table: pd.DataFrame) -> Work:
    """All rows in one call."""
    return Work(walk(pipeline.predict_proba, [table]), lambda: labels(pipeline, table), predictions=len(table))


def documents() -> dict[str, Work]:
    """One document a call, as a list of one text: the whole pipeline, and its vectorizer alone."""
    pipeline, _, _ = workloads.w2_fitted()
    asked = workloads.w2_asked()
    lists = [[text] for text in asked]
    transform = pipeline[0].transform
    return {
        "w2_one": Work(walk(pipeline.predict_proba, lists), lambda: [int(k) for k in pipeline.predict(asked)]),
        "w2_vectorizer": Work(
            walk(transform, lists), lambda: [mark(row.indices, row.data) for row in map(transform, lists)]
        ),
    }


def main() -> None:
    """Fits the pipelines and answers the runner."""
    works = documents()
    for model in ("lr", "trees"):
        pipeline, _, _ = workloads.w1_fitted(model)
        works[f"w1_{model}_one"] = one(pipeline, workloads.asked_table())
        works[f"w1_{model}_batch"] = batch(pipeline, workloads.batch_table())
    serve(works, {"scikit-learn": sklearn.__version__, "pandas": pd.__version__})


if __name__ == "__main__":
    main()
