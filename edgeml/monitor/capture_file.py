"""The ring of captured records on the disk: one SQLite file, bounded in rows, bytes, and bytes written a day.

1. It is written in batches, by one process. A batch is one transaction: a power cut loses the last one, never the file.
2. What is written to the disk is counted from SQLite's own log (each page goes there first, and then into the file),
   and the count survives a restart. When the day's share is used up nothing more is kept until the next day (UTC).
3. A file that SQLite finds damaged is put aside under another name, and a new one begins.
4. What is written together lies together: ids are looked up by the number in them, which rises, where an index over
   their letters would have a page to be written for almost every record; labels have a table of their own.
5. Whoever only reads opens the file for reading only, so that a store on a disk that cannot be written is read too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeml.monitor.prediction_id import prediction_number

PAGE_BYTES = 4096
_FRAME_BYTES = PAGE_BYTES + 24
_LOG_HEAD_BYTES = 32
DAMAGED = ".damaged"
_TIMEOUT_S = 5
# What a file of another layout is told by; it is put aside as a damaged one is.
_LAYOUT = 1
_NOT_A_FILE_OF_OURS = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bundles (
    bundle INTEGER PRIMARY KEY, model TEXT NOT NULL, digest TEXT NOT NULL, version TEXT NOT NULL,
    UNIQUE (digest, model, version));
CREATE TABLE IF NOT EXISTS captured (
    number INTEGER PRIMARY KEY, key INTEGER NOT NULL, size INTEGER NOT NULL, id TEXT NOT NULL, at REAL NOT NULL,
    bundle INTEGER NOT NULL, tier TEXT NOT NULL, chance REAL NOT NULL, record TEXT NOT NULL, prediction TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS captured_key ON captured (key);
CREATE TABLE IF NOT EXISTS labels (number INTEGER PRIMARY KEY, label TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS held (
    only INTEGER PRIMARY KEY CHECK (only = 1), bytes INTEGER NOT NULL, day INTEGER NOT NULL, written INTEGER NOT NULL);
INSERT OR IGNORE INTO held VALUES (1, 0, 0, 0);
"""
_INSERT = (
    "INSERT INTO captured (key, size, id, at, bundle, tier, chance, record, prediction) VALUES (?,?,?,?,?,?,?,?,?)"
)
_OF = "SELECT number, digest FROM captured JOIN bundles USING (bundle) WHERE key = ? AND id = ?"
_SELECT = (
    "SELECT captured.number, id, captured.at, model, digest, version, record, prediction, tier, chance, label, "
    "labels.at FROM captured JOIN bundles USING (bundle) LEFT JOIN labels ON labels.number = captured.number"
)

