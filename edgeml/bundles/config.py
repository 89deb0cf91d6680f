"""The config: what a bundle says about itself, and what it asks of the box.

1. ``format`` is looked at first: another number is a newer or older edgeml's matter, not a broken file.
2. Known keys must have their type; required ones must be there. The insides of schema, outputs, fallback and
   session are read by the rooms that use them.
3. Unknown keys are kept and ignored, so that a newer builder may say more. What an old reader must not ignore raises
   ``format``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edgeml.errors import BundleError, RequirementError

FORMAT = 1
TASKS = ("classification", "regression", "outlier", "clustering", "tensors")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
# What is both an OCI tag and an OCI reference name, so that registries and image layouts can carry it.
_VERSION = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9]+([._-][A-Za-z0-9]+)*\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_AT_LEAST = re.compile(r"\s*(?:>=)?\s*(\d{1,6}(?:\.\d{1,6}){0,3})\s*\Z")
_NUMBERS = re.compile(r"\d{1,6}(?:\.\d{1,6}){0,3}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_matching(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.match(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable()


# key -> (test, what is expected)
_REQUIRED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_matching(_NAME), "1 to 64 characters a-z 0-9 . _ -, not beginning with . _ or -"),
    "version": (_is_matching(_VERSION), "letters and digits, with single . _ or - between them, at most 128"),
    "task": (lambda value: value in TASKS, "one of " + ", ".join(TASKS)),
    "requires": (_is_object, "an object"),
    "schema": (_is_object, "an object"),
}
_OPTIONAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "created": (_is_text, "a short text"),
    "outputs": (_is_object, "an object"),
    "fallback": (_is_object, "an object"),
    "session": (_is_object, "an object"),
    "slo": (
        lambda value: _is_object(value) and all(map(_is_positive, value.values())),
        "an object of positive numbers",
    ),
    "tolerance": (lambda value: _is_number(value) and value >= 0, "a number, 0 or more"),
    "security_epoch": (_is_count, "a whole number, 0 or more"),
    "parent": (lambda value: value is None or _is_matching(_DIGEST)(value), "null or sha256:<64 hex digits>"),
    "toolchain": (_is_object, "an object"),
    "parity": (_is_object, "an object"),
    "middle": (_is_object, "an object"),
}
_REQUIRES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "edgeml": (_is_matching(_AT_LEAST), "a lowest version such as '>=0.1'"),
    "onnxruntime": (_is_matching(_AT_LEAST), "a lowest version such as '>=1.20'"),
    "google-re2": (_is_matching(_AT_LEAST), "a lowest version such as '>=1.1'"),
    "opset": (lambda value: _is_object(value) and all(map(_is_count, value.values())), "an object of whole numbers"),
    "ir_version": (_is_count, "a whole number"),
    "memory_bytes": (_is_count, "a number of bytes"),
}


def is_version(text: str) -> bool:
    """Whether a text can be a version label."""
    return _VERSION.match(text) is not None


def check_config(config: Mapping[str, Any]) -> None:
    """Checks a config.

    Args:
        config: The whole config.

    Raises:
        RequirementError: Its ``format`` is not one that this edgeml reads.
        BundleError: A key is missing or has the wrong type; the message names it.
    """
    number = config.get("format")
    if not _is_count(number):
        raise BundleError("config: format must be a whole number")
    if number != FORMAT:
        raise RequirementError(f"the bundle has format {number}; this edgeml reads format {FORMAT}; update edgeml")
    for key in _REQUIRED:
        if key not in config:
            raise BundleError(f"config: {key} is missing")
    _check_keys(config, _REQUIRED | _OPTIONAL, "config")
    _check_keys(config["requires"], _REQUIRES, "config: requires")


def check_requirements(
    config: Mapping[str, Any],
    *,
    edgeml_version: str,
    onnxruntime_version: str | None,
    re2_version: str | None = None,
    memory_bytes: int | None = None,
) -> None:
    """Checks that this box can run a bundle.

    Args:
        config: A config that ``check_config`` accepted.
        edgeml_version: Version of edgeml on this box.
        onnxruntime_version: Version of ONNX Runtime on this box; None where there is none.
        re2_version: Version of google-re2 on this box, which rules with regular expressions need; None where there is
            none.
        memory_bytes: Memory that the bundle may use on this box, in bytes; None where nobody knows.

    Raises:
        RequirementError: Something is too old, too small or missing; the message says what and what is needed.
    """
    requires = config["requires"]
    for package, version in (
        ("edgeml", edgeml_version),
        ("onnxruntime", onnxruntime_version),
        ("google-re2", re2_version),
    ):
        wanted = requires.get(package)
        if wanted is None:
            continue
        if version is None:
            remedy = "install edgeml[re2]" if package == "google-re2" else "install it"
            raise RequirementError(f"the bundle needs {package} {wanted}, and this box has none; {remedy}")
        if _numbers(version) < _numbers(wanted):
            raise RequirementError(f"the bundle needs {package} {wanted}, and this box has {version}; update it")
    needed = requires.get("memory_bytes")
    if needed is not None and memory_bytes is not None and memory_bytes < needed:
        raise RequirementError(f"the bundle needs {needed} bytes of memory, and this box grants {memory_bytes}")


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _check_keys(document: Mapping[str, Any], rules: dict[str, tuple[Callable[[Any], bool], str]], where: str) -> None:
    for key, (accepts, expected) in rules.items():
        if key in document and not accepts(document[key]):
            got = repr(document[key])
            raise BundleError(f"{where}: {key} must be {expected}, not {got if len(got) <= 80 else got[:77] + '...'}")


def _numbers(version: str) -> tuple[int, ...]:
    found = _NUMBERS.search(version)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    return tuple(numbers + [0] * (4 - len(numbers)))
