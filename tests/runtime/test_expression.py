"""The language of conditions: reading, writing, and every way to be refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_samples import SCHEMA, conditions

from edgeml.errors import RuleError
from edgeml.runtime.expression import (
    MAX_EXPRESSION,
    MAX_NESTING,
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Field,
    Membership,
    Missing,
    Negate,
    Not,
    Number,
    Or,
    Source,
    Text,
    TextMatch,
    Truth,
    children,
    format_expression,
    format_name,
    nearest,
)
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.expression_types import check_condition

X, Y = Field("x"), Field("y")
TEN = "0123456789"


@settings(max_examples=250, deadline=None)
@given(conditions)
def test_canonical_text_is_read_as_the_same_tree(tree):
    text = format_expression(tree)
    again = parse_expression(text)
    assert again == tree
    assert format_expression(again) == text
    check_condition(again, SCHEMA, Source(text))


@settings(max_examples=250, deadline=None)
@given(
    st.text()
    | st.lists(
        st.sampled_from(
            "x y `a b` 1 2.5 'a' \"b\" ( ) { } [ ] , + - * / < <= == != and or not in is missing".split(" ")
        )
        | st.sampled_from(["between", "true", "starts", "with", "contains", "min", "abs", "\n"])
    ).map(" ".join)
)
def test_any_text_is_a_condition_or_a_rule_error(text):
    try:
        tree = parse_expression(text, rule="r")
    except RuleError as error:
        assert 0 <= error.position <= len(text)
        assert str(error).splitlines()[-1].strip() == "^"
    else:
        assert parse_expression(format_expression(tree)) == tree


@settings(max_examples=150, deadline=None)
@given(st.text(), st.text(min_size=1))
def test_any_name_and_any_text_can_be_written(text, name):
    tree = Comparison((Field(name), Text(text)), ("==",))
    assert parse_expression(format_expression(tree)) == tree


@settings(max_examples=150, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_read_back(value):
    tree = parse_expression(format_expression(Number(value)))
    assert isinstance(tree, Number) and json.dumps(tree.value) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "tree", "canonical"),
    [
        ("x", X, None),
        ("größe", Field("größe"), None),
        ("`x`", X, "x"),
        ("`and`", Field("and"), None),
        ("`a``b c`", Field("a`b c"), None),
        ("min", Field("min"), None),
        ("1.50", Number(1.5), "1.5"),
        (".5", Number(0.5), "0.5"),
        ("3.", Number(3), "3"),
        ("1E3", Number(1000), "1000"),
        ("- -3", Number(3), "3"),
        ("--x", Negate(Negate(X)), None),
        ("'it\\'s'", Text("it's"), '"it\'s"'),
        ('"a\\"\\\\\\n\\t\\r\\u00e5\\U0001f600"', Text('a"\\\n\t\rå\U0001f600'), '"a\\"\\\\\\n\\t\\rå\U0001f600"'),
        ('"\\u0000\\u200b"', Text("\0\u200b"), None),
        ("x<1", Comparison((X, Number(1)), ("<",)), "x < 1"),
        ("1<x<=3!=y", Comparison((Number(1), X, Number(3), Y), ("<", "<=", "!=")), "1 < x <= 3 != y"),
        ("x in [1,-2,]", Membership(X, (Number(1), Number(-2))), "x in {1, -2}"),
        ("x not in ('a', true)", Membership(X, (Text("a"), Truth(True)), True), 'x not in {"a", true}'),
        ("x between 1 and 2 and y", And((Between(X, Number(1), Number(2)), Y)), None),
        ("x not between -1 and y+1", Not(Between(X, Number(-1), Arithmetic((Y, Number(1)), ("+",)))),
         "not x between -1 and y + 1"),
        ("x is missing or y is not missing", Or((Missing(X), Missing(Y, True))), None),
        ("x starts with 'a'", TextMatch(X, "starts with", ("a",)), 'x starts with "a"'),
        ("x ends with 'a'", TextMatch(X, "ends with", ("a",)), 'x ends with "a"'),
        ("x contains 'a'", TextMatch(X, "contains", ("a",)), 'x contains "a"'),
        ("x or y and not x", Or((X, And((Y, Not(X))))), None),
        ("(x or y) and x", And((Or((X, Y)), X)), None),
        ("not x == y", Not(Comparison((X, Y), ("==",))), None),
        ("not (x and y)", Not(And((X, Y))), None),
        ("x - y - x", Arithmetic((X, Y, X), ("-", "-")), None),
        ("x - (y - x)", Arithmetic((X, Arithmetic((Y, X), ("-",))), ("-",)), None),
        ("x + y * x / 2", Arithmetic((X, Arithmetic((Y, X, Number(2)), ("*", "/"))), ("+",)), None),
        ("(x + y) * -x", Arithmetic((Arithmetic((X, Y), ("+",)), Negate(X)), ("*",)), None),
        ("x*-2", Arithmetic((X, Number(-2)), ("*",)), "x * -2"),
        ("abs(x-1)", Call("abs", (Arithmetic((X, Number(1)), ("-",)),)), "abs(x - 1)"),
        ("max(x,y,1)", Call("max", (X, Y, Number(1))), "max(x, y, 1)"),
        ("((x))\n\t", X, "x"),
    ],
)  # fmt: skip
def test_reading_and_writing(text, tree, canonical):
    assert parse_expression(text) == tree
    assert format_expression(tree) == (text if canonical is None else canonical)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "expected a feature, .*, found the end"),
        ("  ", 2, "found the end"),
        ("x <", 3, "found the end"),
        ("x < )", 4, r"expected a feature.*, found '\)'"),
        ("x = 3", 2, "unexpected '=': compare with =="),
        ("x && y", 2, "write 'and'"),
        ("x || y", 2, "write 'or'"),
        ("!x", 0, "write 'not'"),
        ("x == “a”", 5, "straight quotes"),
        ("x == 'a", 5, "the string has no end"),
        ('x == "a\\"', 5, "the string has no end"),
        ("`x < 3", 0, "the name has no end"),
        ("x; y", 1, "this sign means nothing"),
        ("x % 2", 2, "this sign means nothing"),
        ("x < 1.2.3", 4, "this is not a number"),
        ("x < 12abc", 4, "this is not a number"),
        ("x < 1e999", 4, "too large for a double"),
        ("x < ٣", 4, "this sign means nothing"),
        ("x == 'a\\x'", 7, r"unknown escape \\x"),
        ("x == '\\ud800'", 6, "unknown escape"),
        ("x == '\ud800'", 6, "half a surrogate pair"),
        ("x 3", 2, "expected the end of the condition, or 'and' or 'or', found '3'"),
        ("x 'a'", 2, 'found "\'"'),
        ("x AND y", 2, "write 'and' in small letters"),
        ("x Not in {1}", 2, "write 'not' in small letters"),
        ("(x", 2, r"expected '\)', found the end"),
        ("x)", 1, r"found '\)'"),
        ("x in 3", 5, "expected a set after 'in'"),
        ("x in {}", 5, "the set is empty"),
        ("x in {1 2}", 8, "expected ',' or '}'"),
        ("x in {1]", 7, "expected ',' or '}'"),
        ("x in {-'a'}", 7, "expected a number"),
        ("x not 3", 6, "expected 'in' or 'between' after 'not'"),
        ("x is 3", 5, "expected 'missing'"),
        ("x is not 3", 9, "expected 'missing'"),
        ("x between 1", 11, "expected 'and' with the upper end"),
        ("x starts 'a'", 9, "expected 'with' after 'starts'"),
        ("x starts with 3", 14, "a string in quotes after 'starts with'"),
        ("x < 3 in {2}", 6, "'and' or 'or' after a comparison"),
        ("x in {2} == y", 9, "'and' or 'or' after a comparison"),
        ("1 + not x", 4, "put parentheses around"),
        ("x == not y", 5, "put parentheses around"),
        ("and", 0, "stands in backquotes"),
        ("missing < 3", 0, "stands in backquotes"),
        ("len(x)", 0, "there is no function len"),
        ("`abs`(x)", 5, "expected the end"),
        ("abs()", 4, "expected a feature"),
        ("abs(x, y)", 0, "takes one number"),
        ("min(x)", 0, "takes two numbers or more"),
        ("min(x, y", 8, r"expected ',' or '\)'"),
        ("__import__('os')", 0, "there is no function __import__"),
        ("x.__class__", 1, "unexpected '.'"),
        ("lambda: 3", 6, "this sign means nothing"),
        ("x < 1 and\nzz zz", 13, "expected the end"),
    ],
)
def test_what_is_no_condition(text, position, message):
    with pytest.raises(RuleError, match=message) as caught:
        parse_expression(text, rule="some-rule")
    assert (caught.value.rule, caught.value.position) == ("some-rule", position)
    head, line, caret = str(caught.value).rsplit("\n", 2)
    assert head.startswith("rule 'some-rule': ")
    assert line[caret.index("^") :][:1].strip() == text[position : position + 1].replace("\ud800", "").strip()


def test_a_long_line_is_shown_around_the_position():
    text = "x > 1 and " * 30 + "? and " + "x > 1 and " * 30
    with pytest.raises(RuleError) as caught:
        parse_expression(text)
    line, caret = str(caught.value).splitlines()[1:]
    assert len(line) < 140 and line[caret.index("^")] == "?"
    assert line.startswith("  ...") and line.endswith("...")


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("not ", ""), ("-", ""), ("abs(", ")"), ("min(1, ", ")")])
def test_nesting_is_bounded(opening, closing):
    parse_expression(opening * MAX_NESTING + "x" + closing * MAX_NESTING)
    for times in (MAX_NESTING + 1, 1000):
        with pytest.raises(RuleError, match="nested more than 64 levels"):
            parse_expression(opening * times + "x" + closing * times)


def test_height_is_bounded():
    with pytest.raises(RuleError, match="too many levels of nesting"):
        parse_expression("x or y and x < 1 + 2 * (" * 40 + "x" + ")" * 40)
    assert children(parse_expression("x")) == ()


def test_length_is_bounded():
    parse_expression("x".ljust(MAX_EXPRESSION))
    with pytest.raises(RuleError, match="has 100001 characters; at most 100000"):
        parse_expression("x".ljust(MAX_EXPRESSION + 1))
    tree = parse_expression("+".join("x" * 5000))
    assert isinstance(tree, Arithmetic) and len(tree.operands) == 5000
    assert len(parse_expression("x in {" + ",".join("1" * 4900) + "}").items) == 4900


def test_only_nodes_are_formatted():
    with pytest.raises(TypeError, match="str is no part of an expression"):
        format_expression("x")


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("zzzzz < 3", 0, "unknown feature zzzzz; there are x, `y y`, n, smoker"),
        ("x < 3 and smokr", 10, "unknown feature smokr; the nearest is smoker"),
        ("SMOKER", 0, "unknown feature SMOKER; the nearest is smoker"),
        ("True", 0, "write 'true' in small letters"),
        ("`y  y` < 3", 0, "the nearest is `y y`"),
        ("x", 0, "x, a number, is no condition; compare it, as in x > 3"),
        ("x + 1", 2, "a number, is no condition"),
        ("3", 0, "a number, is no condition"),
        ("'a'", 0, "a string, is no condition"),
        ("smoker and colour", 11, "colour, a category, is no condition; compare it with =="),
        ("not name", 4, "name, a text, is no condition"),
        ("colour < 3", 0, "< compares numbers; this is colour, a category"),
        ("3 >= name", 5, ">= compares numbers; this is name, a text"),
        ("smoker < true", 0, "< compares numbers; this is smoker, a boolean"),
        ("'a' < 'b'", 0, "< compares numbers; this is a string"),
        ("x < 3 < 'b'", 8, "< compares numbers; this is a string"),
        ("(x < 3) < 3", 3, "< compares numbers; this is a condition"),
        ("x == 'a'", 2, "x, a number, is compared with a string; write the number without quotes"),
        ("x == true", 2, "a boolean is compared with true or false"),
        ("smoker == 1", 7, "a boolean is compared with true or false"),
        ("smoker == 'yes'", 7, "smoker, a boolean, is compared with a string"),
        ("colour == 3", 7, "colour, a category, is compared with a number; put the value in quotes"),
        ("colour == red", 10, 'unknown feature red; a level stands in quotes: "red"'),
        ("colour == many", 7, "a category is compared with one of its levels in quotes, not with another"),
        ("name == `größe```", 5, "a text is compared with a string in quotes, not with another"),
        ("name == colour", 5, "name, a text, is compared with colour, a category"),
        ("'a' == 'b'", 4, "one side must be a feature"),
        ("colour == 'redd'", 10, '"redd" is no level of colour; the nearest is "red"'),
        ("'RED' != colour", 0, '"RED" is no level of colour; the nearest is "red"'),
        ("colour in {'red', 'zzz'}", 18, '"zzz" is no level of colour; its levels are "red", "green"'),
        ("many == 'zzz'", 8, r'"level 7", \.\.\.\n'),
        ("colour in {3}", 11, "colour, a category, is compared with a number"),
        ("x in {1, 'a'}", 9, "x, a number, is compared with a string"),
        ("x in {true}", 6, "a boolean is compared with true or false"),
        ("smoker in {0}", 11, "a boolean is compared with true or false"),
        ("name in {true}", 9, "name, a text, is compared with a boolean"),
        ("'a' in {'a'}", 4, "'in' follows a feature or a number, not a string"),
        ("(x < 1) in {true}", 8, "'in' follows a feature or a number, not a condition"),
        ("(x < 1) == (x < 2)", 8, "a condition is compared with nothing"),
        ("(x < 1) == true", 8, "a condition is compared with nothing"),
        ("(x < 1) is missing", 8, "'is missing' follows a feature or a number, not a condition"),
        ("'a' is missing", 4, "not a string"),
        ("true is missing", 5, "not a boolean"),
        ("smoker between 0 and 1", 0, "'between' takes numbers; this is smoker, a boolean"),
        ("x between 'a' and 1", 10, "'between' takes numbers; this is a string"),
        ("name + 1 > 0", 0, r"\+ takes numbers; this is name, a text"),
        ("-smoker > 0", 1, "a minus sign takes numbers; this is smoker, a boolean"),
        ("abs(colour) > 0", 4, r"abs\(\) takes numbers; this is colour, a category"),
        ("max(x, (x < 1)) > 0", 10, r"max\(\) takes numbers; this is a condition"),
        ("colour starts with 'r'", 7, "'starts with' follows a text; this is colour, a category; list its levels"),
        ("x contains 'r'", 2, "'contains' follows a text; this is x, a number"),
        ("'a' ends with 'r'", 4, "'ends with' follows a text; this is a string"),
    ],
)
def test_what_does_not_fit_the_schema(text, position, message):
    with pytest.raises(RuleError, match=message) as caught:
        check_condition(parse_expression(text), SCHEMA, Source(text, "some-rule"))
    assert (caught.value.rule, caught.value.position) == ("some-rule", position)


def test_the_nearest_name():
    assert nearest("ISLAND", ["island", "Island"]) == "island"
    assert nearest("x", []) is None
    assert nearest("bill", ["island", "bill_mm"]) == "bill_mm"
    assert nearest("a" * 100_000, ["b"]) is None
    assert format_name("a b") == "`a b`" and format_name("_a1") == "_a1" and format_name("1a") == "`1a`"
