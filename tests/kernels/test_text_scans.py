"""Scans of texts by themselves: against Python's ``re`` and ``str``, and over odd bytes; hostile ones are refused."""

import os
import re
import subprocess
import sysconfig
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rule_oracle import fold as folded_text
from oracles.rule_oracle import text_truth

from edgeml.kernels.frame import FrameReader
from edgeml.kernels.rules import CELL_LIMIT, KINDS, PATTERN_LIMIT, SCAN_LIMIT, SCANS, RuleProgram, fold

EXT = Path(__file__).resolve().parents[2] / "ext"
INF = float("inf")
READER = FrameReader((("t", 4, -INF, INF, True, False, (), 1 << 20),), True, 10)
PUSH, STOP, FIRE = "push_count", -1, -2


def program(scans, patterns, *steps, matchers=(), n_rules=1):
    """A program of steps (kind, flip, a, b, count, yes, no) and scans (kind, column, first, patterns)."""
    raw = [pattern.encode() if isinstance(pattern, str) else pattern for pattern in patterns]
    return RuleProgram(
        start=0,
        code=np.array([[KINDS.index(kind), *rest] for kind, *rest in steps], dtype=np.int32).reshape(-1),
        constants=np.array([1.0]),
        codes=np.zeros(0, dtype=np.int32),
        strings=b"".join(raw),
        offsets=np.cumsum([0, *map(len, raw)], dtype=np.int64),
        n_rules=n_rules,
        n_numbers=0,
        n_categories=0,
        n_texts=1,
        scans=np.array([[SCANS.index(kind), *rest] for kind, *rest in scans], dtype=np.int32).reshape(-1),
        patterns=np.arange(len(raw), dtype=np.int32),
        matchers=matchers,
    )


def frame_of(*texts):
    frame = READER.new_frame()
    READER.read_many(frame, [{"t": text} for text in texts])
    assert frame.n_violations == 0
    return frame


def found(kind, patterns, text):
    """Which of the patterns a scan for all of them finds in a text."""
    frame = frame_of(text)
    scan = (kind, 0, 0, len(patterns))
    made = [program([scan], patterns, ("text_found", 0, 0, i, 1, FIRE, STOP)) for i in range(len(patterns))]
    return [one.match_one(frame.capsule) == 0 for one in made]


SCRIPTS = st.sampled_from(
    ["a", "B", "z", "_", "7", "é", "É", "ß", "ẞ", "ſ", "\u212a", "k", "σ", "ς", "Σ", "İ", "ı", "Ж", "ж", "日", "本",
     "ก", "\u0301", "\u0345", "ι", "𝔘", "𐐀", "𐐨", "ⱥ", "Ⱥ", " ", "-", ".", "\n", "\0", "’", "\u2028", "٣", "½", "😀"]
)  # fmt: skip
WORDS = st.text(SCRIPTS.filter(lambda mark: re.match(r"\w", mark)), min_size=1, max_size=12)
PHRASES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TEXTS = st.text(SCRIPTS, max_size=200) | st.lists(WORDS | st.sampled_from([" ", "-", ", "]), max_size=40).map("".join)


@st.composite
def phrases_and_texts(draw):
    patterns = draw(st.lists(PHRASES, min_size=1, max_size=8))
    gaps = st.sampled_from([" ", "  ", "-", ". ", "", "\u2028", "x"])
    parts = draw(st.lists(st.sampled_from(patterns) | st.sampled_from(patterns).map(str.swapcase) | TEXTS, max_size=8))
    return patterns, "".join(part + draw(gaps) for part in parts)


@settings(max_examples=200, deadline=None)
@given(phrases_and_texts())
def test_words_and_phrases_are_found_as_by_re(case):
    patterns, text = case
    expected = [
        re.search(r"\b" + r"\W+".join(map(re.escape, re.findall(r"\w+", pattern))) + r"\b", text) is not None
        for pattern in patterns
    ]
    assert found("words", patterns, text) == expected
    assert expected == [text_truth(text, "contains word", pattern, False) for pattern in patterns]
    assert found("words_folded", patterns, text) == [
        text_truth(text, "contains word", pattern, True) for pattern in patterns
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(SCRIPTS, min_size=1, max_size=5), min_size=1, max_size=8), st.lists(st.text(SCRIPTS), max_size=5)
)
def test_parts_are_found_as_by_str(patterns, pieces):
    text = "".join(piece + patterns[i % len(patterns)][: i + 1] for i, piece in enumerate(pieces))
    assert found("parts", patterns, text) == [pattern in text for pattern in patterns]
    assert found("parts_folded", patterns, text) == [folded_text(pattern) in folded_text(text) for pattern in patterns]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("abAB -", min_size=1, max_size=6), min_size=1, max_size=12), st.text("abAB -", max_size=150))
