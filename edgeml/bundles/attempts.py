"""How often a bundle may be loaded, and its process die, before it is given up. Pure, as ``transitions`` is.

1. The attempt is counted before the load, and the counted record must be on the disk before the worker is told: a
   bundle that kills its process, or the whole box, is abandoned after ``TRIES`` attempts.
2. Attempts are counted of what is on trial, and of a last resort. What is confirmed is loaded freely; it is counted
   when the process dies.
3. Where it is known under which bundle the process died, that one alone is blamed, and the others get back the attempt
   that was counted for this process. Each death so costs somebody something, and no loop goes on for ever.
4. A bundle that is given up while there is nothing to go back to becomes the model's last resort: its rules and its
   fallback answer, without its model. If that too ends the process, nothing answers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edgeml.bundles.event import Event, Load
from edgeml.bundles.state import TRIES, ModelState, State
from edgeml.bundles.transitions import NOTHING, Change, abandon, abandon_last_resort, roll_back
from edgeml.errors import NotInstalledError, OrderError


def load(
    state: State, running: Collection[str] = (), degraded: Collection[str] = ()
) -> tuple[State, tuple[Event, ...], tuple[Load, ...]]:
    """Says what a worker is to load, and counts the attempts.

    Args:
        state: The record.
        running: Hex digests that the worker answers with already; they are not loaded, so nothing is counted.
        degraded: ... and those of which rules and fallback answer already.
    """
    events: list[Event] = []
    for name in sorted(state.models):
        model = state.models[name]
        if model.candidate is None or model.candidate in running:
            continue
        if model.tries_left == 0:
            reason = f"it was loaded {TRIES} times and the process ended each time before the trial was over"
            state, found = roll_back(state, name, reason=reason, signal="process_deaths")
            events += found
            continue
        model = replace(model, tries_left=model.tries_left - 1)
        state = state.with_model(name, model)
        events.append(Event("tried", name, model.candidate or "", f"{model.tries_left} more attempts"))
    for name in sorted(state.models):
        model = state.models[name]
        digest = _resort(model)
        if digest is None or digest in degraded:
            continue
        if model.last_resort_tries == 0:
            reason = f"it was loaded {TRIES} times without its model, and the process ended each time"
            state, found = abandon_last_resort(state, name, digest, reason=reason, signal="process_deaths")
            events += found
            continue
        model = replace(model, last_resort_tries=model.last_resort_tries - 1)
        state = state.with_model(name, model)
        events.append(Event("tried", name, digest, f"without its model, {model.last_resort_tries} more attempts"))
    return state, tuple(events), answering(state)


def answering(state: State, *, counted: bool = True, degraded: Collection[str] = ()) -> tuple[Load, ...]:
    """What answers for each model as the record stands.

    Args:
        state: The record.
        counted: Whether attempts were counted; where they cannot be, nothing is loaded that needs it.
        degraded: Hex digests of which rules and fallback answer already.
    """
    loads = []
    for name in sorted(state.models):
        model = state.models[name]
        resort = _resort(model)
        if counted and model.candidate is not None:
            loads.append(Load(name, model.candidate, trial=True, previous=model.active))
        elif model.active is not None:
            loads.append(Load(name, model.active, previous=model.previous))
        elif resort is not None and (counted or resort in degraded):
            loads.append(Load(name, resort, reason=_given_up(model, resort), without_model=True))
        else:
            loads.append(Load(name, None, reason=_nothing(model)))
    return tuple(loads)


def died(state: State, *, how: str, culprit: str = "", tried: Collection[str] = ()) -> Change:
    """Counts a death of the worker process, as its supervisor saw it.

    Where the culprit is not known: while a bundle is on trial, or a last resort was loaded for this process, that is
    the suspect, and its attempt was counted. Otherwise the bundle that was confirmed last is.

    After ``TRIES`` deaths a confirmed bundle is gone back from, or abandoned where there is no other.

    Args:
        state: The record.
        how: For people.
        culprit: Hex digest of the bundle that was being loaded; empty where none was.
        tried: Hex digests whose attempt was counted for this process.
    """
    if culprit:
        state, _ = give_back(state, set(tried) - {culprit})
        name = next((name for name, model in state.models.items() if model.active == culprit), None)
        return (state, NOTHING) if name is None else _counted(state, name, how)
    if any(model.candidate is not None or _resort(model) in tried for model in state.models.values()):
        return state, NOTHING
    answering = {name: model for name, model in state.models.items() if model.active is not None}
    # A model that was gone back from for such deaths, and they went on, is not the one; nought left marks it.
    suspects = {name: model for name, model in answering.items() if model.deaths_left} or answering
    if not suspects:
        return state, NOTHING
    return _counted(state, max(suspects, key=lambda each: (_last_confirmed(suspects[each]), each)), how)


def give_back(state: State, digests: Collection[str]) -> Change:
    """Gives attempts back that were counted for a process which another bundle has ended.

    Args:
        state: The record.
        digests: Hex digests.
    """
    for name, model in state.models.items():
        fresh = model
        if model.candidate in digests:
            fresh = replace(fresh, tries_left=min(TRIES, model.tries_left + 1))
        elif _resort(model) in digests:
            fresh = replace(fresh, last_resort_tries=min(TRIES, model.last_resort_tries + 1))
        if fresh != model:
            state = state.with_model(name, fresh)
    return state, NOTHING


def healthy(state: State) -> Change:
    """Forgets earlier deaths and attempts: the worker has answered well for a while.

    A bundle on trial that ends its process later is the trial's matter, which counts deaths too. A shop that switches
    its box off every night must not lose a trial to that.
    """
    for name, model in state.models.items():
        fresh = replace(
            model,
            deaths_left=TRIES if model.active else model.deaths_left,
            tries_left=TRIES if model.candidate else model.tries_left,
            last_resort_tries=TRIES if _resort(model) else model.last_resort_tries,
        )
        if fresh != model:
            state = state.with_model(name, fresh)
    return state, NOTHING


def _counted(state: State, name: str, how: str) -> Change:
    """Counts a death against the active bundle of a model; a trial of the same model goes on whatever becomes of it."""
    model = state.models[name]
    active, trial = str(model.active), model.candidate
    left = (model.deaths_left or TRIES) - 1
    if left > 0:
        model = replace(model, deaths_left=left)
        return state.with_model(name, model), (Event("died", name, active, how),)
    reason = f"the process died {TRIES} times while it answered or was loaded, last: {how}"
    state = state.with_model(name, replace(model, candidate=None, tries_left=0))
    try:
        state, events = roll_back(state, name, reason=reason, signal="process_deaths")
        state = state.with_model(name, replace(state.models[name], deaths_left=0))
    except (NotInstalledError, OrderError):
        state, events = abandon(state, name, active, reason=reason, signal="process_deaths")
    if trial is not None:
        state = state.with_model(name, replace(state.models[name], candidate=trial, tries_left=model.tries_left))
    return state, events


def _resort(model: ModelState) -> str | None:
    """The last resort, where it is what answers."""
    return model.last_resort if model.active is None and model.candidate is None else None


def _last_confirmed(model: ModelState) -> int:
    return model.releases[model.active].confirmed if model.active is not None else 0


def _given_up(model: ModelState, digest: str) -> str:
    reason = model.releases[digest].reason
    return "the box has given up its model" + (f": {reason}" if reason else "")


def _nothing(model: ModelState) -> str:
    """Why nothing answers; the newest bundle that failed says it best."""
    failed = [each for each in model.releases.values() if each.state == "rejected" and each.reason]
    if not failed:
        return "no bundle is active; activate one"
    newest = max(failed, key=lambda each: (each.confirmed, each.installed))
    return f"no bundle is active; activate one; {newest.version} was given up: {newest.reason}"
