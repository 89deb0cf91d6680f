"""A file of records, looked at with a bundle before anybody is asked to serve it.

1. The bundle's own reader, predictor and counters take the records, in chunks; what is known afterwards is put together
   as a box puts together what its workers counted (``monitor.watch``). So a file and a box say the same of the same
   records.
2. Memory does not grow with the file: counts are kept, and of what was refused the first places.
3. A file is one look, and the evidence is judged as one: a column of a file that is like the reference is called
   different with a chance of at most ``CHANCE`` over all columns together. Whether a difference matters, a person says.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from dataclasses import field as member
from itertools import islice
from typing import Any

import numpy as np

from edgeml.bundles import Bundle
from edgeml.monitor.alarms import FalseAlarmBudget
from edgeml.monitor.latency import LatencyMonitor
from edgeml.monitor.validation import Validation
from edgeml.monitor.watch import Watch, WatchSettings
from edgeml.monitor.watch_report import watch_report
from edgeml.monitor.windows import ROWS
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.image_reader import record_reader
from edgeml.runtime.members import reference_of
from edgeml.runtime.prediction import TIERS
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.record_file import Item

CHUNK_RECORDS = 1000
CHANCE = 0.01
# From this share of the records on, a finding is reason enough not to go on.
WEIGHTY = 0.01
_PLACES = 3
_MOST_KINDS = 200
_VIOLATIONS = 20


@dataclass
class _Refused:
    """Records that were refused for the same reason."""

    field: str
    code: str
    expected: str
    got: str
    records: int = 0
    places: list[str] = member(default_factory=list)


class FileCheck:
    """Looks at records with one bundle.

    Args:
        bundle: The bundle.
        predictor: The same, ready to answer; from now on it counts.

    Raises:
        BundleError: Its drift reference does not fit its schema.
    """

    def __init__(self, bundle: Bundle, predictor: Predictor) -> None:
        self._predictor = predictor
        self._config = bundle.config
        self._reference = reference_of(bundle)
        self._layout = drift_layout(bundle, self._reference)
        self._drift = None if self._layout is None else drift_monitor(self._layout, predictor)
        if self._drift is not None:
            predictor.watch(self._drift.counters)
        # With room for what is wrong with every record of a chunk: a renamed field is two violations.
        self._reader = record_reader(predictor.schema, predictor.pictures, max_violations=_VIOLATIONS * CHUNK_RECORDS)
        self._frame = self._reader.new_frame(CHUNK_RECORDS)
        self._quality = AnswerQuality(predictor, self._reference.get("quality"))
        self._latency = LatencyMonitor()
        self._validation = Validation()
        self._unreadable = 0
        self._read = 0
        self._refused: dict[tuple[str, str], _Refused] = {}

    def take(self, items: Iterable[Item]) -> int:
        """Looks at the next records.

        Args:
            items: They are taken from it as long as a chunk has room.

        Returns:
            How many there were; 0 at the end.
        """
        chunk = list(islice(items, CHUNK_RECORDS))
        self._read += len(chunk)
        good = [item for item in chunk if item.error is None]
        if len(good) < len(chunk):
            self._note_unreadable(chunk)
        violations = self._reader.read_many(self._frame, [item.record for item in good], partial=True)
        if violations:
            self._validation.refused(violations)
            for each in violations:
                self._note(each.field, each.code, good[each.row].place, each.expected, each.got)
        if self._frame.n_rows:
            self._answer()
        return len(chunk)

    def report(self) -> dict[str, Any]:
        """What is known of the records so far.

        Returns:
            JSON types; docs/watching.md describes them.
        """
        reference = self._reference
        # Nobody looks twice at a file: its budget is that of 1 / CHANCE looks.
        settings = WatchSettings(budget=FalseAlarmBudget(days=None, rows=ROWS / CHANCE))
        watch = Watch(self._predictor.digest.removeprefix("sha256:"), self._layout, {}, settings)
        now = time.time()
        watch.take(1, self._counted(), now, columns=watch.watched_columns)
        seen = watch_report(
            watch,
            now=now,
            columns=watch.watched_columns,
            budget_days=None,
            schema=self._config["schema"],
            reference=reference,
        )
        findings = seen["validation"]["findings"]
        refused = seen["refused"] + self._unreadable
        weighty = [each for each in findings if each["kind"] != "unknown" and each["share"] >= WEIGHTY]
        return {
            "name": self._predictor.name,
            "version": self._predictor.version,
            "digest": self._predictor.digest,
            "ok": not refused and not weighty,
            "records": {"read": self._read, "answered": seen["answered"], "refused": refused},
            "tiers": seen["tiers"],
            "refused": self._refusals(),
            "unknown": seen["validation"]["unknown"],
            "findings": findings,
            "drift": {"rows": seen["drift"]["rows"], "reference_rows": self._layout.rows if self._layout else 0}
            | {"threshold": seen["drift"]["threshold"], "unwatched": seen["drift"]["unwatched"]}
            | {"columns": [_of_a_file(each) for each in seen["drift"]["columns"]]},
            "quality": seen["quality"],
        }

    def _answer(self) -> None:
        start = time.perf_counter_ns()
        answers = self._predictor.predict_frame(self._frame)
        each = (time.perf_counter_ns() - start) // len(answers)
        for tier, count in zip(TIERS, np.bincount(answers.tiers, minlength=len(TIERS)).tolist(), strict=True):
            self._latency.observe_many(tier, each, count)
        self._quality.observe_batch(answers)

    def _counted(self) -> dict[str, Any]:
        """As an engine tells it."""
        return {
            "birth": 1,
            "latency": self._latency.document(),
            "missed": 0,
            "validation": self._validation.document(),
            "unknown": self._reader.unknown_counts(),
            "capture": {},
            "quality": self._quality.document(),
            "drift": None if self._drift is None else self._drift.document(),
        }

    def _note_unreadable(self, chunk: Sequence[Item]) -> None:
        for item in chunk:
            if item.error is not None:
                self._unreadable += 1
                self._note("", item.error.code, item.place, "", str(item.error).removeprefix(f"{item.place} "))

    def _note(self, name: str, code: str, place: str, expected: str, got: str) -> None:
        known = self._refused.get((name, code))
        if known is None:
            if len(self._refused) >= _MOST_KINDS:
                name, expected, got = "*", "", ""
            known = self._refused.setdefault((name, code), _Refused(name, code, expected, got))
        known.records += 1
        if len(known.places) < _PLACES:
            known.places.append(place)

    def _refusals(self) -> list[dict[str, Any]]:
        most_first = sorted(self._refused.values(), key=lambda each: (-each.records, each.field, each.code))
        return [asdict(each) | {"share": each.records / self._read} for each in most_first]


def _of_a_file(column: dict[str, Any]) -> dict[str, Any]:
    """A column without what only a box has: alarms, and since when."""
    return {key: value for key, value in column.items() if key not in ("latched", "acknowledged", "since")}
