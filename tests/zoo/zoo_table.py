"""The table of estimators, printed when their tests have run, in whatever process that was."""

from collections import defaultdict
from typing import Any

import pytest


def print_table(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each estimator, and the count of bundles."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, found in getattr(report, "user_properties", []):
                if name == "zoo" and report.when == "call":
                    rows[found["task"], found["name"]].append(found)
    if not rows:
        return
    terminalreporter.section("scikit-learn's estimators")
    built = refused = 0
    for (task, name), found in sorted(rows.items()):
        words = []
        for one in sorted(found, key=lambda entry: entry["data"]):
            if "parity" in one:
                built += 1
                ties = f", {one['parity']['ties']} ties" if one["parity"]["ties"] else ""
                words.append(f"{one['data']}: bundle, {one['parity']['max_difference']:.1e}{ties}")
            else:
                refused += 1
                words.append(f"{one['data']}: refused ({one['refused']})")
        terminalreporter.line(f"{task:14} {name:32} {'; '.join(words)}")
    terminalreporter.line(f"{built} bundles, {refused} refused with the estimator named, no other outcome")
