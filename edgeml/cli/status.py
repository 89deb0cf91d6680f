"""What is on a box: ``edgeml status``, ``releases``, ``history``. They change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli.box import become_owner, for_a_store, release_document, served, short, tell, warn
from edgeml.cli.tables import moment, row, show, table

if TYPE_CHECKING:
    from edgeml.bundles.state import State
    from edgeml.bundles.store import Store


@click.command()
@for_a_store
def status(root: Path, as_json: bool) -> None:
    """Show what answers, what is on trial, what there is to go back to, what the worker serves, and how it does.

    With a service, each model that answers has a second line: its traffic and the tiers that answered, the latency that
    99 of 100 answers do not exceed beside the objectives, the accuracy that is expected, the alarms of drift that have
    not ended, and the findings about the data. 'edgeml drift' and 'edgeml quality' say more. It warns of rules that do
    not keep what they promise, and of those that are disabled.
    """
    from edgeml.bundles.store import Store
    from edgeml.cli.traffic import rules_lines, summaries, traffic_table
    from edgeml.supervisor.channel import live, watched
    from edgeml.supervisor.checkup_store import check_record
    from edgeml.supervisor.held import held
    from edgeml.supervisor.left_behind import ALONE, runs_alone

    become_owner(root)
    store = Store(root)
    state = store.state()
    told = live(root)
    worries = [f"{each.found}: {each.meaning}" for each in check_record(root) if each.level != "ok"]
    if told is not None and told.get("degraded"):
        worries.append(f"the service's store is degraded: {told['degraded']}")
    models = {name: _model_document(state, name, told) for name in sorted(state.models)}
    summary = summaries(watched(root) if told is not None else None)
    document = {
        "store": str(root.absolute()),
        "generation": state.generation,
        "device": state.device,
        "allow_unsigned": state.allow_unsigned,
        "require_order": state.require_order,
        "service": None if told is None else {"worker": told.get("worker"), "trials": told.get("trials")},
        "degraded": worries,
        "models": models,
        "watched": summary,
    }
    if as_json:
        tell(document, True)
        return
    names = ("model", "active", "on trial", "attempts left", "previous", "worker serves")
    shown = table("", *names, right=("attempts left",))
    for name, model in models.items():
        tries = model["tries_left"] if model["on_trial"] else ""
        bundles = (_words(model[key]) for key in ("active", "on_trial"))
        row(shown, name, *bundles, tries, _words(model["previous"]), _serving(model["worker"]))
    show(shown, traffic_table(summary))
    if not models:
        click.echo("no bundle is installed; see 'edgeml install --help'")
    if told is None:
        click.echo(f"the worker is alone: {ALONE}" if runs_alone(root) else "no service runs on this store")
    for name, reason in held(told or {}).items():
        warn(f"the trial of {name} is held: {reason}; decide yourself: edgeml confirm {name}, edgeml rollback {name}")
    if state.allow_unsigned:
        warn("unsigned bundles are taken")
    for line in rules_lines(summary):
        warn(line)
    for worry in worries:
        warn(f"{worry}; see 'edgeml doctor'")


@click.command()
@click.argument("model", required=False)
@for_a_store
def releases(model: str | None, root: Path, as_json: bool) -> None:
    """List the installed bundles, of one MODEL or of all."""
    from edgeml.bundles.store import Store
    from edgeml.errors import NotInstalledError

    become_owner(root)
    store = Store(root)
    state = store.state()
    if model is not None and model not in state.models:
        raise NotInstalledError(f"this box has no model {model!r}; it has {', '.join(sorted(state.models)) or 'none'}")
    names = sorted(state.models) if model is None else [model]
    listed = [each for name in names for each in _listed(store, state, name)]
    if as_json:
        tell({"releases": listed}, True)
        return
    headings = ("version", "digest", "state", "epoch", "signed by", "installed", "reason")
    for name in names:
        shown = table(name, *headings, right=("epoch",))
        for each in listed:
            if each["model"] == name:
                state_word = f"{each['state']} ({each['role']})" if each["role"] else each["state"]
                signers = ", ".join(keyid[:12] for keyid in each["signed_by"]) or "nobody"
                style = "bold" if each["role"] in ("active", "on trial") else None
                row(
                    shown,
                    each["version"],
                    short(each["digest"]),
                    state_word,
                    each["epoch"],
                    signers,
                    moment(each["installed"]),
                    each["reason"],
                    style=style,
                )
        show(shown)
    if not listed:
        click.echo("no bundle is installed; see 'edgeml install --help'")


@click.command()
@click.argument("model", required=False)
@click.option("-n", "number", type=click.IntRange(1), default=20, show_default=True, help="Newest events to show.")
@for_a_store
def history(model: str | None, number: int, root: Path, as_json: bool) -> None:
    """Show what happened on this box and why, newest first. Times are UTC, by the box's clock."""
    from edgeml.bundles.store import Store
    from edgeml.errors import StateError

    become_owner(root)
    store = Store(root)
    entries = store.journal.entries(model=model, limit=number)
    if store.journal.failure:
        raise StateError(f"the journal cannot be read: {store.journal.failure}; see 'edgeml doctor'")
    if as_json:
        events = [
            {
                "id": each.id,
                "at": each.at,
                "who": each.who,
                "event": each.event.kind,
                "model": each.event.model,
                "digest": f"sha256:{each.event.digest}" if each.event.digest else None,
                "reason": each.event.reason,
                "signal": each.event.signal,
                "generation": each.generation,
            }
            for each in entries
        ]
        tell({"events": events}, True)
        return
    versions = _versions(store)
    shown = table("", "when", "event", "model", "version", "digest", "by", "signal", "reason")
    for each in entries:
        event = each.event
        row(
            shown,
            moment(each.at),
            event.kind.replace("_", " "),
            event.model,
            versions.get(event.digest, ""),
            short(event.digest or None),
            each.who,
            event.signal,
            event.reason,
        )
    show(shown)
    if not entries:
        click.echo("nothing has happened yet")


