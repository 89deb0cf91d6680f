"""``edgeml tiers``: what a bundle's tiers trade, measured on this box, and a bundle with thresholds for a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeml.cli import NOT_CHECKED, printable
from edgeml.cli.box import for_machines, tell

_MOST_POINTS = 14


@click.command()
@click.option("--bundle", required=True, type=click.Path(path_type=Path), help="The bundle.")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Records with labels: JSON, NDJSON or CSV."
)
@click.option("--label", required=True, help="The column (or member) of the records that holds the known label.")
@click.option("--format", "form", type=click.Choice(["json", "ndjson", "csv"]), help="Default: by the file's ending.")
@click.option("--accuracy-budget", type=float, help="By how much accuracy may be below the full model's, such as 0.01.")
@click.option("--cost-budget", type=float, help="Largest mean cost of an answer, in microseconds.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the curve as .svg or .png.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write a bundle with the chosen thresholds, unsigned."
)
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@for_machines
def tiers(
    bundle: Path,
    data: Path,
    label: str,
    form: str | None,
    accuracy_budget: float | None,
    cost_budget: float | None,
    plot: Path | None,
    output: Path | None,
    keyring: Path | None,
    as_json: bool,
) -> None:
    """Measure what the tiers of a bundle trade: answers before the full model, against accuracy and cost.

    Thresholds (which rules stay, from which score on the middle tier answers) are chosen on one half of the records,
    and the figures of the choice are those of the other half. Costs are measured in this process.
    """
    from edgeml.bundles import Bundle, Keyring
    from edgeml.cli.records import require_records
    from edgeml.errors import RequestError
    from edgeml.runtime import predictor_of
    from edgeml.runtime.members import json_member
    from edgeml.runtime.trade import Trade

    if accuracy_budget is not None and cost_budget is not None:
        raise click.UsageError("give --accuracy-budget or --cost-budget, not both")
    if accuracy_budget is not None and not 0 <= accuracy_budget < 1:
        raise click.UsageError("--accuracy-budget is a share, at least 0 and below 1: 0.01 is one point of a hundred")
    if cost_budget is not None and not 0 < cost_budget < float("inf"):
        raise click.UsageError("--cost-budget is a positive number of microseconds")
    asked = accuracy_budget is not None or cost_budget is not None
    if output is not None and not asked:
        raise click.UsageError("-o writes what was chosen: give --accuracy-budget or --cost-budget")
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        raise click.UsageError(f"--plot {plot}: the picture is written as .svg or .png")
    if plot is not None:
        try:
            from edgeml.builder.trade_plot import plot_trade
        except ImportError as error:
            raise click.UsageError(f"--plot needs {error.name}: pip install 'edgeml[builder]'") from error
    if keyring is None:
        click.echo(NOT_CHECKED, err=True)
    read = Bundle.read(bundle, keyring=Keyring.read(keyring) if keyring else None)
    predictor = require_records(predictor_of(read), bundle)
    records, labels = _labelled(data, form, label, predictor)
    trade = Trade(predictor, records, labels, json_member(read, "rules.json") if "rules.json" in read.members else None)
    curve = trade.curve()
    chosen = trade.chosen(accuracy_budget=accuracy_budget, cost_budget=cost_budget) if asked else None
    if asked and chosen is None:
        cheapest = min(point.cost_us for point in curve)
        raise RequestError(f"nothing keeps this budget; the cheapest setting costs {cheapest:.1f} us", code="budget")
    report = _report(bundle, read, trade, curve, chosen)
    if plot is not None:
        plot_trade(curve, None if chosen is None else chosen[1], plot, f"{predictor.name} {predictor.version}")
    if output is not None and chosen is not None:
        from edgeml.builder.retier import retiered

        rows = trade.shown_rows.tolist()
        made = retiered(
            read,
            rules=trade.kept_rules(chosen[1].cut),
            threshold=chosen[1].threshold,
            records=[records[row] for row in rows],
            truth=[_typed(labels[row], predictor) for row in rows],
            evidence=chosen[1].to_dict(),
        )
        made.save(output)
        report["written"] = {"file": str(output), "digest": made.digest, "parent": read.digest}
    if as_json:
        tell(report, True)
    else:
        _show(report)


def _labelled(data: Path, form: str | None, label: str, predictor: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """The records that have a label, without it, and their labels."""
    from edgeml.cli.records import opened
    from edgeml.errors import RequestError
    from edgeml.runtime.record_file import RecordFile

    records: list[dict[str, Any]] = []
    labels: list[Any] = []
    with opened(data, form) as (stream, known, _):
        for item in RecordFile(stream, known, predictor.schema):
            if item.error is not None:
                raise item.error
            if not isinstance(item.record, dict):
                raise RequestError(f"{item.place}: expected an object", code="bad_record")
            record = dict(item.record)
            if label not in record and not records:
                raise RequestError(
                    f"{data}, {item.place}: there is no column {label!r}; it has {', '.join(map(str, record))}",
                    code="no_label",
                    field=label,
                )
            if (found := record.pop(label, None)) is not None:
                records.append({name: record[name] for name in record if name in predictor.schema.slots})
                labels.append(found)
    return records, labels


def _typed(label: Any, predictor: Any) -> Any:
    """A label as the bundle has it: a file may hold 1 as text."""
    from edgeml.runtime.known_labels import label_in

    found = label_in(predictor.labels, label)
    return label if found is None else found


def _report(path: Path, bundle: Any, trade: Any, curve: Any, chosen: Any) -> dict[str, Any]:
    report: dict[str, Any] = {
        "bundle": str(path),
        "name": trade.predictor.name,
        "version": trade.predictor.version,
        "digest": bundle.digest,
        "records": {"choosing": curve[0].records, "showing": len(trade.shown_rows)},
        "costs": {
            tier: {"wall_us": cost.wall_us, "cpu_us": cost.cpu_us, "records": cost.records}
            for tier, cost in trade.costs.items()
        },
        "rules": [
            {"id": rule.id, "proven": proven}
            for rule, proven in zip(
                () if trade.predictor.rules is None else trade.predictor.rules.rules, trade.proven, strict=True
            )
        ],
        "curve": [point.to_dict() for point in curve],
        "now": _now(trade),
    }
    if chosen is not None:
        report["chosen"] = {"choosing": chosen[0].to_dict(), "showing": chosen[1].to_dict()}
    return report


def _now(trade: Any) -> dict[str, Any]:
    """The bundle as it is, on the half that shows."""
    middle = trade.predictor.middle
    shown: dict[str, Any] = trade.shown(0.0, None if middle is None else middle.threshold).to_dict()
    return shown


def _show(report: dict[str, Any]) -> None:
    from edgeml.cli.tables import row, show, table

    costs = table(
        "Cost of an answer here", "tier", "median us", "CPU us", "records timed", right=("median us", "CPU us")
    )
    for tier in ("rule", "middle", "model", "model only"):
        cost = report["costs"][tier]
        if cost["records"]:
            row(costs, tier, f"{cost['wall_us']:.1f}", f"{cost['cpu_us']:.1f}", cost["records"])
    names = ("rules", "threshold", "rule", "middle", "model", "before model", "accuracy", "kept", "lost", "mean us")
    halves = report["records"]
    points = table(f"Points, on the {halves['choosing']} records that choose", *names, right=names)
    for point in _picked(report["curve"]):
        row(points, *_cells(point))
    settled = table(f"On the other {halves['showing']} records", "", *names, right=names)
    row(settled, "as it is", *_cells(report["now"]))
    if "chosen" in report:
        row(settled, "chosen", *_cells(report["chosen"]["showing"]))
    show(costs, points, settled)
    for line in _remarks(report):
        click.echo(printable(line))


def _picked(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points spread over the curve: those that no other beats in both accuracy and cost, and not too many."""
    best: list[dict[str, Any]] = []
    for point in sorted(curve, key=lambda each: (each["cost_us"], -each["accuracy"])):
        if not best or point["accuracy"] > best[-1]["accuracy"]:
            best.append(point)
    step = max(1, -(-len(best) // _MOST_POINTS))
    return best[::step] if best[::step][-1] is best[-1] else [*best[::step], best[-1]]


def _cells(point: dict[str, Any]) -> list[str]:
    shares = point["shares"]
    return [
        str(point["rules"]),
        "-" if point["threshold"] is None else f"{point['threshold']:.4f}",
        *(f"{shares[tier]:.1%}" for tier in ("rule", "middle", "model")),
        f"{point['before_model']:.1%}",
        f"{point['accuracy']:.4f}",
        f"{point['kept']:.2%}",
        str(point["lost"]),
        f"{point['cost_us']:.1f}",
    ]


def _remarks(report: dict[str, Any]) -> list[str]:
    lines = [
        "points: those that none beats in accuracy and cost at once, on the half that chooses, whose figures are too "
        "kind; the other half chose nothing. --json has all points"
    ]
    point = report.get("chosen", {}).get("showing", report["now"])
    model = report["costs"]["model only"]["wall_us"]
    lines.append(
        f"{point['before_model']:.1%} of {point['records']} records are answered before the full model, at "
        f"{point['kept']:.2%} of its accuracy and {point['cost_us'] / model:.0%} of its cost; {point['lost']} were "
        f"lost, at most {point['lost_bound']:.2%} of all such records (95 %)"
    )
    if "written" in report:
        written = report["written"]
        lines.append(f"{written['file']}: {written['digest']}, not signed; sign it with edgeml sign")
    return lines
