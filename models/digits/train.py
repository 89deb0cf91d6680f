"""Which digit is this? Sixty-four grey values, a random forest behind a scaler.

Data: the UCI test set of optical digits (Alpaydin and Kaynak, 1998), as scikit-learn ships it. No rules: nobody can
say in words what a three looks like in 8 x 8 pixels.
"""

from typing import Any

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train() -> dict[str, Any]:
    """Fits the pipeline and describes the bundle."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=60, random_state=0))
    pipeline.fit(X_train, y_train)
    return {
        "pipeline": pipeline,
        "X": X_train,
        "y": y_train,
        "held_out": (X_test, y_test),
        "name": "digits",
        "version": "1.0.0",
        "features": {f"x{pixel}": {"min": 0, "max": 16} for pixel in range(64)},
        "description": "The digit in a picture of 8 x 8 grey values from 0 (white) to 16 (black).",
        "intended_use": "A demonstration of edgeml with an image-like input.",
        "limits": "Digits of 43 people, centred and scaled as in the training data.",
    }
