"""What is known of one bundle that is watched, as one document for pages, commands and metrics.

Distances compare the reference with the rows of the sub-windows that are kept: with what happens now, not with all that
ever happened. The order is that of concern: what has raised an alarm first, then by size.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgeml.monitor.counted import TIERS
from edgeml.monitor.distances import (
    chi_square_contingency,
    hellinger,
    jensen_shannon,
    ks_binned,
    l_infinity,
    psi,
    wasserstein_binned,
)
from edgeml.monitor.drift_evidence import design_effect
from edgeml.monitor.drift_layout import Column
from edgeml.monitor.findings import FieldReference, FieldSeen, Finding, find
from edgeml.monitor.latency import distribution, figures
from edgeml.monitor.quality_report import quality_report
from edgeml.monitor.rule_report import rule_report
from edgeml.monitor.watch import ORDERED, Watch

# Sub-windows that differ so much more than independent rows would are no longer evidence by themselves.
DEPENDENT = 2.0
_RANK = {"drift": 2, "small": 1, "none": 0}


def watch_report(
    watch: Watch,
    *,
    now: float,
    columns: int,
    budget_days: float | None,
    schema: Mapping[str, Any],
    reference: Mapping[str, Any],
    switched: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Says what is known of a bundle.

    Args:
        watch: The bundle.
        now: Seconds since 1970.
        columns: Columns that may raise an alarm, of all bundles that answer on this box.
        budget_days: Days in which the box may raise one false alarm; None where the budget is one of rows.
        schema: The config's ``schema``.
        reference: Its ``reference.json``; empty where it has none.
        switched: What was decided of its rules, by id.

    Returns:
        JSON types; docs/watching.md describes them.
    """
    answered = watch.answered.now
    whole = answered.together()
    minute = watch.traffic.events(now, 60.0)
    return {
        "digest": f"sha256:{watch.digest}",
        "since": watch.since,
        "now": now,
        "answered": whole.count,
        "refused": answered.refused,
        "rate": max(0, minute.total - minute.bad) / 60.0,
        "tiers": answered.answers,
        "traffic": [[int(slot), bad, total] for slot, bad, total in watch.traffic.to_document()],
        "missed": answered.missed,
        "latency": {
            tier: figures(answered.latency[tier]) | distribution(answered.latency[tier])
            for tier in TIERS
            if tier in answered.latency
        },
        "latency_together": figures(whole),
        "objectives": [each.to_dict() for each in watch.objectives.standings(now)],
        "drift": _drift(watch, columns, budget_days),
        "quality": {} if answered.quality is None else quality_report(reference.get("quality"), answered.quality),
        "rules": rule_report(watch.rules, answered, switched),
        "validation": {
            "findings": [each.to_dict() for each in findings_of(watch, schema, reference)],
            "fields": answered.validation.get("fields", {}),
            "requests": answered.validation.get("requests", {}),
            "unknown": dict(answered.unknown),
        },
        "capture": {**answered.capture, "failure": watch.capture_failure} if answered.capture else {},
    }


def findings_of(watch: Watch, schema: Mapping[str, Any], reference: Mapping[str, Any]) -> list[Finding]:
    """What has probably happened to the data; see ``findings``.

    Args:
        watch: The bundle.
        schema: The config's ``schema``.
        reference: Its ``reference.json``; empty where it has none.
    """
    answered = watch.answered.now
    columns = (
        {} if watch.layout is None else {each.feature: each for each in watch.layout.columns if each.kind != "words"}
    )
    references, seen = [], {}
    for feature in schema.get("features", ()):
        name, column = feature["name"], columns.get(feature["name"])
        levels = tuple(feature.get("levels") or ())
        if column is None:
            references.append(FieldReference(name, feature["kind"], levels))
            continue
        references.append(_reference(column, feature["kind"], levels, reference["features"][name]))
        seen[name] = _seen(watch, column)
    return find(
        references, answered.validation, seen, answered=sum(answered.answers.values()), unknown=answered.unknown
    )


