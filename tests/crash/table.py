"""The table that ``make test-crash`` prints: what was tried on each transition, which broken variants were caught."""

from __future__ import annotations

from collections import defaultdict

import pytest

COLUMNS = ("points", "states", "errnos", "kills", "failures", "violations")
TITLES = ("power cuts at", "disk states", "errors", "kills", "failing calls", "violations")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each transition, one for each variant."""
    rows: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    variants: dict[tuple[str, str], bool] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for kind, found in getattr(report, "user_properties", []):
                if report.when == "call" and kind == "crash":
                    for column in COLUMNS:
                        rows[found["name"]][column] += found.get(column, 0)
                elif report.when == "call" and kind == "crash_variant":
                    variants[found["name"], found["where"]] = found["violations"] > 0
    if not rows:
        return
    terminalreporter.section("crash points")
    width = max(map(len, [*rows, "transition"]))
    terminalreporter.line(f"{'transition':{width}}  " + "  ".join(TITLES))
    total = dict.fromkeys(COLUMNS, 0)
    for name, row in rows.items():
        _line(terminalreporter, name, width, row)
        for column in COLUMNS:
            total[column] += row[column]
    _line(terminalreporter, "all", width, total)
    terminalreporter.line("power cuts at: before and after so many operations of the disk; disk states: different ones")
    terminalreporter.line("that a power cut could leave there; errors: errnos that operations gave, once and lasting;")
    terminalreporter.line("kills, failing calls: system calls at which a real process was killed, or which failed")
    terminalreporter.section("broken variants that must be caught")
    for (name, where), caught in variants.items():
        terminalreporter.line(f"{'caught' if caught else 'NOT CAUGHT':10}  {name} ({where})")


def _line(reporter: pytest.TerminalReporter, name: str, width: int, row: dict[str, int]) -> None:
    cells = [f"{row[column]:>{len(title)}}" for column, title in zip(COLUMNS, TITLES, strict=True)]
    reporter.line(f"{name:{width}}  " + "  ".join(cells))
