"""Why a rule answered: values as the Frame has them, and the words that were found."""

import json

import pytest

from edgeml.kernels.frame import Frame
from edgeml.runtime.explanation_budget import NODE, SPENT, STEPS, Allowance
from edgeml.runtime.frame_values import SHOWN_CHARACTERS
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rule_explanation import SHOWN_TERMS, SHOWN_VALUES, SHOWN_WORDS, RuleExplainer
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


def explained(when, record, allowance=None, *, names=None, **more):
    rule = {"id": "r", "when": when, "then": {"label": "a"}, **more}
    rules = RuleList.from_document({"rules": [rule], **(names or {})}, SCHEMA, labels=["a"])
    frame = frame_of(record)
    assert rules.match_one(frame.capsule) == 0
    explainer = RuleExplainer(rules)
    said = explainer.explain("r", frame, allowance or Allowance())
    assert allowance or explainer.explain("r", frame, Allowance()) == said  # what is kept changes nothing
    return said


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


NAMES = {
    "lists": {"drinks": ["café", "tea", "lait"], "sizes": [2.5, 3]},
    "define": {
        "large": "`size (mm)` > bound",
        "bound": "count - 1",
        "served": "remark contains word drinks ignoring case",
        "unused": "ringed",
    },
}


def test_names_are_written_out():
    said = explained("large and served and `size (mm)` in sizes", RECORD, names=NAMES)
    assert said["when"] == "large and served and `size (mm)` in sizes"
    assert said["where"] == {
        "large": "`size (mm)` > bound",
        "served": "remark contains word drinks ignoring case",
        "bound": "count - 1",
    }
    assert said["values"] == {"size (mm)": 2.5, "count": 3, "remark": RECORD["remark"]}
    assert said["found"] == {"remark": ["café", "lait"]}


def test_points_are_shown_with_their_sum():
    when = 'points(0.1 if remark contains word "lait", 0.2 if ringed, 5 if count > 9, -4 if title contains "x") >= 0.3'
    said = explained(when, RECORD)
    assert said["cards"] == [
        {
            "terms": [{"points": 0.1, "if": 'remark contains word "lait"'}, {"points": 0.2, "if": "ringed"}],
            "sum": 0.3,
            "needs": ">= 0.3",
        }
    ]
    said = explained(when, RECORD | {"title": "x", "count": 10, "ringed": None})
    assert (said["cards"][0]["sum"], len(said["cards"][0]["terms"])) == (1.1, 3)


def test_every_card_is_shown():
    said = explained("3 > count(ringed, count == 3, x0 > 1) and points(2 if ringed) + points(1 if ringed) > x1", {
        "ringed": True, "count": 3, "x1": 2.5,
    })  # fmt: skip
    assert [(card["sum"], card.get("needs")) for card in said["cards"]] == [(2, "< 3"), (2, None), (1, None)]
    card = explained("count(" + ", ".join(f"x{i} is missing" for i in range(60)) + ") > 50", RECORD)["cards"][0]
    assert (card["sum"], len(card["terms"]), card["more"]) == (60, SHOWN_TERMS, 60 - SHOWN_TERMS)
    nothing = explained("points(1 if x0 > 0) == 0", RECORD)["cards"]
    assert nothing == [{"terms": [], "sum": 0, "needs": "== 0"}]


def test_taking_a_large_rule_apart_costs_what_it_takes():
    """Written out it has 65,536 comparisons: too many to be kept taken apart."""
    names = {"define": {f"a{at}": f"a{at - 1} and a{at - 1}" if at else "count > 1" for at in range(17)}}
    rules = RuleList.from_document(
        {"rules": [{"id": "r", "when": "a16", "then": {"label": "a"}}]} | names, SCHEMA, labels=["a"]
    )
    explainer, frame, allowance = RuleExplainer(rules), frame_of(RECORD), Allowance(left=NODE * 1_000)
    assert explainer.explain("r", frame, allowance)["values"] == {"count": 3}
    assert allowance.left < 0
    assert explainer.explain("r", frame, allowance) == {"rule": "r", "when": "a16", "reason": SPENT}


def test_what_it_costs_is_bounded():
    allowance = Allowance()
    explained('remark contains word "café"', RECORD, allowance)
    assert 0 < STEPS - allowance.left < STEPS // 1000
    said = explained('remark contains word {"café", "au"} ignoring case', RECORD, Allowance(left=1))
    assert "found" not in said and "used up" in said["reason"] and said["values"]
