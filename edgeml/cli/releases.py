"""Which bundle answers: ``edgeml activate``, ``confirm``, ``rollback``, ``deny``.

Each is one replacement of the store's record, done before anybody else is told. A running service is told afterwards,
and the command waits until its worker serves what the record says; where it does not, that is said, and the change
stands all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import printable
from edgeml.cli.box import (
    for_a_store,
    open_store,
    pick_model,
    release_document,
    served,
    short,
    tell,
    warn,
    warn_of_journal,
)

if TYPE_CHECKING:
    from edgeml.bundles.state import State
    from edgeml.bundles.store import Store
    from edgeml.supervisor.releases import Measured

_WAIT = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.1, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds to wait until a running service serves it.",
)
_STEPS = {"admission": "trying the bundle in a process of its own", "swap": "waiting for the worker"}


@click.command()
@click.argument("which")
@click.option(
    "--order", "order_path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Signed order."
)
@click.option("--now", is_flag=True, help="Make it the active one at once, without a trial.")
@click.option("--no-admission", is_flag=True, help="Do not try it in a process of its own first.")
@_WAIT
@for_a_store
def activate(
    which: str, order_path: Path | None, now: bool, no_admission: bool, wait_s: float, root: Path, as_json: bool
) -> None:
    """Let an installed bundle answer, on trial first.

    WHICH is a digest or its first 6 digits or more, name:version, or a version. The bundle is first tried in a process
    of its own: loaded, its golden rows asked, its memory measured. One that fails is rejected and never served.
    """
    from edgeml.bundles.files import read_file
    from edgeml.bundles.order import MAX_BYTES
    from edgeml.supervisor.channel import live
    from edgeml.supervisor.releases import Releases

    store = open_store(root)
    order = None if order_path is None else read_file(order_path, max_bytes=MAX_BYTES)
    told: list[dict[str, Any] | None] = []

    def follow(name: str) -> dict[str, Any]:
        told.append(_followed(store, name, wait_s, as_json))
        return told[-1] or {}

    releases = Releases(
        store, admit=_not_admitted if no_admission else _admitted(store), changed=follow, live=lambda: live(root)
    )
    operation = releases.activate(which, order=order, now=now, who="cli", over_network=False)
    with _working("checking") as shown:
        while not operation.wait(0.1):
            shown.update(_STEPS.get(operation.step, operation.step))
    # Once the record has changed, a worker that does not follow is a warning: the change stands.
    if operation.error is not None and not told:
        raise operation.error
    _report(store, operation.model, told[0], as_json)


@click.command()
@click.argument("model", required=False)
@_WAIT
@for_a_store
def confirm(model: str | None, wait_s: float, root: Path, as_json: bool) -> None:
    """Make the bundle on trial the active one. MODEL may be left out where only one is meant."""
    store = open_store(root)
    name = pick_model(store.state(), model, on_trial=True)
    store.confirm(name, reason="confirmed on the command line")
    with _working(_STEPS["swap"]):
        told = _followed(store, name, wait_s, as_json)
    _report(store, name, told, as_json)


@click.command()
@click.argument("model", required=False)
@click.option("--to", "which", metavar="WHICH", help="An earlier bundle that was confirmed here. [default: previous]")
@click.option("--reason", default="gone back from on the command line", help="For the journal.")
@_WAIT
@for_a_store
def rollback(model: str | None, which: str | None, reason: str, wait_s: float, root: Path, as_json: bool) -> None:
    """Go back: from a bundle on trial to the active one, otherwise to the one before.

    The bundle that is left is denied until a newer order names it, or 'edgeml deny --lift'. Works with a full disk,
    without a network, and with the service down.
    """
    from edgeml.bundles.lookup import find_release

    store = open_store(root)
    state = store.state()
    name = pick_model(state, model)
    target = None if which is None else find_release(state, which, name)
    now = state.model(name)
    # What answered when the command was given: a trial that ends by itself meanwhile must not cost another bundle.
    store.roll_back(name, target, leave=now.candidate or now.active, reason=reason)
    with _working(_STEPS["swap"]):
        told = _followed(store, name, wait_s, as_json)
    _report(store, name, told, as_json)


@click.command()
@click.argument("which")
@click.option("--reason", default="denied on the command line", help="For the journal.")
@click.option("--lift", is_flag=True, help="Lift the denial instead.")
@for_a_store
def deny(which: str, reason: str, lift: bool, root: Path, as_json: bool) -> None:
    """Forbid an installed bundle that does not answer now, or lift its denial."""
    from edgeml.bundles.lookup import find_release
    from edgeml.supervisor.channel import nudge

    store = open_store(root)
    digest = find_release(store.state(), which)
    state = store.allow(digest) if lift else store.deny(digest, reason=reason)
    name = str(state.find(digest))
    release = state.models[name].releases[digest]
    word = "may be activated again" if lift else f"is denied: {release.reason}"
    document = {"model": name, "denied": digest in state.models[name].denied}
    tell(
        document | (release_document(state, name, digest) or {}),
        as_json,
        f"{name} {release.version} {short(digest)} {word}",
    )
    told = nudge(root, timeout_s=1.0, events=store.journal.waiting())  # the one to keep warm may have changed
    warn_of_journal(store, told)


class _Unmeasured:
    """What is known of a bundle that was not tried."""

    peak_bytes = 0


def _not_admitted(digest: str) -> Measured:
    return _Unmeasured()


def _admitted(store: Store) -> Callable[[str], Measured]:
    from edgeml.bundles.box_settings import BoxSettings
    from edgeml.supervisor import quarantine

    where = store.root.absolute()

    def admit(digest: str) -> Measured:
        budget = quarantine.Budget.of(BoxSettings.read(where))
        return quarantine.admit({"store": str(where), "digest": f"sha256:{digest}"}, keyring_path=None, budget=budget)

    return admit


def _followed(store: Store, name: str, wait_s: float, as_json: bool) -> dict[str, Any] | None:
    """Says which bundle answers now; tells a running service, and waits until its worker follows."""
    from edgeml.supervisor.channel import nudge
    from edgeml.supervisor.left_behind import ALONE, runs_alone

    # The change is on the disk: that is said before anybody is waited for.
    if not as_json:
        click.echo(printable(_answering(store.state(), name)))
    told = nudge(store.root, timeout_s=wait_s, events=store.journal.waiting())
    if told is None and runs_alone(store.root):
        return {"models": {}, "reason": f"{ALONE}; start the service again"}
    return told


def _report(store: Store, name: str, told: dict[str, Any] | None, as_json: bool) -> None:
    """Says whether a running service serves what the record says."""
    state = store.state()
    model = state.models[name]
    worker = served(told, name)
    answers = model.candidate or model.active
    document = {
        "model": name,
        "active": release_document(state, name, model.active),
        "on_trial": release_document(state, name, model.candidate),
        "previous": release_document(state, name, model.previous),
        "worker": worker,
    }
    serves = worker is not None and worker["ready"] and worker["digest"] == (answers and f"sha256:{answers}")
    if worker is None:
        tell(document, as_json, "no service runs on this store; the next one that starts will load it")
    elif serves:
        tell(document, as_json, "the worker serves it")
    else:
        tell(document, as_json)
        warn(f"the worker does not serve it yet: {worker.get('reason') or 'it serves ' + short(worker['digest'])}")
    warn_of_journal(store, told)


def _answering(state: State, name: str) -> str:
    model = state.models[name]
    if model.candidate is not None:
        release = model.releases[model.candidate]
        back = "" if model.active is None else f"; {model.releases[model.active].version} is kept to go back to"
        return f"{name} {release.version} {short(model.candidate)} is on trial ({model.tries_left} attempts){back}"
    if model.active is not None:
        return f"{name} {model.releases[model.active].version} {short(model.active)} is active"
    return f"{name}: nothing answers; activate a bundle"


def _working(what: str) -> Any:
    """Something that moves on a terminal while one waits."""
    from rich.console import Console

    return Console(stderr=True, quiet=not sys.stderr.isatty()).status(what)
