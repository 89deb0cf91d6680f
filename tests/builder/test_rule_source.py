"""Rules as people write them: files, YAML and its traps, JSON, Python lists; and the examples of docs/rules.md."""

import json
import re
from pathlib import Path

import pytest

from edgeml.builder.rule_source import MAX_BYTES, parse_rules
from edgeml.errors import RuleError
from edgeml.runtime.rules import Rule
from edgeml.runtime.schema import Feature, Schema

ROOT = Path(__file__).resolve().parents[2]
PENGUINS = ("Adelie", "Chinstrap", "Gentoo")
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "flipper length (mm)")
SCHEMA = Schema(
    (
        *[Feature(name, "number", missing="allow") for name in NUMBERS],
        Feature("ringed", "boolean", missing="allow"),
        Feature("island", "category", levels=("Biscoe", "Dream", "Torgersen")),
        Feature("remark", "text"),
    )
)
TEXT = "- id: a\n  when: bill_length_mm < 40\n  then: {label: Adelie}\n"
EXPECTED = (Rule("a", "bill_length_mm < 40", label="Adelie"),)
LISTED = [{"id": "a", "when": "bill_length_mm < 40", "then": {"label": "Adelie"}}]
DOCUMENT = (ROOT / "docs" / "rules.md").read_text()


def parsed(source, labels=PENGUINS):
    return parse_rules(source, SCHEMA, labels=labels).rules


def test_every_form_gives_the_same_rules(tmp_path):
    assert parsed(TEXT) == parsed(LISTED) == parsed({"rules": LISTED}) == parsed(tuple(LISTED)) == EXPECTED
    assert parsed(json.dumps(LISTED)) == parsed("rules:\n" + TEXT) == EXPECTED
    for name, text in (("r.yaml", TEXT), ("r.yml", "\ufeffrules:\n" + TEXT), ("r.json", json.dumps({"rules": LISTED}))):
        path = tmp_path / name
        path.write_text(text)
        assert parsed(path) == parsed(str(path)) == EXPECTED
    (tmp_path / "other.txt").write_text(TEXT)
    assert parsed(tmp_path / "other.txt") == EXPECTED


def test_no_rules_are_rules():
    assert parsed([]) == parsed("[]") == parsed("rules: []") == ()


def test_rules_of_the_models_that_come_along():
    assert len(parsed(ROOT / "models" / "penguins" / "rules.yaml")) == 4
    names = ("worst concave points", "worst radius", "worst area", "worst texture")
    schema = Schema(tuple(Feature(name, "number") for name in names))
    made = parse_rules(ROOT / "models" / "breast_cancer" / "rules.yaml", schema, ["malignant", "benign"])
    assert made.rules[0] == Rule("very-concave", "`worst concave points` > 0.2", label="malignant")


def test_examples_of_the_document():
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert [len(parsed(block)) for block in blocks] == [3, 2, 7, 3, 2]
    assert parsed(blocks[0])[0].score == 0.99 and parsed(blocks[0])[1].abstains
    assert parsed(blocks[2])[6].when == "true"


def test_the_error_of_the_document_is_the_real_one():
    shown = re.search(r"```text\n(.*?)\n```", DOCUMENT, re.DOTALL)[1]
    when = shown.splitlines()[1].strip()
    with pytest.raises(RuleError) as caught:
        parsed([{"id": "adelie-torgersen", "when": when, "then": {"label": "Adelie"}}])
    assert str(caught.value) == shown


