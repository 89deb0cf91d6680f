"""``edgeml predict``: the answers of a bundle for a file of records, without a server.

As in ``edgeml serve``, nothing is answered before the golden rows have been asked again on this machine.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from edgeml.cli import NOT_CHECKED

if TYPE_CHECKING:
    from edgeml.errors import RequestError, Violation
    from edgeml.runtime.record_file import Item

CHUNK_RECORDS = 1000


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("records", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--format", "form", type=click.Choice(["json", "ndjson", "csv"]), help="Default: by the file's ending.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the answers go; default the screen.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@click.option("--keep-going", is_flag=True, help="Write an error line for a bad record and go on.")
@click.option("--explain", is_flag=True, help="Say of each answer why it was given; on the screen for people to read.")
@click.option("--json", "as_json", is_flag=True, help="With --explain: JSON on the screen, too.")
def predict(
    bundle: Path,
    records: Path,
    form: str | None,
    output: Path | None,
    keyring: Path | None,
    keep_going: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Answer the RECORDS of a JSON, NDJSON or CSV file ('-' is standard input, NDJSON) with BUNDLE.

    One JSON object a line comes out, in the order of the records. A bad record ends it, once those before it are
    answered; with --keep-going an object with "error" stands in its place. Records are named by their line in NDJSON
    (from 1), by their index else (from 0).
    """
    from edgeml.bundles import Keyring
    from edgeml.cli.records import opened, require_records
    from edgeml.runtime import load

    if as_json and not explain:
        raise click.UsageError("--json belongs to --explain; without it answers are JSON already")
    if keyring is None:
        click.echo(NOT_CHECKED, err=True)
    predictor = require_records(load(bundle, keyring=Keyring.read(keyring) if keyring else None), bundle)
    with opened(records, form) as (source, known, size):
        sink: BinaryIO = sys.stdout.buffer if output is None else output.open("wb")
        try:
            failed = _answer_all(
                predictor, source, known, sink, size, keep_going, explain, explain and output is None and not as_json
            )
        finally:
            sink.flush()
            if output is not None:
                sink.close()
    if failed:
        click.echo(f"{failed} records could not be answered", err=True)
        raise SystemExit(1)


def _answer_all(
    predictor: Any,
    source: BinaryIO,
    form: str,
    sink: BinaryIO,
    size: int,
    keep_going: bool,
    explain: bool,
    readable: bool,
) -> int:
    """Answers chunk by chunk, with a bar where somebody is watching; gives the number of bad records."""
    import msgspec

    from edgeml.cli.explained import ExplainedAnswers, in_words
    from edgeml.cli.records import bar
    from edgeml.runtime.record_file import RecordFile

    encode = msgspec.json.Encoder().encode
    explained = ExplainedAnswers(predictor) if explain else None
    file = RecordFile(source, form, predictor.schema)
    items = iter(file)
    failed = done = 0
    with bar("answering", size) as told:
        while chunk := list(islice(items, CHUNK_RECORDS)):
            answers, refusal = _answer_chunk(predictor, chunk, keep_going)
            failed += sum(isinstance(answer, dict) for answer in answers)
            if explained is not None:
                answers = explained.of(chunk, answers)
            if readable:
                sink.writelines(in_words(item, answer).encode() for item, answer in zip(chunk, answers, strict=False))
            else:
                sink.writelines(encode(answer) + b"\n" for answer in answers)
            if refusal is not None:
                raise refusal
            done += len(chunk)
            told(done, file.bytes_read)
    return failed


def _answer_chunk(predictor: Any, chunk: list[Item], keep_going: bool) -> tuple[list[Any], RequestError | None]:
    """Answers a chunk, up to its first bad record unless it is to keep going; gives what was wrong with that one."""
    from edgeml.errors import SchemaError

    bad = next((at for at, item in enumerate(chunk) if item.error is not None), len(chunk))
    if bad == len(chunk) or not keep_going:
        refusal = chunk[bad].error if bad < len(chunk) else None
        good = [item.record for item in chunk[:bad]]
        try:
            return list(predictor.predict_many(good)), refusal
        except SchemaError as error:
            if not keep_going:
                first = min(error.violations, key=lambda violation: violation.row)
                return list(predictor.predict_many(good[: first.row])), _at(chunk[first.row], first)
    return [_answer_or_error(predictor, item) for item in chunk], None


def _answer_or_error(predictor: Any, item: Item) -> Any:
    from edgeml.errors import SchemaError

    error = item.error
    if error is None:
        try:
            return predictor.predict(item.record)
        except SchemaError as refusal:
            error = _at(item, refusal.violations[0])
    said = {"error": str(error), "code": error.code, item.unit: item.number}
    return said | {"field": error.field} if error.field else said


def _at(item: Item, violation: Violation) -> RequestError:
    """A violation under the name that the record has in its file."""
    from edgeml.errors import RequestError

    what = f"expected {violation.expected}, got {violation.got}"
    return RequestError(
        f"{item.place}, field {violation.field!r}: {violation.code}: {what}",
        code="schema_violation",
        field=violation.field,
    )
