"""Sizes on the command line: ``50MB``, ``200MiB``."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "KI": 1024, "MI": 1024**2, "GI": 1024**3}
_SIZE = re.compile(r"\s*([0-9]{1,15})\s*([KMG]I?|)B?\s*\Z", re.IGNORECASE)


class Size(click.ParamType):  # type: ignore[type-arg]  # older click knows no argument
    """A number of bytes, such as ``50MB`` or ``200MiB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        found = _SIZE.match(str(value))
        if found is None:
            self.fail(f"{value!r} is no size; write 50MB or 200MiB", param, ctx)
        return int(found[1]) * _UNITS[found[2].upper()]