_encode = msgspec.json.Encoder().encode


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
        oldest: When the oldest record was answered, in seconds since 1970; None where there is none.
        newest: When the newest was.
    """

    rows: int = 0
    labelled: int = 0
    bytes: int = 0
    written_today: int = 0
    oldest: float | None = None
    newest: float | None = None


class CaptureFile:
    """The ring of one store.

    Args:
        path: The SQLite file; made with the first batch, readable for its owner alone.
        max_rows: It forgets the oldest beyond so many rows ...
        max_bytes: ... and so many bytes of records and answers.
    """

    def __init__(self, path: Path, *, max_rows: int = 100_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._path = path
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        # Frames of the log that were counted already, and stay in it because somebody reads.
        self._counted = (0, 0)

    def write(self, rows: Sequence[Captured], labels: Sequence[tuple[str, Any, float]], *, day: int) -> Counter[str]:
        """Adds records, joins labels to those that are held, and forgets the oldest.

        Args:
            rows: In the order of their answers.
            labels: Prediction id, truth, and when it was told; of ids that are not held nothing is kept. A later one
                replaces an earlier one.
            day: Days since 1970, for the count of bytes written.

        Returns:
            Labels that found their record, by the digest of the bundle that had answered.

        Raises:
            sqlite3.Error: It cannot be written now, such as on a full disk; nothing of the batch was kept.
        """
        try:
            return self._write(rows, labels, day)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self._put_aside()
        return self._write(rows, labels, day)

    def _write(self, rows: Sequence[Captured], labels: Sequence[tuple[str, Any, float]], day: int) -> Counter[str]:
        joined: Counter[str] = Counter()
        with self._opened() as database:
            with database:
                bundles = {of: _bundle(database, *of) for of in {(row.model, row.bundle, row.version) for row in rows}}
                written = [_row(row, bundles[row.model, row.bundle, row.version]) for row in rows]
                database.executemany(_INSERT, written)
                for id_, label, at in labels:
                    found = database.execute(_OF, (_key(id_), id_)).fetchone()
                    if found is not None:
                        database.execute(
                            "INSERT OR REPLACE INTO labels VALUES (?,?,?)", (found[0], _json(label).decode(), at)
                        )
                        joined[found[1]] += 1
                self._forget(database, sum(row[1] for row in written))
            self._count(database, day)
        return joined

    def written_today(self, *, day: int) -> int:
        """Bytes written to the disk in a day; 0 where there is no file, or it cannot be read.

        Args:
            day: Days since 1970.
        """
        with contextlib.suppress(sqlite3.Error, OSError), self._read() as database:
            if database is not None:
                found = database.execute("SELECT written FROM held WHERE day = ?", (day,)).fetchone()
                return int(found[0]) if found else 0
        return 0

    def held(self, *, day: int) -> Held:
        """How much there is; nothing where there is no file.

        Args:
            day: Days since 1970.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        if not self._path.exists():
            return Held()
        with self._read() as database:
            if database is None:
                return Held()
            rows, oldest, newest = database.execute("SELECT count(*), min(at), max(at) FROM captured").fetchone()
            (labelled,) = database.execute("SELECT count(*) FROM labels").fetchone()
            size, of, written = database.execute("SELECT bytes, day, written FROM held").fetchone()
        return Held(rows, labelled, size, written if of == day else 0, oldest, newest)

    def rows(
        self, *, model: str | None = None, labelled: bool = False, since: float | None = None, up_to: int | None = None
    ) -> Iterator[Captured]:
        """The records, oldest first, while the ring may go on growing.

        Args:
            model: Only this model's.
            labelled: Only those whose truth is known.
            since: Only those answered at or after this time, in seconds since 1970.
            up_to: Only those up to this number.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        if not self._path.exists():
            return
        tests: list[tuple[str, tuple[Any, ...]]] = [
            ("model = ?", () if model is None else (model,)),
            ("captured.at >= ?", () if since is None else (since,)),
            ("captured.number <= ?", () if up_to is None else (up_to,)),
        ]
        asked = [(test, values) for test, values in tests if values]
        words = [test for test, _ in asked] + (["label IS NOT NULL"] if labelled else [])
        where = f" WHERE {' AND '.join(words)}" if words else ""
        with self._read() as database:
            if database is None:
                return
            for row in database.execute(f"{_SELECT}{where} ORDER BY captured.number", [each for _, (each,) in asked]):
                yield _captured(row)

    def clear(self) -> int:
        """Forgets every record, also those of a damaged file, and gives the space back; returns how many there were.

        Raises:
            sqlite3.Error: The file cannot be written.
            OSError: A damaged file cannot be removed.
        """
        gone = 0
        if self._path.exists():
            try:
                with self._opened() as database:
                    with database:
                        gone = database.execute("DELETE FROM captured").rowcount
                        database.execute("DELETE FROM labels")
                        database.execute("DELETE FROM bundles")
                        database.execute("UPDATE held SET bytes = 0")
                    # What was deleted still stands in free pages and in the log.
                    database.execute("VACUUM")
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._put_aside()
        self.aside.unlink(missing_ok=True)
        return gone

    @property
    def aside(self) -> Path:
        """Where a damaged file is put."""
        return Path(f"{self._path}{DAMAGED}")

    def _forget(self, database: sqlite3.Connection, more: int) -> None:
        held = database.execute("SELECT bytes FROM held").fetchone()[0] + more
        # Numbers follow one another, because only the oldest go.
        last = (database.execute("SELECT max(number) FROM captured").fetchone()[0] or 0) - self._max_rows
        freed = over = 0
        for number, size in database.execute("SELECT number, size FROM captured ORDER BY number"):
            if number > last and held - freed <= self._max_bytes:
                break
            over, freed = number, freed + size
        if over:
            database.execute("DELETE FROM captured WHERE number <= ?", (over,))
            database.execute("DELETE FROM labels WHERE number <= ?", (over,))
        database.execute("UPDATE held SET bytes = ?", (held - freed,))

    def _count(self, database: sqlite3.Connection, day: int) -> None:
        # Who reads is not waited for: the log grows, and begins anew with a later batch.
        database.execute("PRAGMA busy_timeout=0")
        busy, logged, moved = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        database.execute(f"PRAGMA busy_timeout={_TIMEOUT_S * 1000}")
        before = self._counted if logged >= self._counted[0] and moved >= self._counted[1] else (0, 0)
        self._counted = (logged, moved) if busy else (0, 0)
        # The row that holds the count is a page in the log, too, and is moved when this connection is closed.
        bytes_ = (logged - before[0] + 1) * _FRAME_BYTES + (moved - before[1] + 1) * PAGE_BYTES + 2 * _LOG_HEAD_BYTES
        with database:
            database.execute(
                "UPDATE held SET written = CASE WHEN day = ? THEN written ELSE 0 END + ?, day = ?", (day, bytes_, day)
            )

    def _put_aside(self) -> None:
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{suffix}")
        with contextlib.suppress(OSError):
            os.replace(self._path, self.aside)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection for writing; makes the file."""
        with contextlib.suppress(OSError):  # SQLite says it better
            # SQLite would let everybody read it; its log takes the permissions of the file.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(self._path, timeout=_TIMEOUT_S)) as database:
            layout = database.execute("PRAGMA user_version").fetchone()[0]
            if layout not in (0, _LAYOUT):
                raise _OtherLayout(f"{self._path} is of another release of edgeml")
            database.execute("PRAGMA journal_mode=WAL")
            # A power cut may lose the last batch, which is no promise; it cannot damage the file.
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute("PRAGMA wal_autocheckpoint=0")
            # Pages of forgotten records are used again soon; zeros in them meanwhile would be written for nothing.
            database.execute("PRAGMA secure_delete=FAST")
            if not layout:
                database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_LAYOUT}; COMMIT")
            yield database

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for reading; None where nothing is in the file yet."""
        where = self._path.absolute().as_uri() + "?mode=ro"
        log = Path(f"{self._path}-wal")
        with contextlib.suppress(OSError):
            if not os.access(self._path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
                # Where nobody can write there is no log to be read beside the file, and none can be made.
                where += "&immutable=1"
        with contextlib.closing(sqlite3.connect(where, timeout=_TIMEOUT_S, uri=True)) as database:
            layout = database.execute("PRAGMA user_version").fetchone()[0]
            if layout not in (0, _LAYOUT):
                raise _OtherLayout(f"{self._path} is of another release of edgeml")
            # None: it is being made, or whoever made it was killed.
            yield database if layout else None


class _OtherLayout(sqlite3.DatabaseError):
    """A file that this release does not read."""


def _is_damage(error: sqlite3.Error) -> bool:
    # The lowest byte says what it is, the others more closely.
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _OtherLayout) or (code is not None and code & 0xFF in _NOT_A_FILE_OF_OURS)


def _key(id_: str) -> int:
    number = prediction_number(id_)
    if number is None:  # none of ours; any key will do
        number = int.from_bytes(hashlib.blake2b(id_.encode(errors="replace"), digest_size=8).digest(), "big")
    return number - (1 << 64) if number >> 63 else number


def _bundle(database: sqlite3.Connection, model: str, digest: str, version: str) -> int:
    """The number under which a bundle's records are kept."""
    of = (model, digest, version)
    database.execute("INSERT OR IGNORE INTO bundles (model, digest, version) VALUES (?,?,?)", of)
    return int(
        database.execute("SELECT bundle FROM bundles WHERE model = ? AND digest = ? AND version = ?", of).fetchone()[0]
    )


def _row(row: Captured, bundle: int) -> tuple[Any, ...]:
    record, prediction = _json(row.record), _json(row.prediction)
    size = len(record) + len(prediction)
    said = (record.decode(), prediction.decode())
    return (_key(row.id), size, row.id, row.at, bundle, row.tier, row.chance, *said)


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


def _json(value: Any) -> bytes:
    try:
        return _encode(value)
    except ValueError:  # half a surrogate pair, which JSON can escape, but UTF-8 does not have
        return json.dumps(value, separators=(",", ":")).encode()
