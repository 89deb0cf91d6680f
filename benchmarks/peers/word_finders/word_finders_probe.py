"""What else finds 200 whole words in a text, each in the way its documentation shows, with the words made ready before.

google-re2's Set and Python's ``re`` know where words end; the Aho-Corasick automata find parts of words too, so each
hit is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.metadata import version

import ahocorasick
import ahocorasick_rs
import re2

from benchmarks import word_workload
from benchmarks.probes.probe import Work, serve, walk

Finder = Callable[[str], list[int] | None]
WORDS = word_workload.words()


def re2_set(*, folded: bool, words: Sequence[str] = WORDS) -> Finder:
    """One automaton for all patterns."""
    options = re2.Options()
    options.case_sensitive = not folded
    found = re2.Set.SearchSet(options)
    for word in words:
        found.Add(rf"\b{re.escape(word)}\b")
    found.Compile()
    match: Finder = found.Match
    return match


def alternation(*, folded: bool) -> Finder:
    """One expression with all words between bars."""
    numbers = {word: number for number, word in enumerate(WORDS)}
    flags = re.IGNORECASE if folded else 0
    search = re.compile(rf"\b(?:{'|'.join(map(re.escape, WORDS))})\b", flags).findall
    return lambda text: [numbers[word.lower()] for word in search(text)]


def _whole(text: str, start: int, end: int) -> bool:
    """Whether neither a letter, digit nor _ stands before or behind."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (before.isalnum() or before == "_" or after.isalnum() or after == "_")


def automaton() -> Finder:
    """pyahocorasick."""
    made = ahocorasick.Automaton()
    for number, word in enumerate(WORDS):
        made.add_word(word, (number, len(word)))
    made.make_automaton()
    return lambda text: [
        number for last, (number, length) in made.iter(text) if _whole(text, last + 1 - length, last + 1)
    ]


def automaton_rs() -> Finder:
    """ahocorasick_rs."""
    made = ahocorasick_rs.AhoCorasick(WORDS)
    return lambda text: [
        number
        for number, start, end in made.find_matches_as_indexes(text, overlapping=True)
        if _whole(text, start, end)
    ]


def work(find: Finder) -> Work:
    """One document a call."""
    documents = list(word_workload.documents())
    return Work(walk(find, documents), lambda: [min(find(text) or [-1]) for text in documents])


def main() -> None:
    """Makes the finders and answers the runner."""
    works = {
        "w3_words/re2": work(re2_set(folded=False)),
        "w3_words_folded/re2": work(re2_set(folded=True)),
        "w3_words/re": work(alternation(folded=False)),
        "w3_words_folded/re": work(alternation(folded=True)),
        "w3_words/pyahocorasick": work(automaton()),
        "w3_words/ahocorasick_rs": work(automaton_rs()),
    }
    for count in word_workload.SIZES:
        works[f"w3_words_{count}/re2"] = work(re2_set(folded=False, words=word_workload.words(count)))
    serve(works, {name: version(name) for name in ("google-re2", "pyahocorasick", "ahocorasick-rs")})


if __name__ == "__main__":
    main()
