"""From a fitted pipeline to a bundle. The steps, in order:

1. read the schema off the table, and its policies off the pipeline (what it does with a missing or unseen value), and
   check all that was given (``arguments``), before anything takes time;
2. compile the features, as many steps as the core can take;
3. export the rest to ONNX, with float32 at the model's door, or float64 where float32 would change an answer;
4. parity: the very Predictor that will serve, without its rules, against the pipeline; a breach refuses the build;
5. rules: parsed, checked against the schema, measured; the middle tier: packed as the pipeline was, and its threshold;
6. quality, baselines, drift reference, golden rows, model card; all from measurements;
7. pack. The same inputs give the same digest: nothing in a bundle depends on the clock or on a hash seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgeml.builder import golden_rows, model_card
from edgeml.builder.arguments import (
    check_answers,
    check_facts,
    check_held_out,
    check_width,
    checked_fallback,
    full_slo,
    plain,
    refuse_given,
)
from edgeml.builder.baseline import Baseline, baseline
from edgeml.builder.calibration import quality_reference
from edgeml.builder.candidate import BundleFacts, Candidate, find_candidate, json_bytes
from edgeml.builder.drift_reference import drift_reference
from edgeml.builder.image_form import ImageForm, check_picture_width, picture_files, spec_of
from edgeml.builder.image_onnx import COMPARED, onnx_pictures
from edgeml.builder.leaf_counts import leaf_counts
from edgeml.builder.middle_tier import Middle, make_middle, middle_over_table, middle_request
from edgeml.builder.onnx_bundle import build_onnx
from edgeml.builder.parity_rows import HELD_OUT_ROWS
from edgeml.builder.rule_lesson import lesson_of_build, wants_learning
from edgeml.builder.rule_source import parse_rules
from edgeml.builder.schema_inference import InferredSchema, infer_schema
from edgeml.builder.task import Task, task_of
from edgeml.builder.text_lists import is_list_of_texts, over_table
from edgeml.bundles import Bundle
from edgeml.errors import BuildError, ParityError, RuleError, SchemaError
from edgeml.runtime.image_spec import ImageSpec
from edgeml.runtime.middle import PREFIX
from edgeml.runtime.native_session import LEAF_COUNTS
from edgeml.runtime.prediction import Prediction, PredictionBatch
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import Frame
from edgeml.runtime.regular_expressions import AT_LEAST as RE2_AT_LEAST
from edgeml.runtime.regular_expressions import PACKAGE as RE2
from edgeml.runtime.rules import RuleList

STEPS = (
    "reading the schema",
    "compiling the features",
    "exporting the model",
    "checking parity",
    "measuring the rules",
    "measuring quality",
    "packing",
)
Progress = Callable[[str, int, int], None]


def build(
    pipeline: Any,
    X: Any = None,
    y: Any = None,
    *,
    name: str,
    version: str,
    held_out: tuple[Any, Any] | None = None,
    rules: Any = None,
    middle: Any = None,
    features: Mapping[str, Mapping[str, Any]] | None = None,
    schema: Mapping[str, Any] | None = None,
    image: Any = None,
    labels: Sequence[Any] | None = None,
    fallback: Mapping[str, Any] | None = None,
    slo: Mapping[str, float] | None = None,
    tolerance: float = 1e-5,
    session: Mapping[str, Any] | None = None,
    unknown_fields: str = "reject",
    description: str = "",
    intended_use: str = "",
    limits: str = "",
    security_epoch: int = 0,
    parent: str | None = None,
    created: str | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Builds a bundle that answers exactly as the pipeline does.

    Args:
        pipeline: A fitted scikit-learn estimator or Pipeline with ``predict``; or a bare ONNX model (its path or
            bytes), which needs ``schema``.
        X: Table [n, d] (DataFrame or array) that the pipeline was fitted on: the schema and the drift reference
            are read off it; or a list of n texts, which become the feature ``text``.
            For a bare ONNX model: sample tensors, name -> array (optional).
        y: The n known answers, for quality and baselines; None where there are none.
        name: Name of the model, ``[a-z0-9][a-z0-9._-]*``.
        version: Version label; never compared, only shown.
        held_out: ``(X, y)`` that the pipeline has not seen, for parity and quality; without it the reference rows
            serve, and the card says so. Its y may be None.
        rules: Rules asked before the model: YAML text, a path, or a list of dicts (see docs/rules.md). ``"learn"``
            learns them from X and y; ``{"learn": {"target": 0.98, ...}, "keep": path}`` with options, and beside
            rules that people wrote (see docs/rule-learning.md).
        middle: A small model that answers where it is sure, before the full one (see docs/tiers.md): ``learn``, a
            fitted pipeline, or ``{"pipeline": ..., "budget": 0.005, "confidence": 0.95, "calibration": (X, y)}``, each
            key optional. Classification only.
        features: Feature name -> overrides of what was read off the table (``unit``, ``min``, ``max``, ``missing``,
            ``unseen``, ``levels``, ``kind``, ``description``).
        schema: Only for a bare ONNX model: ``{"inputs": [{"name", "datatype", "shape"}], "outputs": [...]}``.
        image: An ``edgeml.ImageSpec`` (or a dict of its members) where records are pictures. X then holds n pictures
            (files' bytes, paths, or uint8 arrays), and the pipeline was fitted on their ``edgeml.image_rows``. An ONNX
            model with such an input is taken like a pipeline.
        labels: Only for an ONNX model with ``image``: the labels in the order of its scores; without it its first
            output is a number, or several.
        fallback: Answer when the model fails: ``{"label": ...}`` or ``{"value": ...}``; default the most frequent
            label with the shares of all labels as scores, or the median.
        slo: ``p99_ms`` and ``deadline_ms``; default 20 and 100.
        tolerance: Largest difference of a score, or of a value relative to max(1, |value|).
        session: Options of the ONNX session that differ from those for a small box, such as
            ``{"intra_op_threads": 2}``.
        unknown_fields: ``reject`` or ``count`` fields of a record that the schema does not know.
        description: What the bundle answers, for the card.
        intended_use: For what and by whom, for the card.
        limits: Known limits, for the card.
        security_epoch: Epoch below which a box that has confirmed it goes no more.
        parent: Digest of the bundle that this one replaces.
        created: Time stamp to record (RFC 3339); default that of SOURCE_DATE_EPOCH, else none, so that the same
            inputs give the same digest.
        progress: Called with (step, number, of how many) as each step begins.

    Returns:
        The bundle, unsigned.

    Raises:
        UnsupportedError: A step or estimator that neither the core nor ONNX can take; names it.
        ParityError: The bundle would answer differently; names the worst rows.
        RuleError: A rule cannot be parsed or does not fit the schema.
        BuildError: Anything else that is wrong with what was given.
    """
    number = plain(tolerance)
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number < 1:
        raise BuildError(f"tolerance {tolerance!r} must be a number, at least 0 and below 1")
    meta = BundleFacts(
        name=name,
        version=version,
        slo=full_slo(slo),
        tolerance=float(number),
        session=dict(session or {}),
        security_epoch=security_epoch,
        parent=parent,
        created=created if created is not None else _source_date(),
    )
    texts = {"description": description, "intended_use": intended_use, "limits": limits}
    check_facts(meta.config("tensors"), texts)
    if image is None:
        refuse_given({"labels": labels}, why="only an ONNX model with image needs them")
    if isinstance(pipeline, (str, Path, bytes)) and image is None:
        counted = None if unknown_fields == "reject" else unknown_fields
        of_records = {"y": y, "held_out": held_out, "rules": rules, "features": features, "fallback": fallback}
        of_records["middle"] = middle
        refuse_given(of_records | {"unknown_fields": counted}, why="a bare ONNX model takes tensors, not records")
        if schema is None:
            raise BuildError(
                "a bare ONNX model needs schema={'inputs': [{'name', 'datatype', 'shape'}], 'outputs': [...]}"
            )
        return build_onnx(
            pipeline, schema, X, config=meta.config("tensors"), texts=tuple(texts.values()), progress=progress
        )
    refuse_given({"schema": schema}, why="a pipeline's schema is read off X; override it with features")
    if X is None:
        raise BuildError("X is missing: give the table (or the pictures) that the pipeline was fitted on")

    if image is None and is_list_of_texts(X):
        middle = middle_over_table(middle, X)
        pipeline, X, held_out = over_table(pipeline, X, held_out)
        (column,) = X.columns
        features = {column: {"kind": "text"}} | dict(features or {})

    def say(step: str) -> None:
        if progress is not None:
            progress(step, STEPS.index(step) + 1, len(STEPS))

    say(STEPS[0])
    inferred: InferredSchema | ImageForm
    if image is None:
        task = task_of(pipeline, y)
        inferred = infer_schema(X, pipeline=pipeline, overrides=features, unknown_fields=unknown_fields)
        asked = X
    else:
        counted = None if unknown_fields == "reject" else unknown_fields
        refuse_given(
            {"features": features, "unknown_fields": counted}, why="records are pictures, and hold nothing else"
        )
        spec = spec_of(image)
        X = picture_files(X, spec, what="X")
        held_out = _pictures_held_out(held_out, spec)
        bare = isinstance(pipeline, (str, Path, bytes))
        inferred = ImageForm(spec, limit=COMPARED if bare else HELD_OUT_ROWS)
        if bare:
            pipeline = onnx_pictures(pipeline, spec, labels, inferred.rows(X[:COMPARED]))
        else:
            refuse_given({"labels": labels}, why="a pipeline has its own")
            check_picture_width(pipeline, spec)
        task = task_of(pipeline, y)
        # Only where answers are not known are all of them asked for.
        asked = inferred.rows(X if y is None or not task.has_truth else X[:1])
    check_answers(y, len(X), task, name="y", table="X")
    check_width(y, task, pipeline, asked)
    X_check, y_check = check_held_out(held_out, X, task) if held_out is not None else (X, y)
    wanted = middle_request(middle, y=y, held_out=held_out, task=task, is_image=image is not None)
    declared = (
        _prior(task, y, pipeline, asked) if fallback is None else checked_fallback(fallback, task, pipeline, asked)
    )
    candidate = find_candidate(pipeline, X, X_check, inferred, task, meta, declared, say)

    say(STEPS[4])
    predictor = candidate.predictor
    reference_frame = predictor.reader.new_frame(len(X))
    predictor.reader.read_columns(reference_frame, inferred.values(X))
    check_frame = reference_frame
    if held_out is not None:
        check_frame = predictor.reader.new_frame(len(X_check))
        try:
            predictor.reader.read_columns(check_frame, inferred.values(X_check))
        except SchemaError as error:
            raise BuildError(
                f"held_out breaks the schema: {error}; correct the row, or the schema by features"
            ) from error
    rule_documents: list[dict[str, Any]] = []
    if wants_learning(rules):
        known = None if y is None or not task.has_truth else task.truth(y)
        said = predictor.predict_frame(reference_frame).label_index
        rules = lesson_of_build(rules, inferred.schema, reference_frame, known, predictor.labels, said).document
    if rules is not None:
        rule_list = parse_rules(rules, inferred.schema, labels=list(predictor.labels) or None)
        _check_width(rule_list, predictor)
        rule_documents = rule_list.to_document()["rules"]
        if rule_list.needs_re2:
            candidate.config["requires"] |= {RE2: RE2_AT_LEAST}
        predictor = candidate.with_tiers(rule_list)
    packed: Middle | None = None
    if wanted is not None:
        packed = make_middle(
            wanted,
            predictor=predictor,
            inferred=inferred,
            task=task,
            facts=meta,
            fallback=declared,
            X=X,
            y=y,
            held_out=held_out,
            say=lambda _: None,
        )
        candidate.config["middle"] = packed.document
        predictor = candidate.with_tiers(predictor.rules, packed.tier)
    answers = predictor.predict_frame(check_frame)
    truth = None if y_check is None or not task.has_truth else task.truth(y_check)
    _measure_rules(rule_documents, answers, truth)

    say(STEPS[5])
    quality, simplest = _measure_quality(
        task, inferred, predictor, reference_frame, y, check_frame, answers, truth, held_out is not None
    )
    reference = drift_reference(
        inferred.schema, reference_frame, check_frame, answers, predictor.rules, held_out=held_out is not None
    )

    if truth is not None:
        reference["quality"] = quality_reference(
            answers,
            truth,
            labels=task.labels,
            scores=predictor.outputs.scores,
            rules=predictor.rules,
            fallback=declared,
            prior=truth if y is None else task.truth(y),
            held_out=held_out is not None,
        )

    say(STEPS[6])
    golden = _golden(candidate, predictor, X_check, check_frame, answers)
    card = model_card.model_card(
        candidate.config,
        inferred.schema,
        description=description,
        intended_use=intended_use,
        limits=limits,
        estimator=candidate.exported.estimator,
        compiled_steps=candidate.compiled.compiled_steps,
        exported_steps=candidate.compiled.exported_steps,
        reference=reference,
        quality=quality,
        baseline=simplest,
        tiers=answers.tier_counts(),
        rules=rule_documents,
    )
    config = candidate.config | {
        "quality": quality.to_dict() if quality else None,
        "baseline": simplest.to_dict() if simplest else None,
        "tiers": answers.tier_counts(),
    }
    members = candidate.members() | (packed.members() if packed is not None else {})
    members |= {
        "reference.json": json_bytes(reference),
        "golden.jsonl": golden,
        "CARD.md": card.encode(),
    }
    counts = leaf_counts(candidate.compiled.program, candidate.predictor.session, reference_frame)
    if counts is not None:
        members[LEAF_COUNTS] = counts
    if packed is not None:
        counts = leaf_counts(packed.tier.program, packed.tier.session, reference_frame)
        if counts is not None:
            members[PREFIX + LEAF_COUNTS] = counts
    if rule_documents:
        members["rules.json"] = json_bytes(rule_list.names.to_document() | {"rules": rule_documents})
    bundle = Bundle.create(config, members)
    _replay(bundle)
    return bundle


