"""The dashboard: one page that anybody may load, for it holds nothing, and the panels that a token may see.

The page, its style and its script are files beside this one and load nothing from anywhere else. The script asks for
the panels, which are made here as HTML, and puts them in their places; what has not changed is not sent again. A panel
that cannot be drawn says so, and leaves the others alone.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

from edgeml.errors import EdgemlError
from edgeml.supervisor.call import Call, answer
from edgeml.supervisor.dashboard_card import card as rendered_card
from edgeml.supervisor.dashboard_drift import drift_panel
from edgeml.supervisor.dashboard_html import Html, note
from edgeml.supervisor.dashboard_panels import (
    View,
    box_panel,
    card_panel,
    events_panel,
    latency_panel,
    models_panel,
    quality_panel,
    release_panel,
    traffic_panel,
    validation_panel,
)
from edgeml.supervisor.dashboard_rules import rules_panel
from edgeml.supervisor.refusals import Answer, Headers
from edgeml.supervisor.releases import Releases

Reports = Callable[[], Mapping[str, Mapping[str, Any]]]

EVENTS = 50
# Names of the places in the page.
PANELS: Mapping[str, Callable[[View], Html]] = {
    "release": release_panel,
    "traffic": traffic_panel,
    "latency": latency_panel,
    "quality": quality_panel,
    "rules": rules_panel,
    "drift": drift_panel,
    "validation": validation_panel,
    "events": events_panel,
    "card": card_panel,
}
# Nothing is fetched, framed or sent anywhere but to this box, and no script or style inside the page counts. The empty
# icon keeps browsers from asking for one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # An updated box has an updated page.
    ("Cache-Control", "no-cache"),
]


class DashboardPlane:
    """Serves the dashboard.

    Args:
        releases: What is known of releases.
        reports: What was watched, by model, for the bundle that answers; see docs/dashboard.md.
    """

    def __init__(self, releases: Releases, reports: Reports) -> None:
        self._releases = releases
        self._reports = reports

    def page(self, call: Call) -> Answer:
        """The page."""
        known = "yes" if call.caller.may("read") else "no"
        # The script need not ask for a token where a client certificate is enough.
        return _asset("dashboard.html", "text/html", ('data-known="no"', f'data-known="{known}"'))

    def style(self, call: Call) -> Answer:
        """Its style sheet."""
        return _asset("dashboard.css", "text/css")

    def script(self, call: Call) -> Answer:
        """Its script."""
        return _asset("dashboard.js", "text/javascript")

    def panels(self, call: Call) -> Answer:
        """The panels of one model (``?model=``; else the first), without those of ``?have=``."""
        models = self._releases.list()
        wanted = call.query("model")
        chosen = wanted if wanted in models else next(iter(models), "")
        made = {"models": _drawn(partial(models_panel, models, chosen))}
        box = self._releases.status()
        report: Mapping[str, Any] = {}
        if chosen:
            view = self._view(chosen, models[chosen], box, call.caller.may("release"))
            report = view.report
            made |= {name: _drawn(partial(draw, view)) for name, draw in PANELS.items()}
        else:
            made |= {name: note("No bundle is installed yet.") for name in PANELS}
        made["box"] = _drawn(partial(box_panel, box, report))
        marks = {name: f"{name}.{hashlib.sha256(html.encode()).hexdigest()[:12]}" for name, html in made.items()}
        had = set(call.query("have").split("-"))
        document = {
            "model": chosen,
            "have": "-".join(marks.values()),
            "panels": {name: html for name, html in made.items() if marks[name] not in had},
        }
        return answer(document, headers=[("Cache-Control", "no-store")])

    def _view(self, name: str, model: Mapping[str, Any], box: Mapping[str, Any], may_release: bool) -> View:
        return View(
            model=model,
            box=box,
            report=self._reports().get(name) or {},
            events=self._releases.history(name, EVENTS),
            card=self._card(name, model["candidate"] or model["active"]),
            may_release=may_release,
        )

    def _card(self, name: str, digest: str | None) -> Html | None:
        if digest is None:
            return None
        try:
            return _rendered(self._releases.card(name, digest))
        except (EdgemlError, OSError):
            return None  # built without one, or its blob is damaged: that is the doctor's business


@lru_cache(maxsize=8)
def _rendered(data: bytes) -> Html:
    return rendered_card(data)


def _drawn(draw: Callable[[], Html]) -> Html:
    try:
        return draw()
    except Exception as error:
        # Whatever one document holds, an operator still sees the rest, and can go back.
        traceback.print_exception(error, file=sys.stderr)
        return note("This panel cannot be drawn; the service's log says why.", level="bad")


@lru_cache(maxsize=8)
def _read(name: str) -> str:
    return (files("edgeml.supervisor") / "assets" / name).read_text(encoding="utf-8")


def _asset(name: str, kind: str, *changes: tuple[str, str]) -> Answer:
    text = _read(name)
    for old, new in changes:
        text = text.replace(old, new)
    headers: Headers = [("Content-Type", f"{kind}; charset=utf-8"), *_HEADERS]
    return 200, headers, text.encode()
