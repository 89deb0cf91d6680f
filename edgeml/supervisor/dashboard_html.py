"""HTML that cannot be broken out of: whatever is not ``Html`` is text, and text is escaped and made visible.

Names, reasons and cards come out of bundles and requests: they may hold markup, control characters, or letters that
turn the direction of writing to make a name look like another.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 400
NOTHING = "–"
# Control, format (which turn the direction), surrogate, private, unassigned, line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_VOID = {"br", "hr", "line", "rect", "circle", "path", "polyline"}
_FAR_FUTURE = 253_402_300_800.0


class Html(str):
    """Markup that was made here."""

    __slots__ = ()


Part = str | None


def shown(value: Any, *, longest: int = LONGEST_TEXT) -> str:
    """A text as people should see it: bounded, and with every character that would be hidden replaced.

    Args:
        value: What is shown.
        longest: Most characters; 0 for no bound.
    """
    text = str(value)
    cut = text[: longest - 1] + "…" if longest and len(text) > longest else text
    return "".join("\ufffd" if unicodedata.category(each) in _HIDDEN else each for each in cut)


def escaped(part: Part) -> str:
    """A part of a document as markup."""
    if part is None:
        return ""
    return part if isinstance(part, Html) else html.escape(shown(part))


def tag(name: str, *parts: Part, **attributes: Any) -> Html:
    """One element.

    Args:
        name: Its name.
        parts: What is in it; ``Html`` as it is, other text escaped.
        attributes: By name; ``_`` stands for ``-``, and a trailing one is dropped. None and False leave one out, True
            gives one without a value. Those for the script (``data_...``) come through letter by letter: they name
            what the box knows, and what the script shows of them must have been through ``shown``.
    """
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_attribute(key, value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID and not parts:
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{join(parts)}</{name}>")


def _attribute(key: str, value: Any) -> str:
    return html.escape(str(value) if key.startswith("data_") else shown(value, longest=0))


def join(parts: Iterable[Part]) -> Html:
    """Parts one after the other."""
    return Html("".join(escaped(each) for each in parts))


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Part]], *, numbers: int = 0) -> Html:
    """A table that can be scrolled by itself where it is too wide for a phone.

    Args:
        caption: What it shows.
        headings: Of the columns.
        rows: The first cell of each is its heading.
        numbers: How many columns, counted from the right, hold numbers.
    """
    first_number = len(headings) - numbers
    head = join(
        tag("th", each, scope="col", class_="number" if place >= first_number else None)
        for place, each in enumerate(headings)
    )
    body = join(
        tag(
            "tr",
            *(
                tag("td", cell, class_="number" if place >= first_number else None)
                if place
                else tag("th", cell, scope="row")
                for place, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    caption_tag = tag("caption", caption)
    whole = tag("table", caption_tag, tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", whole, class_="wide", role="region", aria_label=caption, tabindex="0")


def facts(pairs: Iterable[tuple[str, Part]]) -> Html:
    """Names with values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs), class_="facts")


def badge(word: str, level: str = "none") -> Html:
    """A word of state; its colour only repeats what it says.

    Args:
        word: What it says.
        level: ``good``, ``warn``, ``bad`` or ``none``.
    """
    return tag("span", word, class_=f"badge {level}")


def note(*parts: Part, level: str = "") -> Html:
    """A paragraph beside the figures."""
    return tag("p", *parts, class_=f"note {level}".strip())


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits."""
    return f"{value:.{digits}g}" if is_number(value) else NOTHING


def count(value: Any) -> str:
    """A whole number, in groups of three."""
    return f"{int(value):,}".replace(",", "\u202f") if is_number(value) else NOTHING


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else NOTHING


def duration(micros: Any) -> str:
    """A duration given in microseconds."""
    if not is_number(micros):
        return NOTHING
    if micros < 1000:
        return f"{micros:.3g} µs"
    return f"{micros / 1000:.3g} ms" if micros < 1e6 else f"{micros / 1e6:.3g} s"


def size(amount: Any) -> str:
    """Bytes, in units of 1024."""
    if not is_number(amount):
        return NOTHING
    value, units = float(amount), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.4g} {units[0]}"


def moment(seconds: Any) -> Html:
    """A point in time, UTC."""
    if not is_number(seconds) or not 0 <= seconds < _FAR_FUTURE:
        return Html(NOTHING)
    at = datetime.fromtimestamp(float(seconds), UTC)
    return tag("time", f"{at:%Y-%m-%d %H:%M:%S}", datetime=f"{at:%Y-%m-%dT%H:%M:%SZ}")
