"""What is said of rules is so (a slow oracle asks every record), and within a fragment nothing is missed."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_oracle import truth_of

from edgeml.builder.rule_document import read_rules
from edgeml.builder.rule_lints import lint_rules
from edgeml.builder.rule_logic import TextTest, follows
from edgeml.builder.rule_truth import RuleTruth
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.schema import Feature, Schema

LEVELS = ("Biscoe", "Dream", "Torgersen")
# Every value that a record may have: what is proved of all records is proved of these.
SMALL = Schema(
    (
        Feature("n", "integer", min=0, max=3, missing="allow"),
        Feature("m", "integer", min=-1, max=1),
        Feature("ringed", "boolean", missing="allow"),
        Feature("island", "category", levels=LEVELS, unseen="allow"),
    )
)
RECORDS = [
    dict(zip(("n", "m", "ringed", "island"), each, strict=True))
    for each in itertools.product([0, 1, 2, 3, None], [-1, 0, 1], [True, False, None], [*LEVELS, "elsewhere"])
]
WIDE = Schema(
    (
        Feature("x", "number", min=0, max=100, missing="allow"),
        Feature("n", "integer", min=0, max=10),
        Feature("island", "category", levels=LEVELS),
        Feature("remark", "text"),
        Feature("ringed", "boolean"),
    )
)


def found(rules, schema=WIDE):
    read = read_rules(rules, schema, ("A", "B"))
    assert not read.mistakes, "\n".join(map(str, read.mistakes))
    made = lint_rules(read, schema)
    assert made.not_examined == []
    return made.found


def rule(when, number=0, then="A"):
    return {"id": f"r{number}", "when": when, "then": {"label": then}}


CASES = [
    ("x < 2 and x > 3", "never", "its condition can never be true; mend"),
    ("x > 200", "never", "can never be true within the schema's bounds of x"),
    ("n == 2.5", "never", "can never be true"),
    ("x is missing and x > 1", "never", "can never be true"),
    ("n is missing", "never", "can never be true"),
    ("not (x < 5 or x >= 5)", "never", "can never be true"),
    ('island == "Dream" and island != "Dream"', "never", "can never be true"),
    ('remark == "oil" and not remark contains "i"', "never", "can never be true"),
    ('remark contains word "oil price" and not remark contains "price"', "never", "can never be true"),
    ('remark contains "OIL" and not remark contains "oil" ignoring case', "never", "can never be true"),
    ("abs(x) < 0", "never", "can never be true"),
    ("min(x, n) > 10", "never", "can never be true within the schema's bounds of n"),
    ("length(remark) < 0", "never", "can never be true"),
    ("x / n > 1 and x is missing", "never", "can never be true"),
    ("points(3 if ringed, 2 if n > 4) > 5", "never", "can never be true"),
    ("count(ringed, n > 4, n <= 4) == 0", "never", "can never be true"),
    ("points(1 if x > 200, 2 if ringed) == 1", "never", "can never be true within the schema's bounds of x"),
    ("ringed or n == 2.5", "part never", "n == 2.5 can never be true"),
    ("ringed and x >= 0", "part always", "x >= 0 can never be false within the schema's bounds of x"),
    ("n in {1, 2.5}", "no effect", "2.5 of n in {1, 2.5} can never match"),
    ("n in {1, 2, 1}", "no effect", "1 stands twice in a set"),
    ('remark contains {"corn", "corn seed"}', "no effect", 'whoever has "corn seed" has "corn" too'),
    ('remark starts with {"a", "ab"}', "no effect", 'whoever has "ab" has "a" too'),
]


@pytest.mark.parametrize(("when", "kind", "words"), CASES)
def test_one_rule(when, kind, words):
    [lint] = found([rule(when)])
    assert lint.kind == kind and words in lint.message and lint.rule == "r0"


@pytest.mark.parametrize(
    "when",
    [
        "x < 3",
        "x + n < 0",
        "x * 0 == 1",
        "x / n == 1 and x / n == 2 or ringed",
        "not (x < 3) or x is missing",
        'remark contains "a" and not remark contains word "a"',
        'remark contains word "a" and not remark contains word "a b"',
        'remark contains word "a b" and not remark contains "a b"',
        'remark contains word {"corn", "Corn"} and remark ends with "n"',
        'remark matches "a+" and not remark contains "a"',
        "points(0.1 if ringed, 0.2 if n > 4) == 0.3",
        "points(3 if x < 200, 2 if ringed) < 3 and x is missing",
        "true",
    ],
)
def test_what_is_in_order(when):
    assert found([rule(when)]) == []


def test_rules_that_earlier_ones_answer_for():
    made = found(
        [
            rule("x < 5", 0),
            rule("x < 3 and ringed", 1, "B"),
            rule("x < 5", 2, "B"),
            rule("x > 7", 3),
            rule("x < 5 or x > 7", 4),
            rule("x < 8 or x > 7", 5),
            rule("x is missing", 6),
            rule("ringed", 7),
        ]
    )
    told = [(lint.kind, lint.rule, lint.others) for lint in made]
    assert told == [
        ("subsumed", "r1", ("r0",)),
        ("duplicate", "r2", ("r0",)),
        ("unreachable", "r4", ("r0", "r3")),
        ("everything", "r6", ()),
    ]
    assert "answers otherwise ('A', not 'B')" in made[0].message and "has the same condition" in made[1].message
    assert "with it every record has an answer, so none of the 1 rules after it" in made[3].message


def test_places():
    read = read_rules("- id: a\n  when: n == 2.5\n  then: abstain\n", WIDE, ("A",))
    assert str(lint_rules(read, WIDE).found[0]).startswith("rules:2:")


def test_rules_that_answer_none_of_the_records():
    read = read_rules([rule("x < 5", 0), rule("x < 7", 1), rule("x > 1", 2)], WIDE, ("A",))
    records = [{"x": 1.0}, {"x": 50}, {}]
    made = lint_rules(read, WIDE, RuleTruth(WIDE).frame(records), len(records)).found
    assert [(lint.kind, lint.rule) for lint in made] == [("silent", "r1")]
    assert "answers none of the 3 records" in made[0].message


def test_a_table_with_a_gap():
    text = 'tables:\n  t:\n    columns: [n, island, label]\n    rows: [["< 5", Dream, A], [">= 5", "-", B]]\n'
    read = read_rules(text, WIDE, ("A", "B"))
    [lint] = lint_rules(read, WIDE).found
    assert lint.kind == "gap" and "no row fits" in lint.message and '"island": "Biscoe"' in lint.message
    assert str(lint).startswith("rules:2:3: table 't'")


numbers = st.sampled_from(["0", "1", "2", "3", "-1", "1.5", "4"])
names = st.sampled_from(["n", "m"])
signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
tests = (
    st.builds("{} {} {}".format, names, signs, numbers | names)
    | st.builds("{} between {} and {}".format, names, numbers, numbers)
    | st.builds("{} in {{{}, {}}}".format, names, numbers, numbers)
    | st.builds("{}(n, {}) {} {}".format, st.sampled_from(["min", "max"]), numbers, signs, numbers)
    | st.builds("points(2 if {} < {}, -1 if ringed) {} {}".format, names, numbers, signs, numbers)
    | st.builds("count(n > {}, m > {}, ringed) {} {}".format, numbers, numbers, signs, numbers)
    | st.builds("abs(-m) {} {}".format, signs, numbers)
    | st.sampled_from(["n is missing", "n is not missing", "ringed", "ringed == false", "ringed is missing", "true"])
    | st.builds("island {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(['"Dream"', '"Biscoe"']))
    | st.builds(
        "island {} {{{}}}".format,
        st.sampled_from(["in", "not in"]),
        st.sampled_from(['"Dream"', '"Biscoe", "Torgersen"']),
    )
)
conditions = st.recursive(
    tests,
    lambda inner: (
        st.builds("({} and {})".format, inner, inner)
        | st.builds("({} or {})".format, inner, inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=5))
def test_everything_that_is_said_is_so_and_nothing_is_missed(texts):
    trees = [parse_expression(text) for text in texts]
    fires = [{at for at, each in enumerate(RECORDS) if truth_of(tree, each) is True} for tree in trees]
    made = found([rule(text, number) for number, text in enumerate(texts)], SMALL)
    told = {(lint.kind, lint.rule): lint for lint in made}
    everything: set[int] = set(range(len(RECORDS)))
    answered: set[int] = set()
    ended = False
    for number, true_for in enumerate(fires):
        name = f"r{number}"
        lint = next((each for key, each in told.items() if key[1] == name and key[0] in DEAD), None)
        assert (("never", name) in told) == (not true_for)
        if true_for and not ended:
            assert (lint is not None) == (true_for <= answered), (texts, name)
            if lint is not None:
                others = [fires[int(each[1:])] for each in lint.others]
                assert true_for <= set().union(*others)
                assert (lint.kind in ("subsumed", "duplicate")) == (len(others) == 1)
        answered |= true_for
        last = answered == everything and not ended and number + 1 < len(fires)
        assert (("everything", name) in told) == last
        ended = ended or last


DEAD = ("unreachable", "subsumed", "duplicate")

texts = st.text(st.sampled_from("ab AB-ß"), min_size=1, max_size=6)
hows = st.sampled_from(["contains", "starts with", "ends with", "contains word"])


@settings(max_examples=50, deadline=None)
@given(hows, hows, texts, texts, st.booleans(), st.booleans(), st.lists(texts, min_size=1, max_size=6))
def test_what_follows_from_a_text_test_does_follow(how, then, text, wanted, folded, then_folded, values):
    words = [text.strip(" -") or "a", wanted.strip(" -") or "b"]
    text, wanted = words[0] if how == "contains word" else text, words[1] if then == "contains word" else wanted
    first, second = TextTest("t", how, text, folded), TextTest("t", then, wanted, then_folded)
    if not follows(how, text, folded, second):
        return
    truth = RuleTruth(Schema((Feature("t", "text"),)))
    tried = [*values, text, f" {text} ", f"-{text}", f"{text}b", text.upper(), text.lower().replace(" ", "--")]
    frame = truth.frame([{"t": value} for value in tried])
    passed = truth.ask(first.condition, frame, len(tried)) == 1
    assert (truth.ask(second.condition, frame, len(tried))[passed] == 1).all()
