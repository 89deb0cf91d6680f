"""The text of a condition -> a tree. An own tokenizer and a precedence parser; see ``docs/rules.md`` for the grammar.

From loose to tight: ``or``, ``and``, ``not``, comparisons, ``+ -``, ``* /``, unary ``-``, literals and names.

1. The text is bounded, its nesting is bounded, and so is the height of the tree: a hostile text is refused, it never
   exhausts the interpreter's stack.
2. Every error is a RuleError that shows the line and points at the character.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple, NoReturn

from edgeml.runtime.expression import (
    AND,
    COMPARISON,
    FUNCTIONS,
    MAX_EXPRESSION,
    MAX_NESTING,
    MAX_SET,
    NOT,
    OR,
    PRODUCT,
    RESERVED,
    SIGN,
    SUM,
    TEXT_FUNCTIONS,
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Count,
    Field,
    ListName,
    Literals,
    Membership,
    Missing,
    Negate,
    Node,
    Not,
    Number,
    Or,
    Points,
    Source,
    Text,
    TextMatch,
    TextTest,
    Truth,
    children,
    format_number,
)

# A tree is higher than the nesting of its text (`a * b + c < d` nests nothing and has four floors).
MAX_HEIGHT = 2 * MAX_NESTING

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ )
    | (?P<number> (?: [0-9]+ (?: \.[0-9]* )? | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? (?! [\w.] ) )
    | (?P<name> [^\W\d]\w* )
    | (?P<quoted> ` (?: [^`] | `` )* ` )
    | (?P<text> " (?: [^"\\] | \\. )* " | ' (?: [^'\\] | \\. )* ' )
    | (?P<sign> == | != | <= | >= | [-+*/<>(){}\[\],] )
    """,
    re.VERBOSE | re.DOTALL,
)
# What stands behind a number, and nowhere else: [km/h]
_UNIT = re.compile(r"\s*\[\s*([^\s\[\]](?:[^\[\]\n]*[^\s\[\]])?)\s*\]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_PLAIN_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_HINTS = {
    "=": "compare with ==",
    "&": "write 'and'",
    "|": "write 'or'",
    "!": "write 'not', or != to compare",
    '"': "the string has no end; close it with the quote that opened it",
    "'": "the string has no end; close it with the quote that opened it",
    "`": "the name has no end; close it with a backquote",
    **dict.fromkeys("“”„«»‘’", "write strings in straight quotes"),
    **dict.fromkeys("0123456789.", "this is not a number"),
    **dict.fromkeys(";:?@#$%^~\\", "this sign means nothing in a condition"),
}
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
# What may follow a whole operand -> how tightly it binds.
_INFIX = {
    "or": OR,
    "and": AND,
    **dict.fromkeys([*_COMPARISONS, "in", "not", "between", "is", "starts", "ends", "contains", "matches"], COMPARISON),
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
}
_CLOSING = {"{": "}", "[": "]", "(": ")"}


class Token(NamedTuple):
    """A word of an expression.

    Attributes:
        kind: ``number``, ``unit``, ``name``, ``text``, ``end``, or the reserved word or sign itself.
        text: What it stands for: a quoted name or string without its quotes and escapes.
        position: Offset of its first character.
    """

    kind: str
    text: str
    position: int


def parse_expression(text: str, *, rule: str = "", definition: str = "") -> Node:
    """Reads a condition. Whether it fits a schema is asked in ``expression_types.py``.

    Args:
        text: At most 100,000 characters, nested at most 64 levels.
        rule: Id of the rule, for errors.
        definition: Name of the definition whose expression this is, for errors.

    Raises:
        RuleError: The text is no condition; the message shows where.
    """
    source = Source(text, rule, definition)
    if len(text) > MAX_EXPRESSION:
        raise source.error(
            MAX_EXPRESSION, f"the condition has {len(text)} characters; at most {MAX_EXPRESSION}: split the rule"
        )
    return _Parser(source).whole()


