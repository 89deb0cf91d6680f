"""What a middle tier brings: answers before the full model, accuracy kept and cost, with light and heavy full models.

``python -m benchmarks.middle_tier [NAME ...]`` prints a table. The threshold is chosen on calibration rows that are a
part of the training data and that neither model has seen; the test rows are looked at once, at the end. Costs are
medians of single records in this process, with all tiers, against the full model alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Both models on one core, as on a small box; to be said before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml
from edgeml.monitor.binomial import upper_bound
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.trade import Trade

ROOT = Path(__file__).resolve().parents[1]
CALIBRATION = 0.25


@dataclass(frozen=True)
class Workload:
    """A full model over data with a test part.

    Attributes:
        what: In words.
        budget: Of the middle tier.
        train: Gives the training part (X, y) and the test part (X, y).
        pipeline: Makes the unfitted full model.
        features: As of ``edgeml.build``.
    """

    what: str
    budget: float
    train: Callable[[], tuple[Any, Any, Any, Any]]
    pipeline: Callable[[], Any]
    features: dict[str, Any]


def documents(name: str) -> Callable[[], tuple[Any, Any, Any, Any]]:
    """A corpus with its usual split."""

    def read() -> tuple[Any, Any, Any, Any]:
        sys.path.insert(0, str(ROOT / "models" / "documents"))
        from corpus import corpus  # type: ignore[import-not-found,unused-ignore]

        parts = [corpus(name, part) for part in ("train", "test")]
        (X, y), (X_test, y_test) = ((pd.DataFrame({"text": texts}), np.array(labels)) for texts, labels in parts)
        return X, y, X_test, y_test

    return read


def digits() -> tuple[Any, Any, Any, Any]:
    """Written digits of 8 x 8 levels as a table."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    return X_train, y_train, X_test, y_test


def words(**more: Any) -> ColumnTransformer:
    """The vectorizer of the documents example."""
    return ColumnTransformer([("words", TfidfVectorizer(sublinear_tf=True, min_df=2, **more), "text")])


TEXT = {"text": {"kind": "text"}}
WORKLOADS = {
    "r8-lr": Workload(
        "R8, logistic regression",
        0.005,
        documents("reuters-r8"),
        lambda: make_pipeline(words(), LogisticRegression(C=20, max_iter=300)),
        TEXT,
    ),
    "r8-forest": Workload(
        "R8, forest of 200 trees",
        0.005,
        documents("reuters-r8"),
        lambda: make_pipeline(words(max_features=5000), RandomForestClassifier(200, n_jobs=2, random_state=0)),
        TEXT,
    ),
    "digits-mlp": Workload(
        "digits, MLP 512-512",
        0.01,
        digits,
        lambda: make_pipeline(StandardScaler(), MLPClassifier((512, 512), max_iter=60, random_state=0)),
        {},
    ),
    "digits-forest": Workload(
        "digits, forest of 500 trees",
        0.01,
        digits,
        lambda: RandomForestClassifier(500, n_jobs=2, random_state=0),
        {},
    ),
}


def measured(workload: Workload, *, rules: Any = None) -> dict[str, Any]:
    """Builds a workload with and without its middle tier and compares both on the test part.

    Args:
        workload: The workload.
        rules: Rules to ask first, as of ``edgeml.build``.

    Returns:
        Figures of the test part: shares of the tiers, accuracies, records lost with the bound of their share, costs.
    """
    X, y, X_test, y_test = workload.train()
    X_fit, X_kept, y_fit, y_kept = train_test_split(X, y, test_size=CALIBRATION, random_state=0)
    full = workload.pipeline().fit(X_fit, y_fit)
    if hasattr(full[-1] if hasattr(full, "steps") else full, "n_jobs"):
        (full[-1] if hasattr(full, "steps") else full).n_jobs = 1
    bundle = edgeml.build(
        full,
        X_fit,
        y_fit,
        name="middle",
        version="1",
        held_out=(X_kept, None),
        rules=rules,
        features=workload.features,
        middle={"budget": workload.budget, "calibration": (X_kept, y_kept)},
    )
    predictor = Predictor.from_bundle(bundle)
    names = [feature.name for feature in predictor.schema.features]
    rows = X_test.to_numpy().tolist() if hasattr(X_test, "to_numpy") else X_test.tolist()
    records = [dict(zip(names, row, strict=True)) for row in rows]
    document = json.loads(bundle.members["rules.json"]) if "rules.json" in bundle.members else None
    trade = Trade(predictor, records, y_test.tolist(), document)
    truth = np.asarray([str(label) for label in y_test])
    with_tiers = predictor.predict_many(records)
    alone = np.asarray([str(label) for label in trade.model_answers()])
    said = np.asarray([str(label) for label in with_tiers.label_list()])
    n, lost = len(truth), int(((alone == truth) & (said != truth)).sum())
    tiers = {tier: count / n for tier, count in with_tiers.tier_counts().items()}
    cost = sum(share * trade.costs[tier].wall_us for tier, share in tiers.items() if tier in trade.costs)
    return {
        "what": workload.what,
        "engine": predictor.session.backend,
        "test rows": n,
        "tiers": tiers,
        "before the model": tiers["rule"] + tiers["middle"],
        "accuracy": float((said == truth).mean()),
        "model alone": float((alone == truth).mean()),
        "kept": float((said == truth).mean() / (alone == truth).mean()),
        "lost": lost,
        "lost at most": upper_bound(lost, n, 0.95),
        "budget": workload.budget,
        "threshold": bundle.config["middle"]["threshold"],
        "calibration rows": len(y_kept),
        "middle us": trade.costs["middle"].wall_us,
        "model us": trade.costs["model only"].wall_us,
        "mean us": cost,
        "cost": cost / trade.costs["model only"].wall_us,
    }


def table(found: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| | runs in | before the model | accuracy | model's | kept | lost (at most) | model, us | mean, us | cost |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['what']} | {each['engine']} | {each['before the model']:.1%} | {each['accuracy']:.4f} | "
        f"{each['model alone']:.4f} | {each['kept']:.2%} | {each['lost']} of {each['test rows']} "
        f"({each['lost at most']:.2%}) | {each['model us']:.1f} | {each['mean us']:.1f} | {each['cost']:.2f} |"
        for each in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(WORKLOADS)}; default all")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--rules", type=Path, help="rules to ask first, as edgeml.build takes them")
    given = parser.parse_args()
    found = [measured(WORKLOADS[name], rules=given.rules) for name in given.names or WORKLOADS]
    print(json.dumps(found, indent=1) if given.json else table(found))


if __name__ == "__main__":
    main()
