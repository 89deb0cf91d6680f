"""Writes the tables of Unicode from this Python's own ``str``: ``python ext/generators/unicode_tables.py``.

``word_tables.h`` is what rules need, as small as it can be; ``unicode_tables.h`` is what vectorizers need.
``unicode_version.h`` names the version of both: a compiler does not take tables of another one.

1. What a code point is (a word character, white space, ...) and how it is lower-cased is asked of ``str`` itself, so
   that the kernels cut and fold texts as Python does. The properties behind the final sigma have no method of their
   own; they are read off ``str.lower``.
2. Folding is simple: one character for one. It is ``str.casefold`` where that gives one character, else ``str.lower``
   where that does, else nothing; that is the common and simple folding (C + S) of Unicode's CaseFolding.txt.
3. Two stages: a code point's page, and in it the number of its record. Equal pages are kept once.
4. ``edgeml_plain`` is what ``unicodedata.normalize("NFKD")`` leaves of a code point without combining characters.
   Hangul syllables are left out of it: they are taken apart by arithmetic (The Unicode Standard, section 3.12).
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

CODES = range(sys.maxunicode + 1)
WORD_PAGE, FOLD_PAGE, BLOCK = 256, 64, 128
WORD, SPACE, CASED, IGNORABLE, DIGIT = 1, 2, 4, 8, 16
HANGUL = range(0xAC00, 0xAC00 + 11172)
SURROGATES = range(0xD800, 0xE000)
FOLDER = Path(__file__).resolve().parents[1]
VERSION = unicodedata.unidata_version
# 140000 for 14.0.0: a number is what the preprocessor can compare.
NUMBER = sum(int(part) * by for part, by in zip(VERSION.split("."), (10_000, 100, 1), strict=True))


def is_word(code: int) -> bool:
    """Whether a character is of a word."""
    return chr(code).isalnum() or code == ord("_")


def folded(code: int) -> int:
    """What a character is folded to."""
    for changed in (chr(code).casefold(), chr(code).lower()):
        if len(changed) == 1:
            return ord(changed)
    return code


def record(code: int) -> tuple[int, int]:
    """Flags of a code point, and what lower-casing adds to it."""
    c = chr(code)
    if code in SURROGATES:
        return 0, 0
    flags = (WORD if is_word(code) else 0) | (SPACE if c.isspace() else 0) | (DIGIT if c.isdecimal() else 0)
    if (c + "\u03a3").lower().endswith("\u03c2"):
        flags |= CASED
    elif ("a" + c + "\u03a3").lower().endswith("\u03c2"):
        flags |= IGNORABLE
    lower = c.lower()
    # U+0130 alone becomes two characters; the kernel knows it by name.
    return flags, ord(lower) - code if len(lower) == 1 else 0


def plain(code: int) -> bytes | None:
    """What is left of a code point without accents as UTF-8; None where it is itself."""
    if code in SURROGATES or code in HANGUL:
        return None
    c = chr(code)
    left = "".join(part for part in unicodedata.normalize("NFKD", c) if not unicodedata.combining(part))
    return None if left == c else left.encode()


def stages(values: Sequence[int], size: int) -> tuple[list[int], list[int]]:
    """Both stages for a value of each code point: the number of each page, and the different pages."""
    known: dict[tuple[int, ...], int] = {}
    first, second = [], []
    for start in range(0, len(values), size):
        page = tuple(values[start : start + size])
        if page not in known:
            known[page] = len(known)
            second += page
        first.append(known[page])
    return first, second


def array(kind: str, name: str, values: Sequence[object]) -> str:
    """A C array."""
    lines, line = [], ""
    for value in values:
        if len(line) + len(str(value)) > 114:
            lines.append(line.rstrip())
            line = ""
        line += f"{value}, "
    body = "\n    ".join([*lines, line.rstrip(" ,")])
    return f"static const {kind} {name}[{len(values)}] = {{\n    {body}\n}};\n"


def opened(name: str, about: str) -> str:
    """The beginning of a header of tables."""
    guard = f"EDGEML_{name.upper()}_H"
    return "\n".join(
        [
            f"/* {about}",
            f" * Made by ext/generators/unicode_tables.py from Python's str; Unicode {VERSION}; do not edit. */",
            "",
            f"#ifndef {guard}\n#define {guard}",
            "",
            "#include <stdint.h>",
            "",
            '#include "unicode_version.h"',
            "",
            f"#if EDGEML_UNICODE_NUMBER != {NUMBER}",
            f'#error "{name}.h is of Unicode {VERSION}; run ext/generators/unicode_tables.py, which writes all tables"',
            "#endif\n",
        ]
    )


def version() -> str:
    """The text of ``unicode_version.h``."""
    return "\n".join(
        [
            "/* Made by ext/generators/unicode_tables.py: what all tables are of. */",
            "",
            "#ifndef EDGEML_UNICODE_VERSION_H\n#define EDGEML_UNICODE_VERSION_H\n",
            f'#define EDGEML_UNICODE_VERSION "{VERSION}"',
            f"#define EDGEML_UNICODE_NUMBER {NUMBER}\n",
            "#endif\n",
        ]
    )


def words() -> str:
    """The text of ``word_tables.h``."""
    word_first, word_second = stages([int(is_word(code)) for code in CODES], WORD_PAGE)
    bits = [
        f"0x{sum(bit << place for place, bit in enumerate(word_second[begin : begin + 64])):x}u"
        for begin in range(0, len(word_second), 64)
    ]
    deltas = [folded(code) - code for code in CODES]
    end = (max(code for code, delta in enumerate(deltas) if delta) // FOLD_PAGE + 1) * FOLD_PAGE
    fold_first, fold_second = stages(deltas[:end], FOLD_PAGE)
    assert max(*word_first, *fold_first) < 256
    return "\n".join(
        [
            opened("word_tables", "Which characters are of words, and how case is folded."),
            f"#define EDGEML_FOLD_END 0x{end:x} /* characters from here on are folded to themselves */\n",
            "/* Pages of 256 characters: a bit for each, set where it is of a word. */",
            array("uint8_t", "edgeml_word_pages", word_first),
            array("uint64_t", "edgeml_word_bits", bits),
            "/* Pages of 64 characters: what is added to each to fold it. */",
            array("uint8_t", "edgeml_fold_pages", fold_first),
            array("int32_t", "edgeml_fold_deltas", fold_second),
            "#endif\n",
        ]
    )


def code_points() -> str:
    """The text of ``unicode_tables.h``."""
    records: dict[tuple[int, int], int] = {}
    numbers = [records.setdefault(record(code), len(records)) for code in CODES]
    pool, known = bytearray(b"\0"), {b"": 1}
    pool += b"\0"
    places = []
    for code in CODES:
        left = plain(code)
        if left is not None and left not in known:
            known[left] = len(pool)
            pool += bytes([len(left)]) + left
        places.append(0 if left is None else known[left])
    first, second = stages(numbers, BLOCK)
    plain_first, plain_second = stages(places, BLOCK)
    parts = [
        opened("unicode_tables", "What code points are, in lower case, and without accents."),
        "/* Flags: 1 a word character, 2 white space, 4 cased, 8 ignored around a sigma, 16 a decimal digit. */",
        "typedef struct {\n    int32_t flags, lower;\n} edgeml_code_point;\n",
        f"static const edgeml_code_point edgeml_code_points[{len(records)}] = {{\n    "
        + ",\n    ".join(f"{{{flags}, {lower}}}" for flags, lower in records)
        + "\n};\n",
        array("uint16_t", "edgeml_code_blocks", first),
        array("uint8_t" if len(records) <= 256 else "uint16_t", "edgeml_code_records", second),
        "/* Start in edgeml_plain_pool (a length, then so many bytes) of what NFKD leaves; 0 where it is itself. */",
        array("uint16_t", "edgeml_plain_blocks", plain_first),
        array("uint16_t" if len(pool) < 65536 else "uint32_t", "edgeml_plain_places", plain_second),
        array("uint8_t", "edgeml_plain_pool", list(pool)),
        "#endif\n",
    ]
    return "\n".join(parts)


HEADERS = {"unicode_version.h": version, "word_tables.h": words, "unicode_tables.h": code_points}

if __name__ == "__main__":
    for name, made in HEADERS.items():
        (FOLDER / name).write_text(made())
