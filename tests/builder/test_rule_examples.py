"""Examples beside rules, and why a rule does or does not fire; the parts are asked of the kernel."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from oracles.rule_oracle import truth_of
from oracles.rule_samples import SCHEMA as EVERY
from oracles.rule_samples import conditions, records

from edgeml.builder.rule_document import read_rules
from edgeml.builder.rule_examples import count_examples, failed_examples
from edgeml.builder.rule_reasons import RuleExplainer
from edgeml.builder.rule_source import parse_rules
from edgeml.builder.rule_truth import RuleTruth
from edgeml.errors import RuleError, SchemaError
from edgeml.runtime.expression import format_expression
from edgeml.runtime.schema import Feature, Schema

SCHEMA = Schema(
    (
        Feature("x", "number", min=0, max=100),
        Feature("y", "number", missing="allow"),
        Feature("island", "category", levels=("Biscoe", "Dream", "Torgersen")),
        Feature("remark", "text"),
    )
)
RULES = """rules:
  - id: a
    when: x < 3 and island == "Dream"
    then: abstain
  - id: b
    when: not (x / y > 3 or remark contains "oil")
    then: {label: A}
  - id: card
    when: points(3 if x > 10, 1 if y is missing, -2 if remark contains word "oil") >= 2
    then: {label: B}
"""


def failures(examples, beside=""):
    rules = RULES.replace("then: abstain\n", f"then: abstain\n{beside}") if beside else RULES
    read = read_rules(rules + examples, SCHEMA, ("A", "B"))
    assert not read.mistakes, "\n".join(map(str, read.mistakes))
    return [str(each) for each in failed_examples(read, SCHEMA)]


def explainer():
    read = read_rules(RULES, SCHEMA, ("A", "B"))
    return RuleExplainer(read.rules, read.document, SCHEMA)


def test_examples_that_hold():
    beside = "    examples:\n      fires: [{x: 2, island: Dream}]\n      silent: [{x: 2}, {x: 4, island: Dream}]\n"
    text = """examples:
  - {record: {x: 50, y: 100, remark: none}, rule: b}
  - {record: {x: 50, y: 100, remark: none}, label: A}
  - {record: {x: 50, y: 1, remark: none}, label: B}
  - {record: {x: 1, island: Dream}, answers: model}
  - {record: {x: 5, y: 1, remark: oil}, answers: model}