def test_the_grammar_table_of_the_document():
    schema = Schema(
        (
            *[Feature(name, "number") for name in ("x", "y")],
            Feature("smoker", "boolean"),
            Feature("island", "category", levels=("Biscoe", "Dream")),
            Feature("name", "text"),
            Feature("remark", "text"),
        )
    )
    table = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    rows = {cells[1].strip(): cells[2] for line in table if len(cells := line.split("|")) == 5}
    examples = [
        text
        for form in ("order", "equality", "set", "range", "missing", "text", "boolean", "`not`", "`and`", "`or`")
        for text in re.findall(r"`([^`]+)`", rows[form])
    ]
    assert len(examples) == 23
    rules = [{"when": text, "then": "abstain"} for text in examples]
    document = {"lists": {"far": ["Biscoe"]}, "rules": rules}
    assert len(parse_rules(document, schema, ["a"]).rules) == len(examples)
    texts = DOCUMENT.split("## Texts")[1].split("## ")[0]
    forms = [line.split("|")[1] for line in texts.splitlines() if line.startswith("| `")]
    written = [form for cell in forms for form in re.findall(r"`(remark [^`]+)`", cell)]
    assert len(forms) == 8 and len(written) == 5
    behind = re.findall(r"`\.\.\. ([^`]+)`", "".join(forms))
    rules = [{"when": text, "then": "abstain"} for text in written]
    for form in ["contains", "contains word", "starts with", "ends with", "matches"]:
        rules += [{"when": f"remark {form} {behind[0]} {behind[1]}", "then": "abstain"}]
    assert len(parse_rules(rules, schema, ["a"]).rules) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- when: `x` > 1\n  then: abstain", "rules:1:9: no YAML: .*backquote in double quotes"),
        ("- when: 'a' == remark\n  then: abstain", "rules:1:13: no YAML: .*in quotes of the other kind"),
        ("- when: remark == a: b\n  then: abstain", "rules:1:20: .*; put a text that holds ': ' in quotes"),
        ("- when: [1\n", "rules:2:1: no YAML"),
        ("- when: a\n  then: abstain\n  when: b", "rules:3:3: key 'when' stands twice .first in line 1.; remove"),
        ("rules: []\nrules: []", "rules:2:1: key 'rules' stands twice"),
        ("- &a {when: x, then: abstain}\n- {<<: *a, id: b}", "rules:2:4: merge keys"),
        ("- {? [1] : 2}", "rules:1:6: a key must be a word"),
        ("- !!python/object/apply:os.system ['true']", "no YAML: could not determine a constructor"),
        ("- when: \x01", "no YAML: .*special characters are not allowed"),
        ("- 2020-99-99", "no YAML: month must be in"),
        ("[" * 5000, "no YAML"),
        ("rules.txt", "expected a list of rules or an object with the key 'rules', got str"),
        ("", "expected a list of rules .*, got NoneType"),
        ("rule: []", "expected an object"),
        ("- when: yes\n  then: abstain", "rule 'rule-1': when: put the condition in quotes"),
        ("- when: 3\n  then: abstain", "expected a condition as a string, got 3"),
        ("- when: island == \"Dream\"\n  then: {label: no}", "false is no label.*put the label in quotes"),
        ("- when: island == \"Dream\"\n  then: {label: 3}", "3 is no label.*put the label in quotes"),
        ("- when: island == \"Dream\"\n  then: {label: 2020-01-01}", "is no label.*put the label in quotes"),
        ("- id: b\n  when: ringed >\n  then: abstain", "rule 'b': expected a feature"),
    ],
)  # fmt: skip
def test_what_is_refused(text, message):
    with pytest.raises(RuleError, match=message):
        parsed(text, ["yes", "no"])


@pytest.mark.parametrize("source", [3, None, b"rules: []", object()])
def test_what_is_no_source(source):
    with pytest.raises(RuleError, match="expected a list of rules or an object"):
        parsed(source)


def test_what_is_wrong_with_a_file(tmp_path):
    def refused(name, data, message):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RuleError, match=message):
            parsed(tmp_path / name)

    with pytest.raises(RuleError, match="nowhere.yaml: the rules cannot be read: No such file"):
        parsed("nowhere.yaml")
    with pytest.raises(RuleError, match="cannot be read: Is a directory"):
        parsed(tmp_path)
    refused("a.yaml", b"\xff\xfe\x00", "a.yaml: the rules cannot be read: .*utf-8")
    refused("b.yaml", b"- a: 1\n  a: 2", "b.yaml:2:3: key 'a' stands twice")
    refused("c.yaml", b" " * (MAX_BYTES + 1), "c.yaml: more than 16777216 bytes")
    refused("a.json", b'{"rules": [}', "a.json:1:12: no JSON: Expecting value")
    refused("b.json", b'{"rules": [], "rules": []}', "b.json: key 'rules' stands twice")
    refused("c.json", b"[" * 100_000, "c.json: no JSON")
    refused("d.json", b"[" + b"1" * 5_000 + b"]", "d.json: no JSON: Exceeds")


def test_labels_that_look_like_something_else():
    text = '- {when: "true", then: {label: %s}}'
    assert parsed(text % '"no"', ["yes", "no"])[0].label == "no"
    assert parsed(text % "no", [False, True])[0].label is False
    assert parsed(text % "1", [0, 1])[0].label == 1
    assert parsed(text.replace("label", "value") % "3", None)[0].value == 3.0
