"""The frame kernel against the slow oracle: Python values, JSON, columns; and its memory."""

import gc
import json
import math
import random
import threading

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.frame_oracle import MISSING, NotStrict, Pairs, check_value, read_records, rows_of, strict_json

from edgeml.kernels.frame import VIOLATIONS, Frame, FrameReader
from edgeml.runtime.reader import _CODES, RecordReader
from edgeml.runtime.schema import Feature, Schema

NAMES = ["a", "b", "c", "d", 'q"uote', "tab\t", "naïve", "long_name_of_a_feature", ""]


@st.composite
def features(draw, name):
    kind = draw(st.sampled_from(["number", "integer", "boolean", "category", "text"]))
    members = {"name": name, "kind": kind, "missing": draw(st.sampled_from(["error", "allow"]))}
    if kind in ("number", "integer") and draw(st.booleans()):
        low, high = sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))))
        members |= {"min": float(low), "max": float(high)}
    if kind == "category":
        members["levels"] = tuple(draw(st.lists(st.sampled_from(LEVELS), min_size=1, unique=True)))
        members["unseen"] = draw(st.sampled_from(["error", "allow"]))
    if kind == "text":
        members["max_bytes"] = draw(st.sampled_from([0, 3, 20, 65536]))
    return Feature(**members)


LEVELS = [
    "",
    "x",
    "y",
    "red",
    "green",
    "blå",
    "日本",
    "\U0001f600",
    "with\nline",
    "level_12",
    "level_123",
    'q"',
    "\x7f",
]


@st.composite
def schemas(draw):
    names = draw(st.lists(st.sampled_from(NAMES[:-1]), min_size=1, max_size=5, unique=True))
    built = tuple(draw(features(name)) for name in names)
    return Schema(built, unknown_fields=draw(st.sampled_from(["reject", "count"])))


integers = st.integers(-10, 10) | st.integers(-(2**54), 2**54) | st.sampled_from([2**53 - 1, 2**53, -(2**53), 10**400])
floats = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0, 2.5, 2.0**53, math.nan, math.inf])
scalars = st.none() | st.booleans() | integers | floats | st.sampled_from(LEVELS) | st.text(max_size=6)
json_scalars = st.none() | st.booleans() | integers | floats.filter(math.isfinite) | st.sampled_from(LEVELS)
json_inner = json_scalars | st.lists(json_scalars, max_size=2)
json_values = (
    json_inner | st.lists(json_inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), json_inner, max_size=2)
)


def fresh(schema, **more):
    reader = RecordReader(schema, max_violations=10_000, **more)
    return reader._kernel, reader.new_frame()


def violations_of(schema, frame):
    return {
        (row, schema.names[field] if isinstance(field, int) else field, _CODES[code])
        for row, field, code, _ in frame.violations
    }


# Python values


@settings(max_examples=100, deadline=None)
@given(st.data(), schemas())
def test_records_as_mappings_agree_with_the_oracle(data, schema):
    keys = st.sampled_from([*schema.names, *schema.names, "stray", "other"])
    records = data.draw(
        st.lists(st.dictionaries(keys, scalars, max_size=6) | st.sampled_from([None, 3, "x"]), max_size=6)
    )
    kernel, frame = fresh(schema)
    for _ in range(2):  # a frame is filled again and again
        count = kernel.read_many(frame, records)
        rows, found = read_records(schema, records)
        assert rows_of(schema, frame) == rows
        assert violations_of(schema, frame) == found
        assert count == len(found) and frame.n_records == len(records)


def test_order_of_keys_does_not_matter():
    schema = Schema(tuple(Feature(name=f"f{i}", kind="number") for i in range(6)))
    kernel, frame = fresh(schema)
    keys = list(schema.names)
    for seed in range(50):
        random.Random(seed).shuffle(keys)
        record = {key: float(key[1:]) for key in keys}
        assert kernel.read(frame, record) == 0
        assert rows_of(schema, frame) == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
        assert kernel.read_json_record(frame, json.dumps(record).encode()) == 0
        assert rows_of(schema, frame) == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


