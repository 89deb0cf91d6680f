"""How a pipeline is packed: compiled features, an ONNX model, a door between them, and proof that the answers agree."""

from __future__ import annotations

import io
import json
import platform
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder import engine_choice
from edgeml.builder.export import ExportedModel, doors, export_model, final_name
from edgeml.builder.feature_compiler import CompiledPipeline, compile_features
from edgeml.builder.image_form import ImageForm
from edgeml.builder.image_onnx import OnnxPictures
from edgeml.builder.native_kernel import translated
from edgeml.builder.parity import ParityQuestions
from edgeml.builder.parity_rows import ParityRows
from edgeml.builder.schema_inference import InferredSchema
from edgeml.builder.sparse_kernel import with_sparse_product
from edgeml.builder.task import Task
from edgeml.errors import BuildError, ParityError, RuntimeMissingError, UnsupportedError
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_spec import MEMBER as IMAGE
from edgeml.runtime.lane import Session
from edgeml.runtime.middle import MiddleTier
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.onnx_scan import scan
from edgeml.runtime.onnx_session import OnnxSession
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.rules import RuleList


@dataclass(frozen=True)
class BundleFacts:
    """What the caller says about the bundle; see ``build`` for the meaning of each."""

    name: str
    version: str
    slo: dict[str, float]
    tolerance: float
    session: dict[str, Any]
    security_epoch: int
    parent: str | None
    created: str | None

    def config(self, task: str) -> dict[str, Any]:
        """The beginning of the bundle's config."""
        document = {
            "format": 1,
            "name": self.name,
            "version": self.version,
            "task": task,
            "slo": self.slo,
            "tolerance": self.tolerance,
            "session": self.session,
            "security_epoch": self.security_epoch,
            "parent": self.parent,
            "requires": {"edgeml": ">=0.1", "onnxruntime": ">=1.20"},
            "toolchain": toolchain(),
        }
        if self.created:
            document["created"] = self.created
        return document


@dataclass
class Candidate:
    """One way of packing the pipeline that has passed parity.

    Attributes:
        config: The bundle's config so far.
        inferred: The schema, and the way between records and tables.
        compiled: What runs in the core.
        exported: The model as ONNX.
        kernel: The same model for the native kernel; None where the kernel does not have all of it.
        predictor: Features and model together, without rules, as a box will run them.
        edge_cases: Records that parity has made up and that passed it.
    """

    config: dict[str, Any]
    inferred: InferredSchema | ImageForm
    compiled: CompiledPipeline
    exported: ExportedModel
    kernel: tuple[dict[str, Any], NDArray[np.float64]] | None
    predictor: Predictor
    edge_cases: ParityRows

    def with_tiers(self, rules: RuleList | None, middle: MiddleTier | None = None) -> Predictor:
        """The same with rules asked first, and then a middle tier."""
        return Predictor(
            config=self.config,
            digest="",
            schema=self.inferred.schema,
            rules=rules,
            program=self.compiled.program,
            session=self.predictor.session,
            max_rows=self.predictor.reader.max_rows,
            middle=middle,
        )

    def members(self) -> dict[str, bytes]:
        """The bundle members that hold it."""
        members = {"model.onnx": self.exported.model}
        program = self.compiled.program
        parts = {}
        if isinstance(program, PictureProgram):
            members[IMAGE] = json_bytes(program.spec.to_document(program.dtype.name))
        else:
            parts["features"] = program.to_members()
            if program.terms:
                members["features.terms"] = program.terms
        if self.kernel is not None:
            parts["kernel"] = self.kernel
        for name, (document, constants) in parts.items():
            stream = io.BytesIO()
            np.save(stream, constants, allow_pickle=False)
            members |= {f"{name}.json": json_bytes(document), f"{name}.npy": stream.getvalue()}
        return members


def find_candidate(
    pipeline: Any,
    X: Any,
    X_check: Any,
    inferred: InferredSchema | ImageForm,
    task: Task,
    facts: BundleFacts,
    fallback: Mapping[str, Any],
    say: Callable[[str], None],
) -> Candidate:
    """Tries the doors that suit the estimator; the first that has parity is taken.

    Args:
        pipeline: The fitted pipeline.
        X: The table it was fitted on.
        X_check: Rows for parity.
        inferred: The schema.
        task: The task.
        facts: The caller's part of the config.
        fallback: The declared fallback.
        say: Called with the name of each step as it begins.

    Raises:
        UnsupportedError: A step or estimator that neither the core nor ONNX can take; names it and its columns.
        ParityError: No door has parity; names the worst rows.
    """
    say("compiling the features")
    compiled = _compiled(pipeline, inferred, X, "float32")
    remainder = compiled.remainder
    program = compiled.program
    sizes: dict[str, Any] = {"n_inputs": program.n_outputs, "strings": program.strings, "task": task.name}
    refusal: BuildError | None = None
    try:
        own = isinstance(remainder, OnnxPictures)
        for door in ("float32",) if own else doors(remainder, **sizes):
            if door != program.dtype.name:
                compiled = _compiled(pipeline, inferred, X, door)
            say("exporting the model")
            try:
                exported = remainder.exported() if own else export_model(remainder, door=door, **sizes)
                say("checking parity")
                return _checked(pipeline, X_check, inferred, compiled, exported, task, facts, fallback)
            except (ParityError, UnsupportedError) as error:
                # A later door is a second chance: its refusal must not hide why the first one was refused.
                refusal = refusal or error
    except UnsupportedError as error:
        refusal = error
    assert refusal is not None  # there is always a door to try
    if isinstance(refusal, UnsupportedError):
        raise _with_step(refusal, compiled) from refusal
    raise refusal


