"""The grammar in docs/rules.md is what the parser takes: whatever it makes is read, and is written back as itself."""

import random
import re
from pathlib import Path

from edgeml.runtime.expression import CONTEXT_WORDS, FUNCTIONS, RESERVED, format_expression
from edgeml.runtime.expression_parser import parse_expression

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
GRAMMAR = re.findall(r"```ebnf\n(.*?)```", PAGE, re.S)[0]
SAMPLES = {
    "number": ["0", "3", "2.5", ".5", "7.", "1e3", "2.5E-3"],
    "unit": ["[km/h]", "[ °C ]", "[m s**-1]"],
    "text": ['"a"', "'b c'", '"\\u00e9\\""', "''"],
    "name": ["x", "`y y`", "größe", "_n", "`not`", "if", "points", "word_count2"],
}
TOKEN = re.compile(r'\s*(?:("[^"]+")|(\?[^?]+\?)|([a-z]+)|([|\[\]{}();=]))')
FAR = 99


def read_grammar(text):
    """Rule -> a tree of ('any', [...]), ('all', [...]), ('maybe', x), ('many', x), ('word', w), ('rule', name)."""
    tokens = [found for found in TOKEN.findall(text)]
    rules, at = {}, 0

    def alternatives():
        nonlocal at
        found = [sequence()]
        while tokens[at][3] == "|":
            at += 1
            found.append(sequence())
        return ("any", found)

    def sequence():
        nonlocal at
        parts = []
        while tokens[at][3] not in list("|])};"):
            word, prose, name, sign = tokens[at]
            at += 1
            if sign:
                kind = {"[": "maybe", "{": "many", "(": "group"}[sign]
                parts.append((kind, alternatives()))
                at += 1
            else:
                parts.append(("word", word[1:-1]) if word else ("prose", prose) if prose else ("rule", name))
        return ("all", parts)

    while at < len(tokens):
        name = tokens[at][2]
        assert tokens[at + 1][3] == "=" and name not in rules
        at += 2
        rules[name] = alternatives()
        at += 1
    return rules


RULES = read_grammar(GRAMMAR)


def heights():
    """Rule -> how deep its shallowest derivation is."""
    known = {name: 0 if name in SAMPLES else FAR for name in RULES}
    for _ in RULES:
        known |= {name: 1 + height(node, known) for name, node in RULES.items() if name not in SAMPLES}
    return known


def height(node, known):
    kind, what = node
    if kind == "any":
        return min(height(part, known) for part in what)
    if kind == "all":
        return max((height(part, known) for part in what), default=0)
    if kind == "group":
        return height(what, known)
    return known[what] if kind == "rule" else 0


HEIGHTS = heights()


def derive(node, depth, draw, used):
    """Random words of a part of the grammar; near the ground, the shortest way."""
    kind, what = node
    if kind == "word":
        return [what]
    if kind == "rule":
        return [draw.choice(SAMPLES[what])] if what in SAMPLES else derive(RULES[what], depth - 1, draw, used)
    if kind == "all":
        return [word for part in what for word in derive(part, depth, draw, used)]
    if kind == "any":
        least = min(height(part, HEIGHTS) for part in what)
        choices = [part for part in what if depth > 0 or height(part, HEIGHTS) == least]
        chosen = draw.choice(choices)
        used.add(id(chosen))
        return derive(chosen, depth, draw, used)
    times = 1 if kind == "group" else draw.choice([0, 0, 1, 2] if kind == "many" else [0, 1]) if depth > 0 else 0
    used.update([(id(node), bool(times))] if kind != "group" else [])
    return [word for _ in range(times) for word in derive(what, depth, draw, used)]


def choices_of(node):
    kind, what = node
    if kind in ("any", "all"):
        for part in what:
            if kind == "any":
                yield id(part)
            yield from choices_of(part)
    elif kind in ("maybe", "many", "group"):
        if kind != "group":
            yield from [(id(node), False), (id(node), True)]
        yield from choices_of(what)


def test_whatever_the_grammar_makes_is_read():
    draw, used = random.Random(7), set()
    for number in range(400):
        words = derive(("rule", "condition"), 4 + number % 14, draw, used)
        if len(words) > 400:
            continue
        text = " ".join(words)
        tree = parse_expression(text)
        canonical = format_expression(tree)
        assert parse_expression(canonical) == tree and format_expression(parse_expression(canonical)) == canonical
    every = {choice for name, node in RULES.items() if name not in SAMPLES for choice in choices_of(node)}
    assert every <= used  # each way through the grammar was gone


def test_the_grammar_has_every_word_of_the_language():
    words = {word for word in re.findall(r'"([^"]+)"', GRAMMAR) if word.isidentifier()}
    assert words == RESERVED | CONTEXT_WORDS | set(FUNCTIONS)
    assert set(RULES) >= SAMPLES.keys()
