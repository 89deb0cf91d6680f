"""Conditions against what others have agreed on: DMN's test cases and JsonLogic, where operators overlap.

``tests/data/rule_conformance.json`` holds facts: a case of theirs by its name, what it comes to there (``expected``;
null is that of FEEL), and the condition and record that say the same here. Where the answer here is another one,
``truth`` gives it, and ``why`` is in docs/rule-conformance.md too.
"""

import json
import math
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from json_logic import jsonLogic

from edgeml.errors import RuleError
from edgeml.runtime.expression import (
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Field,
    Membership,
    Not,
    Number,
    Or,
    Source,
    Text,
    TextMatch,
    format_expression,
)
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.expression_types import check_condition
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rule_parts import Question
from edgeml.runtime.schema import Feature, Schema

CASES = json.loads((Path(__file__).parents[1] / "data" / "rule_conformance.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "rule-conformance.md").read_text()
SCHEMA = Schema(
    tuple(
        Feature(name, kind, missing="allow")
        for name, kind in [("x", "number"), ("y", "number"), ("p", "boolean"), ("q", "boolean"), ("t", "text")]
    )
)
READER = RecordReader(SCHEMA)
BLANK = dict.fromkeys(SCHEMA.names)


def truth(condition, record):
    tree = parse_expression(condition) if isinstance(condition, str) else condition
    check_condition(tree, SCHEMA, Source(format_expression(tree)))
    frame = READER.new_frame(1)
    READER.read_many(frame, [BLANK | record])
    return Question(tree, SCHEMA).truth(frame.capsule)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['source'][:16]} {case['case']}")
def test_agreed_cases(case):
    assert truth(case["ours"], case["record"]) is case.get("truth", case["expected"])
    if "truth" in case:
        assert case["truth"] is not case["expected"] and case["why"] in " ".join(PAGE.split())


def test_every_source_is_on_the_page():
    for source in {case["source"].split(",")[0] for case in CASES}:
        assert source in PAGE


@pytest.mark.parametrize("condition", ['x == "1"', "p == 1", 'x < "3"', "p == x", "p + 1 > 1"])
def test_kinds_that_others_convert_or_call_null_are_errors(condition):
    with pytest.raises(RuleError):
        check_condition(parse_expression(condition), SCHEMA, Source(condition))


# Random conditions over records without gaps, answered by another implementation: json-logic-qubit.

numbers = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
words = st.sampled_from(["a", "ab", "ba", "aba", "b"])
values = st.recursive(
    st.builds(Number, numbers) | st.sampled_from([Field("x"), Field("y")]),
    lambda inner: (
        st.builds(Call, st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(lambda a, b, sign: Arithmetic((a, b), (sign,)), inner, inner, st.sampled_from("+-*/"))
    ),
    max_leaves=4,
)
orders = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
tests = (
    st.builds(lambda a, sign, b: Comparison((a, b), (sign,)), values, orders, values)
    | st.builds(lambda a, b, c, sign: Comparison((a, b, c), (sign, sign)), values, values, values, st.sampled_from("<"))
    | st.builds(Between, values, values, values)
    | st.builds(Membership, values, st.lists(st.builds(Number, numbers), min_size=1).map(tuple))
    | st.builds(Membership, st.just(Field("t")), st.lists(words.map(Text), min_size=1).map(tuple))
    | st.builds(lambda word: TextMatch(Field("t"), "contains", (word,)), words)
    | st.sampled_from([Field("p"), Field("q")])
)
conditions = st.recursive(
    tests,
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts)))
    ),
    max_leaves=6,
)
records = st.fixed_dictionaries({"x": numbers, "y": numbers, "p": st.booleans(), "q": st.booleans(), "t": words})


def json_logic_of(node):
    """The same in JsonLogic."""
    match node:
        case Number(value) | Text(value):
            return value
        case Field(name):
            return {"var": name}
        case Call(function, arguments):
            return {function: [json_logic_of(argument) for argument in arguments]}
        case Arithmetic((left, right), (sign,)):
            return {sign: [json_logic_of(left), json_logic_of(right)]}
        case Comparison((left, right), (sign,)):
            return {{"==": "===", "!=": "!=="}.get(sign, sign): [json_logic_of(left), json_logic_of(right)]}
        case Comparison(operands, (sign, _)):
            return {sign: [json_logic_of(operand) for operand in operands]}
        case Between(operand, low, high):
            return {"<=": [json_logic_of(part) for part in (low, operand, high)]}
        case Membership(operand, items):
            return {"in": [json_logic_of(operand), [item.value for item in items]]}
        case TextMatch(operand, _, (text,)):
            return {"in": [text, json_logic_of(operand)]}
        case Not(operand):
            return {"!": [json_logic_of(operand)]}
        case And(operands) | Or(operands):
            return {"and" if isinstance(node, And) else "or": [json_logic_of(operand) for operand in operands]}
    raise AssertionError(node)


@settings(max_examples=60, deadline=None)
@given(conditions, records)
def test_without_gaps_another_implementation_answers_alike(tree, record):
    try:
        expected = jsonLogic(json_logic_of(tree), record)
    except ZeroDivisionError:
        assume(False)
    assume(not isinstance(expected, float) or math.isfinite(expected))
    assert truth(tree, record) is bool(expected), format_expression(tree)
