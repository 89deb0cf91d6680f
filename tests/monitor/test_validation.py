"""What was refused, counted, and what is guessed from it: with the real reader's violations."""

import json
import threading

import numpy as np
import pytest

from edgeml.errors import RequestError, SchemaError
from edgeml.monitor.findings import FieldReference, FieldSeen, find
from edgeml.monitor.validation import KEPT_FIELDS, Validation, added
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

SCHEMA = Schema.from_dict(
    {
        "features": [
            {"name": "country", "kind": "category", "levels": ["Germany", "France", "Österreich"]},
            {"name": "amount", "kind": "number", "min": 0, "max": 500},
            {"name": "count", "kind": "integer", "missing": "allow"},
            {"name": "member", "kind": "boolean", "missing": "allow"},
        ]
    }
)
REFERENCES = [
    FieldReference("country", "category", ("Germany", "France", "Österreich")),
    FieldReference("amount", "number", mean=40.0, deviation=12.0, largest=0.05),
    FieldReference("count", "integer", missing=0.02, mean=3.0, deviation=1.0, largest=0.3),
    FieldReference("member", "boolean", missing=0.0),
]
GOOD = {"country": "Germany", "amount": 12.5, "count": 3, "member": True}


def refusing(*changes, good=0, schema=SCHEMA):
    """Reads records as a request for each of them would; gives what was refused."""
    validation, reader = Validation(), RecordReader(schema)
    for change in changes:
        frame = reader.new_frame(1)
        record = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
        try:
            reader.read_json(frame, json.dumps({"records": [record]}).encode())
        except SchemaError as error:
            validation.refused(error.violations)
        except RequestError as error:
            validation.request_refused(error.code)
    return json.loads(json.dumps(validation.document()))


def found(*changes, good=0, seen=None, unknown=None):
    return find(REFERENCES, refusing(*changes), seen or {}, answered=good, unknown=unknown)


def the_only(*given, **named):
    (finding,) = found(*given, **named)
    return finding


def test_a_renamed_field_is_told_from_a_missing_one():
    finding = the_only(*[{"country": ..., "Country": "Germany"}] * 10, good=90)
    assert (finding.kind, finding.field, finding.records, finding.share) == ("renamed", "country", 10, 0.1)
    assert finding.text == "field `country` now arrives as `Country`"
    assert the_only({"country": ..., "country_code": "x"}).text == "field `country` now arrives as `country_code`"
    kinds = {each.kind for each in found({"country": ..., "zzz": "Germany"})}
    assert kinds == {"missing", "unknown"}


def test_a_renamed_field_that_may_be_missing_is_seen_in_what_was_answered():
    """The schema lets `count` be missing and passes over unknown fields: nothing is refused, and yet it shows."""
    seen = {"count": FieldSeen(rows=100, missing=100)}
    finding = the_only(good=100, seen=seen, unknown={"Count": 100})
    assert (finding.kind, finding.text) == ("renamed", "field `count` now arrives as `Count`")


def test_a_field_that_may_be_missing_is_told_by_its_spelling_where_others_are_refused():
    finding = the_only(*[{"count": ..., "Count": 3}] * 10, good=90)
    assert (finding.kind, finding.text) == ("renamed", "field `count` now arrives as `Count`")


@pytest.mark.parametrize(
    ("change", "words", "remedy"),
    [
        ({"amount": "12.5"}, "numbers in quotes", "without quotes"),
        ({"amount": "12,5"}, "a decimal comma", "decimal point"),
        ({"amount": "much"}, "a number is expected", "send a number"),
        ({"count": 2.5}, "an integer is expected", "round it"),
        ({"member": "yes"}, "a boolean is expected", "true or false"),
        ({"country": 7}, "a category is expected", "send a category"),
    ],
)
def test_a_type_that_changed_is_named(change, words, remedy):
    finding = the_only(*[change] * 5, good=95)
    assert (finding.kind, finding.share) == ("type", 0.05)
    assert words in finding.text and remedy in finding.remedy


def test_a_unit_that_changed_is_told_by_refused_values():
    rng = np.random.default_rng(1)
    cents = [{"amount": float(value)} for value in rng.normal(40, 12, 50) * 100]
    finding = the_only(*cents)
    assert finding.kind == "unit"
    assert finding.text.startswith(
        "`amount` looks 100 times larger than in the reference: unit change?".replace("?", "")
    )
    assert "cents" in finding.text


@pytest.mark.parametrize(
    ("factor", "shift", "words"),
    [
        (100, 0, "100 times larger"),
        (0.001, 0, "1000 times smaller"),
        (25.4, 0, "inches as mm"),
        (2.2046226, 0, "kg as pounds"),
        (1.8, 32, "Fahrenheit"),
    ],
)
def test_a_unit_that_changed_is_told_by_answered_values(factor, shift, words):
    seen = {"amount": FieldSeen(500, mean=40 * factor + shift, deviation=12 * factor)}
    finding = the_only(good=500, seen=seen)
    assert finding.kind == "unit" and words in finding.text


