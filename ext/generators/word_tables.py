"""Writes ``word_tables.h``: which characters are of words, and how case is folded.

Run: ``python ext/generators/word_tables.py``.

1. A character is of a word where Python's ``re`` says ``\\w``: letters, digits and numbers of every script, and ``_``.
2. Folding is simple: one character for one. It is ``str.casefold`` where that gives one character, else ``str.lower``
   where that does, else nothing; that is the common and simple folding (C + S) of Unicode's CaseFolding.txt.
3. Both come from the Unicode version of the Python that runs this; the header says which.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

HEADER = Path(__file__).resolve().parents[1] / "word_tables.h"
WORD_PAGE = 256
FOLD_PAGE = 64


def is_word(code: int) -> bool:
    """Whether a character is of a word."""
    return chr(code).isalnum() or code == ord("_")


def folded(code: int) -> int:
    """What a character is folded to."""
    for changed in (chr(code).casefold(), chr(code).lower()):
        if len(changed) == 1:
            return ord(changed)
    return code


def pages(values: list[int], size: int) -> tuple[list[int], list[tuple[int, ...]]]:
    """Cuts a table into pages and keeps each different page once: the number of each page, and the pages."""
    kept: dict[tuple[int, ...], int] = {}
    numbers = []
    for begin in range(0, len(values), size):
        page = tuple(values[begin : begin + size])
        numbers.append(kept.setdefault(page, len(kept)))
    return numbers, list(kept)


def array(kind: str, name: str, items: list[str], width: int = 118) -> str:
    """A C array, wrapped."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([f"static const {kind} {name}[{len(items)}] = {{", *lines, line, "};", ""])


def text() -> str:
    """The whole header."""
    words = [int(is_word(code)) for code in range(0x110000)]
    word_numbers, word_pages = pages(words, WORD_PAGE)
    bits = [
        f"0x{sum(bit << place for place, bit in enumerate(page[begin : begin + 64])):x}u"
        for page in word_pages
        for begin in range(0, WORD_PAGE, 64)
    ]
    deltas = [folded(code) - code for code in range(0x110000)]
    end = (max(code for code, delta in enumerate(deltas) if delta) // FOLD_PAGE + 1) * FOLD_PAGE
    fold_numbers, fold_pages = pages(deltas[:end], FOLD_PAGE)
    assert max(len(word_pages), len(fold_pages)) <= 256
    return "\n".join(
        [
            f"/* Made by generators/word_tables.py from Unicode {unicodedata.unidata_version}; do not edit. */",
            "#ifndef EDGEML_WORD_TABLES_H",
            "#define EDGEML_WORD_TABLES_H",
            "",
            "#include <stdint.h>",
            "",
            f"#define EDGEML_FOLD_END 0x{end:x} /* characters from here on are folded to themselves */",
            "",
            "/* Pages of 256 characters: a bit for each, set where it is of a word. */",
            array("uint8_t", "edgeml_word_pages", list(map(str, word_numbers))),
            array("uint64_t", "edgeml_word_bits", bits),
            "/* Pages of 64 characters: what is added to each to fold it. */",
            array("uint8_t", "edgeml_fold_pages", list(map(str, fold_numbers))),
            array("int32_t", "edgeml_fold_deltas", [str(delta) for page in fold_pages for delta in page]),
            "#endif",
            "",
        ]
    )


if __name__ == "__main__":
    HEADER.write_text(text())
    sys.stdout.write(f"{HEADER.name} is written\n")
