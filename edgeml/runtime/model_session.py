"""What runs a bundle's model: the compiled kernel where the bundle has one, ONNX Runtime for everything else."""

from __future__ import annotations

import numpy as np

from edgeml.bundles import Bundle
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_spec import MEMBER as IMAGE
from edgeml.runtime.lane import Session
from edgeml.runtime.members import json_member, member, npy_member
from edgeml.runtime.native_session import LEAF_COUNTS, NativeSession
from edgeml.runtime.no_model import NO_MODEL, NoModel, no_features
from edgeml.runtime.onnx_session import OnnxSession
from edgeml.runtime.schema import Schema

# A bundle that has none of these is one of rules alone. (``image.json`` says how records are read.)
_OF_FEATURES = {"features.json", "features.npy", "features.terms"}
MODEL_MEMBERS = {"model.onnx", "kernel.json", "kernel.npy", LEAF_COUNTS} | _OF_FEATURES


def model_of(
    bundle: Bundle, schema: Schema, *, backend: str, without_model: str
) -> tuple[FeatureProgram | PictureProgram, Session, PictureProgram | None]:
    """What makes the rows of a bundle's model, and the model.

    Args:
        bundle: A bundle that was read and verified.
        schema: Its schema.
        backend: As of ``Predictor.from_bundle``.
        without_model: Likewise.

    Returns:
        The program, the session, and what happens to the pictures that records consist of (also without a model).

    Raises:
        BundleError: A member is missing or does not fit the others.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    pictures = None if schema.image is None else PictureProgram.from_member(json_member(bundle, IMAGE), schema)
    if not MODEL_MEMBERS & bundle.members.keys() or without_model:
        return no_features(schema), NoModel(without_model or NO_MODEL), pictures
    member(bundle, "model.onnx")  # the source of truth stays with the bundle, whatever runs
    program = pictures or FeatureProgram.from_members(
        json_member(bundle, "features.json"),
        npy_member(bundle, "features.npy"),
        schema,
        bundle.members.get("features.terms", b""),
    )
    return program, model_session(bundle, backend), pictures


def model_session(bundle: Bundle, backend: str) -> Session:
    """Opens the model of a bundle.

    Args:
        bundle: A bundle that was read and verified.
        backend: As of ``Predictor.from_bundle``.

    Raises:
        BundleError: A member is missing or does not fit the others.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    if backend == "native" or (backend == "auto" and "kernel.json" in bundle.members):
        document, constants = json_member(bundle, "kernel.json"), npy_member(bundle, "kernel.npy")
        counts = npy_member(bundle, LEAF_COUNTS, np.int32) if LEAF_COUNTS in bundle.members else None
        threads = bundle.config.get("session", {}).get("intra_op_threads", 1)
        return NativeSession(document, constants, counts, threads=threads)
    return OnnxSession.open(member(bundle, "model.onnx"), backend=backend, **bundle.config.get("session", {}))
