"""Is this tumour benign? Thirty numbers, a logistic regression.

Data: Wisconsin diagnostic breast cancer (Street, Wolberg and Mangasarian, 1993), as scikit-learn ships it.
"""

from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train() -> dict[str, Any]:
    """Fits the pipeline and describes the bundle."""
    data = load_breast_cancer(as_frame=True)
    y = data.target.map({0: "malignant", 1: "benign"})
    X_train, X_test, y_train, y_test = train_test_split(data.data, y, test_size=0.3, stratify=y, random_state=0)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    pipeline.fit(X_train, y_train)
    return {
        "pipeline": pipeline,
        "X": X_train,
        "y": y_train,
        "held_out": (X_test, y_test),
        "name": "breast_cancer",
        "version": "1.0.0",
        "rules": Path(__file__).with_name("rules.yaml"),
        "features": {str(column): {"min": 0} for column in data.data.columns},
        "description": "Malignant or benign, from the nuclei in a fine needle aspirate of a breast mass.",
        "intended_use": "A demonstration of edgeml. Not for any medical use.",
        "limits": "569 cases of one hospital, 1990 to 1992.",
    }
