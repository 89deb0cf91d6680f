"""Tables for people. What comes out of a bundle or a journal is shown, never obeyed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edgeml.cli import printable

if TYPE_CHECKING:
    from rich.table import Table


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table.

    Args:
        title: Above it.
        columns: Their headings.
        right: Those that are set to the right.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return made


def row(into: Table, *cells: Any, style: str | None = None) -> None:
    """Adds a row; cells are text, not markup."""
    from rich.text import Text

    into.add_row(*(Text(printable(str(cell))) for cell in cells), style=style)


def show(*shown: Table) -> None:
    """Prints tables; those without rows are left out."""
    from rich.console import Console

    # A file or pipe has no width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for each in shown:
        if each.row_count:
            console.print(each)


def moment(seconds: float) -> str:
    """A time as people read it, in UTC; empty for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds > 0 else ""
