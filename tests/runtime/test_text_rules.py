"""Rules over texts: what they mean, how they are written, what is refused, and what a box without RE2 does."""

import random
import re
import sys

import numpy as np
import pytest
from oracles.rule_oracle import first_rule

from edgeml.errors import RequirementError, RuleError
from edgeml.runtime import regular_expressions, rule_compiler
from edgeml.runtime.expression import format_expression
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.regular_expressions import literals_of, matcher_of
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Feature, Schema
from edgeml.runtime.text_scans import FEW_PARTS, TextScans

SCHEMA = Schema(
    (
        Feature("x", "number", missing="allow"),
        Feature("word", "text", missing="allow"),
        Feature("matches", "text", missing="allow"),
        Feature("colour", "category", levels=("red", "green")),
    )
)
THREE = Schema(tuple(Feature(name, "text") for name in ("word", "matches", "other")))
READER = RecordReader(SCHEMA)


def listed(*texts, schema=SCHEMA):
    return RuleList.from_document({"rules": [{"when": text, "then": {"label": "a"}} for text in texts]}, schema, ("a",))


def fires(rules, **values):
    """Number of the rule that answers, by both ways of asking."""
    record = {"x": None, "word": None, "matches": None, "colour": "red"} | values
    frame = READER.new_frame()
    READER.read(frame, record)
    out = np.full(1, 99, dtype=np.int32)
    rules.match(frame.capsule, out)
    assert rules.match_one(frame.capsule) == out[0]
    return int(out[0])


@pytest.mark.parametrize(
    ("condition", "text", "truth"),
    [
        ("word contains word 'free'", "get it free!", True),
        ("word contains word 'free'", "freedom", False),
        ("word contains word 'free'", "Free", False),
        ("word contains word 'free' ignoring case", "FREE", True),
        ("word contains word 'free money'", "free, money", True),
        ("word contains word 'free money'", "free the money", False),
        ("word contains word {'prize', 'free money'}", "a prize", True),
        ("not word contains word {'prize', 'free money'}", "a price", True),
        ("not word contains word 'a'", None, False),
        ("word contains word 'a'", None, False),
        ("word contains word 'a' or true", None, True),
        ("word contains word 'straße' ignoring case", "Gute STRAẞE", True),
        ("word contains word 'strasse' ignoring case", "straße", False),
        ("word contains word 'café'", "le café.", True),
        ("word contains word 'caf'", "le café.", False),
        ("word contains {'ab', 'cd'}", "xcdx", True),
        ("word contains 'ÄB' ignoring case", "xäbx", True),
        ("word starts with {'a', 'b'}", "bc", True),
        ("word starts with 'ÉA' ignoring case", "éab", True),
        ("not word ends with {'a', 'b'}", "bc", True),
        ("not word ends with {'a', 'b'}", None, False),
        ("word ends with {'x', 'K'} ignoring case", "ab\u212a", True),
        ("word matches 'b+c|d'", "abbc", True),
        ("word matches '^b+c$'", "abbc", False),
        ("word matches 'B+C' ignoring case", "abbc", True),
        ("not word matches 'b+c'", None, False),
        ("not word matches {'b+c', 'x+'}", "abc", False),
        ("word matches 'free|money\\\\.'", "money.", True),
        ("word matches 'free|money\\\\.'", "money", False),
        ("length(word) == 3", "日本語", True),
        ("word_count(word) > 2 and length(word) < 20", "one two three", True),
        ("word_count(word) == 0", "...", True),
        ("length(word) < 100", None, False),
        ("not length(word) < 100", None, False),
        ("length(word) is missing", None, True),
        ("length(word) / word_count(word) > 3", "four", True),
        ("length(word) + length(word) == 8 and length(word) in {4}", "four", True),
    ],
)
def test_what_a_condition_over_a_text_means(condition, text, truth):
    rules = listed(condition)
    assert (fires(rules, word=text) == 0) == truth
    if "matches" not in condition or not rules.needs_re2:
        tree = parse_expression(condition)
        assert first_rule([tree], {"word": text}) == (0 if truth else -1)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("word contains word 'a b'", 'word contains word "a b"'),
        ("word contains word ['a','b',] ignoring case", 'word contains word {"a", "b"} ignoring case'),
        ("`word` starts with ('a') ignoring case", 'word starts with "a" ignoring case'),
        ("matches matches 'a+' and matches == 'b'", 'matches matches "a+" and matches == "b"'),
        ("length( word )>2", "length(word) > 2"),
    ],
)
def test_the_words_of_texts_are_no_names_taken_from_features(given, canonical):
    tree = parse_expression(given)
    assert format_expression(tree) == canonical and parse_expression(canonical) == tree
    assert listed(given).rules[0].when == canonical