def _drift(watch: Watch, columns: int, budget_days: float | None) -> dict[str, Any]:
    if watch.layout is None:
        return {"rows": 0, "columns": [], "unwatched": 0, "threshold": None, "budget_days": budget_days, "notes": []}
    listed = [_column(watch, each, columns) for each in watch.layout.columns]
    listed.sort(key=lambda each: (not each["latched"], -_RANK[each["level"]], -(each["effect"] or 0.0), each["name"]))
    dependence = [
        ratio
        for ratio in (
            design_effect(watch.by_window(each), ordered=each.kind in ORDERED)
            for each in watch.layout.columns
            if each.watched
        )
        if ratio is not None
    ]
    typical = statistics.median(dependence) if dependence else None
    notes = []
    if typical is not None and typical > DEPENDENT:
        notes.append(
            f"rows that follow each other are alike (their counts scatter {typical:.1f} times as widely as those of "
            "independent rows), so alarms are less certain than they say; see docs/drift.md"
        )
    if watch.layout.unwatched:
        notes.append(f"{watch.layout.unwatched} features are beyond the most that are watched")
    return {
        "rows": watch.windows.open.rows + sum(each.rows for each in watch.windows.closed),
        "budget_days": budget_days,
        "threshold": watch.threshold(columns) / math.log(10),
        "unwatched": watch.layout.unwatched,
        "design_effect": typical,
        "notes": notes,
        "columns": listed,
    }


def _column(watch: Watch, column: Column, columns: int) -> dict[str, Any]:
    now, reference = watch.window(column), column.reference
    finding, alarm = watch.judged(column, columns), watch.alarms.latched.get(column.name)
    rows = sum(now)
    ordered = column.kind in ORDERED
    first = 1 if column.bin_names[0] == "missing" else 0  # missing values have no place in an order
    chi = chi_square_contingency(reference, now)
    return {
        "name": column.name,
        "kind": column.kind,
        "feature": column.feature,
        "watched": column.watched,
        "level": "none" if finding is None else finding.level,
        "latched": alarm is not None,
        "acknowledged": alarm is not None and alarm.acknowledged is not None,
        "since": None if alarm is None else alarm.since,
        "evidence": None
        if finding is None or math.isinf(finding.log_evidence)
        else finding.log_evidence / math.log(10),
        "effect": None if finding is None else finding.effect,
        "rows": rows,
        "missing": now[0] / rows if first and rows else 0.0,
        "psi": psi(reference, now),
        "jensen_shannon": jensen_shannon(reference, now),
        "hellinger": hellinger(reference, now),
        "l_infinity": l_infinity(reference, now),
        "ks": ks_binned(reference[first:], now[first:]) if ordered else None,
        "wasserstein": wasserstein_binned(reference[first:], now[first:]) if ordered else None,
        "chi_square_p": None if chi is None else chi[1],
        "bins": list(column.bin_names),
        "reference": _shares(reference),
        "current": _shares(now),
    }


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _reference(column: Column, kind: str, levels: tuple[str, ...], known: Mapping[str, Any]) -> FieldReference:
    total = sum(column.reference)
    mean = deviation = None
    values = total - column.reference[0]
    if column.kind == "number" and values and "mean" in known:
        mean, deviation = float(known["mean"]), math.sqrt(max(0.0, float(known["m2"])) / values)
    return FieldReference(
        column.feature or column.name,
        kind,
        levels,
        missing=column.reference[0] / total if total else 0.0,
        mean=mean,
        deviation=deviation,
        largest=max(column.reference) / total if total else None,
    )


def _seen(watch: Watch, column: Column) -> FieldSeen:
    now = watch.window(column)
    rows = sum(now)
    ranges = column.kind == "number" and bool(column.edges)
    mean = deviation = None
    if column.sums >= 0:
        mean, deviation = watch.moments(column)
    return FieldSeen(
        rows,
        missing=now[0],
        unseen=now[1] if column.kind == "category" else 0,
        mean=mean,
        deviation=deviation,
        # What is beyond the reference's edges is no single value, however much of it there is.
        largest=max(now[2:-1] if ranges else now) / rows if rows else None,
    )
