"""The frame kernel against the slow oracle: JSON; and what is JSON at all."""

import json
import math
import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.frame_oracle import NotStrict, Pairs, read_records, rows_of, strict_json
from oracles.frame_samples import MUTATED, fresh, json_values, schemas, violations_of

from edgeml.kernels.frame import VIOLATIONS
from edgeml.runtime.reader import _CODES
from edgeml.runtime.schema import Feature, Schema


@settings(max_examples=60, deadline=None)
@given(st.data(), schemas())
def test_json_agrees_with_the_oracle(data, schema):
    keys = st.sampled_from([*schema.names, *schema.names, "stray"])
    pairs = st.lists(st.tuples(keys, json_values), max_size=6).map(Pairs)
    records = data.draw(st.lists(pairs | json_values.filter(lambda v: not isinstance(v, dict)), max_size=5))
    body = b'{"records": ' + encode(records, data.draw(st.randoms(use_true_random=False))) + b"}"
    kernel, frame = fresh(schema)
    for _ in range(2):
        status = kernel.read_json(frame, body, 100)
        rows, found = read_records(schema, dict(strict_json(body))["records"])
        assert status == (VIOLATIONS if found else 0)
        assert rows_of(schema, frame) == rows
        assert violations_of(schema, frame) == found
        assert frame.n_records == len(records)


def encode(value, rng):
    """JSON with arbitrary spaces and escapes, and with the repeated keys of Pairs."""

    def space():
        return rng.choice([b"", b"", b" ", b"\n\t "])

    if isinstance(value, Pairs):
        inner = b",".join(
            space() + encode(k, rng) + space() + b":" + space() + encode(v, rng) + space() for k, v in value
        )
        return b"{" + (inner or space()) + b"}"
    if isinstance(value, list):
        return b"[" + (b",".join(space() + encode(item, rng) + space() for item in value) or space()) + b"]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()


SEEDS = [
    b'{"records":[{"a":1.5,"b":"x","c":true,"t":"\\u00e9\\n"}],"id":"r1","partial":true}',
    b'{"a":-0,"b":"\\ud83d\\ude00","z":[1,{"k":[null,false]}],"t":"\xc3\xa9"}',
    b' { "a" : 1e5 , "a" : 2 } ',
    b'{"a":1234567890123456789012345678901234567890e-20,"b":null}',
    b"[[[[[[[[1]]]]]]]]",
]
TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"0",
    b"1",
    b"-",
    b"+",
    b".",
    b"e",
]
TOKENS += [
    b"E9",
    b"1e999",
    b"NaN",
    b"Infinity",
    b"true",
    b"null",
    b"nul",
    b" ",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xc0\x80",
]
TOKENS += [
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf0\x9f\x98\x80",
    b"\xef\xbb\xbf",
    b'"a"',
    b'"records"',
    b"/",
    b"//",
    b"'",
]


@st.composite
def mutated(draw):
    body = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        stop = min(len(body), start + draw(st.integers(0, 3)))
        body = body[:start] + draw(st.sampled_from([b"", *TOKENS]) | st.binary(max_size=3)) + body[stop:]
    return body


