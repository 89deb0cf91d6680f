"""Every mistake in a file of rules is told, with the file, the line and the column where it is."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgeml.builder.rule_document import read_rules
from edgeml.builder.rule_source import MOST_MISTAKES, parse_rules
from edgeml.builder.written_document import read_json, read_yaml, scalar_index
from edgeml.errors import RuleError
from edgeml.runtime.schema import Feature, Schema

DATA = Path(__file__).resolve().parents[1] / "data"
TEN = DATA / "ten_mistakes.yaml"
PENGUINS = ("Adelie", "Chinstrap", "Gentoo")
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
SCHEMA = Schema(
    (
        *[Feature(name, "number", missing="allow") for name in NUMBERS],
        Feature("ringed", "boolean", missing="allow"),
        Feature("island", "category", levels=("Biscoe", "Dream", "Torgersen")),
        Feature("remark", "text"),
    )
)
# Line, column, what stands there, and words of the message.
EXPECTED = [
    (3, 9, "Gentoo", "rule number 1: id 'Gentoo' must be a string of at most 200 small letters"),
    (7, 21, '"Torgerson"', 'rule \'torgersen\': "Torgerson" is no level of island; the nearest is "Torgersen"'),
    (12, 11, "bill_depth <", "rule 'shallow-bill': unknown feature bill_depth; the nearest is bill_depth_mm"),
    (15, 26, '\\"heavy', "rule 'heavy': > compares numbers; this is a string"),
    (18, 32, "'", "rule 'unfinished': expected a string in quotes after 'contains word', found the end"),
    (22, 19, "Chinstrip", "rule 'unknown-label': then: 'Chinstrip' is no label; the nearest is 'Chinstrap'"),
    (25, 37, "90}", "rule 'too-sure': then: score must be a number from 0 to 1, got 90"),
    (26, 9, "unfinished", "rule 'unfinished': rule number 5 has the same id; ids must be distinct"),
    (29, 5, "nota", "rule 'unfinished': unknown key 'nota'; did you mean 'note'?"),
    (37, 17, '"[3500', "table 'islands', row 2, column 'body_mass_g': '[3500..5000' is no test"),
]


def test_ten_mistakes():
    read = read_rules(TEN, SCHEMA, PENGUINS)
    lines = TEN.read_text().splitlines()
    assert read.rules is None and len(read.mistakes) == len(EXPECTED) == 10
    for mistake, (line, column, there, words) in zip(read.mistakes, EXPECTED, strict=True):
        assert (mistake.line, mistake.column) == (line, column), str(mistake)
        assert lines[line - 1][column - 1 :].startswith(there)
        first, shown, caret = str(mistake).split("\n")
        assert first.startswith(f"{TEN}:{line}:{column}: {words}")
        # The caret stands under what is wrong; an end has nothing to point at.
        assert caret.strip() == "^" and shown[caret.index("^") :].startswith(there.strip("'\\").split("..")[0][:5])


def test_one_error_has_them_all():
    with pytest.raises(RuleError) as caught:
        parse_rules(TEN, SCHEMA, PENGUINS)
    text = str(caught.value)
    assert text.startswith("10 mistakes in the rules:\n")
    assert all(f":{line}:{column}: {words}" in text for line, column, _, words in EXPECTED)


def test_more_mistakes_than_anybody_reads():
    with pytest.raises(RuleError) as caught:
        parse_rules([{"when": "x >", "then": "abstain"}] * 70, SCHEMA, PENGUINS)
    text = str(caught.value)
    assert text.startswith("70 mistakes") and text.endswith("... and 20 more") and MOST_MISTAKES == 50
    assert "rule 'rule-50': expected a feature" in text and "rule-51" not in text


def test_several_mistakes_of_one_rule():
    source = "- {id: 3, when: x <, then: {label: a, score: 2}, nota: 1, coverage: 7}\n- when: 3\n- no\n"
    found = [
        (each.line, each.column, str(each).split("\n")[0]) for each in read_rules(source, SCHEMA, PENGUINS).mistakes
    ]
    assert [place[:2] for place in found] == [
        (1, 8),
        (1, 20),
        (1, 36),
        (1, 46),
        (1, 50),
        (1, 69),
        (2, 3),
        (2, 9),
        (3, 3),
    ]
    assert found[0][2].endswith("begin with a letter or a digit") and "rule number 1: expected" in found[1][2]
    assert "rule number 3: expected an object" in found[8][2]


def test_python_lists_have_no_places():
    read = read_rules([{"when": "y >", "then": "abstain"}, {"when": "true"}], SCHEMA, PENGUINS)
    assert [each.line for each in read.mistakes] == [0, 0]
    assert str(read.mistakes[0]).startswith("rule 'rule-1': expected a feature")


def test_json_has_places_too(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"rules": [\n  {"id": "a", "when": "island == \\"Drem\\"", "then": "abstain"}\n]}')
    [mistake] = read_rules(path, SCHEMA, PENGUINS).mistakes
    assert str(mistake).startswith(f"{path}:2:34: rule 'a': \"Drem\" is no level")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rules: 3", "rules: expected a list of rules, got 3"),
        ("rules: []\nrulez: []", "rules:2:1: unknown key 'rulez' beside 'rules'; there are rules, lists, define"),
        ("rules:\n- table: t", "rules:2:10: there is no table 't' under 'tables'; there are none"),
        ("rules:\n- {table: t, id: b}\ntables: {}", "rules:2:11: an entry that places a table has the key 'table' and"),
    ],
)
def test_mistakes_around_rules(source, message):
    with pytest.raises(RuleError) as caught:
        parse_rules(source, SCHEMA, PENGUINS)
    assert message in str(caught.value)


MARKS = st.sampled_from(list("ab <>='\"\\\n\t#:é-`{}[]") + ["\U0001f427", "\x07", "  ", "x y"])


@given(st.lists(MARKS, max_size=30).map("".join), st.sampled_from([None, "'", '"', "|", ">"]), st.integers(20, 80))
def test_characters_of_a_scalar_are_found_in_every_style(value, style, width):
    text = yaml.dump({"when": value}, default_style=style, width=width, allow_unicode=True)
    node = yaml.compose(text, Loader=yaml.SafeLoader).value[0][1]
    assert node.value == value
    for offset, mark in enumerate(value):
        index = scalar_index(node, text, offset)
        assert index is not None and node.start_mark.index <= index <= node.end_mark.index
        if not mark.isspace():
            there = text[index : index + 10]
            assert there.startswith(mark) or there.startswith(("\\", "''")), (mark, there)


@given(st.text(max_size=30))
def test_whatever_a_scalar_holds_the_place_is_inside(value):
    for text in (yaml.dump({"when": value}), f'{{"when": {re.sub(r"[^ -~]", "?", repr(value))}}}'):
        try:
            written = read_yaml(text, "r")
        except RuleError:
            continue
        held = written.document["when"]
        for offset in range(len(held) + 1 if isinstance(held, str) else 0):
            place = written.place(("when",), offset=offset)
            assert 1 <= place.line <= text.count("\n") + 1 and 1 <= place.column <= len(place.text) + 1
            assert str(place).startswith("r:") and "^" in place.caret()


def test_places_of_parts_that_are_not_there():
    written = read_yaml("a: [1, {b: 2}]\nc: x", "n")
    assert str(written.place(("a", 1, "b"))) == "n:1:12"
    assert str(written.place(("a", 1, "b"), key=True)) == "n:1:9"
    assert str(written.place(("a", 7))) == str(written.place(("a",))) == "n:1:4"
    assert str(written.place(("z", "y"))) == "n:1:1"
    assert str(read_json('{"a": "\\ud83d\\udc27"}', "j").place(("b",))) in ("j", "j:1:1")
    assert written.place(("c",), offset=1).caret() == "\n  c: x\n      ^"
