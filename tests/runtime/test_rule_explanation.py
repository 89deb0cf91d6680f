"""Why a rule answered: values as the Frame has them, and the words that were found."""

import json

import pytest

from edgeml.kernels.frame import Frame
from edgeml.runtime.frame_values import SHOWN_CHARACTERS
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rule_explanation import SHOWN_VALUES, SHOWN_WORDS, explain_rule
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

SCHEMA = Schema.from_dict(
    {
        "features": [
            {"name": "size (mm)", "kind": "number", "missing": "allow"},
            {"name": "count", "kind": "integer", "missing": "allow"},
            {"name": "ringed", "kind": "boolean", "missing": "allow"},
            {"name": "island", "kind": "category", "levels": ["Ünï", "Dream"], "unseen": "allow", "missing": "allow"},
            {"name": "remark", "kind": "text", "missing": "allow"},
            {"name": "title", "kind": "text", "missing": "allow"},
        ]
        + [{"name": f"x{i}", "kind": "number", "missing": "allow"} for i in range(60)]
    }
)
RECORD = {"size (mm)": 2.5, "count": 3, "ringed": True, "island": "Ünï", "remark": "Café au lait, no café", "title": ""}


def frame_of(record) -> Frame:
    reader = RecordReader(SCHEMA)
    frame = reader.new_frame(1)
    reader.read_json_record(frame, json.dumps(record).encode())
    return frame


def explained(when, record, **more):
    document = {"rules": [{"id": "r", "when": when, "then": {"label": "a"}, **more}]}
    rules = RuleList.from_document(document, SCHEMA, labels=["a"])
    frame = frame_of(record)
    assert rules.match_one(frame.capsule) == 0
    return explain_rule(rules.rules[0], frame, SCHEMA)


def test_text_values_and_what_is_known_of_the_rule():
    said = explained("`size (mm)` > 2 and count in {3, 4}", RECORD, note="why", precision=0.9, coverage=0.25)
    assert said == {
        "rule": "r",
        "when": "`size (mm)` > 2 and count in {3, 4}",
        "note": "why",
        "precision": 0.9,
        "coverage": 0.25,
        "values": {"size (mm)": 2.5, "count": 3},
    }
    assert type(said["values"]["count"]) is int


@pytest.mark.parametrize(
    ("name", "given", "shown"),
    [
        ("size (mm)", 1e300, 1e300),
        ("size (mm)", None, None),
        ("count", -0.0, 0),
        ("ringed", 0, False),
        ("ringed", None, None),
        ("island", "Dream", "Dream"),
        ("island", "Mars", {"unseen": True}),
        ("island", None, None),
        ("remark", "ünï", "ünï"),
        ("remark", "", ""),
        ("remark", None, None),
        ("remark", "é" * SHOWN_CHARACTERS, "é" * SHOWN_CHARACTERS),
        ("remark", "𝕏" * (SHOWN_CHARACTERS + 1), "𝕏" * SHOWN_CHARACTERS + "…"),
        ("remark", "é" * 30_000 + "x", "é" * SHOWN_CHARACTERS + "…"),
    ],
)
def test_values_are_those_of_the_frame(name, given, shown):
    value = explained(f"`{name}` is missing or true", RECORD | {name: given})["values"][name]
    assert value == shown and type(value) is type(shown)


def test_a_value_that_was_not_given_is_null():
    record = {name: value for name, value in RECORD.items() if name != "count"}
    assert explained("count is missing", record)["values"] == {"count": None}


def test_words_that_were_found_are_shown():
    said = explained('remark contains word {"tea", "café", "au lait", "milk"} ignoring case', RECORD)
    assert said["found"] == {"remark": ["café", "au lait"]}
    said = explained('remark contains "lait" and not title contains "x" and remark starts with {"Ca", "Te"}', RECORD)
    assert said["found"] == {"remark": ["lait", "Ca"]}
    assert list(said["values"]) == ["remark", "title"]
    assert "found" not in explained('not remark contains word "tea"', RECORD)
    assert "found" not in explained("word_count(remark) > 1", RECORD)


def test_what_is_shown_is_bounded():
    words = [f"w{i}" for i in range(100)]
    said = explained(
        f"remark contains word {{{', '.join(map(json.dumps, words))}}}", RECORD | {"remark": " ".join(words)}
    )
    assert said["found"] == {"remark": words[:SHOWN_WORDS]}
    said = explained(" or ".join(f"x{i} is missing" for i in range(60)), RECORD)
    assert len(said["values"]) == SHOWN_VALUES
