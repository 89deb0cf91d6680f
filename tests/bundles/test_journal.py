"""The journal: whose record it keeps, how many of them, and what an earlier edgeml left."""

import json
import sqlite3

import pytest

from edgeml.bundles import journal as journal_module
from edgeml.bundles.event import Event
from edgeml.bundles.journal import KEPT_STATES, Journal


def append(journal, generation, *kinds):
    events = [Event(kind) for kind in kinds or ("tried",)]
    journal.append(events, at=1.0, who="cli", generation=generation, state=b"state %d" % generation)


def states(path):
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT generation, state FROM events WHERE state IS NOT NULL ORDER BY id").fetchall()
    finally:
        database.close()


def test_only_the_newest_generations_keep_their_record(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    for generation in range(1, 31):
        append(journal, generation, "removed", "removed")
    kept = range(31 - KEPT_STATES, 31)
    assert states(tmp_path / "journal.db") == [(each, b"state %d" % each) for each in kept]
    assert len(journal.entries()) == 60
    assert journal.last_state() == b"state 30"


def test_the_highest_generation_counts_whatever_came_last(tmp_path):
    one, other = Journal(tmp_path / "journal.db"), Journal(tmp_path / "journal.db")
    append(one, 6)
    append(other, 8)
    append(one, 7)
    assert one.last_state() == b"state 8"
    # Many that had to wait do not push it out either.
    for generation in range(1, 6):
        append(one, generation, *["tried"] * 20)
    assert other.last_state() == b"state 8"


def test_a_journal_with_a_record_in_each_line_is_read_and_shrinks(tmp_path):
    path = tmp_path / "journal.db"
    append(Journal(path), 1)
    database = sqlite3.connect(path)
    with database:
        database.executemany(
            "INSERT INTO events (at, who, kind, model, digest, reason, signal, generation, state) "
            "VALUES (1, 'cli', 'tried', '', '', '', '', ?, ?)",
            [(generation, b"old %d" % generation) for generation in range(2, 101)],
        )
    database.close()
    journal = Journal(path)
    assert journal.last_state() == b"old 100"
    append(journal, 101)
    assert len(states(path)) == KEPT_STATES
    assert len(journal.entries(limit=200)) == 101
    assert journal.last_state() == b"state 101"


def kinds(path):
    return [(each.generation, each.event.kind, each.who) for each in Journal(path).entries()]


def blocked(path):
    """Makes a journal that cannot be written."""
    path.mkdir()
    return Journal(path)


def test_what_could_not_be_written_is_written_by_a_process_that_stays(tmp_path):
    path, staying = tmp_path / "journal.db", Journal(tmp_path / "other.db")
    command = blocked(path)
    append(command, 7, "rolled_back", "denied")
    assert command.failure
    rows = json.loads(json.dumps(command.waiting()))
    assert staying.take(rows) == 2
    assert kinds(tmp_path / "other.db") == [(7, "denied", "cli"), (7, "rolled_back", "cli")]
    assert staying.last_state() == b"state 7" and staying.failure == ""


def test_what_was_taken_waits_for_the_disk_and_is_written_once(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: now[0])
    path = tmp_path / "journal.db"
    staying = blocked(path)
    assert staying.take([[1.0, "cli", "rolled_back", "door", "", "", "", 3, None]]) == 1
    assert staying.failure
    path.rmdir()
    staying.flush()  # a disk that has just refused is left alone for a while
    assert kinds(path) == []
    now[0] += journal_module.RETRY_S
    staying.flush()
    staying.flush(now=True)
    assert kinds(path) == [(3, "rolled_back", "cli")] and staying.failure == ""


def test_a_process_that_ends_tries_at_once(tmp_path):
    staying = blocked(tmp_path / "journal.db")
    append(staying, 4)
    (tmp_path / "journal.db").rmdir()
    staying.flush(now=True)
    assert kinds(tmp_path / "journal.db") == [(4, "tried", "cli")]


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {"a": 1},
        "abc",
        [None, 3, "x", [], [1, 2]],
        [[1.0, "cli", "tried", "", "", "", 7, 3, None]],
        [[1.0, "cli", "tried", "", "", "", "", "3", None]],
        [[1.0, "cli", "tried", "", "", "", "", True, None]],
        [["now", "cli", "tried", "", "", "", "", 3, None]],
        [[1.0, "cli", "tried", "", "", "", "", 3, "no base64!"]],
        [[10**400, "cli", "tried", "", "", "", "", 3, None]],
    ],
)
def test_what_is_no_event_is_left_out(tmp_path, rows):
    journal = Journal(tmp_path / "journal.db")
    assert journal.take(rows) == 0
    append(journal, 1)
    assert kinds(tmp_path / "journal.db") == [(1, "tried", "cli")] and journal.failure == ""
