"""Lists, definitions and units, as far as checking, tables, lints, explanations and layout have to know them."""

from edgeml.builder.rule_document import read_rules
from edgeml.builder.rule_examples import failed_examples
from edgeml.builder.rule_format import format_rules
from edgeml.builder.rule_lints import lint_rules
from edgeml.builder.rule_reasons import RuleExplainer
from edgeml.runtime.schema import Feature, Schema

SCHEMA = Schema(
    (
        Feature("speed", "number", unit="km/h", min=0, max=400, missing="allow"),
        Feature("n", "integer", min=0, max=10),
        Feature("remark", "text"),
        Feature("island", "category", levels=("Biscoe", "Dream", "Torgersen")),
    )
)
GOOD = """lists:
  grain: [wheat, corn, maize]
  isles: [Dream, Biscoe]
define:
  fast: speed > 30 [mph]
  busy: fast and n >= 5
rules:
  - {id: a, when: remark contains word grain and busy, then: {label: A}}
  - {id: b, when: busy and remark contains word "corn", then: {label: B}}
  - {id: c, when: island in isles and not fast, then: {label: B}}
"""


def read(text):
    made = read_rules(text, SCHEMA, ("A", "B"))
    assert not made.mistakes, "\n".join(map(str, made.mistakes))
    return made


def test_lints_look_through_names():
    made = lint_rules(read(GOOD + "  - {id: d, when: busy and n < 5, then: abstain}\n"), SCHEMA).found
    assert [(lint.kind, lint.rule, lint.others) for lint in made] == [("subsumed", "b", ("a",)), ("never", "d", ())]


def test_what_nobody_uses():
    text = GOOD.replace("island in isles and not fast", "n > 3").replace("and busy", "").replace("busy and ", "")
    made = [lint for lint in lint_rules(read(text), SCHEMA).found if lint.kind == "unused"]
    assert [(lint.rule, str(lint.place)) for lint in made] == [
        ("isles", "rules:3:3"),
        ("fast", "rules:5:3"),
        ("busy", "rules:6:3"),
    ]


def test_a_unit_within_the_bounds_of_a_feature():
    [lint] = lint_rules(read("- {id: a, when: 'n > 3 and speed > 300 [mph]', then: abstain}\n"), SCHEMA).found
    assert lint.kind == "never" and "within the schema's bounds of speed" in lint.message


def test_explanations_follow_definitions():
    made = read(GOOD)
    told = RuleExplainer(made.rules, made.document, SCHEMA).explain({"speed": 20, "n": 7, "remark": "corn"})
    assert told.reasons[0].parts == ("busy is false: fast is false: speed > 30 [mph] is false: 20",)
    told = RuleExplainer(made.rules, made.document, SCHEMA).explain({"speed": 100, "n": 7, "remark": "corn"})
    assert told.fires == "a" and told.reasons[0].parts[0] == 'remark contains word grain is true: "corn"'


def test_tables_with_names_and_units():
    text = """lists: {grain: [wheat, corn], isles: [Dream]}
define: {busy: n >= 5}
tables:
  t:
    columns: [speed, busy, remark, island, label]
    rows:
      - ["> 30 [mph]", true, contains word grain, isles, A]
      - ["<= 48 [km/h]", "-", "-", "-", B]
"""
    when = [rule.when for rule in read(text).rules.rules]
    assert when[0] == "speed > 48.28032 [km/h] and busy and remark contains word grain and island in isles"
    overlapping = text.replace("<= 48 [km/h]", "<= 31 [mph]")
    [mistake] = read_rules(overlapping, SCHEMA, ("A", "B")).mistakes
    assert "rows 1 and 2 both fit" in str(mistake) and '"n": ' in str(mistake)


def test_examples_with_names():
    text = GOOD + "examples:\n  - {record: {speed: 100, n: 7, remark: maize}, rule: a}\n"
    assert failed_examples(read(text), SCHEMA) == []


def test_mistakes_in_lists_and_definitions():
    text = """lists:
  grain: [wheat, 3]
  n: [a]
define:
  fast: speed > 30 [kg]
  slow: not fast and sped < 3
  fine: n > 3
rules:
  - {id: a, when: remark contains word grain and fine and x > 1, then: {label: A}}
  - {id: b, when: fast and slow, then: {label: B}}
  - {id: c, when: remark contains grian, then: {label: B}}
"""
    found = [str(each).split("\n")[0] for each in read_rules(text, SCHEMA, ("A", "B")).mistakes]
    assert [each.split(": ")[0] for each in found] == [
        "rules:2:18",
        "rules:3:3",
        "rules:5:17",
        "rules:6:22",
        "rules:11:35",
    ]
    words = ["list 'grain': value 2 is a number", "'n' is a feature", "km/h", "unknown feature sped", "no list grian"]
    assert all(word in each for word, each in zip(words, found, strict=True))


def test_layout():
    text = GOOD.replace("speed > 30 [mph]", "speed>30[mph]").replace("fast and n >= 5", "'fast and (n>=5)'")
    assert format_rules(text) == GOOD
