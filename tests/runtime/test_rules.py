"""Rule lists: conditions against the slow oracle, outcomes, documents, and everything that is refused."""

import gc
import json
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_oracle import first_rule
from oracles.rule_samples import SCHEMA, conditions, records

from edgeml.errors import RuleError
from edgeml.kernels.rules import RuleProgram
from edgeml.runtime.expression import format_expression
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rules import MAX_RULES, Rule, RuleList
from edgeml.runtime.schema import Feature, Schema

READER = RecordReader(SCHEMA)
BLANK = dict.fromkeys(SCHEMA.names)
LABELS = ("yes", "no", "maybe")


def listed(*texts, schema=SCHEMA):
    return RuleList.from_document(
        {"rules": [{"when": text, "then": {"label": "yes"}} for text in texts]}, schema, LABELS
    )


def filled(rows):
    frame = READER.new_frame()
    READER.read_many(frame, rows)
    return frame


def fires(text, **values):
    record = BLANK | values
    rule_list, frame = listed(text), filled([record])
    out = np.full(1, 99, dtype=np.int32)
    hits = rule_list.match(frame.capsule, out)
    assert hits == (out[0] >= 0)
    assert rule_list.match_one(frame.capsule) == out[0] == first_rule([parse_expression(text)], record)
    return out[0] == 0


@settings(max_examples=300, deadline=None)
@given(st.lists(conditions, max_size=5), st.lists(records, min_size=1, max_size=12))
def test_the_first_true_rule_is_found(trees, rows):
    rule_list = listed(*map(format_expression, trees))
    frame = filled(rows)
    out = np.full(len(rows), 99, dtype=np.int32)
    hits = rule_list.match(frame.capsule, out)
    expected = [first_rule(trees, row) for row in rows]
    assert out.tolist() == expected
    assert hits == sum(rule >= 0 for rule in expected)
    for row, rule in zip(rows, expected, strict=True):
        assert rule_list.match_one(filled([row]).capsule) == rule


@settings(max_examples=100, deadline=None)
@given(conditions)
def test_a_document_is_read_back_as_equal_rules(tree):
    first = listed(format_expression(tree))
    again = RuleList.from_document(json.loads(json.dumps(first.to_document())), SCHEMA, LABELS)
    assert again.rules == first.rules
    assert again.to_document() == first.to_document()


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("x < 3", {}, False),
        ("not x < 3", {}, False),
        ("x < 3 or not x < 3", {}, False),
        ("x < 3 or n == 1", {"n": 1}, True),
        ("not (x < 3 and n == 1)", {"n": 2}, True),
        ("x != 3", {}, False),
        ("x is missing", {}, True),
        ("x is not missing", {}, False),
        ("1 < x <= 3", {"x": 3}, True),
        ("1 < x <= 3", {"x": 1}, False),
        ("not 1 < x < n", {"x": 0.5}, True),
        ("x between 1 and 3", {"x": 1}, True),
        ("x not between 1 and 3", {"x": 4}, True),
        ("x not between n and 3", {"x": 4}, True),
        ("x / n > 1 or x / n <= 1", {"x": 1, "n": 0}, False),
        ("x / n is missing", {"x": 1, "n": 0}, True),
        ("x * x is missing", {"x": 1e300}, True),
        ("abs(-x) + min(x, n) * max(2, n, 1) == 11", {"x": 3, "n": 4}, False),
        ("abs(-x) + min(x, n) * max(2, n, 1) == 15", {"x": 3, "n": 4}, True),
        ("max(x, n) > 0", {"n": 4}, False),
        ("10 - 2 - 3 == 5 and 8 / 2 / 2 == 2 and 2 + 3 * 4 == 14", {}, True),
        ("smoker", {"smoker": True}, True),
        ("not smoker", {"smoker": False}, True),
        ("not smoker", {}, False),
        ("smoker == true and `not` != smoker", {"smoker": True, "not": False}, True),
        ("smoker in {true}", {"smoker": True}, True),
        ("true", {}, True),
        ("not false", {}, True),
        ("x < 1 or true", {}, True),
        ("false and x is missing", {}, False),
        ('colour == "unseen" or colour == "red"', {"colour": "red"}, None),
        ('colour == "red"', {"colour": "red"}, True),
        ('colour == "red"', {"colour": "unseen"}, False),
        ('colour != "red"', {"colour": "unseen"}, True),
        ('colour != "red"', {}, False),
        ('colour in {"red", "green"}', {"colour": "unseen"}, False),
        ('colour not in {"red", "green"}', {"colour": "unseen"}, True),
        ('colour not in {"red", "green"}', {}, False),
        ("colour is missing", {"colour": "unseen"}, False),
        ('many in ["level 3", "level 99"]', {"many": "level 99"}, True),
        ('many in ("level 3", "level 4")', {"many": "level 67"}, False),
        ("name == 'blå'", {"name": "blå"}, True),
        ("name != 'a'", {}, False),
        ("name starts with 'ab'", {"name": "abc"}, True),
        ("name ends with 'bc'", {"name": "abc"}, True),
        ("name contains ''", {"name": ""}, True),
        ("not name contains 'x'", {}, False),
        ("not name contains 'x'", {"name": "abc"}, True),
        ("name not in {'a', 'b'}", {"name": "c"}, True),
        ('`größe``` == ""', {"größe`": ""}, True),
    ],
)
def test_what_a_condition_means(text, values, expected):
    if expected is None:
        with pytest.raises(RuleError, match='"unseen" is no level of colour'):
            fires(text, **values)
        return
    assert fires(text, **values) is np.bool_(expected) or bool(fires(text, **values)) is expected