@pytest.mark.parametrize(
    ("condition", "position", "message"),
    [
        ("x contains word 'a'", 2, "'contains word' follows a text; this is x, a number"),
        ("x matches 'a'", 2, "'matches' follows a text; this is x, a number"),
        ("colour matches 'a'", 7, "this is colour, a category; list its levels with 'in'"),
        ("length(x) > 1", 7, "length() takes a text feature; this is x, a number"),
        ("word_count(colour) > 1", 11, "word_count() takes a text feature; this is colour, a category"),
        ("length('a') > 1", 7, "length() takes a text feature; this is a string"),
        ("length(word, word) > 1", 0, "length() takes one text, got 2"),
        ("length(word)", 0, "is no condition; compare it"),
        ("len(word) > 1", 0, "there is no function len; there are abs, min, max, length, word_count, points and count"),
        ("word contains word ''", 19, "a word begins and ends with a letter"),
        ("word contains word {'a', '$5'}", 25, '"$5": a word begins and ends with a letter, a digit or _; look for'),
        (f"word contains word '{'a' * 251}'", 19, "at most 250 characters and 32 words"),
        (f"word contains word '{'a ' * 33}b'", 19, "at most 250 characters and 32 words"),
        ("word contains '' ignoring case", 14, "every text has this; remove it"),
        ("word starts with {'a', ''}", 23, "every text has this; remove it"),
        (f"word contains '{'a' * 1001}' ignoring case", 14, "at most 1000 characters"),
        ("word matches ''", 13, "every text matches this; remove it"),
        ("word matches 'a('", 13, "no expression that RE2 takes: missing ): a("),
        ("word matches '(?=a)b'", 13, "no expression that RE2 takes"),
        (f"word matches '{'a+' * 501}'", 13, "an expression has at most 1000 characters"),
        ("word contains word {'a', 3}", 25, "'contains word' takes strings in quotes only"),
        ("word contains word 3", 19, "expected a string in quotes after 'contains word'"),
        ("word contains word x", 19, "there is no list x; name one under 'lists'; a level or a text stands in quotes"),
        ("word contains words 'a'", 14, "expected a string in quotes after 'contains'"),
        ("word contains 'a' ignoring", 18, "expected the end of the condition"),
    ],
)
def test_mistakes_are_pointed_at(condition, position, message):
    with pytest.raises(RuleError) as caught:
        listed(condition)
    assert message in str(caught.value)
    assert caught.value.position == position


def test_two_hundred_rules_over_one_text_are_one_test_and_one_scan(monkeypatch):
    made = []
    monkeypatch.setattr(rule_compiler, "RuleProgram", lambda **members: made.append(members))
    rule_compiler.compile_rules([parse_expression(f'word contains word "w{i}"') for i in range(200)], SCHEMA)
    assert made[0]["code"].size == rule_compiler.FIELDS and made[0]["scans"].size == 4


def test_two_hundred_rules_among_others_answer_as_one_by_one():
    random.seed(7)
    conditions = []
    for i in range(200):
        conditions.append(f'word contains word "w{i}"' + random.choice(["", "", "", " ignoring case", " and x > 1"]))
    conditions[50] = "word contains word {'w50', 'v50'}"
    conditions[51] = "matches contains word 'w51'"
    conditions[52] = "x == 52"
    rules = listed(*conditions)
    for _ in range(300):
        text = ", ".join(random.choice(["W", "w", "v"]) + str(random.randrange(260)) for _ in range(3))
        record = {"word": text, "x": random.choice([None, 1.0, 52.0]), "matches": random.choice([None, text])}
        one_by_one = next((i for i, condition in enumerate(conditions) if fires(listed(condition), **record) == 0), -1)
        assert fires(rules, **record) == one_by_one


def test_few_parts_are_looked_for_one_by_one_and_many_at_once():
    def scans(*conditions):
        return [scan.kind for scan in TextScans([parse_expression(text) for text in conditions], SCHEMA).scans]

    few = [f"word contains 'p{i}'" for i in range(FEW_PARTS - 1)]
    assert scans(*few) == [] and scans(*few, "length(word) > 2") == ["count_characters"]
    assert scans(*few, "word contains 'q'", "word contains word 'q'") == ["parts", "words"]
    assert scans("word contains 'q' ignoring case") == ["parts_folded"]
    assert scans(*few, "matches contains 'q'") == []
    many = [f"word contains 'p{i}'" for i in range(30)]
    for conditions in (few, many, [*few, "length(word) > 20"]):
        rules = listed(*conditions)
        for i in (0, 3, 6, 29):
            text = f"xp{i}x"
            expected = next((n for n, condition in enumerate(conditions) if re.search("p[0-9]+", condition)
                             and re.search("p[0-9]+", condition)[0] in text), -1)  # fmt: skip
            assert fires(rules, word=text) == expected


