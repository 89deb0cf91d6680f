"""Records in every form: the same rows, the same violations, and words for what is wrong."""

import json
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.frame_oracle import read_records, rows_of
from oracles.frame_samples import GOOD, PEOPLE, json_scalars, schemas

from edgeml.errors import SchemaError, Violation
from edgeml.runtime.reader import Envelope, RecordReader
from edgeml.runtime.schema import Feature, Schema


def body(records, **members):
    return json.dumps({"records": records, **members}).encode()


def told(violations):
    """What all forms must agree on; ``got`` is shown as each form gave it."""
    return {(v.row, v.field, v.code, v.expected) for v in violations}


# All forms alike


@settings(max_examples=60, deadline=None)
@given(st.data(), schemas())
def test_all_forms_give_the_same_rows_and_violations(data, schema):
    records = data.draw(st.lists(st.dictionaries(st.sampled_from(schema.names), json_scalars, max_size=5), max_size=6))
    reader = RecordReader(schema, max_violations=1000)
    frame = reader.new_frame()
    given_columns = {name: [record.get(name) for record in records] for name in schema.names}
    forms = {
        "mappings": lambda: reader.read_many(frame, records, partial=True),
        "json": lambda: reader.read_json(frame, body(records, partial=True)).violations,
        "columns": lambda: reader.read_columns(frame, given_columns, partial=True),
        "tuples": lambda: reader.read_columns(frame, {k: tuple(v) for k, v in given_columns.items()}, partial=True),
    }
    if records and all(feature.bank == "number" for feature in schema.features):
        matrix = [[record.get(name) for name in schema.names] for record in records]
        forms["matrix"] = lambda: reader.read_matrix(frame, matrix, partial=True)
    rows, found = read_records(schema, records)
    expected = {name: schema.feature(name).expected for name in schema.names}
    for form, read in forms.items():
        assert told(read()) == {(row, name, code, expected[name]) for row, name, code in found}, form
        assert rows_of(schema, frame) == rows, form
        assert frame.n_records == len(records)


@settings(max_examples=60, deadline=None)
@given(st.data(), schemas())
def test_one_record_is_read_as_one_of_many(data, schema):
    record = data.draw(st.dictionaries(st.sampled_from([*schema.names, "stray"]), json_scalars, max_size=5))
    reader = RecordReader(schema)
    frame = reader.new_frame()
    line = json.dumps(record).encode()
    for read in (lambda: reader.read(frame, record), lambda: reader.read_json_record(frame, line)):
        try:
            read()
        except SchemaError as error:
            violations = error.violations
        else:
            violations = ()
        rows = rows_of(schema, frame)
        assert told(violations) == told(reader.read_many(frame, [record], partial=True))
        assert rows == rows_of(schema, frame)


def test_a_good_record_fills_row_0():
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    for read in (
        lambda: reader.read(frame, GOOD),
        lambda: reader.read_json_record(frame, b" " + json.dumps(GOOD).encode() + b"\n"),
        lambda: reader.read_json(frame, body([GOOD])),
        lambda: reader.read_columns(frame, {name: [value] for name, value in GOOD.items()}),
    ):
        read()
        assert rows_of(PEOPLE, frame) == [[41.0, 70.5, 1.0, 1, "naïf".encode()]]


# Violations


@pytest.mark.parametrize(
    ("field", "value", "code", "expected", "got"),
    [
        ("age", None, "missing", "an integer from 0 to 150", "no value"),
        ("age", "41", "wrong_type", "an integer from 0 to 150", '"41"'),
        ("age", True, "wrong_type", "an integer from 0 to 150", "true"),
        ("age", 1.5, "not_integer", "an integer from 0 to 150", "1.5"),
        ("age", -1, "below_min", "an integer from 0 to 150", "-1"),
        ("age", 151, "above_max", "an integer from 0 to 150", "151"),
        ("weight", 10**400, "not_finite", "a finite number, or null", None),
        ("weight", [1], "wrong_type", "a finite number, or null", None),
        ("smoker", 2, "wrong_type", "true or false, or null", "2"),
        ("colour", "green", "unseen_level", 'one of "red", "blå", or null', '"green"'),
        ("colour", 3, "wrong_type", 'one of "red", "blå", or null', "3"),
        ("note", "naïve", "too_long", "a string of at most 5 bytes, or null", None),
        ("note", {"a": 1}, "wrong_type", "a string of at most 5 bytes, or null", None),
        ("extra", 1, "unknown_field", "only fields of the schema", None),
    ],
)
def test_each_violation_names_field_expected_and_got(field, value, code, expected, got):
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    record = GOOD | {field: value}
    for read in (
        lambda: reader.read(frame, record),
        lambda: reader.read_many(frame, [record]),
        lambda: reader.read_json(frame, body([record])),
        lambda: reader.read_json_record(frame, json.dumps(record).encode()),
        lambda: reader.read_columns(frame, {name: [item] for name, item in record.items()}),
    ):
        with pytest.raises(SchemaError) as caught:
            read()
        (violation,) = caught.value.violations
        assert (violation.row, violation.field, violation.code, violation.expected) == (0, field, code, expected)
        assert violation.got == got or (got is None and 0 < len(violation.got) <= 80)
        assert (caught.value.code, caught.value.field) == ("schema_violation", field)
        assert str(caught.value) == f"record 0, field {field!r}: {code}: expected {expected}, got {violation.got}"
        assert frame.n_rows == 0


