"""A vectorizer's ``token_pattern`` as a class of characters, where it is one.

The kernel has no regular expressions: a token is a run of characters of one class, with a smallest length, and with or
without ``\\b`` on both sides. Which characters a class has is asked of Python's ``re``, character by character.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache

from edgeml.builder.feature_columns import NotCompiled

_PIECE = r"\\[wWsSdD]|\[(?:\\.|[^\]\\])+\]"
_RUN = re.compile(rf"(?:\(\?u\))?(\\b)?((?:{_PIECE}))((?:{_PIECE})*)(\+|\{{(\d+),\}})(\\b)?")


@dataclass(frozen=True)
class TokenPattern:
    """Runs of characters that are tokens.

    Attributes:
        ascii: 128 times 0 or 1: which ASCII characters belong to them.
        beyond_ascii: Which others do: ``none``, ``all``, ``word``, ``letter`` or ``visible``.
        shortest: Characters a run has at least.
        bounded: Whether a run may have no word character beside it.
    """

    ascii: str
    beyond_ascii: str
    shortest: int
    bounded: bool


def token_pattern(pattern: str) -> TokenPattern:
    r"""Reads patterns such as ``(?u)\b\w\w+\b``, ``[a-z]{3,}`` and ``\S+``.

    Raises:
        NotCompiled: It is no run of one class.
    """
    found = _RUN.fullmatch(pattern)
    if found is None:
        raise NotCompiled(f"token_pattern={pattern!r}: it is no run of one class of characters")
    begins, piece, more, _, at_least, ends = found.groups()
    pieces = re.findall(_PIECE, piece + more)
    if len(set(pieces)) > 1 or bool(begins) != bool(ends):
        raise NotCompiled(f"token_pattern={pattern!r}: it is no run of one class of characters")
    try:
        members = _members(piece)
    except re.error as error:  # what stands between brackets here may end elsewhere for Python
        raise NotCompiled(f"token_pattern={pattern!r}: {error}") from error
    word = _members(r"\w")
    if begins and not members <= word:
        raise NotCompiled(rf"token_pattern={pattern!r}: \b beside characters that are no word characters")
    shortest = len(pieces) - 1 + (int(at_least) if at_least else 1)
    if shortest < 1:
        raise NotCompiled(f"token_pattern={pattern!r}: it also matches nothing at all")
    beyond = frozenset(c for c in members if c >= "\x80")
    name = next((name for name, known in _beyond_ascii().items() if beyond == known), None)
    if name is None:
        raise NotCompiled(f"token_pattern={pattern!r}: the core has no such class of characters beyond ASCII")
    bits = "".join("1" if chr(code) in members else "0" for code in range(128))
    return TokenPattern(bits, name, shortest, bool(begins) and members != word)


@cache
def _everything() -> str:
    surrogates = range(0xD800, 0xE000)
    return "".join(chr(code) for code in range(sys.maxunicode + 1) if code not in surrogates)


@cache
def _members(piece: str) -> frozenset[str]:
    return frozenset(re.findall(piece, _everything()))


@cache
def _beyond_ascii() -> dict[str, frozenset[str]]:
    """The classes that the kernel has beyond ASCII."""
    classes = {"none": "[^\\W\\w]", "all": "[\\W\\w]", "word": r"\w", "letter": r"[^\W\d_]", "visible": r"\S"}
    return {name: frozenset(c for c in _members(piece) if c >= "\x80") for name, piece in classes.items()}
