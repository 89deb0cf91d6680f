"""Numbers from one unit to another, for rules. The only file that knows pint."""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from typing import Any

# A double holds 15 decimal digits of anything; a scale that begins elsewhere costs two of them on the way.
_DIGITS = 15
_DIGITS_OF_SHIFTED = 13


def convert_unit(value: float, unit: str, wanted: str) -> float:
    """A number in another unit, as a person would write it: rounded to 15 digits at most.

    Args:
        value: The number.
        unit: Its unit, such as ``mph``, ``°F`` or ``mg/dL``.
        wanted: The unit that it is wanted in.

    Raises:
        ValueError: A unit is not known, or the two do not measure the same; says which.
    """
    zero = _converted(0.0, unit, wanted)
    made = _converted(value, unit, wanted)
    if not math.isfinite(made):
        raise ValueError(f"in {wanted} the number is too large")
    # 32 °F is 0 °C, although 5.7e-14 comes out: the digits are those of the largest number on the way.
    largest, digits = max(abs(made), abs(zero)), _DIGITS_OF_SHIFTED if zero else _DIGITS
    return round(made, digits - 1 - math.floor(math.log10(largest))) if largest else 0.0


def _converted(value: float, unit: str, wanted: str) -> float:
    registry = _registry()
    try:
        return float(registry.Quantity(value, _unit(unit)).to(_unit(wanted)).magnitude)
    except import_module("pint").DimensionalityError as error:
        raise ValueError(f"{unit} and {wanted} do not measure the same") from error


@cache
def _unit(text: str) -> Any:
    try:
        return _registry().parse_units(text)
    except Exception as error:  # what is no unit ends in errors of many kinds there
        raise ValueError(f"{text!r} is no known unit") from error


@cache
def _registry() -> Any:
    # pint takes a third of a second to load, at every start of a builder; few files of rules name a unit.
    return import_module("pint").UnitRegistry()
