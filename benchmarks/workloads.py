"""The work that is measured: deterministic synthetic data, pipelines, records and requests.

1. W1: 6 numeric columns (5 % missing, some on scales of their own) and 8 categorical columns of 5 to 33 levels, 152
   levels in all; imputed and scaled, one-hot encoded: 158 features. A binary label.
2. W2: documents of about 440 characters over 20,000 made-up words, sublinear tf-idf, logistic regression with 30
   classes.
   W5: 158 plain numbers, standardised, logistic regression: the tensor of the Open Inference Protocol requests.
3. The same seed gives the same data, and one pipeline fitted twice gives the same answers, so that every environment
   can make its own instead of unpickling another's.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd

SEED = 20240917
N_TRAIN = 4_000
N_ASKED = (
    256  # different records that each loop walks through, so that no cache or branch predictor learns one by heart
)
N_BATCH = 1_000
NUMERIC = tuple(f"num_{j}" for j in range(6))
LEVELS = tuple(range(5, 34, 4))  # 5, 9, ... 33: 152 in all
CATEGORIES = tuple(f"cat_{j}" for j in range(len(LEVELS)))
COLUMNS = NUMERIC + CATEGORIES
N_FEATURES = len(NUMERIC) + sum(LEVELS)
MISSING = 0.05

# The rule of B5: asked before the model; true for every record that rule_records() gives and false for w1_records().
RULE_FIELD = NUMERIC[0]
RULE_BOUND = 1e5
RULES = [{"id": "off-scale", "when": f"{RULE_FIELD} > {RULE_BOUND:.0f}", "then": {"label": 1, "score": 0.97}}]


def w1_table(n: int, seed: int = SEED) -> pd.DataFrame:
    """Makes n rows of the W1 columns; numbers are float64 with NaN for missing, categories are strings."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for j, name in enumerate(NUMERIC):
        values = np.round(rng.normal(loc=10.0 * j, scale=1.0 + j, size=n), 4)
        values[rng.random(n) < MISSING] = np.nan
        columns[name] = values
    for name, count in zip(CATEGORIES, LEVELS, strict=True):
        # Every level occurs: the first rows walk through them, the others are drawn with falling weights.
        weights = 1.0 / np.arange(1, count + 1)
        drawn = rng.choice(count, size=n, p=weights / weights.sum())
        walk = min(n, count)
        drawn[:walk] = np.arange(walk)
        columns[name] = np.array([f"{name}_level_{code:02d}" for code in drawn], dtype=object)
    return pd.DataFrame(columns, columns=list(COLUMNS))


def w1_label(table: pd.DataFrame, seed: int = SEED + 1) -> np.ndarray:
    """Draws the binary label [n] from a logit over some of the columns."""
    rng = np.random.default_rng(seed)
    logit = np.zeros(len(table))
    for j, name in enumerate(NUMERIC):
        values = table[name].to_numpy()
        logit += np.nan_to_num((values - 10.0 * j) / (1.0 + j)) * (0.9 - 0.25 * j)
    for name, count in zip(CATEGORIES, LEVELS, strict=True):
        effect = dict(
            zip((f"{name}_level_{code:02d}" for code in range(count)), rng.normal(0, 0.5, count), strict=True)
        )
        logit += table[name].map(effect).to_numpy(dtype=np.float64)
    return (rng.random(len(table)) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int64)


def w1_pipeline(model: str) -> Any:
    """Makes the unfitted W1 pipeline.

    Args:
        model: ``lr`` (logistic regression) or ``trees`` (gradient boosting, 100 trees of depth 4).
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    estimators = {
        "lr": LogisticRegression(max_iter=2_000),
        "trees": GradientBoostingClassifier(n_estimators=100, max_depth=4, random_state=SEED),
    }
    return Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        (
                            "numbers",
                            Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())]),
                            list(NUMERIC),
                        ),
                        ("categories", OneHotEncoder(handle_unknown="ignore"), list(CATEGORIES)),
                    ]
                ),
            ),
            ("model", estimators[model]),
        ]
    )


def w1_fitted(model: str) -> tuple[Any, pd.DataFrame, np.ndarray]:
    """Fits the W1 pipeline; returns it with its table [4000, 14] and labels [4000]."""
    table = w1_table(N_TRAIN)
    label = w1_label(table)
    return w1_pipeline(model).fit(table, label), table, label


def asked_table() -> pd.DataFrame:
    """The 256 rows asked one by one; not among the rows of the fit."""
    return w1_table(N_ASKED, seed=SEED + 2)


def batch_table() -> pd.DataFrame:
    """The 1,000 rows asked at once."""
    return w1_table(N_BATCH, seed=SEED + 3)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dicts; a missing number is None, as in JSON."""
    return [
        {name: None if value != value else value for name, value in row.items()} for row in table.to_dict("records")
    ]


def rule_list(count: int) -> list[dict[str, Any]]:
    """Rules that each ask for a narrow range of a number and for a level, bounds spread as the numbers are."""
    draw = np.random.default_rng(SEED + 11)
    rules = []
    for _ in range(count):
        j, k = int(draw.integers(len(NUMERIC))), int(draw.integers(len(CATEGORIES)))
        low = round(float(draw.normal(10.0 * j, 1.0 + j)), 4)
        level = f"{CATEGORIES[k]}_level_{int(draw.integers(LEVELS[k])):02d}"
        when = f'{NUMERIC[j]} > {low} and {NUMERIC[j]} < {round(low + 0.01, 4)} and {CATEGORIES[k]} == "{level}"'
        rules.append({"when": when, "then": {"label": 1, "score": 0.97}})
    return rules


