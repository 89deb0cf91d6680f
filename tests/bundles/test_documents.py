"""Strict JSON in, canonical JSON out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.bundles.documents import MAX_DEPTH, canonical, parse, parse_canonical, parse_object
from edgeml.errors import ArchiveError, BundleError, SignatureError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=15,
)


def depth(value: Any) -> int:
    """The slow, obvious depth of a document."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@settings(deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5))
def test_canonical_form_is_read_back(document: dict[str, Any]) -> None:
    data = canonical(document, "it")
    assert parse_canonical(data, "it") == document
    assert json.loads(data) == document
    assert canonical(dict(reversed(list(document.items()))), "it") == data


@settings(deadline=None)
@given(values, st.integers(0, 60), st.booleans())
def test_depth(value: Any, wrapped: int, in_object: bool) -> None:
    for _ in range(wrapped):
        value = {'"}\\"': value} if in_object else [value]
    data = json.dumps(value).encode()
    if depth(value) <= MAX_DEPTH:
        assert parse(data, "it") == value
    else:
        with pytest.raises(ArchiveError, match="nested deeper than 32"):
            parse(data, "it")


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:0eE.-+\\tru\n ', max_size=60).map(str.encode))
def test_whatever_is_accepted_json_accepts_too(data: bytes) -> None:
    try:
        value = parse(data, "it")
    except ArchiveError:
        return
    assert json.loads(data.decode()) == value
    assert "inf" not in repr(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not strict JSON"),
        (b"\xef\xbb\xbf{}", "not strict JSON"),
        ("{}".encode("utf-16"), "not strict JSON"),
        (b'{"a":1,"b":{"c":1,"c":2}}', "key 'c' appears twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":-1e999}', "beyond float64"),
        (b'{"a":1E+309}', "beyond float64"),
        (b'{"a":1e0309}', "beyond float64"),
        (b'{"a":' + b"9" * 250 + b"e60}", "beyond float64"),
        (b'{"a":' + b"9" * 309 + b".0}", "beyond float64"),
        (b'{"a":' + b"9" * 5000 + b"}", "not strict JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
        (b'"' + b"\\" * 100_001 + b'"' + b"[" * 100_000, "nested deeper|not strict"),
        (b"{} {}", "not strict JSON"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=f"the thing is .*{message}|the thing .*{message}"):
        parse(data, "the thing")


def test_errors_are_of_the_kind_asked_for() -> None:
    with pytest.raises(SignatureError, match="the keyring is not a JSON object"):
        parse_object(b"[]", "the keyring", error=SignatureError)
    with pytest.raises(ArchiveError, match="not in canonical form"):
        parse_canonical(b'{"b":1,"a":2}', "it")
    with pytest.raises(ArchiveError, match="cannot be written as JSON"):
        parse_canonical(b'{"a":"\\ud800"}', "it")
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        canonical({"a": float("inf")}, "it")
