"""A supervisor whose worker and clock are the test's: messages go in one by one, and nothing runs by itself."""

from __future__ import annotations

from bundles.releases import new_store

from edgeml.supervisor.supervisor import Supervisor
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trials import Trials
from edgeml.supervisor.worker_state import WorkerState


class Process:
    """A worker process that cannot be harmed."""

    pid, life, status = 1, 1, None

    def __init__(self):
        self.signals = []

    def signal(self, number):
        self.signals.append(number)

    def close(self):
        pass


class Ear:
    """The worker's end of the link: notes what it is told."""

    def __init__(self):
        self.told = []

    def send(self, document):
        self.told.append(document)

    def take_descriptors(self):
        return []

    def digests(self):
        """By model, what the last orders say."""
        return {each["model"]: each["digest"] for each in self.told[-1]["models"]}


class Desk:
    """A supervisor whose worker and clock are the test's; nothing runs by itself."""

    def __init__(self, root):
        self.config = TrialConfig(min_seconds=5, min_requests=10)
        self.store = new_store(root / "store")
        self.now = 1000.0
        self.said = []
        self.trials = Trials(root / "trials.json", self.config, lambda _: None, clock=lambda: self.now)
        self.supervisor = Supervisor(self.store, self.trials, clock=lambda: self.now, say=self.said.append)
        self.begin()

    def begin(self):
        """A worker that has answered already."""
        self.process, self.ear = Process(), Ear()
        self.supervisor._worker = WorkerState(process=self.process, heard=self.now, since=self.now, loading=False)
        self.supervisor._announced = True

    def hello(self):
        self.supervisor._on_hello(self.ear, {"pid": 1, "life": 1})

    def followed(self):
        """The worker has done what it was told last."""
        self.supervisor._worker.done = self.supervisor._worker.turn

    def beat(self, **more):
        self.supervisor._on_heard(self.ear, {"kind": "counters", "models": {}} | more)

    def look(self, seconds=0.5):
        self.now += seconds
        self.supervisor._look()
