"""What is counted of a bundle's records and answers, and where: columns read off ``reference.json`` and the schema.

1. A column is a histogram of bins that exclude each other, so its counts add up to the rows that it is about.
2. All counters of a bundle stand in one block, column after column, in the order of the schema and then of the answers;
   reference and schema alone decide it, so every process that reads the same bundle has the same layout.
3. Nothing in a reference is believed: every member is checked when it is read. A member that older builders did not
   write is simply not watched.
4. At most ``MAX_COLUMNS`` columns are about features; ``unwatched`` says how many features are beyond.
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeml.errors import BundleError

MEMBER = "reference.json"
FORMAT = 1
MAX_COLUMNS = 2_000
MAX_EDGES = 63
MAX_LEVELS = 64
TEXT_BINS = 17
SHARES = 10
VOCABULARY_BYTES = 8_192

_MAX_COUNT = 2**53
_BANKS = {"number": "number", "integer": "number", "boolean": "number", "category": "category", "text": "text"}
_LENGTHS = ("length below 2", *(f"length {2**i} to {2 ** (i + 1) - 1}" for i in range(1, 16)), "length 65536 and above")
_TIERS = ("rule", "model", "fallback")
MIDDLE = "middle"


@dataclass(frozen=True, slots=True)
class Column:
    """One histogram.

    Attributes:
        name: The feature's name, ``<feature>#words``, ``#tier``, ``#label``, ``#confidence``, ``#score``, ``#value`` or
            ``#value[i]``; no two columns have the same.
        kind: ``number``, ``category``, ``text`` (its length), ``words`` (share of its words that the reference does not
            know), ``tier``, ``label``, ``confidence`` or ``value``.
        feature: The feature that it is about; None for an answer.
        bins: Number of bins.
        start: Place of the first bin in the block.
        reference: Counts of the reference data.
        edges: Edges between the bins of a number, confidence or value.
        watched: Whether it may raise an alarm. False where the reference is not comparable: without counts, or where
            answers were counted on the rows that the model had learnt from, on which it is too sure of itself.
        slot: Column of the Frame's bank; of a value, which number of the answer; of the tiers, 1 where the middle tier
            has a bin.
        levels: Names of the levels or labels that have a bin of their own.
        codes: Bin of each level of the schema, or of each label; by code, and not in the order of the bins.
        vocabulary: The words of the reference, a bitmap of their hashes.
        sums: Which pair of sums is its own, -1 for none.
    """

    name: str
    kind: str
    feature: str | None
    bins: int
    start: int
    reference: tuple[int, ...]
    edges: tuple[float, ...] = ()
    watched: bool = True
    slot: int = 0
    levels: tuple[str, ...] = ()
    codes: bytes = field(default=b"", repr=False)
    vocabulary: bytes = field(default=b"", repr=False)
    sums: int = -1

    @property
    def bin_names(self) -> tuple[str, ...]:
        """What each bin holds, for people."""
        if self.kind == "category":
            return ("missing", "unseen", "other", *self.levels)
        if self.kind == "label":
            return ("other", *self.levels)
        if self.kind == "tier":
            return (*_TIERS, MIDDLE)[: self.bins]
        if self.kind == "text":
            return ("missing", *_LENGTHS)
        if self.kind == "words":
            shares = (f"{10 * i} to {10 * i + 10} % unknown words" for i in range(SHARES))
            return ("missing", "no words", *shares)
        missing = () if self.kind == "confidence" else ("missing",)
        return (*missing, *_ranges(self.edges))


def _ranges(edges: Sequence[float]) -> Iterator[str]:
    if not edges:
        yield "any value"
        return
    yield f"below {edges[0]:.6g}"
    for low, high in zip(edges, edges[1:], strict=False):
        # A bin that holds one value alone, as those of a number with few values do where it is the last.
        yield f"{low:.6g}" if f"{low:.6g}" == f"{high:.6g}" else f"{low:.6g} to {high:.6g}"
    yield f"above {edges[-1]:.6g}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a bundle.

    Attributes:
        columns: In the order of the block.
        size: Counters in the block.
        n_numbers: Pairs of sums: columns of kind number and value.
        unwatched: Features that have no columns because there are too many.
        rows: Rows of the reference data.
    """

    columns: tuple[Column, ...]
    size: int
    n_numbers: int
    unwatched: int = 0
    rows: int = 0

    @classmethod
    def of(cls, reference: Mapping[str, Any], schema: Mapping[str, Any]) -> Layout:
        """Reads the layout.

        Args:
            reference: The document of ``reference.json``.
            schema: The config's ``schema``, checked before.

        Raises:
            BundleError: They do not fit; names the member and the field.
        """
        return _Builder(reference, schema).layout()