def _pictures_held_out(held_out: Any, spec: ImageSpec) -> Any:
    """The held-out pictures as files; anything that is no pair goes on to who refuses it."""
    if not isinstance(held_out, tuple | list) or len(held_out) != 2:
        return held_out
    return picture_files(held_out[0], spec, what="held_out: X"), held_out[1]


def _prior(task: Task, y: Any, pipeline: Any, X: Any) -> dict[str, Any]:
    """The fallback where none was declared: the prior of the known answers (of the pipeline's own where y is None)."""
    answers = np.asarray(task.truth(y) if y is not None and task.has_truth else pipeline.predict(X))
    if task.labels is None:
        medians = np.median(answers.astype(np.float64).reshape(len(answers), -1), axis=0).tolist()
        return {"value": medians[0] if len(medians) == 1 else medians}
    labels = task.plain(answers)
    shares = {str(label): labels.count(label) / max(1, len(labels)) for label in task.labels}
    # The first of the most frequent labels, in the order of the labels.
    best = max(task.labels, key=lambda label: shares[str(label)])
    return {"label": best, "scores": shares} if task.name == "classification" else {"label": best}


def _check_width(rules: RuleList, predictor: Predictor) -> None:
    width = predictor.outputs.n_values or 1
    for rule in rules.rules:
        if rule.value is not None and width > 1:
            raise RuleError(
                f"rule {rule.id!r}: it answers with one number where the model gives {width}; let it abstain",
                rule=rule.id,
            )


