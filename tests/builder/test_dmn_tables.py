"""The public conformance tests of decision tables (DMN TCK), as far as a rule's answer can say what they ask.

Facts restated from https://github.com/dmn-tck/tck, TestCases/compliance-level-2, under the names of its folders: the
cells of each table, and of each test the inputs and the result. docs/rule-tables.md lists what there is besides.
"""

import pytest

from edgeml.builder.rule_document import read_rules
from edgeml.builder.rule_reasons import RuleExplainer, answer_of
from edgeml.runtime.schema import Feature, Schema

SCHEMA = Schema(
    (
        Feature("Age", "number"),
        Feature("RiskCategory", "category", levels=("High", "Low", "Medium")),
        Feature("isAffordable", "boolean"),
        Feature("NumOfYears", "number"),
    )
)
APPROVAL = "[Age, RiskCategory, isAffordable, label]"
YES, NO = "Approved", "Declined"
EXCLUSIVE = [
    '[">=18", "\\"Medium\\",\\"Low\\"", true, Approved]',
    '["<18", "\\"Medium\\",\\"Low\\"", true, Declined]',
    '["-", "\\"High\\"", true, Declined]',
    '["-", "-", false, Declined]',
]
OVERLAPPING = [EXCLUSIVE[0], '["<18", "-", "-", Declined]', '["-", "\\"High\\"", "-", Declined]', EXCLUSIVE[3]]
ASKED = [(18, "Medium", True, YES), (17, "Medium", True, NO), (18, "High", True, NO)]
YEARS = {">1": 100, ">2": 200, ">3": 300, ">5": 500}


def answers(hit, columns, rows, more, labels):
    listed = "".join(f"\n      - {row}" for row in rows)
    text = f"tables:\n  t:\n    hit: {hit}\n    columns: {columns}\n    rows:{listed}\n{more}"
    read = read_rules(text, SCHEMA, labels)
    assert not read.mistakes, "\n".join(map(str, read.mistakes))
    explainer = RuleExplainer(read.rules, read.document, SCHEMA)

    def answer(record):
        fired = explainer.fires(record)
        return None if fired < 0 else answer_of(read.rules.rules[fired])

    return answer


@pytest.mark.parametrize(
    ("hit", "rows", "more"),
    [
        ("unique", EXCLUSIVE, ""),  # 0004-simpletable-U
        ("any", OVERLAPPING, ""),  # 0005-simpletable-A
        ("priority", OVERLAPPING, "    priority: [Approved, Declined]\n"),  # 0006-simpletable-P1
    ],
)
def test_approval(hit, rows, more):
    answer = answers(hit, APPROVAL, rows, more, (YES, NO))
    for age, risk, affordable, expected in ASKED:
        assert answer({"Age": age, "RiskCategory": risk, "isAffordable": affordable}) == expected


def test_0108_first_hitpolicy():
    # Two outputs there: one label here. The default outputs are those of no row.
    rows = ['[">=18", Medium, true, "Approved Best"]', '[">=12", Medium, true, "Approved Standard"]']
    rows.append('["<12", Low, true, "Declined Standard"]')
    answer = answers("F", APPROVAL, rows, "", ("Approved Best", "Approved Standard", "Declined Standard"))
    for age, risk, expected in [
        (19, "Medium", "Approved Best"),
        (13, "Medium", "Approved Standard"),
        (10, "Low", "Declined Standard"),
    ]:
        assert answer({"Age": age, "RiskCategory": risk, "isAffordable": True}) == expected


def test_0114_min_collect_hitpolicy():
    rows = ['[">1", 98.83]', '[">2", 150.21]', '[">3", 205.43]', '[">4", 64.32]']
    answer = answers("C<", "[NumOfYears, value]", rows, "", None)
    for years, expected in [(5, 64.32), (3, 98.83), (4, 98.83)]:
        assert answer({"NumOfYears": years}) == expected
    # The other end, and no row at all (null there, the model here).
    assert answers("C>", "[NumOfYears, value]", rows, "", None)({"NumOfYears": 5}) == 205.43
    assert answer({"NumOfYears": 1}) is None


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        ("C+", {6: 1100, 3: 300, 2: 100}),  # 0115-sum-collect-hitpolicy
        ("C#", {6: 4, 2: 1, 3: 2}),  # 0116-count-collect-hitpolicy
    ],
)
def test_sum_and_count(hit, expected):
    # The sum is an answer there; here it decides between answers, so each sum is a threshold of its own.
    rows = [f'["{test}", {points}]' for test, points in YEARS.items()]
    bands = "".join(f"      - {{at_least: {total}, value: {total}}}\n" for total in sorted(expected.values())[::-1])
    answer = answers(hit, "[NumOfYears, points]", rows, f"    then:\n{bands}", None)
    for years, total in expected.items():
        assert answer({"NumOfYears": years}) == total
