"""Makes a record fit into the bytes that it may have. Pure, as ``transitions`` is.

What must happen (going back, counting attempts, rejecting) is never refused because the record is full. What gives way,
in this order:

1. words: why older bundles were denied; the journal has them still;
2. the oldest denials: without them somebody could activate a bad bundle again, which admission and a trial would meet;
3. bundles that nothing goes back to, first those never confirmed. Installing keeps this from being needed
   (``added``); a store made by an earlier edgeml may need it.

Denials are bounded over all models together, so that they never take the room that new bundles need.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from edgeml.bundles.documents import canonical
from edgeml.bundles.event import Event
from edgeml.bundles.state import MAX_BYTES, Denial, ModelState, Release, State
from edgeml.bundles.transitions import Change
from edgeml.errors import StateError

# Above this nothing is added that the box could do without: the rest belongs to what must not be refused.
ADDING_BYTES = 24 * 1024
DENIED_BYTES = 8 * 1024
# Less than any bundle or denial: a setting that is put right may be longer than the wrong one.
_SMALL_BYTES = 64
SHORT_REASON = 40
FORGOTTEN = "the record was full, so this older entry was forgotten"


def fitted(state: State, spare: Collection[str] = (), max_bytes: int = MAX_BYTES) -> Change:
    """Makes a record fit.

    Args:
        state: The record.
        spare: Hex digests that the change is about; their denials stay, and their reasons as long as possible.
        max_bytes: What the record may have; its denials may have ``DENIED_BYTES`` of that.

    Returns:
        The record, the very same where it fitted, and an event for each denial or bundle that was forgotten.
    """
    for length, whose in ((SHORT_REASON, spare), (0, spare), (SHORT_REASON, ())):
        if _excess(state, max_bytes) <= 0:
            return state, ()
        state = _shortened(state, length, whose)
    state, denials = _without_denials(state, _excess(state, max_bytes), spare)
    state, releases = _without_releases(state, state.size - max_bytes, spare)
    return state, (*denials, *releases)


def added(before: State, after: State, spare: Collection[str] = (), *, slack_bytes: int = 0) -> Change:
    """Bounds only the denials, and refuses what adds to a record that is nearly full.

    Args:
        before: The record as it is.
        after: The record with what is added.
        spare: As in ``fitted``.
        slack_bytes: What must be left besides.

    Raises:
        StateError: There is no room.
    """
    after, events = fitted(after, spare, max_bytes=after.size)
    size = after.size + slack_bytes
    if size > max(ADDING_BYTES, before.size + _SMALL_BYTES):
        raise StateError(
            f"the store's record would have {size} bytes, and above {ADDING_BYTES} nothing is added; remove old "
            "bundles with 'edgeml gc --keep 0'"
        )
    return after, events


def _excess(state: State, max_bytes: int) -> int:
    denied = sum(
        _denial_bytes(digest, denial) for model in state.models.values() for digest, denial in model.denied.items()
    )
    return max(state.size - max_bytes, denied - DENIED_BYTES)


def _shortened(state: State, length: int, spare: Collection[str]) -> State:
    for name, model in state.models.items():
        denied = {
            digest: denial if digest in spare else replace(denial, reason=denial.reason[:length])
            for digest, denial in model.denied.items()
        }
        releases = {
            digest: release if digest in spare else replace(release, reason=release.reason[:length])
            for digest, release in model.releases.items()
        }
        state = state.with_model(name, _with(model, releases, denied))
    return state


def _without_denials(state: State, excess: int, spare: Collection[str]) -> tuple[State, list[Event]]:
    """Without as many denials as ``excess`` bytes ask for: first of bundles that are gone, then by order and age."""
    order = []
    for name, model in state.models.items():
        for digest, denial in model.denied.items():
            release = model.releases.get(digest)
            if digest not in spare:
                age = (release is not None, denial.seq, 0.0 if release is None else release.installed)
                order.append((*age, digest, name))
    events: list[Event] = []
    for *_, digest, name in sorted(order):
        if excess <= 0:
            break
        model = state.models[name]
        excess -= _denial_bytes(digest, model.denied[digest])
        denied = {other: denial for other, denial in model.denied.items() if other != digest}
        state = state.with_model(name, _with(model, model.releases, denied))
        events.append(Event("allowed", name, digest, FORGOTTEN))
    return state, events


def _without_releases(state: State, excess: int, spare: Collection[str]) -> tuple[State, list[Event]]:
    order = sorted(
        (release.confirmed, release.installed, digest, name)
        for name, model in state.models.items()
        for digest, release in model.releases.items()
        if digest not in model.kept and digest not in spare
    )
    events: list[Event] = []
    for *_, digest, name in order:
        if excess <= 0:
            break
        model = state.models[name]
        releases = {other: release for other, release in model.releases.items() if other != digest}
        smaller = state.with_model(name, _with(model, releases, model.denied))
        excess -= state.size - smaller.size
        state = smaller
        events.append(Event("removed", name, digest, FORGOTTEN))
    return state, events


def _with(model: ModelState, releases: Mapping[str, Release], denied: Mapping[str, Denial]) -> ModelState:
    return replace(model, releases=MappingProxyType(dict(releases)), denied=MappingProxyType(dict(denied)))


def _denial_bytes(digest: str, denial: Denial) -> int:
    """What a denial takes in the record, without the comma."""
    return len(canonical({digest: {"seq": denial.seq, "reason": denial.reason}}, "a denial", error=StateError)) - 2
