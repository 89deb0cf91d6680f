"""Regular expressions of rules. The only file that knows google-re2, which is there only where a bundle asks for it.

1. RE2 takes time in proportion to the text, whatever expression and text are, and its memory is bounded here.
2. An expression that is only a text, or texts with ``|`` between them, needs no RE2: it is looked for as these texts.
3. Conditions are checked on boxes that have no RE2, too: there the syntax is looked at only when the rules are made,
   and the bundle's ``requires`` has said before that RE2 is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from edgeml.errors import RequirementError

MAX_PATTERN = 1_000
# For the automata of all expressions over one text, in bytes; RE2 begins them anew when they are full.
MAX_MEMORY = 8 << 20
# For those over all texts together: so many pairs of a text and of whether case is ignored may have expressions.
MAX_MATCHERS = 8
PACKAGE = "google-re2"
AT_LEAST = ">=1.1"

_LITERAL = re.compile(r"(?:[^.^$*+?{}\[\]()|\\]|\\[!-/:-@\[-`{-~])+")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def literals_of(pattern: str) -> tuple[str, ...]:
    """The texts that an expression is only another way of writing; none where it is more than that.

    Args:
        pattern: An expression, such as ``free money|prize\\.``.
    """
    parts = re.split(r"(?<!\\)\|", pattern)
    if len(pattern) > MAX_PATTERN or not all(map(_LITERAL.fullmatch, parts)):
        return ()
    return tuple(_ESCAPED.sub(r"\1", part) for part in parts)


def expression_fault(pattern: str, *, folded: bool) -> str:
    """What is wrong with an expression; an empty string where nothing is, or where no RE2 is here to ask.

    Args:
        pattern: An expression in RE2's syntax.
        folded: Whether small and capital letters are the same: it is larger then.
    """
    if not pattern:
        return "every text matches this; remove it"
    if len(pattern) > MAX_PATTERN:
        return f"an expression has at most {MAX_PATTERN} characters"
    try:
        re2 = _re2()
    except RequirementError:
        return ""
    try:
        re2.compile(pattern, _options(re2, folded=folded))
    except re2.error as error:
        return f"no expression that RE2 takes: {_said(error)}"
    return ""


def matcher_of(patterns: Sequence[str], *, folded: bool) -> Callable[[bytes], list[int] | None]:
    """Makes what looks for all of several expressions in one pass.

    Args:
        patterns: Expressions in RE2's syntax.
        folded: Whether small and capital letters are the same.

    Returns:
        Called with the UTF-8 of a text: the numbers of the expressions that are found in it, None where none is.

    Raises:
        RequirementError: There is no RE2 on this machine.
        ValueError: An expression is wrong, or they are too large together.
    """
    re2 = _re2()
    found = re2.Set.SearchSet(_options(re2, folded=folded))
    for pattern in patterns:
        wrong = expression_fault(pattern, folded=folded)
        if wrong:
            raise ValueError(f"{pattern[:60]!r}: {wrong}")
        try:
            found.Add(pattern)
        except re2.error as error:
            raise ValueError(f"{pattern[:60]!r}: no expression that RE2 takes: {_said(error)}") from error
    try:
        found.Compile()
    except re2.error as error:
        raise ValueError(f"the {len(patterns)} expressions over one text are too large for RE2 together") from error
    match: Callable[[bytes], list[int] | None] = found.Match
    return match


def _said(error: Exception) -> str:
    words = error.args[0] if error.args else b""
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)


def _options(re2: Any, *, folded: bool) -> Any:
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    options.case_sensitive = not folded
    return options


def _re2() -> Any:
    try:
        return import_module("re2")
    except ImportError as error:
        raise RequirementError(
            f"the rules use 'matches' with regular expressions, which need {PACKAGE}; install edgeml[re2]"
        ) from error