"""
    assert failures(text, beside) == []
    read = read_rules(RULES.replace("then: abstain\n", f"then: abstain\n{beside}") + text, SCHEMA, ("A", "B"))
    assert count_examples(read) == 8
    assert len(parse_rules(RULES + text, SCHEMA, ("A", "B")).rules) == 3
    assert "examples" not in str(read.document)


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (
            "fires: [{x: 4, island: Dream}]",
            "rule 'a' must answer, and no rule fires, so the model answers; a: x < 3 is",
        ),
        ("fires: [{island: Dream}]", "a: x < 3 is unknown: x is missing"),
        ("silent: [{x: 1, island: Dream}]", "must be silent, and its condition is true: x < 3 is true: 1; island =="),
        ("fires: [{x: 400}]", "field 'x': above_max: expected a finite number from 0 to 100"),
        ("fires: [{z: 4}]", "unknown_field"),
        ("fires: [3]", "expected a record"),
        ("fires: 3", "beside rule 'a': fires must be a list of records"),
        ("fire: []", "beside rule 'a': expected an object with 'fires' or 'silent'"),
    ],
)
def test_examples_beside_a_rule_that_fail(beside, message):
    [failed] = failures("", f"    examples:\n      {beside}\n")
    assert message in failed and failed.startswith(("rules:6:", "rules:5:"))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            "{record: {x: 50, y: 100, remark: none}, label: B}",
            "label 'B' must come of it, and rule 'b' answers 'A': x / y",
        ),
        (
            "{record: {x: 1, island: Dream}, rule: b}",
            "rule 'b' must answer, and rule 'a' abstains, so the model answers",
        ),
        ("{record: {x: 50, y: 100, remark: none}, answers: model}", "the model must answer, and rule 'b' answers 'A'"),
        ("{record: {x: 1}, answers: box}", "answers: expected model, got 'box'"),
        ("{record: {x: 1}, rule: c}", "there is no rule 'c'"),
        ("{record: {x: 1}}", "expected one of rule, label, value, answers beside 'record', got none"),
        ("{record: {x: 1}, rule: a, label: A}", "got rule, label"),
        ("{rule: a}", "expected an object with 'record'"),
        ("3", "expected an object with 'record'"),
    ],
)
def test_examples_of_a_file_that_fail(example, message):
    [failed] = failures(f"examples:\n  - {example}\n")
    assert message in failed and failed.startswith("rules:12:5: example: ")


def test_a_bundle_is_not_built_of_rules_whose_examples_fail():
    with pytest.raises(RuleError, match="2 mistakes in the rules:\nrules:12:5: example: rule 'b' must answer"):
        parse_rules(RULES + "examples:\n  - {record: {x: 1}, rule: b}\n  - 3\n", SCHEMA, ("A", "B"))
    with pytest.raises(RuleError, match="'examples' must be a list"):
        parse_rules(RULES + "examples: 3\n", SCHEMA, ("A", "B"))


def test_explanations():
    told = explainer().explain({"x": 50, "y": 1, "remark": "an oil tank"})
    assert told.fires is None and told.answer is None
    assert list(map(str, told.reasons)) == [
        "a: false: x < 3 is false: 50",
        "b: false: x / y > 3 is true: x = 50, y = 1",
        'card: false: points(3 terms) >= 2 is false: 1: 3 if x > 10, -2 if remark contains word "oil"',
    ]
    told = explainer().explain({"x": 50, "remark": "a tank"})
    assert (told.fires, told.answer) == ("card", "B")
    assert [reason.truth for reason in told.reasons] == ["false", "unknown", "true"]
    assert told.reasons[1].parts == ("x / y > 3 is unknown: x = 50, y is missing",)
    told = explainer().explain({}, "a")
    assert told.reasons[0].parts == (
        "x < 3 is unknown: x is missing",
        'island == "Dream" is unknown: island is missing',
    )
    with pytest.raises(KeyError):
        explainer().explain({}, "z")
    with pytest.raises(SchemaError):
        explainer().explain({"x": "many"})


def test_long_values_and_many_parts_are_cut():
    source = [{"id": "o", "when": " or ".join(f'remark contains "{n}x"' for n in range(9)), "then": "abstain"}]
    read = read_rules(source, SCHEMA, ("A",))
    [reason] = RuleExplainer(read.rules, read.document, SCHEMA).explain({"remark": "y" * 100}).reasons
    assert len(reason.parts) == 7 and reason.parts[-1] == "and 3 more"
    assert reason.parts[0].endswith('yyy..."')


WORDS = {True: 1, False: 0, None: -1}


@settings(max_examples=60, deadline=None)
@given(conditions, records)
def test_truth_is_the_oracles(node, record):
    assert RuleTruth(EVERY).ask_one(format_expression(node), record) == WORDS[truth_of(node, record)]


@settings(max_examples=60, deadline=None)
@given(conditions, records)
def test_every_condition_has_an_explanation_of_its_truth(node, record):
    read = read_rules([{"id": "r", "when": format_expression(node), "then": "abstain"}], EVERY, ("A",))
    told = RuleExplainer(read.rules, read.document, EVERY).explain(record, "r")
    truth = truth_of(node, record)
    assert (told.fires == "r") == (truth is True)
    [reason] = told.reasons
    assert reason.truth == {True: "true", False: "false", None: "unknown"}[truth] and reason.parts


def test_the_examples_of_the_document():
    document = (Path(__file__).resolve().parents[2] / "docs" / "rules-command.md").read_text()
    block = document.split("```yaml\n")[1].split("```")[0]
    names = ("bill_depth_mm", "flipper_length_mm")
    schema = Schema(tuple(Feature(name, "number") for name in names))
    read = read_rules(block, schema, ("Adelie", "Gentoo"))
    assert not read.mistakes and failed_examples(read, schema) == [] and count_examples(read) == 6
