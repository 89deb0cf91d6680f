"""Reports of the watch made small enough for a message between processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Columns whose histograms are in a message.
HISTOGRAMS = 40


def shortened(report: Mapping[str, Any], most: int) -> dict[str, Any]:
    """A report with the histograms of the worst columns only.

    Args:
        report: See ``watch_report``.
        most: How many columns keep theirs; four times as many more stand without.
    """
    columns = report["drift"]["columns"]
    bare_ones = [
        {key: value for key, value in each.items() if key not in ("bins", "reference", "current")}
        for each in columns[most : 5 * most]
    ]
    left_out = max(0, len(columns) - 5 * most)
    return {**report, "drift": {**report["drift"], "columns": columns[:most] + bare_ones, "left_out": left_out}}
