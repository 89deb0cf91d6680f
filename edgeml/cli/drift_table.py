"""What is known of the data, for people: columns beside their reference with small histograms, and findings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeml.cli.tables import row, table

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS = 20
MOST_BARS = 16
_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", ".:-=+*#@"
_LEVELS = {"drift": "large", "small": "small", "none": ""}
_LONGEST = 28


def drift_table(title: str, columns: Sequence[Mapping[str, Any]], *, most: int | None) -> Table:
    """The table.

    Args:
        title: Above it.
        columns: As ``watch_report`` gives them, worst first.
        most: How many to show; None for all.
    """
    shown = table(
        title,
        *("column", "differs", "size", "JS", "missing", "reference", "now", "changed most"),
        right=("size", "JS", "missing"),
    )
    for each in columns[:most]:
        reference, now = histograms(each)
        standing = _standing(each)
        row(
            shown,
            each["name"],
            standing,
            _number(each["effect"]),
            _number(each["jensen_shannon"]),
            f"{each['missing']:.0%}",
            reference,
            now,
            changed_most(each),
            style="bold" if standing not in ("", "small", "not judged") else None,
        )
    return shown


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """What has probably happened to the data.

    Args:
        findings: As ``watch_report`` gives them.
    """
    shown = table("Findings", "field", "records", "share", "what", "remedy", right=("records", "share"))
    for each in findings:
        row(shown, each["field"], each["records"], f"{each['share']:.1%}", each["text"], each["remedy"])
    return shown


def histograms(column: Mapping[str, Any]) -> tuple[str, str]:
    """Reference and current shares of a column as two rows of bars of one scale; missing values are left out.

    Args:
        column: As ``watch_report`` gives it; without bins there are no bars.
    """
    names = list(column.get("bins", ()))
    first = 1 if names[:1] == ["missing"] else 0
    reference, now = (list(column.get(side, ()))[first:] for side in ("reference", "current"))
    if not reference:
        return "", ""
    if column["kind"] in ("category", "label") and len(reference) > MOST_BARS:
        most = sorted(range(len(reference)), key=lambda at: -max(reference[at], now[at]))[:MOST_BARS]
        reference, now = ([side[at] for at in sorted(most)] for side in (reference, now))
    reference, now = _merged(reference), _merged(now)
    top = max(*reference, *now)
    return _bars(reference, top), _bars(now, top)


def changed_most(column: Mapping[str, Any]) -> str:
    """The bin whose share has changed most, in words; empty where no share is known or none has changed."""
    names, reference, now = (column.get(part, ()) for part in ("bins", "reference", "current"))
    if not names or not column["rows"]:
        return ""
    at = max(range(len(names)), key=lambda bin_: abs(now[bin_] - reference[bin_]))
    if now[at] == reference[at]:
        return ""
    name = names[at] if len(names[at]) <= _LONGEST else f"{names[at][: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f"{name}: {reference[at]:.1%} -> {now[at]:.1%}"


def _standing(column: Mapping[str, Any]) -> str:
    if column.get("latched"):
        return "seen" if column["acknowledged"] else "ALARM"
    if not column["watched"]:
        return "not judged"
    return _LEVELS[column["level"]]


def _merged(shares: Sequence[float]) -> list[float]:
    """Neighbours added up until there are few enough bars."""
    count = len(shares)
    bars = min(count, MOST_BARS)
    cuts = [count * bar // bars for bar in range(bars + 1)]
    return [sum(shares[low:high]) for low, high in zip(cuts, cuts[1:], strict=False)]


def _bars(shares: Sequence[float], top: float) -> str:
    blocks = _BLOCKS if (sys.stdout.encoding or "").lower().startswith("utf") else _ASCII
    # A space is no row at all; the lowest bar is some.
    return "".join(
        blocks[min(len(blocks) - 1, int(share / top * len(blocks)))] if share > 0 else " " for share in shares
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