def _model_document(state: State, name: str, told: Any) -> dict[str, Any]:
    model = state.models[name]
    return {
        "active": release_document(state, name, model.active),
        "on_trial": release_document(state, name, model.candidate),
        "tries_left": model.tries_left,
        "previous": release_document(state, name, model.previous),
        "last_resort": release_document(state, name, model.last_resort),
        "min_epoch": model.min_epoch,
        "deploy_seq": model.deploy_seq,
        "denied": [f"sha256:{digest}" for digest in sorted(model.denied)],
        "worker": served(told, name),
    }


def _listed(store: Store, state: State, name: str) -> list[dict[str, Any]]:
    model = state.models[name]
    roles = {model.previous: "previous", model.active: "active", model.candidate: "on trial"}
    newest = sorted(model.releases.items(), key=lambda item: (item[1].installed, item[0]), reverse=True)
    return [
        {
            "model": name,
            "version": release.version,
            "digest": f"sha256:{digest}",
            "state": release.state,
            "role": roles.get(digest, ""),
            "denied": digest in model.denied,
            "epoch": release.epoch,
            "signed_by": _signers(store, digest, release.envelopes),
            "installed": release.installed,
            "reason": release.reason,
        }
        for digest, release in newest
    ]


def _signers(store: Store, digest: str, envelopes: tuple[str, ...]) -> list[str]:
    """Ids of the keys that signed; whether they are trusted was decided when the bundle was installed."""
    from edgeml.errors import EdgemlError

    try:
        manifest = store.blobs.read(digest, store.limits.bundle.manifest_bytes)
        return [signature.keyid for signature in store.trust.signatures(manifest, envelopes)]
    except (EdgemlError, OSError):
        return []  # a damaged bundle is doctor's business; the list is shown all the same


def _versions(store: Store) -> dict[str, str]:
    state = store.state()
    return {digest: release.version for model in state.models.values() for digest, release in model.releases.items()}


def _words(release: dict[str, Any] | None) -> str:
    return "" if release is None else f"{release['version']} {short(release['digest'])}"


def _serving(worker: dict[str, Any] | None) -> str:
    if worker is None:
        return ""
    if worker.get("degraded"):
        return f"{short(worker['digest'])} without its model: {worker.get('reason', '')}"
    return short(worker["digest"]) if worker["ready"] else f"nothing: {worker.get('reason', '')}"
