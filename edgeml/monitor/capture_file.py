"""The ring of captured records on the disk: one SQLite file, bounded in rows, bytes, and bytes written a day.

1. It is written in batches, by one process. A batch is one transaction: a power cut loses the last one, never the file.
2. What is written to the disk is counted from SQLite's own log (each page goes there first, and then into the file),
   and the count survives a restart. When the day's share is used up nothing more is kept until the next day (UTC).
3. A file that SQLite finds damaged is put aside under another name, and a new one begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096
_FRAME_BYTES = PAGE_BYTES + 24
DAMAGED = ".damaged"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS captured (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at REAL NOT NULL, model TEXT NOT NULL,
    bundle TEXT NOT NULL, version TEXT NOT NULL, record TEXT NOT NULL, prediction TEXT NOT NULL, tier TEXT NOT NULL,
    chance REAL NOT NULL, label TEXT, labelled_at REAL, size INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS captured_id ON captured (id);
CREATE TABLE IF NOT EXISTS written (
    only INTEGER PRIMARY KEY CHECK (only = 1), day INTEGER NOT NULL, bytes INTEGER NOT NULL);
"""
_INSERT = (
    "INSERT INTO captured (id, at, model, bundle, version, record, prediction, tier, chance, size) "
    "VALUES (?,?,?,?,?,?,?,?,?,?)"
)
_SELECT = (
    "SELECT number, id, at, model, bundle, version, record, prediction, tier, chance, label, labelled_at FROM captured"
)


