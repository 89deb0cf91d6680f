"""Records on their way into the ring: chosen beside the request path, written down by a thread of its own.

1. A request pays one subtraction (``Sampler``); a chosen one pays for putting a few references into a queue. Bodies are
   read again, fields left out or hashed, and rows written, on the thread.
2. The queue is bounded in records and bytes, and a batch is written every ``flush_s`` seconds; what does not fit is
   dropped and counted. Nothing that happens here can fail a request.
3. Labels that come back (feedback) take the same way.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgeml.monitor.capture_file import Captured, CaptureFile
from edgeml.monitor.capture_policy import CapturePolicy, Sampler, is_hard

FLUSH_S = 30.0
QUEUED_RECORDS = 4_096
QUEUED_BYTES = 8 * 1024 * 1024
QUEUED_LABELS = 10_000
DAY_S = 86_400


class Answer(Protocol):
    """What is taken of a prediction; see ``edgeml.Prediction``."""

    @property
    def tier(self) -> str: ...
    @property
    def scores(self) -> dict[str, float] | None: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose answers are captured.

    Attributes:
        model: Name of the model.
        digest: Digest of the bundle.
        version: Its version label.
        fields: Names of the features of its schema.
    """

    model: str
    digest: str
    version: str
    fields: frozenset[str]


class JsonRecords:
    """The records of a request, read again from its body when they are wanted.

    Args:
        body: ``{"records": [...]}``.
        refused: Places of records that were not answered.
        alone: Whether the body is one record instead.

    Attributes:
        size: Bytes that are kept alive.
    """

    def __init__(self, body: bytes, refused: Sequence[int] = (), *, alone: bool = False) -> None:
        self._body = body
        self._alone = alone
        self._refused = frozenset(refused)
        self._records: list[Mapping[str, Any]] | None = None
        self.size = len(body)

    def record(self, row: int) -> Mapping[str, Any]:
        """The record that got the answer in that row.

        Raises:
            ValueError: The body is no JSON.
            LookupError: There is no such row.
        """
        if self._records is None:
            document = json.loads(self._body)
            records = [document] if self._alone else document["records"]
            self._records = [each for place, each in enumerate(records) if place not in self._refused]
        return self._records[row]


@dataclass(frozen=True, slots=True)
class _Chosen:
    source: JsonRecords
    row: int
    id: str
    answer: Answer
    chance: float
    origin: Origin
    at: float


class Capture:
    """What is kept of the traffic of one process.

    Args:
        file: Where it is kept.
        policy: How much.
        key: Of the hashes of hashed fields.
        now: Seconds since 1970.
        sampler: Who chooses.

    Attributes:
        sampler: Who chooses; who answers n records takes n off ``sampler.left``, and calls ``take`` below 0.
        dropped: Chosen records that were not kept: no room in the queue, or the disk refused them.
        kept: Records written down by this process.
        joined: Labels that found their record.
        failure: Why the last batch could not be written; empty where it could.
    """

    def __init__(
        self,
        file: CaptureFile,
        policy: CapturePolicy,
        *,
        key: bytes,
        now: Callable[[], float] = time.time,
        sampler: Sampler | None = None,
    ) -> None:
        self._file = file
        self._policy = policy
        self._key = key
        self._now = now
        self._lock = threading.Lock()
        self._rows: deque[_Chosen] = deque()
        self._labels: deque[tuple[str, Any, float]] = deque(maxlen=QUEUED_LABELS)
        self._queued_bytes = 0
        self._stop = threading.Event()
        self.sampler = sampler or Sampler(policy)
        self.dropped = 0
        self.kept = 0
        self.joined = 0
        self.failure = ""

    def take(
        self,
        source: JsonRecords,
        answers: Sequence[Answer],
        id_of: Callable[[int], str],
        origin: Origin,
    ) -> None:
        """Chooses among the records that were answered last, after their number was taken off ``sampler.left``.

        Args:
            source: The records.
            answers: One for each of them.
            id_of: Prediction id by row.
            origin: Whose answers these are.
        """
        with self._lock:
            more = source.size  # a body is kept once, for however many of its records
            for row, chance in self.sampler.choose(len(answers)):
                answer = answers[row]
                hard = is_hard(answer.tier, answer.scores)
                if not hard and not self.sampler.keeps_easy(chance):
                    continue
                if len(self._rows) >= QUEUED_RECORDS or self._queued_bytes + more > QUEUED_BYTES:
                    self.dropped += 1
                    continue
                kept_with = self._policy.candidate_chance * (1.0 if hard else chance)
                self._rows.append(_Chosen(source, row, id_of(row), answer, kept_with, origin, self._now()))
                self._queued_bytes, more = self._queued_bytes + more, 0

    def label(self, id_: str, label: Any) -> None:
        """Takes the truth of a prediction; kept where the ring holds its record.

        Args:
            id_: The prediction's id.
            label: What is true.
        """
        self._labels.append((id_, label, self._now()))

    def flush(self) -> None:
        """Writes down what is queued. Called by one thread at a time; never raises for the disk's sake."""
        with self._lock:
            chosen, self._rows = self._rows, deque()
            self._queued_bytes = 0
            labels = list(self._labels)
            self._labels.clear()
        if not chosen and not labels:
            return
        day = int(self._now() // DAY_S)
        if self._file.held(day=day).written_today >= self._policy.bytes_per_day:
            self.dropped += len(chosen)
            self.failure = f"the {self._policy.bytes_per_day} bytes of today are written; tomorrow it goes on"
            return
        rows = [each for each in map(self._captured, chosen) if each is not None]
        try:
            self.joined += self._file.write(rows, labels, day=day)
            self.kept += len(rows)
            self.failure = ""
        except (sqlite3.Error, OSError) as error:
            self.dropped += len(rows)
            self.failure = str(error)

    def begin(self, flush_s: float = FLUSH_S) -> None:
        """Starts the thread that writes.

        Args:
            flush_s: Seconds between two batches.
        """

        def write() -> None:
            while not self._stop.wait(flush_s):
                self.flush()

        threading.Thread(target=write, name="edgeml-capture", daemon=True).start()

    def end(self) -> None:
        """Stops the thread and writes down what is queued."""
        self._stop.set()
        self.flush()

    def document(self) -> dict[str, Any]:
        """What this process captured, JSON-ready; counters rise for as long as it lives."""
        return {"kept": self.kept, "dropped": self.dropped, "labels": self.joined, "failure": self.failure}

    def _captured(self, chosen: _Chosen) -> Captured | None:
        try:
            record = chosen.source.record(chosen.row)
        except (ValueError, LookupError, TypeError, AttributeError):
            self.dropped += 1  # it was read once already, so this is a bug of ours, and no reason to stop
            return None
        origin, answer = chosen.origin, chosen.answer
        return Captured(
            id=chosen.id,
            at=chosen.at,
            model=origin.model,
            bundle=origin.digest,
            version=origin.version,
            record=self._policy.written(record, origin.fields, self._key),
            prediction=_written(answer),
            tier=answer.tier,
            chance=chosen.chance,
        )


def _written(answer: Answer) -> dict[str, Any]:
    given = {name: getattr(answer, name) for name in ("label", "value", "scores", "rule", "reason")}
    return {name: value for name, value in given.items() if value is not None}
