"""Whom a box trusts, and signed orders: ``edgeml trust``, ``order new``, ``order show``.

Orders are made on a workstation, where the keys are, and carried out on boxes with ``edgeml activate --order``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import Refusal
from edgeml.cli.box import for_a_store, for_machines, open_store, tell, warn_of_journal

if TYPE_CHECKING:
    from edgeml.bundles.order import Order

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("keyring_path", metavar="KEYRING", type=_FILE)
@for_a_store
def trust(keyring_path: Path, root: Path, as_json: bool) -> None:
    """Give the box the successor of its keyring, made with 'edgeml keyring --after'.

    It must be signed by enough old and enough new keys, and what answers must be signed by enough new keys: sign the
    bundle's file with them and install it again before.
    """
    from edgeml.bundles import Keyring

    keyring = Keyring.read(keyring_path)
    store = open_store(root)
    state = store.change_keyring(keyring)
    document = {
        "keyring": f"sha256:{state.keyring}",
        "version": keyring.version,
        "threshold": keyring.threshold,
        "keys": [key.keyid for key in keyring.keys],
        "expires": keyring.expires,
    }
    until = f", until {keyring.expires}" if keyring.expires else ""
    line = f"keyring version {keyring.version} is trusted: {keyring.threshold} of {len(keyring.keys)} keys sign{until}"
    tell(document, as_json, line)
    warn_of_journal(store)


@click.group()
def order() -> None:
    """Make or show a signed order: this device shall activate this bundle."""


@order.command()
@click.option("--bundle", "which", required=True, metavar="DIGEST", help="Digest of the bundle, or its file.")
@click.option("--model", help="Name of the model. [default: as the bundle's file says]")
@click.option(
    "--seq", type=click.IntRange(1), required=True, help="The order's number, above that of every one before."
)
@click.option("--device", default="*", show_default=True, help="Name of the device; '*' for all.")
@click.option("--expires", help="From when on it is not carried out, such as 2027-01-31T00:00:00Z.")
@click.option("--key", "keys", type=_FILE, multiple=True, required=True, help="Private key to sign with; repeat.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@for_machines
def new(
    which: str,
    model: str | None,
    seq: int,
    device: str,
    expires: str | None,
    keys: tuple[Path, ...],
    output: Path,
    as_json: bool,
) -> None:
    """Make a signed order. No file is ever overwritten."""
    from edgeml.bundles import Bundle
    from edgeml.bundles.files import create_file
    from edgeml.bundles.order import Order
    from edgeml.bundles.state import bare
    from edgeml.cli.keys import _private_key

    if os.path.lexists(output):
        raise Refusal(f"{output} exists, and orders are never overwritten; choose another name")
    if Path(which).is_file():
        bundle = Bundle.read(which)
        which, model = bundle.digest, model or bundle.name
    if model is None:
        raise click.UsageError("say with --model which model the digest belongs to.")
    made = Order(model, bare(which), seq, device, expires).sign(*(_private_key(path) for path in keys))
    create_file(output, made.to_bytes())
    tell(_order_document(made), as_json, *_lines(made), f"written to {output}")


@order.command(name="show")
@click.argument("file", type=_FILE)
@click.option("--keyring", "keyring_path", type=_FILE, help="Check the signatures, and the expiry, against these keys.")
@for_machines
def show_order(file: Path, keyring_path: Path | None, as_json: bool) -> None:
    """Show what an order says, and who signed it."""
    import time

    from edgeml.bundles import Keyring
    from edgeml.bundles.files import read_file
    from edgeml.bundles.order import MAX_BYTES, Order

    found = Order.from_bytes(read_file(file, max_bytes=MAX_BYTES))
    if keyring_path is not None:
        found.check(Keyring.read(keyring_path), now=time.time())
    checked = keyring_path is not None
    word = "good" if checked else "not checked; give --keyring"
    tell(_order_document(found) | {"checked": checked}, as_json, *_lines(found), f"signatures  {word}")


def _order_document(order: Order) -> dict[str, Any]:
    return {
        "model": order.model,
        "digest": f"sha256:{order.digest}",
        "seq": order.seq,
        "device": order.device,
        "expires": order.expires,
        "signed_by": [each.keyid for each in order.signatures],
    }


def _lines(order: Order) -> list[str]:
    return [
        f"order       {order.seq}",
        f"model       {order.model}",
        f"bundle      sha256:{order.digest}",
        f"device      {'all' if order.device == '*' else order.device}",
        f"expires     {order.expires or 'never'}",
        *(f"signed by   {each.keyid}" for each in order.signatures),
    ]