def _measure_rules(documents: list[dict[str, Any]], answers: PredictionBatch, truth: list[Any] | None) -> None:
    """Writes coverage (share of the rows) and precision (share of right answers) into the rules' documents."""
    for index, document in enumerate(documents):
        fired = np.flatnonzero(answers.rule_index == index)
        document["coverage"] = len(fired) / max(1, len(answers))
        label = document["then"].get("label")
        if truth is not None and label is not None and len(fired):
            document["precision"] = sum(truth[row] == label for row in fired) / len(fired)


def _measure_quality(
    task: Task,
    inferred: InferredSchema | ImageForm,
    predictor: Predictor,
    reference: Frame,
    y: Any,
    check: Frame,
    answers: PredictionBatch,
    truth: list[Any] | None,
    held_out: bool,
) -> tuple[model_card.Quality | None, Baseline | None]:
    if truth is None:
        return None, None
    if task.name == "classification":
        quality = model_card.classification_quality(answers.label_list(), truth, predictor.labels, held_out=held_out)
    else:
        values = np.asarray(answers.value_list(), dtype=np.float64)
        quality = model_card.regression_quality(values, np.asarray(truth, dtype=np.float64), held_out=held_out)
    if y is None or np.ndim(truth) != 1:
        return quality, None
    classify = task.name == "classification"
    targets = [np.asarray(task.truth(part), dtype=None if classify else np.float64) for part in (y, truth)]
    return quality, baseline(inferred.schema, reference, targets[0], check, targets[1], classify=classify)


