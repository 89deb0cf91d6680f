"""Scorecards: points and counts against the slow oracle, in the program, and what is wrong with them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_oracle import first_rule, truth_of
from oracles.rule_samples import SCHEMA, card_conditions, records

from edgeml.errors import RuleError
from edgeml.kernels.rules import RuleProgram
from edgeml.runtime import rule_compiler
from edgeml.runtime.expression import format_expression
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rule_parts import Part, Question, parts_of
from edgeml.runtime.rules import RuleList
from edgeml.runtime.scorecard import whole_points

READER = RecordReader(SCHEMA)
BLANK = dict.fromkeys(SCHEMA.names)


def listed(*texts):
    return RuleList.from_document(
        {"rules": [{"when": text, "then": {"label": "yes"}} for text in texts]}, SCHEMA, ["yes"]
    )


def filled(*rows):
    frame = READER.new_frame()
    READER.read_many(frame, list(rows))
    return frame


@settings(max_examples=60, deadline=None)
@given(st.lists(card_conditions, min_size=1, max_size=3), st.lists(records, min_size=1, max_size=8))
def test_the_first_true_rule_is_found(trees, rows):
    rule_list = listed(*map(format_expression, trees))
    assert [rule_list.tree(index) for index in range(len(trees))] == trees
    again = RuleList.from_document(json.loads(json.dumps(rule_list.to_document())), SCHEMA, ["yes"])
    assert again.rules == rule_list.rules
    out = np.full(len(rows), 99, dtype=np.int32)
    rule_list.match(filled(*rows).capsule, out)
    assert out.tolist() == [first_rule(trees, row) for row in rows]
    assert Question(trees[0], SCHEMA).truths(filled(*rows).capsule, len(rows)) == [
        truth_of(trees[0], row) for row in rows
    ]


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("points(3 if x > 1, 2 if n > 1, -4 if smoker) == 5", {"x": 2, "n": 2, "smoker": False}, True),
        ("points(3 if x > 1, 2 if n > 1, -4 if smoker) == -1", {"x": 2, "smoker": True}, True),  # n > 1 is unknown
        ("points(3 if x > 1) == 0", {}, True),
        ("points(3 if not x > 1) == 0", {}, True),
        ("points(3 if x is missing) is missing", {}, False),
        ("points(0.1 if x > 0, 0.2 if x > 0) == 0.3", {"x": 1}, True),
        ("points(0.3 if x > 0, -0.1 if x > 0) >= 0.2", {"x": 1}, True),
        ("x / points(1 if smoker) is missing", {"x": 1, "smoker": False}, True),
        ("count(x > 0, n > 0, smoker) >= 2", {"x": 1, "n": 1}, True),
        ("count(x > 0, n > 0, smoker) between 2 and x", {"x": 1, "n": 1}, False),
        ("not count(x > 0) between n and 0", {"x": 1}, True),  # surely above 0, whatever n is
        ("not count(x > 0) between n and 1", {"x": 1}, None),
        ("points(1 if true, 2 if false, 4 if false and x > 1) == 1", {"x": 2}, True),
        ("points(0 if x > 1) == 0", {"x": 2}, True),
        ("points(2 if points(1 if x > 1, 2 if x > 2) >= 3, 1 if n > 0) in {2, 3}", {"x": 3}, True),
        ("points(1 if x > 0) + 2 * points(1 if n > 0) - abs(points(-4 if smoker)) == -1",
         {"x": 1, "n": 1, "smoker": True}, True),
        ('points(3 if name contains word {"a", "b"}) == 3', {"name": "a b a"}, True),
        ('points(3 if name contains word "a", 1 if name contains word "b") == 3', {"name": "a b a"}, False),
        ('points(3 if name contains word "a", 1 if name contains word "b") == 4', {"name": "a b a"}, True),
        ('points(3 if name contains word "a", 5 if name contains word "a") == 8', {"name": "a"}, True),
        ('points(3 if name contains word "a", 5 if name contains word "A" ignoring case) == 8', {"name": "a"}, True),
        ('points(3 if name contains word "a", 1 if not name contains word "b") == 0', {}, True),
    ],
)  # fmt: skip
def test_what_a_card_means(text, values, expected):
    tree = parse_expression(text)
    frame = filled(BLANK | values)
    assert truth_of(tree, BLANK | values) == Question(tree, SCHEMA).truth(frame.capsule) == expected
    assert listed(text).match_one(frame.capsule) == (0 if expected else -1)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("points() > 1", 7, "expected a number of points, as in points(3 if x > 2, -4 if y > 1), found ')'"),
        ("points(3) > 1", 8, "expected 'if' and a condition after 3 points, found ')'"),
        ("points(-3 x > 1) > 1", 10, "expected 'if' and a condition after -3 points, found 'x'"),
        ("points(3 if x > 1", 17, "expected ',' or ')', found the end"),
        ("points(3 if x > 1,) > 1", 18, "expected a number of points"),
        ("points(x if x > 1) > 1", 7, "expected a number of points"),
        ("points(3 if x) > 1", 12, "x, a number, is no condition; compare it, as in x > 3"),
        ("points(3 if x > 1)", 0, "a number, is no condition; compare it"),
        ("count() > 1", 6, "expected a feature"),
        ("count(x) > 1", 6, "x, a number, is no condition"),
        ("points(1e-12 if x > 1) > 1", 0, "points have at most 9 decimals; round them"),
        ("points(1e15 if x > 1, 0.1 if x > 2) > 1", 0, "too large together; round them"),
        ("points(1e300 if x > 1) > 1", 0, "too large together; round them"),
    ],
)
def test_mistakes_are_pointed_at(text, position, message):
    with pytest.raises(RuleError) as caught:
        listed(text)
    assert message in str(caught.value) and caught.value.position == position


def test_features_may_be_called_as_the_words_of_cards():
    assert format_expression(parse_expression("points(1 if if > 1, 2 if points > count) > 1")) == (
        "points(1 if if > 1, 2 if points > count) > 1"
    )


def test_words_of_a_card_are_one_instruction(monkeypatch):
    programs = []
    monkeypatch.setattr(
        rule_compiler,
        "RuleProgram",
        lambda **members: programs.append(len(members["code"]) // 7) or RuleProgram(**members),
    )
    words = ", ".join(f'{number % 7 - 3} if name contains word "w{number}"' for number in range(1000))
    rules = listed(f"points({words}, 2 if x > 1) >= 3", f"points({words}) >= 2", "x > 5")
    assert programs == [6 + 4 + 1]
    cost = rules.cost()
    assert (cost.instructions, cost.longest, cost.scans) == (11, 11, 1) and cost.table_bytes > 20_000
    text = " ".join(f"w{number}" for number in (6, 13, 20, 999))  # 3 points each, and 999 gives 2
    assert rules.match_one(filled(BLANK | {"name": text}).capsule) == 0
    assert rules.match_one(filled(BLANK | {"name": "w999"}).capsule) == 1
    assert rules.match_one(filled(BLANK).capsule) == -1


def test_points_are_whole_multiples():
    assert whole_points([0.1, -2.0, 0.25]) == ((10, -200, 25), 100)
    assert whole_points([3.0, 1e3]) == ((3, 1000), 1)
    assert whole_points([]) == ((), 1)


def test_a_condition_is_taken_apart():
    def shown(text):
        return [(part.text, part.points) for part in parts_of(parse_expression(text))]

    assert shown("x > 1 and (n > 1 or smoker)") == [("x > 1", None), ("n > 1 or smoker", None)]
    assert shown("not (x > 1 and smoker)") == [("x > 1 and smoker", None)]
    assert shown("1 < x <= 3") == [("1 < x", None), ("x <= 3", None)]
    assert shown("x > 1") == []
    assert shown("1 + points(3 if x > 1, -2 if n > points(1 if smoker)) > count(smoker)") == [
        ("x > 1", 3.0),
        ("n > points(1 if smoker)", -2.0),
        ("smoker", 1.0),
    ]
    whole = Part(parse_expression("x > 1 and not smoker"))
    assert [part.text for part in whole.parts[1].parts] == ["smoker"]
