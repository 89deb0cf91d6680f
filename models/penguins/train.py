"""Which species is this penguin? Mixed columns, missing values, text categories.

Data: Palmer Archipelago penguins (Gorman, Williams and Fraser, PLOS ONE 9(3), 2014), from the package
``palmerpenguins``: 344 birds, 3 species, 19 values missing.
"""

from pathlib import Path
from typing import Any

from palmerpenguins import load_penguins
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CATEGORIES = ["island", "sex"]


def train() -> dict[str, Any]:
    """Fits the pipeline and describes the bundle."""
    table = load_penguins()
    X, y = table[NUMBERS + CATEGORIES], table["species"]
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    pipeline = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
                ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
            ]
        ),
        GradientBoostingClassifier(n_estimators=40, max_depth=3, random_state=0),
    )
    pipeline.fit(X_train, y_train)
    return {
        "pipeline": pipeline,
        "X": X_train,
        "y": y_train,
        "held_out": (X_test, y_test),
        "name": "penguins",
        "version": "1.0.0",
        "rules": Path(__file__).with_name("rules.yaml"),
        "features": {
            "bill_length_mm": {"unit": "mm", "min": 10, "max": 100},
            "bill_depth_mm": {"unit": "mm", "min": 5, "max": 40},
            "flipper_length_mm": {"unit": "mm", "min": 50, "max": 400},
            "body_mass_g": {"unit": "g", "min": 500, "max": 20_000},
        },
        "description": "Species of an adult penguin of the Palmer Archipelago from its measurements.",
        "intended_use": "A demonstration of edgeml, and field notes on the three species of the Palmer Archipelago.",
        "limits": "Knows three species on three islands, 2007 to 2009; any other penguin gets one of these names.",
    }