@dataclass(frozen=True, slots=True)
class Captured:
    """One record that was kept, with its answer and, when somebody told it, the truth.

    Attributes:
        id: The prediction's id.
        at: When it was answered, in seconds since 1970 by the box's clock.
        model: Name of the model.
        bundle: Digest of the bundle that answered.
        version: Its version label.
        record: What was asked, without excluded fields.
        prediction: What was answered.
        tier: Who answered.
        chance: The chance that this record had of being kept.
        label: The truth; None where nobody told it.
        labelled_at: When it was told; None where it was not.
        number: Its place in the ring, rising.
    """

    id: str
    at: float
    model: str
    bundle: str
    version: str
    record: dict[str, Any]
    prediction: dict[str, Any]
    tier: str
    chance: float
    label: Any = None
    labelled_at: float | None = None
    number: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, one member for each attribute."""
        return {name: getattr(self, name) for name in Captured.__slots__}


@dataclass(frozen=True, slots=True)
class Held:
    """How much a ring holds.

    Attributes:
        rows: Records.
        labelled: ... of which the truth is known.
        bytes: Of records and answers.
        written_today: Bytes written to the disk today (UTC).
    """

    rows: int
    labelled: int
    bytes: int
    written_today: int


class CaptureFile:
    """The ring of one store.

    Args:
        path: The SQLite file; made with the first batch.
        max_rows: It forgets the oldest beyond so many records ...
        max_bytes: ... and so many bytes of records and answers.
    """

    def __init__(self, path: Path, *, max_rows: int = 100_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._path = path
        self._max_rows = max_rows
        self._max_bytes = max_bytes

    def write(self, rows: Sequence[Captured], labels: Sequence[tuple[str, Any, float]], *, day: int) -> int:
        """Adds records, joins labels to those that are held, and forgets the oldest.

        Args:
            rows: In the order of their answers.
            labels: Prediction id, truth, and when it was told; of ids that are not held nothing is kept. A later one
                replaces an earlier one.
            day: Days since 1970, for the count of bytes written.

        Returns:
            Labels that found their record.

        Raises:
            sqlite3.DatabaseError: The file is damaged; it was put aside, and the next batch begins a new one.
            sqlite3.OperationalError: It cannot be written now, such as on a full disk.
        """
        try:
            with self._open() as database:
                with database:
                    database.executemany(_INSERT, map(_row, rows))
                    joined = 0
                    for id_, label, at in labels:
                        joined += database.execute(
                            "UPDATE captured SET label = ?, labelled_at = ? WHERE id = ?", (_text(label), at, id_)
                        ).rowcount
                    self._forget(database)
                self._count(database, day)
                return joined
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._put_aside()
            raise

    def held(self, *, day: int) -> Held:
        """How much there is; nothing where there is no file, or it cannot be read.

        Args:
            day: Days since 1970.
        """
        if not self._path.exists():
            return Held(0, 0, 0, 0)
        try:
            with self._open() as database:
                rows, labelled, size = database.execute(
                    "SELECT count(*), count(label), coalesce(sum(size), 0) FROM captured"
                ).fetchone()
                written = database.execute("SELECT bytes FROM written WHERE day = ?", (day,)).fetchone()
        except sqlite3.Error:
            return Held(0, 0, 0, 0)
        return Held(rows, labelled, size, written[0] if written else 0)

    def rows(
        self, *, model: str | None = None, labelled: bool = False, since: float | None = None
    ) -> Iterator[Captured]:
        """The records, oldest first, while the ring may go on growing.

        Args:
            model: Only this model's.
            labelled: Only those whose truth is known.
            since: Only those answered at or after this time, in seconds since 1970.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        if not self._path.exists():
            return
        tests: list[tuple[str, tuple[Any, ...]]] = []
        if model is not None:
            tests.append(("model = ?", (model,)))
        if labelled:
            tests.append(("label IS NOT NULL", ()))
        if since is not None:
            tests.append(("at >= ?", (since,)))
        where = " WHERE " + " AND ".join(test for test, _ in tests) if tests else ""
        values = tuple(value for _, given in tests for value in given)
        with self._open() as database:
            for row in database.execute(f"{_SELECT}{where} ORDER BY number", values):
                yield _captured(row)

    def clear(self) -> int:
        """Forgets every record, and gives the space back; returns how many there were.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        if not self._path.exists():
            return 0
        with self._open() as database:
            with database:
                gone = database.execute("DELETE FROM captured").rowcount
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return gone

    def _forget(self, database: sqlite3.Connection) -> None:
        database.execute(
            "DELETE FROM captured WHERE number <= (SELECT max(number) FROM captured) - ?", (self._max_rows,)
        )
        total = database.execute("SELECT coalesce(sum(size), 0) FROM captured").fetchone()[0]
        over = total - self._max_bytes
        if over <= 0:
            return
        last = 0
        for number, size in database.execute("SELECT number, size FROM captured ORDER BY number"):
            if over <= 0:
                break
            last, over = number, over - size
        database.execute("DELETE FROM captured WHERE number <= ?", (last,))

    @staticmethod
    def _count(database: sqlite3.Connection, day: int) -> None:
        _, logged, moved = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        # The row that holds the count is a page in the log, too, and is moved with the next batch.
        bytes_ = max(0, logged) * _FRAME_BYTES + max(0, moved) * PAGE_BYTES + _FRAME_BYTES
        with database:
            database.execute(
                "INSERT INTO written (only, day, bytes) VALUES (1, ?, ?) ON CONFLICT (only) DO UPDATE SET "
                "bytes = CASE WHEN day = excluded.day THEN bytes ELSE 0 END + excluded.bytes, day = excluded.day",
                (day, bytes_),
            )

    def _put_aside(self) -> None:
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{suffix}")
        with contextlib.suppress(OSError):
            os.replace(self._path, f"{self._path}{DAMAGED}")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as database:
            database.execute(f"PRAGMA page_size={PAGE_BYTES}")
            database.execute("PRAGMA journal_mode=WAL")
            # A power cut may lose the last batch, which is no promise; it cannot damage the file.
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute("PRAGMA wal_autocheckpoint=0")
            database.executescript(_SCHEMA)
            yield database


def columns(rows: Iterable[Captured]) -> dict[str, list[Any]]:
    """The records by columns, all of the same length, as a table library or a writer of Parquet takes them.

    Args:
        rows: The records.

    Returns:
        ``id``, ``at``, ``model``, ``bundle``, ``version``, ``tier``, ``chance``, ``label`` and ``labelled_at``;
        ``predicted`` (the answer's label or value); and ``record.NAME`` for each field that any record has, None in the
        others.
    """
    kept = list(rows)
    own = ("id", "at", "model", "bundle", "version", "tier", "chance", "label", "labelled_at")
    table: dict[str, list[Any]] = {name: [getattr(row, name) for row in kept] for name in own}
    table["predicted"] = [row.prediction.get("label", row.prediction.get("value")) for row in kept]
    for name in dict.fromkeys(name for row in kept for name in row.record):
        table[f"record.{name}"] = [row.record.get(name) for row in kept]
    return table


def _row(row: Captured) -> tuple[Any, ...]:
    record, prediction = _text(row.record), _text(row.prediction)
    size = len(record.encode()) + len(prediction.encode())
    return (row.id, row.at, row.model, row.bundle, row.version, record, prediction, row.tier, row.chance, size)


def _captured(row: tuple[Any, ...]) -> Captured:
    number, id_, at, model, bundle, version, record, prediction, tier, chance, label, labelled_at = row
    truth = None if label is None else json.loads(label)
    return Captured(
        id_,
        at,
        model,
        bundle,
        version,
        json.loads(record),
        json.loads(prediction),
        tier,
        chance,
        truth,
        labelled_at,
        number,
    )


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