def test_ascii_words_and_parts_are_found_as_by_re_ignoring_case(patterns, text):
    ignoring = [re.search(re.escape(pattern), text, re.IGNORECASE) is not None for pattern in patterns]
    assert found("parts_folded", patterns, text) == ignoring
    words = [pattern.strip(" -") for pattern in patterns if pattern.strip(" -")]
    if words:
        expected = [
            re.search(r"\b" + r"\W+".join(re.findall(r"\w+", word)) + r"\b", text, re.IGNORECASE) is not None
            for word in words
        ]
        assert found("words_folded", words, text) == expected


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_words_and_characters_are_counted(text):
    made = [
        program([(kind, 0, 0, 0)], [], (PUSH, 0, 0, 0, 0, STOP, STOP), ("push_constant", 0, 0, 0, 0, STOP, STOP),
                ("top_equal", 0, 0, 0, 0, FIRE, STOP))
        for kind in ("count_words", "count_characters")
    ]  # fmt: skip
    answers = [one.match_one(frame_of(text).capsule) == 0 for one in made]
    assert answers == [len(re.findall(r"\w+", text)) == 1, len(text) == 1]


def test_the_first_pattern_chooses_the_rule():
    patterns = [f"w{i}" for i in range(200)]
    made = program([("words", 0, 0, 200)], patterns, ("text_first", 0, 0, 0, 200, FIRE, STOP), n_rules=200)
    rows = ["", "none of them w200 xw1 w1x", "w7", "w199", "w150, w63, w64", None, "w0" + " w1" * 100]
    out = np.full(len(rows), 99, dtype=np.int32)
    assert made.match(frame_of(*rows).capsule, out) == 4
    assert out.tolist() == [-1, -1, 7, 199, 63, -1, 0]


def test_words_at_the_edges_of_blocks():
    for before in range(140):
        for word in ("word", "größe", "x" * 70, "日本"):
            text = " " * before + word
            for tail in ("", " ", "!", " " * 70):
                assert found("words", [word, "wor", "y"], text + tail) == [True, False, False]
                assert found("words", [word], text + "s" + tail) == [False]
            assert found("words_folded", [word.upper().replace("SS", "ß")], text) == [True]


def test_phrases_that_begin_in_one_another():
    patterns = ["a b", "a b a b c", "b a", "b c", "c", "a b c d"]
    assert found("words", patterns, "a b a b a b c") == [True, True, True, True, True, False]
    assert found("words", patterns, "a b x c d") == [True, False, False, False, True, False]
    assert found("words", ["don't"], "Don’t: don’t") == [True]


def test_a_pattern_that_stands_twice_and_one_in_the_other():
    assert found("words", ["ab", "ab", "abc"], "x ab") == [True, True, False]
    assert found("parts", ["b", "abc", "b", "bc", "abcd"], "xabcx") == [True, True, True, True, False]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=6))
def test_any_bytes_may_be_patterns(text, patterns):
    # Texts are UTF-8, but a pattern is whatever somebody wrote into a bundle.
    text = text.decode("utf-8", "replace")
    for kind in ("words", "words_folded", "parts", "parts_folded"):
        try:
            found(kind, patterns, text)
        except ValueError as error:
            assert "empty" in str(error)
    for kind in ("text_starts_folded", "text_ends_folded"):
        made = program([], patterns, (kind, 0, 0, 0, 0, FIRE, STOP))
        assert made.match_one(frame_of(text).capsule) in (0, -1)
    assert isinstance(fold(patterns[0]), bytes)


@settings(max_examples=150, deadline=None)
@given(st.text(SCRIPTS, max_size=6), st.text(SCRIPTS, max_size=12))
def test_beginnings_and_ends_ignoring_case(part, text):
    for kind, test in (("text_starts_folded", str.startswith), ("text_ends_folded", str.endswith)):
        made = program([], [fold(part.encode())], (kind, 0, 0, 0, 0, FIRE, STOP))
        for given_text in (text, part + text, text + part, (text + part).swapcase()):
            expected = test(folded_text(given_text), folded_text(part))
            assert (made.match_one(frame_of(given_text).capsule) == 0) == expected


