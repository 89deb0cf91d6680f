"""What happened on this box, and why: an append-only list of events in SQLite.

1. It is told after a change is on the disk, and decides nothing: a journal that cannot be written never stops a change.
   What could not be written is kept in memory (bounded) and written with the next event, or by ``flush``. A process
   that is about to end hands it to one that stays: ``waiting``, and there ``take``.
2. The last line of a change carries the whole record as it was after it, so that it can stand in for a record that is
   lost together with its backup. Only the newest generations keep theirs: a record may have 32 KiB.
3. It keeps the newest events only, within a bound.
4. Lines of two processes may be written in another order than their changes were made; the generation tells.

SQLite runs in WAL mode with full syncing: one small write for each event, and events are rare.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeml.bundles.event import Event

KEPT_EVENTS = 5_000
KEPT_STATES = 8
WAITING_EVENTS = 200
# How often ``flush`` tries a disk that has refused.
RETRY_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL,
    digest TEXT NOT NULL, reason TEXT NOT NULL, signal TEXT NOT NULL, generation INTEGER NOT NULL, state BLOB)
"""
_INSERT = (
    "INSERT INTO events (at, who, kind, model, digest, reason, signal, generation, state) VALUES (?,?,?,?,?,?,?,?,?)"
)
_SELECT = "SELECT id, at, who, kind, model, digest, reason, signal, generation FROM events"
# Also takes the states that an earlier edgeml wrote into every line.
_FORGET_STATES = (
    "UPDATE events SET state = NULL WHERE state IS NOT NULL AND generation <= (SELECT max(generation) FROM events) - ?"
)
_LAST_STATE = "SELECT state FROM events WHERE state IS NOT NULL ORDER BY generation DESC, id DESC LIMIT 1"
# SQLite's words for a disk on which nothing can be made.
_NO_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)
_Row = tuple[float, str, str, str, str, str, str, int, bytes | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it was written down.

    Attributes:
        id: Its number, rising.
        at: Seconds since 1970 by the box's clock.
        who: Who asked: ``cli``, ``api:<token name>``, ``supervisor``.
        event: What happened.
        generation: The record's generation after it.
    """

    id: int
    at: float
    who: str
    event: Event
    generation: int


class Journal:
    """The journal of one store.

    Args:
        path: The SQLite file; None keeps the journal in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._waiting: deque[_Row] = deque(maxlen=WAITING_EVENTS)
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._memory: sqlite3.Connection | None = (
            _prepared(sqlite3.connect(":memory:", check_same_thread=False)) if (path is None) else None
        )
        self.failure = ""

    def append(self, events: Sequence[Event], *, at: float, who: str, generation: int, state: bytes | None) -> None:
        """Writes events down. Never raises: what cannot be written waits, and ``failure`` says why.

        Args:
            events: What happened.
            at: Seconds since 1970.
            who: Who asked.
            generation: The record's generation after the events.
            state: The whole record after the events; None where they have not changed it.
        """
        with self._lock:
            for number, each in enumerate(events, start=1):
                kept = state if number == len(events) else None
                self._waiting.append(
                    (at, who, each.kind, each.model, each.digest, each.reason, each.signal, generation, kept)
                )
            self._write()

    def flush(self, *, now: bool = False) -> None:
        """Writes what waits, as far as the disk lets it; never raises.

        Args:
            now: Try it, however short a while ago the disk refused.
        """
        with self._lock:
            if self._waiting and (now or time.monotonic() >= self._retry_at):
                self._write()

    def waiting(self) -> list[list[Any]]:
        """The events that could not be written, JSON-ready, for the ``take`` of another process."""
        with self._lock:
            return [[*row[:8], None if row[8] is None else base64.b64encode(row[8]).decode()] for row in self._waiting]

    def take(self, rows: Any) -> int:
        """Takes over events that another process could not write, and writes them now or later.

        Args:
            rows: As ``waiting`` gives them; what is nothing of the kind is left out.

        Returns:
            How many were taken.
        """
        taken = [row for each in rows if (row := _row(each)) is not None] if isinstance(rows, list) else []
        if taken:
            with self._lock:
                self._waiting.extend(taken)
                self._write()
        return len(taken)

    def entries(self, *, model: str | None = None, limit: int = 100) -> list[Entry]:
        """The newest events, newest first; empty where the journal cannot be read.

        Args:
            model: Only this model's.
            limit: At most so many.
        """
        where, values = ("", ()) if model is None else (" WHERE model = ?", (model,))
        try:
            rows = self._rows(f"{_SELECT}{where} ORDER BY id DESC LIMIT ?", (*values, limit))
        except (sqlite3.Error, OSError) as error:
            self.failure = str(error)
            return []
        return [Entry(row[0], row[1], row[2], Event(*row[3:8]), row[8]) for row in rows]

    def last_state(self) -> bytes | None:
        """The record of the highest generation that was written down; None where nobody knows."""
        try:
            with self._open() as database:
                row = database.execute(_LAST_STATE).fetchone()
        except (sqlite3.Error, OSError):
            return None
        return None if row is None else bytes(row[0])

    def damage(self) -> str:
        """What SQLite's own check finds wrong with the file; empty where nothing is."""
        try:
            with self._open() as database:
                row = database.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.Error, OSError) as error:
            return str(error)
        return "" if row is not None and row[0] == "ok" else str(row[0] if row else "no answer")

    def _write(self) -> None:
        try:
            with self._open() as database, database:
                database.executemany(_INSERT, list(self._waiting))
                database.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (KEPT_EVENTS,))
                database.execute(_FORGET_STATES, (KEPT_STATES,))
            self._waiting.clear()
            self.failure = ""
        except (sqlite3.Error, OSError) as error:
            self.failure = str(error)
            self._retry_at = time.monotonic() + RETRY_S

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # Opened for each use: events are rare, and no handle is open when a worker is started.
        if self._memory is not None:
            yield self._memory
            return
        assert self._path is not None
        with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as database:
            yield _prepared(database)

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """Reads; a full disk, which has no room for what SQLite makes beside the file even then, does not stop it."""
        try:
            with self._open() as database:
                return database.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if self._path is None or error.sqlite_errorcode & 0xFF not in _NO_ROOM:
                raise
        # The file as it is. Events in a log that a process was kept from writing back are not seen so.
        address = f"{self._path.absolute().as_uri()}?immutable=1&mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            return database.execute(query, values).fetchall()


def _row(given: Any) -> _Row | None:
    """A row of another process, of this edgeml or another."""
    try:
        at, who, kind, model, digest, reason, signal, generation, state = given
        kept = None if state is None else base64.b64decode(state, validate=True)
        texts = (who, kind, model, digest, reason, signal)
        if isinstance(at, (int, float)) and type(generation) is int and all(isinstance(each, str) for each in texts):
            return (float(at), who, kind, model, digest, reason, signal, generation, kept)
    except (TypeError, ValueError, OverflowError, binascii.Error):
        pass
    return None


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("PRAGMA journal_size_limit=1048576")
    database.execute(_SCHEMA)
    return database
