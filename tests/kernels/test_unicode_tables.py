"""Rules and vectorizers agree on what a character is: their tables, and how UTF-8 is read and written."""

import importlib.util
import os
import subprocess
import sysconfig
import unicodedata
from pathlib import Path

import pytest
from oracles.rule_oracle import fold as folded_text

from edgeml.kernels.rules import fold
from edgeml.kernels.texts import UNICODE

EXT = Path(__file__).resolve().parents[2] / "ext"
# What both kernels are made of, in one program.
BOTH = r"""
#include <stdio.h>
#include "text_parts.h"
#include "text_vectors.h"
int main(void) {
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t bytes[8] = {0};
        int width = 0, written = edgeml_put_character(c, bytes);
        int64_t at = 0;
        uint32_t read = edgeml_character(bytes, bytes + written, &width), decoded = edgeml_decode(bytes, written, &at);
        int is_character = c < 0xD800 || c > 0xDFFF;
        if (edgeml_is_word(c) != (edgeml_about(c)->flags & EDGEML_IS_WORD)) printf("word %x\n", c);
        if (read != (is_character ? c : EDGEML_NO_CHARACTER) || width != (is_character ? written : 1))
            printf("read %x\n", c);
        if (decoded != (is_character ? c : 0xFFFD) || at != width) printf("decoded %x\n", c);
        for (int less = 1; less < written; less++)
            if (edgeml_character(bytes, bytes + less, &width) != EDGEML_NO_CHARACTER || width != 1)
                printf("cut %x\n", c);
    }
    puts("done");
    return 0;
}
"""
# Every start of four bytes: what is read of each.
ANY_BYTES = r"""
#include <stdio.h>
#include "utf8.h"
int main(void) {
    static const uint8_t edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xF0, 0xFF};
    uint8_t b[4];
    for (int a = 0; a < 256; a++)
        for (int i = 0; i < 13 * 13 * 13; i++) {
            int width;
            b[0] = (uint8_t)a;
            b[1] = edges[i % 13];
            b[2] = edges[i / 13 % 13];
            b[3] = edges[i / 169];
            uint32_t c = edgeml_character(b, b + 4, &width);
            printf("%02x%02x%02x%02x %d %d\n", b[0], b[1], b[2], b[3], width, c == EDGEML_NO_CHARACTER ? -1 : (int)c);
        }
    return 0;
}
"""


def generator():
    spec = importlib.util.spec_from_file_location("unicode_tables", EXT / "generators" / "unicode_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said_by(program, folder, *flags, headers=EXT):
    """What a C program over the headers prints."""
    (folder / "program.c").write_text(program)
    compiler = sysconfig.get_config_var("CC").split()
    # A sanitizer that is loaded before Python is not for the compiler.
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [*compiler, "-O1", "-Wall", "-Werror", "-Wno-unused-function", f"-I{headers}", folder / "program.c"]
    subprocess.run([*command, "-o", folder / "program", "-lm", *flags], check=True, env=plain, capture_output=True)
    done = subprocess.run([folder / "program"], check=True, env=plain, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE,
    reason=f"the tables are of Unicode {UNICODE}, this Python has {unicodedata.unidata_version}",
)
def test_the_tables_are_those_of_their_generator():
    for name, made in generator().HEADERS.items():
        assert (EXT / name).read_text() == made(), f"{name}: run ext/generators/unicode_tables.py"


def test_both_tables_have_the_same_words_and_one_reader(tmp_path):
    assert said_by(BOTH, tmp_path) == ["done"]


def test_tables_of_two_versions_are_not_compiled(tmp_path):
    headers = tmp_path / "headers"
    headers.mkdir()
    for path in EXT.glob("*.h"):
        (headers / path.name).write_text(path.read_text())
    assert said_by(BOTH, tmp_path, headers=headers) == ["done"]
    version = headers / "unicode_version.h"
    version.write_text(version.read_text().replace("NUMBER 140000", "NUMBER 150000"))
    for name in ("word_tables.h", "unicode_tables.h"):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            said_by(f'#include "{name}"\nint main(void) {{ return 0; }}', tmp_path, headers=headers)
        assert b"run ext/generators/unicode_tables.py" in refused.value.stderr


def test_bytes_are_read_as_python_reads_them(tmp_path):
    lines = said_by(ANY_BYTES, tmp_path)
    assert len(lines) == 256 * 13**3
    for line in lines:
        given, width, code = line.split()
        expected = (1, -1)
        for size in range(1, 5):
            try:
                expected = size, ord(bytes.fromhex(given)[:size].decode())
            except (UnicodeDecodeError, TypeError):
                continue
            break
        assert (int(width), int(code)) == expected, line


def test_folding_is_simple_and_done_once():
    made = generator()
    for code in [*range(0x80, 0x20000, 7), *range(0x250), *range(0x1E00, 0x2200), *range(0xAB60, 0xABC0)]:
        if 0xD800 <= code < 0xE000 or unicodedata.category(chr(code)) == "Cn":
            continue
        once = fold(chr(code).encode())
        assert fold(once) == once and len(once.decode()) == 1
        assert once.decode() == chr(made.folded(code)) == folded_text(chr(code))
        if made.is_word(code):
            assert made.is_word(ord(once.decode())), "a folded word is still one word"
    assert fold(b"A\xff\xc3") == b"a\xff\xc3"
