"""A file of rules in its canonical layout: conditions, keys and indentation; comments and order stay.

1. A condition on one line is written as ``format_expression`` writes it; one that stands in a block of lines keeps the
   lines that its author chose.
2. The keys of a rule stand in one order. Nothing else is moved, and nothing is added or taken away.
3. What comes out says the same: both are read, and compared, before anything is given back.
"""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString, PlainScalarString

from edgeml.builder.written_document import read_yaml
from edgeml.errors import RuleError
from edgeml.runtime.expression import format_expression
from edgeml.runtime.expression_parser import parse_expression

_KEYS = (
    "id",
    "when",
    "then",
    "note",
    "provenance",
    "pinned",
    "target",
    "evidence",
    "coverage",
    "precision",
    "examples",
    "veto",
)
_WIDTH = 100_000  # a condition is never broken by the writer


def format_rules(text: str, name: str = "rules") -> str:
    """The same rules in canonical layout.

    Args:
        text: The file, in YAML.
        name: What messages call it.

    Raises:
        RuleError: It is no YAML, or cannot be laid out without a change of what it says.
    """
    before = read_yaml(text, name).document
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        document = yaml.load(text)
    except YAMLError as error:
        raise RuleError(f"{name}: the file cannot be laid out: {error}") from error
    if isinstance(document, CommentedSeq):
        yaml.indent(mapping=2, sequence=2, offset=0)
        rules: Any = document
    else:
        rules = document.get("rules") if isinstance(document, CommentedMap) else None
        definitions = document.get("define") if isinstance(document, CommentedMap) else None
        if isinstance(definitions, CommentedMap):
            for key in definitions:
                definitions[key] = _condition(definitions[key])
    if isinstance(rules, CommentedSeq):
        for rule in rules:
            if isinstance(rule, CommentedMap):
                if "when" in rule:
                    rule["when"] = _condition(rule["when"])
                _order(rule)
    stream = io.StringIO()
    yaml.dump(document, stream)
    made = stream.getvalue()
    if _meaning(read_yaml(made, name).document) != _meaning(before):
        raise RuleError(f"{name}: the file cannot be laid out without a change of what it says; write it more simply")
    return made


def _condition(given: Any) -> Any:
    """The canonical text of a condition; what is none, or stands on several lines, as it is."""
    if not isinstance(given, str) or isinstance(given, FoldedScalarString | LiteralScalarString):
        return given
    # In quotes only where YAML needs them; a plain string would inherit those that stand there.
    return given if "\n" in given.strip() else PlainScalarString(_canonical(str(given)))


def _canonical(text: str) -> str:
    try:
        return format_expression(parse_expression(text.rstrip()))
    except RuleError:
        return text


def _order(rule: CommentedMap) -> None:
    """Puts the keys in order, with the comments that belong to them; where one stands within, the order stays."""
    wanted = [key for key in _KEYS if key in rule] + [key for key in rule if key not in _KEYS]
    if wanted == list(rule) or rule.ca.items:
        return
    for key in wanted:
        rule.move_to_end(key)


def _meaning(document: Any) -> Any:
    """A document whose conditions are canonical, to compare what two files say."""
    if isinstance(document, dict):
        return {
            key: _canonical(value) if key == "when" and isinstance(value, str) else _defined(key, value)
            for key, value in document.items()
        }
    return [_meaning(item) for item in document] if isinstance(document, list) else document


def _defined(key: Any, value: Any) -> Any:
    if key == "define" and isinstance(value, dict):
        return {name: _canonical(text) if isinstance(text, str) else text for name, text in value.items()}
    return _meaning(value)
