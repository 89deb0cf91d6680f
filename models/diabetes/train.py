"""How far has the disease gone after a year? Ten numbers, a regression.

Data: diabetes (Efron, Hastie, Johnstone and Tibshirani, Annals of Statistics 32(2), 2004), as scikit-learn ships it.
"""

from typing import Any

from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split


def train() -> dict[str, Any]:
    """Fits the regressor and describes the bundle."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    model = HistGradientBoostingRegressor(max_iter=60, max_depth=3, learning_rate=0.08, random_state=0)
    model.fit(X_train, y_train)
    return {
        "pipeline": model,
        "X": X_train,
        "y": y_train,
        "held_out": (X_test, y_test),
        "name": "diabetes",
        "version": "1.0.0",
        "description": "A measure of the progression of diabetes one year after the baseline.",
        "intended_use": "A demonstration of edgeml with a regression. Not for any medical use.",
        "limits": "442 patients.",
    }
