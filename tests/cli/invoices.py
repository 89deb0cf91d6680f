"""A world that may change, and a bundle that knows how it was: amounts, ages and countries, paid or late."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edgeml.builder import build
from edgeml.bundles import Bundle


def table(rows: int, seed: int, mean: float = 40.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Records and what was true of them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.normal(mean, 12, rows).round(3),
            "age": rng.integers(18, 80, rows),
            "country": rng.choice(["DE", "FR", "AT"], rows, p=[0.6, 0.3, 0.1]),
        }
    )
    late = frame["amount"] / 12 + (frame["country"] == "FR") + rng.normal(0, 1, rows) > 3.8
    return frame, np.where(late, "late", "paid")


def records(rows: int, seed: int, **more: float) -> list[dict[str, Any]]:
    """Records as they are sent."""
    return json.loads(table(rows, seed, **more)[0].to_json(orient="records"))


def write(path: Path, rows: list[Any]) -> Path:
    """Records as an NDJSON file; texts are lines as they are."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def bundle(name: str = "invoices", **more: Any) -> Bundle:
    """A classifier of them, with a rule."""
    X, y = table(4000, 1)
    scale = make_column_transformer((StandardScaler(), ["amount", "age"]), (OneHotEncoder(), ["country"]))
    pipeline = make_pipeline(scale, LogisticRegression()).fit(X, y)
    rules = [{"id": "tiny", "when": "amount < 20", "then": {"label": "paid"}}]
    return build(pipeline, X, y, name=name, version="1", held_out=table(4000, 2), rules=rules, **more)


def regression() -> Bundle:
    """Two columns of numbers, and a number that follows from them."""
    rng = np.random.default_rng(5)
    X = pd.DataFrame({"x": rng.normal(size=1500), "z": rng.normal(size=1500)})
    y = 3 * X["x"] - X["z"] + rng.normal(0, 0.5, 1500)
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(X[:1000], y[:1000])
    return build(pipeline, X[:1000], y[:1000], name="meter", version="1", held_out=(X[1000:], y[1000:]))
