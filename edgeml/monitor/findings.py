"""What has probably happened to the data, in a sentence for people, from what was refused and what was counted.

Each finding names the field, says what was seen beside what was expected, and how often. None of them changes anything:
they are guesses, good enough to tell somebody where to look. The same function serves a running box and
``edgeml check``.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

# Fewer records than this show nothing about a distribution.
FEWEST = 30
# A share of records below this is noise that every API sees.
NOISE = 0.001
# Two names are taken for one where so much of them is equal, spelling aside.
ALIKE = 0.8
_UNITS = (
    (10.0, "a power of ten"),
    (100.0, "a share as percent, or euros as cents"),
    (1000.0, "a thousandth part, such as m as mm or kg as g"),
    (1_000_000.0, "a millionth part"),
    (60.0, "hours as minutes, or minutes as seconds"),
    (3600.0, "hours as seconds"),
    (24.0, "days as hours"),
    (86_400.0, "days as seconds"),
    (12.0, "years as months, or feet as inches"),
    (2.54, "inches as cm"),
    (25.4, "inches as mm"),
    (3.28084, "metres as feet"),
    (1.609344, "miles as km"),
    (2.2046226, "kg as pounds"),
    (28.349523, "ounces as g"),
    (3.785412, "gallons as litres"),
    (57.29578, "radians as degrees"),
    (1024.0, "KiB as bytes"),
)
# How far a ratio of means, and one of standard deviations, may be from a unit's factor, as a share of it. Drift reaches
# a factor of two by itself, so a small factor must be met closely.
_SLACK, _SMALL_SLACK = (0.1, 0.3), (0.03, 0.06)
_SMALL = 5.0
_RENAME = "rename it where it is sent, or build a bundle for it"
_TRUE_OR_FALSE = {"true", "false", "yes", "no", "y", "n", "on", "off"}


@dataclass(frozen=True)
class FieldReference:
    """What the schema and the reference say of a field.

    Attributes:
        name: Its name.
        kind: ``number``, ``integer``, ``boolean``, ``category`` or ``text``.
        levels: Of a category.
        missing: Share of the reference in which it was missing.
        mean: Of a number; None where nobody knows.
        deviation: Its standard deviation; None where nobody knows.
        largest: Share of the reference's rows in its fullest bin; None where nobody knows.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    missing: float = 0.0
    mean: float | None = None
    deviation: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class FieldSeen:
    """What was counted of a field in the records that were answered.

    Attributes:
        rows: Records.
        missing: ... in which it was missing.
        unseen: ... with a level that training has not seen.
        mean: Of the known numbers; None where there are none.
        deviation: Their standard deviation.
        largest: Share of the rows in the fullest bin.
    """

    rows: int
    missing: int = 0
    unseen: int = 0
    mean: float | None = None
    deviation: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Finding:
    """One guess.

    Attributes:
        field: Name of the field; empty for a whole request.
        kind: ``renamed``, ``unknown``, ``type``, ``unit``, ``bounds``, ``spelling``, ``level``, ``missing``, ``stuck``
            or ``requests``.
        text: What was seen, in a sentence.
        remedy: What to do.
        records: Records or requests concerned.
        share: ... as a share of all.
    """

    field: str
    kind: str
    text: str
    remedy: str
    records: int
    share: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def find(
    references: Sequence[FieldReference],
    refused: Mapping[str, Any],
    seen: Mapping[str, FieldSeen],
    *,
    answered: int,
    unknown: Mapping[str, int] | None = None,
) -> list[Finding]:
    """Says what has probably happened to the data.

    Args:
        references: The fields of the schema.
        refused: What was refused, as ``Validation.document`` gives it; empty for nothing.
        seen: What was counted of answered records, by field; fields may be left out.
        answered: Records that were answered.
        unknown: Unknown fields that were passed over, by name.

    Returns:
        The guesses, those that concern most records first.
    """
    total = max(1, answered + int(refused.get("records", 0)))
    found: list[Finding] = []
    passed_over = dict(unknown or {})
    for field in references:
        here = _Field(field, refused, seen.get(field.name), total)
        renamed = here.renamed(passed_over)
        found += renamed or here.others()
    known = {field.name for field in references}
    explained = {each.text.rsplit("`", 2)[1] for each in found if each.kind == "renamed"}
    strangers = {
        name: int(codes["unknown_field"])
        for name, codes in refused.get("fields", {}).items()
        if "unknown_field" in codes and name not in known
    }
    for name, count in ({**passed_over, **strangers}).items():
        if name not in explained and count / total > NOISE:
            refusing = name in strangers
            # A field that may be missing is not missed where it arrives in another spelling.
            twin = next((each for each in known if _plain(each) == _plain(name)), None)
            if twin is not None:
                text = f"field `{twin}` now arrives as `{name}`"
                found.append(Finding(twin, "renamed", text, _RENAME, count, count / total))
                continue
            what = "refused for it" if refusing else "passed over"
            remedy = "leave it out, or build a bundle that knows it" if refusing else "nothing, if it is not needed"
            text = f"unknown field `{name}` in {count} records, {what}"
            found.append(Finding(name, "unknown", text, remedy, count, count / total))
    asked = total + sum(refused.get("requests", {}).values())
    for code, count in refused.get("requests", {}).items():
        if count / asked > NOISE:
            text = f"{count} requests could not be read: {code}"
            found.append(Finding("", "requests", text, "look at what the clients send", count, count / asked))
    return sorted(found, key=lambda each: (-each.share, each.field, each.kind))


