"""``edgeml quality``: how good the answers of a box are, estimated without labels, and by those that came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import printable
from edgeml.cli.box import for_a_store, tell
from edgeml.cli.tables import row, show, table

if TYPE_CHECKING:
    from rich.table import Table

MOST_ROWS = 20
_MEASURES = ("precision", "recall", "f1")


@click.command()
@click.argument("model", required=False)
@click.option("--all", "every", is_flag=True, help="Show all classes and rules, not the first 20.")
@for_a_store
def quality(model: str | None, every: bool, root: Path, as_json: bool) -> None:
    """Show how good the answers are, of one MODEL or of all: estimated, by labels, and when the bundle was built.

    Intervals stand in brackets. What labels show holds however often one looks; docs/quality.md says what breaks the
    estimate. Without a service the last snapshots are shown.
    """
    from edgeml.cli import watched
    from edgeml.cli.rules_table import rules_lines, rules_tables

    known = watched.ask(root, model)
    if as_json:
        tell(
            {"source": known.source, "models": {name: _document(report) for name, report in known.reports.items()}},
            True,
        )
        return
    for report in known.reports.values():
        click.echo(printable(watched.heading(report, known)))
        most = None if every else MOST_ROWS
        _show(report["quality"], most)
        rules = report.get("rules", {})  # a service of an older edgeml tells none
        show(*rules_tables(rules, most))
        for line in rules_lines(rules, most):
            click.echo(printable(line))
    if not known.reports:
        click.echo(watched.nothing(known))


def _document(report: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: report[key] for key in ("version", "digest", "since", "now", "answered")}
    return known | {
        "kept_at": report["monitors"]["kept_at"],
        "quality": report["quality"],
        "rules": report.get("rules"),
    }


def _show(found: Mapping[str, Any], most: int | None) -> None:
    if not found:
        click.echo("nothing was counted of its quality yet")
        return
    if found["agreement"]:
        click.echo(_agreement(found["agreement"]))
    for note in found["notes"]:
        click.echo(printable(f"note: {note}"))
    reference = found["reference"] or {}
    errors = "measures" not in reference and bool(reference)
    shown = [_errors(found)] if errors else [_overall(found), *_parts(found, most)]
    show(*shown)
    count = len({key for side in _sides(found) for key in side.get("by_label", ())})
    if most is not None and count > most:
        click.echo(f"{count - most} more classes: see --all")
    if not errors and reference:
        held_out = "held-out rows" if reference["held_out"] else "the rows that the model had learnt"
        click.echo(f"'when built' is over {reference['rows']} rows, {held_out}")


def _agreement(found: Mapping[str, Any]) -> str:
    realised = found["realised"]
    verdict = "that agrees" if found["agrees"] else "that CONTRADICTS the estimate: trust the labels"
    return (
        f"{found['rows']} of the model's answers have labels: {_share(realised)} were right, and "
        f"{found['expected']:.1%} were expected to be; {verdict}"
    )


def _sides(found: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return found["estimated"] or {}, found["realised"] or {}


def _overall(found: Mapping[str, Any]) -> Table:
    estimated, realised = _sides(found)
    built = ((found["reference"] or {}).get("measures") or {}).get("overall") or {}
    shown = table("All answers", "measure", "estimated", "by labels", "when built")
    row(
        shown,
        "accuracy",
        _share(estimated.get("accuracy")),
        _share(realised.get("accuracy")),
        _percent(built.get("accuracy")),
    )
    for name in _MEASURES:
        known = [each[name] for each in built.get("by_label", {}).values() if each[name] is not None]
        mean = sum(known) / len(known) if known else None
        sides = [_share(side.get("macro", {}).get(name)) for side in (estimated, realised)]
        row(shown, f"{name}, mean of classes", *sides, _percent(mean))
    row(shown, "answers", *(f"{side['rows']:.0f}" if "rows" in side else "" for side in (estimated, realised)), "")
    return shown


def _parts(found: Mapping[str, Any], most: int | None) -> list[Table]:
    estimated, realised = _sides(found)
    built = (found["reference"] or {}).get("measures") or {}
    headings = ["answers", "estimated accuracy", "labels", "by labels", "when built"]
    tiers = table("By tier", "tier", *headings, right=("answers", "labels"))
    for name in ("rule", "middle", "model", "fallback"):
        one, other = (side.get("by_tier", {}).get(name) for side in (estimated, realised))
        if one or other:
            before = _percent(built.get(name, {}).get("accuracy"))
            row(tiers, name, _rows(one), _share(one), _rows(other), _share(other), before)
    headings = [f"{name}, {side}" for name in _MEASURES for side in ("estimated", "by labels")]
    classes = table("By class", "class", *headings)
    names = list(dict.fromkeys([*estimated.get("by_label", {}), *realised.get("by_label", {})]))
    for name in names[:most]:
        cells = [
            _briefly((side.get("by_label", {}).get(name) or {}).get(measure))
            for measure in _MEASURES
            for side in (estimated, realised)
        ]
        row(classes, name, *cells)
    return [tiers, classes]


def _errors(found: Mapping[str, Any]) -> Table:
    realised = (found["realised"] or {}).get("by_tier", {})
    built = found["reference"].get("by_tier", {})
    headings: Sequence[str] = ("labels", "mean absolute error", "when built", "root mean squared error", "when built")
    shown = table("Errors by tier", "tier", *headings)
    for tier in ("rule", "middle", "model", "fallback"):
        now, before = realised.get(tier, {}), built.get(tier, {})
        if now or before:
            cells = [
                _plain(side.get(name))
                for name in ("mean_absolute_error", "root_mean_squared_error")
                for side in (now, before)
            ]
            row(shown, tier, _rows(now), *cells)
    return shown


def _share(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"


def _briefly(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.1%} ({found['low']:.0%}-{found['high']:.0%})"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _rows(found: Mapping[str, Any] | None) -> str:
    return f"{found['rows']:.0f}" if found else ""


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
