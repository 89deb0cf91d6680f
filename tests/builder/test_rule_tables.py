"""Decision tables become plain rules: unary tests, hit policies, overlaps, gaps, CSV."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.builder.rule_document import read_rules
from edgeml.builder.rule_truth import FALSE, TRUE, UNKNOWN, RuleTruth
from edgeml.builder.table_checks import first_gap, first_overlaps
from edgeml.builder.unary_tests import Column, condition_of, operand, split
from edgeml.errors import RuleError
from edgeml.runtime.schema import Feature, Schema

LEVELS = ("Biscoe", "Dream", "Torgersen")
SCHEMA = Schema(
    (
        Feature("x", "number", missing="allow"),
        Feature("n", "integer", min=0, max=9),
        Feature("ringed", "boolean", missing="allow"),
        Feature("island", "category", levels=LEVELS, missing="allow"),
        Feature("remark", "text"),
    )
)
TRUTH = RuleTruth(SCHEMA)


def lowered(text, labels=("A", "B", "C"), schema=SCHEMA):
    read = read_rules(text, schema, labels)
    assert not read.mistakes, "\n".join(map(str, read.mistakes))
    return [(rule.id, rule.when, rule.label if rule.label is not None else rule.value) for rule in read.rules.rules]


def mistakes(text, labels=("A", "B", "C")):
    return [str(each).split("\n")[0] for each in read_rules(text, SCHEMA, labels).mistakes]


def table(hit, *rows, columns="[x, label]", more=""):
    listed = "".join(f"\n      - {row}" for row in rows)
    return f"tables:\n  t:\n    hit: {hit}\n    columns: {columns}\n    rows:{listed}\n{more}"


# As DMN's unary tests (specification 1.3, 7.3.8 and 10.3.2.7), from the cell to what is true of which value.
CELLS = [
    ("x", "-", {1: True, None: True}),
    ("x", "", {1: True}),
    ("x", "5", {5: True, 5.5: False, None: None}),
    ("x", "-5", {-5: True, 5: False}),
    ("x", "5, 7", {5: True, 7: True, 6: False}),
    ("x", "< 5", {4: True, 5: False, None: None}),
    ("x", "<= 5", {5: True}),
    ("x", "!= 5", {5: False, 6: True, None: None}),
    ("x", "< 5, > 7", {4: True, 6: False, 8: True, None: None}),
    ("x", "[1..5]", {1: True, 5: True, 0.5: False, None: None}),
    ("x", "[1..5)", {1: True, 5: False}),
    ("x", "(1..5]", {1: False, 5: True}),
    ("x", "]1..5[", {1: False, 3: True, 5: False}),
    ("x", "[-1.5..2.5]", {-1.5: True, 2.5: True, 3: False}),
    ("x", "[1..2], [4..5], 9", {1: True, 3: False, 4.5: True, 9: True}),
    ("x", "between 1 and 3", {1: True, 3: True, 4: False}),
    ("x", "not between 1 and 3", {1: False, 4: True, None: None}),
    ("x", "not(5, 7)", {5: False, 6: True, None: None}),
    ("x", "not(< 5)", {4: False, 5: True, None: None}),
    ("x", "missing", {None: True, 1: False}),
    ("x", "not missing", {None: False, 1: True}),
    ("x", "missing, < 0", {None: True, -1: True, 1: False}),
    ("x", "in {1, 2}", {1: True, 3: False}),
    ("x", "> 2 * 3", {6: False, 7: True}),
    ("ringed", "true", {True: True, False: False, None: None}),
    ("ringed", "false", {True: False, False: True, None: None}),
    ("island", "Dream", {"Dream": True, "Biscoe": False, None: None}),
    ("island", '"Dream"', {"Dream": True, "Biscoe": False}),
    ("island", "Dream, Biscoe", {"Dream": True, "Biscoe": True, "Torgersen": False}),
    ("island", '"Dream", Biscoe', {"Dream": True, "Biscoe": True, "Torgersen": False}),
    ("island", 'not("Dream")', {"Dream": False, "Biscoe": True, None: None}),
    ("island", "not(Dream, Biscoe)", {"Dream": False, "Torgersen": True}),
    ("remark", '"a, b"', {"a, b": True, "a": False}),
    ("remark", 'contains word "x"', {"an x": True, "axe": False, None: None}),
    ("remark", 'contains {"x, y", "z"}, starts with "q"', {"x, y": True, "quiz": True, "x": False}),
    ("remark", 'not(contains "x" ignoring case)', {"X": False, "y": True}),
]


@pytest.mark.parametrize(("name", "cell", "expected"), CELLS)
def test_cells(name, cell, expected):
    feature = SCHEMA.feature(name)
    condition = condition_of(cell, Column(name, feature.levels or (), feature.kind == "text"))
    told = {True: TRUE, False: FALSE, None: UNKNOWN}
    for value, truth in expected.items():
        assert TRUTH.ask_one(condition or "true", {name: value}) == told[truth], (condition, value)


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("x", "abc", "'abc' is no test; a text stands in quotes: write '-'"),
        ("x", "1 2", "'1 2' is no test: write"),
        ("x", "1,,2", "nothing stands before or after a comma"),
        ("x", "[1..5", "'.1..5' is no test"),
        ("island", "Drem", "'Drem' is no level of island; its levels are Biscoe, Dream, Torgersen"),
        ("remark", "free", "'free' is no test; a text stands in quotes"),
    ],
)
def test_cells_that_are_none(name, cell, message):
    feature = SCHEMA.feature(name)
    with pytest.raises(ValueError, match=message):
        condition_of(cell, Column(name, feature.levels or (), feature.kind == "text"))


def test_parts_of_a_cell():
    assert split("[1..2), ]3..4[ , 'a,b', {1, 2}, f(1, 2)") == ["[1..2)", "]3..4[", "'a,b'", "{1, 2}", "f(1, 2)"]
    assert operand(" x+1 ") == "(x + 1)" and operand("`x`") == "x" and operand("abs( x )") == "abs(x)"


def test_first_keeps_the_order_and_stands_where_it_is_placed():
    text = (
        "rules:\n- {id: a, when: x < 0, then: abstain}\n- table: t\n- {id: z, when: x > 90, then: abstain}\n"
        + table("first", '["< 5", A]', '["-", B]')
    )
    ids = [("a", "x < 0", None), ("t.row-1", "x < 5", "A"), ("t.row-2", "true", "B"), ("z", "x > 90", None)]
    assert lowered(text) == ids
    without = text.replace("- table: t\n", "")
    assert lowered(without) == [ids[0], ids[3], ids[1], ids[2]]


def test_every_output():
    text = table("F", '["< 5", A, 0.9, why]', '["-", B, "", ""]', columns="[x, label, score, note]")
    read = read_rules(text, SCHEMA, ("A", "B"))
    assert [(rule.score, rule.note) for rule in read.rules.rules] == [(0.9, "why"), (None, None)]
    assert lowered(table("F", '["< 5", 2.5]', '["-", 3]', columns="[x, value]"), None)[0] == ("t.row-1", "x < 5", 2.5)


def test_inputs_are_expressions():
    text = table("F", '["> 3", true, A]', columns='["x / n", "x > 2 or ringed", label]')
    assert lowered(text) == [("t.row-1", "x / n > 3 and (x > 2 or ringed)", "A")]


def test_unique_rows_must_not_overlap():
    text = table("unique", '["< 5", A]', '["[4..6)", B]', '["[6..7]", B]', '["missing", A]', '["[7..8]", A]')
    assert mistakes(text) == [
        "rules:7:9: table 't': rows 1 and 2 both fit {\"x\": 4.0}; make them exclusive, or use the hit policy 'first'",
        "rules:10:9: table 't': rows 3 and 5 both fit {\"x\": 7.0}; make them exclusive, or use the hit policy 'first'",
    ]


def test_rows_of_any_may_overlap_where_they_answer_alike():
    assert len(lowered(table("A", '["< 5", A]', '["< 4", A]', '["> 6", B]'))) == 3
    [mistake] = mistakes(table("any", '["< 5", A]', '["> 4", B]'))
    assert "rows 1 and 2 both fit" in mistake and "answers alike wherever rows overlap" in mistake


def test_priority_orders_by_what_is_answered():
    rows = ('["< 5", C]', '["< 9", A]', '["-", B]', '["< 2", A]')
    text = table("P", *rows, more="    priority: [A, B, C]\n")
    assert [rule[0] for rule in lowered(text)] == ["t.row-2", "t.row-4", "t.row-3", "t.row-1"]
    assert "row 1: 'C' is not in 'priority'" in mistakes(text.replace("[A, B, C]", "[A, B]"))[0]
    assert "'priority' must list" in mistakes(table("priority", *rows))[0]


def test_collect_min_and_max_are_orders():
    rows = ('["< 5", 2]', '["-", 3]', '["< 9", 1]')
    for hit, order in (("C<", [3, 1, 2]), ("collect max", [2, 1, 3])):
        made = lowered(table(hit, *rows, columns="[x, value]"), None)
        assert [rule[0] for rule in made] == [f"t.row-{number}" for number in order]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table("R", '["-", A]'), "rules:3:10: table 't': hit: rule order gives a list of answers"),
        (table("O", '["-", A]'), "output order gives a list"),
        (table("C", '["-", A]'), "collect without sum, count, min or max gives a list of answers"),
        (table("best", '["-", A]'), "there is no policy 'best'; there are 'unique', 'U'"),
        (table("F", '["-"]'), "rules:6:9: table 't', row 1: there are 1 cells for 2 columns"),
        (table("F", '["-", D]'), "rules:6:15: rule 't.row-1': then: 'D' is no label"),
        (table("F", '["-", ""]'), "row 1: expected a label or a value"),
        (table("F", '["< island", A]'), "rules:6:13: table 't', row 1, column 'x': < compares numbers"),
        (table("F", '["-", A]', columns="[y, label]"), "rules:4:15: table 't', column 'y': unknown feature y"),
        (table("F", '["-", A]', columns="[x +, label]"), "rules:4:18: table 't', column 'x +': expected a feature"),
        (table("F", '["-", A]', columns="[label, label]"), "column 'label' stands twice"),
        (table("F", '["-", 1, A]', columns="[x, points, label]"), "points are for the hit policy 'collect sum'"),
        (table("F", "3"), "row 1: expected a list of one cell for each column"),
        (table("F", '["-", A]', more="    prioritty: [A]\n"), "unknown key 'prioritty'; did you mean 'priority'?"),
        (table("F", '["-", A]', more="    then: {label: A}\n"), "'then' has a meaning only with the hit policy"),
        (table("C+", '["-", 1]', columns="[x, points]"), "'collect sum' needs 'then', a list of"),
        ("tables: {t: {hit: F, file: nowhere.csv}}", "nowhere.csv cannot be read: No such file"),
        ("tables: {T: {hit: F}}", "rules:1:10: table 'T': a name has small letters"),
        ("tables: {t: {hit: F}}", "'columns' must be a list that is not empty, or name a 'file'"),
        ("tables: []", "tables: expected an object of tables by name"),
    ],
)
def test_what_is_refused(text, message):
    assert message in "\n".join(mistakes(text))


def test_csv_files(tmp_path):
    rules = tmp_path / "r.yaml"
    rules.write_text("tables:\n  t: {hit: unique, file: t.csv}\n")
    (tmp_path / "t.csv").write_bytes(
        '\ufeffx,island,remark,label,score\r\n< 5,"Dream, Biscoe",,A,0.5\r\n\r\n>= 5,-,"contains ""a""",B,\r\n'.encode()
    )
    read = read_rules(rules, SCHEMA, ("A", "B"))
    assert [(rule.when, rule.label, rule.score) for rule in read.rules.rules] == [
        ('x < 5 and island in {"Dream", "Biscoe"}', "A", 0.5),
        ('x >= 5 and remark contains "a"', "B", None),
    ]
    (tmp_path / "t.csv").write_text("x,island,label\n< 5,Drem,A\n\n> z,Dream,B\n-,-,D\n")
    found = [str(each).split("\n")[0] for each in read_rules(rules, SCHEMA, ("A", "B")).mistakes]
    assert found[0].startswith(
        f"{tmp_path / 't.csv'}:2: table 't', row 1, column 'island': 'Drem' is no level of island"
    )
    assert found[1].startswith(f"{tmp_path / 't.csv'}:4: table 't', row 2, column 'x': unknown feature z")
    (tmp_path / "t.csv").write_text("x,label\n-,D\n")
    [mistake] = read_rules(rules, SCHEMA, ("A", "B")).mistakes
    assert str(mistake).startswith(f"{tmp_path / 't.csv'}:2: rule 't.row-1': then: 'D' is no label")
    (tmp_path / "t.csv").write_text("n,label\n3,0\n4,1\n")
    assert lowered(rules, [0, 1]) == [("t.row-1", "n == 3", 0), ("t.row-2", "n == 4", 1)]
    (tmp_path / "t.csv").write_text('x,label\n"-,A\n')
    assert "this is no CSV" in str(read_rules(rules, SCHEMA, ("A",)).mistakes[0])


