"""Whether a condition is true, false or unknown for a record: the compiled kernel is asked, as a box would.

1. A condition is asked together with its ``not``: where neither is true, it is unknown. Nothing here knows what an
   operator means.
2. A record may leave features out, whatever the schema's policy: they are missing. What it gives must fit the schema.
3. Numbers that are worked out of a picture may be given as they are, for there is no picture here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.units import convert_unit
from edgeml.runtime.reader import Frame, RecordReader
from edgeml.runtime.rules import RuleList
from edgeml.runtime.schema import Schema

TRUE, FALSE, UNKNOWN = 1, 0, -1
WORDS = {TRUE: "true", FALSE: "false", UNKNOWN: "unknown"}


def partial_schema(schema: Schema) -> Schema:
    """The same columns, for records that may leave anything out.

    Args:
        schema: What a record looks like.
    """
    document = schema.to_dict()
    kept = [feature for feature in document["features"] if feature["kind"] != "image"]
    for feature in kept:
        feature["missing"] = "allow"
        feature.pop("derived_from", None)
    return Schema.from_dict({**document, "features": kept})


class RuleTruth:
    """Asks conditions about records.

    Args:
        schema: What a record looks like.
        shared: Named lists and definitions that conditions may use.

    Attributes:
        schema: The schema, in which every feature may be missing.
    """

    def __init__(self, schema: Schema, shared: Mapping[str, Any] | None = None) -> None:
        self.schema = partial_schema(schema)
        self._reader = RecordReader(self.schema)
        self._shared = dict(shared or {})
        self._known: dict[str, RuleList] = {}

    def frame(self, records: Sequence[Mapping[str, Any]]) -> Frame:
        """The records in a frame.

        Raises:
            SchemaError: Some value does not fit the schema.
        """
        frame = self._reader.new_frame(max(1, len(records)))
        self._reader.read_many(frame, list(records))
        return frame

    def ask(self, condition: str, frame: Frame, rows: int) -> NDArray[np.int8]:
        """``TRUE``, ``FALSE`` or ``UNKNOWN`` for each row.

        Args:
            condition: Its text.
            frame: Made by ``frame``.
            rows: Records in it.

        Raises:
            RuleError: This is no condition, or does not fit the schema.
        """
        program = self._known.get(condition)
        if program is None:
            asked = [{"when": text, "then": "abstain"} for text in (condition, f"not ({condition})")]
            program = RuleList.from_document({**self._shared, "rules": asked}, self.schema, convert=convert_unit)
            self._known[condition] = program
        matched = np.full(rows, -1, dtype=np.int32)
        program.match(frame.capsule, matched)
        return np.array([UNKNOWN, TRUE, FALSE], dtype=np.int8)[matched + 1]

    def ask_one(self, condition: str, record: Mapping[str, Any]) -> int:
        """The same for one record."""
        return int(self.ask(condition, self.frame([record]), 1)[0])