class _Text(str):
    __slots__ = ()

    def __eq__(self, other):
        return False

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("number", np.float32(1.5), 1.5),
        ("number", np.float64(1.5), 1.5),
        ("number", np.int64(-3), -3.0),
        ("number", np.uint8(3), 3.0),
        ("number", np.float16(0.5), 0.5),
        ("number", np.float32("nan"), MISSING),
        ("number", np.float32("inf"), "not_finite"),
        ("number", np.bool_(True), "wrong_type"),
        ("number", True, "wrong_type"),
        ("number", "1", "wrong_type"),
        ("number", b"1", "wrong_type"),
        ("number", 1 + 2j, "wrong_type"),
        ("number", np.datetime64("2020-01-01"), "wrong_type"),
        ("number", np.array([1.0]), "wrong_type"),
        ("number", [1.0], "wrong_type"),
        ("number", object(), "wrong_type"),
        ("number", 10**400, "not_finite"),
        ("integer", 2**53 - 1, 2.0**53 - 1),
        ("integer", 2**53, "above_max"),
        ("integer", -(2**53), "below_min"),
        ("integer", 2**53 + 1, "above_max"),
        ("integer", np.int32(7), 7.0),
        ("integer", 1.0, 1.0),
        ("integer", 1.5, "not_integer"),
        ("integer", False, "wrong_type"),
        ("boolean", np.bool_(True), 1.0),
        ("boolean", 1, 1.0),
        ("boolean", 0.0, 0.0),
        ("boolean", np.int8(1), 1.0),
        ("boolean", 2, "wrong_type"),
        ("boolean", 0.5, "wrong_type"),
        ("boolean", math.inf, "wrong_type"),
        ("boolean", "true", "wrong_type"),
        ("category", np.str_("x"), 0),
        ("category", _Text("y"), 1),
        ("category", b"y", 1),
        ("category", b"\xff", "wrong_type"),
        ("category", "z", "unseen_level"),
        ("category", math.nan, MISSING),
        ("category", 1, "wrong_type"),
        ("category", "\ud800", "wrong_type"),
        ("text", "naïve", "naïve".encode()),
        ("text", b"na\xc3\xafve", "naïve".encode()),
        ("text", "x" * 21, "too_long"),
        ("text", "\ud800", "wrong_type"),
        ("text", 5, "wrong_type"),
    ],
)
def test_single_values(kind, value, kept):
    more = {"category": {"levels": ("x", "y")}, "text": {"max_bytes": 20}}.get(kind, {})
    schema = Schema((Feature(name="f", kind=kind, missing="allow", **more),))
    kernel, frame = fresh(schema)
    bad = isinstance(kept, str) and kept in _CODES and kept != MISSING
    for read in (lambda: kernel.read(frame, {"f": value}), lambda: columns(kernel, frame, [value])):
        assert read() == (1 if bad else 0)
        if bad:
            assert violations_of(schema, frame) == {(0, "f", kept)}
            assert frame.n_rows == 0
        else:
            assert rows_of(schema, frame) == [[kept]]


def columns(kernel, frame, values):
    kernel.begin_columns(frame, len(values))
    kernel.fill_list(frame, 0, values)
    return kernel.end_columns(frame)


def test_pandas_markers_are_missing():
    pandas = pytest.importorskip("pandas")
    for kind, more in (("number", {}), ("category", {"levels": ("x",)}), ("text", {}), ("boolean", {})):
        schema = Schema((Feature(name="f", kind=kind, missing="allow", **more),))
        kernel, frame = fresh(schema)
        for marker in (pandas.NA, pandas.NaT):
            assert kernel.read(frame, {"f": marker}) == 0
            assert rows_of(schema, frame) == [[MISSING]]


def test_what_came_is_told_shortly():
    schema = Schema((Feature(name="f", kind="number"),), unknown_fields="reject")
    kernel, frame = fresh(schema)
    for value in ("x" * 10_000, [1] * 10_000, 1 << 100_000, object(), {"a": 1}):
        kernel.read(frame, {"f": value, "k" * 10_000: 1})
        assert all(len(text) <= 80 for violation in frame.violations for text in (str(violation[1]), violation[3]))
    kernel.read_json_record(frame, json.dumps({"f": "é" * 10_000, "k" * 10_000: 1}).encode())
    assert all(len(text) <= 80 for violation in frame.violations for text in (str(violation[1]), violation[3]))


# JSON


@settings(max_examples=120, deadline=None)
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

MUTATED = Schema(
    (
        Feature(name="a", kind="number", missing="allow"),
        Feature(name="b", kind="category", levels=("x", "\U0001f600"), missing="allow", unseen="allow"),
        Feature(name="c", kind="boolean", missing="allow"),
        Feature(name="t", kind="text", missing="allow"),
    ),
    unknown_fields="count",
)