WORDY = ("words", 0, 0, 2)
ASK = ("text_found", 0, 0, 0, 1, FIRE, STOP)


@pytest.mark.parametrize(
    ("scans", "patterns", "step", "message"),
    [
        ([("words", 1, 0, 2)], ["a", "b"], ASK, "scan 0: column 1 of 1"),
        ([("words", -1, 0, 2)], ["a", "b"], ASK, "scan 0: column -1 of 1"),
        ([("words", 0, 1, 2)], ["a", "b"], ASK, "scan 0: 2 patterns from 1 on"),
        ([("words", 0, -1, 2)], ["a", "b"], ASK, "scan 0: 2 patterns from -1 on"),
        ([("words", 0, 0, -1)], ["a", "b"], ASK, "scan 0: -1 patterns"),
        ([("words", 0, 2**31 - 1, 2**31 - 1)], ["a", "b"], ASK, "scan 0"),
        ([("words", 0, 0, 0)], ["a", "b"], ASK, "scan 0: 0 patterns, and kind 0"),
        ([("count_words", 0, 0, 2)], ["a", "b"], ASK, "scan 0: 2 patterns, and kind 5"),
        ([("words", 0, 0, 2)], ["a", "-"], ASK, "scan 0: pattern 1 is empty"),
        ([("parts", 0, 0, 2)], ["", "-"], ASK, "scan 0: pattern 0 is empty"),
        ([("words", 0, 0, 2)], ["a", "b" * 1025], ASK, "scan 0: pattern 1 is too long"),
        ([("words_folded", 0, 0, 2)], ["a", "ⱥ" * 342], ASK, "scan 0: pattern 1 is too long"),
        ([("words", 0, 0, 2)], ["b " * 33, "a"], ASK, "scan 0: pattern 0 is too long"),
        ([("parts", 0, 0, 2)], ["a" * 3_000_000, "b"], ASK, "too long, or the patterns are too many"),
        ([("expressions", 0, 0, 2)], ["a", "b"], ASK, "there is no matcher"),
        ([WORDY], ["a", "b"], ("text_found", 0, 1, 0, 1, FIRE, STOP), "scan 1 of 1"),
        ([WORDY], ["a", "b"], ("text_found", 0, -1, 0, 1, FIRE, STOP), "scan -1 of 1"),
        ([WORDY], ["a", "b"], ("text_found", 0, 0, 1, 2, FIRE, STOP), "2 patterns from 1 on are not of scan 0"),
        ([WORDY], ["a", "b"], ("text_found", 0, 0, 0, 0, FIRE, STOP), "0 patterns"),
        ([WORDY], ["a", "b"], ("text_found", 0, 0, -1, 1, FIRE, STOP), "patterns from -1"),
        ([WORDY], ["a", "b"], ("text_first", 0, 0, 0, 2, FIRE, STOP), "no rule for each of 2"),
        ([WORDY], ["a", "b"], ("text_first", 1, 0, 0, 1, FIRE, STOP), "no rule for each"),
        ([WORDY], ["a", "b"], ("text_first", 0, 0, 0, 1, STOP, STOP), "no rule for each"),
        ([WORDY], ["a", "b"], (PUSH, 0, 0, 0, 0, STOP, STOP), "counts nothing"),
        ([("count_words", 0, 0, 0)], [], ASK, "patterns from 0 on are not of scan 0"),
        ([], ["a"], ASK, "scan 0 of 0"),
    ],
)
def test_hostile_scans_are_refused(scans, patterns, step, message):
    with pytest.raises(ValueError, match=message):
        program(scans, patterns, step)


def test_too_many_scans_or_patterns_are_refused():
    with pytest.raises(ValueError, match="too many"):
        program([("count_words", 0, 0, 0)] * (SCAN_LIMIT + 1), [], (PUSH, 0, 0, 0, 0, STOP, STOP))
    with pytest.raises(ValueError, match="too many"):
        program([("words", 0, 0, 1)], ["a"] * (PATTERN_LIMIT + 1), ASK)
    as_many = program([("words", 0, 0, PATTERN_LIMIT)], [f"w{i}" for i in range(PATTERN_LIMIT)],
                      ("text_found", 0, 0, PATTERN_LIMIT - 1, 1, FIRE, STOP))  # fmt: skip
    assert as_many.match_one(frame_of(f"w{PATTERN_LIMIT - 1}").capsule) == 0


