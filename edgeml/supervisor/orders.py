"""What a worker is told to serve, by the record; the attempts of bundles on trial are counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from edgeml.bundles import attempts
from edgeml.bundles.event import Load
from edgeml.bundles.state import State
from edgeml.bundles.store import Store
from edgeml.errors import StoreError
from edgeml.supervisor.worker_state import WorkerState


class Orders(NamedTuple):
    """Orders for a worker.

    Attributes:
        state: The record that they follow.
        models: One order for each model, JSON-ready.
    """

    state: State
    models: list[dict[str, Any]]


def orders_for(store: Store, worker: WorkerState, shunned: Collection[str], *, say: Callable[[str], None]) -> Orders:
    """Makes the orders for a worker, and notes in ``worker`` what they try and what they leave out.

    Args:
        store: The store; attempts are counted in its record before this returns.
        worker: Who is told.
        shunned: Hex digests on trial that must not be loaded.
        say: Told where the disk refuses to count.

    Raises:
        StateError: The record is lost.
        OSError: The disk cannot be read.
    """
    state = store.state()
    running = {each.digest for each in worker.serving.values() if each.digest and each.ready}
    degraded = {each.digest for each in worker.serving.values() if each.digest and each.degraded}
    left_out = set(shunned)
    if worker.loading:
        # A worker that starts loads what is confirmed first: that answers, and stays to be gone back to, while it
        # loads what is on trial.
        left_out |= {model.candidate for model in state.models.values() if model.candidate and model.active}
    worker.postponed = bool(left_out - set(shunned))
    try:
        # What this worker is loading already has been counted, however often it is told.
        loads = store.load(running | worker.trying | left_out, degraded | worker.trying_degraded)
        state = store.state()
    except (StoreError, OSError) as error:
        say(f"an attempt cannot be counted, so nothing is tried: {error}")
        loads = attempts.answering(state, counted=False, degraded=degraded)
    if left_out:
        without = {each.model: each for each in attempts.answering(state, counted=False, degraded=degraded)}
        loads = tuple(without[each.model] if each.digest in left_out and each.trial else each for each in loads)
    worker.trying = {each.digest for each in loads if each.trial and each.digest}
    worker.trying_degraded = {each.digest for each in loads if each.without_model and each.digest}
    return Orders(state, [_order(state, each) for each in loads])


def _order(state: State, load: Load) -> dict[str, Any]:
    release = state.models[load.model].releases.get(load.digest or "")
    return {
        "model": load.model,
        "digest": load.digest,
        "previous": load.previous,
        "trial": load.trial,
        "reason": load.reason,
        "without_model": load.without_model,
        "peak_bytes": release.peak_bytes if release is not None else 0,
    }
