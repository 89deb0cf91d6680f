"""What runs a bundle's model: the compiled kernel where the bundle has one, ONNX Runtime for everything else."""

from __future__ import annotations

from edgeml.bundles import Bundle
from edgeml.runtime.lane import Session
from edgeml.runtime.members import json_member, member, npy_member
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.onnx_session import OnnxSession


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
        return NativeSession(json_member(bundle, "kernel.json"), npy_member(bundle, "kernel.npy"))
    return OnnxSession.open(member(bundle, "model.onnx"), backend=backend, **bundle.config.get("session", {}))
