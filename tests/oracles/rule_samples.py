"""Random conditions and records for a schema with every kind of feature."""

from hypothesis import strategies as st

from edgeml.runtime.expression import (
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Count,
    Field,
    Membership,
    Missing,
    Negate,
    Not,
    Number,
    Or,
    Points,
    Text,
    TextMatch,
    Truth,
)
from edgeml.runtime.schema import Feature, Schema

LEVELS = ("red", "green", "blå", "", 'q"')
MANY_LEVELS = tuple(f"level {number}" for number in range(100))
ALLOW = {"missing": "allow"}
SCHEMA = Schema(
    (
        Feature("x", "number", **ALLOW),
        Feature("y y", "number", **ALLOW),
        Feature("n", "integer", **ALLOW),
        Feature("smoker", "boolean", **ALLOW),
        Feature("colour", "category", levels=LEVELS, unseen="allow", **ALLOW),
        Feature("many", "category", levels=MANY_LEVELS, unseen="allow", **ALLOW),
        Feature("not", "boolean", **ALLOW),
        Feature("name", "text", **ALLOW),
        Feature("größe`", "text", **ALLOW),
    )
)
NUMBERS = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 1e300, -1e300, 1e-300]
TEXTS = [
    "",
    "a",
    "ab",
    "aba",
    "abab",
    "blå",
    "\n",
    "日本",
    "a\0b",
    "Ab, aba",
    "BLÅ-AB a",
    "\u212aelvin ſ",
    "ab ab aba ab",
]

numbers = st.sampled_from(NUMBERS) | st.floats(allow_nan=False, allow_infinity=False)
literals = st.builds(Number, numbers)
number_fields = st.sampled_from([Field("x"), Field("y y"), Field("n")])
boolean_fields = st.sampled_from([Field("smoker"), Field("not")])
text_fields = st.sampled_from([Field("name"), Field("größe`")])
texts = st.sampled_from(TEXTS)
text_literals = st.builds(Text, texts)
levels = {"colour": st.sampled_from(LEVELS), "many": st.sampled_from(MANY_LEVELS)}
flags = st.booleans()


def tuples(strategy, least=1, most=4):
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


@st.composite
def chains(draw, operands, operators, kind):
    drawn = draw(tuples(operands, 2, 4))
    return kind(drawn, draw(tuples(operators, len(drawn) - 1, len(drawn) - 1)))


def bigger_values(inner):
    # The parser folds the sign of a literal into it, so a minus never stands before one.
    return (
        st.builds(Negate, inner.filter(lambda node: not isinstance(node, Number)))
        | st.builds(lambda operand: Call("abs", (operand,)), inner)
        | st.builds(Call, st.sampled_from(["min", "max"]), tuples(inner, 2, 3))
        | st.builds(lambda name, text: Call(name, (text,)), st.sampled_from(["length", "word_count"]), text_fields)
        | chains(inner, st.sampled_from("+-"), Arithmetic)
        | chains(inner, st.sampled_from("*/"), Arithmetic)
    )


values = st.recursive(literals | number_fields, bigger_values, max_leaves=6)


@st.composite
def category_tests(draw):
    name = draw(st.sampled_from(["colour", "many"]))
    level = levels[name].map(Text)
    field = Field(name)
    return draw(
        st.builds(lambda text, sign: Comparison((field, text), (sign,)), level, st.sampled_from(["==", "!="]))
        | st.builds(lambda text, sign: Comparison((text, field), (sign,)), level, st.sampled_from(["==", "!="]))
        | st.builds(lambda items, negated: Membership(field, items, negated), tuples(level, 1, 8), flags)
        | st.builds(lambda negated: Missing(field, negated), flags)
    )


