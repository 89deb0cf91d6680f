"""How the rules of a bundle do on a box, as a table: what they answer, how often they are right, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeml.cli.tables import moment, row, table

if TYPE_CHECKING:
    from rich.table import Table


def rules_tables(found: Mapping[str, Any], most: int | None) -> tuple[Table, ...]:
    """The tables; without rows where a bundle has no rules, or nothing was audited.

    Args:
        found: The member ``rules`` of a report.
        most: How many rules are shown; None for all that the report has.
    """
    tiers = table("Audited", "tier", "answers", "share", "audited", "the model agrees", right=("answers", "audited"))
    for tier, each in found.get("tiers", {}).items():
        if each["agreement"]:
            row(tiers, tier, f"{each['answers']:,}", f"{each['share']:.1%}", *_interval(each["agreement"]))
    headings = ("answers", "share", "labels", "right by labels", "audited", "the model agrees", "promised", "")
    rules = table("By rule", "rule", *headings, right=("answers", "labels", "audited"))
    listed = found.get("rules", [])
    for each in listed[:most]:
        row(
            rules,
            each["id"],
            f"{each['answers']:,}",
            f"{each['share']:.1%}",
            *_interval(each["precision"]),
            *_interval(each["agreement"]),
            "" if each["promised"] is None else f"{each['promised']:.1%}",
            standing(each),
            style="bold" if each["findings"] or each["disabled"] else None,
        )
    return tiers, rules


def rules_lines(found: Mapping[str, Any], most: int | None) -> list[str]:
    """What is said beside the tables."""
    lines = [text for each in found.get("rules", []) for text in each["findings"].values()]
    lines += [_decision(each) for each in found.get("rules", []) if each["decided"]]
    left_out = found.get("count", 0) - len(found.get("rules", [])[:most])
    if left_out > 0:
        lines.append(f"{left_out} more rules: see --all" if most is not None else f"{left_out} more rules are not told")
    audit = found.get("audit", {})
    if audit.get("dropped"):
        lines.append(f"{audit['dropped']:,} answers that were drawn were not audited: there was no room or no time")
    if audit.get("failed"):
        lines.append(f"{audit['failed']:,} audits failed: the model gave no answer")
    return lines


def standing(rule: Mapping[str, Any]) -> str:
    """What is wrong with a rule, in few words."""
    words = {"precision": "below target", "agreement": "contradicted"}
    said = [words[kind] for kind in words if kind in rule["findings"]]
    if rule["decided"]:
        said.append("DISABLED" if rule["disabled"] else "enabled")
    return ", ".join(said)


def _decision(rule: Mapping[str, Any]) -> str:
    known = rule["decided"]
    word = "disabled until the next bundle" if rule["disabled"] else "enabled again"
    why = f": {known['reason']}" if known["reason"] and known["who"] != "supervisor" else ""
    return f"rule {rule['id']}: {word} by {known['who']} at {moment(known['at'])} UTC{why}"


def _interval(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if not found:
        return "", ""
    return f"{found['rows']:.0f}", f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"
