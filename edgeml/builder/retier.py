"""A bundle with other thresholds: fewer rules, another threshold of the middle tier, or none of them.

What was measured through the tiers is measured again on the given rows, because it is no longer true: what answers look
like (``reference.json``), how good they are, golden rows. Schema, features, model and kernels stay as they are. The new
bundle names the old one as its parent and is not signed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgeml.builder.calibration import quality_reference
from edgeml.builder.candidate import json_bytes
from edgeml.builder.drift_reference import answers_reference
from edgeml.builder.golden_rows import certain
from edgeml.builder.golden_rows import document as golden_document
from edgeml.builder.model_card import classification_quality
from edgeml.bundles import Bundle
from edgeml.errors import BuildError
from edgeml.runtime.middle import KEY, PREFIX
from edgeml.runtime.prediction import Label, PredictionBatch
from edgeml.runtime.predictor import Predictor

# Members of the config's ``middle`` that say what stands behind its threshold.
_OF_A_PROMISE = ("budget", "confidence", "rows", "lost", "answered", "bound", "rules")


def retiered(
    bundle: Bundle,
    *,
    rules: Sequence[int],
    threshold: float | None,
    records: Sequence[Mapping[str, Any]],
    truth: Sequence[Label],
    evidence: Mapping[str, Any],
) -> Bundle:
    """Makes the bundle.

    Args:
        bundle: The old one.
        rules: Indexes of the rules that stay.
        threshold: That of the middle tier; None leaves the tier out.
        records: Records that have not chosen the thresholds, on which is measured.
        truth: Their known labels.
        evidence: What is known of the choice; kept in the config.

    Raises:
        BuildError: The new bundle does not answer as was measured.
    """
    config = dict(bundle.config) | {"parent": bundle.digest}
    members = dict(bundle.members)
    if "rules.json" in members:
        document = json.loads(members["rules.json"])
        document["rules"] = [document["rules"][index] for index in rules]
        members["rules.json"] = json_bytes(document)
        if not document["rules"]:
            del members["rules.json"]
    if threshold is None:
        config.pop(KEY, None)
        members = {name: data for name, data in members.items() if not name.startswith(PREFIX)}
    else:
        # What was promised of the old threshold is not true of this one.
        told = {name: value for name, value in config[KEY].items() if name not in _OF_A_PROMISE}
        config[KEY] = told | {"threshold": threshold, "source": "tiers", "chosen": dict(evidence)}
    predictor = Predictor.from_bundle(Bundle.create(config, members))
    frame = predictor.reader.new_frame(len(records))
    predictor.reader.read_many(frame, records)
    answers = predictor.predict_frame(frame)
    quality = classification_quality(answers.label_list(), truth, predictor.labels, held_out=True)
    config |= {"tiers": answers.tier_counts(), "quality": quality.to_dict()}
    if "reference.json" in members:
        reference = json.loads(members["reference.json"])
        reference["answers"] = answers_reference(frame, answers, predictor.rules, held_out=True)
        if "quality" in reference:
            reference["quality"] = quality_reference(
                answers,
                truth,
                labels=predictor.labels,
                scores=predictor.outputs.scores,
                rules=predictor.rules,
                fallback=config["fallback"],
                prior=truth,
                held_out=True,
            )
        members["reference.json"] = json_bytes(reference)
    members["golden.jsonl"] = _golden(bundle, predictor, threshold)
    members["CARD.md"] = members.get("CARD.md", b"") + _chapter(bundle, config, evidence)
    made = Bundle.create(config, members)
    report = Predictor.from_bundle(made).golden_check()
    if not report.passed:
        raise BuildError(f"the new bundle answers otherwise than was measured: {report.failures[0]}")
    return made


def _golden(bundle: Bundle, predictor: Predictor, threshold: float | None) -> bytes:
    """The same rows with the new answers, less those that are too near to the new threshold."""
    rows = [json.loads(line)["record"] for line in bundle.members.get("golden.jsonl", b"").splitlines()]
    if not rows:
        return b""
    answers = predictor.predict_many(rows)
    assert isinstance(answers, PredictionBatch)  # what a list of records gets
    sure = certain(answers, tolerance=float(bundle.config["tolerance"]), threshold=threshold or 0.0)
    kept = [row for row in range(len(rows)) if sure[row]]
    return golden_document(
        [rows[row] for row in kept], [answers[row] for row in kept], list(map(str, predictor.labels))
    )


def _chapter(bundle: Bundle, config: Mapping[str, Any], evidence: Mapping[str, Any]) -> bytes:
    total = max(1, sum(config["tiers"].values()))
    shares = "; ".join(f"{tier} {count / total:.1%}" for tier, count in config["tiers"].items())
    lines = [
        "",
        "## Thresholds chosen later",
        "",
        f"Made from {bundle.digest} by choosing its tiers anew; Quality and Tiers above are that one's.",
        "",
        f"- On {evidence['records']} labelled records that did not choose: {shares}.",
        f"- Accuracy {evidence['accuracy']:.4g}, that of the full model alone {evidence['model_accuracy']:.4g}.",
        f"- Lost by not asking the full model: {evidence['lost']} of them, at most {evidence['lost_bound']:.3%} of all "
        "such records (95 %).",
        "",
    ]
    return "\n".join(lines).encode()
