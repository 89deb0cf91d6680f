"""``edgeml pull``: a bundle from a registry, or from a file on a stick, into the store of this box."""

from __future__ import annotations

import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import Refusal
from edgeml.cli.box import for_a_store, open_store, tell, warn_of_journal
from edgeml.cli.peers import TokenBook, for_a_peer, patience_of, size_in_words, transfer_bars
from edgeml.cli.sizes import Size

if TYPE_CHECKING:
    from edgeml.bundles.blob_sources import FileSource
    from edgeml.bundles.registry import Registry
    from edgeml.bundles.store import Store
    from edgeml.bundles.store_pull import Arrival

_BUDGET = "Fetch no more a day, such as 50MB. [default: as 'edgeml settings' says]"


@click.command()
@click.argument("source", metavar="REF|FILE")
@click.option("--budget-per-day", "budget", type=Size(), metavar="SIZE", help=_BUDGET)
@click.option("--username", default="", help="Name for the registry.")
@click.option("--password-stdin", is_flag=True, help="Read its password from standard input.")
@click.option("--activate", "activating", is_flag=True, help="Put it on trial afterwards, as 'edgeml activate' does.")
@click.option("--now", is_flag=True, help="With --activate: make it the active one at once, without a trial.")
@for_a_peer
@for_a_store
@click.pass_context
def pull(
    ctx: click.Context,
    source: str,
    budget: int | None,
    username: str,
    password_stdin: bool,
    activating: bool,
    now: bool,
    token: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    attempts: int,
    root: Path,
    as_json: bool,
) -> None:
    """Fetch a bundle from an OCI registry (HOST/NAME:TAG or HOST/NAME@sha256:...), or from a FILE, and install it.

    What this box does not trust or cannot run is refused before it is fetched. What was cut off goes on where it
    stopped, after a power cut too. What is installed already is not fetched again.
    """
    from edgeml.bundles.store_pull import bundle_reference

    if now and not activating:
        raise click.UsageError("--now goes with --activate")
    if password_stdin and not username:
        raise click.UsageError("--password-stdin goes with --username")
    path = _file(source)
    if path is not None and (budget is not None or username or token or token_file):
        raise click.UsageError(f"{source} is a file: it needs no budget and no credentials")
    with ExitStack() as closing:
        # Opened before this process becomes the store's owner, who may not be allowed to see these files.
        if path is not None:
            file = closing.enter_context(_open(path, root))
            store = open_store(root)
            arrival = _copy(store, file, path.name)
        else:
            where = bundle_reference(source)
            registry = closing.enter_context(
                _registry(where, token, token_file, username, password_stdin, ca_file, certificate, key, attempts)
            )
            store = open_store(root)
            arrival = _fetch(store, registry, where, budget)
    document = {
        "name": arrival.name,
        "version": arrival.version,
        "digest": arrival.digest,
        "bytes_received": arrival.bytes_received,
        "bytes_skipped": arrival.bytes_skipped,
        "resumes": arrival.resumes,
    }
    came = f"{size_in_words(arrival.bytes_received)} came, {size_in_words(arrival.bytes_skipped)} were here"
    line = f"{arrival.name} {arrival.version} {arrival.digest} is installed ({came})"
    warn_of_journal(store)
    if not as_json:
        tell(None, False, line)
    if activating:
        _activate(ctx, root, arrival.digest, now, as_json)
        document["state"] = _state(store, arrival)
    if as_json:
        tell(document, True)


def _file(source: str) -> Path | None:
    """The path that was meant; None for an address."""
    path = Path(source)
    if path.is_file():
        return path
    if source.endswith(".edgeml") or source.startswith(("/", "./", "../")):
        raise Refusal(f"{source}: there is no such file")
    return None


def _open(path: Path, root: Path) -> FileSource:
    from edgeml.bundles.blob_sources import FileSource
    from edgeml.bundles.journal import Journal
    from edgeml.bundles.store import Store

    reading = Store(root, journal=Journal(None))
    state = reading.state()
    keyring = None if state.allow_unsigned else reading.trust.keyring(state)
    return FileSource(path, keyring=keyring, limits=reading.limits.bundle, now=reading.now(state))


def _registry(
    where: Any,
    token: str | None,
    token_file: Path | None,
    username: str,
    password_stdin: bool,
    ca_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    attempts: int,
) -> Registry:
    from edgeml.bundles.registry import Registry

    if username and (token or token_file):
        raise click.UsageError("give a token, or --username, not both")
    return Registry(
        where,
        token="" if username else TokenBook(token, token_file, variable="").get(where),
        username=username,
        password=sys.stdin.readline().rstrip("\r\n") if password_stdin else "",
        ca_file=ca_file,
        certificate=certificate,
        key=key,
        patience=patience_of(attempts),
    )


def _copy(store: Store, file: FileSource, name: str) -> Arrival:
    from edgeml.bundles.store_pull import copy_into_store

    with transfer_bars() as bars:
        task = bars.add_task(name, total=None)
        return copy_into_store(
            store, file, who="cli", progress=lambda done, total: bars.update(task, completed=done, total=total)
        )


def _fetch(store: Store, registry: Registry, where: Any, budget: int | None) -> Arrival:
    from edgeml.bundles.store_pull import pull_into_store

    with transfer_bars() as bars:
        task = bars.add_task(f"{where.name}:{where.wanted[:19]}", total=None)
        return pull_into_store(
            store,
            registry,
            where.name,
            where.wanted,
            who="cli",
            budget_per_day=budget,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )


def _activate(ctx: click.Context, root: Path, digest: str, now: bool, as_json: bool) -> None:
    from edgeml.cli.releases import activate

    options = {"which": digest, "order_path": None, "now": now, "no_admission": False, "wait_s": 60.0, "root": root}
    if not as_json:
        ctx.invoke(activate, **options, as_json=False)
        return
    with redirect_stdout(sys.stderr):  # one document on standard output
        ctx.invoke(activate, **options, as_json=False)


def _state(store: Store, arrival: Arrival) -> str:
    from edgeml.bundles.state import bare

    return store.state().models[arrival.name].releases[bare(arrival.digest)].state
