"""What the commands for the store of a box share: where it is, as whom it is changed, how a result is told.

1. A command works on the store's folder itself, with or without a service; the store's locks put changes in turn.
2. Root changes a store as the user whom it belongs to. A record or a blob that belonged to root could not be read, or
   not be replaced, by the service.
3. What was done is told in words, or with ``--json`` as one document.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeml.cli import Refusal, printable

if TYPE_CHECKING:
    from edgeml.bundles.state import State
    from edgeml.bundles.store import Store

HOME = Path("/var/lib/edgeml")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def for_a_store(command: _Command) -> _Command:
    """Adds ``--store`` and ``--json`` to a command."""
    where = click.option(
        "--store",
        "root",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="EDGEML_STORE",
        default=HOME,
        show_default=True,
        show_envvar=True,
        help="Folder of the store.",
    )
    return where(for_machines(command))


def for_machines(command: _Command) -> _Command:
    """Adds ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document for machines.")(command)


def open_store(root: Path) -> Store:
    """Opens a store to change it, as the user whom it belongs to. From here on this process is that user.

    Raises:
        StateError: There is no store in the folder.
    """
    from edgeml.bundles.store import Store

    become_owner(root)
    return Store(root)


def become_owner(root: Path) -> None:
    """Makes root the user whom a folder belongs to, for the rest of this process; other users stay who they are.

    Raises:
        Refusal: That user may not read the Python that runs here.
    """
    if os.geteuid() != 0:
        return
    with suppress(FileNotFoundError):
        found = root.stat()
        if found.st_uid == 0:
            return
        try:
            os.initgroups(pwd.getpwuid(found.st_uid).pw_name, found.st_gid)
        except KeyError:  # a user without a name, as in containers
            os.setgroups([])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
        # Commands import as they go, and admission starts this Python again.
        for needed in (os.__file__, __file__):
            if not os.access(needed, os.R_OK):
                raise Refusal(
                    f"{root} belongs to user {found.st_uid}, who may not read {needed}; use the edgeml that the "
                    "service uses, or install this one where everybody may read it"
                )


def pick_model(state: State, name: str | None, *, on_trial: bool = False) -> str:
    """The model that a command is about; it may be left out where there is no choice.

    Args:
        state: The record.
        name: What was said; None for nothing.
        on_trial: Whether one that is on trial is meant.

    Raises:
        NotInstalledError: There are none, or several.
    """
    from edgeml.errors import NotInstalledError

    if name is not None:
        return name
    names = sorted(state.models)
    trials = [each for each in names if state.models[each].candidate is not None]
    if on_trial and len(trials) == 1:
        return trials[0]
    if not names:
        raise NotInstalledError("no bundle is installed; see 'edgeml install --help'")
    if len(names) > 1:
        raise NotInstalledError(f"this box has {', '.join(names)}; say which model is meant")
    return names[0]


def tell(document: Any, as_json: bool, *lines: str) -> None:
    """Says what was done: one JSON document, or lines for people."""
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))
    else:
        for line in lines:
            click.echo(printable(line))


def warn(text: str) -> None:
    """A line on standard error that is no error."""
    click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {printable(text)}", err=True)


def warn_of_journal(store: Store, told: Mapping[str, Any] | None = None) -> None:
    """Says so where a change was made and could not be written down.

    Args:
        store: Where.
        told: The service's answer, where it was asked to write it down instead.
    """
    if store.journal.failure:
        later = "; the service keeps it in memory and writes it when it can" if (told or {}).get("events") else ""
        warn(f"the change is made, but could not be written into the journal: {store.journal.failure}{later}")


def short(digest: str | None) -> str:
    """The beginning of a digest, enough for a person and for every command that takes one."""
    return "" if digest is None else f"sha256:{digest.removeprefix('sha256:')[:12]}"


def release_document(state: State, name: str, digest: str | None) -> dict[str, Any] | None:
    """One installed bundle, ready for JSON; None for none."""
    if digest is None:
        return None
    release = state.models[name].releases[digest]
    return {"version": release.version, "digest": f"sha256:{digest}", "state": release.state}


def served(told: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """What a running service's worker serves for a model; None where no service runs."""
    if told is None:
        return None
    found = told.get("models", {}).get(name)
    return found or {"digest": None, "ready": False, "reason": told.get("reason", "the worker has not loaded it")}