SMALL = Schema(
    (
        Feature("n", "integer", min=0, max=4, missing="allow"),
        Feature("island", "category", levels=LEVELS),
        Feature("ringed", "boolean"),
    )
)
RECORDS = [
    {"n": n, "island": island, "ringed": ringed}
    for n, island, ringed in itertools.product([0, 1, 2, 3, 4, None], LEVELS, [True, False])
]
n_cells = st.sampled_from(["-", "< 2", "[1..3)", "2", "missing", "not(2)", "> 3, < 1", "not missing", ">= 2"])
island_cells = st.sampled_from(["-", "Dream", "Dream, Biscoe", 'not("Dream")'])
ringed_cells = st.sampled_from(["-", "true", "false"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(n_cells, island_cells, ringed_cells), min_size=1, max_size=5))
def test_overlaps_and_gaps_are_all_there_are(cells):
    inputs = ["n", "island", "ringed"]
    rows = [
        [
            condition_of(cell, Column(name, SMALL.feature(name).levels or ()))
            for name, cell in zip(inputs, row, strict=True)
        ]
        for row in cells
    ]
    truth = RuleTruth(SMALL)
    frame = truth.frame(RECORDS)
    conditions = [" and ".join(each for each in row if each) or "true" for row in rows]
    fits = np.array([truth.ask(condition, frame, len(RECORDS)) == TRUE for condition in conditions])
    found = list(first_overlaps(inputs, rows, SMALL, {}, most=100))
    pairs = {(a, b) for b in range(len(rows)) for a in range(b) if (fits[a] & fits[b]).any()}
    assert {(first, second) for first, second, _ in found} == pairs
    for first, second, record in found:
        at = RECORDS.index(record)
        assert fits[first][at] and fits[second][at]
    gap = first_gap(inputs, rows, SMALL, {})
    free = ~fits.any(axis=0)
    assert (gap is not None) == free.any()
    if gap is not None:
        assert free[RECORDS.index(gap)]
        with_value = any(free[at] for at, record in enumerate(RECORDS) if record["n"] is not None)
        assert (gap["n"] is not None) == with_value


def test_columns_that_read_the_same_feature_are_looked_at_together():
    text = table("unique", '["< 5", "> 5", A]', '["< 5", "<= 5", B]', columns="[x, x * 1, label]")
    assert mistakes(text) == []
    text = table("unique", '["< 5", "-", A]', '["-", "> 4", B]', columns="[x, x * 1, label]")
    assert "rows 1 and 2 both fit" in mistakes(text)[0]


def test_the_tables_of_the_document():
    document = (Path(__file__).resolve().parents[2] / "docs" / "rule-tables.md").read_text()
    schema = Schema(
        (
            Feature("flipper_length_mm", "number", missing="allow"),
            Feature("body_mass_g", "number", missing="allow"),
            Feature("island", "category", levels=LEVELS),
            Feature("remark", "text"),
        )
    )
    blocks = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        read = read_rules(block, schema, ("Adelie", "Chinstrap", "Gentoo"))
        assert not read.mistakes, "\n".join(map(str, read.mistakes))
        assert read.tables


def test_a_table_is_an_error_of_the_whole():
    with pytest.raises(RuleError, match="tables"):
        raise read_rules("tables: 3", SCHEMA, ("A",)).mistakes[0]
