"""Long rule lists: which rules can be true for a row at all, as the kernel's selectors want it.

1. Of each condition is read off, column by column, where it can be true: a range of numbers, some levels, some words of
   which one must be there. What is read off is never too narrow; where nothing is known, the condition is always asked.
2. A selector stands for a block of rules. Each of its filters divides one column into regions, and holds for each
   region the rules that can be true there, as bits. All filters' bits and-ed are the rules that the kernel asks, in
   their order.
3. Filters are chosen one after the other, each the one that spares the most tests, while that is more than it costs.
   Looking a text through comes last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeml.kernels.rules import MASK_LIMIT, SELECTED_LIMIT
from edgeml.runtime.expression import (
    And,
    Between,
    Comparison,
    Field,
    Membership,
    Missing,
    Node,
    Number,
    Or,
    Text,
    TextMatch,
    Truth,
)
from edgeml.runtime.schema import Schema
from edgeml.runtime.text_scans import Found

# Fewer rules are asked one after the other in less time than it takes to select.
FEW_RULES = 32
# What a test of a rule takes, and what a filter of each kind: nanoseconds, roughly; only to be compared.
TEST_NS = 4.0
FILTER_NS = {"number": 30.0, "category": 10.0, "found": 20.0}
_KINDS = {"number": 0, "category": 1, "found": 2}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_UNSEEN, _MISSING = -1, -2


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds, each of which belongs to it or not; and whether a missing one does."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    missing: bool = False

    def both(self, other: Range) -> Range:
        """What lies in both."""
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, high_closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Range(low, high, low_open, not high_closed, self.missing and other.missing)

    def either(self, other: Range) -> Range:
        """The smallest range that holds both."""
        if self.empty or other.empty:
            whole = other if self.empty else self
            return Range(whole.low, whole.high, whole.low_open, whole.high_open, self.missing or other.missing)
        low, low_open = min((self.low, self.low_open), (other.low, other.low_open))
        high, high_closed = max((self.high, not self.high_open), (other.high, not other.high_open))
        return Range(low, high, low_open, not high_closed, self.missing or other.missing)

    @property
    def empty(self) -> bool:
        """Whether no number lies in it."""
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))


Levels = frozenset[int]
Patterns = frozenset[int]
# (``number``, column), (``category``, column) or (``found``, scan) -> where the condition can be true.
Limits = dict[tuple[str, int], Range | Levels | Patterns]


@dataclass(slots=True)
class Selection:
    """The selectors of a program so far, as its arrays."""

    selectors: list[tuple[int, int, int, int]] = field(default_factory=list)
    filters: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    masks: list[NDArray[np.uint64]] = field(default_factory=list)
    n_masks: int = 0


class Limiter:
    """Reads off conditions where they can be true.

    Args:
        schema: What a record looks like.
        found: Where the words of a condition stand in a scan, None where they are looked for one by one.
    """

    def __init__(self, schema: Schema, found: Callable[[TextMatch], Found | None]) -> None:
        self._schema = schema
        self._found = found

    def limits(self, node: Node) -> Limits:
        """Where a condition can be true; what is not named does not limit it."""
        match node:
            case And(operands):
                return _all_of([self.limits(operand) for operand in operands])
            case Or(operands):
                parts = [self.limits(operand) for operand in operands]
                common = [key for key in parts[0] if all(key in part for part in parts)]
                return {key: _either([part[key] for part in parts]) for key in common}
            case Comparison(operands, operators):
                pairs = zip(operands, operators, operands[1:], strict=False)
                return _all_of([self._compared(*pair) for pair in pairs])
            case Between(Field() as operand, Number(low), Number(high)):
                return self._numbers(operand, Range(low, high))
            case Membership(Field() as operand, items, negated):
                return self._member(operand, [item.value for item in items], negated)
            case Missing(Field() as operand, negated):
                return self._missing(operand, negated)
            case Field():
                return self._numbers(node, Range(1.0, 1.0))
            case TextMatch():
                found = self._found(node)
                if found is not None:
                    return {("found", found.scan): frozenset(range(found.first, found.first + found.count))}
        return {}

    def _numbers(self, node: Field, limit: Range) -> Limits:
        slot = self._schema.slots[node.name]
        return {("number", slot.index): limit} if slot.bank == "number" else {}

    def _levels(self, node: Field) -> Sequence[str]:
        return self._schema.feature(node.name).levels or ()

    def _compared(self, left: Node, operator: str, right: Node) -> Limits:
        if not isinstance(left, Field):
            left, operator, right = right, _MIRRORED[operator], left
        if not isinstance(left, Field):
            return {}
        if isinstance(right, Text):
            return self._member(left, [right.value], operator == "!=") if operator in ("==", "!=") else {}
        if not isinstance(right, Number | Truth):
            return {}
        value = float(right.value)
        match operator:
            case "<" | "<=":
                return self._numbers(left, Range(high=value, high_open=operator == "<"))
            case ">" | ">=":
                return self._numbers(left, Range(low=value, low_open=operator == ">"))
            case "==":
                return self._numbers(left, Range(value, value))
        return self._numbers(left, Range())

    def _member(self, node: Field, values: Sequence[float | str | bool], negated: bool) -> Limits:
        slot = self._schema.slots[node.name]
        if slot.bank == "category":
            levels = self._levels(node)
            codes = {code for code, level in enumerate(levels) if level in values}
            if negated:
                codes = ({*range(len(levels)), _UNSEEN}) - codes
            return {("category", slot.index): frozenset(codes)}
        if slot.bank == "number":
            numbers = [float(value) for value in values if not isinstance(value, str)]
            return self._numbers(node, Range() if negated else Range(min(numbers), max(numbers)))
        return {}

    def _missing(self, node: Field, negated: bool) -> Limits:
        slot = self._schema.slots[node.name]
        if slot.bank == "category":
            known = frozenset((*range(len(self._levels(node))), _UNSEEN))
            return {("category", slot.index): known if negated else frozenset((_MISSING,))}
        return self._numbers(node, Range() if negated else Range(math.inf, -math.inf, missing=True))


def _both(key: tuple[str, int], one: Range | frozenset[int], other: Range | frozenset[int]) -> Range | frozenset[int]:
    if isinstance(one, Range):
        assert isinstance(other, Range)
        return one.both(other)
    assert not isinstance(other, Range)
    if key[0] == "found":  # one word of each must be there: either set alone is a limit, and the smaller one is closer
        return min(one, other, key=len)
    return one & other


def _either(limits: Sequence[Range | frozenset[int]]) -> Range | frozenset[int]:
    whole = limits[0]
    for limit in limits[1:]:
        if isinstance(whole, Range):
            assert isinstance(limit, Range)
            whole = whole.either(limit)
        else:
            assert not isinstance(limit, Range)
            whole |= limit
    return whole


def _all_of(parts: Sequence[Limits]) -> Limits:
    together: Limits = {}
    for part in parts:
        for key, limit in part.items():
            together[key] = _both(key, together[key], limit) if key in together else limit
    return together


def blocks(alone: Sequence[bool]) -> list[tuple[int, int]]:
    """Which rules in a row are worth a selector: [first, end) of each block, in order.

    Args:
        alone: Of each rule, whether it is asked in a quicker way together with its neighbours.
    """
    made: list[tuple[int, int]] = []
    first = 0
    while first < len(alone):
        end = first
        while end < len(alone) and alone[end] == alone[first]:
            end += 1
        if not alone[first] and end - first >= FEW_RULES:
            parts = -(-(end - first) // SELECTED_LIMIT)
            bounds = [first + (end - first) * part // parts for part in range(parts + 1)]
            made += zip(bounds, bounds[1:], strict=False)
        first = end
    return made


def add_selector(
    to: Selection, limits: Sequence[Limits], n_levels: Mapping[int, int], constant: Callable[[Sequence[float]], int]
) -> int | None:
    """Makes a selector of a block of rules, but for its entries.

    Args:
        to: What it is appended to.
        limits: Of each rule; see ``Limiter``.
        n_levels: Column of a category -> its levels.
        constant: Keeps numbers side by side, and says where the first of them is.

    Returns:
        Its number; None where it would decide about too few rules, or has no room.
    """
    chosen = _chosen(limits, n_levels)
    n_masks = to.n_masks + sum(each.masks.size for each in chosen)
    if not chosen or n_masks > MASK_LIMIT:
        return None
    first = len(to.filters)
    for each in chosen:
        place = constant(each.bounds) if each.kind == "number" else each.place
        to.filters.append((_KINDS[each.kind], each.column, place, each.count, to.n_masks))
        to.masks.append(each.masks)
        to.n_masks += each.masks.size
    to.selectors.append((first, len(chosen), len(to.entries), len(limits)))
    return len(to.selectors) - 1


@dataclass(frozen=True, slots=True)
class _Filter:
    """A filter: its operands, and the rules of each region as bits [regions, rules]."""

    kind: str
    column: int
    place: int
    count: int
    bounds: list[float]
    bits: NDArray[np.bool_]

    @property
    def masks(self) -> NDArray[np.uint64]:
        return _words(self.bits)


def _chosen(limits: Sequence[Limits], n_levels: Mapping[int, int]) -> list[_Filter]:
    """The filters that spare more than they cost, those of texts last."""
    keys = {key for limit in limits for key in limit}
    made = [_filter(key, [limit.get(key) for limit in limits], n_levels) for key in sorted(keys)]
    # The share of its regions stands for the chance that a filter leaves a rule.
    shares = [each.bits.mean(axis=0) for each in made]
    left = np.ones(len(limits))
    chosen: list[_Filter] = []
    while made:
        spared = [
            TEST_NS * float(left @ (1 - share)) - FILTER_NS[f.kind] for f, share in zip(made, shares, strict=True)
        ]
        best = int(np.argmax(spared))
        if spared[best] <= 0:
            break
        left = left * shares.pop(best)
        chosen.append(made.pop(best))
    return sorted(chosen, key=lambda each: _KINDS[each.kind])


def _filter(
    key: tuple[str, int], limits: Sequence[Range | frozenset[int] | None], n_levels: Mapping[int, int]
) -> _Filter:
    kind, column = key
    if kind == "number":
        return _number_filter(column, [Range(missing=True) if limit is None else limit for limit in limits])
    sets = [None if isinstance(limit, Range) else limit for limit in limits]
    if kind == "category":
        place, count = 0, n_levels[column]
        rows = {_UNSEEN: count, _MISSING: count + 1}
        bits = np.zeros((count + 2, len(sets)), dtype=np.bool_)
        undecided = slice(None)
    else:
        wanted = {pattern for patterns in sets if patterns is not None for pattern in patterns}
        place, count, rows = min(wanted), max(wanted) - min(wanted) + 1, {}
        bits = np.zeros((count + 1, len(sets)), dtype=np.bool_)
        undecided = slice(count, None)
    for rule, members in enumerate(sets):
        if members is None:
            bits[undecided, rule] = True
        else:
            bits[[rows.get(member, member - place) for member in members], rule] = True
    return _Filter(kind, column, place, count, [], bits)


def _number_filter(column: int, ranges: Sequence[Range | frozenset[int]]) -> _Filter:
    given = [each for each in ranges if isinstance(each, Range)]
    ends = {end for each in given if not each.empty for end in (each.low, each.high)}
    bounds = sorted({end + 0.0 for end in ends if math.isfinite(end)})  # one zero, not two
    places = {bound: 2 * at + 1 for at, bound in enumerate(bounds)}
    bits = np.zeros((2 * len(bounds) + 2, len(given)), dtype=np.bool_)
    for rule, each in enumerate(given):
        if not each.empty:
            low = 0 if each.low == -math.inf else places[each.low] + each.low_open
            high = 2 * len(bounds) if each.high == math.inf else places[each.high] - each.high_open
            bits[low : high + 1, rule] = True
        bits[-1, rule] = each.missing
    return _Filter("number", column, 0, len(bounds), bounds, bits)


def _words(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Rows of bits as rows of words of 64, the first bit the lowest."""
    wide = np.zeros((len(bits), -(-bits.shape[1] // 64) * 64), dtype=np.bool_)
    wide[:, : bits.shape[1]] = bits
    return np.packbits(wide, axis=1, bitorder="little").view("<u8").astype(np.uint64).reshape(-1)
