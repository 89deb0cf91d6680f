"""``edgeml drift``: how the data and the answers of a box differ from the references of its bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from edgeml.cli import Refusal, printable
from edgeml.cli.box import for_a_store, open_store, pick_model, tell
from edgeml.cli.tables import moment


@click.command()
@click.argument("model", required=False)
@click.option("--acknowledge", "column", metavar="COLUMN", help="Say that the alarm on this column was seen.")
@click.option("--all", "every", is_flag=True, help="Show all columns, not the 20 that differ most.")
@for_a_store
def drift(model: str | None, column: str | None, every: bool, root: Path, as_json: bool) -> None:
    """Show how data and answers differ from the reference, of one MODEL or of all; alarms first.

    With it what has probably happened to the data, from what was refused and what was counted. An alarm stays until it
    was acknowledged and the data are again as in the reference. Without a service the last snapshots are shown; an
    alarm can be acknowledged only while the service runs.
    """
    from edgeml.cli import watched

    if column is not None:
        _acknowledge(root, model, column, as_json)
        return
    known = watched.ask(root, model)
    if as_json:
        models = {name: _document(report) for name, report in known.reports.items()}
        tell({"source": known.source, "models": models}, True)
        return
    for report in known.reports.values():
        click.echo(printable(watched.heading(report, known)))
        _show(report, every)
    if not known.reports:
        click.echo(watched.nothing(known))


def _acknowledge(root: Path, model: str | None, column: str, as_json: bool) -> None:
    from edgeml.supervisor.channel import acknowledge

    name = pick_model(open_store(root).state(), model)
    answer = acknowledge(root, name, column)
    if answer is None:
        raise Refusal("no service runs on this store, and it is the service that keeps the alarms; start it first")
    if "column" not in answer:
        raise Refusal(str(answer.get("error") or answer.get("reason") or "the service did not understand"))
    over = "it is over" if answer["ended"] else "it ends when the data are again as in the reference"
    tell({"model": name} | answer, as_json, f"{name}: the alarm on {column} is acknowledged; {over}")


def _document(report: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: report[key] for key in ("version", "digest", "since", "now", "answered")}
    return (
        known
        | {"kept_at": report["monitors"]["kept_at"], "drift": report["drift"]}
        | {"findings": report["validation"]["findings"]}
    )


def _show(report: Mapping[str, Any], every: bool) -> None:
    from edgeml.cli.drift_table import MOST_COLUMNS, drift_table, findings_table
    from edgeml.cli.tables import show

    found = report["drift"]
    columns, most = found["columns"], None if every else MOST_COLUMNS
    for line in _alarms(report):
        click.echo(printable(line))
    for note in found["notes"]:
        click.echo(printable(f"note: {note}"))
    show(findings_table(report["validation"]["findings"]))
    if not columns:
        click.echo("its bundle has no drift reference to compare with")
        return
    if not found["rows"]:
        click.echo("no record was counted yet that could be compared with the reference")
        return
    show(drift_table(f"The last {found['rows']} records beside the reference", columns, most=most))
    more = len(columns[most:] if most else ()) + found.get("left_out", 0)
    if more:
        where = f"GET /v1/models/{report['model']}/watch" if every else "--all"
        click.echo(printable(f"{more} more columns: see {where}"))


def _alarms(report: Mapping[str, Any]) -> Iterator[str]:
    for each in report["drift"]["columns"]:
        if each["latched"]:
            seen = (
                "; acknowledged"
                if each["acknowledged"]
                else f"; once seen: edgeml drift {report['model']} --acknowledge '{each['name']}'"
            )
            now = "" if each["level"] == "drift" else ", and is calmer now"
            yield f"ALARM: {each['name']} differs from the reference since {moment(each['since'])} UTC{now}{seen}"
