"""The table says what tests have said of themselves, of several runs, and whether all is well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from crash.table import show

TESTS = Path(__file__).resolve().parents[1]
WELL = [
    ("crash", {"name": "deny", "points": 7, "violations": 0}),
    ("crash", {"name": "deny", "points": 1, "kills": 2, "violations": 0}),
    ("crash_kills", {"change": "push", "victim": "both", "kills": 3, "early": 2, "violations": 0}),
    ("crash_variant", {"name": "nothing is synced", "where": "deny", "violations": 4}),
    ("crash_figure", "ten cuts: 1.02 of the bytes"),
]


def table(said):
    lines = []
    return show(said, lines.append), [" ".join(line.split()) for line in lines]


def test_all_is_well():
    well, lines = table([*WELL, ("tests", {"passed": 5}), ("tests", {"passed": 1, "skipped": 1})])
    assert well
    assert {"deny 8 0 0 2 0 0", "push - - 3 (2) 0", "caught nothing is synced (deny)", "1 of 1 caught"} <= set(lines)
    assert "ten cuts: 1.02 of the bytes" in lines and lines[-1] == "6 passed, 0 failed, 0 error, 1 skipped"


@pytest.mark.parametrize(
    "bad",
    [
        ("crash", {"name": "deny", "violations": 1}),
        ("crash_kills", {"change": "push", "victim": "both", "kills": 1, "early": 1, "violations": 1}),
        ("crash_variant", {"name": "no reserve", "where": "full disk", "violations": 0}),
        ("tests", {"failed": 1}),
    ],
    ids=lambda bad: bad[0],
)
def test_all_is_not_well(bad):
    well, lines = table([*WELL, bad])
    assert not well
    assert ("NOT CAUGHT no reserve (full disk)" in lines) == (bad[0] == "crash_variant")


def test_runs_are_added_and_shown_together(tmp_path):
    """With one that has workers of its own, whose tests run in other processes."""
    (tmp_path / "test_x.py").write_text("def test(record_property):\n    record_property('crash_figure', 'measured')\n")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = plain | {"PYTHONPATH": str(TESTS)}

    def run(*words):
        words = [sys.executable, "-m", *words]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    for workers in ("0", "2"):
        done = run("pytest", "-p", "crash.table", "--crash-table", "all.jsonl", "-n", workers, "test_x.py")
        assert done.returncode == 0 and "measured" not in done.stdout, done.stdout + done.stderr
    done = run("crash.table", "all.jsonl")
    assert done.returncode == 0 and done.stdout.count("measured\n") == 2
    assert done.stdout.endswith("2 passed, 0 failed, 0 error, 0 skipped\n")
