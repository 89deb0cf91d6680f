"""The config's keys, and what a bundle asks of the box."""

from __future__ import annotations

from typing import Any

import pytest
from data.generate_bundles import CONFIG

from edgeml.bundles import check_requirements
from edgeml.bundles.config import check_config, is_version
from edgeml.errors import BundleError, RequirementError

FULL = CONFIG | {
    "created": "2026-01-02T03:04:05Z",
    "session": {"intra_op_threads": 1},
    "slo": {"p99_ms": 5, "deadline_ms": 20.5},
    "tolerance": 1e-5,
    "security_epoch": 0,
    "parent": None,
    "toolchain": {"numpy": "2.0"},
    "parity": {"flips": 0},
    "made_up": [1],
}


def test_a_full_config_passes() -> None:
    check_config(FULL)
    check_config(FULL | {"parent": "sha256:" + "0" * 64})


@pytest.mark.parametrize("key", ["format", "name", "version", "task", "requires", "schema"])
def test_required_keys(key: str) -> None:
    with pytest.raises(BundleError, match=f"config: {key} "):
        check_config({name: value for name, value in FULL.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", True),
        ("format", "1"),
        ("name", "Door"),
        ("name", ".door"),
        ("name", ""),
        ("name", "d" * 65),
        ("name", "door\n"),
        ("version", ""),
        ("version", "1.0.0\n"),
        ("version", "1/0"),
        ("version", "-1"),
        ("version", "1" * 129),
        ("version", 1),
        ("task", "magic"),
        ("task", ["classification"]),
        ("requires", []),
        ("requires", {"edgeml": "latest"}),
        ("requires", {"onnxruntime": 1.2}),
        ("requires", {"opset": {"ai.onnx": "17"}}),
        ("requires", {"ir_version": -1}),
        ("requires", {"memory_bytes": 1.5}),
        ("schema", None),
        ("outputs", []),
        ("fallback", "no"),
        ("session", 1),
        ("slo", {"p99_ms": 0}),
        ("slo", {"p99_ms": True}),
        ("tolerance", -1),
        ("tolerance", False),
        ("security_epoch", 1.0),
        ("security_epoch", -1),
        ("parent", "sha256:00"),
        ("toolchain", None),
        ("parity", 1),
        ("created", "\x1b[31m"),
        ("created", 5),
    ],
)
def test_wrong_values_are_named(key: str, value: Any) -> None:
    with pytest.raises(BundleError, match=f"{key}|{next(iter(value), '?') if isinstance(value, dict) else key}"):
        check_config(FULL | {key: value})


@pytest.mark.parametrize("number", [0, 2, 10**30])
def test_another_format_is_a_requirement(number: int) -> None:
    """Even when nothing else of the config is known."""
    with pytest.raises(RequirementError, match="this edgeml reads format 1"):
        check_config({"format": number})


def test_version_labels_are_tags_and_reference_names() -> None:
    for label in ("1", "1.0.0", "2026-01-31", "v1.2_rc.3", "A" * 128):
        assert is_version(label), label
    for label in ("", "_1", "1.", "1..0", "1--0", "ü", "1 0", "1:0", "latest/x"):
        assert not is_version(label), label


@pytest.mark.parametrize(
    ("requires", "edgeml", "onnxruntime", "message"),
    [
        ({}, "0.0.1", None, ""),
        ({"edgeml": ">=0.1", "onnxruntime": ">=1.20"}, "0.1.0", "1.20.0", ""),
        ({"edgeml": "0.1"}, "0.1.0.dev3", None, ""),
        ({"onnxruntime": ">=1.9"}, "0.1", "1.32.0+cpu", ""),
        ({"edgeml": ">=0.2"}, "0.1.9", None, "needs edgeml >=0.2, and this box has 0.1.9"),
        ({"onnxruntime": ">=1.20"}, "0.1", "1.9.1", "needs onnxruntime >=1.20, and this box has 1.9.1"),
        ({"onnxruntime": ">=1.20"}, "0.1", None, "this box has none"),
        ({"onnxruntime": ">=1.20"}, "0.1", "unknown", "this box has unknown"),
        ({"google-re2": ">=1.1"}, "0.1", None, r"needs google-re2 >=1.1, and this box has none; install edgeml\[re2\]"),
    ],
)
def test_requirements(requires: dict[str, Any], edgeml: str, onnxruntime: str | None, message: str) -> None:
    config = CONFIG | {"requires": requires}
    if not message:
        check_requirements(config, edgeml_version=edgeml, onnxruntime_version=onnxruntime)
        return
    with pytest.raises(RequirementError, match=message):
        check_requirements(config, edgeml_version=edgeml, onnxruntime_version=onnxruntime)


def test_regular_expressions() -> None:
    config = CONFIG | {"requires": {"google-re2": ">=1.1"}}
    check_requirements(config, edgeml_version="1", onnxruntime_version=None, re2_version="1.1.20251105")
    with pytest.raises(RequirementError, match="needs google-re2 >=1.1, and this box has 1.0; update it"):
        check_requirements(config, edgeml_version="1", onnxruntime_version=None, re2_version="1.0")
    with pytest.raises(BundleError, match="requires: google-re2 must be a lowest version"):
        check_config(FULL | {"requires": {"google-re2": 1}})


def test_memory() -> None:
    config = CONFIG | {"requires": {"memory_bytes": 1000}}
    check_requirements(config, edgeml_version="1", onnxruntime_version=None)
    check_requirements(config, edgeml_version="1", onnxruntime_version=None, memory_bytes=1000)
    with pytest.raises(RequirementError, match="needs 1000 bytes of memory, and this box grants 999"):
        check_requirements(config, edgeml_version="1", onnxruntime_version=None, memory_bytes=999)
