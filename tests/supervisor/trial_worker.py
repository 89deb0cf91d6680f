"""A worker that serves a bundle on trial, with a clock of its own: what the supervisor would see of it."""

from edgeml.supervisor.trial import Trial
from edgeml.supervisor.trial_counters import Counters


class Worker:
    """Reports once in a while, and begins at 0 when it starts again."""

    def __init__(self, trial=None, *, now=1_000.0, previous=None):
        self.trial = trial or Trial()
        self.now = now
        self.life = 1
        self.candidate = {}
        self.previous = previous

    def serve(self, seconds=1.0, **counts):
        """Serves for a second or so and reports; gives the verdict."""
        self.report(seconds, **counts)
        return self.trial.verdict(self.now)

    def report(self, seconds=1.0, *, labels=None, golden=0, rss=0, **counts):
        """As ``serve``, but nobody asks for the verdict yet; ``counts`` are added to the counters."""
        self.now += seconds
        for name, count in (counts | {"golden_failures": golden}).items():
            self.candidate[name] = self.candidate.get(name, 0) + count
        mine = self.candidate.setdefault("labels", {})
        for label, count in (labels or {}).items():
            mine[label] = mine.get(label, 0) + count
        report = Counters.from_mapping(self.candidate | {"labels": dict(mine), "rss_bytes": rss})
        self.trial.observe(self.now, report, self.previous, worker_life=self.life)

    def serve_for(self, seconds, **counts):
        """Reports once a second; gives the last verdict."""
        for _ in range(int(seconds)):
            verdict = self.serve(**counts)
        return verdict

    def restart(self, how=None, *, after=1.0):
        """Dies, or stops on purpose where ``how`` is None, and starts again."""
        self.now += after
        if how is not None:
            self.trial.worker_died(self.now, how)
        self.life += 1
        self.candidate = {}
