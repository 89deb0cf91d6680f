"""Rules as people write them (YAML, JSON, Python lists) -> a checked RuleList, or one error with all that is wrong.

1. ``rule_document.py`` reads and finds the mistakes; where there are none, the examples beside the rules are asked
   (``rule_examples.py``), and one that fails is a mistake as well.
2. Whatever is wrong is one RuleError. Several mistakes are listed in it, each with its file, line and column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeml.builder.rule_document import MAX_BYTES, read_rules
from edgeml.builder.rule_examples import failed_examples
from edgeml.errors import RuleError
from edgeml.runtime.prediction import Label
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

__all__ = ["MAX_BYTES", "MOST_MISTAKES", "parse_rules", "together"]

# More would only be in the way of the first ones.
MOST_MISTAKES = 50


def parse_rules(source: Any, schema: Schema, labels: Sequence[Label] | None = None) -> RuleList:
    """Reads rules, checks them against the schema, compiles them, and asks their examples.

    Args:
        source: A path (``Path``, or a string that ends in ``.yaml``, ``.yml`` or ``.json``), YAML text, a list of
            rules, or an object with the key ``rules``; see docs/rules.md.
        schema: What a record looks like.
        labels: What a classification may answer; None for a regression.

    Raises:
        RuleError: The source cannot be read, rules are wrong or examples fail; names each and its place.
    """
    read = read_rules(source, schema, labels)
    mistakes = read.mistakes or failed_examples(read, schema)
    if mistakes:
        raise together(mistakes)
    assert read.rules is not None
    return read.rules


def together(mistakes: Sequence[RuleError]) -> RuleError:
    """Several mistakes as one error.

    Args:
        mistakes: At least one.
    """
    first = mistakes[0]
    if len(mistakes) == 1:
        return first
    shown = [str(mistake) for mistake in mistakes[:MOST_MISTAKES]]
    if len(mistakes) > MOST_MISTAKES:
        shown.append(f"... and {len(mistakes) - MOST_MISTAKES} more")
    count = len(mistakes)
    return RuleError("\n".join([f"{count} mistakes in the rules:", *shown]), rule=first.rule, position=first.position)
