"""Bundles with a middle tier: a table of numbers, categories and texts, a forest, and a small logistic regression."""

from functools import cache

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

LABELS = ["grain", "oil", "ship"]
WORDS = {"grain": "wheat corn maize tonnes", "oil": "crude barrel opec price", "ship": "port vessel strike price"}
RULES = [{"id": "opec", "when": 'remark contains word "opec"', "then": {"label": "oil", "score": 0.99}}]
BUDGET = 0.05


def table(n, seed):
    """Rows, and their labels: words that mostly belong to the label, numbers around one of three places."""
    random = np.random.default_rng(seed)
    labels = random.choice(LABELS, size=n)
    remarks, weights = [], []
    for label in labels:
        own = label if random.random() < 0.8 else random.choice(LABELS)
        remarks.append(" ".join([*random.choice(WORDS[own].split(), size=3), *random.choice(["the", "of", "said"], 4)]))
        weight = 10.0 * LABELS.index(label) + random.normal(0, 6)
        weights.append(np.nan if random.random() < 0.1 else weight)
    where = np.where(random.random(n) < 0.1, None, random.choice(["north", "south"], n))
    return pd.DataFrame({"weight": weights, "where": pd.Series(where, dtype=object), "remark": remarks}), labels


def records_of(X):
    """The rows as records."""
    named = X.itertuples(index=False)
    return [{"weight": None if np.isnan(w) else w, "where": p, "remark": r} for w, p, r in named]


def columns(words):
    return ColumnTransformer(
        [
            ("weight", SimpleImputer(strategy="median"), ["weight"]),
            ("where", OneHotEncoder(handle_unknown="ignore"), ["where"]),
            ("remark", TfidfVectorizer(max_features=words), "remark"),
        ]
    )


@cache
def pipelines():
    """The full one, and one over half of the words."""
    X, y = table(300, 1)
    full = make_pipeline(columns(None), RandomForestClassifier(10, max_depth=8, random_state=0))
    small = make_pipeline(columns(8), LogisticRegression(C=10, max_iter=500))
    return full.fit(X, y), small.fit(X, y)


def arguments(**changes):
    """What ``edgeml.build`` takes, with a middle tier."""
    X, y = table(300, 1)
    full, small = pipelines()
    given = {
        "pipeline": full,
        "X": X,
        "y": y,
        "held_out": table(240, 2),
        "name": "wires",
        "version": "1",
        "rules": RULES,
        "features": {"remark": {"kind": "text"}},
        "middle": {"pipeline": small, "budget": BUDGET},
    }
    return given | changes
