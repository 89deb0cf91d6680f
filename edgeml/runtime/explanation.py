"""Why a record got its answer, for whoever asks with ``"explain": true``.

1. An Explainer reads the record again, into buffers of its own: who does not ask pays nothing, and nothing that is
   counted of the traffic is counted twice.
2. The answer is explained that was given; it is not asked for again.
3. An answer is never lost for its explanation: where that fails, the explanation says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeml.errors import EdgemlError
from edgeml.kernels.frame import Frame
from edgeml.runtime.contributions import Contributions, NoContributions, Shares
from edgeml.runtime.explanation_budget import Allowance, Spent
from edgeml.runtime.feature_origins import Origin
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.frame_values import value_of
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_reader import record_reader
from edgeml.runtime.lane import Session
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.rule_explanation import RuleExplainer
from edgeml.runtime.rules import RuleList

# Of features that a contribution names together.
SHOWN_FEATURES = 20


class Explainer:
    """Explains the answers of one bundle. Any thread may ask.

    Args:
        predictor: Who answers.
        asked: Gives the rules that are asked now, where some may be disabled; None where they are the predictor's.
    """

    def __init__(self, predictor: Predictor, asked: Callable[[], RuleList | None] | None = None) -> None:
        self._predictor = predictor
        self._asked = asked or (lambda: predictor.rules)
        self._schema = predictor.schema
        self._reader = record_reader(predictor.schema, predictor.pictures)
        self._rules = None if predictor.rules is None else RuleExplainer(predictor.rules)
        self._places = {label: at for at, label in enumerate(predictor.labels)}
        self._frames: list[Frame] = []
        self._by_tier = {"model": self._contributions(predictor.program, predictor.session)}
        if predictor.middle is not None:
            self._by_tier["middle"] = self._contributions(predictor.middle.program, predictor.middle.session)

    def of_json(self, record: bytes, answer: Prediction, allowance: Allowance) -> dict[str, Any]:
        """Why a record, given as a JSON object, got its answer.

        Args:
            record: The record; one that the predictor has taken.
            answer: Its answer.
            allowance: What the request may still cost.
        """
        frame = self._take()
        try:
            self._reader.read_json_record(frame, record)
            return self._explained(frame, answer, allowance)
        except Exception as error:  # whatever it is: the answer is there, and goes out
            return _failed(error)
        finally:
            self._frames.append(frame)

    def of_record(self, record: Mapping[str, Any], answer: Prediction, allowance: Allowance) -> dict[str, Any]:
        """Why a record got its answer; as ``of_json``."""
        frame = self._take()
        try:
            self._reader.read(frame, record)
            return self._explained(frame, answer, allowance)
        except Exception as error:  # whatever it is: the answer is there, and goes out
            return _failed(error)
        finally:
            self._frames.append(frame)

    def _take(self) -> Frame:
        try:
            return self._frames.pop()
        except IndexError:
            return self._reader.new_frame(1)

    def _contributions(self, program: FeatureProgram | PictureProgram, session: Session) -> Contributions | str:
        """Who explains a model; or why nobody can."""
        if not isinstance(program, FeatureProgram):
            return "the model reads a picture"
        if not isinstance(session, NativeSession):
            return "the model runs in ONNX Runtime, which does not say what adds up to its score"
        return Contributions(program, session, self._schema)

    def _explained(self, frame: Frame, answer: Prediction, allowance: Allowance) -> dict[str, Any]:
        if answer.tier == "fallback":
            return {"reason": answer.reason}
        if answer.rule is not None and self._rules is not None:
            return self._rules.explain(answer.rule, frame, allowance)
        said: dict[str, Any] = {}
        rules = self._asked()
        if rules is not None and rules.rules:
            # Whose turn it was, where the model answers because a rule has abstained; not that of a disabled one.
            first = rules.match_one(frame.capsule)
            if first >= 0 and rules.rules[first].abstains:
                said["abstained"] = rules.rules[first].id
        try:
            return said | self._model_said(frame, answer, allowance)
        except (NoContributions, Spent) as error:
            return said | {"contributions": None, "reason": str(error)}

    def _model_said(self, frame: Frame, answer: Prediction, allowance: Allowance) -> dict[str, Any]:
        model = self._by_tier[answer.tier]
        if isinstance(model, str):
            raise NoContributions(model)
        outputs = self._predictor.outputs
        if outputs.labels is None:
            if (outputs.n_values or 1) > 1:
                raise NoContributions("the model gives several numbers at once")
            return self._shown(model.explain(frame.capsule, "value", 0, allowance), frame)
        if answer.scores is None or answer.label is None:
            raise NoContributions("the model gives a label without a score")
        # One score for two labels stands under the first.
        of = answer.label if str(answer.label) in answer.scores else outputs.labels[0]
        shares = model.explain(frame.capsule, "scores", self._places[of], allowance)
        return {"of": of} | self._shown(shares, frame)

    def _shown(self, shares: Shares, frame: Frame) -> dict[str, Any]:
        return {
            "contributions": [self._named(each.origin, frame) | {"contribution": each.amount} for each in shares.shown],
            "rest": shares.rest,
            "baseline": shares.baseline,
            "sum": shares.total,
            "scale": shares.scale,
        }

    def _named(self, origin: Origin, frame: Frame) -> dict[str, Any]:
        """Who made a contribution, with the value that the record had."""
        if origin.term is not None:
            return {"feature": origin.features[0], "term": origin.term}
        if len(origin.features) == 1:
            (name,) = origin.features
            return {"feature": name, "value": value_of(frame, self._schema, name)}
        shown: dict[str, Any] = {"features": list(origin.features[:SHOWN_FEATURES])}
        more = len(origin.features) - SHOWN_FEATURES
        return shown | {"more": more} if more > 0 else shown


def _failed(error: Exception) -> dict[str, Any]:
    why = str(error) if isinstance(error, EdgemlError) else type(error).__name__
    return {"reason": f"the answer could not be explained: {why}"}
