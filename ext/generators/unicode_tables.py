"""Writes ``ext/unicode_tables.h`` from this Python's own ``str``: ``python ext/generators/unicode_tables.py``.

1. What a code point is (a word character, white space, ...) and how it is lower-cased is asked of ``str`` itself, so
   that the kernel cuts and folds texts as Python does. The properties behind the final sigma have no method of their
   own; they are read off ``str.lower``.
2. Two stages: a code point's block of 128, and in it the number of its record. Equal blocks are kept once.
3. ``edgeml_plain`` is what ``unicodedata.normalize("NFKD")`` leaves of a code point without combining characters.
   Hangul syllables are left out of it: they are taken apart by arithmetic (The Unicode Standard, section 3.12).
"""

import sys
import unicodedata
from pathlib import Path

BLOCK = 128
WORD, SPACE, CASED, IGNORABLE, DIGIT = 1, 2, 4, 8, 16
HANGUL = range(0xAC00, 0xAC00 + 11172)
SURROGATES = range(0xD800, 0xE000)
TARGET = Path(__file__).resolve().parents[1] / "unicode_tables.h"


def record(code: int) -> tuple[int, int]:
    """Flags of a code point, and what lower-casing adds to it."""
    c = chr(code)
    if code in SURROGATES:
        return 0, 0
    flags = (WORD if c.isalnum() or c == "_" else 0) | (SPACE if c.isspace() else 0) | (DIGIT if c.isdecimal() else 0)
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


def stages(values: list[int]) -> tuple[list[int], list[int]]:
    """Both stages for a value of each code point."""
    known: dict[tuple[int, ...], int] = {}
    first, second = [], []
    for start in range(0, len(values), BLOCK):
        block = tuple(values[start : start + BLOCK])
        if block not in known:
            known[block] = len(known)
            second += block
        first.append(known[block])
    return first, second


def array(kind: str, name: str, values: list[int]) -> str:
    """A C array."""
    lines, line = [], ""
    for value in values:
        if len(line) + len(str(value)) > 114:
            lines.append(line.rstrip())
            line = ""
        line += f"{value}, "
    body = "\n    ".join([*lines, line.rstrip(" ,")])
    return f"static const {kind} {name}[{len(values)}] = {{\n    {body}\n}};\n"


def header() -> str:
    """The text of ``unicode_tables.h``."""
    codes = range(sys.maxunicode + 1)
    records: dict[tuple[int, int], int] = {}
    numbers = [records.setdefault(record(code), len(records)) for code in codes]
    pool, known = bytearray(b"\0"), {b"": 1}
    pool += b"\0"
    places = []
    for code in codes:
        left = plain(code)
        if left is not None and left not in known:
            known[left] = len(pool)
            pool += bytes([len(left)]) + left
        places.append(0 if left is None else known[left])
    first, second = stages(numbers)
    plain_first, plain_second = stages(places)
    parts = [
        f"/* Made by ext/generators/unicode_tables.py from Python's str; Unicode {unicodedata.unidata_version}. */\n",
        "#ifndef EDGEML_UNICODE_TABLES_H\n#define EDGEML_UNICODE_TABLES_H\n\n#include <stdint.h>\n",
        f'#define EDGEML_UNICODE_VERSION "{unicodedata.unidata_version}"\n',
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


if __name__ == "__main__":
    TARGET.write_text(header())
