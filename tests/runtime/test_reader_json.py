"""Bodies of requests: the envelope, what is not JSON, and the limits."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.frame_samples import GOOD, PEOPLE

from edgeml.errors import RequestError, SchemaError
from edgeml.runtime.reader import Envelope, RecordReader
from edgeml.runtime.schema import Feature, Schema


def body(records, **members):
    return json.dumps({"records": records, **members}).encode()


# The envelope


def test_the_envelope_holds_what_stands_beside_the_records():
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    assert reader.read_json(frame, body([GOOD])) == Envelope(n_records=1)
    assert reader.read_json(frame, body([GOOD], id="r-1", unit="Zoë", explain=True, partial=True)) == Envelope(
        "r-1", "Zoë", True, True, 1
    )
    assert reader.read_json(frame, b'{"id":"a","records":[],"\\u0075nit":"b\\n"}') == Envelope("a", "b\n")
    assert reader.read_json(frame, body([GOOD])).id is None  # nothing stays from the request before
    with pytest.raises(SchemaError):
        reader.read_json(frame, body([{}], partial=False))


@pytest.mark.parametrize(
    ("text", "code", "field", "message"),
    [
        ('{"records":[],"id":1}', "bad_envelope", "id", "member 'id': Expected `str`, got `int`"),
        ('{"records":[],"id":null}', "bad_envelope", "id", "member 'id': Expected `str`, got `null`"),
        ('{"records":[],"partial":1}', "bad_envelope", "partial", "member 'partial': Expected `bool`, got `int`"),
        ('{"records":[],"explain":"no"}', "bad_envelope", "explain", "member 'explain': Expected `bool`"),
        ('{"records":[],"id":"a","id":"b"}', "bad_envelope", "id", "member 'id' stands twice"),
        ('{"records":[],"ident":1}', "unknown_member", "ident", "unknown member 'ident'; a request has records, id,"),
        ('{"records":[{}],"ident":1}', "unknown_member", "ident", "unknown member 'ident'"),
        ('{"%s":1,"records":[]}' % ("k" * 500), "unknown_member", "k" * 80, f"unknown member '{'k' * 80}';"),
        ("{}", "bad_envelope", "records", "byte 0: there is no member records"),
        (' {"id":"a"}', "bad_envelope", "records", "byte 1: there is no member records"),
        ("[]", "bad_envelope", "", 'byte 0: expected an object {"records": [...]}'),
        ('"x"', "bad_envelope", "", "byte 0: expected an object"),
        ('{"records":{}}', "bad_envelope", "records", "byte 11: member records: expected an array of objects"),
        ('{"records":null}', "bad_envelope", "records", "byte 11: member records: expected an array"),
        ('{"records":[],"records":[]}', "bad_envelope", "records", "byte 14: member records stands twice"),
        (
            json.dumps({"records": []} | {f"m{i}": 1 for i in range(17)}),
            "bad_envelope",
            "",
            "too many members beside records",
        ),
    ],
)
def test_an_envelope_that_does_not_fit_is_refused(text, code, field, message):
    reader = RecordReader(PEOPLE)
    with pytest.raises(RequestError) as caught:
        reader.read_json(reader.new_frame(), text.encode())
    assert (caught.value.code, caught.value.field) == (code, field)
    assert message in str(caught.value)
    assert not isinstance(caught.value, SchemaError)


# JSON that is none


@pytest.mark.parametrize(
    ("record", "offset", "words"),
    [
        (b"", 0, "expected a value"),
        (b'{"age":}', 7, "expected a value"),
        (b'{"age":nul}', 7, "expected a value"),
        (b'{"age":NaN}', 7, "expected a value"),
        (b"{age:1}", 1, "expected a key in double quotes"),
        (b'{"age":1,}', 9, "expected a key in double quotes"),
        (b'{"age" 1}', 7, "expected ':'"),
        (b'{"age":1 "weight":2}', 9, "expected ',' or the closing bracket"),
        (b'{"age":1', 8, "expected ',' or the closing bracket"),
        (b'{"note":"\\x"}', 9, "unknown escape in a string"),
        (b'{"note":"a\nb"}', 10, "control character in a string, or a string without end"),
        (b'{"note":"ab', 11, "control character in a string, or a string without end"),
        (b'{"note":"\xff"}', 9, "bytes that are not UTF-8"),
        (b'{"note":"\\ud800"}', 9, "half a surrogate pair in a string"),
        (b'{"age":+1}', 7, "expected a value"),
        (b'{"age":01}', 7, "malformed number"),
        (b'{"age":1.}', 9, "malformed number"),
        (b'{"age":-}', 8, "malformed number"),
    ],
)
def test_what_is_not_json_is_refused_with_the_byte(record, offset, words):
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    envelope = b'{"records":['
    for read, text, at in (
        (reader.read_json_record, record, offset),
        (reader.read_json, envelope + record + (b"]}" if record.endswith(b"}") else b""), len(envelope) + offset),
    ):
        with pytest.raises(RequestError) as caught:
            read(frame, text)
        assert caught.value.code == "invalid_json"
        assert str(caught.value) == f"byte {at}: {words}"
        assert frame.n_rows == 0


def test_something_after_the_end_is_refused():
    reader = RecordReader(PEOPLE)
    for read, text in (
        (reader.read_json_record, b'{"age":1} {'),
        (reader.read_json, b'{"records":[]} x'),
    ):
        with pytest.raises(RequestError, match=r"^byte 1[05]: something follows the end$") as caught:
            read(reader.new_frame(), text)
        assert caught.value.code == "invalid_json"


def test_depth_is_bounded():
    reader = RecordReader(Schema((Feature(name="a", kind="number", missing="allow"),), unknown_fields="count"))
    frame = reader.new_frame()

    def nested(n):
        return b'{"x":' + b"[" * n + b"]" * n + b"}"

    reader.read_json_record(frame, nested(7))
    reader.read_json(frame, b'{"records":[' + nested(5) + b"]}")
    for read, text in (
        (reader.read_json_record, nested(8)),
        (reader.read_json_record, nested(100_000)),
        (reader.read_json, b'{"records":[' + nested(6) + b"]}"),
        (reader.read_json, b'{"records":[],"id":' + b"[" * 50 + b"]" * 50 + b"}"),
    ):
        with pytest.raises(RequestError, match="nested more than 8 deep; send flat records") as caught:
            read(frame, text)
        assert caught.value.code == "too_deep"


def test_the_number_of_records_in_a_body_is_bounded():
    reader = RecordReader(PEOPLE, max_rows=3)
    frame = reader.new_frame()
    assert reader.read_json(frame, body([GOOD] * 3)).n_records == 3
    for records in ([GOOD] * 4, [{}] * 4, [GOOD] * 1000):
        with pytest.raises(RequestError) as caught:
            reader.read_json(frame, body(records, partial=True))
        assert (caught.value.code, caught.value.field) == ("too_many_records", "records")
        assert str(caught.value).endswith("too many records in one request; send them in several (at most 3)")
        assert frame.n_rows == 0
    reader.read_many(frame, [GOOD] * 10)  # objects are in memory already
    assert frame.n_rows == 10


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.floats(), st.integers(-(10**6), 10**6), st.none(), st.booleans(), st.text()), max_size=4),
    st.booleans(),
)
def test_a_flat_array_of_numbers_is_a_row_or_nothing(values, single):
    features = [{"name": name, "kind": kind} for name, kind in (("a", "number"), ("b", "integer"), ("c", "boolean"))]
    reader = RecordReader(Schema.from_dict({"features": features, "layout": "tensor"}))
    frame, other = reader.new_frame(), reader.new_frame()
    read = reader.read_json_numbers(frame, json.dumps(values).encode(), single=single)
    plain = len(values) == 3 and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    with np.errstate(over="ignore"):
        matrix = np.array([values], dtype=np.float32 if single else np.float64) if plain else None
    try:
        reader.read_matrix(other, matrix if matrix is not None else [])
        expected = [other.number_column(j)[0] for j in range(3)]
    except RequestError:
        expected = None
    assert read == (expected is not None)
    assert frame.n_rows == int(read)
    if read:
        assert [frame.number_column(j)[0] for j in range(3)] == expected


def test_arrays_for_other_schemas_are_not_read():
    reader = RecordReader(Schema.from_dict({"features": [{"name": "a", "kind": "category", "levels": ["x"]}]}))
    assert not reader.read_json_numbers(reader.new_frame(), b"[1]", single=False)
    numbers = RecordReader(Schema.from_dict({"features": [{"name": "a", "kind": "number", "max": 5}]}))
    for text in (b"", b"[", b"[]", b"[1", b"[1]]", b"[1,2]", b"[6]", b"[[1]]", b"[1e999]", b"[NaN]", b"{}", b"[01]"):
        assert not numbers.read_json_numbers(numbers.new_frame(), text, single=False)
    assert numbers.read_json_numbers(numbers.new_frame(), b" [ 1 ] ", single=False)
