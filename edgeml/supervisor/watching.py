"""The bundles of a box under watch: counts come in from the worker, are kept over restarts, and are told to people.

1. What the worker counts comes every few seconds, whole (``monitor.counted``). It is dealt with on a thread of its own:
   working out evidence takes time that going back must not wait for.
2. Snapshots are one file for each bundle in ``monitors/``, replaced as a whole, at most every ``KEEP_S`` seconds and
   never more bytes a day than ``BYTES_A_DAY``: then they become rarer. What was counted since the last one is lost with
   a power cut, and nothing else. A snapshot that is damaged is dropped, and the journal says so.
3. An alarm is a line in the journal. Nothing is gone back from because of it: drift is no fault of a bundle. A rule
   that does not keep what it promises is a line too; where the operator allows it, it is disabled (``rule_guard``).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.documents import parse_object
from edgeml.bundles.event import Event
from edgeml.bundles.files import replace_file
from edgeml.bundles.state import ModelState, State, bare
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError, NotInstalledError, RequestError
from edgeml.monitor.drift_layout import MEMBER, Layout
from edgeml.monitor.watch import LOOK_S, Watch, WatchEvent, WatchSettings
from edgeml.monitor.watch_report import watch_report
from edgeml.supervisor.rule_guard import RuleGuard, promises_of
from edgeml.supervisor.rule_switches import RuleSwitches
from edgeml.supervisor.watch_snapshot import MOST_BYTES, packed_snapshot, unpacked_snapshot
from edgeml.supervisor.watch_summary import HISTOGRAMS, shortened

FOLDER = "monitors"
KEEP_S = 600.0
OBEY_S = 30.0
BYTES_A_DAY = 16 * 1024 * 1024
# How long the end waits for what has come and is not dealt with yet.
END_S = 5.0
# Lines about one bundle at a time.
TOLD = 5
_MOST_WAITING = 200
_DAY_S = 86_400


@dataclass
class _Watched:
    model: str
    version: str
    schema: Mapping[str, Any]
    reference: Mapping[str, Any]
    watch: Watch
    kept_at: float
    kept_bytes: int = 0
    report: tuple[float, dict[str, Any]] | None = None
    switched: Mapping[str, Any] | None = None


class Watching:
    """Watches the bundles of one store.

    Args:
        store: The store.
        settings: How the box is watched; read anew twice a minute.
        keeps: Whether it keeps what is counted. One that does not only reads what another one has kept: it changes
            nothing on the disk.
        say: Told what people should read, a line each.
        now: Seconds since 1970.
        clock: Seconds of CLOCK_MONOTONIC.

    Attributes:
        bytes_today: Bytes of snapshots written to the disk today (UTC).
        bytes_written: ... and since this process began.
        failure: Why the last snapshot could not be written; empty where it could.
        switches: Which rules must not answer.
        guard: What disables them.
    """

    def __init__(
        self,
        store: Store,
        settings: Callable[[], WatchSettings] = WatchSettings,
        *,
        keeps: bool = True,
        say: Callable[[str], None] = lambda line: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._keeps = keeps
        self._read_settings = settings
        self._settings = settings()
        self._obeyed_at = clock()
        self._say = say
        self._now = now
        self._clock = clock
        self._lock = threading.RLock()
        self._watched: dict[str, _Watched] = {}
        self._state: State | None = None
        self._wanted: set[str] = set()
        self._installed: set[str] = set()
        self._inbox: queue.Queue[Mapping[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._day = int(now() // _DAY_S)
        self.bytes_today = 0
        self.bytes_written = 0
        self.failure = ""
        self.switches = RuleSwitches(store.root / FOLDER, keeps=keeps, say=say)
        self.guard = RuleGuard(store, self.switches, say=say, now=now)

    def __enter__(self) -> Watching:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._work, name="edgeml-watching", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Deals with what has come, stops the thread, and writes snapshots."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._inbox.put(None, timeout=END_S)
            self._thread.join(END_S)
        self.keep()

    def beside(self, others: Callable[[tuple[Any, ...]], None]) -> Callable[[tuple[Any, ...]], None]:
        """Takes counts out of what workers say, on its way to somebody else.

        Args:
            others: Told everything else.

        Returns:
            What is to be told; see ``Control``.
        """

        def came(event: tuple[Any, ...]) -> None:
            if event[0] == "heard" and event[2].get("kind") == "watched":
                self.put(event[2])
            else:
                others(event)

        self.guard.nudges(others)
        return came

    @property
    def answers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """What is answered to commands on the box, by kind of question."""
        return {"watch": self._answer_watch, "acknowledge": self._answer_acknowledge, "rule": self.guard.answer}

    def put(self, document: Mapping[str, Any]) -> None:
        """Hands on what the worker counted; never waits. What there is no room for comes again, whole.

        Args:
            document: Its message.
        """
        with suppress(queue.Full):
            self._inbox.put_nowait(document)

    def take(self, document: Mapping[str, Any]) -> None:
        """Deals with what the worker counted of one bundle.

        Args:
            document: Its message; what is no such message changes nothing.
        """
        with self._lock:
            watched = self._find(str(document.get("model", "")), bare(str(document.get("digest", ""))))
            if watched is None:
                return
            try:
                events = watched.watch.take(int(document["life"]), document, self._now(), columns=self._columns())
            except (ValueError, TypeError, KeyError) as error:
                self._say(f"{watched.model}: what the worker counted is not understood: {error}")
                return
            watched.report = None
        self._tell(watched, events)
        if watched.watch.rules.findings:
            self.guard.look(watched.model, watched.watch, self._settings.disables)

    def follow(self, state: State) -> None:
        """Keeps to the record: bundles that neither answer nor may answer soon are watched no more.

        Args:
            state: The record.
        """
        # Without the lock: whoever exchanges a bundle must not wait for evidence that is being worked out.
        self._state = state
        self._wanted = {
            digest
            for model in state.models.values()
            for digest in (model.active, model.candidate, model.previous, model.last_resort)
            if digest is not None
        }
        installed = self._wanted | {digest for model in state.models.values() for digest in model.releases}
        if installed != self._installed:
            self._installed = installed
            self._sweep(installed)

    def reports(self) -> dict[str, dict[str, Any]]:
        """What is known of what answers now, by model, JSON-ready; see ``watch_report``."""
        with self._lock:
            found = {}
            for name, model in sorted(self._state.models.items()) if self._state is not None else ():
                digest = _answering(model)
                watched = None if digest is None else self._find(name, digest)
                if watched is not None:
                    found[name] = watched
            # All of them are known by now: they share one budget of false alarms.
            return {name: self._report(watched) for name, watched in found.items()}

    def snapshots(self) -> dict[str, Any]:
        """What keeping counts costs the disk: ``bytes_today``, ``bytes_written``, ``bytes_a_day`` and ``failure``."""
        with self._lock:
            self._turn_day()
            return {
                "bytes_today": self.bytes_today,
                "bytes_written": self.bytes_written,
                "bytes_a_day": BYTES_A_DAY,
                "failure": self.failure,
            }

    def summaries(self) -> dict[str, dict[str, Any]]:
        """``reports`` with the histograms of the worst columns only: small enough for a message between processes."""
        reports = self.reports()
        most = max(5, HISTOGRAMS // max(1, len(reports)))
        return {name: shortened(report, most) for name, report in reports.items()}

    def report(self, model: str) -> dict[str, Any]:
        """What is known of one model.

        Raises:
            NotInstalledError: The box does not have it, or nothing of it answers.
        """
        found = self.reports().get(model)
        if found is None:
            raise NotInstalledError(f"nothing answers for {model!r}; see 'edgeml status'")
        return found

    def acknowledge(self, model: str, column: str, *, who: str) -> dict[str, Any]:
        """The operator has seen an alarm.

        Args:
            model: Name of the model.
            column: The column that raised it.
            who: For the journal.

        Returns:
            ``column`` and ``ended``: whether the alarm is over with that.

        Raises:
            NotInstalledError: The box does not have the model, or nothing of it answers.
            RequestError: The column has no alarm.
        """
        self.report(model)
        with self._lock:
            assert self._state is not None
            state = self._state.model(model)
            watched = self._find(model, _answering(state) or "")
            try:
                if watched is None:
                    raise KeyError(column)
                ended = watched.watch.acknowledge(column, self._now())
            except KeyError:
                raise RequestError(
                    f"{model} has no alarm on {column[:80]!r}", code="no_alarm", field="column"
                ) from None
            watched.report = None
        text = f"{column}: the alarm was acknowledged" + (" and is over" if ended else "")
        self._store.note(Event("drift", model, watched.watch.digest, text, signal=column), who=who)
        return {"column": column, "ended": ended}

    def keep(self) -> None:
        """Writes a snapshot of everything that has changed."""
        with self._lock:
            for watched in self._watched.values():
                self._keep_one(watched)

    def _answer_watch(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"reports": self.summaries()}

    def _answer_acknowledge(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.acknowledge(str(asked["model"]), str(asked["column"]), who=str(asked.get("who", "cli")))

    def _work(self) -> None:
        while True:
            try:
                given = self._inbox.get(timeout=LOOK_S)
            except queue.Empty:
                given = {}
            if given is None:
                return
            try:
                if given:
                    self.take(given)
                self._look_again()
                self._keep_due()
                self.switches.keep()
            except Exception as error:  # a mistake here must not end the watch
                self._say(f"watching: {type(error).__name__}: {error}")

    def _obey(self) -> None:
        """Takes up what the operator has set since."""
        self._obeyed_at = self._clock()
        self._settings = self._read_settings()
        for watched in self._watched.values():
            watched.watch.settings = self._settings
            self.guard.look(watched.model, watched.watch, self._settings.disables)

    def _look_again(self) -> None:
        with self._lock:
            found = []
            for watched in self._watched.values():
                events = watched.watch.look_again(self._now(), columns=self._columns())
                if not watched.watch.pending:
                    found.append((watched, events))
        for watched, events in found:
            if events:
                watched.report = None
            self._tell(watched, events)

    def _tell(self, watched: _Watched, events: Sequence[WatchEvent]) -> None:
        # A world that changes as a whole is one piece of news, and not one for each of two hundred columns.
        shown = events if len(events) <= TOLD else events[: TOLD - 1]
        rest = [event.subject for event in events[len(shown) :]]
        told = [(event.kind, event.text, event.subject) for event in shown]
        if rest:
            told.append((events[len(shown)].kind, f"... and {len(rest)} more: {', '.join(rest[:TOLD])}", "several"))
        for kind, text, subject in told:
            self._say(f"{watched.model}: {text}")
            self._store.note(Event(kind, watched.model, watched.watch.digest, text, signal=subject), who="supervisor")

    def _columns(self) -> int:
        """Columns of what answers on this box: the false alarms of all of them share the budget."""
        if self._state is None:
            return 1
        answering = {_answering(model) for model in self._state.models.values()}
        return sum(each.watch.watched_columns for digest, each in self._watched.items() if digest in answering) or 1

    def _find(self, model: str, digest: str) -> _Watched | None:
        known = self._watched.get(digest)
        if known is not None:
            return known
        if self._state is None:
            return None
        release = self._state.model(model).releases.get(digest) if model in self._state.models else None
        if release is None:
            return None
        try:
            watched = self._begun(model, digest, release.version)
        except (EdgemlError, OSError, KeyError, ValueError) as error:
            self._say(f"{model} sha256:{digest[:12]} cannot be watched: {error}")
            return None
        self._watched[digest] = watched
        return watched

    def _begun(self, model: str, digest: str, version: str) -> _Watched:
        manifest = self._store.manifest(digest)
        blob = self._store.blobs.read(bare(manifest.config.digest), manifest.config.size)
        config = parse_object(blob, "config")
        reference: Mapping[str, Any] = {}
        layout = None
        member = manifest.members.get(MEMBER)
        if member is not None and config["task"] != "tensors":
            reference = parse_object(self._store.blobs.read(bare(member.digest), max(member.size, 1)), MEMBER)
            layout = Layout.of(reference, config["schema"])
        promises = promises_of(self._store, manifest, reference.get("quality"))
        watch = Watch(digest, layout, config.get("slo", {}), self._settings, promises=promises, clock=self._clock)
        path = self._path(digest)
        try:
            data = SYSTEM.read(path, MOST_BYTES)
        except OSError:
            data = b""
        if data:
            try:
                watch.restore(unpacked_snapshot(data))
            except ValueError as error:
                if not self._keeps:
                    raise ValueError(f"{path} is damaged: {error}") from error
                self._say(f"{path} is damaged and dropped: {error}")
                with suppress(OSError):
                    path.unlink()
                text = f"the counts so far are lost: the snapshot was damaged ({error})"
                self._store.note(Event("watch", model, digest, text, signal="snapshot"), who="supervisor")
        # The first snapshot comes soon: a box that is switched off each evening keeps its day.
        return _Watched(model, version, config["schema"], reference, watch, self._clock())

    def _report(self, watched: _Watched) -> dict[str, Any]:
        now = self._now()
        switched = self.switches.of(watched.watch.digest)
        # What was decided is a new object with each decision.
        if watched.report is None or now - watched.report[0] > 60.0 or watched.switched is not switched:
            budget = self._settings.budget
            made = watch_report(
                watched.watch,
                now=now,
                columns=self._columns(),
                budget_days=budget.days,
                schema=watched.schema,
                reference=watched.reference,
                switched=switched,
            )
            watched.switched = switched
            monitors = {
                "state_bytes": watched.watch.state_bytes,
                "bytes_today": self.bytes_today,
                "failure": self.failure,
                "kept_at": self._kept_at(watched.watch.digest),
            }
            watched.report = now, {"model": watched.model, "version": watched.version} | made | {"monitors": monitors}
        return watched.report[1]

    def _keep_due(self) -> None:
        with self._lock:
            if self._clock() - self._obeyed_at >= OBEY_S:
                self._obey()
            # Here, and not where the record is followed: writing takes time that an exchange must not wait for.
            for digest in self._watched.keys() - self._wanted:
                self._keep_one(self._watched.pop(digest))
            for watched in self._watched.values():
                # So many bytes at a time may be written so often.
                pause = max(KEEP_S, _DAY_S * watched.kept_bytes * len(self._watched) / BYTES_A_DAY)
                if watched.watch.changed and self._clock() - watched.kept_at >= pause:
                    self._keep_one(watched)

    def _keep_one(self, watched: _Watched) -> None:
        watched.kept_at = self._clock()
        if not watched.watch.changed or not self._keeps:
            return
        data = packed_snapshot(watched.watch.to_document())
        self._turn_day()
        try:
            path = self._path(watched.watch.digest)
            path.parent.mkdir(mode=0o750, exist_ok=True)
            replace_file(path, [data], mode=0o640)
            watched.kept_bytes = len(data)
            self.bytes_today += len(data)
            self.bytes_written += len(data)
            self.failure = ""
        except OSError as error:
            watched.watch.changed = True
            if str(error) != self.failure:
                self._say(f"what was counted cannot be kept: {error}")
            self.failure = str(error)

    def _turn_day(self) -> None:
        day = int(self._now() // _DAY_S)
        if day != self._day:
            self._day, self.bytes_today = day, 0

    def _sweep(self, installed: set[str]) -> None:
        """Removes snapshots and decisions of bundles that are no longer installed."""
        self.switches.forget(installed)
        if not self._keeps:
            return
        with suppress(OSError):
            for path in (self._store.root / FOLDER).iterdir():
                if path.suffix == ".tmp" or (path.suffix == ".watch" and path.stem not in installed):
                    path.unlink()

    def _kept_at(self, digest: str) -> float | None:
        """When the last snapshot was written, in seconds since 1970; None where there is none."""
        try:
            return self._path(digest).stat().st_mtime
        except OSError:
            return None

    def _path(self, digest: str) -> Path:
        return self._store.root / FOLDER / f"{digest}.watch"


def _answering(model: ModelState) -> str | None:
    """Hex digest of what answers for a model; the one on trial where there is one."""
    return model.candidate or model.active or model.last_resort


def kept_reports(store: Store, *, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """What was kept of what answers, by model, where no supervisor runs; nothing on the disk is changed.

    Args:
        store: The store.
        say: Told of snapshots that are damaged; their models are left out.

    Returns:
        As ``Watching.reports``; ``monitors.kept_at`` says of when it is. Models without a snapshot are left out.
    """
    watching = Watching(store, keeps=False, say=say)
    watching.follow(store.state())
    return {name: each for name, each in watching.reports().items() if each["monitors"]["kept_at"] is not None}
