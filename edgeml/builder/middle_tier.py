"""The middle tier of a bundle that is being built: what was asked for, the small model, its parity, its threshold.

The rows on which the threshold is chosen decide what is guaranteed (``middle_threshold``), and the card says which:

``calibration``, ``held_out``
    Rows that neither model has seen. A record is lost where the middle tier answers wrongly and the bundle without it
    would have been right.
``split``
    Rows of X that the middle model did not learn from; only where edgeml learns it. The full model has seen them, and
    its answers there are too good. So a record is lost wherever the middle tier answers wrongly, whatever the full
    model says: that is never less, and needs no answer of the full model.

Where a rule answers, nothing is lost; the share is one of all records. Only with ``split`` a wrong answer of the middle
tier counts there too, since rules may have been learned from these rows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.arguments import check_answers, check_held_out, plain
from edgeml.builder.candidate import BundleFacts, Candidate, find_candidate, json_bytes
from edgeml.builder.export import final_name
from edgeml.builder.image_form import ImageForm
from edgeml.builder.middle_model import learn_middle
from edgeml.builder.middle_threshold import Choice, check_rows, choose_threshold
from edgeml.builder.schema_inference import InferredSchema
from edgeml.builder.task import Task, task_of
from edgeml.builder.text_lists import over_table, texts_over_table
from edgeml.errors import BuildError, SchemaError, UnsupportedError
from edgeml.runtime.middle import PREFIX, MiddleTier
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.prediction import RULE
from edgeml.runtime.predictor import Predictor

LEARN = "learn"
BUDGET = 0.005
CONFIDENCE = 0.95
# Share of X that is kept from the middle model where no other rows are given.
KEPT = 0.3
_KEYS = ("pipeline", "budget", "confidence", "calibration")


@dataclass(frozen=True)
class MiddleRequest:
    """What was asked for.

    Attributes:
        pipeline: A fitted pipeline, or ``learn``.
        budget: Largest share of records that may be lost.
        confidence: With which probability that must hold.
        calibration: Rows and answers that neither model has seen; None where none were given.
    """

    pipeline: Any
    budget: float
    confidence: float
    calibration: tuple[Any, Any] | None


@dataclass(frozen=True)
class Middle:
    """A middle tier, ready to be packed.

    Attributes:
        tier: What answers.
        candidate: How its pipeline is packed.
        document: The config's member ``middle``.
    """

    tier: MiddleTier
    candidate: Candidate
    document: dict[str, Any]

    def members(self) -> dict[str, bytes]:
        """The bundle members that hold it."""
        program, kernel = self.tier.program, self.candidate.kernel
        assert kernel is not None  # without one there is no middle tier
        members: dict[str, bytes] = {}
        for name, (document, constants) in (("features", program.to_members()), ("kernel", kernel)):
            stream = io.BytesIO()
            np.save(stream, constants, allow_pickle=False)
            members |= {f"{PREFIX}{name}.json": json_bytes(document), f"{PREFIX}{name}.npy": stream.getvalue()}
        if program.terms:
            members[f"{PREFIX}features.terms"] = program.terms
        return members


def middle_request(given: Any, *, y: Any, held_out: Any, task: Task, is_image: bool) -> MiddleRequest | None:
    """Reads the argument ``middle``.

    Args:
        given: None, ``learn``, a fitted pipeline, or a dict.
        y: The known answers to X.
        held_out: What was given as such.
        task: What is answered.
        is_image: Whether records are pictures.

    Raises:
        BuildError: It cannot be had; says what would help.
    """
    if given is None:
        return None
    if task.name != "classification":
        raise BuildError(
            f"middle: a {task.name} has no middle tier, for nothing says how sure a number is; leave it away"
        )
    if is_image:
        raise BuildError("middle: records are pictures, which have no middle tier; leave it away")
    document: Mapping[str, Any] = given if isinstance(given, Mapping) else {"pipeline": given}
    unknown = [key for key in document if key not in _KEYS]
    if unknown:
        raise BuildError(f"middle: unknown key {unknown[0]!r}; the keys are {', '.join(_KEYS)}")
    pipeline = document.get("pipeline", LEARN)
    if isinstance(pipeline, str) and pipeline != LEARN:
        raise BuildError(f"middle: {pipeline!r} is neither 'learn' nor a fitted pipeline")
    request = MiddleRequest(
        pipeline,
        _share(document.get("budget", BUDGET), "budget"),
        _share(document.get("confidence", CONFIDENCE), "confidence"),
        document.get("calibration"),
    )
    learns = isinstance(pipeline, str)
    if learns and y is None:
        raise BuildError("middle: a small model learns from known answers; give y, or a fitted pipeline")
    if not learns and request.calibration is None and (held_out is None or held_out[1] is None):
        raise BuildError(
            "middle: the threshold is chosen on rows that neither model has seen; give held_out=(X, y), or "
            "middle={'pipeline': ..., 'calibration': (X, y)}"
        )
    return request


def middle_over_table(given: Any, X: Any) -> Any:
    """The argument ``middle`` for a table, where X is a list of texts; see ``text_lists``.

    Args:
        given: The argument.
        X: The texts.

    Raises:
        BuildError: Its pipeline does not begin with a vectorizer, or its calibration is no list of texts.
    """
    document = dict(given) if isinstance(given, Mapping) else {"pipeline": given}
    calibration = document.get("calibration")
    pair = tuple(calibration) if isinstance(calibration, tuple | list) and len(calibration) == 2 else None
    made = None
    pipeline = document.get("pipeline")
    try:
        if hasattr(pipeline, "predict"):
            document["pipeline"], _, made = over_table(pipeline, X, pair)
        elif pair is not None:
            made = texts_over_table(X, pair)
    except BuildError as error:
        raise BuildError(f"middle: {str(error).replace('held_out', 'calibration')}") from error
    if pair is not None:
        document["calibration"] = made
    return document if isinstance(given, Mapping) or hasattr(pipeline, "predict") else given


def make_middle(
    request: MiddleRequest,
    *,
    predictor: Predictor,
    inferred: InferredSchema | ImageForm,
    task: Task,
    facts: BundleFacts,
    fallback: Mapping[str, Any],
    X: Any,
    y: Any,
    held_out: tuple[Any, Any] | None,
    say: Callable[[str], None],
) -> Middle:
    """Makes the middle tier.

    Args:
        request: What was asked for.
        predictor: Rules and full model together.
        inferred: The schema, and the way between records and tables.
        task: The task.
        facts: The caller's part of the config.
        fallback: The declared fallback.
        X: The table that the full pipeline was fitted on.
        y: Its known answers.
        held_out: Rows that the pipeline has not seen.
        say: Called with the name of each step as it begins.

    Raises:
        BuildError: It cannot be had: the kernel does not have the pipeline, or no threshold can be promised.
        ParityError: It would answer otherwise than its pipeline.
    """
    assert isinstance(inferred, InferredSchema)  # pictures were refused before
    pipeline, source, rows, truth, forced = _fitted(request, inferred, task, X, y, held_out)
    labels = task_of(pipeline, None).labels
    if labels != task.labels:
        raise BuildError(
            f"middle: its pipeline knows the labels {list(labels or ())}, and the full one {list(task.labels or ())}; "
            "fit it on rows of all labels"
        )
    candidate = _packed(pipeline, X, rows, inferred, task, facts, fallback, say)
    assert candidate.kernel is not None and not isinstance(candidate.inferred, ImageForm)
    program = candidate.compiled.program
    session = NativeSession(*candidate.kernel)
    frame = predictor.reader.new_frame(len(rows))
    try:
        predictor.reader.read_columns(frame, inferred.values(rows))
    except SchemaError as error:
        raise BuildError(f"middle: calibration rows break the schema: {error}; correct them, or the schema") from error
    # With a threshold that no score reaches: it is chosen by what the tier would say.
    unsure = MiddleTier(program, session, threshold=1.0, labels=task.labels or ())  # type: ignore[arg-type]
    answers = predictor.predict_frame(frame)
    by_rule = answers.tiers == RULE
    asked = np.flatnonzero(~by_rule | (source == "split")).astype(np.int64)
    scores = unsure.scores_of(unsure.lane(), frame, asked)
    top = np.full(len(rows), np.nan)
    top[asked] = np.nan_to_num(scores.max(axis=1), nan=-1.0)
    said = np.asarray(task.labels, dtype=object)[scores.argmax(axis=1)]
    known = np.asarray(truth, dtype=object)
    costs = np.zeros(len(rows), dtype=bool)
    costs[asked] = said != known[asked]
    if source != "split":
        costs &= np.asarray(answers.label_list(), dtype=object) == known
    # Rules may have been learned from the rows of X, or written with a look at them: then which of these they leave to
    # the middle tier depends on how these turn out. So there a wrong answer counts as lost also where a rule answers.
    top[by_rule & ~costs] = np.nan
    # Rows that the small model had to learn from after all count as lost.
    costs[forced] = True
    top[forced] = 1.0
    choice = choose_threshold(
        top, costs, n_labels=len(task.labels or ()), budget=request.budget, confidence=request.confidence
    )
    tier = MiddleTier(program, session, threshold=choice.threshold, labels=task.labels or ())  # type: ignore[arg-type]
    return Middle(tier, candidate, _document(choice, candidate, source, answers.tiers))


def _document(choice: Choice, candidate: Candidate, source: str, tiers: NDArray[np.uint8]) -> dict[str, Any]:
    return choice.to_dict() | {
        "rules": float((tiers == RULE).mean()),
        "source": source,
        "estimator": candidate.exported.estimator,
        "steps": [*candidate.compiled.compiled_steps, *candidate.compiled.exported_steps],
        "parity": candidate.config["parity"],
    }


def _fitted(
    request: MiddleRequest, inferred: InferredSchema, task: Task, X: Any, y: Any, held_out: tuple[Any, Any] | None
) -> tuple[Any, str, Any, list[Any], NDArray[np.int64]]:
    """The small pipeline, what the calibration rows are, these and their answers, and which of them it has seen."""
    none = np.empty(0, dtype=np.int64)
    given = request.calibration
    if given is not None:
        try:
            rows, answers = check_held_out(given, X, task)
        except BuildError as error:
            raise BuildError(f"middle: {str(error).replace('held_out', 'calibration')}") from error
        if answers is None:
            raise BuildError("middle: calibration needs known answers: (X, y)")
        check_rows(len(rows), request.budget, request.confidence)
        return _pipeline(request, inferred, X, y), "calibration", rows, task.truth(answers), none
    if held_out is not None and held_out[1] is not None:
        check_answers(held_out[1], len(held_out[0]), task, name="held_out: y", table="its X")
        check_rows(len(held_out[0]), request.budget, request.confidence)
        return _pipeline(request, inferred, X, y), "held_out", held_out[0], task.truth(held_out[1]), none
    order = np.random.default_rng(0).permutation(len(X))
    kept = np.sort(order[: round(KEPT * len(X))])
    check_rows(len(kept), request.budget, request.confidence)
    learnt = np.setdiff1d(np.arange(len(X)), kept)
    labels = np.asarray(y)
    # A label that stands in kept rows alone must be learnt from them.
    needed = kept[~np.isin(labels[kept], labels[learnt])]
    learnt = np.sort(np.concatenate([learnt, needed]))
    pipeline = learn_middle(inferred, _taken(X, learnt), labels[learnt], budget=request.budget)
    forced = np.flatnonzero(np.isin(kept, needed))
    return pipeline, "split", _taken(X, kept), task.truth(labels[kept]), forced


def _pipeline(request: MiddleRequest, inferred: InferredSchema, X: Any, y: Any) -> Any:
    """The fitted small pipeline, over the table."""
    if isinstance(request.pipeline, str):
        return learn_middle(inferred, X, y, budget=request.budget)
    return request.pipeline


def _packed(
    pipeline: Any,
    X: Any,
    rows: Any,
    inferred: InferredSchema,
    task: Task,
    facts: BundleFacts,
    fallback: Mapping[str, Any],
    say: Callable[[str], None],
) -> Candidate:
    try:
        candidate = find_candidate(pipeline, X, rows, inferred, task, facts, fallback, say)
    except UnsupportedError as error:
        raise UnsupportedError(f"middle: {error}", step=error.step, columns=error.columns) from error
    if candidate.kernel is None or candidate.compiled.program.strings:
        why = candidate.config["parity"]["why"]
        raise BuildError(
            f"middle: {final_name(pipeline)} must run in the native kernel, with all its steps in the core ({why}); "
            "take another small pipeline, or 'learn'"
        )
    if candidate.predictor.outputs.scores != "probability":
        raise BuildError(
            f"middle: {final_name(pipeline)} gives no probabilities; take a classifier with predict_proba, or 'learn'"
        )
    return candidate


def _share(value: Any, name: str) -> float:
    number = plain(value)
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 < number < 1:
        raise BuildError(f"middle: {name} {value!r} must be a number above 0 and below 1")
    return float(number)


def _taken(X: Any, chosen: NDArray[np.int64]) -> Any:
    return X.iloc[chosen] if hasattr(X, "iloc") else np.asarray(X)[chosen]
