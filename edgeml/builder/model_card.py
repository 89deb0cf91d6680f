"""The model card: what the bundle is, made from what was measured, in Markdown.

The sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). Every figure comes from this build;
only the purpose, the intended use and the known limits are the author's words. Where the author said nothing, the
card says that nothing was said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.baseline import Baseline
from edgeml.runtime.prediction import Label
from edgeml.runtime.schema import Feature, Schema


@dataclass(frozen=True)
class Quality:
    """How good the bundle is on rows with known answers.

    Attributes:
        rows: How many.
        held_out: Whether the pipeline never saw them (else they are the reference rows, and too kind).
        overall: Measure -> value.
        by_label: Label -> precision, recall, f1 and support; empty for a regression.
    """

    rows: int
    held_out: bool
    overall: Mapping[str, float]
    by_label: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rows": self.rows,
            "held_out": self.held_out,
            "overall": dict(self.overall),
            "by_label": {label: dict(values) for label, values in self.by_label.items()},
        }


def classification_quality(
    answers: Sequence[Label | None], truth: Sequence[Label], labels: Sequence[Label], *, held_out: bool
) -> Quality:
    """Accuracy, and precision, recall and F1 of each label (0 where undefined, as scikit-learn's zero_division)."""
    hits = sum(answer == true for answer, true in zip(answers, truth, strict=True))
    by_label: dict[str, dict[str, float]] = {}
    for label in labels:
        given = sum(answer == label for answer in answers)
        support = sum(true == label for true in truth)
        right = sum(answer == true == label for answer, true in zip(answers, truth, strict=True))
        precision = right / given if given else 0.0
        recall = right / support if support else 0.0
        by_label[str(label)] = {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if right else 0.0,
            "support": float(support),
        }
    macro = sum(values["f1"] for values in by_label.values()) / max(1, len(by_label))
    return Quality(len(truth), held_out, {"accuracy": hits / max(1, len(truth)), "macro F1": macro}, by_label)


def regression_quality(answers: NDArray[np.float64], truth: NDArray[np.float64], *, held_out: bool) -> Quality:
    """Mean absolute error, root mean squared error (both in the target's unit) and R squared."""
    error = answers - truth
    spread = float(np.square(truth - truth.mean(axis=0)).sum())
    overall = {
        "mean absolute error": float(np.abs(error).mean()),
        "root mean squared error": float(np.sqrt(np.square(error).mean())),
        "R2": 1.0 - float(np.square(error).sum()) / spread if spread else 0.0,
    }
    return Quality(len(truth), held_out, overall)


def model_card(
    config: Mapping[str, Any],
    schema: Schema,
    *,
    description: str,
    intended_use: str,
    limits: str,
    estimator: str,
    compiled_steps: Sequence[str],
    exported_steps: Sequence[str],
    reference: Mapping[str, Any],
    quality: Quality | None,
    baseline: Baseline | None,
    tiers: Mapping[str, int],
    rules: Sequence[Mapping[str, Any]],
) -> str:
    """Writes the card.

    Args:
        config: The bundle's config, with the parity summary.
        schema: What a record looks like.
        description: What the bundle answers (author).
        intended_use: For what and by whom it is meant to be used (author).
        limits: Known limits (author).
        estimator: Name of the model's class.
        compiled_steps: Steps that run in the compiled core.
        exported_steps: Steps that run in ONNX Runtime.
        reference: The drift reference.
        quality: Measured quality, None where no answers were given.
        baseline: The simplest answers, None where no answers were given.
        tiers: Tier -> rows of the measured rows that it answered.
        rules: Documents of the rules, with what was measured of them.
    """
    unsaid = "The author has not said."
    parts = [
        f"# {config['name']} {config['version']}",
        "",
        description or unsaid,
        "",
        "## Intended use",
        "",
        intended_use or unsaid,
        "",
        "## Limits",
        "",
        limits or unsaid,
        "",
        "## What is inside",
        "",
        f"- Task: {config['task']}; model: {estimator}.",
        f"- In the compiled core: {', '.join(compiled_steps) or 'nothing but the reading of records'}.",
        f"- In {'the native kernel' if config['parity'].get('engine') == 'native' else 'ONNX Runtime'}: "
        f"{', '.join([*exported_steps, estimator])}.",
        *([f"- Why there: {config['parity']['why']}."] if "why" in config["parity"] else []),
        f"- Fallback answer when the model fails: {_fallback(config['fallback'])}.",
        f"- Built with {', '.join(f'{name} {version}' for name, version in config['toolchain'].items())}.",
        "",
        *_parity(config["parity"], float(config["tolerance"])),
        *_quality(quality, baseline),
        *_tiers(tiers, rules, config.get("middle")),
        *_data(schema, reference),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _fallback(fallback: Mapping[str, Any]) -> str:
    return f"`{fallback['label']}`" if "label" in fallback else f"{fallback.get('value')}"


def _parity(parity: Mapping[str, Any], tolerance: float) -> list[str]:
    return [
        "## Parity with the pipeline",
        "",
        f"{parity['rows']} rows were answered by both the pipeline and this bundle: "
        f"{parity['flips']} labels differ, the largest difference of a score or value is "
        f"{parity['max_difference']:.3g} (allowed: {tolerance:g}).",
        "",
    ]


def _quality(quality: Quality | None, simplest: Baseline | None) -> list[str]:
    if quality is None:
        return ["## Quality", "", "Not measured: no known answers were given to the build.", ""]
    rows = (
        f"{quality.rows} held-out rows"
        if quality.held_out
        else f"the {quality.rows} reference rows (no held-out rows were given, so these figures are too kind)"
    )
    lines = ["## Quality", "", f"Measured through all tiers on {rows}.", ""]
    lines += [f"- {name}: {value:.4g}" for name, value in quality.overall.items()]
    if simplest is not None:
        lines += [
            "",
            f"For comparison ({simplest.measure}): always the same answer {simplest.majority:.4g}; "
            f"best single rule {simplest.one_rule:.4g}" + (f" ({simplest.rule})." if simplest.rule else "."),
        ]
    if quality.by_label:
        lines += ["", "| label | precision | recall | F1 | rows |", "|---|---|---|---|---|"]
        lines += [
            f"| {label} | {v['precision']:.3f} | {v['recall']:.3f} | {v['f1']:.3f} | {v['support']:.0f} |"
            for label, v in quality.by_label.items()
        ]
    return [*lines, ""]


def _middle(middle: Mapping[str, Any]) -> list[str]:
    rows = {
        "calibration": "rows that neither model has seen",
        "held_out": "held-out rows",
        "split": "rows of the training data that the small model has not learnt from",
    }[middle["source"]]
    what = (
        "answered wrongly by the middle tier"
        if middle["source"] == "split"
        else "answered wrongly by the middle tier where the bundle without it would have been right"
    )
    return [
        "",
        f"The middle tier ({middle['estimator']}) answers from a largest score of {middle['threshold']:.5g} on. "
        f"The threshold was chosen on {middle['rows']} {rows}: with a confidence of {middle['confidence']:g} at most "
        f"{middle['budget']:.3g} of all such records are {what}. Of these rows it answered {middle['answered']:.1%}; "
        f"{middle['lost']} were lost, which bounds the share by {middle['bound']:.4g}.",
    ]


def _tiers(tiers: Mapping[str, int], rules: Sequence[Mapping[str, Any]], middle: Mapping[str, Any] | None) -> list[str]:
    total = sum(tiers.values())
    lines = ["## Tiers", ""]
    lines += [
        f"- {tier}: {count} of {total} rows ({count / max(1, total):.1%})" for tier, count in tiers.items() if count
    ]
    if middle is not None:
        lines += _middle(middle)
    if rules:
        lines += ["", "| rule | when | then | rows | precision |", "|---|---|---|---|---|"]
        for rule in rules:
            then = rule["then"]
            outcome = "abstain" if then.get("abstain") else then.get("label", then.get("value"))
            covered = f"{rule['coverage']:.1%}" if "coverage" in rule else "not measured"
            precision = f"{rule['precision']:.3f}" if "precision" in rule else "not measured"
            when = str(rule["when"]).replace("|", "\\|")
            lines.append(f"| {rule['id']} | `{when}` | {outcome} | {covered} | {precision} |")
    return [*lines, *_promised(rules), ""]


def _promised(rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was promised of rules that were learned, beside what the table above has measured."""
    learned = [rule for rule in rules if "evidence" in rule]
    if not learned:
        return []
    lines = [
        "",
        "Promised of the learned rules, before these rows were looked at; the bounds of one learning hold together:",
        "",
        "| rule | promised | at confidence | right of rows that proved it | at least | agrees with the model |",
        "|---|---|---|---|---|---|",
    ]
    for rule in learned:
        proof = rule["evidence"]
        target = f"{rule['target']:.1%}" if "target" in rule else "nothing"
        shown = [f"{proof[key]:.1%}" if key in proof else "" for key in ("confidence", "lower", "agreement")]
        right = f"{proof['right']} of {proof['rows']}" if "right" in proof and "rows" in proof else ""
        lines.append(f"| {rule['id']} | {target} | {shown[0]} | {right} | {shown[1]} | {shown[2]} |")
    return lines


def _data(schema: Schema, reference: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Reference data",
        "",
        f"{reference['rows']} rows.",
        "",
        "| feature | kind | range or levels | missing |",
        "|---|---|---|---|",
    ]
    for feature in schema.features:
        if feature.kind == "image":
            lines.append(f"| {feature.name} | {_kind(feature)} | a picture | 0.0% (error) |")
            continue
        seen = reference["features"][feature.name]
        share = seen["missing"] / max(1, seen["n"])
        lines.append(f"| {feature.name} | {_kind(feature)} | {_range(seen)} | {share:.1%} ({feature.missing}) |")
    return lines


def _kind(feature: Feature) -> str:
    return f"{feature.kind} [{feature.unit}]" if feature.unit else feature.kind


def _range(seen: Mapping[str, Any]) -> str:
    if seen["kind"] == "number":
        return f"{seen['min']:.6g} to {seen['max']:.6g}" if "min" in seen else "no values"
    if seen["kind"] == "category":
        levels = seen["levels"]
        return ", ".join(levels[:8]) + (f", ... ({len(levels)} in all)" if len(levels) > 8 else "")
    return "text"