@pytest.mark.parametrize(
    ("mean", "deviation"), [(40, 12), (45, 13), (60, 20), (100, 12), (80, 14), (40, 30), (-4000, 12)]
)
def test_drift_is_not_taken_for_a_unit(mean, deviation):
    assert found(good=500, seen={"amount": FieldSeen(500, mean=mean, deviation=deviation)}) == []


def test_values_out_of_bounds_without_a_unit_are_named_with_examples():
    finding = the_only(*[{"amount": 700.0}, {"amount": 720.5}], good=100)
    assert finding.kind == "bounds" and "above the largest value allowed in 2 records" in finding.text
    assert "700" in finding.text
    assert "below the smallest" in the_only(*[{"amount": -35.0}] * 3, good=100).text


def test_levels_in_another_spelling_and_new_ones_are_told_apart():
    kinds = {each.kind: each for each in found(*[{"country": "GERMANY"}] * 5, *[{"country": "Italy"}] * 3, good=92)}
    assert "'GERMANY' is the known level 'Germany'" in kinds["spelling"].text
    assert kinds["spelling"].records == 5
    assert "training has not seen: 'Italy'" in kinds["level"].text and kinds["level"].records == 3
    assert "'Österreich'" in the_only({"country": "osterreich"}).text


def test_new_levels_that_are_allowed_are_seen_in_what_was_answered():
    finding = the_only(good=200, seen={"country": FieldSeen(rows=200, unseen=30)})
    assert finding.kind == "level" and "15%" in finding.text


def test_what_is_missing_more_often_than_in_the_reference():
    assert found(good=1000, seen={"count": FieldSeen(rows=1000, missing=25)}) == []
    finding = the_only(good=1000, seen={"count": FieldSeen(rows=1000, missing=300)})
    assert finding.kind == "missing" and "30% of records; in the reference it was 2%" in finding.text
    refused = the_only(*[{"amount": None}] * 4, good=10)
    assert refused.kind == "missing" and "refused" in refused.text


def test_a_sensor_that_is_stuck():
    assert the_only(good=1000, seen={"amount": FieldSeen(rows=1000, largest=1.0)}).kind == "stuck"
    assert found(good=1000, seen={"amount": FieldSeen(rows=1000, largest=0.9)}) == []
    assert found(good=100, seen={"amount": FieldSeen(rows=100, largest=1.0)}) == []


def test_unknown_fields_and_unreadable_requests():
    finding = the_only({"colour": "red"}, good=99)
    assert (finding.kind, finding.field) == ("unknown", "colour") and "refused for it" in finding.text
    assert "passed over" in the_only(good=100, unknown={"colour": 100}).text
    validation = Validation()
    validation.request_refused("invalid_json")
    (finding,) = find(REFERENCES, validation.document(), {}, answered=9)
    assert (finding.kind, finding.share) == ("requests", 0.1)


def test_a_few_bad_records_in_very_many_are_no_finding():
    assert found({"amount": "12,5"}, {"country": ...}, {"colour": 1}, good=10_000) == []


def test_findings_are_ordered_and_json_ready():
    all_of_them = found(*[{"amount": "1"}] * 5, *[{"country": "Italy"}] * 9, good=100)
    assert [each.records for each in all_of_them] == [9, 5]
    assert json.loads(json.dumps([each.to_dict() for each in all_of_them]))[0]["kind"] == "level"


def test_counts_add_up_over_processes():
    one = refusing({"amount": "1"}, {"country": ..., "Country": "x"}, {"amount": 9e4})
    other = refusing({"amount": "1"}, {"amount": 9e5}, {"count": "x"})
    both = added(one, other)
    assert both == refusing(
        {"amount": "1"},
        {"country": ..., "Country": "x"},
        {"amount": 9e4},
        {"amount": "1"},
        {"amount": 9e5},
        {"count": "x"},
    )
    assert added({}, one) == one == added(one, {})
    assert both["records"] == 6


def test_memory_is_bounded_whatever_clients_send():
    validation, reader = Validation(), RecordReader(SCHEMA)
    for number in range(3 * KEPT_FIELDS):
        frame = reader.new_frame(1)
        record = {**GOOD, "amount": f"text {number}", f"field {number}": 1}
        del record["country"]
        with pytest.raises(SchemaError) as caught:
            reader.read_json_record(frame, json.dumps(record).encode())
        validation.refused(caught.value.violations)
    document = validation.document()
    assert document["records"] == 3 * KEPT_FIELDS
    assert len(document["fields"]) <= KEPT_FIELDS + 1
    assert sum(codes.get("unknown_field", 0) for codes in document["fields"].values()) == 3 * KEPT_FIELDS
    assert len(json.dumps(document)) < 100_000


def test_threads_lose_nothing():
    validation, reader = Validation(), RecordReader(SCHEMA)
    with pytest.raises(SchemaError) as caught:
        reader.read_json_record(reader.new_frame(1), json.dumps({**GOOD, "amount": "x"}).encode())

    def count():
        for _ in range(500):
            validation.refused(caught.value.violations)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert validation.document()["records"] == validation.document()["fields"]["amount"]["wrong_type"] == 4000
