"""Features and schemas: what is refused and in which words, the way to JSON and back, where values lie in a Frame."""

import json
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.frame_samples import schemas

from edgeml.errors import BundleError
from edgeml.runtime import schema as module
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import MAX_MAX_BYTES, Feature, Schema, Slot


def one(**members):
    return Schema.from_dict({"features": [{"name": "f", **members}]})


# Good path


def test_a_document_becomes_a_schema():
    schema = Schema.from_dict(
        {
            "features": [
                {"name": "age", "kind": "integer", "unit": "years", "description": "At admission.", "min": 0},
                {"name": "colour", "kind": "category", "levels": ["red", ""], "unseen": "allow", "missing": "allow"},
                {"name": "note", "kind": "text", "max_bytes": 10},
            ],
            "unknown_fields": "count",
        }
    )
    assert schema.features == (
        Feature(name="age", kind="integer", unit="years", description="At admission.", min=0.0),
        Feature(name="colour", kind="category", levels=("red", ""), unseen="allow", missing="allow"),
        Feature(name="note", kind="text", max_bytes=10),
    )
    assert (schema.unknown_fields, schema.layout) == ("count", "record")
    assert schema.names == ("age", "colour", "note")
    assert schema.feature("note") is schema.features[2]
    with pytest.raises(KeyError):
        schema.feature("Note")


def test_defaults_are_strict_and_left_out():
    feature = one(kind="number").features[0]
    assert (feature.missing, feature.unseen, feature.min, feature.max) == ("error", "error", None, None)
    assert one(kind="number").to_dict() == {"features": [{"name": "f", "kind": "number"}]}


def test_bounds_may_meet_and_a_text_may_have_to_be_empty():
    assert one(kind="number", min=2, max=2.0).features[0].min == 2.0
    assert one(kind="text", max_bytes=0).features[0].max_bytes == 0
    assert one(kind="text", max_bytes=MAX_MAX_BYTES).features[0].max_bytes == MAX_MAX_BYTES


@settings(max_examples=80, deadline=None)
@given(schemas())
def test_to_dict_and_back(schema):
    document = schema.to_dict()
    assert Schema.from_dict(document) == schema
    assert Schema.from_dict(json.loads(json.dumps(document))) == schema  # as the bundle keeps it
    assert msgspec.json.decode(msgspec.json.encode(document)) == document  # lists only, no tuples
    assert Schema.from_dict(document).to_dict() == document


def test_slots_count_each_bank_in_the_order_of_the_features():
    kinds = ["text", "boolean", "category", "number", "text", "category", "integer"]
    features = [Feature(name=f"f{i}", kind=k, levels=("x",) if k == "category" else None) for i, k in enumerate(kinds)]
    schema = Schema(tuple(features))
    assert list(schema.slots.items()) == [
        ("f0", Slot("text", 0)),
        ("f1", Slot("number", 0)),
        ("f2", Slot("category", 0)),
        ("f3", Slot("number", 1)),
        ("f4", Slot("text", 1)),
        ("f5", Slot("category", 1)),
        ("f6", Slot("number", 2)),
    ]
    frame = RecordReader(schema).new_frame()
    assert (frame.n_numbers, frame.n_categories, frame.n_texts) == (3, 2, 2)
    assert [feature.bank for feature in features] == [slot.bank for slot in schema.slots.values()]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"kind": "number"}, "a finite number"),
        ({"kind": "number", "min": 0}, "a finite number of at least 0"),
        ({"kind": "number", "max": 1234567.25}, "a finite number of at most 1234567.25"),
        ({"kind": "number", "min": -0.1, "max": 1e300}, "a finite number from -0.1 to 1e+300"),
        ({"kind": "integer"}, "an integer within ±9007199254740991"),
        ({"kind": "integer", "min": -1, "max": 16777217}, "an integer from -1 to 16777217"),
        ({"kind": "integer", "min": 3}, "an integer of at least 3"),
        ({"kind": "boolean"}, "true or false"),
        ({"kind": "boolean", "missing": "allow"}, "true or false, or null"),
        ({"kind": "category", "levels": ["a", "b"]}, 'one of "a", "b"'),
        ({"kind": "category", "levels": ["x" * 50]}, f'one of "{"x" * 40}"'),
        ({"kind": "category", "levels": ["a"], "unseen": "allow"}, "a string"),
        ({"kind": "category", "levels": ["a"], "unseen": "allow", "missing": "allow"}, "a string, or null"),
        (
            {"kind": "category", "levels": [str(n) for n in range(10)]},
            'one of "0", "1", "2", "3", "4", "5", "6", "7" or 2 more',
        ),
        ({"kind": "text"}, "a string of at most 65536 bytes"),
        ({"kind": "text", "max_bytes": 3, "missing": "allow"}, "a string of at most 3 bytes, or null"),
    ],
)
def test_expected_says_what_a_value_must_be(members, words):
    assert one(**members).features[0].expected == words


