"""The store of a box: ``edgeml init``, ``install``, ``gc``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli.box import for_a_store, for_machines, open_store, tell, warn_of_journal

if TYPE_CHECKING:
    from edgeml.bundles import Bundle
    from edgeml.bundles.state import State

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
    document = {"store": str(folder.absolute())} | settings_document(store.state())
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


def _read(store: Any, file: Path) -> Bundle:
    from edgeml.bundles import Bundle
    from edgeml.errors import SignatureError

    state: State = store.state()
    keyring = None if state.allow_unsigned else store.trust.keyring(state)
    if keyring is None and not state.allow_unsigned:
        raise SignatureError("this box has no keyring, so it trusts nothing; give it one with 'edgeml trust'")
    return Bundle.read(file, keyring=keyring, limits=store.limits.bundle, now=store.now(state))


def settings_document(state: State) -> dict[str, Any]:
    """What the record says of the operator's decisions, JSON-ready."""
    return {
        "device": state.device,
        "require_order": state.require_order,
        "allow_unsigned": state.allow_unsigned,
        "keyring": None if state.keyring is None else f"sha256:{state.keyring}",
    }
