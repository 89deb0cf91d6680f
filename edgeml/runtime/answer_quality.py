"""How good one bundle's answers are: what they say of themselves, and what labels say that come later.

Every answer is counted where the engine sees it. Its id (``monitor/prediction_id``) carries all that a label needs to
be counted later, so nothing is kept for it, and a label may come after any time and any restart, as long as the same
bundle is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgeml.bundles import Bundle
from edgeml.errors import BundleError, RequestError
from edgeml.kernels.quality_counters import QualityCounters
from edgeml.monitor.feedback_counts import FeedbackCounts
from edgeml.monitor.prediction_id import PredictionId
from edgeml.runtime.members import REFERENCE, reference_of
from edgeml.runtime.prediction import FALLBACK, MODEL, Label, PredictionBatch
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor

# Labels that an error shows.
_SHOWN = 16
# Single precision, as ids have it; squares of such errors can be summed up.
_LARGEST = 3.4e38


class AnswerQuality:
    """Counters of one bundle. Any thread may call any method.

    Args:
        predictor: Who answers.
        reference: The member ``quality`` of the bundle's ``reference.json``; None where it has none.

    Attributes:
        reference: The member ``quality`` of the bundle's ``reference.json``; None where it has none.
        bundle: The first four bytes of the bundle's digest, as ids have them.
        counters: What the answers say, and who writes their ids.
        feedback: What labels say.

    Raises:
        BundleError: The reference does not fit the bundle.
    """

    def __init__(self, predictor: Predictor | TensorPredictor, reference: Mapping[str, Any] | None = None) -> None:
        self._predictor = predictor
        self.reference = reference
        self.feedback = FeedbackCounts()
        labels: tuple[Label, ...] = ()
        rules: list[str] = []
        scored = False
        # Nought where nobody gets an id: for tensors, and where nothing was packed yet.
        self.bundle = bytes(4)
        if isinstance(predictor, Predictor):
            labels = predictor.labels
            rules = [rule.id for rule in predictor.rules.rules] if predictor.rules is not None else []
            scored = predictor.outputs.scores == "probability"
            self.bundle = bytes.fromhex(predictor.digest.removeprefix("sha256:")[:8]) or self.bundle
        # True equals 1, but they are not one label.
        self._index = {(isinstance(label, bool), label): index for index, label in enumerate(labels)}
        maps = None
        try:
            if reference is not None and labels:
                calibration = reference["calibration"]
                scored, maps = calibration["scored"] is True, calibration["maps"]
                if reference["labels"] != list(labels) or [rule["id"] for rule in reference["rules"]] != rules:
                    raise ValueError("it is of other labels or rules")
                maps = None if maps is None else [(each["edges"], each["values"]) for each in maps]
            self.counters = QualityCounters(labels, rules, self.bundle, scored=scored, calibration=maps)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"bundle member {REFERENCE}: quality: {error!r}; build the bundle again") from error

    @classmethod
    def of(cls, predictor: Predictor | TensorPredictor, bundle: Bundle) -> AnswerQuality:
        """The counters of a bundle, with its reference.

        Raises:
            BundleError: The reference does not fit the bundle.
        """
        return cls(predictor, reference_of(bundle).get("quality"))

    def afresh(self) -> AnswerQuality:
        """The same bundle, with nothing counted yet."""
        return AnswerQuality(self._predictor, self.reference)

    def observe_batch(self, answers: PredictionBatch) -> None:
        """Counts the answers of a batch."""
        if answers.scores is not None and answers.label_index is not None:
            self.counters.count_models(answers.tiers, answers.label_index, answers.scores)
        else:
            self.counters.count_unscored(int(np.count_nonzero(answers.tiers == MODEL)))
        if answers.middle_scores is not None and answers.label_index is not None:
            self.counters.count_middles(answers.tiers, answers.label_index)
        self.counters.count_rules(answers.rule_index)
        self.counters.count_fallback(int(np.count_nonzero(answers.tiers == FALLBACK)))

    def judge(self, answer: PredictionId, item: Mapping[str, Any]) -> Callable[[], None]:
        """Finds out what a label says of an answer.

        Args:
            answer: The answer's id, of this bundle.
            item: What came: ``label``, or for a regression ``value``.

        Returns:
            What counts it, once it is called.

        Raises:
            RequestError: Code ``bad_label`` or ``bad_value``, with the field; or ``bad_id``: there is no such label or
                rule in the bundle.
        """
        predictor = self._predictor
        if not isinstance(predictor, Predictor):
            raise _bad_id("answers in tensors take no labels")
        rule = None
        given: Any = predictor.fallback
        if answer.tier == "rule":
            rules = predictor.rules.rules if predictor.rules is not None else ()
            if answer.index >= len(rules):
                raise _bad_id(f"the bundle has no rule {answer.index}")
            rule, given = answer.index, rules[answer.index]
        if not predictor.labels:
            return self._judge_value(answer, item, given)
        by_label = answer.tier in ("model", "middle")
        if by_label and (answer.value is not None or answer.index >= len(predictor.labels)):
            raise _bad_id(f"the bundle has no label {answer.index}")
        index = answer.index if by_label else self._index[_key(given.label)]
        true = self._index.get(_key(item.get("label"))) if "label" in item else None
        if true is None or "value" in item:
            shown = ", ".join(map(repr, predictor.labels[:_SHOWN])) + (", ..." if len(self._index) > _SHOWN else "")
            got = repr(item["label"])[:80] if "label" in item else "none"
            raise RequestError(
                f"label: expected one of {shown}, got {got}; {predictor.name} answers with labels, not values",
                code="bad_label",
                field="label",
            )
        return lambda: self.feedback.label(answer.tier, index, true, rule=rule, chance=answer.chance)

    def _judge_value(self, answer: PredictionId, item: Mapping[str, Any], given: Any) -> Callable[[], None]:
        if (answer.tier in ("model", "middle")) != (answer.value is not None):
            raise _bad_id("it stands for a label, and the bundle answers with numbers")
        value, said = item.get("value"), answer.value if answer.tier == "model" else given.value
        if not isinstance(said, int | float) or math.isnan(said):
            raise RequestError(
                f"value: {self._predictor.name} answers with several numbers at once, which take no feedback",
                code="bad_value",
                field="value",
            )
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
        if not number or "label" in item:
            got = repr(item.get("value", item.get("label")))[:80]
            raise RequestError(
                f"value: expected the number that was right, at most {_LARGEST:g} either way, got {got}",
                code="bad_value",
                field="value",
            )
        error = float(said) - float(item["value"])
        return lambda: self.feedback.error(answer.tier, error)

    def document(self) -> dict[str, Any]:
        """What was counted, as ``monitor.quality.Quality`` reads it."""
        return self.counters.counts() | {"feedback": self.feedback.document()}


def _key(label: Any) -> tuple[bool, Any]:
    # What cannot be a label (a list) cannot be looked up either.
    return (isinstance(label, bool), label) if isinstance(label, str | int | float) else (False, None)


def _bad_id(why: str) -> RequestError:
    return RequestError(f"id: {why}; send back the id that came with the prediction", code="bad_id", field="id")