@st.composite
def mutated(draw):
    body = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        stop = min(len(body), start + draw(st.integers(0, 3)))
        body = body[:start] + draw(st.sampled_from([b"", *TOKENS]) | st.binary(max_size=3)) + body[stop:]
    return body


@settings(max_examples=400, deadline=None)
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


@settings(max_examples=150, deadline=None)
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


@settings(max_examples=400, deadline=None)
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


# Columns


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.sampled_from(
        ["float64", "float32", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]
    ),
    st.sampled_from(["number", "integer", "boolean"]),
    st.sampled_from(["error", "allow"]),
)
def test_numeric_columns_agree_with_the_oracle(data, dtype, kind, missing):
    low, high = data.draw(st.sampled_from([(None, None), (-3.0, 3.0)]))
    if kind == "boolean":
        low = high = None
    feature = Feature(name="a", kind=kind, missing=missing, min=low, max=high)
    schema = Schema((feature, Feature(name="b", kind="number")))
    numbers = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 100]), min_size=1, max_size=300))
    array = np.array(numbers).astype(dtype)
    if array.dtype.kind == "f":
        odd = data.draw(st.lists(st.sampled_from([math.nan, math.inf, -1.5, -9.0]), max_size=3))
        array[: len(odd)] = odd[: len(array)]
    if array.dtype.kind == "i":
        array[:: data.draw(st.integers(1, 9))] *= -1
    kernel, frame = fresh(schema)
    strided = np.repeat(array, 3)[::3]
    other = np.arange(len(array), dtype=np.float64)
    kernel.begin_columns(frame, len(array))
    assert kernel.fill_buffer(frame, 0, strided)
    assert kernel.fill_buffer(frame, 1, other)
    kernel.end_columns(frame)
    checked = [check_value(feature, value) for value in array.tolist()]
    good = [i for i, (_, code) in enumerate(checked) if code is None]
    assert rows_of(schema, frame) == [[checked[i][0], float(i)] for i in good]
    assert violations_of(schema, frame) == {(i, "a", code) for i, (_, code) in enumerate(checked) if code}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [1, 127, 128, 129, 500])
def test_a_matrix_fills_all_fields(order, n):
    schema = Schema(tuple(Feature(name=f"x{j}", kind="number") for j in range(5)), layout="tensor")
    kernel, frame = fresh(schema)
    matrix = np.asarray(np.random.default_rng(n).normal(size=(n, 5)), order=order)
    kernel.begin_columns(frame, n)
    assert kernel.fill_matrix(frame, matrix)
    assert kernel.end_columns(frame) == 0
    assert np.array_equal(np.stack([np.asarray(frame.number_column(j)) for j in range(5)], axis=1), matrix)


def test_buffers_that_do_not_fit_are_refused():
    kernel, frame = fresh(Schema((Feature(name="a", kind="number"), Feature(name="b", kind="category", levels=("x",)))))
    kernel.begin_columns(frame, 3)
    with pytest.raises(ValueError, match="one value for each row"):
        kernel.fill_buffer(frame, 0, np.zeros(2))
    with pytest.raises(ValueError, match="one value for each row"):
        kernel.fill_list(frame, 0, [1.0])
    with pytest.raises(ValueError, match="too few columns"):
        kernel.fill_buffer(frame, 0, np.zeros((3, 2)), 2)
    with pytest.raises(IndexError):
        kernel.fill_list(frame, 2, [1, 2, 3])
    assert not kernel.fill_buffer(frame, 1, np.zeros(3))
    assert not kernel.fill_buffer(frame, 0, np.zeros(3, dtype="complex128"))
    assert not kernel.fill_buffer(frame, 0, np.zeros(3, dtype=">f8"))
    assert not kernel.fill_matrix(frame, np.zeros((3, 2)))


# Limits and memory


def test_violations_are_bounded_but_each_bad_record_has_one():
    schema = Schema(tuple(Feature(name=f"x{j}", kind="number") for j in range(4)))
    kernel = RecordReader(schema, max_violations=10)._kernel
    frame = kernel.new_frame()
    assert kernel.read_many(frame, [{}] * 50) == 200
    for read in (
        lambda: kernel.read_many(frame, [{}] * 50),
        lambda: kernel.read_json(frame, json.dumps({"records": [{}] * 50}).encode(), 50),
    ):
        read()
        assert frame.n_violations == 200
        assert {row for row, *_ in frame.violations} == set(range(50))
        assert len(frame.violations) < 70