def test_a_key_twice_and_what_is_no_record():
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    found = reader.read_json(frame, b'{"records":[{"age":1,"age":"x"},7,{"age":2},"r",[]],"partial":true}')
    assert found.violations == (
        Violation(0, "age", "duplicate_field", "the field only once", '"x"'),
        Violation(1, "", "not_a_record", "an object with the fields of the schema", "7"),
        Violation(3, "", "not_a_record", "an object with the fields of the schema", '"r"'),
        Violation(4, "", "not_a_record", "an object with the fields of the schema", "[]"),
    )
    assert found.rows == [2]
    given = reader.read_many(frame, [{"age": 1}, 7, None, "r"], partial=True)
    assert [(v.row, v.field, v.code, v.got) for v in given] == [
        (1, "", "not_a_record", "7"),
        (2, "", "not_a_record", "no value"),
        (3, "", "not_a_record", '"r"'),
    ]
    with pytest.raises(SchemaError, match="not_a_record"):
        reader.read(frame, [("age", 1)])


def test_a_violation_in_any_record_refuses_all_unless_partial():
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    records = [GOOD, {"age": -1, "colour": "green"}, GOOD | {"age": 7}, {}]
    for read in (
        lambda **more: reader.read_many(frame, records, **more),
        lambda **more: reader.read_json(frame, body(records, **more)),
        lambda **more: reader.read_columns(
            frame, {name: [record.get(name) for record in records] for name in PEOPLE.names}, **more
        ),
    ):
        with pytest.raises(SchemaError) as caught:
            read()
        assert [(v.row, v.field) for v in caught.value.violations] == [(1, "age"), (1, "colour"), (3, "age")]
        assert str(caught.value).endswith("got -1 (and 2 more)")
        answer = read(partial=True)
        violations = answer.violations if isinstance(answer, Envelope) else answer
        assert violations == caught.value.violations
        assert list(frame.number_column(0)) == [41.0, 7.0]
    assert reader.read_many(frame, [GOOD], partial=True) == ()


def test_rows_tells_the_record_of_each_row():
    reader = RecordReader(Schema((Feature(name="a", kind="number"),)), max_violations=2)
    frame = reader.new_frame()
    records = [{"a": i if i % 3 else None} for i in range(100)]
    envelope = reader.read_json(frame, body(records, partial=True))
    assert envelope.n_records == 100
    assert envelope.rows == [i for i in range(100) if i % 3]
    assert list(frame.number_column(0)) == envelope.rows
    assert reader.read_json(frame, body([{"a": 1}] * 3)).rows == [0, 1, 2]
    assert reader.read_json(frame, body([])).rows == [] == Envelope().rows


def test_refusals_are_bounded_and_every_bad_record_is_in_a_partial_answer():
    reader = RecordReader(PEOPLE, max_violations=10)
    frame = reader.new_frame()
    records = [{"age": -1, "extra": 1}] * 50
    for read in (
        lambda: reader.read_many(frame, records),
        lambda: reader.read_json(frame, body(records)),
        lambda: reader.read_columns(frame, {"age": [-1] * 50, "extra": [1] * 50}),
    ):
        with pytest.raises(SchemaError) as caught:
            read()
        assert len(caught.value.violations) == 10
    envelope = reader.read_json(frame, body(records, partial=True))
    assert {violation.row for violation in envelope.violations} == set(range(50))
    assert len(envelope.violations) <= 60
    assert envelope.rows == []


def test_unknown_fields_are_counted_where_the_schema_says_so():
    reader = RecordReader(Schema((Feature(name="a", kind="number", missing="allow"),), unknown_fields="count"))
    frame = reader.new_frame()
    assert reader.unknown_counts() == {}
    reader.read(frame, {"a": 1, "b": object()})
    reader.read_many(frame, [{"b": 1}, {"c": [1]}])
    reader.read_json(frame, body([{"b": {"deep": [1]}}, {"a": 1}]))
    reader.read_json_record(frame, b'{"c": null}')
    reader.read_columns(frame, {"a": [1, 2, 3], "d": ["x", None, 3]})
    assert reader.unknown_counts() == {"b": 3, "c": 2, "d": 3}
    reader.read_many(frame, [{f"n{i}": 1} for i in range(100)])
    counts = reader.unknown_counts()
    assert len(counts) == 65
    assert counts["*"] == 100 - (64 - 3)


# Threads


def test_threads_share_a_reader_each_with_its_frame():
    reader = RecordReader(PEOPLE)
    failures = []

    def work(number):
        frame = reader.new_frame()
        for turn in range(60):
            records = [GOOD | {"age": (number + i) % 150} for i in range(1 + turn)]
            bad = [*records, {"age": -number - 1}]
            envelope = reader.read_json(frame, body(bad, partial=True))
            right = envelope.rows == list(range(len(records))) and envelope.violations[0].got == str(-number - 1)
            right &= list(frame.number_column(0)) == [record["age"] for record in records]
            reader.read_columns(frame, {"age": [number] * turn})
            right &= list(frame.number_column(0)) == [number] * turn
            if not right:
                failures.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_infinities_and_nan_in_mappings():
    reader = RecordReader(PEOPLE)
    frame = reader.new_frame()
    reader.read(frame, GOOD | {"weight": math.nan})
    assert math.isnan(frame.number_column(1)[0])
    with pytest.raises(SchemaError, match="'weight': not_finite: expected a finite number, or null, got -inf"):
        reader.read(frame, GOOD | {"weight": -math.inf})


def test_times_of_numpy_are_no_numbers():
    reader = RecordReader(Schema.from_dict({"features": [{"name": "a", "kind": "number", "missing": "allow"}]}))
    frame = reader.new_frame()
    for value in (np.datetime64(5, "ns"), np.timedelta64(5, "ns"), np.datetime64("2020-01-01")):
        with pytest.raises(SchemaError, match="wrong_type"):
            reader.read(frame, {"a": value})
    reader.read(frame, {"a": np.datetime64("NaT")})
    assert np.isnan(frame.number_column(0)[0])
