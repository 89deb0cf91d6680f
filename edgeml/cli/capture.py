"""``edgeml capture``: the records that a box has kept of its traffic, for people and for retraining."""

from __future__ import annotations

import datetime
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from edgeml.cli.box import for_a_store, open_store, tell, warn, warn_of_journal
from edgeml.cli.peers import size_in_words

if TYPE_CHECKING:
    from edgeml.monitor.capture_file import Captured, CaptureFile, Held

FILE = "capture.db"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DAY_S = 86_400


class Since(click.ParamType):  # type: ignore[type-arg]  # older click knows no argument
    """A moment, as an age (``36h``, ``2d``) or a date (``2026-05-01``, ``2026-05-01T08:00``, UTC)."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since 1970."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,9})([smhdw])", value)
        if found is not None:
            return time.time() - int(found[1]) * _UNITS[found[2]]
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no moment; write an age (36h, 2d) or a date (2026-05-01)", param, ctx)
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


@click.group()
def capture() -> None:
    """Export or clear the records that were captured; 'edgeml settings --capture SHARE' turns capture on."""


@capture.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there. [default: stdout]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "columns", "csv"]),
    default="ndjson",
    show_default=True,
    help="A record a line; one JSON object of columns; or a table.",
)
@click.option("--model", metavar="NAME", help="Only this model's.")
@click.option("--since", type=Since(), metavar="WHEN", help="Only those from then on: 36h, 2d, 2026-05-01.")
@click.option("--labelled", is_flag=True, help="Only those whose truth was told.")
@for_a_store
def export(
    output: Path | None,
    form: str,
    model: str | None,
    since: float | None,
    labelled: bool,
    root: Path,
    as_json: bool,
) -> None:
    """Write the captured records, oldest first; the service may go on capturing meanwhile.

    With --json, and -o, what was written is told as a document.
    """
    from edgeml.bundles.journal import Journal
    from edgeml.bundles.store import Store
    from edgeml.monitor.capture_export import write_columns, write_csv, write_ndjson

    if as_json and output is None:
        raise click.UsageError("--json tells what was written; it needs -o FILE")
    Store(root, journal=Journal(None)).state()  # where there is none, nothing is overwritten
    # As the user who asks: the one whom the store belongs to need not be allowed to write there.
    with _written(output) as into:
        _, file = _opened(root)
        chosen = partial(file.rows, model=model, since=since, labelled=labelled)

        def rows(up_to: int | None) -> Iterable[Captured]:
            return chosen(up_to=up_to)

        with _readable(root):
            if form == "csv":
                count = write_csv(rows, into)
            else:
                count = (write_ndjson if form == "ndjson" else write_columns)(rows(None), into)
    if output is not None:
        tell({"records": count, "file": str(output)}, as_json, f"{output}: {count:,} records")


@capture.command()
@for_a_store
def status(root: Path, as_json: bool) -> None:
    """Show what is captured, how much there is, and what it has cost the disk today."""
    from edgeml.bundles.box_settings import BoxSettings
    from edgeml.cli.settings import capture_lines, unknown_fields

    store, file = _opened(root)
    granted = BoxSettings.read(root)
    with _readable(root):
        held = file.held(day=int(time.time() // _DAY_S))
    document = {name: value for name, value in granted.to_dict().items() if name.startswith("capture_")}
    document |= {"rows": held.rows, "labelled": held.labelled, "bytes": held.bytes}
    document |= {"written_today": held.written_today, "oldest": held.oldest, "newest": held.newest}
    document |= {"damaged": str(file.aside) if file.aside.exists() else None}
    tell(document, as_json, *capture_lines(granted), *_held_lines(held))
    if document["damaged"]:
        warn(f"a damaged file was put aside as {file.aside}; 'edgeml capture clear --yes' removes it, too")
    if granted.capture_share and (unknown := unknown_fields(store, granted)):
        warn(f"no active bundle has a field {', '.join(map(repr, unknown))}; is it spelled as in the schema?")


@capture.command()
@click.option("--yes", is_flag=True, help="They are gone then, and cannot be had back.")
@for_a_store
def clear(yes: bool, root: Path, as_json: bool) -> None:
    """Remove every captured record from the disk; capture goes on as the settings say."""
    from edgeml.bundles.event import Event

    store, file = _opened(root)
    if not yes:
        raise click.UsageError("captured records cannot be had back; say --yes to remove them")
    with _readable(root):
        gone = file.clear()
    store.note(Event("capture", reason=f"{gone} captured records were removed"), who="cli")
    tell({"removed": gone}, as_json, f"removed {gone:,} records")
    warn_of_journal(store)


def _opened(root: Path) -> tuple[Any, CaptureFile]:
    """The store and its ring."""
    from edgeml.monitor.capture_file import CaptureFile

    store = open_store(root)
    store.state()
    return store, CaptureFile(root / FILE)


@contextmanager
def _readable(root: Path) -> Iterator[None]:
    """Says what to do where SQLite gives up.

    Raises:
        StateError: It did.
    """
    from edgeml.errors import StateError

    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            f"{root / FILE} cannot be used ({error}); if it is damaged, 'edgeml capture clear --yes' begins anew"
        ) from error


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    # What is private in the store is private here.
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
        yield stream


def _held_lines(held: Held) -> tuple[str, ...]:
    if not held.rows:
        return ("records         none", f"written today   {size_in_words(held.written_today)}")
    moments = [
        datetime.datetime.fromtimestamp(at or 0.0, datetime.UTC).strftime("%Y-%m-%d %H:%M")
        for at in (held.oldest, held.newest)
    ]
    return (
        f"records         {held.rows:,}, {held.labelled:,} with their truth, {size_in_words(held.bytes)}",
        f"from            {moments[0]} to {moments[1]} (UTC)",
        f"written today   {size_in_words(held.written_today)}",
    )