def test_unknown_names_are_bounded():
    kernel, frame = fresh(Schema((Feature(name="a", kind="number", missing="allow"),), unknown_fields="count"))
    kernel.read_many(frame, [{f"n{i}": 1} for i in range(500)])
    body = json.dumps({"records": [{f"m{i}": 1, "n0": 2} for i in range(500)]}).encode()
    assert kernel.read_json(frame, body, 500) == 0
    counts = kernel.unknown_counts()
    assert len(counts) <= 65
    assert sum(counts.values()) == 1500
    assert counts["n0"] == 501


def test_a_view_holds_the_frame_still():
    kernel, frame = fresh(Schema((Feature(name="a", kind="number"),)))
    kernel.read(frame, {"a": 1.0})
    view = frame.number_column(0)
    with pytest.raises(BufferError):
        frame.reserve(1000)
    with pytest.raises(BufferError):
        kernel.read_json(frame, b'{"records":[{"a":1},{"a":2}]}', 9)
    view[0] = 7.0
    assert frame.n_rows == 0 or frame.number_column(0)[0] == 7.0
    del view
    frame.reserve(1000)
    assert frame.capacity == 1000
    assert kernel.read_json(frame, b'{"records":[{"a":1},{"a":2}]}', 9) == 0


def test_the_capsule_outlives_the_frame():
    kernel, frame = fresh(MUTATED)
    kernel.read(frame, {"a": 1.0})
    capsule, view = frame.capsule, frame.number_column(0)
    assert capsule is frame.capsule
    del frame
    gc.collect()
    assert view[0] == 1.0
    assert "edgeml.frame.v1" in repr(capsule)


def test_frames_of_other_schemas_are_refused():
    kernel, _ = fresh(MUTATED)
    with pytest.raises(ValueError, match="another schema"):
        kernel.read(Frame(1, 0, 0), {})
    with pytest.raises(TypeError):
        kernel.read(None, {})
    for arguments in ((-1, 0, 0), (0, 0, 1 << 40), (1, 1, 1, 0)):
        with pytest.raises(ValueError):
            Frame(*arguments)
    with pytest.raises(IndexError):
        Frame(1, 1, 1).number_column(1)
    with pytest.raises(IndexError):
        Frame(1, 1, 1).text(0, 0)


def test_a_reader_checks_its_fields():
    good = ("a", 0, -math.inf, math.inf, False, False, (), 0)
    with pytest.raises(ValueError, match="stands twice"):
        FrameReader((good, good))
    with pytest.raises(ValueError, match="unknown kind"):
        FrameReader((("a", 5, 0.0, 0.0, False, False, (), 0),))
    with pytest.raises(ValueError, match="stands twice"):
        FrameReader((("a", 3, 0.0, 0.0, False, False, ("x", "x"), 0),))


def test_many_levels_are_all_found():
    levels = tuple(f"level {i}" for i in range(20_000)) + ("", "\x00", "é" * 50)
    schema = Schema((Feature(name="a", kind="category", levels=levels),))
    kernel, frame = fresh(schema)
    assert columns(kernel, frame, list(levels)) == 0
    assert list(frame.code_column(0)) == list(range(len(levels)))
    assert kernel.read_json(frame, json.dumps({"records": [{"a": level} for level in levels]}).encode(), 1 << 20) == 0
    assert list(frame.code_column(0)) == list(range(len(levels)))


def test_a_record_that_changes_while_it_is_read():
    class Vanishing:
        __slots__ = ("record",)

        def __init__(self, record):
            self.record = record

        @property
        def __class__(self):
            self.record.clear()
            return float

    schema = Schema(tuple(Feature(name=name, kind="number", missing="allow") for name in "abc"))
    kernel, frame = fresh(schema)
    record = {}
    record |= {"a": Vanishing(record), "b": 1.0, "c": 2.0}
    kernel.read(frame, record)
    assert frame.n_violations >= 0


def test_threads_share_a_reader_but_not_a_frame():
    kernel, _ = fresh(MUTATED)
    body = json.dumps({"records": [{"a": i, "b": "x", "c": True, "t": "word"} for i in range(3000)]}).encode()
    answers = []

    def work():
        frame = kernel.new_frame()
        for _ in range(5):
            answers.append((kernel.read_json(frame, body, 3000), sum(frame.number_column(0))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(0, 2999 * 1500.0)] * 20
