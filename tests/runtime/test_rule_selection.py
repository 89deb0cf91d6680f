"""Long rule lists: a selector leaves out only rules that are not true; the first that is true answers all the same."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_samples import LEVELS, SCHEMA, conditions, records

from edgeml.kernels.rules import KINDS, NEXT_RULE, SELECTED_LIMIT, RuleProgram
from edgeml.runtime import rule_compiler, rule_selection
from edgeml.runtime.expression import format_expression
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Feature, Schema

READER = RecordReader(SCHEMA)
SELECT, LESS, MISSING = (KINDS.index(name) for name in ("select", "less_constant", "number_missing"))


def rules_of(texts, schema=SCHEMA):
    return RuleList.from_document({"rules": [{"when": text, "then": {"label": "a"}} for text in texts]}, schema, ["a"])


def matched(rules, asked, reader=READER):
    frame = reader.new_frame(len(asked))
    reader.read_many(frame, asked)
    found = np.empty(len(asked), dtype=np.int32)
    rules.match(frame.capsule, found)
    one = reader.new_frame()
    for record, number in zip(asked, found, strict=True):
        reader.read(one, record)
        assert rules.match_one(one.capsule) == number
    return found.tolist()


@pytest.fixture
def always(monkeypatch):
    """Selectors with all filters, however few the rules are."""

    def both(texts, schema=SCHEMA):
        with monkeypatch.context() as patch:
            patch.setattr(rule_compiler, "FEW_RULES", 10**9)  # no words of one scan that stand together
            patch.setattr(rule_selection, "FEW_RULES", 1)
            patch.setattr(rule_selection, "TEST_NS", 1e9)
            selecting = rules_of(texts, schema)
            patch.setattr(rule_selection, "FEW_RULES", 10**9)
            return selecting, rules_of(texts, schema)

    return both


@settings(max_examples=60, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=80), st.lists(records, min_size=1, max_size=20))
def test_selected_rules_answer_as_rules_in_a_row(many, asked):
    texts = [format_expression(node) for node in many]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_compiler, "FEW_RULES", 10**9)
        patch.setattr(rule_selection, "FEW_RULES", 1)
        patch.setattr(rule_selection, "TEST_NS", 1e9)
        selecting = rules_of(texts)
        patch.setattr(rule_selection, "FEW_RULES", 10**9)
        in_a_row = rules_of(texts)
    assert matched(selecting, asked) == matched(in_a_row, asked)


BOUNDS = [-3.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.5, 1e300]
WORDS = ["a", "ab", "aba", "blå", "kelvin", "ab aba"]


def condition(draw):
    """A condition of the kinds that limit something, with bounds that meet."""

    def bound():
        return draw.choice(BOUNDS)

    def one():
        low, high = sorted((bound(), bound()))
        levels = ", ".join(f'"{level}"' for level in draw.sample([each for each in LEVELS if '"' not in each], 2))
        return draw.choice(
            [
                f"x {draw.choice(['<', '<=', '>', '>=', '==', '!='])} {bound()}",
                f"{bound()} {draw.choice(['<', '<='])} `y y` {draw.choice(['<', '<='])} {bound()}",
                f"x between {low} and {high}",
                f"x not in {{{low}, {high}}}",
                f"`y y` in {{{low}, {high}}}",
                f"x is {draw.choice(['missing', 'not missing'])}",
                f"colour is {draw.choice(['missing', 'not missing'])}",
                f"colour {draw.choice(['in', 'not in'])} {{{levels}}}",
                f'colour {draw.choice(["==", "!="])} "red"',
                "smoker",
                f"smoker == {draw.choice(['true', 'false'])}",
                f'name contains word "{draw.choice(WORDS)}"',
                f'name contains word "{draw.choice(WORDS)}" or name contains word "{draw.choice(WORDS)}"',
                f'not name contains word "{draw.choice(WORDS)}"',
                f"not x < {bound()}",
                "name is missing",
            ]
        )

    parts = [one() for _ in range(draw.choice([2, 3, 4, 5]))]
    joined = (" or " if draw.random() < 0.05 else " and ").join(f"({part})" for part in parts)
    return f"({joined}) and x + 0 != {draw.choice(BOUNDS)}" if draw.random() < 0.1 else joined


def record(draw):
    values = [None, *BOUNDS, 0.25, -2.0, 7.0, -1e300]
    return {
        "x": draw.choice(values),
        "y y": draw.choice(values),
        "n": 1,
        "smoker": draw.choice([None, True, False]),
        "not": None,
        "colour": draw.choice([None, "unseen", *LEVELS]),
        "many": None,
        "name": draw.choice([None, "", "nothing", "ab, aba blå", "a", "Kelvin kelvin"]),
        "größe`": None,
    }


@pytest.mark.parametrize("n_rules", [33, 64, 65, 200])
def test_long_lists_with_bounds_that_meet(n_rules, always):
    draw = random.Random(n_rules)
    asked = [record(draw) for _ in range(300)]
    for _ in range(3):
        selecting, in_a_row = always([condition(draw) for _ in range(n_rules)])
        found = matched(selecting, asked)
        assert found == matched(in_a_row, asked)
        assert len(set(found)) > 5  # so that what comes first does not answer everything
        # Each rule by itself, and behind it nothing: what a selector leaves out is not true.
        last = [f"({text}) and false" for text in selecting_texts(selecting)[:-1]] + [selecting_texts(selecting)[-1]]
        selecting, in_a_row = always(last)
        assert matched(selecting, asked) == matched(in_a_row, asked)


def selecting_texts(rules):
    return [rule.when for rule in rules.rules]


def test_more_rules_than_a_selector_holds():
    schema = Schema((Feature("x", "number", missing="allow"), Feature("t", "text", missing="allow")))
    reader = RecordReader(schema)
    count = 2 * SELECTED_LIMIT + 300
    texts = [f"x > {number} and x < {number + 1}" for number in range(count)]
    # In the middle a stretch of words that one scan finds, and at the end a rule for everything.
    texts[1500:1500] = [f't contains word "w{number}"' for number in range(100)]
    rules = rules_of([*texts, "x is not missing"], schema)
    asked = [{"x": number + 0.5, "t": None} for number in range(0, count, 7)]
    expected = [number + (100 if number >= 1500 else 0) for number in range(0, count, 7)]
    assert matched(rules, asked, reader) == expected
    words = [{"x": None, "t": f"a w{number} b"} for number in (0, 50, 99)]
    assert matched(rules, words, reader) == [1500, 1550, 1599]
    assert matched(rules, [{"x": 3.0, "t": None}, {"x": None, "t": "w100"}], reader) == [count + 100, -1]


def test_a_selector_is_made_for_many_rules_only(monkeypatch):
    made = []
    original = rule_compiler.RuleProgram

    def program(**members):
        made.append(len(members["selectors"]) // 4)
        return original(**members)

    monkeypatch.setattr(rule_compiler, "RuleProgram", program)
    few = [f"x > {number} and x < {number + 1}" for number in range(31)]
    rules_of(few)
    rules_of([*few, "x > 100"])
    rules_of([f'name contains word "w{number}"' for number in range(200)])  # one scan finds the first of them
    rules_of([f"x + `y y` > {number}" for number in range(200)])  # nothing is known about any
    assert made == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selectors": [0, 1, 0]}, "not 4 for each"),
        ({"selectors": [0, 1, 0, 3]}, "3 rules, entries from 0 on of 2"),
        ({"selectors": [0, 1, 1, 2]}, "entries from 1 on of 2"),
        ({"selectors": [0, 1, 0, 0]}, "0 rules"),
        ({"selectors": [0, 1, 0, SELECTED_LIMIT + 1]}, f"{SELECTED_LIMIT + 1} rules"),
        ({"selectors": [1, 1, 0, 2]}, "1 filters from 1 on of 1"),
        ({"selectors": [-1, 1, 0, 2]}, "1 filters from -1 on"),
        ({"filters": [0, 0, 0, 2]}, "not 5 for each"),
        ({"filters": [3, 0, 0, 2, 0]}, "unknown kind 3"),
        ({"filters": [0, 1, 0, 2, 0]}, "column or scan 1 of 1"),
        ({"filters": [1, 0, 0, 2, 0]}, "column or scan 0 of 0"),
        ({"filters": [2, 0, 0, 2, 0]}, "column or scan 0 of 0"),
        ({"filters": [0, 0, 1, 2, 0]}, "bounds from 1 on of 2"),
        ({"filters": [0, 0, 0, -1, 0]}, "-1 is out of range"),
        ({"filters": [0, 0, 0, 2**62, 0]}, "is out of range"),
        ({"filters": [0, 0, 0, 2, 1]}, "masks from 1 on of 6"),
        ({"filters": [0, 0, 0, 2, -1]}, "masks from -1 on of 6"),
        ({"constants": [2.0, 1.0]}, "do not ascend"),
        ({"constants": [1.0, 1.0]}, "do not ascend"),
        ({"entries": [0, 1]}, "leads backward or nowhere"),
        ({"entries": [1, 7]}, "leads backward or nowhere"),
        ({"entries": [-4, 1]}, "leads backward or nowhere"),
        ({"code": [SELECT, 0, 1, 0, 0, -1, -1]}, "selector 1 of 1"),
    ],
)
def test_a_hostile_selector_is_refused(change, message):
    given = {
        "start": 0,
        "code": [SELECT, 0, 0, 0, 0, -1, -1, LESS, 0, 0, 1, 0, -2, NEXT_RULE],
        "constants": [1.0, 2.0],
        "selectors": [0, 1, 0, 2],
        "filters": [0, 0, 0, 2, 0],
        "entries": [1, -3],
        "masks": [3] * 6,
    }
    types = {"code": np.int32, "entries": np.int32, "constants": np.float64, "masks": np.uint64}

    def program(members):
        arrays = {k: np.array(v, dtype=types.get(k, np.int64)) for k, v in members.items() if k != "start"}
        return RuleProgram(
            start=0, codes=np.array([], dtype=np.int32), strings=b"", offsets=np.zeros(1, dtype=np.int64), n_rules=2,
            n_numbers=1, n_categories=0, n_texts=0, **arrays,
        )  # fmt: skip

    reader = RecordReader(Schema((Feature("x", "number", missing="allow"),)))
    frame = reader.new_frame()
    reader.read(frame, {"x": 1.5})
    assert program(given).match_one(frame.capsule) == 0
    reader.read(frame, {"x": 2.5})
    assert program(given).match_one(frame.capsule) == 1
    with pytest.raises(ValueError, match=message):
        program(given | change)


def test_a_target_that_asks_for_the_next_rule_of_no_selector_ends():
    program = RuleProgram(
        start=0, code=np.array([MISSING, 0, 0, 0, 0, NEXT_RULE, NEXT_RULE], dtype=np.int32),
        constants=np.zeros(0), codes=np.array([], dtype=np.int32), strings=b"", offsets=np.zeros(1, dtype=np.int64),
        n_rules=1, n_numbers=1, n_categories=0, n_texts=0,
    )  # fmt: skip
    reader = RecordReader(Schema((Feature("x", "number", missing="allow"),)))
    frame = reader.new_frame()
    reader.read(frame, {"x": 1.5})
    assert program.match_one(frame.capsule) == -1
