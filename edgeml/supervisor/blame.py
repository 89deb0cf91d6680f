"""Whose fault the end of a worker is, and what it costs whom."""

from __future__ import annotations

from edgeml.bundles.store import Store
from edgeml.supervisor.trials import Trials
from edgeml.supervisor.worker_state import WorkerState


def blame(store: Store, trials: Trials, worker: WorkerState, how: str) -> None:
    """Counts the end of a worker.

    1. One that was told of no bundle is blamed on none.
    2. One that ended while it loaded a bundle, or was killed for a question that did not come back, is blamed on that
       bundle alone; whatever else was tried in it gets its attempt back.
    3. Otherwise everything on trial is suspected, and failing that the bundle that was confirmed last.

    Args:
        store: The store.
        trials: Its trials.
        worker: What was known of it.
        how: How it ended, for people.

    Raises:
        EdgemlError: The record cannot be changed.
        OSError: The disk refused.
    """
    if not worker.ordered:
        return
    culprit = worker.culprit or worker.making
    trials.worker_died(how, culprit)
    tried = worker.trying | worker.trying_degraded
    loading = culprit == worker.making != ""
    if loading or not worker.excuses(store.state()):
        # Once it has been healthy its attempts are forgotten, and make nobody suspect.
        store.died(how, culprit=culprit, tried=tried if culprit or not worker.healthy else ())
    elif culprit:
        store.give_back(tried - {culprit})