@settings(max_examples=200, deadline=None)
@given(mutated() | st.binary(max_size=40) | st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
@example(b"")
@example(b'{"a":"\\ud83d\\ude00"}')
@example(b'{"a":1}\x00')
@example(b'{"a":01}')
@example(b'{"a":1,}')
def test_a_record_is_accepted_exactly_where_it_is_strict_json(body):
    kernel, frame = fresh(MUTATED)
    status = kernel.read_json_record(frame, body)
    try:
        document = strict_json(body)
    except NotStrict:
        assert status not in (0, VIOLATIONS), body
        assert 0 <= frame.error_offset <= len(body)
        assert frame.n_rows == 0
        return
    assert status in (0, VIOLATIONS), (status, body)
    rows, found = read_records(MUTATED, [document])
    assert rows_of(MUTATED, frame) == rows
    assert violations_of(MUTATED, frame) == found


@settings(max_examples=75, deadline=None)
@given(mutated() | st.binary(max_size=40))
def test_a_body_is_accepted_exactly_where_it_is_strict_json_with_records(body):
    kernel, frame = fresh(MUTATED)
    status = kernel.read_json(frame, body, 100)
    try:
        document = strict_json(body)
    except NotStrict:
        assert status not in (0, VIOLATIONS), body
        return
    keys = [key for key, _ in document] if isinstance(document, Pairs) else []
    good = keys.count("records") == 1 and type(dict(document)["records"]) is list
    assert (status in (0, VIOLATIONS)) == good, body
    if good:
        others = [(key, value) for key, value in document if key != "records"]
        assert [msgspec.json.decode(key) for key, _ in frame.members] == [key for key, _ in others]


def test_msgspec_agrees_on_what_is_json():
    kernel, frame = fresh(MUTATED)
    rng = random.Random(5)
    for _ in range(3000):
        body = bytearray(rng.choice(SEEDS[:3]))
        for _ in range(rng.randrange(3)):
            body[rng.randrange(len(body))] = rng.choice(b'{}[]",:\\u0189.eE- tfn\x00\xc3')
        try:
            msgspec.json.decode(bytes(body))
            good = True
        except (msgspec.DecodeError, UnicodeDecodeError):
            good = False
        status = kernel.read_json_record(frame, bytes(body))
        # Only we bound the depth and tell an overflow (1e999) by the field.
        if status != 11 and not any(_CODES[code] == "not_finite" for _, _, code, _ in frame.violations):
            assert (status in (0, VIOLATIONS)) == good, bytes(body)


decimals = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.integers(0, 10**25),
    st.just("") | st.integers(0, 10**25).map(lambda n: f".{n}") | st.integers(0, 30).map(lambda n: "." + "0" * n + "7"),
    st.just("") | st.integers(-350, 350).map(lambda n: f"e{n}") | st.integers(0, 30).map(lambda n: f"E+{n}"),
)


@settings(max_examples=200, deadline=None)
@given(decimals | st.floats(allow_nan=False, allow_infinity=False).map(repr))
@example("9007199254740993")
@example("9007199254740992.9999999999999999")
@example("2.2250738585072011e-308")
@example("4.9e-324")
@example("2.4e-324")
@example("1.7976931348623157e308")
@example("1.7976931348623159e308")
@example("18446744073709551615")
@example("0.1234567890123456789")
@example("1e-400")
@example("0e999999999999999999999")
@example("1" + "0" * 400 + "e-400")
@example("8.5" + "0" * 800 + "1")
def test_numbers_are_rounded_as_python_rounds_them(text):
    kernel, frame = fresh(Schema((Feature(name="a", kind="number"),)))
    status = kernel.read_json_record(frame, b'{"a":' + text.encode() + b"}")
    if math.isinf(float(text)):
        assert violations_of(MUTATED, frame) == {(0, "a", "not_finite")}
    else:
        assert status == 0
        got = frame.number_column(0)[0]
        assert got == float(text) and math.copysign(1, got) == math.copysign(1, float(text))


def test_every_truncation_of_a_body_is_refused():
    kernel, frame = fresh(MUTATED)
    for cut in range(len(SEEDS[0])):
        assert kernel.read_json(frame, SEEDS[0][:cut], 10) not in (0, VIOLATIONS)
    assert kernel.read_json(frame, SEEDS[0], 10) == 0


@pytest.mark.parametrize("n", [1, 15, 16, 17, 400])
def test_many_records_grow_the_frame(n):
    kernel, frame = fresh(MUTATED)
    body = json.dumps({"records": [{"a": i, "b": "x", "t": f"text {i}"} for i in range(n)]}).encode()
    assert kernel.read_json(frame, body, n) == 0
    assert frame.n_rows == n <= frame.capacity
    assert list(frame.number_column(0)) == list(range(n))
    assert [frame.text(0, i) for i in range(n)] == [f"text {i}".encode() for i in range(n)]
    if n > 1:
        assert kernel.read_json(frame, body, n - 1) == 12
        assert frame.n_rows == 0