def test_many_values_in_sets():
    numbers = ", ".join(map(str, range(0, 1000, 3)))
    words = ", ".join(f'"{number:x}"' for number in range(1000))
    for x in (-1, 0, 1, 998, 999, 1000, 3.5):
        assert fires(f"x in {{{numbers}}}", x=x) == (x in range(0, 1000, 3))
        assert fires(f"x + 0 not in {{{numbers}}}", x=x) == (x not in range(0, 1000, 3))
    for name in ("", "0", "3e7", "3e8", "zz"):
        assert fires(f"name in {{{words}}}", name=name) == (name in {f"{number:x}" for number in range(1000)})


def test_long_chains_and_deep_nesting_are_matched():
    assert fires("+".join(["x"] * 4000) + " == 4000", x=1)
    assert fires(" and ".join(["x > 0"] * 800), x=1)
    assert fires("(" * 64 + "x > 0" + ")" * 64, x=1)
    assert fires("1 + (" * 63 + "x" + ")" * 63 + " > 0", x=1)
    assert fires("not " * 64 + "smoker", smoker=True)


def test_an_empty_list_never_answers():
    empty = RuleList.from_document({"rules": []}, SCHEMA, LABELS)
    frame = filled([BLANK, BLANK])
    out = np.zeros(2, dtype=np.int32)
    assert empty.rules == () and empty.match_one(frame.capsule) == -1
    assert empty.match(frame.capsule, out) == 0 and out.tolist() == [-1, -1]


def test_match_one_is_the_kernels_own_method():
    rule_list = listed("x > 1")
    assert isinstance(rule_list.match_one.__self__, RuleProgram)
    assert rule_list.match.__self__ is rule_list.match_one.__self__


def test_match_one_keeps_nothing():
    rule_list, frame = listed("x + n > 1", "name == 'a'", "colour in {'red'}"), filled([BLANK | {"x": 3, "n": 4}])
    capsule, match_one = frame.capsule, rule_list.match_one
    match_one(capsule)
    gc.collect()
    references, blocks = sys.getrefcount(capsule), sys.getallocatedblocks()
    for _ in range(10_000):
        match_one(capsule)
    assert sys.getrefcount(capsule) == references
    assert abs(sys.getallocatedblocks() - blocks) < 100


