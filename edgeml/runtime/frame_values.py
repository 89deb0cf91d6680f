"""The values of one record as the Frame holds them: what rules and features have seen, after the schema's policies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from edgeml.kernels.frame import Frame
from edgeml.runtime.schema import Schema

# Characters of a text that are shown.
SHOWN_CHARACTERS = 100
_UNSEEN = -2


def value_of(frame: Frame, schema: Schema, name: str, row: int = 0) -> Any:
    """The value of a feature, in JSON types.

    Args:
        frame: The record's.
        schema: What it looks like.
        name: The feature.
        row: The record's place.

    Returns:
        None where there is no value; ``{"unseen": true}`` for a level that training has not seen, whose text is not
        kept; the beginning of a long text, with an ellipsis.
    """
    slot, feature = schema.slots[name], schema.feature(name)
    if slot.bank == "number":
        number = float(frame.number_column(slot.index)[row])
        if math.isnan(number):
            return None
        return bool(number) if feature.kind == "boolean" else int(number) if feature.kind == "integer" else number
    if slot.bank == "category":
        code = int(frame.code_column(slot.index)[row])
        if code >= 0:
            return (feature.levels or ())[code]
        return {"unseen": True} if code == _UNSEEN else None
    if slot.bank == "text":
        given = frame.text(slot.index, row)
        if given is None:
            return None
        # A character has at most four bytes; one that is cut through is left out.
        text = given[: 4 * SHOWN_CHARACTERS + 4].decode(errors="ignore")
        return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return None


def values_of(frame: Frame, schema: Schema, names: Iterable[str]) -> dict[str, Any]:
    """The values of some features, each once, in the order given."""
    return {name: value_of(frame, schema, name) for name in dict.fromkeys(names)}
