"""The table that ``make test-crash`` prints last: what was tried, which broken variants were caught, what was measured.

A pytest plugin collects what tests say of themselves with ``record_property``, from one run or several:

- ``crash``: a transition of a store; ``{"name", "points", "states", "errnos", "kills", "failures", "violations"}``.
- ``crash_kills``: a running box; ``{"change", "victim", "kills", "early", "violations"}``.
- ``crash_variant``: deliberately broken code; ``{"name", "where", "violations"}``, of which there must be some.
- ``crash_figure``: a line for people.

``pytest -p crash.table`` prints the table behind that run. With ``--crash-table FILE`` the run is added to the file,
and ``python -m crash.table FILE`` prints the table of all.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

COLUMNS = ("points", "states", "errnos", "kills", "failures", "violations")
TITLES = ("power cuts at", "disk states", "errors", "kills", "failing calls", "violations")
VICTIMS = ("worker", "supervisor", "both")
KINDS = ("crash", "crash_kills", "crash_variant", "crash_figure")
OUTCOMES = ("passed", "failed", "error", "skipped")

Said = tuple[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the table is collected."""
    parser.addoption("--crash-table", metavar="FILE", type=Path, help="add this run to FILE, and print no table")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table of this run, or keeps it for that of all."""
    if hasattr(terminalreporter.config, "workerinput"):
        return  # one process of several: the one that leads them has it all
    said = _said(terminalreporter)
    path = terminalreporter.config.getoption("crash_table")
    if path is None:
        show(said, terminalreporter.line)
        return
    with path.open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in said)


def show(said: Iterable[Said], line: Callable[[str], None]) -> bool:
    """Prints the table.

    Args:
        said: What tests have said.
        line: Prints one line.

    Returns:
        Whether all is well: no violation, every variant caught, no test failed.
    """
    kinds: dict[str, list[Any]] = defaultdict(list)
    for kind, found in said:
        kinds[kind].append(found)
    well = [
        _transitions(kinds["crash"], line),
        _kills(kinds["crash_kills"], line),
        _variants(kinds["crash_variant"], line),
    ]
    if kinds["crash_figure"]:
        _section("figures", line)
        for text in kinds["crash_figure"]:
            line(text)
    outcomes = {each: sum(run.get(each, 0) for run in kinds["tests"]) for each in OUTCOMES}
    _section("tests", line)
    line(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return all(well) and not outcomes["failed"] and not outcomes["error"]


def _said(reporter: pytest.TerminalReporter) -> list[Said]:
    found: list[Said] = [("tests", {each: len(reporter.stats.get(each, [])) for each in OUTCOMES})]
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                found += [(kind, value) for kind, value in report.user_properties if kind in KINDS]
    return found


def _transitions(said: list[dict[str, Any]], line: Callable[[str], None]) -> bool:
    rows: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for found in said:
        for column in COLUMNS:
            rows[found["name"]][column] += found.get(column, 0)
            rows["all"][column] += found.get(column, 0)
    if not rows:
        return True
    total = rows.pop("all")
    _section("crash points of a store", line)
    width = max(map(len, [*rows, "transition"]))
    line(f"{'transition':{width}}  " + "  ".join(TITLES))
    for name, row in (*rows.items(), ("all", total)):
        cells = [f"{row[column]:>{len(title)}}" for column, title in zip(COLUMNS, TITLES, strict=True)]
        line(f"{name:{width}}  " + "  ".join(cells))
    line("power cuts at: before and after so many operations of the disk; disk states: different ones")
    line("that a power cut could leave there; errors: errnos that operations gave, once and lasting;")
    line("kills, failing calls: system calls at which a real process was killed, or which failed")
    return not total["violations"]


def _kills(said: list[dict[str, Any]], line: Callable[[str], None]) -> bool:
    rows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for found in said:
        for name in (found["change"], "all"):
            rows[name][found["victim"]] += found["kills"]
            rows[name][f"{found['victim']} early"] += found["early"]
            rows[name]["violations"] += found["violations"]
    if not rows:
        return True
    total = rows.pop("all")
    _section("kills of a running box", line)
    line(f"{'during':10}" + "".join(f"{victim:>16}" for victim in VICTIMS) + f"{'violations':>14}")
    for name, row in (*rows.items(), ("all", total)):
        cells = [f"{row[victim]} ({row[f'{victim} early']})" if row[victim] else "-" for victim in VICTIMS]
        line(f"{name:10}" + "".join(f"{cell:>16}" for cell in cells) + f"{row['violations']:>14}")
    line("SIGKILL to whom, how often; in brackets: before the change was acknowledged")
    return not total["violations"]


def _variants(said: list[dict[str, Any]], line: Callable[[str], None]) -> bool:
    if not said:
        return True
    caught = {(found["name"], found["where"]): found["violations"] > 0 for found in said}
    _section("broken variants that must be caught", line)
    for (name, where), ok in sorted(caught.items(), key=lambda each: each[0][::-1]):
        line(f"{'caught' if ok else 'NOT CAUGHT':10}  {name} ({where})")
    line(f"{sum(caught.values())} of {len(caught)} caught")
    return all(caught.values())


def _section(title: str, line: Callable[[str], None]) -> None:
    line("")
    line(f"{f' {title} ':=^100}")


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text().splitlines()
    sys.exit(0 if show([tuple(json.loads(each)) for each in lines], print) else 1)