filled_texts = texts.filter(bool)
text_tests = (
    st.builds(
        TextMatch, text_fields, st.sampled_from(["starts with", "ends with", "contains"]), tuples(filled_texts), flags
    )
    | st.builds(
        TextMatch,
        text_fields,
        st.just("contains word"),
        tuples(st.sampled_from(["a", "ab", "aba", "AB", "blå", "ab aba", "ab ab", "Kelvin", "a-ab", "日本", "aba ab"])),
        flags,
    )
    | st.builds(TextMatch, text_fields, st.just("matches"), tuples(st.sampled_from(["ab", "blå|B", "a|aba"])), flags)
)
tests = (
    chains(values, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), Comparison)
    | chains(number_fields | literals, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), Comparison)
    | chains(boolean_fields | st.builds(Truth, flags), st.sampled_from(["==", "!="]), Comparison)
    | st.builds(Between, values, values, values)
    | st.builds(Between, number_fields, literals, literals)
    | st.builds(Membership, values, tuples(literals, 1, 8), flags)
    | st.builds(Membership, boolean_fields, tuples(st.builds(Truth, flags)), flags)
    | st.builds(Missing, values | boolean_fields | text_fields, flags)
    | category_tests()
    | st.builds(lambda f, t, s: Comparison((f, t), (s,)), text_fields, text_literals, st.sampled_from(["==", "!="]))
    | st.builds(Membership, text_fields, tuples(text_literals, 1, 6), flags)
    | st.builds(TextMatch, text_fields, st.sampled_from(["starts with", "ends with", "contains"]), tuples(texts, 1, 1))
    | text_tests
    | boolean_fields
    | st.builds(Truth, flags)
)


words = st.sampled_from(["a", "ab", "aba", "AB", "blå", "Kelvin", "日本"]).map(lambda word: (word,))
single_words = st.builds(TextMatch, text_fields, st.sampled_from(["contains word", "contains"]), words, flags)


@st.composite
def cards(draw, inner):
    """A scorecard, or a count; often over many words of few texts."""
    drawn = draw(tuples(inner | single_words, 1, 4) | tuples(single_words, 1, 20))
    points = st.sampled_from([-4.0, -0.1, 0.0, 0.1, 0.25, 0.2, 1.0, 3.0, 1e6, 1e-6])
    return draw(tuples(points, len(drawn), len(drawn)).map(lambda given: Points(given, drawn)) | st.just(Count(drawn)))


def card_tests(inner):
    card = cards(inner)
    order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    return (
        chains(card | numbers_near, order, Comparison)
        | st.builds(lambda left, sign, right: Comparison((left, right), (sign,)), card, order, numbers_near)
        | st.builds(Between, card | number_fields, numbers_near | card, numbers_near | card)
        | st.builds(lambda left, sign, right: Comparison((Arithmetic((left, right), ("+",)), left), (sign,)),
                    card, order, card | number_fields)
        | st.builds(Membership, card, tuples(numbers_near, 1, 4), flags)
        | st.builds(Missing, card, flags)
    )  # fmt: skip


numbers_near = st.builds(Number, st.sampled_from([-4.0, -0.1, 0.0, 0.1, 0.2, 0.3, 0.35, 1.0, 2.0, 3.1, 4.0]))


def bigger_conditions(inner):
    return st.builds(Not, inner) | st.builds(And, tuples(inner, 2, 3)) | st.builds(Or, tuples(inner, 2, 3))


conditions = st.recursive(tests, bigger_conditions, max_leaves=8)
card_conditions = st.recursive(
    card_tests(tests), lambda inner: card_tests(inner | tests) | bigger_conditions(inner), max_leaves=3
)

records = st.fixed_dictionaries(
    {
        "x": st.none() | numbers,
        "y y": st.none() | numbers,
        "n": st.none() | st.integers(-3, 3),
        "smoker": st.none() | flags,
        "not": st.none() | flags,
        "colour": st.none() | levels["colour"] | st.just("unseen"),
        "many": st.none() | levels["many"] | st.just("unseen"),
        "name": st.none() | texts,
        "größe`": st.none() | texts,
    }
)
