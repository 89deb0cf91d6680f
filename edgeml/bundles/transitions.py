"""What may become of a store's state: pure rules, values in and values out. Disk, clock and lock are in ``store``.
What loading and dying do to it is in ``attempts``.

Rules of order and trust:

1. A version label names one digest for ever; it is shown, never compared.
2. ``deploy_seq`` rises with every order carried out; an order that is not newer is a replay. A deliberate downgrade is
   a newer order that names an old bundle. Where the box itself has withdrawn the trial that an order asked for, the
   same order may be given again, until anything else is decided about the model: it was not carried out to its end.
3. A bundle whose security epoch is below ``min_epoch`` is neither installed nor activated nor gone back to.
   ``min_epoch`` rises only when a bundle is confirmed, so that a bundle on trial can always be gone back from.
4. Going back to a bundle that was confirmed on this box needs no order and no network.
5. A bundle that was gone back from is denied until a newer order names it, or the operator lifts the denial: nothing
   flaps.
6. Asking for what is already so changes nothing and is no error.

Sources of the rules: SRE of update systems (RAUC mark-good, Android's rollback protection raised only after success,
the order numbers of The Update Framework and Uptane).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from edgeml.bundles.event import Event
from edgeml.bundles.order import Order
from edgeml.bundles.state import TRIES, Denial, ModelState, Release, State, bare
from edgeml.errors import ConflictError, NotInstalledError, OrderError

# The newest denials that are remembered for each model; an older one has long lost its blobs.
MOST_DENIED = 32
REASON_CHARACTERS = 300


Change = tuple[State, tuple[Event, ...]]
NOTHING: tuple[Event, ...] = ()


def install(state: State, name: str, digest: str, release: Release) -> Change:
    """Adds a bundle whose bytes are all on the disk and whose signatures are good.

    Raises:
        OrderError: Its security epoch is below the box's.
        ConflictError: The version label already names another digest.
    """
    model = state.model(name)
    known = model.releases.get(digest)
    if known is not None:
        merged = tuple(sorted({*known.envelopes, *release.envelopes}))
        if merged == known.envelopes:
            return state, NOTHING
        return _with_release(state, name, digest, replace(known, envelopes=merged)), (Event("installed", name, digest),)
    _check_epoch(model, release, f"{name} {release.version}")
    for other, found in model.releases.items():
        if found.version == release.version:
            raise ConflictError(
                f"{name} {release.version} is installed with digest sha256:{other[:12]}..., and versions never change; "
                "give the new bundle another version"
            )
    return _with_release(state, name, digest, release), (Event("installed", name, digest, release.version),)


def activate(
    state: State,
    digest: str,
    *,
    order: Order | None = None,
    now: bool = False,
    peak_bytes: int = 0,
    who: str = "",
) -> Change:
    """Puts an installed bundle on trial, or with ``now`` makes it the active one at once.

    Args:
        state: The record.
        digest: Digest of the bundle.
        order: A signed order whose signatures were checked.
        now: Whether the trial is left out.
        peak_bytes: Memory that loading it took in admission, in bytes; 0 where nobody measured.
        who: Who asked, for the journal.

    Raises:
        NotInstalledError: It is not installed.
        OrderError: The order is a replay or names something else, the epoch is too low, or the bundle is denied.
        ConflictError: Another bundle is on trial.
    """
    name, model, release = _installed(state, digest)
    digest = bare(digest)
    if order is not None:
        _check_order(state, name, model, digest, order)
    _check_epoch(model, release, f"{name} {release.version}")
    denial = model.denied.get(digest)
    if denial is not None and (order is None or order.seq <= denial.seq):
        raise OrderError(
            f"{name} {release.version} is denied on this box: {denial.reason}; give an order with a number above "
            f"{denial.seq}, or lift the denial with 'edgeml deny --lift {_short(digest)}'"
        )
    model = replace(
        model,
        deploy_seq=model.deploy_seq if order is None else order.seq,
        withdrawn=None,
        denied=_without(model.denied, digest),
    )
    if peak_bytes:
        measured = replace(model.releases[digest], peak_bytes=peak_bytes)
        model = replace(model, releases=MappingProxyType(dict(model.releases) | {digest: measured}))
    if model.active == digest and model.candidate is None:
        return _same_or(state, name, model, Event("activated", name, digest, "was active already"))
    if model.candidate not in (None, digest):
        raise ConflictError(
            f"{name} {model.releases[model.candidate].version} is on trial; confirm it or roll it back first"
        )
    if now:
        state = state.with_model(name, replace(model, candidate=digest))
        return _confirm(state, name, digest, Event("activated", name, digest, _by("without trial", who)))
    if model.candidate == digest:
        return _same_or(state, name, model, Event("activated", name, digest, "was on trial already"))
    model = replace(model, candidate=digest, tries_left=TRIES, releases=_marked(model, digest, "trial"))
    return state.with_model(name, model), (Event("activated", name, digest, _by("on trial", who)),)


def confirm(state: State, name: str, digest: str | None = None, *, reason: str = "", signal: str = "") -> Change:
    """Makes the bundle on trial the active one. Only now the box's security epoch rises.

    Raises:
        NotInstalledError: Nothing, or another bundle, is on trial.
    """
    model = _known(state, name)
    wanted = model.candidate if digest is None else bare(digest)
    if wanted is not None and wanted == model.active and model.candidate is None:
        return state, NOTHING
    if wanted is None or wanted != model.candidate:
        raise NotInstalledError(f"{name}: {'that bundle' if digest else 'nothing'} is on trial; see 'edgeml releases'")
    return _confirm(state, name, wanted, Event("confirmed", name, wanted, reason, signal))


def roll_back(
    state: State, name: str, to: str | None = None, *, leave: str | None = None, reason: str, signal: str = ""
) -> Change:
    """Goes back: from a bundle on trial to the active one, otherwise to the previous or a named one.

    Args:
        state: The record.
        name: Name of the model.
        to: Digest to go back to; None for the one before.
        leave: Digest to go back from: where another bundle answers by now, somebody else has gone back already, and
            nothing is done. Whoever decided on a look at the record must name it.
        reason: Why.
        signal: What caused it; empty for a person's decision.

    Raises:
        NotInstalledError: There is nothing to go back to.
        OrderError: The one to go back to was never confirmed here, is denied, or is below the security epoch.
    """
    model = _known(state, name)
    if leave is not None and bare(leave) != (model.candidate or model.active):
        return state, NOTHING
    target = None if to is None else bare(to)
    events: list[Event] = []
    if model.candidate is not None and target != model.candidate:
        left = model.candidate
        model = replace(_denied(model, left, reason), candidate=None, tries_left=0, withdrawn=None)
        if signal and target is None and model.active is None and model.last_resort is None:
            # The box gives it up, and has nothing to go back to. A person who goes back wants it gone.
            model = replace(model, last_resort=left, last_resort_tries=TRIES)
        events.append(Event("rolled_back", name, left, reason, signal))
        if target in (None, model.active):
            return state.with_model(name, model), tuple(events)
    elif target is not None and target == model.active:
        return state, NOTHING
    target = target if target is not None else model.previous
    if target is None:
        raise NotInstalledError(f"{name}: there is no earlier bundle to go back to")
    if target not in model.releases:
        raise NotInstalledError(f"{name}: {_short(target)} is not installed; see 'edgeml releases'")
    release = model.releases[target]
    if not release.confirmed:
        raise OrderError(f"{name} {release.version} was never confirmed on this box; activate it instead")
    if target in model.denied:
        raise OrderError(f"{name} {release.version} is denied on this box: {model.denied[target].reason}")
    _check_epoch(model, release, f"{name} {release.version}")
    if model.active is not None:
        events.append(Event("rolled_back", name, model.active, reason, signal))
        model = _denied(model, model.active, reason)
    state = state.with_model(name, replace(model, candidate=target))
    state, _ = _confirm(state, name, target, Event("confirmed", name, target))
    # Gone back to is not confirmed anew: the next death must not be blamed on it before newer bundles of other models.
    model = state.models[name]
    kept = replace(model.releases[target], confirmed=release.confirmed)
    model = replace(model, releases=MappingProxyType(dict(model.releases) | {target: kept}))
    state = state.with_model(name, model)
    return state, (*events, Event("activated", name, target, f"gone back to: {reason}", signal))


def deny(state: State, digest: str, *, reason: str) -> Change:
    """Forbids an installed bundle that does not answer now.

    Raises:
        NotInstalledError: It is not installed.
        ConflictError: It is answering; roll back instead.
    """
    name, model, release = _installed(state, digest)
    digest = bare(digest)
    if digest in (model.active, model.candidate):
        raise ConflictError(f"{name} {release.version} is answering; go back with 'edgeml rollback' instead")
    if digest in model.denied and digest != model.last_resort:
        return state, NOTHING
    model = _denied(model, digest, reason)
    if model.last_resort == digest:
        model = replace(model, last_resort=None, last_resort_tries=0)
    if model.withdrawn == digest:
        model = replace(model, withdrawn=None)
    if model.previous == digest:
        model = replace(model, previous=_next_best(model))
    return state.with_model(name, model), (Event("denied", name, digest, reason),)


def allow(state: State, digest: str) -> Change:
    """Lifts a denial.

    Raises:
        NotInstalledError: It is not installed.
    """
    name, model, release = _installed(state, digest)
    digest = bare(digest)
    if digest not in model.denied:
        return state, NOTHING
    fresh = replace(release, state="superseded" if release.confirmed else "installed", reason="")
    model = replace(
        model,
        denied=_without(model.denied, digest),
        releases=MappingProxyType(dict(model.releases) | {digest: fresh}),
    )
    return state.with_model(name, model), (Event("allowed", name, digest),)


def withdraw(state: State, name: str, *, leave: str | None = None, reason: str) -> Change:
    """Ends a trial for which the box, not the bundle, was at fault: nothing is denied, it can be tried again.

    Raises:
        NotInstalledError: Nothing is on trial.
    """
    model = _known(state, name)
    if model.candidate is None:
        raise NotInstalledError(f"{name}: nothing is on trial; see 'edgeml releases'")
    digest = model.candidate
    if leave is not None and bare(leave) != digest:
        return state, NOTHING
    mark = "superseded" if model.releases[digest].confirmed else "installed"
    model = replace(
        model,
        candidate=None,
        tries_left=0,
        # Without an order there is none that could be given again.
        withdrawn=digest if model.deploy_seq else None,
        releases=_marked(model, digest, mark),
    )
    return state.with_model(name, model), (Event("withdrawn", name, digest, reason, "box"),)


def reject(state: State, digest: str, *, reason: str, signal: str) -> Change:
    """Denies a bundle that admission refused; it was never asked anything.

    Raises:
        NotInstalledError: It is not installed.
        ConflictError: It is answering.
    """
    name, model, release = _installed(state, digest)
    digest = bare(digest)
    if digest in (model.active, model.candidate):
        raise ConflictError(f"{name} {release.version} is answering; go back with 'edgeml rollback' instead")
    if release.state == "rejected" and digest in model.denied:
        return state, NOTHING
    return state.with_model(name, _denied(model, digest, reason)), (Event("rejected", name, digest, reason, signal),)


def abandon(state: State, name: str, digest: str, *, reason: str, signal: str) -> Change:
    """Gives up the active bundle of a model that has nothing to go back to: its rules and fallback answer alone.

    A bundle of the same model that is on trial stays there, and answers in its stead.
    """
    model = replace(
        _denied(state.models[name], digest, reason), active=None, last_resort=digest, last_resort_tries=TRIES
    )
    return state.with_model(name, model), (
        Event("rolled_back", name, digest, f"{reason}; there is nothing to go back to", signal),
    )


def abandon_last_resort(state: State, name: str, digest: str, *, reason: str, signal: str) -> Change:
    """Gives up a bundle of which not even rules and fallback can answer; nothing where another change came first."""
    model = state.model(name)
    if model.last_resort != bare(digest):
        return state, NOTHING
    model = replace(_denied(model, bare(digest), reason), last_resort=None, last_resort_tries=0)
    return state.with_model(name, model), (Event("abandoned", name, bare(digest), reason, signal),)


def prune(state: State, keep: int) -> Change:
    """Removes old bundles from the record: all but those that answer or may (``ModelState.kept``) and others.

    Args:
        state: The record.
        keep: How many others stay for each model, newest confirmation first, then newest installation.
    """
    events: list[Event] = []
    for name, model in state.models.items():
        others = sorted(
            (digest for digest in model.releases if digest not in model.kept),
            key=lambda digest: (model.releases[digest].confirmed, model.releases[digest].installed, digest),
            reverse=True,
        )
        gone = set(others[keep:])
        if not gone:
            continue
        kept = {digest: release for digest, release in model.releases.items() if digest not in gone}
        state = state.with_model(name, replace(model, releases=MappingProxyType(kept)))
        events += [Event("removed", name, digest, model.releases[digest].version) for digest in sorted(gone)]
    return state, tuple(events)


def _confirm(state: State, name: str, digest: str, event: Event) -> Change:
    model = state.models[name]
    release = model.releases[digest]
    releases = dict(model.releases)
    previous = model.previous
    if model.active is not None and model.active != digest:
        old = releases[model.active]
        if model.active not in model.denied:
            releases[model.active] = replace(old, state="superseded")
            previous = model.active
    releases[digest] = replace(release, state="confirmed", confirmed=state.generation + 1, reason="")
    model = replace(
        model,
        active=digest,
        candidate=None,
        tries_left=0,
        deaths_left=TRIES,
        last_resort=None,
        last_resort_tries=0,
        withdrawn=None,
        min_epoch=max(model.min_epoch, release.epoch),
        releases=MappingProxyType(releases),
    )
    if (
        previous is None
        or previous == digest
        or previous in model.denied
        # Going back to it would be refused, so it is not offered, nor kept in the place of one that would be taken.
        or model.releases[previous].epoch < model.min_epoch
    ):
        previous = _next_best(model)
    return state.with_model(name, replace(model, previous=previous)), (event,)


def _next_best(model: ModelState) -> str | None:
    """The bundle confirmed last that could still be gone back to."""
    fit = [
        digest
        for digest, release in model.releases.items()
        if release.confirmed
        and digest != model.active
        and digest not in model.denied
        and release.state != "rejected"  # its denial may have been forgotten, and nobody has asked for it since
        and release.epoch >= model.min_epoch
    ]
    return max(fit, key=lambda digest: model.releases[digest].confirmed, default=None)


def _denied(model: ModelState, digest: str, reason: str) -> ModelState:
    reason = reason[:REASON_CHARACTERS]
    denied = {other: denial for other, denial in model.denied.items() if other != digest}
    denied[digest] = Denial(model.deploy_seq, reason)
    while len(denied) > MOST_DENIED:
        # The order of insertion is not kept on the disk, so the oldest order's goes, then the smallest digest.
        del denied[min(denied, key=lambda other: (other == digest, denied[other].seq, other))]
    releases = dict(model.releases) | {digest: replace(model.releases[digest], state="rejected", reason=reason)}
    return replace(model, denied=MappingProxyType(denied), releases=MappingProxyType(releases))


def _marked(model: ModelState, digest: str, mark: str) -> MappingProxyType[str, Release]:
    return MappingProxyType(dict(model.releases) | {digest: replace(model.releases[digest], state=mark, reason="")})


def _with_release(state: State, name: str, digest: str, release: Release) -> State:
    model = state.model(name)
    return state.with_model(name, replace(model, releases=MappingProxyType(dict(model.releases) | {digest: release})))


def _without(denied: object, digest: str) -> MappingProxyType[str, Denial]:
    assert isinstance(denied, MappingProxyType)
    return MappingProxyType({other: denial for other, denial in denied.items() if other != digest})


def _same_or(state: State, name: str, model: ModelState, event: Event) -> Change:
    if model == state.models[name]:
        return state, NOTHING
    return state.with_model(name, model), (event,)


def _installed(state: State, digest: str) -> tuple[str, ModelState, Release]:
    digest = bare(digest)
    name = state.find(digest)
    if name is None:
        raise NotInstalledError(f"{_short(digest)} is not installed; install or push it first")
    return name, state.models[name], state.models[name].releases[digest]


def _known(state: State, name: str) -> ModelState:
    if name not in state.models:
        known = ", ".join(sorted(state.models)) or "none"
        raise NotInstalledError(f"this box has no model {name!r}; it has {known}")
    return state.models[name]


def _check_epoch(model: ModelState, release: Release, what: str) -> None:
    if release.epoch < model.min_epoch:
        raise OrderError(
            f"{what} has security epoch {release.epoch}, and this box accepts {model.min_epoch} or more since it "
            "confirmed a newer one"
        )


def _check_order(state: State, name: str, model: ModelState, digest: str, order: Order) -> None:
    if order.model != name or order.digest != digest:
        raise OrderError(f"the order names {order.model} {_short(order.digest)}, not {name} {_short(digest)}")
    if order.device not in ("*", state.device):
        raise OrderError(f"the order is for device {order.device!r}, and this is {state.device!r}")
    if order.seq < model.deploy_seq or (
        order.seq == model.deploy_seq and digest not in (model.active, model.candidate, model.withdrawn)
    ):
        raise OrderError(f"order {order.seq} is a replay: order {model.deploy_seq} was carried out already")


def _by(how: str, who: str) -> str:
    return f"{how}, by {who}" if who else how


def _short(digest: str) -> str:
    return f"sha256:{digest[:12]}"
