"""The dashboard before a box that is really watched: what it shows is what the traffic was, and its buttons work."""

import json
from contextlib import suppress
from types import SimpleNamespace

import pytest
from cli.invoices import records, table
from supervisor.running_store import running, until
from supervisor.test_dashboard_browser import browser, looking  # noqa: F401
from supervisor.test_watching_box import bundle, predict, root, wait_answered  # noqa: F401

from edgeml.bundles.store import Store
from edgeml.supervisor.tokens import Tokens


@pytest.fixture
def box(root, bundle):  # noqa: F811
    """A box with two releases, the second of which answers, and a token that may release."""
    from edgeml.bundles import Bundle

    store = Store(root)
    second = Bundle.create(dict(bundle.config) | {"version": "2"}, dict(bundle.members))
    store.activate(store.install(second), now=True)
    token = Tokens(root).create("operator", ("release",))
    with running(root, manage_port=0) as found:
        yield SimpleNamespace(box=found, manage=found.manage, token=token)


def test_every_panel_shows_the_traffic_that_was(browser, box):  # noqa: F811
    frame, truth = table(1200, 5)
    given = []
    for start in range(0, 1200, 300):
        given += predict(box.box, json.loads(frame[start : start + 300].to_json(orient="records")))
    told = [{"id": each["id"], "label": str(label)} for each, label in zip(given[:400], truth[:400], strict=True)]
    assert box.box.post("/v1/feedback", {"feedback": told})[0] == 200
    right = sum(each["label"] == label for each, label in zip(given[:400], truth[:400], strict=True))
    for each in records(7, 2):
        each["Country"] = each.pop("country")
        assert box.box.post("/v1/predict", {"records": [each]})[0] == 400
    wait_answered(box.box, 1200)
    with looking(browser, box) as eyes:
        eyes.sees("#panel-models", "invoices serving")
        eyes.sees("#panel-release", "Roll back to 1")
        eyes.sees("#panel-traffic", "1\u202f200")
        eyes.sees("#panel-latency", "holds")
        eyes.sees("#panel-quality", f"{100 * right / 400:.1f} %")
        eyes.sees("#panel-drift", "no alarm")
        eyes.sees("#panel-validation", "now arrives as `Country`")
        eyes.sees("#panel-box", "process ")
        eyes.sees("#panel-events", "activated")
        eyes.sees("#panel-card", "LogisticRegression")

        # The world changes, the page shows it by itself, and the alarm is acknowledged by its button.
        for batch in range(6):
            predict(box.box, records(500, 30 + batch, mean=64.0))
        eyes.sees("#panel-drift", "amount")
        until(lambda: eyes.page.locator("text=Acknowledge").count(), why="an alarm on the page")
        eyes.page.locator("button", has_text="Acknowledge").first.click()
        with suppress(Exception):  # where the page asks first
            eyes.page.click("#ask-yes", timeout=2000)
        eyes.sees("#panel-events", "acknowledged")

        eyes.page.click("text=Roll back to 1")
        eyes.page.click("#ask-yes")
        eyes.sees("#outcome", "Roll back: done.")
        eyes.sees("#panel-events", "rolled back")
        # What it counts is the other release's now.
        predict(box.box, records(11, 1))
        eyes.sees("#panel-traffic", "11")
        eyes.check()