def _compiled(pipeline: Any, inferred: InferredSchema | ImageForm, X: Any, door: str) -> CompiledPipeline:
    """What runs in the core, with this door. Behind a picture that is the picture alone: all steps go to ONNX."""
    if not isinstance(inferred, ImageForm):
        return compile_features(pipeline, inferred.schema, X, door=door)
    spec = inferred.spec
    seen = f"picture ({spec.width} x {spec.height} {spec.channels}, {spec.fit}, {spec.resize})"
    return CompiledPipeline(PictureProgram(spec, door), pipeline, (seen,), (), {})


def _checked(
    pipeline: Any,
    X_check: Any,
    inferred: InferredSchema | ImageForm,
    compiled: CompiledPipeline,
    exported: ExportedModel,
    task: Task,
    facts: BundleFacts,
    fallback: Mapping[str, Any],
) -> Candidate:
    config = facts.config(task.name)
    config["requires"] |= {"opset": exported.opset, "ir_version": exported.ir_version}
    if isinstance(pipeline, OnnxPictures):
        config["requires"]["onnxruntime"] = pipeline.onnxruntime
    config |= {"schema": inferred.schema.to_dict(), "outputs": exported.outputs, "fallback": dict(fallback)}
    session_options = facts.session
    if scan(exported.model, control_flow=True).control_flow:
        # The converter writes a Scan for some distances. It is ours and parity is checked, so the bundle consents.
        session_options = {**facts.session, "control_flow": True}
    config["session"] = session_options

    def with_session(session: Session) -> Predictor:
        return Predictor(
            config=config,
            digest="",
            schema=inferred.schema,
            rules=None,
            program=compiled.program,
            session=session,
            max_rows=2**40,
        )

    kernel, missing = translated(exported.model, exported.door)
    why = engine_choice.LACKS + missing
    sparse = isinstance(compiled.program, FeatureProgram) and compiled.program.sparse
    if kernel is not None and sparse:
        kernel = with_sparse_product(*kernel)
    session: OnnxSession | NativeSession
    try:
        session = OnnxSession.open(exported.model, **session_options)
    except RuntimeMissingError as error:
        if kernel is None:
            raise BuildError(f"{exported.estimator} needs ONNX Runtime: {why}; {error}") from error
        session = NativeSession(*kernel)
    predictor = with_session(session)
    questions = ParityQuestions(pipeline, predictor, inferred, X_check)
    report = questions.check(predictor, facts.tolerance)
    if isinstance(session, NativeSession):
        why = engine_choice.ALONE
    elif kernel is not None:
        of_rows = NativeSession(*kernel)
        native = with_session(of_rows)
        try:
            # The box will ask the kernel, so its figures are those that the bundle shows.
            of_kernel = questions.check(native, facts.tolerance)
            # A sparse row is never filled up with its zeros, which is all that ONNX Runtime could do.
            if not sparse and engine_choice.is_much_slower(of_rows, session):
                kernel, why = None, engine_choice.SLOWER
            else:
                predictor, report, why = native, of_kernel, engine_choice.NATIVE
        except ParityError:
            kernel, why = None, engine_choice.DIFFERS
    config["parity"] = report.summary() | {"door": exported.door, "engine": predictor.session.backend, "why": why}
    return Candidate(config, inferred, compiled, exported, kernel, predictor, questions.edge_cases())


def _with_step(error: UnsupportedError, compiled: CompiledPipeline) -> UnsupportedError:
    """The same refusal under the name of the step at fault and its columns, where it is a step before the estimator."""
    classes = (said.rsplit("(", 1)[1].rstrip(")") for said in compiled.exported_steps)
    names = dict(zip(compiled.columns, classes, strict=True))
    estimator = final_name(compiled.remainder)
    reason = str(error).removeprefix(f"{estimator} cannot be exported: ")
    # What our own writers stopped at comes first: a pipeline without it would have got further.
    for text in reason.split("skl2onnx: ", 1):
        shown = [path for path, name in names.items() if _names(text, name)]
        if shown or _names(text, estimator):
            break
    else:
        shown = list(names)
    if not shown:
        return error
    steps = "; ".join(f"step {path!r} ({names[path]}) over {', '.join(compiled.columns[path])}" for path in shown)
    return UnsupportedError(
        f"{steps}: neither the compiled core nor ONNX can take {'it' if len(shown) == 1 else 'all of them'}: {reason}",
        step=shown[0],
        columns=compiled.columns[shown[0]],
    )


def _names(reason: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", reason) is not None


def json_bytes(document: Any) -> bytes:
    """A document as canonical JSON."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def toolchain() -> dict[str, str]:
    """Versions of everything that had a hand in the bundle."""
    found = {"python": platform.python_version()}
    for package in ("edgeml", "numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx"):
        with suppress(PackageNotFoundError):  # without ONNX Runtime bundles are built, too
            found[package] = version_of(package)
    return found
