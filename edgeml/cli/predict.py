"""``edgeml predict``: the answers of a bundle for a file of records, without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("records", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--format", "form", type=click.Choice(["json", "ndjson", "csv"]), help="Default: by the file's ending.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the answers go; default the screen.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@click.option("--keep-going", is_flag=True, help="Write an error line for a bad record and go on.")
def predict(
    bundle: Path, records: Path, form: str | None, output: Path | None, keyring: Path | None, keep_going: bool
) -> None:
    """Answer the RECORDS of a JSON, NDJSON or CSV file ('-' is standard input, NDJSON) with BUNDLE.

    One JSON object a line comes out, in the order of the records.
    """
    from edgeml.bundles import Keyring
    from edgeml.errors import RequestError
    from edgeml.runtime import TensorPredictor, load
    from edgeml.runtime.record_file import format_of

    predictor = load(bundle, keyring=Keyring.read(keyring) if keyring else None)
    if isinstance(predictor, TensorPredictor):
        raise RequestError(f"{bundle} takes tensors, not records; serve it and use /v2/models/{predictor.name}/infer")
    dash = str(records) == "-"
    form = form or ("ndjson" if dash else format_of(records))
    source: BinaryIO = sys.stdin.buffer if dash else _open(records)
    sink: BinaryIO = sys.stdout.buffer if output is None else output.open("wb")
    try:
        failed = _answer_all(predictor, source, form, sink, 0 if dash else records.stat().st_size, keep_going)
    finally:
        if not dash:
            source.close()
        sink.flush()
        if output is not None:
            sink.close()
    if failed:
        click.echo(f"{failed} records could not be answered", err=True)
        raise SystemExit(1)


def _open(path: Path) -> BinaryIO:
    from edgeml.errors import RequestError

    try:
        return path.open("rb")
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}", code="bad_format") from error


def _answer_all(predictor: Any, source: BinaryIO, form: str, sink: BinaryIO, size: int, keep_going: bool) -> int:
    """Answers chunk by chunk, with a bar where somebody is watching; gives the number of bad records."""
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from edgeml.errors import SchemaError
    from edgeml.runtime.record_file import read_chunks

    encode = msgspec.json.Encoder().encode
    console = Console(stderr=True)
    failed = done = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("answering", total=size or None)
        for first, chunk in read_chunks(source, form, predictor.schema):
            try:
                answers: list[Any] = list(predictor.predict_many(chunk))
            except SchemaError as error:
                if not keep_going:
                    violation = error.violations[0]
                    raise SchemaError([_renumbered(violation, first)]) from error
                answers = [_one_by_one(predictor, record) for record in chunk]
            failed += sum(isinstance(answer, dict) for answer in answers)
            sink.writelines(encode(answer) + b"\n" for answer in answers)
            done += len(chunk)
            bar.update(task, completed=source.tell() if size and form != "csv" else None, description=f"{done} records")
    return failed


def _renumbered(violation: Any, first: int) -> Any:
    from dataclasses import replace

    return replace(violation, row=violation.row + first - 1)


def _one_by_one(predictor: Any, record: Any) -> Any:
    from edgeml.errors import SchemaError

    try:
        return predictor.predict(record)
    except SchemaError as error:
        return {"error": str(error), "code": error.code, "field": error.field}
