"""The one natural way from a Frame to a Prediction: rules, middle tier, features and model, fallback.

1. A Predictor is an immutable snapshot of one bundle: schema, rules, middle tier, feature program, model, fallback.
2. It is pure: no clock, no disk, no lock, no network. The builder's parity check and the box run this same object.
3. Rules are asked before anything is encoded: a hit costs neither features nor model. A middle tier, where there is
   one, is asked before the full model.
4. One record and a batch go through the same stages; one record takes buffers that were made before.
5. A valid record always gets an answer: where the model raises or gives a non-finite number, the fallback answers.
   So it does, with the reason ``no_model``, in a bundle of rules alone where no rule matches; and, with the reason
   that is given, in one whose model is left out.

Threads: any number of threads may call one Predictor. Each call takes a Lane (its buffers) from a pool and puts
it back; ``list.pop`` and ``list.append`` are atomic in CPython, so no lock is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeml.bundles import Bundle
from edgeml.errors import BundleError, ModelError, RuleError
from edgeml.kernels.drift_counters import DriftCounters
from edgeml.kernels.frame import Frame
from edgeml.runtime.fallback import fallback_prediction
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.golden import GoldenReport, golden_rows, replay
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_reader import record_reader
from edgeml.runtime.lane import Lane, Session
from edgeml.runtime.members import json_member
from edgeml.runtime.middle import MiddleLane, MiddleTier, middle_of
from edgeml.runtime.model_rows import REFUSED, ModelRows
from edgeml.runtime.model_session import model_of
from edgeml.runtime.no_model import NO_MODEL, NoModel
from edgeml.runtime.outputs import Outputs
from edgeml.runtime.prediction import FALLBACK, MIDDLE, MODEL, RULE, Prediction, PredictionBatch
from edgeml.runtime.reader import Envelope
from edgeml.runtime.rule_answers import rule_answers
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

# Tiers that a bundle whose model is left out does not have.
LEARNT = ("model", "middle")


class Predictor:
    """Answers records from one bundle.

    Attributes:
        name: The bundle's name.
        version: Its version label.
        digest: Its digest, ``sha256:...``.
        task: ``classification``, ``regression``, ``outlier`` or ``clustering``.
        config: The bundle's whole config.
        schema: What a record looks like.
        outputs: How the model's outputs are read.
        labels: The labels in score order; empty for a regression.
        rules: The rule list, None where the bundle has none.
        program: The feature program, or what makes rows of pictures.
        middle: The middle tier, None where the bundle has none.
        session: The model, in the native kernel or in ONNX Runtime (``session.backend`` says which), or ``NoModel``.
        pictures: What happens to the pictures that records consist of; None where they hold none.
        fallback: The answer where the model gives none.
        degraded: Why the bundle's model was left out; empty where it was not.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        digest: str,
        schema: Schema,
        rules: RuleList | None,
        program: FeatureProgram | PictureProgram,
        session: Session,
        golden: Sequence[Mapping[str, Any]] = (),
        max_rows: int = 10_000,
        pictures: PictureProgram | None = None,
        middle: MiddleTier | None = None,
    ) -> None:
        self.config = config
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.digest = digest
        self.task: str = config["task"]
        self.schema = schema
        self.outputs = Outputs.from_dict(config.get("outputs", {}))
        self.labels = tuple(self.outputs.labels or ())
        self.rules = rules
        self.middle = middle
        self.program = program
        self.session = session
        self.degraded = session.reason if isinstance(session, NoModel) and session.reason != NO_MODEL else ""
        self.golden = tuple(golden)
        self.fallback = fallback_prediction(
            config.get("fallback", {}), self.outputs, bundle=digest, version=self.version
        )
        self.pictures = program if isinstance(program, PictureProgram) else pictures
        self.reader = record_reader(schema, self.pictures, max_rows=max_rows)
        self._model_rows = ModelRows(program, session, self.outputs, self.reader)
        self._keys = tuple(map(str, self.labels))
        self._label_of = dict(zip(self.outputs.label_values or (), self.labels, strict=False))
        self._wanted = self.outputs.wanted
        self._argmax = self.outputs.decision == "argmax"
        self._match_one = rules.match_one if rules is not None and rules.rules else None
        self._rule_answers = rule_answers(rules, bundle=digest, version=self.version)
        self._abstains = np.array([answer is None for answer in self._rule_answers], dtype=bool)
        self._counters: DriftCounters | None = None
        self._lanes: list[Lane] = []
        self._lanes.append(self._new_lane())

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, backend: str = "auto", max_rows: int = 10_000, without_model: str = ""
    ) -> Predictor:
        """Makes the Predictor of a bundle.

        Args:
            bundle: A bundle that was read and verified.
            backend: What runs the model: ``native`` (the compiled kernel), ``c`` or ``python`` (ONNX Runtime by its C
                library or its Python binding), or ``auto``: native where the bundle has a kernel, else ONNX Runtime.
            max_rows: Largest number of records in one request.
            without_model: Why the bundle's model is left out: neither its features nor its model are read, nor its
                middle tier; rules and fallback answer, and answers of the fallback say this. Empty where it is not.

        Raises:
            BundleError: A member is missing or does not fit the others.
            ModelError: ONNX Runtime is missing or refuses the model.
        """
        config = bundle.config
        schema = Schema.from_dict(config["schema"])
        rules = None
        if "rules.json" in bundle.members:
            document = json_member(bundle, "rules.json")
            try:
                rules = RuleList.from_document(document, schema, labels=config.get("outputs", {}).get("labels"))
            except RuleError as error:
                raise BundleError(f"bundle member rules.json: {error}") from error
        program, session, pictures = model_of(bundle, schema, backend=backend, without_model=without_model)
        return cls(
            config=config,
            digest=bundle.digest,
            schema=schema,
            rules=rules,
            program=program,
            session=session,
            golden=[
                row for row in golden_rows(bundle) if not (without_model and row["expected"].get("tier") in LEARNT)
            ],
            max_rows=max_rows,
            pictures=pictures,
            middle=None if without_model else middle_of(bundle, schema, Outputs.from_dict(config.get("outputs", {}))),
        )

    def watch(self, counters: DriftCounters) -> None:
        """Counts each record that is answered from now on; to be called before anybody else asks.

        Args:
            counters: Where to count; made for this bundle (see ``counting.py``).
        """
        self._counters = counters
        for lane in self._lanes:
            lane.watch(counters)

    # One record

    def predict(self, record: Mapping[str, Any]) -> Prediction:
        """Answers one record.

        Args:
            record: Feature name -> value.

        Raises:
            SchemaError: The record breaks the schema; names the field, what was expected and what came.
        """
        lane = self._take()
        try:
            self.reader.read(lane.frame, record)
            return self._answer_one(lane)
        finally:
            self._lanes.append(lane)

    def predict_json_record(self, line: bytes) -> Prediction:
        """Answers one record given as the bytes of a JSON object.

        Raises:
            RequestError: The bytes are not a JSON object.
            SchemaError: The record breaks the schema.
        """
        lane = self._take()
        try:
            self.reader.read_json_record(lane.frame, line)
            return self._answer_one(lane)
        finally:
            self._lanes.append(lane)

    def predict_row(self, matrix: NDArray[Any]) -> Prediction:
        """Answers one record given as an array [1, d]; the schema's features must all be numeric.

        Raises:
            RequestError: The array does not fit the schema.
            SchemaError: The record breaks the schema.
        """
        lane = self._take()
        try:
            self.reader.read_matrix(lane.frame, matrix)
            return self._answer_one(lane)
        finally:
            self._lanes.append(lane)

    def predict_json_row(self, numbers: bytes, *, single: bool) -> Prediction | None:
        """Answers one record given as a flat JSON array of its features' numbers.

        Args:
            numbers: ``[1.5, -2, ...]``.
            single: Whether each number is to be rounded to float32 first, as a tensor of FP32 holds it.

        Returns:
            None where it is anything else, or breaks the schema; ``predict_row`` then says what is wrong.
        """
        lane = self._take()
        try:
            if not self.reader.read_json_numbers(lane.frame, numbers, single=single):
                return None
            return self._answer_one(lane)
        finally:
            self._lanes.append(lane)

    def predict_json(self, body: bytes) -> tuple[Envelope, Sequence[Prediction]]:
        """Answers the body of a records request.

        Args:
            body: ``{"records": [{...}], "id": ..., "unit": ..., "explain": ..., "partial": ...}``.

        Returns:
            The request's other members (with the violations, if ``partial`` was asked for), and one Prediction
            for each record that was read, in order.

        Raises:
            RequestError: The body is not such a request.
            SchemaError: A record breaks the schema and ``partial`` was not asked for.
        """
        lane = self._take()
        try:
            envelope = self.reader.read_json(lane.frame, body)
            if lane.frame.n_rows == 1:
                return envelope, (self._answer_one(lane),)
            return envelope, self._counted(lane, lane.frame)
        finally:
            self._lanes.append(lane)

    # Many records

    def predict_many(self, records: Any) -> Sequence[Prediction]:
        """Answers many records.

        Args:
            records: A sequence of mappings, or a table with named columns (such as a pandas DataFrame), or a 2-D
                array where the schema's features are all numeric.

        Raises:
            SchemaError: Some record breaks the schema.
        """
        if isinstance(records, np.ndarray):
            return self.predict_matrix(records)
        if hasattr(records, "columns") and hasattr(records, "__getitem__"):
            return self.predict_columns({str(name): records[name] for name in records.columns})
        return self._many(self.reader.read_many, records)

    def predict_columns(self, columns: Mapping[str, ArrayLike]) -> Sequence[Prediction]:
        """Answers n records given as one array of n values for each feature.

        Raises:
            SchemaError: Some record breaks the schema.
        """
        return self._many(self.reader.read_columns, columns)

    def predict_matrix(self, matrix: NDArray[Any]) -> Sequence[Prediction]:
        """Answers n records given as an array [n, d]; the schema's features must all be numeric.

        Raises:
            SchemaError: Some record breaks the schema.
        """
        return self._many(self.reader.read_matrix, matrix)

    def predict_frame(self, frame: Frame) -> PredictionBatch:
        """Answers the records of a Frame that was filled by this predictor's ``reader``."""
        lane = self._take()
        try:
            return self._counted(lane, frame)
        finally:
            self._lanes.append(lane)

    def _many(self, read: Any, records: Any, *, counted: bool = True) -> PredictionBatch:
        lane = self._take()
        try:
            read(lane.frame, records)
            return self._counted(lane, lane.frame) if counted else self._answer_frame(lane, lane.frame)
        finally:
            self._lanes.append(lane)

    # The stages

    def _take(self) -> Lane:
        try:
            return self._lanes.pop()
        except IndexError:
            return self._new_lane()

    def _new_lane(self) -> Lane:
        lane = Lane(self.reader.new_frame(1), self.program, self.session, self._wanted, self.middle)
        if self._counters is not None:
            lane.watch(self._counters)
        return lane

    def _answer_one(self, lane: Lane) -> Prediction:
        count = lane.count
        if self._match_one is not None:
            rule = self._match_one(lane.capsule)
            if rule >= 0:
                answer = self._rule_answers[rule]
                if answer is not None:
                    if count is not None:
                        count.rule(rule)
                    return answer
        if lane.middle is not None and (sure := self._middle_one(lane, lane.middle)) is not None:
            return sure
        if not lane.bound:
            # Rules and middle tier are asked again, and say the same again.
            return self._counted(lane, lane.frame)[0]
        if lane.encode(lane.capsule):
            return self._fallback(lane, REFUSED)
        try:
            lane.run()
        except ModelError as error:
            return self._fallback(lane, str(error))
        scores = label = value = None
        if lane.scores is not None:
            if count is not None and (row := count.scored()) is not None:
                count = None  # done
            else:
                row = lane.scores.tolist()
                if not math.isfinite(sum(row)):
                    return self._fallback(lane, "the model gave a non-finite score")
            scores = dict(zip(self._keys, row, strict=False))
            if self._argmax:
                label = self.labels[row.index(max(row))]
        if lane.label is not None:
            raw = int(lane.label[0])
            if raw not in self._label_of:
                return self._fallback(lane, f"the model gave the unknown label {raw}")
            label = self._label_of[raw]
        if lane.value is not None:
            values = lane.value.tolist()
            if not math.isfinite(sum(values)):
                return self._fallback(lane, "the model gave a non-finite value")
            value = values[0] if len(values) == 1 else values
        if count is not None:
            count.model()
        return Prediction("model", label, value, scores, None, False, None, self.digest, self.version)

    def _middle_one(self, lane: Lane, middle: MiddleLane) -> Prediction | None:
        """The middle tier's answer, None where it is not sure."""
        tier = self.middle
        assert tier is not None  # its lane was made of it
        if middle.encode(lane.capsule):
            return None
        middle.run()
        row = middle.scores.tolist()
        top = max(row)
        if not (top >= tier.threshold and math.isfinite(sum(row))):
            return None
        at = row.index(top)
        if lane.count is not None:
            lane.count.middle(at)
        scores = dict(zip(tier.keys, row, strict=True))
        return Prediction("middle", tier.labels[at], None, scores, None, False, None, self.digest, self.version)

    def _fallback(self, lane: Lane, reason: str) -> Prediction:
        if lane.count is not None:
            lane.count.fallback()
        made = self.fallback
        return Prediction(
            "fallback", made.label, made.value, made.scores, None, True, reason, self.digest, self.version
        )

    def _counted(self, lane: Lane, frame: Frame) -> PredictionBatch:
        answers = self._answer_frame(lane, frame)
        if self._counters is not None:
            self._counters.observe(
                frame.capsule,
                tiers=answers.tiers,
                rule_index=answers.rule_index,
                label_index=answers.label_index,
                scores=None if answers.scores is None else np.ascontiguousarray(answers.scores),
                values=None if answers.values is None else np.ascontiguousarray(answers.values),
            )
        return answers

    def _answer_frame(self, lane: Lane, frame: Frame) -> PredictionBatch:
        n = frame.n_rows
        tiers = np.full(n, MODEL, dtype=np.uint8)
        rule_index = np.full(n, -1, dtype=np.int32)
        rows: NDArray[np.int64] | None = None
        if self.rules is not None and self.rules.rules and self.rules.match(frame.capsule, rule_index):
            hit = rule_index >= 0
            hit[hit] = ~self._abstains[rule_index[hit]]
            rule_index[~hit] = -1
            tiers[hit] = RULE
            rows = np.flatnonzero(~hit).astype(np.int64, copy=False)
        middle_scores: NDArray[np.float64] | None = None
        if self.middle is not None and lane.middle is not None:
            asked = np.arange(n, dtype=np.int64) if rows is None else rows
            scored = self.middle.scores_of(lane.middle, frame, asked)
            sure, best = self.middle.answered(scored)
            middle_scores = np.full((n, len(self.labels)), math.nan)
            middle_scores[asked] = scored
            tiers[asked[sure]] = MIDDLE
            rows = asked[~sure]
        label_index, values, scores, reasons = self._model_rows.answer(lane, frame, rows)
        for row in reasons:
            tiers[row] = FALLBACK
        if middle_scores is not None and label_index is not None:
            label_index[asked[sure]] = best[sure]
        return PredictionBatch(
            tiers=tiers,
            rule_index=rule_index,
            label_index=label_index,
            values=values,
            scores=scores,
            labels=self.labels,
            score_keys=self._keys[: 0 if scores is None else scores.shape[1]],
            rules=self._rule_answers,
            fallback=self.fallback,
            reasons=reasons,
            bundle=self.digest,
            version=self.version,
            middle_scores=middle_scores,
        )

    def golden_check(self) -> GoldenReport:
        """Replays the bundle's golden rows on this machine (see ``golden.py``); nothing is counted."""

        def ask(records: Any) -> PredictionBatch:
            return self._many(self.reader.read_many, records, counted=False)

        return replay(ask, self.golden, keys=self._keys, tolerance=float(self.config["tolerance"]))
