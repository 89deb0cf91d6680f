"""The journal: whose record it keeps, how many of them, and what an earlier edgeml left."""

import sqlite3

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
