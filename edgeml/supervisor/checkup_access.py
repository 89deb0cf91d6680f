"""Check-up of who may do what: owners, permissions, and secrets that lie about."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeml.supervisor.finding import Finding, Patient

_PEM_BYTES = 16 * 1024


def check_access(patient: Patient) -> Iterator[Finding]:
    """Whether the store belongs to one user, and only that user can change it."""
    root = patient.root.resolve()
    owner = root.stat().st_uid
    files = _inside(root)
    sound = True
    for finding in (*_owners(root, owner, files), *_open_to_all(root, files), *_secrets(root, files)):
        sound = False
        yield finding
    if sound:
        yield Finding("access", "ok", f"all of it belongs to user {owner}, and nobody else can change it")


def _owners(root: Path, owner: int, files: dict[Path, os.stat_result]) -> Iterator[Finding]:
    if os.geteuid() not in (0, owner):
        yield Finding(
            "access",
            "danger",
            f"the store belongs to user {owner}, and you are {os.geteuid()}",
            "you cannot change it",
            f"become that user, or root: sudo edgeml doctor --store {root}",
        )
    strange = [path for path, status in files.items() if status.st_uid != owner]
    if strange:
        yield Finding(
            "access",
            "danger",
            f"{_some(strange)} do not belong to the store's user {owner}",
            "the service, which runs as that user, may be unable to read or replace them",
            f"chown -R {owner} {root}",
        )


def _open_to_all(root: Path, files: dict[Path, os.stat_result]) -> Iterator[Finding]:
    loose = [path for path, status in files.items() if status.st_mode & stat.S_IWOTH]
    if loose:
        yield Finding(
            "access",
            "danger",
            f"everybody may write to {_some(loose)}",
            "any program on the box can decide what is loaded",
            f"chmod -R o-w {root}",
        )
    above = root.parent.stat().st_mode
    if above & stat.S_IWOTH and not above & stat.S_ISVTX:
        yield Finding(
            "access",
            "danger",
            f"everybody may write to {root.parent}",
            "any program on the box can put another store in the place of this one",
            f"chmod o-w {root.parent}",
        )


def _secrets(root: Path, files: dict[Path, os.stat_result]) -> Iterator[Finding]:
    tokens = root / "tokens.json"
    if tokens in files and stat.S_IMODE(files[tokens].st_mode) & 0o077:
        yield Finding(
            "access",
            "danger",
            f"others may read {tokens}",
            "it says who may push and release here",
            f"chmod 600 {tokens}",
        )
    for path in files:
        if path.suffix == ".pem" and _is_private_key(path):
            yield Finding(
                "access",
                "danger",
                f"{path} is a private key",
                "whoever gets at the box can sign bundles that every box trusts",
                "take it off the box, and rotate the keyring if others may have seen it",
            )


def _inside(root: Path) -> dict[Path, os.stat_result]:
    """The folder and all that is in it; sockets and links have no mode that counts, and are left out."""
    found = {root: root.stat()}
    for folder, folders, files in os.walk(root):
        for name in sorted((*folders, *files)):
            # A store at work makes and removes files all the time.
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    found[Path(folder, name)] = status
    return found


def _some(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _is_private_key(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"PRIVATE KEY" in stream.read(_PEM_BYTES)
    except OSError:
        return False
