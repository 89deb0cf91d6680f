"""The dashboard's panel of rules: what they answer, whether they are right, and which are disabled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeml.supervisor.dashboard_html import NOTHING, Html, badge, count, join, note, percent, table
from edgeml.supervisor.dashboard_panels import View

MOST_RULES = 50
_FOUND = {"precision": "below its target", "agreement": "the model contradicts it"}


def rules_panel(view: View) -> Html:
    """The rules of the bundle that answers, those that are wrong first."""
    found = view.report.get("rules") or {}
    listed = found.get("rules") or []
    if not listed:
        return note("The bundle has no rules, or nothing was counted of them yet.")
    rows = [
        (
            str(each.get("id")),
            _standing(each),
            count(each.get("answers")),
            percent(each.get("share")),
            percent(each.get("promised")),
            _figure(each.get("precision")),
            _figure(each.get("agreement")),
        )
        for each in listed[:MOST_RULES]
    ]
    headings = ("rule", "", "answers", "share", "promised", "right by labels", "the model agrees")
    parts = [table("Rules", headings, rows, numbers=5)]
    for each in listed:
        parts += [note(str(text), level="bad") for text in (each.get("findings") or {}).values()]
    left_out = (found.get("count") or 0) - min(len(listed), MOST_RULES)
    if left_out > 0:
        parts.append(note(f"{count(left_out)} more rules are not shown."))
    audited = [
        (tier, count(each.get("answers")), _figure(each.get("agreement")))
        for tier, each in (found.get("tiers") or {}).items()
        if each.get("agreement")
    ]
    if audited:
        parts.append(
            table("Answers that were put to the model too", ("tier", "answers", "it agrees"), audited, numbers=2)
        )
    audit = found.get("audit") or {}
    if audit.get("dropped") or audit.get("failed"):
        lost = f"{count(audit.get('dropped'))} drawn answers were not audited for want of room or time"
        parts.append(note(f"{lost}, {count(audit.get('failed'))} audits failed."))
    return join(parts)


def _standing(rule: Mapping[str, Any]) -> Html | None:
    words = [badge(_FOUND.get(kind, kind), "bad") for kind in rule.get("findings") or {}]
    if rule.get("disabled"):
        words.append(badge("disabled", "warn"))
    return join(words) if words else None


def _figure(figure: Any) -> str:
    if not isinstance(figure, Mapping):
        return NOTHING
    ends = f"{percent(figure.get('low'))} to {percent(figure.get('high'))}"
    return f"{percent(figure.get('value'))} of {count(figure.get('rows'))} ({ends})"
