"""Files of records that a command reads from end to end: opened, and with a bar where somebody is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from edgeml.runtime import Predictor


@contextmanager
def opened(records: Path, form: str | None) -> Iterator[tuple[BinaryIO, str, int]]:
    """Opens a file of records; ``-`` is standard input.

    Args:
        records: The file.
        form: Its format; None goes by the file's ending, and takes NDJSON for standard input.

    Yields:
        The stream, its format, and its size in bytes; 0 where nobody knows.

    Raises:
        RequestError: It cannot be read, or nothing says its format.
    """
    from edgeml.errors import RequestError
    from edgeml.runtime.record_file import format_of

    if str(records) == "-":
        yield sys.stdin.buffer, form or "ndjson", 0
        return
    form = form or format_of(records)
    try:
        stream = records.open("rb")
    except OSError as error:
        raise RequestError(f"{records} cannot be read: {error.strerror}", code="bad_format") from error
    with stream:
        yield stream, form, records.stat().st_size


@contextmanager
def bar(what: str, size: int) -> Iterator[Callable[[int, int], None]]:
    """Draws a bar on standard error where that is a terminal.

    Args:
        what: Said before the first step.
        size: Bytes of the whole; 0 where nobody knows.

    Yields:
        To be told how many records, and how many bytes, are done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as drawn:
        task = drawn.add_task(what, total=size or None)
        yield lambda records, used: drawn.update(task, completed=used, description=f"{records} records")


def require_records(predictor: object, bundle: Path) -> Predictor:
    """The predictor of a bundle that takes records, and answers here as where it was built.

    Args:
        predictor: What was loaded.
        bundle: Its file.

    Raises:
        RequestError: The bundle takes tensors.
        BundleError: It answers its golden rows otherwise.
    """
    from edgeml.errors import RequestError
    from edgeml.runtime import Predictor

    if not isinstance(predictor, Predictor):
        name = getattr(predictor, "name", "")
        raise RequestError(f"{bundle} takes tensors, not records; serve it and use /v2/models/{name}/infer")
    predictor.golden_check().require(f"{predictor.name} {predictor.version}")
    return predictor
