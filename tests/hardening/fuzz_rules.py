"""Rule documents out of a fuzzer's bytes: those taken are written back as themselves, and answer as the slow oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import atheris
from oracles.rule_oracle import truth_of

from edgeml.errors import RuleError
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.rule_parts import Question
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

# Mostly words of the language, so that there are conditions among them; 'matches' is RE2's, which has no oracle here.
WORDS = (
    *"and or not in is missing between true false starts ends with contains word ignoring case if".split(),
    *"x n b c t l m d e points( count( min( max( abs( length( word_count( ( ) { } [ ] , ,".split(),
    *"+ - * / == != < <= > >= 0 1 2 -1 0.5 1e300 [km/h] [mph]".split(),
    *(
        '"red"',
        '"a"',
        '"some"',
        '"some words"',
        "'größe'",
        "``",
        "`x`",
        "x > 1",
        "b",
        "1 if b",
        '3 if t contains word "a"',
    ),
)
VALUES = ("x", "n", "1", "-0.5", "length(t)", "e", "x + n", "x / n", "max(x, 1)", "-x", "word_count(t) * 2")
TESTS = (
    "b", "not b", "d", "true", "c in l", "n not in {m, 2}", "n is missing", "t is not missing", 't == ""', "c == 'red'",
    "t contains word l", "t contains {l, 'o'}", "t starts with 'so'", "t contains word 'A' ignoring case", "b == false",
    "t ends with l ignoring case", 't contains word "some words"', "t contains word 'a'", "t contains word 'words'",
)  # fmt: skip
SIGNS = ("<", "<=", ">", ">=", "==", "!=")
RECORDS = (
    {"x": 1.0, "n": 2, "b": True, "c": "red", "t": "some words a"},
    {"x": None, "n": None, "b": None, "c": None, "t": None},
    {"x": -0.5, "n": 0, "b": False, "c": "?", "t": ""},
)


def rule_documents(schema: Schema) -> Callable[[bytes], None]:
    """A target: lists, definitions and conditions over the features x, n, b, c and t."""
    reader = RecordReader(schema)
    frame = reader.new_frame(len(RECORDS))
    reader.read_many(frame, list(RECORDS))

    def value(given: Any, depth: int) -> str:
        kind = given.ConsumeIntInRange(0, 3) if depth else 3
        if kind == 0:
            terms = [
                f"{given.ConsumeIntInRange(-3, 3)} if {condition(given, depth - 1)}"
                for _ in range(given.ConsumeIntInRange(1, 3))
            ]
            return f"points({', '.join(terms)})"
        if kind == 1:
            return f"count({condition(given, depth - 1)}, {condition(given, depth - 1)})"
        return VALUES[given.ConsumeIntInRange(0, len(VALUES) - 1)]

    def condition(given: Any, depth: int) -> str:
        kind = given.ConsumeIntInRange(0, 6) if depth else 6
        if kind < 2:
            joint = "and" if kind else "or"
            return f"({condition(given, depth - 1)} {joint} {condition(given, depth - 1)})"
        if kind == 2:
            return f"not {condition(given, depth - 1)}"
        if kind == 3:
            low, middle, high = (value(given, depth - 1) for _ in range(3))
            return f"{middle} between {low} and {high}"
        if kind < 6:
            chain = [value(given, depth - 1)]
            for _ in range(kind - 3):
                chain += [SIGNS[given.ConsumeIntInRange(0, 5)], value(given, depth - 1)]
            return f"({' '.join(chain)})"
        return TESTS[given.ConsumeIntInRange(0, len(TESTS) - 1)]

    def text(given: Any) -> str:
        if given.ConsumeIntInRange(0, 3):
            return condition(given, 4)
        parts = []
        for _ in range(given.ConsumeIntInRange(1, 24)):
            at = given.ConsumeIntInRange(0, len(WORDS))
            parts.append(WORDS[at] if at < len(WORDS) else given.ConsumeUnicodeNoSurrogates(4))
        return " ".join(parts)

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        document: dict[str, Any] = {
            "lists": {"l": ["red"], "m": [1, 0.5]},
            "define": {"d": condition(given, 3), "e": value(given, 3)},
            "rules": [{"when": text(given), "then": "abstain"} for _ in range(given.ConsumeIntInRange(1, 3))],
        }
        if given.ConsumeIntInRange(0, 7) == 0:
            document["define"]["f"] = text(given)
        try:
            rules = RuleList.from_document(document, schema)
        except RuleError:
            return
        again = RuleList.from_document(rules.to_document(), schema)
        assert again.to_document() == rules.to_document(), document
        for index in range(len(rules.rules)):
            tree = rules.tree(index)
            assert parse_expression(rules.expanded(index)) == tree, document
            expected = [truth_of(tree, record) for record in RECORDS]
            assert Question(tree, schema).truths(frame.capsule, len(RECORDS)) == expected, (document, expected)
        assert rules.cost().longest <= rules.cost().instructions

    return target
