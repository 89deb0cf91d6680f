"""A model card as HTML: the little of Markdown that cards are made of, and everything else as the text that it is.

Headings, paragraphs, lists, tables, fenced code, ``**strong**`` and ``code``. No links, no images, no HTML: a card
comes out of a bundle.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from edgeml.supervisor.dashboard_html import Html, join, shown, tag

MOST_BYTES = 200_000
MOST_LINES = 4_000

_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"[-*+]\s+(.*)")
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")


def card(data: bytes) -> Html:
    """Renders a card.

    Args:
        data: Markdown in UTF-8; what is not is shown as replaced.
    """
    text = data[:MOST_BYTES].decode(errors="replace")
    lines = [shown(line, longest=2_000) for line in text.replace("\r\n", "\n").replace("\t", "    ").split("\n")]
    parts = list(_blocks(lines[:MOST_LINES]))
    if len(data) > MOST_BYTES or len(lines) > MOST_LINES:
        parts.append(tag("p", "The card goes on; ask /v1/models/NAME/card for all of it.", class_="note"))
    return tag("div", *parts, class_="card-text")


def _blocks(lines: list[str]) -> Iterator[Html]:
    place = 0
    while place < len(lines):
        line = lines[place].strip()
        if not line:
            place += 1
            continue
        end = place + 1
        if line.startswith("```"):
            while end < len(lines) and not lines[end].strip().startswith("```"):
                end += 1
            yield tag("pre", tag("code", join(_verbatim(lines[place + 1 : end]))), tabindex="0")
            end += 1
        elif heading := _HEADING.match(line):
            # The page has headings of its own above these.
            yield tag(f"h{min(6, len(heading[1]) + 2)}", *_inline(heading[2]))
        elif line.startswith("|"):
            while end < len(lines) and lines[end].strip().startswith("|"):
                end += 1
            yield _table([each.strip() for each in lines[place:end]])
        elif _ITEM.match(line):
            while end < len(lines) and _ITEM.match(lines[end].strip()):
                end += 1
            items = (_ITEM.match(each.strip()) for each in lines[place:end])
            yield tag("ul", *(tag("li", *_inline(item[1])) for item in items if item))
        else:
            while end < len(lines) and _goes_on(lines[end].strip()):
                end += 1
            yield tag("p", *_inline(" ".join(each.strip() for each in lines[place:end])))
        place = end


def _goes_on(line: str) -> bool:
    return bool(line) and not line.startswith(("```", "|")) and not _HEADING.match(line) and not _ITEM.match(line)


def _verbatim(lines: list[str]) -> Iterator[Html]:
    for line in lines:
        yield _piece(line + "\n")


def _table(lines: list[str]) -> Html:
    rows = [_cells(each) for each in lines if not _is_rule(each)]
    headed = len(lines) > 1 and bool(rows) and _is_rule(lines[1])
    head = tag("thead", tag("tr", *(tag("th", *_inline(each), scope="col") for each in rows[0]))) if headed else None
    body = tag(
        "tbody", *(tag("tr", *(tag("td", *_inline(each)) for each in row)) for row in rows[1 if headed else 0 :])
    )
    return tag(
        "div", tag("table", head, body), class_="wide", role="region", aria_label="Table of the card", tabindex="0"
    )


def _is_rule(line: str) -> bool:
    return "-" in line and not line.strip("|-: ")


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [each.strip().replace("\\|", "|") for each in re.split(r"(?<!\\)\|", inner)]


def _inline(text: str) -> Iterator[Html]:
    place = 0
    for found in _INLINE.finditer(text):
        yield _piece(text[place : found.start()])
        yield tag("code", _piece(found[1])) if found[1] else tag("strong", _piece(found[2]))
        place = found.end()
    yield _piece(text[place:])


def _piece(text: str) -> Html:
    # Not cut again: the lines are bounded already.
    return Html(html.escape(text))
