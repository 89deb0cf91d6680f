"""A bundle whose rules were right when it was built, in a world in which one of them no longer is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from edgeml.builder import build
from edgeml.bundles import Bundle

RULES = [
    {"id": "kept", "when": "x > 0.5", "then": {"label": "plus"}},
    {"id": "moved", "when": "z > 0.5", "then": {"label": "plus"}},
]
# What each rule answers, and what none does. Whoever has z > 0.5 has x < 0 by now.
KEPT, MOVED, NEITHER = {"x": 0.9, "z": 0.0}, {"x": -0.6, "z": 0.9}, {"x": 0.2, "z": 0.0}


def table(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Records as they were, with the sign of x; large z came with x > 0."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(-1, 1, rows), rng.uniform(-1, 1, rows)
    x = np.where(z > 0.4, abs(x), x)
    return pd.DataFrame({"x": x, "z": z}), np.where(x > 0, "plus", "minus")


def signs(version: str = "1", rules: list[dict[str, Any]] | None = None, **more: Any) -> Bundle:
    """A classifier that sees x alone, with rules."""
    X, y = table(1000, 1)
    model = LogisticRegression(C=100).fit(X, y)
    model.coef_ = np.array([[30.0, 0.0]])
    model.intercept_ = np.array([0.0])
    given = RULES if rules is None else rules
    return build(model, X, y, name="signs", version=version, rules=given, held_out=table(1000, 2), **more)
