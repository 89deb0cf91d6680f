"""What a record looks like: features with their kinds, bounds, levels and policies.

1. A schema is part of the signed bundle, yet nothing in it is believed: every member is checked when it is read.
2. The order of the features is the order of their columns in a Frame: number, integer and boolean features take the
   next number column, category features the next code column, text features the next text column (``Schema.slots``).
   A picture stands beside the columns, and numbers derived from it are number features that no record holds.
3. Policies say what to do with a value that is not there (``missing``) or a level that training has not seen
   (``unseen``); what they refuse is a violation, never a guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec

from edgeml.errors import BundleError

Kind = Literal["number", "integer", "boolean", "category", "text", "image"]
Bank = Literal["number", "category", "text", "image"]
Policy = Literal["error", "allow"]

# The largest integer that no other integer shares a double with.
MAX_INTEGER = 2**53 - 1
MAX_FEATURES = 100_000
MAX_NAME_BYTES = 1_024
MAX_TEXT_BYTES = 65_536
MAX_MAX_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a feature's values are in a Frame.

    Attributes:
        bank: ``number``, ``category``, ``text`` or ``image``.
        index: Column in that bank.
    """

    bank: Bank
    index: int


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One named value of a record.

    Attributes:
        name: The key in a record.
        kind: ``number`` (any finite double), ``integer`` (a whole number within 2**53 - 1), ``boolean`` (true, false,
            or exactly 0 or 1), ``category`` (a string out of ``levels``), ``text`` (any string) or ``image`` (a
            picture: docs/images.md).
        unit: For readers, such as ``mm``.
        description: For readers.
        min: Smallest value allowed (number and integer).
        max: Largest value allowed (number and integer).
        levels: The known levels of a category, in the order of their codes.
        unseen: What to do with a level that is not known: ``error`` or ``allow``.
        missing: What to do where no value is given (absent, null or NaN): ``error`` or ``allow``.
        max_bytes: Longest text allowed, in bytes of UTF-8.
        derived_from: Name of the picture that this number is worked out of; no record holds it.
    """

    name: str
    kind: Kind
    unit: str | None = None
    description: str | None = None
    min: float | None = None
    max: float | None = None
    levels: tuple[str, ...] | None = None
    unseen: Policy = "error"
    missing: Policy = "error"
    max_bytes: int = MAX_TEXT_BYTES
    derived_from: str | None = None

    def __post_init__(self) -> None:
        complaint = _name_complaint(self.name)
        if complaint:
            raise BundleError(f"schema: a feature's name {complaint}")
        for check in (self._check_bounds, self._check_levels, self._check_text, self._check_image):
            complaint = check()
            if complaint:
                raise BundleError(f"schema: feature {self.name!r}: {complaint}")

    def _check_bounds(self) -> str:
        given = [bound for bound in (self.min, self.max) if bound is not None]
        if given and self.kind not in ("number", "integer"):
            return f"a {self.kind} has no min or max; remove them"
        if not all(math.isfinite(bound) for bound in given):
            return "min and max must be finite; leave a bound out where there is none"
        if self.min is not None and self.max is not None and self.min > self.max:
            return f"min {self.min:.15g} is above max {self.max:.15g}; exchange them"
        return ""

    def _check_levels(self) -> str:
        if self.kind != "category":
            if self.levels is not None:
                return f"a {self.kind} has no levels; remove them or make it a category"
            return "only a category can be unseen; remove the policy" if self.unseen != "error" else ""
        if not self.levels:
            return "a category needs levels; list them, or make it a text"
        seen = set()
        for level in self.levels:
            if not _encodes(level):
                return f"level {level!r} holds half a surrogate pair, which no request can send"
            if level in seen:
                return f"level {level!r} stands twice; remove one"
            seen.add(level)
        return ""

    def _check_text(self) -> str:
        if self.kind != "text" and self.max_bytes != MAX_TEXT_BYTES:
            return f"a {self.kind} has no max_bytes; remove it"
        fits = 0 <= self.max_bytes <= MAX_MAX_BYTES
        return "" if fits else f"max_bytes {self.max_bytes} is not between 0 and {MAX_MAX_BYTES}"

    def _check_image(self) -> str:
        if self.kind == "image" and self.missing != "error":
            return "a picture cannot be missing; remove the policy"
        if self.derived_from is None:
            return ""
        if self.kind != "number" or self.missing != "error" or self.min is not None or self.max is not None:
            return "what is derived from a picture is a number without bounds, and never missing; write a rule about it"
        return ""

    @property
    def bank(self) -> Bank:
        """The bank of the Frame that holds the values."""
        if self.kind == "category" or self.kind == "text" or self.kind == "image":
            return self.kind
        return "number"

    @property
    def expected(self) -> str:
        """What a value must be, in words, for messages to people."""
        if self.kind == "boolean":
            words = "true or false"
        elif self.kind == "image":
            words = "a PNG or JPEG picture in base64"
        elif self.kind == "text":
            words = f"a string of at most {self.max_bytes} bytes"
        elif self.kind == "category":
            words = _one_of(self.levels or ())
            if self.unseen == "allow":
                words = "a string"
        else:
            words = "an integer" if self.kind == "integer" else "a finite number"
            if self.min is not None and self.max is not None:
                words += f" from {self.min:.15g} to {self.max:.15g}"
            elif self.min is not None:
                words += f" of at least {self.min:.15g}"
            elif self.max is not None:
                words += f" of at most {self.max:.15g}"
            elif self.kind == "integer":
                words += f" within ±{MAX_INTEGER}"
        return words if self.missing == "error" else f"{words}, or null"


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """The features of a record, in order.

    Attributes:
        features: At least one; names are distinct.
        unknown_fields: What to do with a key that is no feature: ``reject`` or ``count`` (and go on).
        layout: ``tensor`` where all features are numeric and came from an array without names; ``record`` otherwise.
    """

    features: tuple[Feature, ...]
    unknown_fields: Literal["reject", "count"] = "reject"
    layout: Literal["record", "tensor"] = "record"

    def __post_init__(self) -> None:
        if not self.features:
            raise BundleError("schema: there are no features; name at least one")
        if len(self.features) > MAX_FEATURES:
            raise BundleError(f"schema: {len(self.features)} features are more than {MAX_FEATURES}")
        seen = set()
        for feature in self.features:
            if feature.name in seen:
                raise BundleError(f"schema: feature {feature.name!r} stands twice; rename or remove one")
            seen.add(feature.name)
            if self.layout == "tensor" and feature.bank != "number":
                raise BundleError(
                    f"schema: feature {feature.name!r}: a {feature.kind} does not fit layout 'tensor'; use 'record'"
                )
        for feature in self.features:
            if feature.derived_from != self.image if feature.kind != "image" else feature.name != self.image:
                raise BundleError(
                    f"schema: feature {feature.name!r}: a record with a picture holds one picture and nothing else; "
                    "leave the other features away"
                )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Schema:
        """Reads the JSON form and checks it.

        Args:
            document: ``{"features": [{"name": ..., "kind": ...}, ...], "unknown_fields"?: ..., "layout"?: ...}``.

        Raises:
            BundleError: Something does not fit; the message names the feature and what to do.
        """
        if not isinstance(document, Mapping):
            raise BundleError("schema: expected an object with a list of features")
        try:
            return msgspec.convert(dict(document), cls, strict=True)
        except msgspec.ValidationError as error:
            raise BundleError(f"schema: {_named(str(error), document)}") from error

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; members that hold their default are left out."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        for feature in built["features"]:
            if "levels" in feature:
                feature["levels"] = list(feature["levels"])
        return {**built, "features": list(built["features"])}

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Name of each feature -> where its values are in a Frame; in the order of the features."""
        counts = {"number": 0, "category": 0, "text": 0, "image": 0}
        slots = {}
        for feature in self.features:
            slots[feature.name] = Slot(feature.bank, counts[feature.bank])
            counts[feature.bank] += 1
        return slots

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def given(self) -> tuple[Feature, ...]:
        """The features that a record holds: all but those derived from a picture."""
        return tuple(feature for feature in self.features if feature.derived_from is None)

    @property
    def image(self) -> str | None:
        """Name of the picture that records consist of; None where they have none."""
        return next((feature.name for feature in self.features if feature.kind == "image"), None)

    @cached_property
    def _by_name(self) -> dict[str, Feature]:
        return {feature.name: feature for feature in self.features}

    def feature(self, name: str) -> Feature:
        """The feature of that name.

        Raises:
            KeyError: There is none.
        """
        return self._by_name[name]


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name_complaint(name: str) -> str:
    if not name:
        return "is empty; give it one"
    if not _encodes(name):
        return f"{name!r} holds half a surrogate pair, which no request can send; rename it"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"{name[:40]!r}... is longer than {MAX_NAME_BYTES} bytes; shorten it"
    return ""


def _one_of(levels: tuple[str, ...]) -> str:
    shown = ", ".join(f'"{level[:40]}"' for level in levels[:8])
    return f"one of {shown}" + (f" or {len(levels) - 8} more" if len(levels) > 8 else "")


def _named(message: str, document: Mapping[str, Any]) -> str:
    """A message of msgspec with the feature's name in place of its position."""
    found = re.search(r" - at `\$\.features\[(\d+)\](?:\.(\w+))?[^`]*`$", message)
    if not found:
        return message
    text, position = message[: found.start()], int(found[1])
    given = document["features"][position]
    name = given.get("name") if isinstance(given, Mapping) else None
    who = f"feature {name!r}" if isinstance(name, str) else f"feature number {position}"
    return f"{who}: {found[2] + ': ' if found[2] else ''}{text[:1].lower()}{text[1:]}"
