"""Vectorizers of a hostile bundle: what would leave its memory, or take too much of it, is refused by its name."""

import numpy as np
import pytest

from edgeml.errors import BundleError
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

SCHEMA = Schema.from_dict({"features": [{"name": "t", "kind": "text"}]})
WORDS = ("a", "b", "c")
N = len(WORDS)
ODD = 0x9E3779B97F4A7C15
LARGEST = 1 << 24
FAR = 2**63 - 1


def packed(words):
    return b"".join(len(word.encode()).to_bytes(2, "little") + word.encode() for word in words)


def vectorizer(**changes):
    letters = "".join("1" if chr(code).isalnum() else "0" for code in range(128))
    return {"feature": "t", "analyzer": "word", "slots": N, "ascii": letters} | changes


def program(*vectorizers, constants=N, index=(), width=N, terms=None):
    """A feature program; its terms are WORDS for each vectorizer that is not hashed."""
    document = {
        "format": 1,
        "door": "float64",
        "registers": 0,
        "codes": 0,
        "outputs": [],
        "strings": [],
        "index": list(index),
        "operations": [],
        "texts": list(vectorizers),
        "places": [],
        "width": width,
    }
    if terms is None:
        terms = packed(WORDS) * sum(not each.get("hashed") for each in vectorizers)
    return FeatureProgram(document, np.arange(1.0, constants + 1), SCHEMA, terms)


def row(made, text):
    """The columns of one text."""
    frame = RecordReader(SCHEMA).new_frame(1)
    assert not RecordReader(SCHEMA).read(frame, {"t": text})
    out = np.full((1, made.n_outputs), 7.0)
    made.encoder().encode(frame.capsule, out)
    return out[0].tolist()


def multiplied(constant, op="multiply"):
    return vectorizer(steps=[{"op": op, "constant": constant}])


def test_a_good_one_runs():
    assert row(program(multiplied(2), constants=5), "a b b") == [3.0, 8.0, 0.0]
    assert row(program(vectorizer(index=1), index=[9, 2, 1, 0]), "a b b") == [0.0, 2.0, 1.0]


@pytest.mark.parametrize("constant", [FAR, FAR - 1, FAR - N, FAR - N + 1, 2**32, N + 1, 1, -1, -FAR - 1])
@pytest.mark.parametrize("op", ["multiply", "divide", "select"])
def test_a_step_keeps_to_the_constants(constant, op):
    with pytest.raises(BundleError, match=r"features\.json: vectorizer 0: step .* beyond the end of the constants"):
        program(multiplied(constant, op))


@pytest.mark.parametrize("index", [FAR, FAR - N, FAR - N + 1, 2**32, N, 1])
def test_columns_keep_to_the_index(index):
    with pytest.raises(BundleError, match=r"features\.json: vectorizer 0: .* beyond the end of the index"):
        program(vectorizer(index=index), index=range(N))


@pytest.mark.parametrize("first", [FAR, FAR - N, 2**32, 2**31, 2**31 - 1, LARGEST, 1, -1, -(2**32), -FAR - 1])
def test_columns_keep_to_the_width(first):
    with pytest.raises(BundleError, match=r"features\.json: vectorizer 0: its columns from .* are not all among"):
        program(vectorizer(first=first))


@pytest.mark.parametrize("name", ["slots", "stops", "first", "index", "shortest_token"])
@pytest.mark.parametrize("number", [2**63, 2**64, 2**200, -(2**63) - 1])
def test_numbers_beyond_64_bits_are_refused(name, number):
    if number < 0 and name == "index":
        number = 2**70
    with pytest.raises(BundleError, match=r"features\.json"):
        program(vectorizer(**{name: number}))


def test_the_terms_of_all_vectorizers_together_are_bounded():
    # Each alone has few enough; together they would take gigabytes before a column is looked at.
    half = LARGEST // 2
    with pytest.raises(BundleError, match=r"vectorizer 1: output 0 is written twice"):
        program(vectorizer(hashed=True, slots=half), vectorizer(hashed=True, slots=half), width=half)
    with pytest.raises(BundleError, match=rf"vectorizer 1: the vectorizers have more than {LARGEST} terms"):
        program(vectorizer(hashed=True, slots=half), vectorizer(hashed=True, slots=half + 1), width=half)


