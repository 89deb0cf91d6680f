"""Lists and definitions of a rules document: what they mean, how they are kept, and what is wrong with them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_oracle import first_rule
from oracles.rule_samples import LEVELS, SCHEMA, conditions, records, values

from edgeml.errors import RuleError
from edgeml.runtime.expression import (
    And,
    Arithmetic,
    Comparison,
    Field,
    Membership,
    Not,
    Number,
    Text,
    TextMatch,
    format_expression,
)
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.expression_size import MAX_SIZE
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rules import Evidence, RuleList

READER = RecordReader(SCHEMA)


def ruled(*texts, **names):
    return names | {"rules": [{"when": text, "then": {"label": "yes"}} for text in texts]}


def listed(*texts, **names):
    return RuleList.from_document(ruled(*texts, **names), SCHEMA, ["yes"])


def answers(rule_list, rows):
    frame = READER.new_frame()
    READER.read_many(frame, rows)
    out = np.full(len(rows), 99, dtype=np.int32)
    rule_list.match(frame.capsule, out)
    return out.tolist()


@settings(max_examples=40, deadline=None)
@given(conditions, values, conditions, st.lists(records, min_size=1, max_size=6))
def test_a_definition_is_what_it_stands_for(condition, value, other, rows):
    definitions = {
        "late": "not early or total > limit",
        "early": format_expression(condition),
        "total": format_expression(value),
        "limit": 1,
    }
    rule_list = listed("early and late", "late", format_expression(other), "total == total - limit", define=definitions)
    late = parse_expression(f"not ({definitions['early']}) or ({definitions['total']}) > 1")
    total = parse_expression(definitions["total"])
    trees = [rule_list.tree(index) for index in range(4)]
    assert trees[:3] == [And((condition, late)), late, other]
    assert trees[3] == Comparison((total, Arithmetic((total, Number(1.0)), ("-",))), ("==",))
    assert answers(rule_list, rows) == [first_rule(trees, row) for row in rows]
    document = rule_list.to_document()
    again = RuleList.from_document(json.loads(json.dumps(document)), SCHEMA, ["yes"])
    assert again.rules == rule_list.rules and again.to_document() == document
    for index in range(4):  # written out, it is a condition without names
        assert parse_expression(rule_list.expanded(index)) == rule_list.tree(index)


def test_lists_stand_for_sets_and_strings():
    rule_list = listed(
        "colour in warm",
        "n not in {some, 7}",
        'name contains word {words, "aba"} ignoring case',
        "name starts with words or name ends with words or name contains words or name matches words",
        "smoker in truths",
        lists={"warm": ["red", "green"], "some": [1, 2.5], "words": ["ab", "b a"], "truths": [True]},
    )
    assert [rule.when for rule in rule_list.rules[:3]] == [
        "colour in warm",
        "n not in {some, 7}",
        'name contains word {words, "aba"} ignoring case',
    ]
    assert rule_list.tree(0) == Membership(Field("colour"), (Text("red"), Text("green")))
    assert rule_list.tree(1) == Membership(Field("n"), (Number(1.0), Number(2.5), Number(7.0)), negated=True)
    assert rule_list.tree(2) == TextMatch(Field("name"), "contains word", ("ab", "b a", "aba"), folded=True)
    assert rule_list.expanded(4) == "smoker in {true}"
    blank = dict.fromkeys(SCHEMA.names)
    given = [{"colour": "green"}, {"n": 3}, {"n": 7, "name": "x AB"}, {"name": "xab"}, {"smoker": True}, {"n": 1}]
    assert answers(rule_list, [blank | row for row in given]) == [0, 1, 2, 3, 4, -1]


def test_a_list_that_many_rules_use_is_there_once():
    words = [f"word{number}" for number in range(500)]
    once = listed(
        "name contains word words and x > 0", "colour in levels and x > 0", lists={"words": words, "levels": [*LEVELS]}
    )
    often = listed(
        *[f"name contains word words and x > {number}" for number in range(50)],
        *[f"colour in levels and x > {number}" for number in range(50)],
        *[f"name in words and x > {number}" for number in range(50)],
        lists={"words": words, "levels": [*LEVELS]},
    )  # fmt: skip
    assert often.cost().scans == 1
    assert often.cost().table_bytes < 2 * once.cost().table_bytes + 80 * often.cost().instructions


def test_a_definition_that_many_rules_use_is_read_once():
    rule_list = listed("card >= 3", "card >= 2", define={"card": "points(3 if x > 1, 2 if n > 1)"})
    assert rule_list.tree(0).operands[0] is rule_list.tree(1).operands[0]
    assert rule_list.names.definitions["card"].kind == "number"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (ruled("x > 1", list={}), "unknown key 'list' beside 'rules'; did you mean 'lists'?"),
        (ruled("x > 1", lists=[]), "lists: expected an object with the lists by their names"),
        (ruled("x > 1", define="x"), "define: expected an object with the definitions by their names"),
        (ruled("x > 1", lists={f"l{i}": [1] for i in range(1001)}), "there are 1001 lists; at most 1000"),
        (ruled("x > 1", lists={"x": [1]}), "lists: 'x' is a feature; call it otherwise"),
        (ruled("x > 1", define={"points": "1"}), "define: 'points' is a function"),
        (ruled("x > 1", define={"contains": "1"}), "define: 'contains' is a word of the language"),
        (ruled("x > 1", lists={"word": ["a"]}), "lists: 'word' is a word of the language"),
        (ruled("x > 1", define={"a b": "1"}), "define: 'a b' is no name: a letter, then"),
        (ruled("x > 1", define={3: "1"}), "define: 3 is no name"),
        (ruled("x > 1", define={"a": "1"}, lists={"a": [1]}), "list 'a': a definition has the same name; rename one"),
        (ruled("x > 1", lists={"a": "red"}), "list 'a': expected a list of values"),
        (ruled("x > 1", lists={"a": []}), "list 'a': a list holds from 1 to 10000 values, this one 0"),
        (ruled("x > 1", lists={"a": [1, None]}), "list 'a': value 2 must be a string"),
        (ruled("x > 1", lists={"a": [1, 10**400]}), "list 'a': value 2 must be a string"),
        (ruled("x > 1", lists={"a": [float("inf")]}), "list 'a': value 1 must be a string"),
        (ruled("x > 1", lists={"a": ["a", False]}), "value 2 is a boolean, and the first is a string; use two lists"),
        (ruled("x > 1", lists={"a": ["\ud800"]}), "list 'a': value 1 holds half a surrogate pair"),
        (ruled("x > 1", define={"a": None}), "definition 'a': expected a condition or a number as a string"),
        (ruled("x > 1", define={"a": "name"}), "definition 'a': a definition is a condition or a number, not name"),
        (ruled("x > 1", define={"a": "'b'"}), "a definition is a condition or a number, not a string"),
        (ruled("x > 1", define={"a": "x >"}), "definition 'a': expected a feature"),
        (ruled("x > 1", define={"a": "xx > 1"}), "definition 'a': unknown feature xx; the nearest is x\n  xx > 1\n  ^"),
        (ruled("x > 1", define={"a": "a > 1"}), "definition 'a': a definition must not use itself: a -> a\n  a > 1"),
        (
            ruled("x > 1", define={"a": "x > b", "b": "count(c)", "c": "not a", "d": "b"}),
            "definition 'c': a definition must not use itself: a -> b -> c -> a\n  not a\n      ^",
        ),
        (ruled("heavi", define={"heavy": "x > 1"}), "unknown feature heavi; the nearest is heavy"),
        (ruled("heavy > 1", define={"heavy": "x > 1"}), "> compares numbers; this is heavy, a condition"),
        (ruled("total", define={"total": "x"}), "total, a number, is no condition"),
        (ruled("heavy is missing", define={"heavy": "x > 1"}), "'is missing' follows a feature or a number"),
        (ruled("x in heavy", define={"heavy": "x > 1"}), "there is no list heavy; this is a definition"),
        (ruled("warm == 1", lists={"warm": [1]}), "warm is a list; it stands behind 'in'"),
        (ruled("x in {warn}", lists={"warm": [1]}), "there is no list warn; the nearest is warm; a level"),
        (ruled("colour in {red}"), "there is no list red; name one under 'lists'; a level or a text stands in quotes"),
        (ruled("colour in warm", lists={"warm": ["red", "grene"]}), 'list warm: "grene" is no level of colour'),
        (ruled("x in warm", lists={"warm": ["red"]}), "list warm: x, a number, is compared with a string"),
        (ruled("name contains warm", lists={"warm": [1]}), "list warm: 'contains' takes strings only"),
        (ruled("name contains word warm", lists={"warm": ["a", "$"]}), 'list warm: "$": a word begins and ends with'),
    ],
)  # fmt: skip
def test_what_a_document_may_not_say(document, message):
    with pytest.raises(RuleError) as caught:
        RuleList.from_document(document, SCHEMA, ["yes"])
    assert message in str(caught.value)


def test_definitions_do_not_grow_without_end():
    laughs = {"d0": "x"} | {f"d{number}": f"d{number - 1} + d{number - 1}" for number in range(1, 60)}
    with pytest.raises(RuleError, match=f"definition 'd18': written out, this has 524287 steps; at most {MAX_SIZE}"):
        listed("d59 > 1", define=laughs)
    chains = {"d0": "x"} | {f"d{n}": f"points(1 if 0 < d{n - 1} < 2 < d{n - 1} < 3)" for n in range(1, 60)}
    with pytest.raises(RuleError, match="written out, this has"):
        listed("d59 > 1", define=chains)
    deep = {"d0": "x"} | {f"d{number}": f"abs(d{number - 1})" for number in range(1, 1000)}
    with pytest.raises(RuleError, match="definition 'd128': written out, this has 129 levels"):
        listed("d999 > 1", define=deep)
    big = {"big": [f"w{number}" for number in range(10_000)]}
    with pytest.raises(RuleError, match="written out, this has 140000 values"):
        listed(" or ".join(["name in big"] * 14), lists=big)
    assert len(listed(" or ".join(["name in big"] * 13), lists=big).rules) == 1


def test_chains_in_cards_do_not_grow_without_end():
    text = "x"
    for _ in range(20):
        text = f"points(1 if 0 < {text} < 2)"
    with pytest.raises(RuleError, match="written out, this has"):
        listed(f"{text} > 0")
    text = "x"
    for _ in range(20):
        text = f"points(1 if {text} between 0 and 2)"
    assert listed(f"{text} > 0").cost().instructions < 400


def test_names_in_backquotes_and_unused_ones():
    rule_list = listed(
        "`heavy` and colour in `warm`", define={"heavy": "x > 1", "unused": True}, lists={"warm": ["red"]}
    )
    assert rule_list.rules[0].when == "heavy and colour in warm"
    assert rule_list.names.definitions["unused"].text == "true"


def test_the_sign_of_a_defined_number_belongs_to_it():
    rule_list = listed("x > -limit", "x > -(limit + 1)", define={"limit": "3"})
    assert rule_list.tree(0) == Comparison((Field("x"), Number(-3.0)), (">",))
    assert rule_list.expanded(1) == "x > -(3 + 1)"


def test_what_is_known_about_a_rule_is_kept():
    given = {
        "id": "a", "when": "x > 1", "then": {"label": "yes"}, "target": 0.99, "pinned": True,
        "evidence": {"rows": 10, "right": 9, "lower": 0.6, "confidence": 0.95, "tried": 0,
                     "coverage": 0.5, "agreement": 1},
    }  # fmt: skip
    rule_list = RuleList.from_document({"rules": [given]}, SCHEMA, ["yes"])
    assert rule_list.to_document() == {"rules": [given]}
    rule = rule_list.rules[0]
    assert rule.pinned and rule.target == 0.99 and isinstance(rule.evidence, Evidence) and rule.evidence.right == 9
    assert RuleList.from_document({"rules": [given | {"pinned": False}]}, SCHEMA, ["yes"]).rules[0].pinned is False


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"target": 1.5}, "target must be a number from 0 to 1, got 1.5"),
        ({"pinned": "yes"}, "pinned must be true or false, got 'yes'"),
        ({"evidence": 3}, "evidence: expected an object, got 3"),
        ({"evidence": {"row": 3}}, "evidence: unknown key 'row'; did you mean 'rows'?"),
        ({"evidence": {"rows": 3.5}}, "evidence: rows must be a whole number of at least 0, got 3.5"),
        ({"evidence": {"rows": True}}, "evidence: rows must be a whole number"),
        ({"evidence": {"rows": -1}}, "evidence: rows must be a whole number"),
        ({"evidence": {"rows": 3, "right": 4}}, "evidence: right is more than rows"),
        ({"evidence": {"lower": 2}}, "evidence: lower must be a number from 0 to 1, got 2"),
    ],
)
def test_what_is_known_is_checked(members, message):
    rule = {"id": "a", "when": "x > 1", "then": {"label": "yes"}} | members
    with pytest.raises(RuleError) as caught:
        RuleList.from_document({"rules": [rule]}, SCHEMA, ["yes"])
    assert str(caught.value) == f"rule 'a': {message}" or message in str(caught.value)


def test_a_condition_that_grows_when_it_is_written_anew_is_refused():
    with pytest.raises(RuleError, match="canonical text has more than 100000 characters"):
        listed("x>1" + " or x>1" * 13_000)
    assert Not(parse_expression("x > 1")) == listed("not x>1").tree(0)
