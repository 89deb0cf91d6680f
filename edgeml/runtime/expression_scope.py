"""What the names in a condition may mean: features, and the lists and definitions of its document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeml.runtime.expression import Literals
from edgeml.runtime.schema import Schema

Type = Literal["number", "boolean", "category", "text", "string", "condition"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that a condition may use.

    Attributes:
        schema: What a record looks like.
        lists: Name of each list -> its values.
        types: Name of each definition -> what it is.
        units: Name of each definition that is a number -> its unit: see ``expression_units.py``.
    """

    schema: Schema
    lists: Mapping[str, tuple[Literals, ...]] = field(default_factory=dict)
    types: Mapping[str, Type] = field(default_factory=dict)
    units: Mapping[str, str | None] = field(default_factory=dict)
