"""What a learned rule may say about one feature, and of which rows it is true.

1. A literal is the text of a condition of the rule language and a column of zeros and ones. True means surely true: a
   row whose value is missing has 0, as it does where the rules are asked.
2. Numbers give ``x <= t`` and ``x > t`` at quantiles, with the shortest decimal between two values that were seen;
   categories a level or all levels but one; texts whole words (and pairs of words); what is sometimes missing
   ``is missing``.
3. Which literals there are is read off the growing rows alone. Those of a text are words in at least ``min_rows`` of
   them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, hstack

from edgeml.runtime.expression import format_name, format_text
from edgeml.runtime.reader import Frame
from edgeml.runtime.schema import Feature, Schema

MAX_WORD = 40
MAX_WORDS_KEPT = 20_000
CUTS = 24
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Literal:
    """One condition over one feature.

    Attributes:
        text: In the rule language.
        feature: Name of its feature.
        word: What it looks for in a text, else None.
    """

    text: str
    feature: str
    word: str | None = None


@dataclass(frozen=True)
class Literals:
    """All literals of a table.

    Attributes:
        items: The literals.
        matrix: Row x literal: 1 where it is surely true.
        negated: For each literal whether ``not`` before it says something that no other literal says.
        present: Row x literal as a column each of what a negation needs: 1 where the feature is there, by feature.
    """

    items: tuple[Literal, ...]
    matrix: csc_matrix
    negated: NDArray[np.bool_]
    present: dict[str, NDArray[np.bool_]]


def literals_of(
    schema: Schema,
    frame: Frame,
    growing: NDArray[np.int64],
    *,
    veto: Collection[str] = (),
    min_rows: int = 5,
    phrases: bool = False,
) -> Literals:
    """Reads the literals off the growing rows, and finds where they are true.

    Args:
        schema: What a record looks like.
        frame: All rows.
        growing: The rows that decide which literals there are.
        veto: Features, words and conditions that must not be used.
        min_rows: A literal is true (and not true) on at least so many growing rows.
        phrases: Whether pairs of words that follow each other are literals too.
    """
    items: list[Literal] = []
    columns: list[csc_matrix] = []
    present: dict[str, NDArray[np.bool_]] = {}
    refused = {word.casefold() for word in veto}
    for feature in schema.features:
        if feature.kind == "image" or feature.name.casefold() in refused:
            continue
        found: Iterator[tuple[Literal, NDArray[np.int64]]]
        if feature.kind == "text":
            texts = [frame.text(schema.slots[feature.name].index, row) for row in range(frame.n_rows)]
            there = np.array([text is not None for text in texts], dtype=bool)
            found = _of_text(feature, texts, growing, min_rows, phrases)
        elif feature.kind == "category":
            codes = np.array(frame.code_column(schema.slots[feature.name].index), dtype=np.int32)
            there = codes != -1
            found = _of_category(feature, codes)
        else:
            values = np.array(frame.number_column(schema.slots[feature.name].index), dtype=np.float64)
            there = ~np.isnan(values)
            found = _of_boolean(feature, values) if feature.kind == "boolean" else _of_number(feature, values, growing)
        present[feature.name] = there
        every = [*found]
        if not there[growing].all():
            gap = Literal(f"{format_name(feature.name)} is missing", feature.name)
            every.append((gap, np.flatnonzero(~there)))
        in_growing = np.zeros(frame.n_rows, dtype=bool)
        in_growing[growing] = True
        for literal, rows in every:
            seen = int(in_growing[rows].sum())
            unwanted = literal.text.casefold() in refused or (literal.word or "").casefold() in refused - {""}
            if unwanted or seen < min_rows or len(growing) - seen < min_rows:
                continue
            items.append(literal)
            ones = np.ones(len(rows), dtype=np.float64)
            columns.append(csc_matrix((ones, (rows, np.zeros(len(rows), dtype=np.int64))), shape=(frame.n_rows, 1)))
    matrix = hstack(columns, format="csc") if columns else csc_matrix((frame.n_rows, 0), dtype=np.float64)
    negated = np.array([literal.word is not None for literal in items], dtype=bool)
    return Literals(tuple(items), matrix, negated, present)


def _of_text(
    feature: Feature, texts: Sequence[bytes | None], growing: NDArray[np.int64], min_rows: int, phrases: bool
) -> Iterator[tuple[Literal, NDArray[np.int64]]]:
    decoded = ["" if text is None else text.decode("utf-8", "replace") for text in texts]
    # Capitals are ignored where there are any: a sentence begins with one.
    folds = any(text != text.lower() for text in decoded)
    sets: list[set[str]] = []
    for text in decoded:
        words = _WORD.findall(text.lower() if folds else text)
        found = {word for word in words if len(word) <= MAX_WORD}
        if phrases:
            pairs = zip(words, words[1:], strict=False)
            found |= {f"{one} {two}" for one, two in pairs if len(one) + len(two) < MAX_WORD}
        sets.append(found)
    counts = Counter(word for row in growing.tolist() for word in sets[row])
    common = sorted((word for word, seen in counts.items() if seen >= min_rows), key=lambda word: (-counts[word], word))
    number = {word: at for at, word in enumerate(sorted(common[:MAX_WORDS_KEPT]))}
    rows: list[list[int]] = [[] for _ in number]
    for row, words_of_row in enumerate(sets):
        for word in words_of_row:
            at = number.get(word)
            if at is not None:
                rows[at].append(row)
    ending = " ignoring case" if folds else ""
    for word, at in number.items():
        text = f"{format_name(feature.name)} contains word {format_text(word)}{ending}"
        yield Literal(text, feature.name, word), np.array(rows[at], dtype=np.int64)


def _of_category(feature: Feature, codes: NDArray[np.int32]) -> Iterator[tuple[Literal, NDArray[np.int64]]]:
    name = format_name(feature.name)
    for code, level in enumerate(feature.levels or ()):
        yield Literal(f"{name} == {format_text(level)}", feature.name), np.flatnonzero(codes == code)
        rows = np.flatnonzero((codes != code) & (codes != -1))
        yield Literal(f"{name} != {format_text(level)}", feature.name), rows


def _of_boolean(feature: Feature, values: NDArray[np.float64]) -> Iterator[tuple[Literal, NDArray[np.int64]]]:
    name = format_name(feature.name)
    yield Literal(name, feature.name), np.flatnonzero(values == 1)
    yield Literal(f"not {name}", feature.name), np.flatnonzero(values == 0)


def _of_number(
    feature: Feature, values: NDArray[np.float64], growing: NDArray[np.int64]
) -> Iterator[tuple[Literal, NDArray[np.int64]]]:
    name = format_name(feature.name)
    seen = values[growing]
    seen = np.unique(seen[~np.isnan(seen)])
    if len(seen) < 2:
        return
    # Cuts at quantiles of the distinct values: a value that many rows share is no reason for many cuts.
    places = np.unique(np.linspace(0, len(seen) - 1, CUTS + 2).astype(np.int64)[1:-1])
    cuts = sorted({shortest_between(seen[at - 1], seen[at]) for at in places.tolist() if at > 0})
    for cut in cuts:
        shown = repr(int(cut)) if cut == int(cut) and abs(cut) < 1e15 else repr(cut)
        yield Literal(f"{name} <= {shown}", feature.name), np.flatnonzero(values <= cut)
        yield Literal(f"{name} > {shown}", feature.name), np.flatnonzero(values > cut)


def shortest_between(low: float, high: float) -> float:
    """The number of fewest digits that is at least ``low`` and below ``high``."""
    middle = low / 2 + high / 2
    for digits in range(1, 17):
        rounded = float(f"{middle:.{digits}g}")
        if low <= rounded < high:
            return rounded
    return low
