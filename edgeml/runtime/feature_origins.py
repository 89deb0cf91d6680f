"""Which features each column of a model's input is made of, read off the feature program's own operations.

1. A column that a vectorizer gives stands for one term of a text. Every other one is a function of features.
2. What cannot be told apart is put together: each result of ``normalize`` and ``matrix`` comes from all their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.schema import Schema

Names = frozenset[str]
_NONE: Names = frozenset()
_SAME_PLACE = frozenset(
    ("add", "subtract", "multiply", "divide", "clip", "fill", "replace", "is_missing", "equals", "above", "round")
    + ("function", "yeo_johnson", "box_cox", "quantile", "bin")
)


@dataclass(frozen=True)
class Origin:
    """What some columns of a model's input stand for together.

    Attributes:
        features: Names of the features, in the schema's order; none for constants.
        term: The term, where it is a column of a vectorizer over the one feature.
    """

    features: tuple[str, ...]
    term: str | None = None


class FeatureOrigins:
    """The origins of a program's columns.

    Attributes:
        owners: int32 [columns]: number of each column's origin.
        count: How many origins there are.
    """

    def __init__(self, program: FeatureProgram, schema: Schema) -> None:
        document, _ = program.to_members()
        order = {name: at for at, name in enumerate(schema.names)}
        columns = _columns(document, schema)
        texts = document.get("texts") or []
        width = program.n_outputs
        self.owners = np.full(width, -1, dtype=np.int32)
        self._groups: list[tuple[str, ...]] = []
        known: dict[Names, int] = {}
        places = document["places"] if texts else range(width)
        for place, names in zip(places, columns, strict=True):
            if names not in known:
                known[names] = len(self._groups)
                self._groups.append(tuple(sorted(names, key=order.__getitem__)))
            self.owners[place] = known[names]
        self._terms = _Terms(texts, program.terms)
        # A number for each column of a vectorizer, behind those of the groups.
        made = np.flatnonzero(self.owners < 0)
        self.owners[made] = len(self._groups) + np.arange(len(made), dtype=np.int32)
        self._columns = made
        self._slots = _slots(texts, document["index"], width)
        self.count = len(self._groups) + len(made)

    def origin(self, number: int) -> Origin:
        """An origin by its number."""
        if number < len(self._groups):
            return Origin(self._groups[number])
        column = int(self._columns[number - len(self._groups)])
        vectorizer, slot = self._slots[column].tolist()
        return Origin((self._terms.feature(vectorizer),), self._terms.term(vectorizer, slot))


def _columns(document: Mapping[str, Any], schema: Schema) -> list[Names]:
    """The features behind each column that no text gives."""
    numbers = [frozenset((name,)) for name, slot in schema.slots.items() if slot.bank == "number"]
    codes = [frozenset((name,)) for name, slot in schema.slots.items() if slot.bank == "category"]
    n_categories = len(codes)
    codes += [_NONE] * document["codes"]
    registers = [_NONE] * document["registers"]
    outputs = [_NONE] * len(document["outputs"])
    index: Sequence[int] = document["index"]
    for o in document["operations"]:
        op, to, start, count, at = o["op"], o.get("to", 0), o.get("from", 0), o.get("count", 0), o.get("index", 0)
        extra = o.get("extra", 0)
        if op == "load":
            registers[to : to + count] = [numbers[slot] for slot in index[at : at + count]]
        elif op == "table":
            registers[to] = codes[start]
        elif op == "constant":
            registers[to : to + count] = [_NONE] * count
        elif op == "pick":
            registers[to : to + count] = [registers[each] for each in index[at : at + count]]
        elif op in _SAME_PLACE:
            registers[to : to + count] = registers[start : start + count]
        elif op == "product":
            pairs = index[at : at + 2 * count]
            registers[to : to + count] = [
                registers[a] | registers[b] for a, b in zip(pairs[::2], pairs[1::2], strict=True)
            ]
        elif op == "categorize":
            codes[n_categories + to] = registers[start]
        elif op in ("normalize", "matrix"):
            results = count if op == "normalize" else extra
            registers[to : to + results] = [_NONE.union(*registers[start : start + count])] * results
        elif op == "emit":
            outputs[extra : extra + count] = registers[start : start + count]
        elif op == "emit_table":
            outputs[extra] = codes[start]
        elif op == "emit_one":
            for column in index[at : at + o.get("size", 0)]:
                if column >= 0:
                    outputs[column] |= codes[start]
    return outputs


def _slots(texts: Sequence[Mapping[str, Any]], index: Sequence[int], width: int) -> NDArray[np.int32]:
    """Of each column the vectorizer that gives it and its slot there; -1 where none does."""
    found = np.full((width, 2), -1, dtype=np.int32)
    for number, text in enumerate(texts):
        slots = np.arange(text["slots"], dtype=np.int32)
        start = text.get("index", -1)
        columns = slots + text.get("first", 0) if start < 0 else np.array(index[start : start + len(slots)])
        given = columns >= 0
        found[columns[given], 0] = number
        found[columns[given], 1] = slots[given]
    return found


class _Terms:
    """The words of ``features.terms``, found when one is asked for."""

    def __init__(self, texts: Sequence[Mapping[str, Any]], terms: bytes) -> None:
        self._texts = texts
        self._bytes = terms
        self._starts: list[NDArray[np.int64]] = []
        at = 0
        for text in texts:
            starts = []
            for _ in range(text.get("stops", 0) + (0 if text.get("hashed") else text["slots"])):
                starts.append(at)
                at += 2 + int.from_bytes(terms[at : at + 2], "little")
            self._starts.append(np.array(starts, dtype=np.int64))

    def feature(self, vectorizer: int) -> str:
        return str(self._texts[vectorizer]["feature"])

    def term(self, vectorizer: int, slot: int) -> str:
        text = self._texts[vectorizer]
        if text.get("hashed"):
            return f"#{slot}"
        start = int(self._starts[vectorizer][text.get("stops", 0) + slot])
        size = int.from_bytes(self._bytes[start : start + 2], "little")
        return self._bytes[start + 2 : start + 2 + size].decode()
