"""The drift panel: alarms first, then the columns that moved most, each with its small histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeml.supervisor import dashboard_svg as svg
from edgeml.supervisor.dashboard_html import (
    NOTHING,
    Html,
    badge,
    count,
    is_number,
    join,
    moment,
    note,
    number,
    percent,
    shown,
    tag,
)
from edgeml.supervisor.dashboard_panels import View, keys

MOST_COLUMNS = 50
_LEVELS = {"drift": ("drift", "bad"), "small": ("small change", "warn"), "none": ("as in the reference", "good")}


def drift_panel(view: View) -> Html:
    """What arrives now beside what the bundle was built with."""
    drift = view.report.get("drift") or {}
    columns = drift.get("columns") or []
    if not columns:
        return note("The bundle has no drift reference, or nothing has been asked of it yet.")
    latched = [each for each in columns if each.get("latched")]
    waiting = [each for each in latched if not each.get("acknowledged")]
    if waiting:
        head = badge(f"{count(len(waiting))} {'alarm' if len(waiting) == 1 else 'alarms'}", "bad")
    elif latched:
        head = badge(f"{count(len(latched))} acknowledged", "warn")
    else:
        head = badge("no alarm", "good")
    parts: list[Html] = [note(head, f" over {count(drift.get('rows'))} rows. ", _budget(drift))]
    parts += [note(str(each), level="warn") for each in drift.get("notes") or []]
    if drift.get("unwatched") and not drift.get("notes"):
        parts.append(note(f"{count(drift['unwatched'])} features are beyond the most that are watched."))
    parts.append(keys(("reference", "reference"), ("current", "now")))
    parts.append(tag("ol", *(_column(view, each) for each in columns[:MOST_COLUMNS]), class_="columns"))
    if len(columns) > MOST_COLUMNS:
        parts.append(note(f"The {MOST_COLUMNS} of {count(len(columns))} columns that moved most are shown."))
    return join(parts)


def _budget(drift: Mapping[str, Any]) -> str:
    days, threshold = drift.get("budget_days"), drift.get("threshold")
    if not is_number(threshold):
        return ""
    promised = (
        f"at most one false alarm in {number(days)} days" if is_number(days) else "a bounded rate of false alarms"
    )
    return f"Alarms are set for {promised}: evidence of 10^{number(threshold)} and an effect that matters."


def _column(view: View, column: Mapping[str, Any]) -> Html:
    name = str(column.get("name"))
    word, level = _LEVELS.get(str(column.get("level")), (str(column.get("level")), "none"))
    if not column.get("watched", True):
        word, level = "shown only", "none"
    latched, acknowledged = column.get("latched"), column.get("acknowledged")
    state = [badge(word, level)]
    if latched:
        state.append(badge("acknowledged" if acknowledged else "alarm", "warn" if acknowledged else "bad"))
    evidence = column.get("evidence")
    said = [
        f"effect (PSI) {number(column.get('effect') if is_number(column.get('effect')) else column.get('psi'))}",
        f"evidence 10^{number(evidence)}" if is_number(evidence) else "",
        f"Jensen–Shannon {number(column.get('jensen_shannon'))}",
        f"{count(column.get('rows'))} rows",
        f"{percent(column.get('missing'))} missing" if column.get("missing") else "",
    ]
    since = join((" since ", moment(column.get("since")))) if latched else None
    plot = svg.histogram(name, column.get("bins") or [], column.get("reference") or [], column.get("current") or [])
    button = None
    if latched and not acknowledged and view.may_release:
        button = tag(
            "button",
            "Acknowledge",
            type="button",
            data_act="acknowledge",
            data_model=view.name,
            data_column=name,
            data_called=shown(name, longest=80),
            data_keep=f"acknowledge {name}",
            aria_label=f"Acknowledge the alarm of {shown(name, longest=80)}",
        )
    return tag(
        "li",
        plot,
        tag(
            "div",
            tag("strong", name, class_="column"),
            f" {column.get('kind') or NOTHING} ",
            *state,
            since,
            tag("p", ", ".join(each for each in said if each), class_="figures"),
            button,
        ),
        class_="column-row",
    )
