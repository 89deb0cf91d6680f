"""Members of a bundle as documents and arrays. Nothing in a bundle is ever unpickled, evaluated or imported."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeml.bundles import Bundle
from edgeml.errors import BundleError

REFERENCE = "reference.json"
# Several times as fast as the standard library's, and a bundle is loaded while others answer.
read_json = msgspec.json.Decoder().decode
# What ``read_json`` raises.
NOT_JSON = (msgspec.DecodeError, ValueError, RecursionError)


def member(bundle: Bundle, name: str) -> bytes:
    """The bytes of a member.

    Raises:
        BundleError: The bundle does not have it.
    """
    try:
        return bundle.members[name]
    except KeyError:
        raise BundleError(f"the bundle has no member {name}; build it again") from None


def json_member(bundle: Bundle, name: str) -> dict[str, Any]:
    """A member that is one JSON object.

    Raises:
        BundleError: It is missing, not JSON, or not an object.
    """
    try:
        document = read_json(member(bundle, name))
    except NOT_JSON as error:
        raise BundleError(f"bundle member {name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BundleError(f"bundle member {name} is not a JSON object")
    return document


def reference_of(bundle: Bundle) -> dict[str, Any]:
    """The member ``reference.json``: what the model was built on, for drift and quality; empty where there is none.

    Raises:
        BundleError: It is not a JSON object.
    """
    return json_member(bundle, REFERENCE) if REFERENCE in bundle.members else {}


def npy_member(bundle: Bundle, name: str, dtype: type[Any] = np.float64) -> NDArray[Any]:
    """A member that is one row of numbers in numpy's .npy format, read without pickle.

    Args:
        bundle: The bundle.
        name: The member.
        dtype: Their type.

    Raises:
        BundleError: It is missing or is not such an array.
    """
    try:
        array = np.load(io.BytesIO(member(bundle, name)), allow_pickle=False)
    except Exception as error:  # numpy reads a header with Python's tokenizer, which raises its own errors
        raise BundleError(f"bundle member {name} is not a .npy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        raise BundleError(f"bundle member {name} must be one row of {np.dtype(dtype)}")
    return array
