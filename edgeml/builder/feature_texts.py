"""Vectorizers over texts, and what may be done to their columns, as parts of the feature program.

1. A vectorizer gives a ``Term`` for each of its columns. The steps over all of them are kept in one place
   (``TextColumns``), so that 20,000 columns cost one step and not 20,000.
2. What the kernel has no equivalent of (a tokenizer or preprocessor in Python, a pattern that is no run of one class of
   characters) is not compiled; the message says what it was.

Settings and formulae are those of scikit-learn's documentation of CountVectorizer, TfidfVectorizer, HashingVectorizer
and TfidfTransformer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.feature_columns import FLOAT64, Column, NotCompiled, Text
from edgeml.builder.text_pattern import TokenPattern, token_pattern
from edgeml.runtime.text_program import LOOK_LIMIT, SIZE_LIMIT, TERM_LIMIT

LONGEST_TERM = 65_535
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class TextStep:
    """A step over the values of all terms; ``constants`` has a number for each slot."""

    op: str
    extra: int = 0
    constants: Numbers | None = None


@dataclass(frozen=True, eq=False)
class TextColumns:
    """The columns of one vectorizer.

    Attributes:
        feature: The text.
        settings: Entries of ``edgeml.runtime.text_program.Vectorizer``.
        stops: Words that are left out.
        terms: The term of each slot; empty where slots are hashes.
        n_slots: Slots.
        steps: What is done to the counts.
    """

    feature: str
    settings: dict[str, Any]
    stops: tuple[str, ...]
    terms: tuple[str, ...]
    n_slots: int
    steps: tuple[TextStep, ...] = ()

    def then(self, *steps: TextStep) -> TextColumns:
        """The same with further steps."""
        return replace(self, steps=(*self.steps, *steps))

    def columns(self) -> list[Column]:
        """A column for each slot."""
        names = self.terms or [f"#{slot}" for slot in range(self.n_slots)]
        return [Term(name, (self.feature,), FLOAT64, self, slot) for slot, name in enumerate(names)]


@dataclass(frozen=True, eq=False)
class Term(Column):
    """The column of one term.

    Attributes:
        block: The vectorizer's columns.
        slot: Which of them.
    """

    block: TextColumns
    slot: int


@dataclass
class TextBudget:
    """What the kernel still takes of vectorizers; its limits are for all of a program together."""

    terms: int = TERM_LIMIT
    sizes: int = SIZE_LIMIT
    looks: int = LOOK_LIMIT

    def take(self, block: TextColumns) -> None:
        """Takes what one vectorizer needs.

        Raises:
            NotCompiled: There is less left.
        """
        shortest, longest = block.settings["ngrams"]
        if block.terms:  # nothing longer than a term is looked for
            of_words = block.settings["analyzer"] == "word"
            most = max(term.count(" ") + 1 if of_words else len(term) for term in block.terms)
            longest = max(shortest, min(longest, most))
        sizes = longest - shortest + 1
        looks = sizes * (shortest + longest) // 2
        if shortest < 1 or sizes > self.sizes or looks > self.looks or block.n_slots > self.terms:
            raise NotCompiled(f"ngram_range={(shortest, longest)} and {block.n_slots} terms: more than the core takes")
        self.terms -= block.n_slots
        self.sizes -= sizes
        self.looks -= looks


def vectorized(step: Any, columns: Sequence[Column], budget: TextBudget) -> list[Column]:
    """The columns of a fitted vectorizer.

    Args:
        step: The vectorizer.
        columns: The one text.
        budget: What is left for it; what it needs is taken.

    Raises:
        NotCompiled: Some setting has no equivalent in the core.
    """
    name = type(step).__name__
    if len(columns) != 1 or not isinstance(columns[0], Text):
        raise NotCompiled(f"{name} over what is no text feature")
    (column,) = columns
    for setting in ("tokenizer", "preprocessor"):
        if getattr(step, setting) is not None:
            raise NotCompiled(f"{name}({setting}=...): a Python function")
    if callable(step.analyzer) or callable(step.strip_accents):
        raise NotCompiled(f"{name} with a Python function as analyzer or strip_accents")
    if step.input != "content":
        raise NotCompiled(f"{name}(input={step.input!r}): a record holds the text itself")
    words = step.analyzer == "word"
    pattern = token_pattern(step.token_pattern) if words else TokenPattern("0" * 128, "none", 1, False)
    settings = {
        "analyzer": step.analyzer,
        "ngrams": [int(size) for size in step.ngram_range],
        "lowercase": bool(step.lowercase),
        "accents": step.strip_accents or "",
        "ascii": pattern.ascii,
        "beyond_ascii": pattern.beyond_ascii,
        "shortest_token": pattern.shortest,
        "bounded": pattern.bounded,
        "binary": bool(step.binary),
    }
    stops = tuple(sorted(step.get_stop_words() or ())) if words else ()
    if name == "HashingVectorizer":
        settings |= {"hashed": True, "alternate": bool(step.alternate_sign)}
        made = TextColumns(column.name, settings, stops, (), int(step.n_features))
        budget.take(made)
        if step.norm is not None:
            made = made.then(_norm(step.norm))
        return made.then(*_rounded(step)).columns()
    terms: list[str] = [""] * len(step.vocabulary_)
    for term, slot in step.vocabulary_.items():
        terms[slot] = str(term)
    packed_words(terms)  # says here, where another way is left, what cannot be packed
    made = TextColumns(column.name, settings, stops, tuple(terms), len(terms))
    budget.take(made)
    if name == "TfidfVectorizer":
        return made.then(*_tfidf(step._tfidf, len(terms)), *_rounded(step)).columns()
    return made.columns()


def weighed(step: Any, columns: Sequence[Column]) -> list[Column]:
    """The columns behind a TfidfTransformer or Normalizer that stands behind one vectorizer.

    Raises:
        NotCompiled: They are not the columns of one vectorizer.
    """
    block = whole_block(step, columns)
    steps = _tfidf(step, block.n_slots, columns) if type(step).__name__ == "TfidfTransformer" else [_norm(step.norm)]
    changed = block.then(*steps)
    return [replace(column, block=changed) for column in columns if isinstance(column, Term)]


def whole_block(step: Any, columns: Sequence[Column]) -> TextColumns:
    """The vectorizer that all columns are of; of columns that a selector has dropped nothing is left in it.

    Raises:
        NotCompiled: They are of several, some are of none, or a column stands there twice.
    """
    blocks = {id(column.block): column.block for column in columns if isinstance(column, Term)}
    if len(blocks) != 1 or not all(isinstance(column, Term) for column in columns):
        raise NotCompiled(f"{type(step).__name__} over columns that do not all come from one vectorizer")
    (block,) = blocks.values()
    slots = [column.slot for column in columns if isinstance(column, Term)]
    if len(set(slots)) != len(slots):
        raise NotCompiled(f"{type(step).__name__} over columns of which some stand there twice, and count twice")
    if len(slots) == block.n_slots:
        return block
    kept = np.zeros(block.n_slots)
    kept[slots] = 1.0
    return block.then(TextStep("select", constants=kept))


def scaled(op: str, columns: Sequence[Column], by: Sequence[float]) -> list[Column]:
    """Each column multiplied with or divided by a number; columns of several vectorizers may be mixed.

    Args:
        op: ``multiply`` or ``divide``.
        columns: Terms.
        by: A number for each.

    Raises:
        NotCompiled: A text's many zeros would not stay zero, or it is another operation.
    """
    if op not in ("multiply", "divide"):
        raise NotCompiled(f"{op} over the columns of a text, which would not stay zero")
    numbers: dict[int, Numbers] = {}
    blocks: dict[int, TextColumns] = {}
    for column, value in zip(columns, by, strict=True):
        assert isinstance(column, Term)
        key = id(column.block)
        if key not in blocks:
            blocks[key], numbers[key] = column.block, np.ones(column.block.n_slots)
        numbers[key][column.slot] = value
    changed = {key: block.then(TextStep(op, constants=numbers[key])) for key, block in blocks.items()}
    return [replace(column, block=changed[id(column.block)]) for column in columns if isinstance(column, Term)]


def _tfidf(step: Any, n_slots: int, columns: Sequence[Column] = ()) -> list[TextStep]:
    steps = [TextStep("log")] if step.sublinear_tf else []
    if step.use_idf:
        idf = np.asarray(step.idf_, dtype=np.float64)
        if columns:
            by = np.ones(n_slots)
            by[[column.slot for column in columns if isinstance(column, Term)]] = idf
            idf = by
        steps.append(TextStep("multiply", constants=idf))
    return [*steps, _norm(step.norm)] if step.norm is not None else steps


def _norm(name: str) -> TextStep:
    return TextStep("normalize", extra={"max": 0, "l1": 1, "l2": 2}[name])


def _rounded(step: Any) -> list[TextStep]:
    """What scikit-learn keeps in float32 is rounded once, in the end."""
    return [TextStep("round")] if np.dtype(step.dtype) == np.float32 else []


def text_members(
    outputs: Sequence[Column], *, keep: Callable[[Numbers], int], index: list[int]
) -> tuple[list[dict[str, Any]], bytes]:
    """The part ``texts`` of ``features.json``, and ``features.terms``.

    Args:
        outputs: All columns of the program's output.
        keep: Puts numbers into the constants; gives where they start.
        index: The document's index, which is added to.
    """
    found: list[tuple[TextColumns, dict[int, int]]] = []
    known: dict[int, list[int]] = {}
    for at, column in enumerate(outputs):
        if not isinstance(column, Term):
            continue
        # A column that stands in the output twice is made twice.
        numbers = known.setdefault(id(column.block), [])
        place = next((number for number in numbers if column.slot not in found[number][1]), None)
        if place is None:
            place = len(found)
            numbers.append(place)
            found.append((column.block, {}))
        found[place][1][column.slot] = at
    texts, terms = [], []
    for block, places in found:
        columns = [places.get(slot, -1) for slot in range(block.n_slots)]
        steps = []
        for step in block.steps:
            entry: dict[str, Any] = {"op": step.op}
            if step.extra:
                entry["extra"] = step.extra
            if step.constants is not None:
                entry["constant"] = keep(np.asarray(step.constants, dtype=np.float64))
            steps.append(entry)
        entry = {"feature": block.feature, "slots": block.n_slots, "stops": len(block.stops), "steps": steps}
        if columns == list(range(columns[0], columns[0] + block.n_slots)):
            entry["first"] = columns[0]
        else:
            entry["index"] = len(index)
            index += columns
        texts.append(block.settings | entry)
        terms.append(packed_words(block.stops) + packed_words(block.terms))
    return texts, b"".join(terms)


def packed_words(words: Sequence[str]) -> bytes:
    """Words as ``features.terms`` holds them.

    Raises:
        NotCompiled: A word is too long or cannot be written in UTF-8.
    """
    parts = []
    for word in words:
        try:
            data = word.encode()
        except UnicodeEncodeError as error:
            raise NotCompiled(f"a term that is no Unicode text: {error}") from error
        if len(data) > LONGEST_TERM:
            raise NotCompiled(f"a term of {len(data)} bytes")
        parts += [len(data).to_bytes(2, "little"), data]
    return b"".join(parts)
