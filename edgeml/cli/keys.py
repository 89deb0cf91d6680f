"""Keys and signatures: ``edgeml keygen``, ``sign``, ``verify``, ``keyring``.

A private key is written once, for its owner only, and never over anything. Passphrases come from the environment
variable ``EDGEML_KEY_PASSPHRASE`` or from a prompt, never from the command line, which other users of the machine
can read.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml.cli import Refusal

if TYPE_CHECKING:
    from edgeml.bundles import PrivateKey, PublicKey

PASSPHRASE = "EDGEML_KEY_PASSPHRASE"

_KEY_MAX_BYTES = 16 * 1024

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--out", type=_NEW_FILE, default="key.pem", show_default=True, help="File for the private key.")
@click.option("--keyring", type=_NEW_FILE, help="File for the keyring. [default: keyring.json beside the key]")
@click.option("--passphrase", is_flag=True, help=f"Encrypt the private key (asks, or takes ${PASSPHRASE}).")
def keygen(out: Path, keyring: Path | None, passphrase: bool) -> None:
    """Make a key pair and a keyring that trusts it.

    Writes the private key, the public key beside it (.pub), and a keyring for the boxes. No file is ever overwritten.
    """
    from edgeml.bundles import Keyring, generate_key
    from edgeml.bundles.files import create_file

    public, keyring = out.with_suffix(".pub"), keyring or out.with_name("keyring.json")
    for path in (out, public, keyring):
        if os.path.lexists(path):
            raise Refusal(f"{path} exists, and keys are never overwritten; choose another name")
    secret = _new_passphrase() if passphrase else None
    key = generate_key()
    create_file(out, key.to_pem(secret), mode=0o600)
    create_file(public, key.public.to_pem())
    create_file(keyring, Keyring((key.public,)).to_bytes())
    click.echo(f"key id       {key.keyid}")
    click.echo(f"private key  {out}  (keep it off the boxes)")
    click.echo(f"public key   {public}")
    click.echo(f"keyring      {keyring}  (goes to the boxes)")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", "key_path", type=_FILE, required=True, help="Private key to sign with.")
@click.option("--out", type=_NEW_FILE, help="Where to write the signed bundle. [default: FILE itself]")
def sign(file: Path, key_path: Path, out: Path | None) -> None:
    """Add a signature to a bundle. Its digest stays the same."""
    from edgeml.bundles import Bundle
    from edgeml.bundles import sign as add_signature

    key = _private_key(key_path)
    bundle = add_signature(Bundle.read(file), key)
    bundle.save(out or file)
    click.echo(f"signed {bundle.name} {bundle.version} {bundle.digest}")
    for signature in bundle.signatures:
        click.echo(f"  by {signature.keyid}{'  (now)' if signature.keyid == key.keyid else ''}")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--keyring", "keyring_path", type=_FILE, required=True, help="The keys to trust.")
def verify(file: Path, keyring_path: Path) -> None:
    """Check a bundle, every byte of it, against a keyring."""
    from edgeml.bundles import Bundle, Keyring

    keyring = Keyring.read(keyring_path)
    bundle = Bundle.read(file, keyring=keyring)
    click.echo(f"{click.style('good', fg='green', bold=True)} {bundle.name} {bundle.version} {bundle.digest}")
    click.echo(
        f"good signatures: {len(bundle.signers)} (needed: {keyring.threshold} of {len(keyring.keys)} trusted keys)"
    )
    for keyid in sorted(bundle.signers):
        click.echo(f"  {keyid}")


@click.command()
@click.argument("public_keys", nargs=-1, required=True, type=_FILE)
@click.option("--out", type=_NEW_FILE, required=True, help="File for the keyring.")
@click.option("--threshold", type=click.IntRange(1), default=1, show_default=True, help="How many keys must sign.")
@click.option("--expires", help="From when on nothing new is trusted, such as 2027-01-31T00:00:00Z.")
@click.option("--after", type=_FILE, help="The keyring that boxes have now; the new one becomes its successor.")
@click.option("--key", "key_paths", type=_FILE, multiple=True, help="Private key to sign the succession with; repeat.")
def keyring(
    public_keys: tuple[Path, ...],
    out: Path,
    threshold: int,
    expires: str | None,
    after: Path | None,
    key_paths: tuple[Path, ...],
) -> None:
    """Make a keyring of several PUBLIC_KEYS, or the successor of one.

    A successor must be signed by enough keys of the old and of the new keyring: give them with --key.
    """
    from edgeml.bundles import Keyring, rotate
    from edgeml.bundles.files import create_file

    if bool(after) != bool(key_paths):
        raise click.UsageError("--after and --key belong together: a succession is signed.")
    if os.path.lexists(out):
        raise Refusal(f"{out} exists, and a keyring is never overwritten; choose another name")
    keys = [_public_key(path) for path in public_keys]
    if after:
        signers = [_private_key(path) for path in key_paths]
        ring = rotate(Keyring.read(after), keys=keys, signers=signers, threshold=threshold, expires=expires)
    else:
        ring = Keyring(tuple(keys), threshold=threshold, expires=expires)
    create_file(out, ring.to_bytes())
    click.echo(f"keyring {out}: version {ring.version}, {ring.threshold} of {len(ring.keys)} keys must sign")


def _private_key(path: Path) -> PrivateKey:
    from edgeml.bundles import PrivateKey
    from edgeml.bundles.files import read_file
    from edgeml.bundles.signing import is_encrypted
    from edgeml.errors import SignatureError

    data = read_file(path, max_bytes=_KEY_MAX_BYTES)
    try:
        key = PrivateKey.from_pem(data, _passphrase(path) if is_encrypted(data) else None)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        click.echo(f"warning: others may read {path}; do: chmod 600 {path}", err=True)
    return key


def _public_key(path: Path) -> PublicKey:
    from edgeml.bundles import PublicKey
    from edgeml.bundles.files import read_file
    from edgeml.errors import SignatureError

    try:
        return PublicKey.from_pem(read_file(path, max_bytes=_KEY_MAX_BYTES))
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error


def _passphrase(path: Path) -> str:
    given = os.environ.get(PASSPHRASE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"{path} is encrypted; put its passphrase into ${PASSPHRASE}.")
    return str(click.prompt(f"Passphrase of {path}", hide_input=True, err=True))


def _new_passphrase() -> str:
    given = os.environ.get(PASSPHRASE)
    if given is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"put the new passphrase into ${PASSPHRASE}: there is no terminal to ask at.")
        given = str(click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True))
    if not given:
        raise click.UsageError("the passphrase is empty.")
    return given