class _Builder:
    """Reads the documents from the top to the bottom."""

    def __init__(self, reference: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
        self._reference = _object(reference, "the document")
        self._schema = schema
        self._columns: list[Column] = []
        self._size = 0
        self._sums = 0
        self._taken = {feature["name"] for feature in schema["features"]}

    def layout(self) -> Layout:
        if self._reference.get("format") != FORMAT:
            raise _error("format", f"{self._reference.get('format')!r} is not {FORMAT}; update edgeml")
        rows = _count(self._reference.get("rows"), "rows")
        features = _object(self._reference.get("features"), "features")
        slots = dict.fromkeys(_BANKS.values(), 0)
        unwatched = 0
        for feature in self._schema["features"]:
            if feature["kind"] == "image":
                continue  # what is watched of a picture are the numbers derived from it
            name, bank = feature["name"], _BANKS[feature["kind"]]
            seen = _object(features.get(name), f"features, {name!r}")
            if seen.get("kind") != bank:
                raise _error(f"features, {name!r}, kind", f"{seen.get('kind')!r} is not the schema's {bank!r}")
            wide = 1 + ("words" in seen)
            if unwatched or len(self._columns) + wide > MAX_COLUMNS:
                unwatched += 1
            else:
                getattr(self, f"_{bank}")(name, slots[bank], seen, feature)
            slots[bank] += 1
        if "answers" in self._reference:
            self._answers(_object(self._reference["answers"], "answers"))
        return Layout(tuple(self._columns), self._size, self._sums, unwatched, rows)

    def _add(self, name: str, kind: str, reference: Sequence[int], *, watched: bool = True, **more: Any) -> None:
        if kind in ("number", "value"):
            more["sums"] = self._sums
            self._sums += 1
        counted = tuple(reference)
        self._columns.append(
            Column(
                name=name,
                kind=kind,
                bins=len(counted),
                start=self._size,
                reference=counted,
                watched=watched and sum(counted) > 0,
                **{"feature": None, **more},
            )
        )
        self._size += len(counted)

    def _derived(self, name: str) -> str:
        """A column's name that no feature has."""
        while name in self._taken:
            name += "#"
        self._taken.add(name)
        return name

    # Features

    def _number(self, name: str, slot: int, seen: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        edges, counts = _binned(seen, f"features, {name!r}")
        self._add(name, "number", counts, feature=name, slot=slot, edges=edges)

    def _category(self, name: str, slot: int, seen: Mapping[str, Any], feature: Mapping[str, Any]) -> None:
        where = f"features, {name!r}"
        known = {level: code for code, level in enumerate(feature["levels"])}
        levels = seen.get("levels")
        if not isinstance(levels, list) or len(levels) > MAX_LEVELS:
            raise _error(f"{where}, levels", f"must be a list of at most {MAX_LEVELS} levels")
        codes = bytearray([2] * len(known))
        for bin_, level in enumerate(levels, start=3):
            if not isinstance(level, str) or level not in known:
                raise _error(f"{where}, levels", f"{level!r} is not a level of the schema")
            if codes[known[level]] != 2:
                raise _error(f"{where}, levels", f"{level!r} stands twice")
            codes[known[level]] = bin_
        rest = [_count(seen.get(part), f"{where}, {part}") for part in ("missing", "unseen", "other")]
        counts = [*rest, *_counts(seen.get("counts"), len(levels), f"{where}, counts")]
        self._add(name, "category", counts, feature=name, slot=slot, levels=tuple(levels), codes=bytes(codes))

    def _text(self, name: str, slot: int, seen: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        where = f"features, {name!r}"
        edges = seen.get("edges")
        if edges != [0, *(2**power for power in range(1, TEXT_BINS))]:
            raise _error(f"{where}, edges", "must be 0, 2, 4, 8, ... 65536")
        lengths = _counts(seen.get("counts"), TEXT_BINS, f"{where}, counts")
        missing = _count(seen.get("missing"), f"{where}, missing")
        self._add(name, "text", [missing, *lengths], feature=name, slot=slot)
        if "words" in seen:
            words = _object(seen["words"], f"{where}, words")
            counts = _counts(words.get("counts"), 2 + SHARES, f"{where}, words, counts")
            vocabulary = _bitmap(words.get("vocabulary"), f"{where}, words, vocabulary")
            self._add(self._derived(f"{name}#words"), "words", counts, feature=name, slot=slot, vocabulary=vocabulary)

    # Answers

    def _answers(self, answers: Mapping[str, Any]) -> None:
        held_out = answers.get("held_out", False)
        if not isinstance(held_out, bool):
            raise _error("answers, held_out", "must be true or false")
        tiers = _object(answers.get("tiers"), "answers, tiers")
        counts = [_count(tiers.get(tier), f"answers, tiers, {tier}") for tier in _TIERS]
        # Of a bundle without a middle tier nothing is said of one, and it has no bin: what boxes have counted stays so.
        has_middle = MIDDLE in tiers
        if has_middle:
            counts.append(_count(tiers[MIDDLE], f"answers, tiers, {MIDDLE}"))
        self._add(self._derived("#tier"), "tier", counts, watched=held_out, slot=int(has_middle))
        if "label_counts" in answers:
            self._label(_object(answers["label_counts"], "answers, label_counts"), held_out)
        if "confidence" in answers:
            seen = _object(answers["confidence"], "answers, confidence")
            edges = _edges(seen.get("edges"), "answers, confidence, edges")
            inner = _counts(seen.get("counts"), max(0, len(edges) - 1), "answers, confidence, counts")
            self._add(self._derived("#confidence"), "confidence", [0, *inner, 0], watched=held_out, edges=edges)
        if "score" in answers:
            self._value("#score", 0, answers["score"], "answers, score", held_out)
        values = answers.get("values", [])
        if not isinstance(values, list):
            raise _error("answers, values", "must be a list")
        # As many as a model may give; like features, those beyond are not watched.
        for slot, seen in enumerate(values[:MAX_COLUMNS]):
            name = "#value" if len(values) == 1 else f"#value[{slot}]"
            self._value(name, slot, seen, f"answers, values, {slot}", held_out)

    def _label(self, seen: Mapping[str, Any], held_out: bool) -> None:
        labels = seen.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise _error("answers, label_counts, labels", "must be a list of texts")
        counts = _counts(seen.get("counts"), len(labels), "answers, label_counts, counts")
        kept = list(range(len(labels)))
        if len(kept) > MAX_LEVELS:
            kept = sorted(sorted(kept, key=lambda index: (-counts[index], index))[:MAX_LEVELS])
        codes = bytearray(len(labels))
        for bin_, index in enumerate(kept, start=1):
            codes[index] = bin_
        own = [counts[index] for index in kept]
        self._add(
            self._derived("#label"),
            "label",
            [sum(counts) - sum(own), *own],
            watched=held_out,
            levels=tuple(labels[index] for index in kept),
            codes=bytes(codes),
        )

    def _value(self, name: str, slot: int, seen: Any, where: str, held_out: bool) -> None:
        edges, counts = _binned(_object(seen, where), where)
        self._add(self._derived(name), "value", counts, watched=held_out, slot=slot, edges=edges)


def _error(where: str, what: str) -> BundleError:
    return BundleError(f"bundle member {MEMBER}: {where}: {what}")


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _error(where, "must be an object" if value is not None else "is missing; build the bundle again")
    return value


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise _error(where, f"must be a count, got {value!r}")
    return value


def _counts(value: Any, length: int, where: str) -> list[int]:
    if not isinstance(value, list) or len(value) != length:
        raise _error(where, f"must be a list of {length} counts")
    return [_count(each, where) for each in value]


def _edges(value: Any, where: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) > MAX_EDGES or len(value) == 1:
        raise _error(where, f"must be a list of 2 to {MAX_EDGES} edges, or of none")
    for each in value:
        # An integer beyond float64 is finite to itself alone.
        if isinstance(each, bool) or not isinstance(each, int | float) or not abs(each) <= sys.float_info.max:
            raise _error(where, f"{each!r} is not a finite number")
    edges = tuple(map(float, value))
    if any(low >= high for low, high in zip(edges, edges[1:], strict=False)):
        raise _error(where, "edges must rise")
    return edges


def _binned(seen: Mapping[str, Any], where: str) -> tuple[tuple[float, ...], list[int]]:
    """Edges of a number, and the counts of its bins with the missing ones first."""
    if seen.get("kind") != "number":
        raise _error(f"{where}, kind", f"{seen.get('kind')!r} is not 'number'")
    edges = _edges(seen.get("edges"), f"{where}, edges")
    counts = _counts(seen.get("counts"), len(edges) + 1 if edges else 0, f"{where}, counts")
    return edges, [_count(seen.get("missing"), f"{where}, missing"), *(counts or [0])]


def _bitmap(value: Any, where: str) -> bytes:
    try:
        bitmap = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _error(where, f"is not base64: {error}") from error
    if len(bitmap) != VOCABULARY_BYTES:
        raise _error(where, f"must hold {VOCABULARY_BYTES} bytes, got {len(bitmap)}")
    return bitmap
