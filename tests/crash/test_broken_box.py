"""What the kills of a running box are worth: a box with a mistake in it is caught."""

import signal

import pytest
from crash.broken_box import PROGRAM
from crash.killed_box import Cell, killed_box, moments
from supervisor import penguin_bundles as made
from supervisor import running_store
from supervisor.test_supervisor_kills import TestSupervisor as Kills

MOST_KILLS = 16
CELLS = [
    ("going back is acknowledged before it is kept", "rollback", "supervisor"),
    ("uploads are thrown away at a start", "push", "both"),
    ("a worker that was left is ended", "admission", "supervisor"),
    ("a change fails with the worker that dies", "swap", "worker"),
    ("an activation takes two steps", "swap", "supervisor"),
    ("an attempt is not counted", "trial", "both"),
]
TESTS = [
    (
        "a worker that was left is ended",
        "test_killed_it_loses_no_request_and_the_next_one_adopts_the_worker_and_its_trial",
        ("one", "two"),
    ),
    ("an attempt is not counted", "test_both_killed_at_once_the_next_start_serves", ("one", "two")),
    (
        "a worker is ended before it has answered",
        "test_asked_to_end_under_load_it_loses_no_request",
        ("one", signal.SIGTERM),
    ),
]


@pytest.fixture
def broken(monkeypatch):
    """Lets boxes run with a mistake."""
    return lambda mistake: monkeypatch.setattr(running_store, "PROGRAM", (*PROGRAM, mistake))


@pytest.mark.crash
@pytest.mark.parametrize(("mistake", "change", "victim"), CELLS)
def test_the_kill_matrix_catches(mistake, change, victim, broken, tmp_path, penguins_bundle, record_property):
    broken(mistake)
    cell = Cell(change, victim)
    with killed_box(tmp_path, penguins_bundle, mistake) as box:
        if change == "trial":
            box.die_on_trial(cell)
        else:
            for share in moments(MOST_KILLS, mistake):
                if not cell.violations:
                    box.kill(cell, share)
    where = f"kill matrix: {change}, {victim}"
    record_property("crash_variant", {"name": mistake, "where": where, "violations": len(cell.violations)})
    assert cell.violations


@pytest.mark.parametrize(("mistake", "test", "arguments"), TESTS, ids=[mistake for mistake, _, _ in TESTS])
def test_the_tests_of_kills_catch(mistake, test, arguments, broken, tmp_path, penguins_bundle, record_property):
    broken(mistake)
    bundles = {"one": made.version(penguins_bundle, "1"), "two": made.version(penguins_bundle, "2")}
    caught = ""
    try:
        getattr(Kills(), test)(tmp_path, *(bundles.get(each, each) for each in arguments))
    except AssertionError as error:
        caught = str(error)
    where = "tests of kills"
    record_property("crash_variant", {"name": mistake, "where": where, "violations": int(bool(caught))})
    assert caught
