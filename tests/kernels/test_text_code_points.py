"""Every code point is to the kernel what it is to Python: in words, in lower case, without accents, as white space."""

import sys
import unicodedata

import numpy as np
import pytest
from builder.text_forms import by_the_core
from sklearn.feature_extraction.text import CountVectorizer, strip_accents_ascii, strip_accents_unicode

from edgeml.kernels.texts import UNICODE, kinds_of, normalized

# Of another version of Unicode some code points are other things, so only what both have is compared.
pytestmark = pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE,
    reason=f"the kernel has Unicode {UNICODE}, this Python {unicodedata.unidata_version}",
)
CODES = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
STRIP = {"": str, "ascii": strip_accents_ascii, "unicode": strip_accents_unicode}
AT_ONCE = 64
BLOCK = 1_024
LINES = 8_192
SETTINGS = {
    "lower case": {"lowercase": True, "token_pattern": r"(?u)\b\w+\b"},
    "as it stands": {"lowercase": False},
    "without accents": {"strip_accents": "unicode", "token_pattern": r"\w+"},
    "in ASCII": {"strip_accents": "ascii", "lowercase": False, "token_pattern": r"\w+"},
    "letters": {"token_pattern": r"[^\W\d_]+"},
    "visible": {"token_pattern": r"\S+"},
    "characters": {"analyzer": "char", "ngram_range": (1, 2)},
    "characters in words": {"analyzer": "char_wb", "ngram_range": (2, 3)},
}


def test_every_code_point_is_of_the_kind_that_it_is_to_python():
    expected = [((c := chr(code)).isalnum() or c == "_", c.isspace(), c.isdecimal()) for code in CODES]
    assert [kinds_of(code) for code in CODES] == expected


@pytest.mark.parametrize("accents", STRIP)
@pytest.mark.parametrize("lowercase", [False, True])
def test_every_code_point_is_written_as_python_writes_it(lowercase, accents):
    # Alone, behind a letter and before a capital sigma, between a sigma and a letter; lines keep them apart.
    # In parts, because Python grows what it makes of megabytes step by step: minutes where every allocation is watched.
    for form in ("{}", "a{}\u03a3", "A\u03a3{}B", "\u03a3{}", "{}\u03a3{}", "\u0391\u03a3{}"):
        for start in range(0, len(CODES), LINES):
            text = "\n".join(form.replace("{}", chr(code)) for code in CODES[start : start + LINES])
            wanted = STRIP[accents](text.lower() if lowercase else text)
            given = normalized(text.encode(), lowercase=lowercase, accents=accents).decode()
            assert given.split("\n") == wanted.split("\n")


@pytest.mark.parametrize(
    "text", [b"\xff", b"a\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\x80\xce\xa3", b""]
)
def test_bytes_that_are_no_text_are_read_one_by_one(text):
    given = normalized(text, lowercase=True, accents="unicode").decode()
    assert len(given) <= len(text)


def documents(codes):
    """Texts in which each code point stands alone, doubled, in a word, and on both sides of a capital sigma."""
    made = []
    for start in range(0, len(codes), AT_ONCE):
        some = [chr(code) for code in codes[start : start + AT_ONCE]]
        made.append(" ".join(f"{c} {c}{c} a{c}b A\u03a3{c} {c}\u03a3" for c in some))
    return made


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_tokens_are_cut_where_python_cuts_them(settings):
    codes = [code for code in CODES if code < 0x2100 or code % 997 == 0]
    for start in range(0, len(codes), BLOCK):
        texts = documents(codes[start : start + BLOCK])
        vectorizer = CountVectorizer(**settings)
        expected = vectorizer.fit_transform(texts)
        np.testing.assert_array_equal(by_the_core(vectorizer, texts), expected.toarray())