def test_threads_share_a_list():
    rule_list = listed("x > 500", "x > 100 and name contains 'a'", "n in {1, 2, 3}")
    wrong = []

    def work(seed):
        random = np.random.default_rng(seed)
        rows = [
            BLANK
            | {"x": float(random.integers(1000)), "name": str(random.choice(["ab", "b"])), "n": int(random.integers(6))}
            for _ in range(500)
        ]
        trees = [parse_expression(rule.when) for rule in rule_list.rules]
        expected = [first_rule(trees, row) for row in rows]
        frame, one = filled(rows), filled(rows[:1])
        out = np.zeros(len(rows), dtype=np.int32)
        for _ in range(200):
            out[:] = 99
            rule_list.match(frame.capsule, out)
            if out.tolist() != expected or rule_list.match_one(one.capsule) != expected[0]:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_everything_that_a_rule_may_say():
    document = {
        "rules": [
            {"when": "x>1", "then": {"label": "yes", "score": 1}, "note": "why"},
            {
                "id": "b.2",
                "when": "x >= .5",
                "then": {"label": "no"},
                "provenance": "learned",
                "coverage": 0.5,
                "precision": 1,
            },
            {"when": "x is missing", "then": "abstain"},
            {"when": "true", "then": {"abstain": True}},
        ]
    }
    made = RuleList.from_document(document, SCHEMA, LABELS)
    assert made.rules == (
        Rule("rule-1", "x > 1", label="yes", score=1.0, note="why"),
        Rule("b.2", "x >= 0.5", label="no", provenance="learned", coverage=0.5, precision=1.0),
        Rule("rule-3", "x is missing", abstains=True),
        Rule("rule-4", "true", abstains=True),
    )
    assert made.to_document()["rules"][2:] == [
        {"id": "rule-3", "when": "x is missing", "then": {"abstain": True}},
        {"id": "rule-4", "when": "true", "then": {"abstain": True}},
    ]
    value = RuleList.from_document({"rules": [{"when": "x > 1", "then": {"value": 3}}]}, SCHEMA)
    assert value.rules[0].value == 3.0 and value.to_document()["rules"][0]["then"] == {"value": 3.0}


def test_labels_are_given_back_as_the_model_has_them():
    def label(given, labels):
        document = {"rules": [{"when": "true", "then": {"label": given}}]}
        return RuleList.from_document(document, SCHEMA, labels).rules[0].label

    assert label(1.0, [1, 2]) == 1 and isinstance(label(1.0, [1, 2]), int)
    assert label(True, [0, 1, True, False]) is True
    with pytest.raises(RuleError, match="true is no label; the labels are 0, 1"):
        label(True, [0, 1])
    with pytest.raises(RuleError, match="write the label without quotes"):
        label("1", [0, 1])
    with pytest.raises(RuleError, match="the labels are strings: put the label in quotes"):
        label(1, ["0", "1"])
    with pytest.raises(RuleError, match="false is no label.*put the label in quotes"):
        label(False, ["yes", "no"])
    with pytest.raises(RuleError, match="'Adeli' is no label; the nearest is 'Adelie'"):
        label("Adeli", ["Adelie", "Gentoo"])
    with pytest.raises(RuleError, match="'Zzz' is no label; the labels are 'Adelie', 'Gentoo'"):
        label("Zzz", ["Adelie", "Gentoo"])
    with pytest.raises(RuleError, match="a list is no label"):
        label([], ["Adelie"])
    with pytest.raises(RuleError, match="a huge integer is no label"):
        label(10**5000, [1, 2])


