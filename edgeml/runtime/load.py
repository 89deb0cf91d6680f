"""From a bundle, or the path of one, to the object that answers."""

from __future__ import annotations

from pathlib import Path

from edgeml.bundles import Bundle, Keyring
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor


def predictor_of(bundle: Bundle, *, backend: str = "auto", max_rows: int = 10_000) -> Predictor | TensorPredictor:
    """Makes the predictor that fits the bundle's task.

    Args:
        bundle: A bundle that was read and verified.
        backend: ``auto``, ``native``, ``c`` or ``python``: what runs the model; see ``Predictor.from_bundle``.
        max_rows: Largest number of records in one request.

    Raises:
        BundleError: A member is missing or does not fit the others.
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    if bundle.config["task"] == "tensors":
        return TensorPredictor.from_bundle(bundle, backend=backend)
    return Predictor.from_bundle(bundle, backend=backend, max_rows=max_rows)


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