def rule_list_records(count: int) -> list[dict[str, Any]]:
    """The asked records, each changed so that one of the rules, drawn evenly, is true for it; an earlier one may be."""
    rules = rule_list(count)
    draw = np.random.default_rng(SEED + 12)
    made = []
    for record in records(asked_table()):
        name, _, low, _, _, _, _, _, category, _, level = rules[int(draw.integers(count))]["when"].split()
        made.append(record | {name: float(low) + 0.005, category: level.strip('"')})
    return made


def rule_records() -> list[dict[str, Any]]:
    """The asked records, each changed so that the rule answers it."""
    return [record | {RULE_FIELD: RULE_BOUND + 1.0 + number} for number, record in enumerate(records(asked_table()))]


N_TERMS, N_CLASSES, WORDS_OF_DOCUMENT = 20_000, 30, 58


def w2_words() -> list[str]:
    """The 20,000 words: syllables counted up, three to four of them."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el")]
    words = [a + b + c for a in syllables for b in syllables for c in syllables[:3]]
    return sorted(set(words))[:N_TERMS]


def w2_documents(n: int, seed: int = SEED + 7) -> tuple[list[str], np.ndarray]:
    """Makes n documents, words drawn with falling weights of which each class has an order of its own; and classes."""
    rng = np.random.default_rng(seed)
    words = np.array(w2_words())
    orders = [np.random.default_rng(SEED + 8 + k).permutation(N_TERMS) for k in range(N_CLASSES)]
    weights = 1.0 / np.arange(10, N_TERMS + 10)
    weights /= weights.sum()
    label = rng.integers(0, N_CLASSES, n)
    drawn = rng.choice(N_TERMS, size=(n, WORDS_OF_DOCUMENT), p=weights)
    common = rng.random((n, WORDS_OF_DOCUMENT)) < 0.7
    texts = []
    for k, ranks, shared in zip(label.tolist(), drawn, common, strict=True):
        chosen = words[np.where(shared, ranks, orders[k][ranks])]
        texts.append(" ".join(chosen).capitalize() + ".")
    return texts, label


def w2_fitted() -> tuple[Any, list[str], np.ndarray]:
    """Fits the W2 pipeline on a plain list of texts; returns it with the texts and their classes."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, label = w2_documents(N_TRAIN)
    vectorizer = TfidfVectorizer(sublinear_tf=True, vocabulary=w2_words())
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=15))
    with warnings.catch_warnings():
        # Fifteen steps give a classifier that is right; how well its weights have settled changes no figure.
        warnings.simplefilter("ignore")
        return pipeline.fit(texts, label), texts, label


def w2_asked() -> list[str]:
    """The 256 documents asked one by one; not among those of the fit."""
    return w2_documents(N_ASKED, seed=SEED + 9)[0]


def w5_matrix(n: int, seed: int = SEED + 4) -> np.ndarray:
    """Makes n rows of 158 numbers, float32 with at most 5 decimals (so JSON gives the same float32 back)."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=(n, N_FEATURES)), 5).astype(np.float32)


def w5_fitted() -> tuple[Any, np.ndarray, np.ndarray]:
    """Fits logistic regression on the W5 matrix; returns it with the matrix [4000, 158] and labels [4000]."""
    from sklearn.linear_model import LogisticRegression

    matrix = w5_matrix(N_TRAIN)
    rng = np.random.default_rng(SEED + 5)
    label = (matrix @ rng.normal(size=N_FEATURES) + rng.normal(size=N_TRAIN) > 0).astype(np.int64)
    return LogisticRegression(max_iter=2_000).fit(matrix, label), matrix, label


# Requests: bodies of POSTs, one for each asked row


def record_bodies() -> list[bytes]:
    """W4 for the peers: the record itself."""
    return [_json(record) for record in records(asked_table())]


def edgeml_record_bodies() -> list[bytes]:
    """W4 for edgeml: the record in the envelope of the records API."""
    return [_json({"records": [record]}) for record in records(asked_table())]


def oip_record_bodies() -> list[bytes]:
    """W4 in the form that an Open Inference Protocol server takes: one tensor [1, 1] for each column."""
    bodies = []
    for record in records(asked_table()):
        inputs = []
        for name in COLUMNS:
            datatype = "FP32" if name in NUMERIC else "BYTES"
            # The protocol's JSON has no null in a tensor; MLServer turns a null of FP32 into NaN.
            inputs.append({"name": name, "shape": [1, 1], "datatype": datatype, "data": [record[name]]})
        bodies.append(_json({"inputs": inputs}))
    return bodies


def oip_tensor_bodies() -> list[bytes]:
    """W5: one FP32 tensor [1, 158]."""
    return [
        _json(
            {
                "inputs": [
                    {
                        "name": "input",
                        "shape": [1, N_FEATURES],
                        "datatype": "FP32",
                        "data": [float(f"{value:.5f}") for value in row],
                    }
                ]
            }
        )
        for row in w5_matrix(N_ASKED, seed=SEED + 6)
    ]


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
