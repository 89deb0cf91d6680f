"""How the models of a box do, a line each, for ``edgeml status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeml.cli.tables import row, table

if TYPE_CHECKING:
    from rich.table import Table

_WORST_FIRST = ("fast", "slow", "ok")


def summaries(reports: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
    """The few figures of each report that fit in a line, JSON-ready.

    Args:
        reports: What a running service knows, by model; None where none runs.
    """
    return None if reports is None else {name: _summary(report) for name, report in reports.items()}


def traffic_table(summaries: Mapping[str, Mapping[str, Any]] | None) -> Table:
    """The lines; none where no service runs."""
    shown = table(
        "Watched",
        *("model", "answers", "a second", "tiers", "refused", "p99", "objectives", "accuracy"),
        *("drift alarms", "findings"),
        right=("answers", "a second", "refused", "findings"),
    )
    for name, each in (summaries or {}).items():
        answers = each["answered"]
        shares = (f"{tier} {count / answers:.0%}" for tier, count in each["tiers"].items() if count)
        expected = each["estimated_accuracy"]
        burning = [f"{one['name']} burns {one['level']}" for one in each["objectives"] if one["level"] != "ok"]
        alarms = [f"{column}{' (seen)' if seen else ''}" for column, seen in each["drift_alarms"].items()]
        row(
            shown,
            name,
            f"{answers:,}",
            f"{each['rate']:.1f}",
            ", ".join(shares),
            f"{each['refused']:,}",
            _p99(each) if answers else "",
            ", ".join(burning) or ("ok" if each["objectives"] else "none"),
            "" if expected is None else f"{expected['value']:.1%} ({expected['low']:.0%}-{expected['high']:.0%})",
            _first(alarms),
            each["findings"] or "",
            style="bold" if alarms or burning else None,
        )
    return shown


def rules_lines(summaries: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    """What is wrong with rules, a line for each model that has such."""
    lines = []
    for name, each in (summaries or {}).items():
        wrong = [f"{count} {word}" for word, count in each["rules"].items() if count]
        if wrong:
            lines.append(f"{name}: rules: {', '.join(wrong)}; see 'edgeml quality {name}'")
    return lines


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    standings = sorted(report["objectives"], key=lambda each: _WORST_FIRST.index(each["level"]))
    return {
        "version": report["version"],
        "answered": report["answered"],
        "rate": report["rate"],
        "tiers": report["tiers"],
        "refused": report["refused"],
        "p99_ms": report["latency_together"]["p99_us"] / 1e3,
        "objectives": [{key: each[key] for key in ("name", "limit_ms", "level")} for each in standings],
        "estimated_accuracy": (report["quality"].get("estimated") or {}).get("accuracy"),
        "drift_alarms": {each["name"]: each["acknowledged"] for each in report["drift"]["columns"] if each["latched"]},
        "rules": _rules(report.get("rules", {})),
        "findings": len(report["validation"]["findings"]),
    }


def _rules(found: Mapping[str, Any]) -> dict[str, int]:
    below = found.get("below", {})
    return {
        "below their target": below.get("precision", 0),
        "contradicted by the model": below.get("agreement", 0),
        "disabled": len(found.get("disabled", ())),
    }


def _p99(summary: Mapping[str, Any]) -> str:
    limits = [one["limit_ms"] for one in summary["objectives"] if one["name"] == "p99_ms"]
    return f"{summary['p99_ms']:.2g}{f' of {limits[0]:g}' if limits else ''} ms"


def _first(alarms: list[str], most: int = 2) -> str:
    more = len(alarms) - most
    return ", ".join(alarms[:most]) + (f" and {more} more" if more > 0 else "")
