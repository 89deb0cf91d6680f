"""The table of estimators, printed when their tests have run, in whatever process that was."""

from collections import defaultdict
from typing import Any

import pytest


def print_table(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each estimator: the engine chosen, and how far all of them are from each other."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, found in getattr(report, "user_properties", []):
                if name == "zoo" and report.when == "call":
                    rows[found["task"], found["name"]].append(found)
    if not rows:
        return
    terminalreporter.section("scikit-learn's estimators")
    terminalreporter.line("data: engine, difference from scikit-learn; native and onnx.reference from ONNX Runtime")
    built = refused = native = 0
    for (task, name), found in sorted(rows.items()):
        words = []
        for one in sorted(found, key=lambda entry: entry["data"]):
            if "parity" in one:
                built += 1
                native += "native" in one["engines"]
                words.append(f"{one['data']}: {_said(one['parity'], one['engines'])}")
            else:
                refused += 1
                words.append(f"{one['data']}: refused ({one['refused']})")
        terminalreporter.line(f"{task:14} {name:32} {'; '.join(words)}")
    terminalreporter.line(
        f"{built} bundles, {native} of them answered by the native kernel; "
        f"{refused} refused with the estimator named, no other outcome"
    )


def _said(parity: dict[str, Any], engines: dict[str, float]) -> str:
    ties = f" ({parity['ties']} ties)" if parity["ties"] else ""
    engine = "native" if parity["engine"] == "native" else "ONNX Runtime"
    among = "/".join(f"{engines[name]:.0e}" if name in engines else "-" for name in ("native", "reference"))
    return f"{engine}, {parity['max_difference']:.1e}{ties}; {among}"
