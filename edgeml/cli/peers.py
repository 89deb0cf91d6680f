"""What ``edgeml push`` and ``edgeml pull`` share: credentials, TLS, patience, bars.

A token is better kept in a file or in the environment than on the command line, which other users of the machine see.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeml.cli import Refusal

if TYPE_CHECKING:
    from rich.progress import Progress

    from edgeml.bundles.oci_reference import Reference
    from edgeml.bundles.registry_link import Patience

TOKEN = "EDGEML_TOKEN"

_TOKEN_FILE_MAX_BYTES = 64 * 1024
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def for_a_peer(command: _Command) -> _Command:
    """Adds ``--token``, ``--token-file``, ``--ca``, ``--cert``, ``--key`` and ``--attempts`` to a command."""
    options = (
        click.option("--token", metavar="T", help="Token to show; better kept in a file."),
        click.option("--token-file", type=_FILE, help="File with the token; or with lines HOST:PORT TOKEN."),
        click.option("--ca", "ca_file", type=_FILE, help="PEM file of the only authorities to trust."),
        click.option("--cert", "certificate", type=_FILE, help="PEM file of the client certificate."),
        click.option("--key", type=_FILE, help="PEM file of its key. [default: in --cert]"),
        click.option(
            "--attempts",
            type=click.IntRange(1),
            default=6,
            show_default=True,
            help="How often in a row a broken link is tried before it is given up.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


class TokenBook:
    """The token for each address.

    Args:
        token: For all of them, as given on the command line.
        file: With one token, or with lines ``HOST:PORT TOKEN``.
        variable: The environment's, where neither is given; empty for none: a box's token is nobody else's business.

    Raises:
        Refusal: The file is neither.
    """

    def __init__(self, token: str | None, file: Path | None, *, variable: str = TOKEN) -> None:
        if token and file is not None:
            raise click.UsageError("give --token or --token-file, not both")
        self._all = token or ""
        self._file = file
        self._named: dict[str, str] = {}
        if file is not None:
            self._read(file)
        elif not token and variable:
            self._all = os.environ.get(variable, "")

    def get(self, address: Reference) -> str:
        """The token for an address; empty where there is none."""
        if self._named and address.registry not in self._named:
            raise Refusal(f"{self._file} has no line for {address.registry}; add: {address.registry} TOKEN")
        return self._named.get(address.registry, self._all)

    def _read(self, file: Path) -> None:
        from edgeml.bundles.files import read_file
        from edgeml.bundles.oci_reference import Reference

        text = read_file(file, max_bytes=_TOKEN_FILE_MAX_BYTES).decode("utf-8", "replace")
        lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) == 1 and len(lines[0]) == 1:
            self._all = lines[0][0]
        elif lines and all(len(line) == 2 for line in lines):
            self._named = {Reference.parse(address).registry: token for address, token in lines}
        else:
            raise Refusal(f"{file} holds neither one token nor lines HOST:PORT TOKEN")


def patience_of(attempts: int) -> Patience:
    """How long to wait for the other side."""
    from edgeml.bundles.registry_link import Patience

    return Patience(attempts=attempts)


def transfer_bars() -> Progress:
    """Bars for bytes on standard error, where somebody is watching."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def size_in_words(size: int) -> str:
    """A number of bytes as people read it."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