def test_the_memory_of_all_scans_together_is_bounded():
    # Each scan alone fits; the same patterns may be those of many scans.
    large = [f"{i:06x}" * 100 for i in range(400)]
    assert program([("parts", 0, 0, 400)], large, ASK).match_one(frame_of(large[0]).capsule) == 0
    for kind in ("parts", "parts_folded"):
        with pytest.raises(ValueError, match=f"scan {CELL_LIMIT // (240_001 * 17)}: .* too many together"):
            program([(kind, 0, 0, 400)] * 16, large, ASK)
    words = [" ".join(f"w{i}x{j}" for j in range(4)) for i in range(50_000)]
    with pytest.raises(ValueError, match="scan [1-9]: .* too many together"):
        program([("words", 0, 0, 50_000)] * 10, words, ASK)
    with pytest.raises(ValueError, match="scan 0: .* too many together"):
        program([("words", 0, 0, 1000)], ["a " * 4000] * 1000, ASK)


def test_an_error_of_a_matcher_is_handed_on():
    def broken(text):
        raise LookupError("no such expression")

    for matcher, error in ((broken, LookupError), (lambda text: [1], ValueError), (lambda text: ["a"], TypeError)):
        made = program([("expressions", 0, 0, 1)], ["a"], ASK, matchers=(matcher,))
        with pytest.raises(error):
            made.match_one(frame_of("x").capsule)
        with pytest.raises(error):
            made.match(frame_of("x", "y").capsule, np.zeros(2, dtype=np.int32))
        assert made.match_one(frame_of(None).capsule) == -1
    texts = []
    made = program([("expressions", 0, 0, 1)], ["a"], ASK, matchers=(texts.append,))
    assert made.match_one(frame_of("xé").capsule) == -1 and texts == ["xé".encode()]


def test_many_threads_use_one_program():
    patterns = [f"w{i}" for i in range(100)]
    made = program([("words_folded", 0, 0, 100)], patterns, ("text_first", 0, 0, 0, 100, FIRE, STOP), n_rules=100)
    expected = [i % 100 for i in range(5_000)]
    frame = frame_of(*[f"some words and W{number}." for number in expected])
    results = []

    def match():
        out = np.full(5_000, 99, dtype=np.int32)
        made.match(frame.capsule, out)
        results.append(out.tolist() == expected)

    threads = [threading.Thread(target=match) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


MASKS = r"""
#include <stdio.h>
#include "text_scan.h"
int main(void) {
    uint8_t block[64];
    while (fread(block, 1, 64, stdin) == 64) {
        uint64_t high, words = edgeml_ascii_words(block, &high);
        printf("%llu %llu\n", (unsigned long long)words, (unsigned long long)high);
    }
    return 0;
}
"""


@pytest.mark.parametrize("flags", [[], ["-U__SSE2__"]])
def test_words_are_told_alike_on_every_processor(tmp_path, flags):
    """The header has one way for processors with SSE2 and one for all others; a kernel has only one of them."""
    (tmp_path / "masks.c").write_text(MASKS)
    compiler = sysconfig.get_config_var("CC").split()
    built = tmp_path / "masks"
    # A sanitizer that is loaded before Python is not for the compiler.
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(
        [*compiler, "-O2", f"-I{EXT}", *flags, tmp_path / "masks.c", "-o", built, "-w"], check=True, env=plain
    )
    rng = np.random.default_rng(1)
    data = bytes(range(256)) + rng.integers(0, 256, 64 * 500, dtype=np.uint8).tobytes() + b"aZ_9 @[`{/:" * 64
    masks = subprocess.run([built], input=data, capture_output=True, check=True, env=plain).stdout.split()
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)]
    expected = [
        sum(1 << place for place, byte in enumerate(block) if test(byte))
        for block in blocks
        for test in (lambda byte: byte < 128 and (chr(byte).isalnum() or byte == 95), lambda byte: byte >= 128)
    ]
    assert list(map(int, masks)) == expected
