"""The trials under way: one for each model that has a bundle on trial, kept over restarts of the supervisor.

The rules are in ``trial``. Here is what they need from outside: which bundle is on trial, the clock, and a file that a
restarted supervisor goes on from. The file is written once a minute and when a worker dies; losing it costs time, since
the trial then starts anew, and can never confirm a bundle too early.

Memory is the whole worker's, with all its models. Where the operator sets no limit, a trial's is what the worker has
when the bundle first reports, and the bundle's own room beside it, and some slack; each bundle that is loaded later
raises it by its room. Until that report the bundle may have taken its room, and no more: one that grows with its first
questions would else have set its own limit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.files import replace_file
from edgeml.bundles.state import State
from edgeml.supervisor.trial import Trial, Verdict
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters

FILE_MAX_BYTES = 1024 * 1024
KEEP_EVERY_S = 60.0
# What a worker may grow by in a trial beside what bundles take: requests, and memory that is not given back at once.
SLACK_BYTES = 128 * 1024 * 1024

References = Callable[[str], Mapping[str, int] | None]


def boottime() -> float:
    """Seconds since the box was started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Judged:
    """A verdict that asks for something to be done.

    Attributes:
        model: The model.
        digest: Hex digest of the bundle on trial.
        verdict: ``confirm`` or ``roll_back``.
    """

    model: str
    digest: str
    verdict: Verdict