GOOD = {"when": "x > 1", "then": {"label": "yes"}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected an object"),
        ({}, "expected an object"),
        ({"rules": [], "more": 1}, "unknown key 'more'"),
        ({"rules": "x > 1"}, "expected a list of rules, got 'x > 1'"),
        ({"rules": {"a": 1}}, "expected a list of rules, got an object"),
        ({"rules": None}, "got nothing"),
        ({"rules": [3]}, "rule number 1: expected an object with 'when' and 'then', got 3"),
        ({"rules": [GOOD, {"when": "x > 1"}]}, "rule 'rule-2': there is no 'then'"),
        ({"rules": [{"then": "abstain"}]}, "there is no 'when'"),
        ({"rules": [GOOD | {"wen": "x"}]}, "unknown key 'wen'; did you mean 'when'"),
        ({"rules": [GOOD | {"zzzz": "x"}]}, "unknown key 'zzzz'; there are id, when"),
        ({"rules": [GOOD | {3: "x"}]}, "unknown key 3"),
        ({"rules": [GOOD | {"id": "A"}]}, "rule number 1: id 'A' must be"),
        ({"rules": [GOOD | {"id": ""}]}, "id '' must be"),
        ({"rules": [GOOD | {"id": "a\n"}]}, "must be"),
        ({"rules": [GOOD | {"id": 7}]}, "id 7 must be"),
        ({"rules": [GOOD | {"id": "a" * 201}]}, "must be"),
        ({"rules": [GOOD | {"id": "a"}, GOOD | {"id": "a"}]}, "rule 'a': rule number 1 has the same id"),
        ({"rules": [GOOD | {"id": "rule-2"}, GOOD]}, "rule 'rule-2': rule number 1 has the same id"),
        ({"rules": [GOOD | {"when": True}]}, "put the condition in quotes"),
        ({"rules": [GOOD | {"when": 3}]}, "when: expected a condition as a string, got 3"),
        ({"rules": [GOOD | {"then": "stop"}]}, "then: expected .*, got 'stop'"),
        ({"rules": [GOOD | {"then": {}}]}, "expected one of label, value and abstain, got none"),
        ({"rules": [GOOD | {"then": {"label": "yes", "abstain": True}}]}, "got label and abstain"),
        ({"rules": [GOOD | {"then": {"labl": "yes"}}]}, "then: unknown key 'labl'; did you mean 'label'"),
        ({"rules": [GOOD | {"then": {"abstain": False}}]}, "says {abstain: true}"),
        ({"rules": [GOOD | {"then": {"abstain": True, "score": 1}}]}, "says {abstain: true}"),
        ({"rules": [GOOD | {"then": {"value": 1}}]}, "write label in place of value"),
        ({"rules": [GOOD | {"then": {"label": "yes", "score": 1.1}}]}, "then: score must be a number from 0 to 1"),
        ({"rules": [GOOD | {"then": {"label": "yes", "score": True}}]}, "score must be .*, got true"),
        ({"rules": [GOOD | {"then": {"label": "yes", "score": None}}]}, "score must be .*, got nothing"),
        ({"rules": [GOOD | {"coverage": -1}]}, "coverage must be"),
        ({"rules": [GOOD | {"precision": float("nan")}]}, "precision must be"),
        ({"rules": [GOOD | {"note": 3}]}, "note must be a string"),
        ({"rules": [GOOD | {"provenance": "x" * 10_001}]}, "provenance must be a string"),
        ({"rules": [GOOD] * (MAX_RULES + 1)}, "there are 10001 rules; at most 10000"),
    ],
)
def test_what_a_document_may_not_say(document, message):
    with pytest.raises(RuleError, match=message):
        RuleList.from_document(document, SCHEMA, LABELS)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), True, "3", None, [1.0], 10**400])
def test_a_value_is_a_finite_number(value):
    with pytest.raises(RuleError, match="value must be a finite number"):
        RuleList.from_document({"rules": [{"when": "true", "then": {"value": value}}]}, SCHEMA)


def test_a_value_has_no_score():
    with pytest.raises(RuleError, match="rule 'rule-1': then: a score says how sure a label is.*remove it"):
        RuleList.from_document({"rules": [{"when": "x > 1", "then": {"value": 3.5, "score": 0.8}}]}, SCHEMA)


def test_a_regression_has_no_labels():
    with pytest.raises(RuleError, match="write value in place of label"):
        RuleList.from_document({"rules": [GOOD]}, SCHEMA)


def test_an_error_carries_rule_and_position():
    with pytest.raises(RuleError) as caught:
        RuleList.from_document(
            {"rules": [GOOD, {"id": "b", "when": "x > 1 and\n  zzz < 3", "then": "abstain"}]}, SCHEMA, LABELS
        )
    assert (caught.value.rule, caught.value.position) == ("b", 12)
    assert str(caught.value).endswith("\n    zzz < 3\n    ^")


def test_as_many_rules_as_allowed():
    text = " or ".join(["x > 1"] * 40)
    rule_list = listed(*[f"n == {number}" for number in range(MAX_RULES)])
    assert rule_list.match_one(filled([BLANK | {"n": MAX_RULES - 1}]).capsule) == MAX_RULES - 1
    with pytest.raises(RuleError, match="together have more than"):
        listed(*[" " * 9_000 + text] * 500)


def test_a_frame_of_another_schema_is_refused():
    other = RecordReader(Schema((Feature("x", "number"),)))
    frame = other.new_frame()
    other.read_many(frame, [{"x": 1.0}])
    with pytest.raises(ValueError, match="fewer columns"):
        listed("x > 1").match_one(frame.capsule)
