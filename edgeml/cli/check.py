"""``edgeml check``: what a bundle says of a file, before anybody is asked to serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeml.cli import NOT_CHECKED, printable
from edgeml.cli.box import for_machines, tell

_MOST_REFUSALS = 20


@click.command()
@click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--bundle", required=True, type=click.Path(path_type=Path), help="The bundle that is to take the records."
)
@click.option("--format", "form", type=click.Choice(["json", "ndjson", "csv"]), help="Default: by the file's ending.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@click.option("--all", "every", is_flag=True, help="Show all columns, not the 20 that differ most.")
@for_machines
def check(data: Path, bundle: Path, form: str | None, keyring: Path | None, every: bool, as_json: bool) -> None:
    """Look at the records of DATA (JSON, NDJSON or CSV; '-' is standard input, NDJSON) with a bundle.

    Says which records its schema refuses and why, what has probably happened to the data, and how its columns and the
    answers compare with the reference. The exit status is 1 where a record was refused, or where a finding (other than
    an unknown field that is passed over) concerns 1 % of the records or more; drift alone does not change it.
    """
    from edgeml.bundles import Bundle, Keyring
    from edgeml.cli.records import bar, opened, require_records
    from edgeml.runtime import predictor_of
    from edgeml.runtime.file_check import FileCheck
    from edgeml.runtime.record_file import RecordFile

    if keyring is None:
        click.echo(NOT_CHECKED, err=True)
    read = Bundle.read(bundle, keyring=Keyring.read(keyring) if keyring else None)
    predictor = require_records(predictor_of(read), bundle)
    looked = FileCheck(read, predictor)
    with opened(data, form) as (stream, known, size), bar("looking", size) as told:
        file = RecordFile(stream, known, predictor.schema)
        items, done = iter(file), 0
        while taken := looked.take(items):
            done += taken
            told(done, file.bytes_read)
    report = {"file": str(data)} | looked.report()
    if as_json:
        tell(report, True)
    else:
        _show(report, every)
    if not report["ok"]:
        raise SystemExit(1)


def _show(report: dict[str, Any], every: bool) -> None:
    from edgeml.cli.drift_table import MOST_COLUMNS, drift_table, findings_table
    from edgeml.cli.tables import row, show, table

    records = report["records"]
    if not records["read"]:
        click.echo(printable(f"{report['file']} holds no record"))
        return
    tiers = ", ".join(f"{tier} {count}" for tier, count in report["tiers"].items() if count)
    click.echo(
        printable(
            f"{report['file']}: {records['read']} records for {report['name']} {report['version']}; "
            f"{records['answered']} answered{f' ({tiers})' if tiers else ''}, {records['refused']} refused "
            f"({records['refused'] / records['read']:.1%})"
        )
    )
    refused = table("Refused", "field", "reason", "records", "share", "first at", "such as", right=("records", "share"))
    for each in report["refused"][:_MOST_REFUSALS]:
        got = f"expected {each['expected']}, got {each['got']}" if each["expected"] else each["got"]
        unit = each["places"][0].partition(" ")[0]
        places = f"{unit} {', '.join(place.removeprefix(unit).strip() for place in each['places'])}"
        row(refused, each["field"], each["code"], each["records"], f"{each['share']:.1%}", places, got)
    columns = report["drift"]["columns"] if report["drift"]["rows"] else []
    title = f"Beside the reference of {report['drift']['reference_rows']} rows"
    most = None if every else MOST_COLUMNS
    show(refused, findings_table(report["findings"]), drift_table(title, columns, most=most))
    for line in _remarks(report, len(columns), most):
        click.echo(printable(line))


def _remarks(report: dict[str, Any], columns: int, most: int | None) -> list[str]:
    lines = []
    left_out = len(report["refused"]) - _MOST_REFUSALS
    if left_out > 0:
        lines.append(f"{left_out} more reasons for which records were refused: see --json")
    if most is not None and columns > most:
        lines.append(f"{columns - most} more columns: see --all")
    if not columns:
        answered = report["records"]["answered"]
        lines.append(
            "this bundle has no drift reference to compare with"
            if answered
            else "no record was answered, so nothing can be compared with the reference"
        )
    else:
        lines.append(
            "size: PSI less what luck alone gives; 'large' is certain and 0.1 or more, 'small' is certain and less. "
            "One look at a file is no alarm: rows that were picked or sorted differ without any change in the world"
        )
    estimated = (report["quality"].get("estimated") or {}).get("accuracy")
    if estimated is not None:
        lines.append(
            f"expected accuracy on these records: {estimated['value']:.1%} ({estimated['low']:.1%} to "
            f"{estimated['high']:.1%}), estimated without labels"
        )
    lines.append("ok" if report["ok"] else "not ok: look at what was refused and found")
    return lines