class _Field:
    """One field, with all that is known of it."""

    def __init__(self, field: FieldReference, refused: Mapping[str, Any], seen: FieldSeen | None, total: int) -> None:
        self._field = field
        self._codes: Mapping[str, int] = refused.get("fields", {}).get(field.name, {})
        self._values: Mapping[str, Mapping[str, int]] = refused.get("values", {}).get(field.name, {})
        self._magnitudes = refused.get("magnitudes", {}).get(field.name)
        self._pairs: Mapping[str, int] = refused.get("pairs", {}).get(field.name, {})
        self._seen = seen
        self._total = total

    def renamed(self, passed_over: Mapping[str, int]) -> list[Finding]:
        """The field arrives under another name: unknown in the same records in which this one is missing."""
        name = self._field.name
        missing = self._codes.get("missing", 0)
        pairs = dict(self._pairs)
        if not missing and self._seen is not None:
            missing = self._seen.missing
            pairs = dict(passed_over)
        alike = {
            other: count
            for other, count in pairs.items()
            if count >= 0.5 * missing > 0 and _alike(name, other) >= ALIKE
        }
        if not alike or missing / self._total <= NOISE:
            return []
        other = max(alike, key=lambda each: (_alike(name, each), alike[each]))
        text = f"field `{name}` now arrives as `{other}`"
        return [self._finding("renamed", text, _RENAME, alike[other])]

    def others(self) -> list[Finding]:
        """Everything else."""
        found = [self._types(), self._unit(), *self._levels(), self._missing(), self._stuck()]
        return [each for each in found if each is not None]

    def _types(self) -> Finding | None:
        count = self._codes.get("wrong_type", 0) + self._codes.get("not_integer", 0)
        if count / self._total <= NOISE:
            return None
        values = {**self._values.get("wrong_type", {}), **self._values.get("not_integer", {})}
        shown = max((value for value in values if value != "*"), key=lambda value: values[value], default="")
        name, kind = self._field.name, self._field.kind
        bare = shown.strip("\"'")
        said = f"field `{name}` arrives as {shown} where {_article(kind)} {kind} is expected"
        if kind in ("number", "integer") and _number(bare) is not None and bare != shown:
            return self._finding("type", f"{said}: numbers in quotes", "send it without quotes", count)
        if kind in ("number", "integer") and _number(bare.replace(",", ".", 1)) is not None and "," in bare:
            return self._finding("type", f"{said}: a decimal comma", "send a decimal point", count)
        if kind == "boolean" and bare.lower() in _TRUE_OR_FALSE:
            return self._finding("type", said, "send true or false", count)
        if kind == "integer" and _number(bare) is not None:
            return self._finding("type", said, "round it where it is sent, or declare a number", count)
        return self._finding("type", said, f"send {_article(kind)} {kind}, or build a bundle for the other type", count)

    def _unit(self) -> Finding | None:
        """Values that differ from the reference by a unit's factor; else values out of the schema's bounds."""
        name, mean, deviation = self._field.name, self._field.mean, self._field.deviation
        refused = sum(self._codes.get(code, 0) for code in ("below_min", "above_max"))
        ratio = spread = None
        if refused / self._total > NOISE and self._magnitudes and self._magnitudes[0] and mean:
            # The geometric mean of what was refused, beside the reference's mean.
            ratio, count = 10 ** (self._magnitudes[1] / self._magnitudes[0]) / abs(mean), refused
        elif self._seen is not None and self._seen.mean and mean and self._seen.rows >= FEWEST:
            ratio, count = self._seen.mean / mean, self._seen.rows - self._seen.missing
            if deviation and self._seen.deviation:
                spread = self._seen.deviation / deviation
                if _fahrenheit(mean, deviation, self._seen.mean, self._seen.deviation):
                    text = f"`{name}` looks like degrees Fahrenheit where the reference has Celsius: unit change?"
                    return self._finding("unit", text, "send the unit that the model was trained with", count)
        guessed = _unit_of(ratio, spread)
        if ratio is not None and guessed is not None:
            factor, what = guessed
            times = f"{factor:.4g} times larger" if ratio > 1 else f"{factor:.4g} times smaller"
            text = f"`{name}` looks {times} than in the reference: unit change ({what})?"
            return self._finding("unit", text, "send the unit that the model was trained with", count)
        if refused / self._total > NOISE:
            side = "above_max" if self._codes.get("above_max", 0) >= self._codes.get("below_min", 0) else "below_min"
            words = "above the largest" if side == "above_max" else "below the smallest"
            values = [value for value in self._values.get(side, {}) if value != "*"]
            text = f"`{name}` is {words} value allowed in {refused} records, such as {', '.join(values[:3])}"
            return self._finding("bounds", text, "look at its source, or build a bundle with wider bounds", refused)
        return None

    def _levels(self) -> list[Finding]:
        name = self._field.name
        values = {key: n for key, n in self._values.get("unseen_level", {}).items() if key != "*"}
        by_spelling = {_plain(level): level for level in self._field.levels}
        found, new, new_count = [], [], 0
        for value, count in sorted(values.items(), key=lambda each: -each[1]):
            if count / self._total <= NOISE:
                continue
            bare = value.strip("\"'")
            known = by_spelling.get(_plain(bare))
            if known is not None:
                text = f"`{name}`: {bare!r} is the known level {known!r} in another spelling"
                found.append(self._finding("spelling", text, f"send {known!r}", count))
            else:
                new.append(bare)
                new_count += count
        if new:
            text = f"`{name}` has levels that training has not seen: {', '.join(map(repr, new[:5]))}"
            found.append(self._finding("level", text, "build a bundle with them, or allow unseen levels", new_count))
        elif self._seen is not None and self._seen.rows >= FEWEST and self._seen.unseen / self._seen.rows > 0.05:
            share = self._seen.unseen / self._seen.rows
            text = f"`{name}` has a level that training has not seen in {share:.0%} of records"
            found.append(self._finding("level", text, "build a bundle with the new levels", self._seen.unseen))
        return found

    def _missing(self) -> Finding | None:
        name = self._field.name
        count = self._codes.get("missing", 0)
        if count / self._total > NOISE:
            text = f"`{name}` is missing in {count} records, which are refused for it"
            return self._finding("missing", text, "send it, or build a bundle that allows it to be missing", count)
        if self._seen is None or self._seen.rows < FEWEST:
            return None
        share = self._seen.missing / self._seen.rows
        if share > max(0.05, 2 * self._field.missing + 0.02):
            text = f"`{name}` is missing in {share:.0%} of records; in the reference it was {self._field.missing:.0%}"
            return self._finding("missing", text, "look at its source", self._seen.missing)
        return None

    def _stuck(self) -> Finding | None:
        seen, usual = self._seen, self._field.largest
        if seen is None or seen.rows < 10 * FEWEST or seen.largest is None or usual is None:
            return None
        if seen.largest >= 0.999 and usual < 0.9 and self._field.kind in ("number", "integer"):
            text = f"`{self._field.name}` hardly changes any more: {seen.largest:.1%} of records are alike"
            return self._finding("stuck", text, "look whether its sensor still lives", seen.rows)
        return None

    def _finding(self, kind: str, text: str, remedy: str, records: int) -> Finding:
        return Finding(self._field.name, kind, text, remedy, records, min(1.0, records / self._total))