class _Parser:
    """Reads the tokens of one expression from left to right."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens = _tokens(source)
        self.at = 0
        self.nesting = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    @property
    def joint(self) -> str:
        """What joins the next token to an operand before it; ``matches`` is a word of the language only there."""
        return "matches" if self.at_word("matches") else self.token.kind

    def at_word(self, *words: str) -> bool:
        """Whether the next tokens are these words, which are names anywhere else."""
        next_ones = self.tokens[self.at : self.at + len(words)]
        return len(next_ones) == len(words) and all(
            token.kind == "name" and token.text == word and self.source.text[token.position] != "`"
            for token, word in zip(next_ones, words, strict=True)
        )

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def accept(self, *kinds: str) -> Token | None:
        return self.take() if self.token.kind in kinds else None

    def expect(self, kind: str, why: str) -> Token:
        if self.token.kind != kind:
            self.fail(f"expected {why}")
        return self.take()

    def fail(self, message: str) -> NoReturn:
        token = self.token
        found = "the end" if token.kind == "end" else repr(self.source.text[token.position :][:1] or token.text)
        if token.kind not in ("end", "number", "text"):
            found = repr(token.text[:40])
        for near in self.tokens[max(0, self.at - 1) : self.at + 1]:
            if near.kind == "name" and near.text not in RESERVED and near.text.lower() in RESERVED:
                message = f"write {near.text.lower()!r} in small letters: {message}"
        raise self.source.error(token.position, f"{message}, found {found}")

    def nest(self, position: int, levels: int = 1) -> None:
        self.nesting += levels
        if self.nesting > MAX_NESTING:
            raise self.source.error(position, f"nested more than {MAX_NESTING} levels deep; split the rule")

    def whole(self) -> Node:
        node = self.expression(OR)
        if self.token.kind != "end":
            self.fail("expected the end of the condition, or 'and' or 'or'")
        floor: tuple[Node, ...] = (node,)
        for _ in range(MAX_HEIGHT):
            floor = tuple(child for parent in floor for child in children(parent))
            if not floor:
                return node
        raise self.source.error(floor[0].position, "too many levels of nesting; split the rule")

    def expression(self, least: int) -> Node:
        """An operand that binds at least so tightly, with all that follows it as tightly."""
        node = self.operand(least)
        compared = False
        while (tightness := _INFIX.get(self.joint, 0)) >= max(least, OR):
            sign = self.token
            if tightness == COMPARISON:
                if compared:
                    self.fail("expected 'and' or 'or' after a comparison")
                compared = True
                node = self.comparison(node)
            elif tightness == OR or tightness == AND:
                parts = [node]
                while self.accept(sign.kind):
                    parts.append(self.expression(tightness + 1))
                kind = Or if tightness == OR else And
                node = kind(tuple(parts), position=sign.position)
            else:
                parts, signs = [node], []
                while (found := self.token).kind in ("+-" if tightness == SUM else "*/"):
                    self.take()
                    signs.append(found.kind)
                    parts.append(self.expression(tightness + 1))
                node = Arithmetic(tuple(parts), tuple(signs), position=sign.position)
        return node

    def comparison(self, node: Node) -> Node:
        """What follows the first operand of a comparison."""
        sign = self.take()
        where = sign.position
        if sign.kind in _COMPARISONS:
            parts, signs = [node, self.expression(SUM)], [sign.kind]
            while found := self.accept(*_COMPARISONS):
                signs.append(found.kind)
                parts.append(self.expression(SUM))
            return Comparison(tuple(parts), tuple(signs), position=where)
        if sign.kind == "is":
            negated = self.accept("not") is not None
            self.expect("missing", "'missing': a condition ends in 'is missing' or 'is not missing'")
            return Missing(node, negated, position=where)
        if sign.kind == "in":
            return self.membership(node, where, negated=False)
        if sign.kind == "between":
            return self.between(node, where)
        if sign.kind == "not":
            if self.accept("in"):
                return self.membership(node, where, negated=True)
            self.expect("between", "'in' or 'between' after 'not'")
            return Not(self.between(node, where), position=where)
        return self.text_match(node, sign)

    def text_match(self, node: Node, sign: Token) -> TextMatch:
        how: TextTest = "contains"
        if sign.kind == "name":
            how = "matches"
        elif sign.kind != "contains":
            self.expect("with", f"'with' after {sign.kind!r}")
            how = "starts with" if sign.kind == "starts" else "ends with"
        elif self.at_word("word"):
            self.take()
            how = "contains word"
        items: list[Literals] = []
        lists: list[ListName] = []
        if self.token.kind == "text":
            token = self.take()
            items.append(Text(token.text, position=token.position))
        elif self.token.kind in _CLOSING or self.token.kind == "name" and self.tokens[self.at + 1].kind != "text":
            items, lists = self.items()
        else:
            self.fail(f"expected a string in quotes after {how!r}")
        for item in items:
            if not isinstance(item, Text):
                raise self.source.error(item.position, f"{how!r} takes strings in quotes only")
        texts = tuple(str(item.value) for item in items)
        places = tuple(item.position for item in items)
        folded = self.at_word("ignoring", "case")
        if folded:
            self.take()
            self.take()
        return TextMatch(node, how, texts, folded, position=sign.position, places=places, lists=tuple(lists))

    def between(self, node: Node, where: int) -> Between:
        low = self.expression(SUM)
        self.expect("and", "'and' with the upper end: x between 1 and 2")
        return Between(node, low, self.expression(SUM), position=where)

    def membership(self, node: Node, where: int, *, negated: bool) -> Membership:
        items, lists = self.items()
        return Membership(node, tuple(items), negated, position=where, lists=tuple(lists))

    def items(self) -> tuple[list[Literals], list[ListName]]:
        """A set of literals and named lists, or a named list alone."""
        items: list[Literals] = []
        lists: list[ListName] = []
        opening = self.token
        if opening.kind == "name":
            self.take()
            return items, [ListName(opening.text, position=opening.position)]
        if opening.kind not in _CLOSING:
            self.fail('expected a set after \'in\', such as {"a", "b"}')
        self.take()
        closing = _CLOSING[opening.kind]
        while self.token.kind != closing:
            if name := self.accept("name"):
                lists.append(ListName(name.text, position=name.position))
            else:
                items.append(self.literal())
            if len(items) + len(lists) > MAX_SET:
                self.fail(f"a set holds at most {MAX_SET} values")
            if not self.accept(","):
                break
        self.expect(closing, f"',' or {closing!r}")
        if not items and not lists:
            raise self.source.error(opening.position, "the set is empty, so nothing is in it; list its values")
        return items, lists

    def literal(self) -> Literals:
        minus = self.accept("-")
        token = self.token
        if token.kind == "number":
            value = self.number()
            unit = self.accept("unit")
            where = (minus or token).position
            return Number(-value if minus else value, position=where, unit=unit.text if unit else None)
        if minus is None and token.kind == "text":
            return Text(self.take().text, position=token.position)
        if minus is None and token.kind in ("true", "false"):
            return Truth(self.take().kind == "true", position=token.position)
        self.fail("expected a number, a string in quotes, true, false or the name of a list")

    def number(self) -> float:
        token = self.take()
        value = float(token.text)
        if not math.isfinite(value):
            raise self.source.error(token.position, f"the number {token.text} is too large for a double")
        return value

    def operand(self, least: int) -> Node:
        """What an expression begins with."""
        token = self.token
        where = token.position
        if token.kind in ("number", "text", "true", "false"):
            return self.literal()
        if token.kind == "name":
            self.take()
            if self.token.kind == "(" and self.source.text[where] != "`":
                return self.call(token)
            return Field(token.text, position=where)
        if token.kind == "(":
            self.take()
            self.nest(where)
            node = self.expression(OR)
            self.expect(")", "')'")
            self.nest(where, -1)
            return node
        if token.kind == "-":
            self.take()
            self.nest(where)
            node = self.expression(SIGN)
            self.nest(where, -1)
            if isinstance(node, Number):
                return Number(-node.value, position=where, unit=node.unit)
            return Negate(node, position=where)
        if token.kind == "not":
            if least > NOT:
                self.fail("expected a value; put parentheses around '(not ...)'")
            self.take()
            self.nest(where)
            node = self.expression(NOT)
            self.nest(where, -1)
            return Not(node, position=where)
        hint = " (a feature of that name stands in backquotes)" if token.kind in RESERVED else ""
        self.fail(f"expected a feature, a number, a string, true, false, 'not' or '('{hint}")

    def call(self, name: Token) -> Node:
        if name.text not in FUNCTIONS:
            known = ", ".join(FUNCTIONS[:-1]) + f" and {FUNCTIONS[-1]}"
            raise self.source.error(name.position, f"there is no function {name.text}; there are {known}")
        opening = self.take()
        self.nest(opening.position)
        if name.text == "points":
            return self.points(name)
        arguments = [self.expression(OR)]
        while self.accept(","):
            arguments.append(self.expression(OR))
        self.expect(")", "',' or ')'")
        self.nest(opening.position, -1)
        if name.text == "count":
            return Count(tuple(arguments), position=name.position)
        if (len(arguments) == 1) != (name.text not in ("min", "max")):
            one = "one text" if name.text in TEXT_FUNCTIONS else "one number"
            wanted = "takes two numbers or more" if name.text in ("min", "max") else f"takes {one}"
            raise self.source.error(name.position, f"{name.text}() {wanted}, got {len(arguments)}")
        return Call(name.text, tuple(arguments), position=name.position)

    def points(self, name: Token) -> Points:
        """What stands in the parentheses of ``points(3 if p, -4 if q)``."""
        points: list[float] = []
        conditions: list[Node] = []
        while not points or self.accept(","):
            minus = self.accept("-")
            if self.token.kind != "number":
                self.fail("expected a number of points, as in points(3 if x > 2, -4 if y > 1)")
            value = -self.number() if minus else self.number()
            if not self.at_word("if"):
                self.fail(f"expected 'if' and a condition after {format_number(value)} points")
            self.take()
            points.append(value)
            conditions.append(self.expression(OR))
        self.expect(")", "',' or ')'")
        self.nest(name.position, -1)
        return Points(tuple(points), tuple(conditions), position=name.position)


def _tokens(source: Source) -> list[Token]:
    text = source.text
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        if tokens and tokens[-1].kind == "number" and (unit := _UNIT.match(text, at)):
            tokens.append(Token("unit", unit[1], at))
            at = unit.end()
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            hint = _HINTS.get(text[at], "this sign means nothing in a condition")
            raise source.error(at, f"unexpected {text[at]!r}: {hint}")
        kind, raw = found.lastgroup or "", found[0]
        if kind == "name" and raw in RESERVED or kind == "sign":
            kind = raw
        elif kind == "quoted":
            kind, raw = "name", raw[1:-1].replace("``", "`")
        elif kind == "text":
            raw = _unescaped(source, at + 1, raw[1:-1])
        if kind != "space":
            tokens.append(Token(kind, raw, at))
        at = found.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _unescaped(source: Source, start: int, raw: str) -> str:
    def meant(found: re.Match[str]) -> str:
        if found[3] is None:
            code = int(found[1] or found[2], 16)
            if code < 0xD800 or 0xDFFF < code < 0x110000:
                return chr(code)
        elif found[3] in _PLAIN_ESCAPES:
            return _PLAIN_ESCAPES[found[3]]
        raise source.error(
            start + found.start(), f"unknown escape {found[0]}; there are \\\\ \\' \\\" \\n \\r \\t \\uXXXX \\UXXXXXXXX"
        )

    text = _ESCAPE.sub(meant, raw)
    for offset, mark in enumerate(raw):
        if "\ud800" <= mark <= "\udfff":
            raise source.error(start + offset, "half a surrogate pair, which no record can hold; remove it")
    return text
