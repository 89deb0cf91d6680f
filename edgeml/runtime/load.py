"""From a bundle, or the path of one, to the object that answers."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgeml.bundles import Bundle, Keyring, check_requirements
from edgeml.errors import BundleError
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor


def predictor_of(bundle: Bundle, *, backend: str = "auto", max_rows: int = 10_000) -> Predictor | TensorPredictor:
    """Makes the predictor that fits the bundle's task.

    Args:
        bundle: A bundle that was read and verified.
        backend: ``auto``, ``native``, ``c`` or ``python``: what runs the model; see ``Predictor.from_bundle``.
        max_rows: Largest number of records in one request.

    Raises:
        RequirementError: The bundle needs a newer edgeml or ONNX Runtime than this box has.
        BundleError: A member is missing or does not fit the others.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    _check_versions(bundle, native=backend in ("auto", "native") and "kernel.json" in bundle.members)
    if bundle.config["task"] == "tensors":
        return TensorPredictor.from_bundle(bundle, backend=backend)
    return Predictor.from_bundle(bundle, backend=backend, max_rows=max_rows)


def predictor_without_model(bundle: Bundle, reason: str, *, max_rows: int = 10_000) -> Predictor:
    """Makes a predictor of a bundle's rules and fallback alone: nothing of its model is read, and no session is made.

    Args:
        bundle: A bundle that was read and verified.
        reason: Why its model is left out, as answers of the fallback say it.
        max_rows: Largest number of records in one request.

    Raises:
        RequirementError: The bundle needs a newer edgeml than this box has.
        BundleError: It has neither rules nor a fallback, or they do not fit the schema.
    """
    if bundle.config["task"] == "tensors":
        raise BundleError(f"{bundle.config['name']} has neither rules nor a fallback that could answer for its model")
    _check_versions(bundle, native=True)
    return Predictor.from_bundle(bundle, max_rows=max_rows, without_model=reason)


def _check_versions(bundle: Bundle, *, native: bool) -> None:
    """Refuses a bundle that this box is too old for; a native kernel asks for no ONNX Runtime."""
    needed = {name: wanted for name, wanted in bundle.config["requires"].items() if name != "onnxruntime" or not native}
    check_requirements(
        {"requires": needed},
        edgeml_version=_version("edgeml") or "0",
        onnxruntime_version=_version("onnxruntime") if "onnxruntime" in needed else None,
        re2_version=_version("google-re2") if "google-re2" in needed else None,
    )


@cache
def _version(package: str) -> str | None:
    """What is installed; looked up once, since it reads a file and a process keeps to what it has imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load(
    path: str | Path, *, keyring: Keyring | None = None, backend: str = "auto", max_rows: int = 10_000
) -> Predictor | TensorPredictor:
    """Opens a bundle file and makes it ready to answer.

    Args:
        path: An ``.edgeml`` file.
        keyring: The keys to trust; with None the signatures are not checked (digests always are).
        backend: ``auto``, ``native``, ``c`` or ``python``: what runs the model; see ``Predictor.from_bundle``.
        max_rows: Largest number of records in one request.

    Returns:
        A Predictor, or a TensorPredictor for a bare ONNX model (task ``tensors``).

    Raises:
        BundleError: The file is not a whole, trusted bundle.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    return predictor_of(Bundle.read(path, keyring=keyring), backend=backend, max_rows=max_rows)