def _unit_of(ratio: float | None, spread: float | None) -> tuple[float, str] | None:
    """The unit whose factor a ratio of means is near to; where the spreads are known, theirs must be too."""
    if ratio is None or ratio <= 0:
        return None
    size = max(ratio, 1 / ratio)
    near = min(_UNITS, key=lambda unit: abs(math.log(size / unit[0])))
    mean_slack, spread_slack = _SMALL_SLACK if near[0] < _SMALL else _SLACK
    if abs(size / near[0] - 1) > mean_slack:
        return None
    if spread is None:
        # Without a spread only a large factor says anything.
        return near if near[0] >= 10 else None
    wide = spread if ratio > 1 else 1 / spread if spread else math.inf
    return near if abs(wide / near[0] - 1) <= spread_slack else None


def _fahrenheit(mean: float, deviation: float, now: float, spread: float) -> bool:
    expected, width = 1.8 * mean + 32, 1.8 * deviation
    return abs(now - expected) <= 0.25 * width and abs(spread / width - 1) <= 0.2 and abs(now - mean) > 2 * deviation


def _plain(text: str) -> str:
    """A name without case, accents, and everything that is no letter or digit."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if char.isalnum())


def _alike(one: str, other: str) -> float:
    one, other = sorted((_plain(one), _plain(other)), key=len)
    if len(one) >= 4 and one in other:
        return max(ALIKE, len(one) / len(other))
    return SequenceMatcher(None, one, other).ratio()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