# Bad path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": ""}, "schema: a feature's name is empty; give it one"),
        ({"name": "a\ud800"}, r"schema: a feature's name 'a\ud800' holds half a surrogate pair, which no request can"),
        ({"name": "é" * 600}, f"schema: a feature's name '{'é' * 40}'... is longer than 1024 bytes; shorten it"),
        ({"kind": "boolean", "min": 0}, "a boolean has no min or max; remove them"),
        ({"kind": "text", "max": 1}, "a text has no min or max; remove them"),
        ({"min": math.nan}, "min and max must be finite; leave a bound out where there is none"),
        ({"max": math.inf}, "min and max must be finite; leave a bound out where there is none"),
        ({"min": 2, "max": 1.5}, "min 2 is above max 1.5; exchange them"),
        ({"kind": "text", "levels": ["x"]}, "a text has no levels; remove them or make it a category"),
        ({"levels": []}, "a number has no levels; remove them or make it a category"),
        ({"unseen": "allow"}, "only a category can be unseen; remove the policy"),
        ({"kind": "category"}, "a category needs levels; list them, or make it a text"),
        ({"kind": "category", "levels": []}, "a category needs levels; list them, or make it a text"),
        ({"kind": "category", "levels": ["x", "\udc00"]}, r"level '\udc00' holds half a surrogate pair, which no req"),
        ({"kind": "category", "levels": ["x", "y", "x"]}, "level 'x' stands twice; remove one"),
        ({"max_bytes": 5}, "a number has no max_bytes; remove it"),
        ({"kind": "text", "max_bytes": -1}, "max_bytes -1 is not between 0 and 2147483647"),
        ({"kind": "text", "max_bytes": 2**31}, "max_bytes 2147483648 is not between 0 and 2147483647"),
        ({"kind": "text", "max_bytes": 10**30}, "is not between 0 and 2147483647"),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(members, message):
    members = {"name": "f", "kind": "number", **members}
    with pytest.raises(BundleError) as caught:
        Schema.from_dict({"features": [members]})
    assert message in str(caught.value)
    assert str(caught.value).startswith("schema: ")
    if members["name"] == "f":
        assert "feature 'f'" in str(caught.value)
    with pytest.raises(BundleError) as made:
        Feature(**{name: tuple(value) if name == "levels" else value for name, value in members.items()})
    assert str(made.value) == str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "f", "kind": "float"}, "feature 'f': kind: invalid enum value 'float'"),
        ({"name": "f"}, "feature 'f': object missing required field `kind`"),
        ({"kind": "number"}, "feature number 1: object missing required field `name`"),
        ({"name": 3, "kind": "number"}, "feature number 1: name: expected `str`, got `int`"),
        ({"name": "f", "kind": "number", "maximum": 3}, "feature 'f': object contains unknown field `maximum`"),
        ({"name": "f", "kind": "number", "min": "3"}, "feature 'f': min: expected `float | null`, got `str`"),
        ({"name": "f", "kind": "number", "min": True}, "feature 'f': min: expected `float | null`, got `bool`"),
        ({"name": "f", "kind": "number", "max": 10**400}, "feature 'f': max: number out of range"),
        ({"name": "f", "kind": "number", "missing": "no"}, "feature 'f': missing: invalid enum value 'no'"),
        ({"name": "f", "kind": "category", "levels": ["x", 1]}, "feature 'f': levels: expected `str`, got `int`"),
        ({"name": "f", "kind": "category", "levels": "x"}, "feature 'f': levels: expected `array | null`, got `str`"),
        ({"name": "f", "kind": "text", "max_bytes": 1.5}, "feature 'f': max_bytes: expected `int`, got `float`"),
        ("f", "feature number 1: expected `object`, got `str`"),
        (None, "feature number 1: expected `object`, got `null`"),
    ],
)
def test_an_entry_of_the_wrong_shape_is_named(entry, message):
    with pytest.raises(BundleError) as caught:
        Schema.from_dict({"features": [{"name": "good", "kind": "number"}, entry]})
    assert str(caught.value) == f"schema: {message}"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "schema: expected an object with a list of features"),
        (None, "schema: expected an object with a list of features"),
        ({}, "schema: Object missing required field `features`"),
        ({"features": []}, "schema: there are no features; name at least one"),
        ({"features": {}}, "schema: Expected `array`, got `object` - at `$.features`"),
        ({"features": [], "version": 1}, "schema: Object contains unknown field `version`"),
        ({"features": [], "unknown_fields": "drop"}, "schema: Invalid enum value 'drop' - at `$.unknown_fields`"),
        ({"features": [], "layout": "matrix"}, "schema: Invalid enum value 'matrix' - at `$.layout`"),
        (
            {"features": [{"name": "f", "kind": "number"}, {"name": "f", "kind": "text"}]},
            "schema: feature 'f' stands twice; rename or remove one",
        ),
        (
            {"features": [{"name": "f", "kind": "text"}], "layout": "tensor"},
            "schema: feature 'f': a text does not fit layout 'tensor'; use 'record'",
        ),
        (
            {"features": [{"name": "f", "kind": "category", "levels": ["x"]}], "layout": "tensor"},
            "schema: feature 'f': a category does not fit layout 'tensor'; use 'record'",
        ),
    ],
)
def test_a_document_of_the_wrong_shape_is_refused(document, message):
    with pytest.raises(BundleError) as caught:
        Schema.from_dict(document)
    assert str(caught.value) == message


def test_the_number_of_features_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_FEATURES", 2)
    entries = [{"name": f"f{i}", "kind": "number"} for i in range(3)]
    assert len(Schema.from_dict({"features": entries[:2]}).features) == 2
    with pytest.raises(BundleError, match="schema: 3 features are more than 2"):
        Schema.from_dict({"features": entries})


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ["name", "kind", "min", "max", "levels", "unseen", "missing", "max_bytes", "unit"]
WORDS = st.sampled_from(["number", "integer", "boolean", "category", "text", "allow", "error", "f", ""])


@settings(max_examples=75, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(MEMBERS), WORDS | junk, max_size=5) | junk, max_size=3) | junk)
def test_nothing_but_a_bundle_error_comes_of_junk(features):
    try:
        schema = Schema.from_dict({"features": features})
    except BundleError as error:
        assert str(error).startswith("schema: ")
    else:
        RecordReader(schema)  # whatever is accepted can be used
        assert Schema.from_dict(schema.to_dict()) == schema
