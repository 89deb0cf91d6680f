"""The store of a box: ``edgeml init``, ``install``, ``gc``, ``settings``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli.box import for_a_store, for_machines, open_store, short, tell, warn_of_journal
from edgeml.cli.peers import size_in_words
from edgeml.cli.sizes import Size

if TYPE_CHECKING:
    from edgeml.bundles import Bundle
    from edgeml.bundles.state import State

_REGISTRY = "Let the management plane name this registry, and no other that is not listed."
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--keyring", "keyring_path", type=_FILE, help="The keys that this box trusts.")
@click.option("--allow-unsigned", is_flag=True, help="Run bundles that nobody has signed. For trials on a desk.")
@click.option("--device", default="", metavar="NAME", help="This box's name in orders.")
@click.option("--require-order", is_flag=True, help="Ask for a signed order when the network activates a bundle.")
@for_machines
def init(
    folder: Path, keyring_path: Path | None, allow_unsigned: bool, device: str, require_order: bool, as_json: bool
) -> None:
    """Make the store of a box in DIR; the folder above it must be there.

    The store belongs to the user who makes it, or whom DIR belongs to: let that be the user whom the service runs as.
    """
    from edgeml.bundles import Keyring
    from edgeml.bundles.store import Store
    from edgeml.cli.box import become_owner

    if (keyring_path is None) == (not allow_unsigned):
        raise click.UsageError("give either --keyring FILE, or --allow-unsigned.")
    keyring = None if keyring_path is None else Keyring.read(keyring_path)
    become_owner(folder)
    store = Store.create(
        folder, keyring=keyring, allow_unsigned=allow_unsigned, device=device, require_order=require_order
    )
    document = {"store": str(folder.absolute())} | _settings_document(store.state())
    trusts = (
        "unsigned bundles are taken" if keyring is None else f"{keyring.threshold} of {len(keyring.keys)} keys sign"
    )
    tell(document, as_json, f"made {folder}: {trusts}; next: edgeml install FILE --store {folder}")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_FILE)
@for_a_store
def install(files: tuple[Path, ...], root: Path, as_json: bool) -> None:
    """Install bundle files: verify them against the box's keys, and copy them into the store.

    Nothing is activated. A file on a USB stick is copied as well and not needed afterwards. Installing a file again
    mends damaged blobs and adds new signatures.
    """
    from edgeml.bundles.journal import Journal
    from edgeml.bundles.store import Store

    # Read before this process becomes the store's owner, who may not be allowed to see the files.
    reading = Store(root, journal=Journal(None))
    bundles = [_read(reading, file) for file in files]
    store = open_store(root)
    installed = []
    for bundle in bundles:
        store.install(bundle)
        installed.append({"name": bundle.name, "version": bundle.version, "digest": bundle.digest})
        if not as_json:
            click.echo(f"{bundle.name} {bundle.version} {bundle.digest}")
    if as_json:
        tell({"installed": installed}, True)
    warn_of_journal(store)


@click.command()
@click.option("--keep", type=click.IntRange(0), help="Earlier bundles that stay for each model. [default: 2]")
@for_a_store
def gc(keep: int | None, root: Path, as_json: bool) -> None:
    """Remove old bundles, and every blob that no bundle needs.

    What answers, what is on trial, and what can be gone back to with 'edgeml rollback' always stay.
    """
    store = open_store(root)
    files, size = store.collect(keep=keep)
    tell({"files": files, "bytes": size}, as_json, f"removed {files} files, {size:,} bytes")
    warn_of_journal(store)


@click.command()
@click.option("--device", metavar="NAME", help="This box's name in orders.")
@click.option("--require-order/--no-require-order", default=None, help="Ask for an order when the network activates.")
@click.option("--allow-unsigned/--no-allow-unsigned", default=None, help="Run bundles that nobody has signed.")
@click.option("--admission-memory", type=Size(), metavar="SIZE", help="Memory a bundle may take while it is tried.")
@click.option("--admission-cpu-seconds", type=int, metavar="N", help="Processor time while it is tried.")
@click.option("--admission-wall-seconds", type=float, metavar="N", help="Time on the wall while it is tried.")
@click.option("--admission-load-seconds", type=float, metavar="N", help="Time until its model can be asked.")
@click.option("--pull-budget-per-day", type=Size(), metavar="SIZE", help="Pull no more a day, whoever asks.")
@click.option("--no-pull-budget", is_flag=True, help="Pull as much as is asked for.")
@click.option("--pull-registry", multiple=True, metavar="HOST:PORT", help=_REGISTRY)
@click.option("--no-pull-registry", multiple=True, metavar="HOST:PORT", help="Take a registry off the list.")
@click.option("--defaults", is_flag=True, help="What is not named of admission and pulls: as on a new box.")
@for_a_store
def settings(
    device: str | None,
    require_order: bool | None,
    allow_unsigned: bool | None,
    pull_budget_per_day: int | None,
    no_pull_budget: bool,
    pull_registry: tuple[str, ...],
    no_pull_registry: tuple[str, ...],
    defaults: bool,
    root: Path,
    as_json: bool,
    **admission: Any,
) -> None:
    """Show what the operator has decided, or change it.

    What is said of admission and pulls counts for every command and for a running service, from the next bundle on.
    """
    from edgeml.bundles.box_settings import BoxSettings, change_settings

    if no_pull_budget and pull_budget_per_day is not None:
        raise click.UsageError("give --pull-budget-per-day SIZE or --no-pull-budget, not both")
    asked = {
        "admission_memory_bytes": admission["admission_memory"],
        "admission_cpu_seconds": admission["admission_cpu_seconds"],
        "admission_wall_seconds": admission["admission_wall_seconds"],
        "admission_load_seconds": admission["admission_load_seconds"],
        "pull_bytes_per_day": pull_budget_per_day,
    }
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if no_pull_budget:
        changes["pull_bytes_per_day"] = None
    store = open_store(root)
    try:
        granted = (
            change_settings(store, changes, listed=pull_registry, unlisted=no_pull_registry, anew=defaults, who="cli")
            if changes or pull_registry or no_pull_registry or defaults
            else BoxSettings.read(root)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if (device, require_order, allow_unsigned) == (None, None, None):
        state = store.state()
    else:
        state = store.settings(device=device, require_order=require_order, allow_unsigned=allow_unsigned)
    budget = granted.pull_bytes_per_day
    lines = (
        f"device          {state.device or '(none)'}",
        f"orders          {'required' if state.require_order else 'not required'} when the network activates",
        f"signatures      {'not needed: unsigned bundles are taken' if state.allow_unsigned else 'needed'}",
        f"keyring         {short(state.keyring) or '(none)'}",
        f"admission       {granted.admission_memory_bytes / 1024**2:g} MiB of memory, "
        f"{granted.admission_cpu_seconds} s of processor time, {granted.admission_wall_seconds:g} s on the wall, "
        f"{granted.admission_load_seconds:g} s to load",
        f"pull budget     {'none' if budget is None else size_in_words(budget) + ' a day'}",
        f"pull registries {', '.join(granted.pull_registries) or 'any but this machine and its link'}",
    )
    tell(_settings_document(state) | granted.to_dict(), as_json, *lines)
    warn_of_journal(store)


def _read(store: Any, file: Path) -> Bundle:
    from edgeml.bundles import Bundle
    from edgeml.errors import SignatureError

    state: State = store.state()
    keyring = None if state.allow_unsigned else store.trust.keyring(state)
    if keyring is None and not state.allow_unsigned:
        raise SignatureError("this box has no keyring, so it trusts nothing; give it one with 'edgeml trust'")
    return Bundle.read(file, keyring=keyring, limits=store.limits.bundle, now=store.now(state))


def _settings_document(state: State) -> dict[str, Any]:
    return {
        "device": state.device,
        "require_order": state.require_order,
        "allow_unsigned": state.allow_unsigned,
        "keyring": None if state.keyring is None else f"sha256:{state.keyring}",
    }
