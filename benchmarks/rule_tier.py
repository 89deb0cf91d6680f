"""Learned rules before the model: ``python -m benchmarks.rule_tier`` writes ``benchmarks/results/rule_tier.json``.

1. For each data set: the model is fitted on the training rows, ``edgeml.build(..., rules={"learn": ...})`` learns from
   the same rows, and the test rows are answered by the bundle with its rules and by its model alone.
2. A second bundle has rules that promise 95 % and a middle tier. Its models and rules are of three quarters of the
   training rows, its threshold is chosen on the last quarter; test rows choose nothing. What it keeps is a share of
   what its own model alone gets right.
3. Costs are of ``Predictor.predict``, one record after the other in this process; both take turns, and the fastest of
   the rounds counts for each.
4. The promise is checked over random splits of all rows: rules are learned on one part and asked on the other. A rule's
   share of right answers there is itself a draw, so two counts are given for the splits: in how many some rule's share
   is below the target, and in how many this cannot be luck (its exact upper bound at the stated confidence, corrected
   for the number of rules of the split, is below the target). The whole tier's share is compared likewise.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import edgeml
from benchmarks import learning_data
from benchmarks.report import put_into
from edgeml.builder.rule_learning import LearnOptions
from edgeml.builder.rule_lesson import lesson
from edgeml.builder.rule_proof import lower_bound, upper_bound
from edgeml.builder.schema_inference import infer_schema
from edgeml.errors import BuildError
from edgeml.runtime.other_tiers import with_tiers
from edgeml.runtime.prediction import MIDDLE, RULE
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

RESULTS = Path(__file__).resolve().parent / "results" / "rule_tier.json"
# What is promised of each rule, and the precision that is grown for.
OPTIONS: dict[str, dict[str, Any]] = {
    "r8": {"target": 0.9, "aim": 0.945},
    "r52": {"target": 0.9, "aim": 0.945},
    "20newsgroups": {"target": 0.9, "aim": 0.95},
    "churn": {"target": 0.95},
    "breast_cancer": {"target": 0.9},
}
NAMES = {
    "r8": "Reuters R8",
    "r52": "Reuters R52",
    "20newsgroups": "20 newsgroups",
    "churn": "churn",
    "breast_cancer": "breast cancer",
}
CONFIDENCE = 0.95
START, END = "<!-- rules: start -->", "<!-- rules: end -->"
README = Path(__file__).resolve().parents[1] / "README.md"
SPLITS = 20
TIMED = 1_000
ROUNDS = 7


def costs(predictors: list[Predictor], records: list[dict[str, Any]]) -> list[float]:
    """Microseconds for each record, of each predictor."""
    best = [float("inf")] * len(predictors)
    for _ in range(ROUNDS):
        for at, predictor in enumerate(predictors):
            ask = predictor.predict
            start = time.perf_counter()
            for record in records:
                ask(record)
            best[at] = min(best[at], (time.perf_counter() - start) / len(records) * 1e6)
    return best


def standard(data: learning_data.Data, options: dict[str, Any]) -> dict[str, Any]:
    """The figures of one data set on its own split."""
    pipeline = data.pipeline().fit(data.train, data.y_train)
    start = time.perf_counter()
    bundle = edgeml.build(
        pipeline,
        data.train,
        data.y_train,
        name=data.name.replace("_", "-"),
        version="1",
        held_out=(data.test, data.y_test),
        features=data.features,
        rules={"learn": {"confidence": CONFIDENCE, **options}},
    )
    took = time.perf_counter() - start
    predictor = Predictor.from_bundle(bundle)
    alone = with_tiers(predictor)
    records = data.test.to_dict("records")
    whole, model = predictor.predict_many(records), alone.predict_many(records)
    truth = np.array(data.y_test.tolist(), dtype=object)
    answers = np.array(whole.label_list(), dtype=object)
    said = np.array(model.label_list(), dtype=object)
    by_rule = whole.tiers == RULE
    documents = [] if predictor.rules is None else predictor.rules.rules
    rules = []
    for at, rule in enumerate(documents):
        here = whole.rule_index == at
        if rule.label is None:
            continue
        right = int((truth[here] == rule.label).sum())
        rules.append(
            {
                "id": rule.id,
                "when": rule.when,
                "label": rule.label,
                "score": rule.score,
                "rows": int(here.sum()),
                "right": right,
            }
        )
    middle = with_middle(data)
    timed = records[:TIMED]
    asked = [predictor, alone] if middle is None else [predictor, alone, middle]
    with_rules, model_only, *with_both = costs(asked, timed)
    accuracy, of_model = float((answers == truth).mean()), float((said == truth).mean())
    return {
        "options": options,
        "train": len(data.train),
        "test": len(data.test),
        "labels": int(data.y_train.nunique()),
        "rules": rules,
        "coverage": float(by_rule.mean()),
        "precision": float((answers == truth)[by_rule].mean()) if by_rule.any() else None,
        "model_on_these": float((said == truth)[by_rule].mean()) if by_rule.any() else None,
        "agreement": float((answers == said)[by_rule].mean()) if by_rule.any() else None,
        "accuracy": accuracy,
        "accuracy_of_model": of_model,
        "kept": accuracy / of_model,
        "us": with_rules,
        "us_of_model": model_only,
        "cost": with_rules / model_only,
        "build_s": took,
        "middle": None if middle is None else early(middle, records, truth) | {"us": with_both[0]},
    }


def with_middle(data: learning_data.Data) -> Predictor | None:
    """Rules and a middle tier; None where none can be promised on so few rows."""
    fitted = data.train.sample(frac=0.75, random_state=0).index
    kept = data.train.index.difference(fitted)
    try:
        made = edgeml.build(
            data.pipeline().fit(data.train.loc[fitted], data.y_train.loc[fitted]),
            data.train.loc[fitted],
            data.y_train.loc[fitted],
            name=data.name.replace("_", "-"),
            version="2",
            features=data.features,
            rules={"learn": {"confidence": CONFIDENCE}},
            middle={"calibration": (data.train.loc[kept], data.y_train.loc[kept])},
        )
    except BuildError as error:
        print(f"{data.name}: no middle tier: {error}")
        return None
    return Predictor.from_bundle(made)


def early(predictor: Predictor, records: list[dict[str, Any]], truth: Any) -> dict[str, Any]:
    """How much is answered before the full model, and how well."""
    whole = predictor.predict_many(records)
    right = np.array(whole.label_list(), dtype=object) == truth
    said = np.array(with_tiers(predictor).predict_many(records).label_list(), dtype=object)
    of_model = float((said == truth).mean())
    before = (whole.tiers == RULE) | (whole.tiers == MIDDLE)
    return {
        "before_model": float(before.mean()),
        "right": float(right[before].mean()) if before.any() else None,
        "accuracy": float(right.mean()),
        "kept": float(right.mean()) / of_model,
    }


def promise(data: learning_data.Data, options: dict[str, Any], splits: int) -> dict[str, Any]:
    """How often the promise holds over random splits."""
    found = []
    for seed in range(splits):
        parts = data.shuffled(seed)
        found.append(one_split(parts, LearnOptions(**{"confidence": CONFIDENCE, "seed": seed, **options})))
    ruled = [split for split in found if split["rules"]]
    return {
        "splits": splits,
        "with_rules": len(ruled),
        "some_rule_below": sum(split["below"] > 0 for split in ruled),
        "some_rule_surely_below": sum(split["surely_below"] > 0 for split in ruled),
        "rules": sum(split["rules"] for split in ruled),
        "rules_below": sum(split["below"] for split in ruled),
        "rules_surely_below": sum(split["surely_below"] for split in ruled),
        "tier_below": sum(split["precision"] < options["target"] for split in ruled),
        "smallest_tier_precision": min((split["precision"] for split in ruled), default=None),
        "coverage": float(np.mean([split["coverage"] for split in found])),
        "each": found,
    }


def one_split(data: learning_data.Data, options: LearnOptions) -> dict[str, Any]:
    """Learns on the training rows of a split, and asks the rules on its test rows."""
    schema = schema_of(data)
    reader = RecordReader(schema, max_rows=10**9)
    frames = []
    for table in (data.train, data.test):
        frame = reader.new_frame(len(table))
        reader.read_columns(frame, {column: table[column].to_numpy() for column in table})
        frames.append(frame)
    labels = sorted(set(data.y_train))
    made = lesson(schema, frames[0], data.y_train.tolist(), labels, options=options)
    answering = np.full(len(data.test), -1, dtype=np.int32)
    rules = RuleList.from_document(made.document, schema, labels)
    rules.match(frames[1].capsule, answering)
    truth = np.array(data.y_test.tolist(), dtype=object)
    counted = []
    for at, rule in enumerate(rules.rules):
        here = answering == at
        if rule.label is not None and here.any():
            counted.append((int(here.sum()), int((truth[here] == rule.label).sum())))
    alpha = (1 - options.confidence) / max(1, len(counted))
    rows, right = sum(n for n, _ in counted), sum(k for _, k in counted)
    return {
        "rules": len(counted),
        "below": sum(k / n < options.target for n, k in counted),
        "surely_below": sum(upper_bound(n, k, alpha) < options.target for n, k in counted),
        "coverage": rows / len(data.test),
        "precision": right / rows if rows else 1.0,
        "lower": lower_bound(rows, right, 1 - options.confidence),
        "counts": counted,
    }


def schema_of(data: learning_data.Data) -> Schema:
    """The schema that a bundle of the data would have."""
    return infer_schema(data.train, pipeline=_fitted(data), overrides=data.features).schema


def _fitted(data: learning_data.Data) -> Any:
    """A model, for what it takes as missing and unseen; what it answers is not asked here, and a part is enough."""
    part = data.train.sample(min(len(data.train), 1_000), random_state=0).index
    return data.pipeline().fit(data.train.loc[part], data.y_train.loc[part])


def table(found: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        "| data | rules | promised of each | answered by rules | of these right | accuracy kept | cost "
        "| with the middle tier: before the model | accuracy kept | cost |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    found = {name: found[name] for name in NAMES if name in found}
    for name, each in found.items():
        if "standard" not in each:
            continue
        one = each["standard"]
        precision = "" if one["precision"] is None else f"{one['precision']:.1%}"
        both = one.get("middle")
        rest = (
            "| | |"
            if both is None
            else (f"{both['before_model']:.1%} | {both['kept']:.2%} | {both['us'] / one['us_of_model']:.2f} |")
        )
        lines.append(
            f"| {NAMES[name]} | {len(one['rules'])} | {one['options']['target']:.0%} | {one['coverage']:.1%} "
            f"| {precision} | "
            f"{one['kept']:.2%} | {one['cost']:.2f} | {rest}"
        )
    lines += [
        "",
        "| data | splits | rules | below target | surely below | splits with one of these | tier below | coverage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        if "promise" in each:
            one = each["promise"]
            lines.append(
                f"| {NAMES[name]} | {one['splits']} | {one['rules']} | {one['rules_below']} | "
                f"{one['rules_surely_below']} | "
                f"{one['some_rule_surely_below']} | {one['tier_below']} | {one['coverage']:.1%} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the table and stores it."""
    parser = argparse.ArgumentParser(description="Learned rules before the model.")
    parser.add_argument("--data", nargs="*", choices=learning_data.NAMES, default=list(learning_data.NAMES))
    parser.add_argument(
        "--splits", type=int, default=SPLITS, help="Random splits for each data set; 0 leaves them out."
    )
    parser.add_argument("--split-data", nargs="*", choices=learning_data.NAMES, default=["r8", "churn"])
    parser.add_argument("--readme", action="store_true", help="Put the table into README.md.")
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in given.data:
        data, options = learning_data.load(name), OPTIONS[name]
        found.setdefault(name, {})["standard"] = standard(data, options)
        if given.splits and name in given.split_data:
            found[name]["promise"] = promise(data, options, given.splits)
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(table(found))
    if given.readme:
        README.write_text(put_into(README.read_text(), table(found) + "\n", marks=(START, END)))


if __name__ == "__main__":
    main()