def test_hashes_that_nobody_reads_are_refused():
    unread = vectorizer(hashed=True, index=0, slots=4)
    with pytest.raises(BundleError, match=r"vectorizer 1: none of its hashes has a column"):
        program(vectorizer(), unread, index=[-1] * 4)
    made = program(vectorizer(), unread, index=[-1, -1, -1, 3], width=N + 1)
    assert row(made, "a b b")[:N] == [1.0, 2.0, 0.0]


def hashed(low, high, first, **changes):
    return vectorizer(analyzer="char", hashed=True, slots=1, ngrams=[low, high], first=first, **changes)


def test_the_sizes_of_n_grams_are_bounded_for_all_together():
    program(hashed(1, 100, 0), hashed(1, 100, 1), hashed(1, 56, 2), width=3)
    with pytest.raises(BundleError, match="vectorizer 2: the n-grams of all vectorizers have more than 256 sizes"):
        program(hashed(1, 100, 0), hashed(1, 100, 1), hashed(1, 57, 2), width=3)
    program(*[hashed(1024, 1024, first) for first in range(16)], width=16)
    with pytest.raises(BundleError, match="vectorizer 16: .* sizes of more than 16384 together"):
        program(*[hashed(1024, 1024, first) for first in range(16)], hashed(1, 1, 16), width=17)


@pytest.mark.parametrize("analyzer", ["word", "char", "char_wb"])
@pytest.mark.parametrize("shortest", [1, 2, 3, 900])
def test_sizes_that_no_term_has_cost_nothing(analyzer, shortest):
    # 1,024 sizes, of which a vocabulary of short terms leaves a few: so many vectorizers would be refused else.
    terms = ("a b", "ca", " d ", "\u65e5\u672c")
    many = [vectorizer(analyzer=analyzer, slots=4, ngrams=[shortest, 1024], first=4 * at) for at in range(5)]
    made = program(*many, width=20, terms=packed(terms) * 5)
    found = row(made, "a b ca d \u65e5\u672c")
    expected = {
        "word": [shortest <= 2, shortest <= 1, 0, 0],
        "char": [shortest <= 3, shortest <= 2, shortest <= 3, shortest <= 2],
        "char_wb": [0, shortest <= 2, 1, shortest <= 2],
    }[analyzer]
    assert found == [float(each) for each in expected] * 5


def same_hashes(count, blocks):
    """Different words of 8 * blocks bytes that the kernel's table takes for the same until it has compared them.

    Two blocks are stirred into the hash h one after the other, ``h = f((f((h ^ a) * ODD) ^ b) * ODD)``: for any other
    first block, the second one may be chosen so that the product is the same again.
    """
    length = 8 * blocks
    wanted = int.from_bytes(b"same end", "little")

    def half(h, v):
        h = (h ^ v) * ODD % 2**64
        return h ^ h >> 32

    target = None
    for number in range(count):
        first = half(length, number)
        if target is None:
            target = first ^ wanted
        second = first ^ target
        yield b"".join(each.to_bytes(8, "little") for each in (number, second)) + b"." * (length - 16)


def test_few_words_may_share_a_hash():
    terms = b"".join(len(word).to_bytes(2, "little") + word for word in same_hashes(2, 8))
    assert program(vectorizer(slots=2), terms=terms, width=2).n_outputs == 2
    with pytest.raises(BundleError, match="term 1 stands twice"):
        program(vectorizer(slots=2), terms=packed(["as it was", "as it was"]), width=2)


def test_many_words_of_one_hash_are_refused_before_they_are_compared():
    # All have one length and one hash: 127 comparisons for each were what loading them cost.
    terms = b"".join(len(word).to_bytes(2, "little") + word for word in same_hashes(100, 1000))
    with pytest.raises(BundleError, match=r"term \d+ stands twice, or too many have the same hash"):
        program(vectorizer(slots=100), terms=terms, width=100)


def test_a_large_vocabulary_is_taken():
    words = [f"term{number}" for number in range(300_000)]
    made = program(vectorizer(slots=len(words)), terms=packed(words), width=len(words))
    assert np.flatnonzero(row(made, "term7 term299999 termx")).tolist() == [7, 299_999]
