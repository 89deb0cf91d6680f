"""Records on their way into the ring: chosen beside the request path, written down by a thread of its own.

1. A request pays one subtraction (``Sampler``); a chosen one pays for putting a few references into a queue. Bodies are
   read again, fields left out or hashed, and rows written, on the thread, which lets requests go first after every few
   records.
2. The queue is bounded in records and bytes, and a batch is written every ``flush_s`` seconds, or when the queue is
   half full; what does not fit is dropped and counted. Nothing that happens here can fail a request.
3. Labels that come back (feedback) take the same way. Of the bytes of a day an eighth is theirs alone.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgeml.monitor.capture_file import Captured, CaptureFile
from edgeml.monitor.capture_policy import CapturePolicy, Sampler, is_hard
from edgeml.monitor.capture_source import Origin, Source

# Each batch writes some pages whole, however few records it has: more often costs the disk more for the same records.
FLUSH_S = 300.0
QUEUED_RECORDS = 4_096
QUEUED_BYTES = 8 * 1024 * 1024
QUEUED_LABELS = 10_000
DAY_S = 86_400
# So long the thread lets others go first after so many records, after one of a large body, or after so many that it
# only reads over: what it does is Python, and a request that came meanwhile would wait for the interpreter. A pause
# itself costs as much as three short records do.
PAUSE_S = 1e-4
_SHORT_RECORDS = 8
_LARGE_BYTES = 16 * 1024
_READ_OVER = 64


class Answer(Protocol):
    """What is taken of a prediction; see ``edgeml.Prediction``."""

    @property
    def tier(self) -> str: ...
    @property
    def scores(self) -> dict[str, float] | None: ...


@dataclass(frozen=True, slots=True)
class _Chosen:
    source: Source
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
        dropped: Chosen records that were not kept: no room in the queue, or the disk refused them; by the digest of the
            bundle that answered.
        kept: Records written down.
        joined: Labels that found their record.
        lost_labels: Labels for which there was no room, or that the disk refused.
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
        self._flushing = threading.Lock()
        self._rows: deque[_Chosen] = deque()
        self._labels: deque[tuple[str, Any, float]] = deque()
        self._queued_bytes = 0
        self._wake = threading.Event()
        self._ended = False
        self.sampler = sampler or Sampler(policy)
        self._lock = self.sampler.lock
        self.dropped: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.joined: Counter[str] = Counter()
        self.lost_labels = 0
        self.failure = ""

    def take(
        self,
        source_of: Callable[[], Source],
        answers: Sequence[Answer],
        id_of: Callable[[int], str],
        origin: Origin,
    ) -> None:
        """Chooses among the records that were answered last, after their number was taken off ``sampler.left``.

        Args:
            source_of: Gives the records, where any of them is kept.
            answers: One for each of them.
            id_of: Prediction id by row.
            origin: Whose answers these are.
        """
        with self._lock:
            source: Source | None = None
            for row, easy in self.sampler.choose(len(answers)):
                answer = answers[row]
                hard = is_hard(answer.tier, answer.scores)
                if not hard and not easy:
                    continue
                more = 0
                if source is None:  # a body is kept once, for however many of its records
                    source = source_of()
                    more = source.size
                if len(self._rows) >= QUEUED_RECORDS or self._queued_bytes + more > QUEUED_BYTES:
                    source = None if more else source
                    self.dropped[origin.digest] += 1
                    continue
                chance = self._policy.candidate_chance if hard else self._policy.share
                self._rows.append(_Chosen(source, row, id_of(row), answer, chance, origin, self._now()))
                self._queued_bytes += more
            if len(self._rows) * 2 >= QUEUED_RECORDS or self._queued_bytes * 2 >= QUEUED_BYTES:
                self._wake.set()

    def label(self, id_: str, label: Any) -> None:
        """Takes the truth of a prediction; kept where the ring holds its record.

        Args:
            id_: The prediction's id.
            label: What is true.
        """
        with self._lock:
            if len(self._labels) >= QUEUED_LABELS:
                self.lost_labels += 1
            else:
                self._labels.append((id_, label, self._now()))
            if len(self._labels) * 2 >= QUEUED_LABELS:
                self._wake.set()

    def flush(self) -> None:
        """Writes down what is queued; never raises for the disk's sake."""
        with self._flushing:
            self._flush(pause_s=0.0)

    def _flush(self, *, pause_s: float) -> None:
        with self._lock:
            chosen, self._rows = list(self._rows), deque()
            self._queued_bytes = 0
            labels = list(self._labels)
            self._labels.clear()
        if not chosen and not labels:
            return
        day = int(self._now() // DAY_S)
        budget = self._policy.bytes_per_day
        used = self._file.written_today(day=day)
        rows: list[Captured] = []
        full = ""
        if used >= budget - budget // 8 or (used >= budget and not chosen):
            full = f"the {budget} bytes of today are written; tomorrow it goes on"
            self.dropped.update(each.origin.digest for each in chosen)
        else:
            rows = self._captured(chosen, pause_s)
        if used >= budget:
            self.lost_labels += len(labels)
            labels = []
        try:
            if rows or labels:
                self.joined.update(self._file.write(rows, labels, day=day))
            self.kept.update(row.bundle for row in rows)
            self.failure = full
        except (sqlite3.Error, OSError) as error:
            self.dropped.update(row.bundle for row in rows)
            self.lost_labels += len(labels)
            self.failure = str(error)

    def begin(self, flush_s: float = FLUSH_S) -> None:
        """Starts the thread that writes.

        Args:
            flush_s: Seconds between two batches.
        """

        def write() -> None:
            while not self._ended:
                self._wake.wait(flush_s)
                self._wake.clear()
                with self._flushing:
                    self._flush(pause_s=PAUSE_S)

        threading.Thread(target=write, name="edgeml-capture", daemon=True).start()

    def end(self, *, discard: bool = False) -> None:
        """Stops the thread and writes down what is queued.

        Args:
            discard: Whether to drop that instead.
        """
        self._ended = True
        self._wake.set()
        if discard:
            with self._lock:
                self.dropped.update(each.origin.digest for each in self._rows)
                self._rows.clear()
        self.flush()

    def document(self) -> dict[str, int]:
        """Records ``kept`` and ``dropped``, ``labels`` joined and ``lost_labels`` of all bundles; they only rise."""
        kept, dropped, joined = (each.total() for each in (self.kept, self.dropped, self.joined))
        return {"kept": kept, "dropped": dropped, "labels": joined, "lost_labels": self.lost_labels}

    def counted(self, digest: str) -> dict[str, int]:
        """What was captured of one bundle: records ``kept`` and ``dropped``, ``labels`` joined; they only rise.

        Args:
            digest: Its digest.
        """
        return {"kept": self.kept[digest], "dropped": self.dropped[digest], "labels": self.joined[digest]}

    def _captured(self, chosen: Sequence[_Chosen], pause_s: float) -> list[Captured]:
        """Reads the records of what was chosen; those of one request come one after the other."""
        rows: list[Captured] = []
        source: Source | None = None
        records: Iterator[tuple[int, Mapping[str, Any]]] = iter(())
        for count, each in enumerate(chosen, start=1):
            try:
                if each.source is not source:
                    source, records = each.source, enumerate(each.source.records())
                for row, record in records:
                    if row == each.row:
                        rows.append(self._row(each, record))
                        break
                    if pause_s and row % _READ_OVER == 0:
                        time.sleep(pause_s)
                else:
                    raise LookupError(each.row)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                self.dropped[each.origin.digest] += (
                    1  # it was read once already, so this is a bug of ours, and no reason to stop
                )
            if pause_s and (count % _SHORT_RECORDS == 0 or each.source.size > _LARGE_BYTES):
                time.sleep(pause_s)
        return rows

    def _row(self, chosen: _Chosen, record: Mapping[str, Any]) -> Captured:
        origin, answer = chosen.origin, chosen.answer
        return Captured(
            id=chosen.id,
            at=chosen.at,
            model=origin.model,
            bundle=origin.digest,
            version=origin.version,
            record=self._policy.written(record, origin.fields, self._key, origin.pictures),
            prediction=_written(answer),
            tier=answer.tier,
            chance=chosen.chance,
        )


def _written(answer: Answer) -> dict[str, Any]:
    given = {name: getattr(answer, name) for name in ("label", "value", "scores", "rule", "reason")}
    return {name: value for name, value in given.items() if value is not None}