def test_parts_that_are_too_many_for_a_table():
    texts = ["".join(chr(0x4E00 + (i * 37 + j * j) % 20000) for j in range(300)) for i in range(90)]
    rules = listed(*[f"word contains '{text}'" for text in texts])
    assert fires(rules, word=f"- {texts[41]} -") == 41
    with pytest.raises(RuleError, match="too long, or the patterns are too many.*use fewer or shorter texts"):
        listed(*[f"word contains '{text}' ignoring case" for text in texts])
    with pytest.raises(RuleError, match="at most 65536 texts"):
        words = [", ".join(f"'{i:x}{k:x}'" for i in range(0x1000, 0x1000 + 1300)) for k in range(51)]
        listed(*[f"word contains word {{{some}}}" for some in words])


def test_all_tables_together_have_the_room_of_one():
    # 1.9 million cells each: two fit; a third one that ignores case is refused, one that does not has another way.
    texts = ["".join(chr(0x4E00 + (i * 37 + j * j) % 20000) for j in range(300)) for i in range(30)]

    def conditions(name, ignoring=""):
        return [f"{name} contains '{text}'{ignoring}" for text in texts]

    def kinds(*rules):
        return [scan.kind for scan in TextScans([parse_expression(text) for text in rules], SCHEMA).scans]

    folded = conditions("matches", " ignoring case")
    assert kinds(*conditions("word"), *conditions("matches")) == ["parts", "parts"]
    assert kinds(*conditions("word"), *conditions("matches"), *folded) == ["parts", "parts_folded"]
    rules = listed(*conditions("word"), *conditions("matches"), *folded)
    assert fires(rules, word=texts[3]) == 3 and fires(rules, matches=texts[4]) == 34
    with pytest.raises(RuleError, match="too many together"):
        listed(*folded, *conditions("word", " ignoring case"), *conditions("other", " ignoring case"), schema=THREE)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("free money", ("free money",)),
        ("a|b\\.|c\\|d", ("a", "b.", "c|d")),
        ("a\\\\|b", ()),
        ("", ()),
        ("a|", ()),
        ("a.b", ()),
        ("\\bfree\\b", ()),
        ("\\d", ()),
        ("(a|b)", ()),
        ("é|日本", ("é", "日本")),
    ],
)
def test_expressions_that_are_only_texts(pattern, texts):
    assert literals_of(pattern) == texts
    assert (
        listed(f"word matches '{pattern.replace(chr(92), chr(92) * 2)}'").needs_re2 == (not texts) if pattern else True
    )


def test_a_machine_without_re2(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    assert fires(listed("word matches 'free|prize'", "word contains word 'b'"), word="a prize") == 0
    with pytest.raises(RequirementError, match=r"google-re2; install edgeml\[re2\]"):
        listed("word matches 'fre+'")


def test_expressions_that_are_too_large_together():
    with pytest.raises(RuleError, match="too large for RE2 together"):
        listed(*[f"word matches '[a-z]{{1,90}}x{i}[0-9]{{1,90}}'" for i in range(700)])


def test_expressions_over_too_many_texts():
    schema = Schema(tuple(Feature(f"t{i}", "text") for i in range(9)))
    conditions = [f"t{i} matches 'a+b'" for i in range(9)]
    listed(*conditions[:8], schema=schema)
    with pytest.raises(RuleError, match="in 9 ways; at most 8 pairs of a text feature"):
        listed(*conditions, schema=schema)
    with pytest.raises(RuleError, match="in 9 ways"):
        listed(*conditions[:8], conditions[0] + " ignoring case", schema=schema)


def test_an_expression_is_checked_as_it_is_looked_for():
    # Each k stands for three characters where case is ignored, and takes several times the memory.
    pattern = f"({'k' * 300}){{800}}"
    assert regular_expressions.expression_fault(pattern, folded=False) == ""
    with pytest.raises(RuleError, match="no expression that RE2 takes: pattern too large"):
        listed(f"word matches '{pattern}' ignoring case")
    with pytest.raises(ValueError, match="kkk.*no expression that RE2 takes: pattern too large"):
        matcher_of([pattern], folded=True)


def test_an_expression_that_a_set_does_not_take(monkeypatch):
    re2 = pytest.importorskip("re2")

    class Picky:
        def Add(self, pattern):
            raise re2.error(f"failed to add {pattern!r} to Set")

    monkeypatch.setattr(re2.Set, "SearchSet", lambda options: Picky())
    with pytest.raises(ValueError, match="'a.b': no expression that RE2 takes: failed to add 'a.b' to Set"):
        matcher_of(["a.b"], folded=False)
    with pytest.raises(RuleError, match="failed to add"):
        listed("word matches 'a.b'")


def test_matching_is_bounded_by_memory_and_time():
    # Backtracking would take longer than the universe has; an automaton made in advance, all memory.
    rules = listed("word matches '(a+)+(b|c)*d'", "word matches '(x*)*y'", "word matches 'a.{200}z'")
    assert rules.needs_re2 and regular_expressions.MAX_MEMORY == 8 << 20
    assert fires(rules, word="a" * 50_000) == -1
    assert fires(rules, word="ab" * 20_000 + "d") == 0