def _golden(candidate: Candidate, predictor: Predictor, table: Any, frame: Frame, answers: PredictionBatch) -> bytes:
    """The golden rows: edge cases that passed parity, and held-out rows."""
    tolerance = float(candidate.config["tolerance"])
    threshold = 0.0 if predictor.middle is None else predictor.middle.threshold
    cases = candidate.edge_cases
    edges: list[Mapping[str, Any]] = []
    expected: list[Prediction] = []
    if cases.records:
        given = predictor.predict_many(cases.records)
        assert isinstance(given, PredictionBatch)  # what a list of records gets
        picked = golden_rows.choose_edge_cases(cases.kinds, given, tolerance=tolerance, threshold=threshold)
        edges, expected = [cases.records[row] for row in picked], [given[row] for row in picked]
    wanted = golden_rows.GOLDEN_ROWS - len(edges)
    chosen = golden_rows.choose(
        candidate.inferred.schema, frame, answers, tolerance=tolerance, wanted=wanted, threshold=threshold
    )
    records = [*candidate.inferred.records(_rows(table, chosen)), *edges]
    return golden_rows.document(records, [answers[row] for row in chosen] + expected, list(map(str, predictor.labels)))


def _replay(bundle: Bundle) -> None:
    """Reads the bundle as a box would and replays its golden rows: what was packed is what was checked."""
    report = Predictor.from_bundle(bundle).golden_check()
    if not report.passed:
        raise ParityError(f"the packed bundle differs from the checked one: {report.failures[0]}")


def _rows(table: Any, chosen: Sequence[int]) -> Any:
    return table.iloc[list(chosen)] if hasattr(table, "iloc") else np.asarray(table)[list(chosen)]


def _source_date() -> str | None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if epoch else None
