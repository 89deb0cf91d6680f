"""edgeml rules check, format, explain and test.

In this process, since a process that loads the builder takes seconds to start; and once as a shell runs it.
"""

import json
import os
import sys

import pytest
from cli.shell import run as run_in_a_shell
from click.testing import CliRunner

from edgeml.builder.rule_format import format_rules
from edgeml.cli import main
from edgeml.errors import RuleError

SCHEMA = {
    "features": [
        {"name": "x", "kind": "number", "min": 0, "max": 100},
        {"name": "island", "kind": "category", "levels": ["Biscoe", "Dream"]},
        {"name": "remark", "kind": "text"},
    ]
}
MESSY = """# penguins
rules:
  - when:   x<3   and island=="Dream"   # small
    id: a
    then: {label: A}
  # the others
  - then: abstain
    id: b
    when: 'not x>3 or remark contains "oil"'
    note: why
    examples:
      fires: [{x: 1, island: Biscoe}]
  - id: c
    when: >
      x < 3
      and x < 2
    then: {label: B}
"""
NEAT = MESSY.replace('x<3   and island=="Dream"', 'x < 3 and island == "Dream"').replace("when:   x", "when: x")
NEAT = NEAT.replace(
    "  - then: abstain\n    id: b\n    when: 'not x>3 or remark contains \"oil\"'\n",
    '  - id: b\n    when: not x > 3 or remark contains "oil"\n    then: abstain\n',
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    (folder / "s.json").write_text(json.dumps(SCHEMA))
    (folder / "r.yaml").write_text(MESSY)
    (folder / "d.csv").write_text("x,island,remark,other\n50,Dream,no,1\n1,Biscoe,an oil,2\n,Dream,x y z,3\n")
    (folder / "bad.yaml").write_text("- {id: a, when: x <, then: {label: A}}\n- {id: b, when: y > 1, then: abstain}\n")
    return folder


def run(*words, cwd, stdin=None):
    before = os.getcwd()
    os.chdir(cwd)
    try:
        done = CliRunner().invoke(main, words, input=stdin)
    finally:
        os.chdir(before)
    done.returncode = done.exit_code
    return done


def told(folder, *words, status=0, stdin=None):
    done = run("rules", *words, cwd=folder, stdin=stdin)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_check(folder):
    text = told(folder, "check", "r.yaml", "--schema", "s.json")
    assert "r.yaml:14:11: rule 'c' is never asked: rule 'b' before it is true whenever this one is" in text
    assert text.rstrip().endswith("r.yaml: 3 rules, 1 examples, no mistakes, 1 remarks")
    found = json.loads(told(folder, "check", "r.yaml", "--schema", "s.json", "--strict", "--json", status=1))
    assert (
        found["mistakes"] == [] and found["remarks"][0]["kind"] == "subsumed" and found["remarks"][0]["others"] == ["b"]
    )
    text = told(folder, "check", "bad.yaml", "--data", "d.csv", "--text", "remark", status=1)
    assert (
        "bad.yaml:1:20: rule 'a': expected a feature" in text and "bad.yaml:2:17: rule 'b': unknown feature y" in text
    )
    text = told(folder, "check", "r.yaml", "--schema", "s.json", "--data", "d.csv")
    assert "rule 'a': it answers none of the 3 records [silent]" in text


def test_labels_of_a_table_in_a_file(folder):
    (folder / "t.csv").write_text("x, label\n< 5, A\n>= 5, B\n")
    (folder / "t.yaml").write_text("tables: {t: {hit: unique, file: t.csv}}\n")
    text = told(folder, "check", "t.yaml", "--schema", "s.json")
    assert "[gap]" not in text and "2 rules, 0 examples, no mistakes" in text


def test_check_without_the_solver(folder, monkeypatch):
    for name in ("edgeml.builder.rule_lints", "edgeml.builder.rule_logic"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "z3", None)
    done = run("rules", "check", "r.yaml", "--schema", "s.json", cwd=folder)
    assert done.returncode == 0 and "no remarks, for they need z3-solver" in done.stderr
    assert "3 rules, 1 examples, no mistakes, no remarks" in done.stdout


def test_check_with_a_bundle(built):
    (built / "iris.yaml").write_text(
        "- {id: a, when: a > 3, then: {label: 7}}\n- {id: b, when: d > 2, then: {label: 0}}\n"
    )
    text = told(built, "check", "iris.yaml", "--bundle", "iris.edgeml", status=1)
    assert "iris.yaml:1:38: rule 'a': then: 7 is no label; the labels are 0, 1, 2" in text


def test_in_a_shell(folder):
    done = run_in_a_shell("rules", "check", "bad.yaml", "--schema", "s.json", cwd=folder)
    assert done.returncode == 1 and "bad.yaml:1:20: rule 'a': expected a feature" in done.stdout and not done.stderr


def test_wrong_usage(folder):
    done = run("rules", "check", "r.yaml", cwd=folder)
    assert done.returncode == 2 and "give --bundle, --schema or --data" in done.stderr
    done = run("rules", "explain", "r.yaml", "{}", "--rule", "z", "--schema", "s.json", cwd=folder)
    assert done.returncode == 2 and "there is no rule 'z'" in done.stderr
    done = run("rules", "explain", "r.yaml", '{"x": 400}', "--schema", "s.json", cwd=folder)
    assert done.returncode == 1 and "record 0: record 0, field 'x': above_max" in done.stderr
    done = run("rules", "test", "bad.yaml", "--schema", "s.json", cwd=folder)
    assert done.returncode == 1 and "error: 2 mistakes in the rules" in done.stderr


def test_explain(folder):
    text = told(folder, "explain", "r.yaml", '{"x": 50, "island": "Dream", "remark": "no"}', "--schema", "s.json")
    assert text.splitlines()[:3] == [
        "record 0: no rule fires; the model answers",
        "  a: false",
        "    x < 3 is false: 50",
    ]
    lines = told(folder, "explain", "r.yaml", "d.csv", "--schema", "s.json", "--json").splitlines()
    assert [json.loads(line)["fires"] for line in lines] == [None, "b", None]
    text = told(folder, "explain", "r.yaml", "-", "--rule", "c", "--schema", "s.json", stdin='{"x": 1}\n')
    assert "line 1: rule b abstains; the model answers" in text and "x < 2 is true: 1" in text


def test_test(folder):
    assert "1 examples, none failed" in told(folder, "test", "r.yaml", "--schema", "s.json")
    (folder / "f.yaml").write_text(MESSY.replace("x: 1, island: Biscoe", "x: 1, island: Dream"))
    text = told(folder, "test", "f.yaml", "--schema", "s.json", status=1)
    assert "f.yaml:12:15: example: rule 'b' must answer, and rule 'a' answers 'A'" in text and "1 failed" in text
    failed = json.loads(told(folder, "test", "f.yaml", "--schema", "s.json", "--json", status=1))["failed"]
    assert failed[0]["line"] == 12 and failed[0]["rule"] == "b"


def test_format(folder):
    assert told(folder, "format", "r.yaml") == NEAT
    told(folder, "format", "r.yaml", "--check", status=1)
    (folder / "n.yaml").write_text(MESSY)
    told(folder, "format", "n.yaml", "--write")
    assert (folder / "n.yaml").read_text() == NEAT
    told(folder, "format", "n.yaml", "--check")


def test_layouts():
    assert format_rules(NEAT) == NEAT
    assert format_rules('-   when:   "`a` < 3"\n    then: abstain\n') == "- when: a < 3\n  then: abstain\n"
    assert format_rules("- when: 'true'\n  then: abstain\n") == "- when: 'true'\n  then: abstain\n"
    kept = "- when: |\n    x  <  3 and\n    y < 2\n  then: abstain\n"
    assert format_rules(kept) == kept
    broken = "- when: x <\n  then: abstain\n"
    assert format_rules(broken) == broken
    long = "- when: " + " and ".join(f"x > {number}" for number in range(200)) + "\n  then: abstain\n"
    assert format_rules(long) == long
    with pytest.raises(RuleError, match="rules:1:1: no YAML|rules:1:"):
        format_rules("[")