class Trials:
    """All trials of one store.

    Args:
        path: Where they are kept.
        config: The numbers by which they are judged.
        reference: Label counts of a bundle's drift reference by hex digest; None where it has no labels.
        unmeasured_bytes: Gives the room of a bundle whose memory admission has not measured.
        clock: Seconds of CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        path: Path,
        config: TrialConfig,
        reference: References,
        *,
        unmeasured_bytes: Callable[[], int] = lambda: 512 * 1024 * 1024,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._path = path
        self._config = config
        self._reference = reference
        self._clock = clock
        self._unmeasured_bytes = unmeasured_bytes
        # Hex digest -> bytes, of every bundle that answers or is on trial.
        self._room: dict[str, int] = {}
        # Model -> what the worker had before it was told of the bundle on trial, until that reports.
        self._before: dict[str, int] = {}
        self._trials: dict[str, tuple[str, Trial]] = {}
        # Digests and signals of which people have been told.
        self._doubted: set[tuple[str, str]] = set()
        self._kept_at = clock()
        self._kept = self._read()

    def follow(self, state: State, settled_bytes: int = 0) -> None:
        """Begins, continues and ends trials as the record says.

        Args:
            state: The record.
            settled_bytes: Resident memory of the worker, which has not been told of this yet; 0 where nobody knows.
        """
        on_trial = {name: model.candidate for name, model in state.models.items() if model.candidate is not None}
        over = [model for model in self._trials if on_trial.get(model) != self._trials[model][0]]
        for model in over:
            del self._trials[model]
            self._before.pop(model, None)
        self._doubted = {each for each in self._doubted if each[0] in on_trial.values()}
        self._make_room(state)
        for model, digest in on_trial.items():
            if model not in self._trials:
                self._trials[model] = (digest, self._begun(model, digest))
                if settled_bytes:
                    self._before[model] = settled_bytes
        # What was kept goes on at most once: a bundle that is tried again later begins at nought.
        self._kept = {}
        if over:
            self.keep()

    def loads(self, digest: str, rss_bytes: int) -> None:
        """Takes what the worker has in memory just before it loads a bundle.

        Args:
            digest: The bundle's hex digest.
            rss_bytes: Resident memory of the worker; 0 where it does not say.
        """
        for model, (on_trial, trial) in self._trials.items():
            if on_trial == digest and rss_bytes and trial.memory_bytes is None:
                self._before.setdefault(model, rss_bytes)

    def observe(self, model: str, counters: Mapping[str, Counters], previous: str | None, *, life: int) -> None:
        """Takes what a worker reports.

        Args:
            model: The model.
            counters: By hex digest, of each bundle that the worker has of this model.
            previous: Hex digest of the release that the one on trial is compared with.
            life: Number of the worker's life.
        """
        if model not in self._trials:
            return
        digest, trial = self._trials[model]
        if digest in counters:
            rss = counters[digest].rss_bytes
            if trial.memory_bytes is None and rss:
                room, before = self._room[digest], self._before.pop(model, rss)
                trial.limit_memory(min(rss, before + room) + room + SLACK_BYTES)
            trial.observe(self._clock(), counters[digest], counters.get(previous or ""), worker_life=life)

    def report(self, models: Mapping[str, Any], state: State, *, life: int) -> None:
        """Takes what a worker tells of all its models.

        Args:
            models: By model and hex digest, as the worker sends it; what is no report is left out.
            state: The record; it says with whom the bundles on trial are compared.
            life: Number of the worker's life.
        """
        for model, by_digest in models.items():
            counters = {}
            for digest, found in by_digest.items():
                with suppress(ValueError, TypeError):
                    counters[digest] = Counters.from_mapping(found)
            if model in self._trials:
                self.observe(model, counters, state.model(model).active, life=life)

    def worker_died(self, how: str, culprit: str = "") -> None:
        """Notes that the worker died without having been told to.

        Args:
            how: For people.
            culprit: Hex digest of the bundle that is at fault; empty where nobody knows, and each may be.
        """
        for trial in self._suspects(culprit):
            trial.worker_died(self._clock(), how)
        self.keep()

    def stalled(self, silent_s: float, culprit: str = "") -> bool:
        """Notes for how long the worker has been silent.

        Args:
            silent_s: Seconds.
            culprit: Hex digest of the bundle that is at fault; empty where nobody knows, and each may be.

        Returns:
            Whether a bundle on trial is blamed for it.
        """
        suspects = self._suspects(culprit)
        for trial in suspects:
            trial.stalled(self._clock(), silent_s)
        return bool(suspects)

    def judged(self) -> list[Judged]:
        """The verdicts that ask for something to be done now."""
        found = []
        for model, (digest, trial) in self._trials.items():
            verdict = trial.verdict(self._clock())
            if verdict.kind != "hold":
                found.append(Judged(model, digest, verdict))
        if self._trials and self._clock() - self._kept_at >= KEEP_EVERY_S:
            self.keep()
        return found

    def doubts(self) -> list[str]:
        """What holds a trial now and was not told before, a line each."""
        lines = []
        for model, (digest, trial) in self._trials.items():
            verdict = trial.verdict(self._clock())
            for each in verdict.warnings if verdict.signal == "ambiguous" else ():
                if (digest, each.signal) not in self._doubted:
                    self._doubted.add((digest, each.signal))
                    what = f"{model} sha256:{digest[:12]}: the trial is held: {each.signal}: {each.reason}"
                    lines.append(f"{what}; edgeml confirm {model}, or edgeml rollback {model}")
        return lines

    def progress(self) -> dict[str, Any]:
        """How each trial goes, by model, JSON-ready."""
        return {
            model: {"digest": f"sha256:{digest}"} | trial.progress(self._clock())
            for model, (digest, trial) in self._trials.items()
        }

    def keep(self) -> None:
        """Writes the trials down; a disk that refuses costs only what a restart would continue."""
        self._kept_at = self._clock()
        document = {
            model: {"digest": digest, "trial": trial.to_document(), "memory_bytes": trial.memory_bytes}
            for model, (digest, trial) in self._trials.items()
        }
        with suppress(OSError):
            replace_file(self._path, [json.dumps(document).encode()], mode=0o640)

    def _make_room(self, state: State) -> None:
        """Raises the limits of the trials under way by what is loaded beside them from now on."""
        before = self._room
        self._room = {
            digest: model.releases[digest].peak_bytes or self._unmeasured_bytes()
            for model in state.models.values()
            for digest in (model.active, model.candidate)
            if digest is not None
        }
        more = sum(room for digest, room in self._room.items() if digest not in before)
        if self._config.memory_bytes is None:
            for _, trial in self._trials.values():
                if trial.memory_bytes is not None:
                    trial.limit_memory(trial.memory_bytes + more)
            for model in self._before:
                self._before[model] += more

    def _suspects(self, culprit: str) -> list[Trial]:
        return [trial for digest, trial in self._trials.values() if culprit in ("", digest)]

    def _begun(self, model: str, digest: str) -> Trial:
        labels = self._reference(digest)
        kept = self._kept.get(model)
        if isinstance(kept, dict) and kept.get("digest") == digest:
            # A document of another edgeml, or a damaged one: a new trial is the safe answer.
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                config = self._config
                if config.memory_bytes is None:
                    # As it was: a leak must not begin at nought whenever a supervisor does.
                    config = replace(config, memory_bytes=kept.get("memory_bytes"))
                return Trial.from_document(kept["trial"], config, reference_labels=labels)
        return Trial(self._config, reference_labels=labels)

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, RecursionError):
            document = json.loads(SYSTEM.read(self._path, FILE_MAX_BYTES))
            if isinstance(document, dict):
                return document
        return {}
