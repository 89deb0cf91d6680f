"""The dashboard over HTTP: what is open to all, what needs a token, what is sent again; and the colours."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pytest
from bundles.releases import installed
from supervisor.boxes import Box
from supervisor.dashboard_samples import HOSTILE, hostile, report, wide

from edgeml.supervisor import dashboard
from edgeml.supervisor.dashboard import PANELS

ASSETS = files("edgeml.supervisor") / "assets"
PLACES = {"models", "box", *PANELS}


@pytest.fixture
def watched(new_box: Any) -> Box:
    """A box on which version 2 of ``door`` answers, and 1 did; its reports can be changed."""
    reports: dict[str, Any] = {"door": report()}
    box: Box = new_box(reports=lambda: reports)
    box.reports = reports
    installed(box.store, "1", "2")
    for version in ("1", "2"):
        assert box.post("/v1/models/door/activate?wait=20", version=version, now=True).status == 200
    return box


def panels(box: Box, query: str = "", **options: Any) -> dict[str, Any]:
    said = box.ask("GET", f"/v1/dashboard{query}", **options)
    assert said.status == 200, said
    assert said.headers["cache-control"] == "no-store" and said.headers["content-type"] == "application/json"
    document: dict[str, Any] = said.json
    return document


class TestThePage:
    @pytest.mark.parametrize(
        ("path", "kind"), [("/", "text/html"), ("/dashboard.css", "text/css"), ("/dashboard.js", "text/javascript")]
    )
    def test_is_open_to_all_and_holds_nothing(self, watched: Box, path: str, kind: str) -> None:
        said = watched.ask("GET", path, token="")
        assert (said.status, said.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        policy = said.headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
            assert part in policy
        assert "unsafe" not in policy and "http" not in policy
        assert said.headers["x-content-type-options"] == "nosniff" and said.headers["referrer-policy"] == "no-referrer"
        assert b"door" not in said.body and b"sha256" not in said.body

    def test_names_nothing_outside_and_has_no_script_or_style_of_its_own(self) -> None:
        for each in ("dashboard.html", "dashboard.css", "dashboard.js"):
            text = (ASSETS / each).read_text()
            assert not re.search(r"https?:|//[a-z]|@import|url\(", text.replace("// ", "")), each
        page = (ASSETS / "dashboard.html").read_text()
        assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,", "/dashboard.css", "/dashboard.js", "#main"]
        assert "<style" not in page and not re.search(r"\s(style|on\w+)=", page)

    def test_nothing_moves(self) -> None:
        """So there is nothing to leave out for those who wish for less motion."""
        whole = "".join((ASSETS / f"dashboard.{kind}").read_text() for kind in ("html", "css", "js"))
        assert not re.search(r"transition|animat|@keyframes|smooth|<marquee|<blink", whole)

    def test_has_a_place_for_every_panel_with_a_heading(self) -> None:
        page = (ASSETS / "dashboard.html").read_text()
        assert set(re.findall(r'id="panel-(\w+)"', page)) == PLACES
        labels = re.findall(r'<section aria-labelledby="([\w-]+)"', page)
        assert len(labels) == len(PLACES) - 1
        for each in labels:
            assert f'<h2 id="{each}">' in page

    def test_a_caller_that_is_known_without_a_token_is_not_asked_for_one(self, new_box: Any) -> None:
        box = new_box()
        assert b'data-known="no"' in box.ask("GET", "/", token="").body
        assert b'data-known="yes"' in box.ask("GET", "/").body

    def test_a_token_that_is_none_is_refused_without_a_question_of_the_browser(self, watched: Box) -> None:
        for token, code in (("", 401), ("nonsense", 401)):
            said = watched.ask("GET", "/v1/dashboard", token=token)
            assert (said.status, said.code) == (code, "unauthorized")
            assert said.headers["www-authenticate"].startswith("Bearer ")


class TestThePanels:
    def test_of_a_box_with_a_model(self, watched: Box) -> None:
        found = panels(watched)
        assert found["model"] == "door" and set(found["panels"]) == PLACES
        assert (
            "<strong>2</strong>" in found["panels"]["release"] and 'data-act="rollback"' in found["panels"]["release"]
        )
        assert "bill_length_mm" in found["panels"]["drift"] and "activated" in found["panels"]["events"]
        assert "440 records" in found["panels"]["box"] and "<h3>door</h3>" in found["panels"]["card"]

    def test_of_an_empty_box(self, box: Box) -> None:
        found = panels(box)
        assert found["model"] == "" and set(found["panels"]) == PLACES
        assert "No bundle is installed yet" in found["panels"]["models"]
        assert all("No bundle is installed yet" in found["panels"][name] for name in PANELS)
        assert "Free on disk" in found["panels"]["box"]

    def test_of_a_box_that_nobody_watches(self, new_box: Any) -> None:
        box = new_box()
        installed(box.store, "1")
        assert box.post("/v1/models/door/activate?wait=20", version="1", now=True).status == 200
        found = panels(box)["panels"]
        assert "Nothing has been asked" in found["traffic"] and "no drift reference" in found["drift"]
        assert "Nothing has been measured" in found["latency"]

    def test_what_has_not_changed_is_not_sent_again(self, watched: Box) -> None:
        first = panels(watched)
        assert panels(watched, f"?have={first['have']}")["panels"] == {}
        watched.reports["door"] = report(answered=5000)
        again = panels(watched, f"?model=door&have={first['have']}")
        assert set(again["panels"]) == {"traffic"} and "5\u202f000" in again["panels"]["traffic"]
        assert set(panels(watched, "?have=nonsense-%00")["panels"]) == PLACES

    def test_several_models(self, watched: Box) -> None:
        installed(watched.store, "1", name="window")
        assert watched.post("/v1/models/window/activate?wait=20", version="1", now=True).status == 200
        watched.reports["window"] = report(answered=77)
        door, window = panels(watched), panels(watched, "?model=window")
        assert (door["model"], window["model"]) == ("door", "window")
        assert 'data-model="door"' in door["panels"]["models"] and 'data-model="window"' in door["panels"]["models"]
        assert ">77<" in window["panels"]["traffic"] and ">77<" not in door["panels"]["traffic"]
        assert panels(watched, f"?model={quote(HOSTILE)}")["model"] == "door"

    def test_a_token_that_may_only_read_has_no_buttons(self, watched: Box) -> None:
        token = watched.tokens.create("looks", ["read"])
        found = panels(watched, token=token)["panels"]
        assert "<button" not in "".join(found.values()) and "may only read" in found["release"]

    def test_a_panel_that_cannot_be_drawn_leaves_the_others(self, watched: Box, capfd: Any) -> None:
        watched.reports["door"] = report(latency=["no such thing"])
        found = panels(watched)["panels"]
        assert "cannot be drawn" in found["latency"] and "4\u202f321" in found["traffic"]
        assert "AttributeError" in capfd.readouterr().err

    def test_hostile_and_wide_documents(self, watched: Box) -> None:
        for document in (hostile(), wide(3000)):
            watched.reports["door"] = document
            whole = "".join(panels(watched)["panels"].values())
            assert "<script" not in whole and "cannot be drawn" not in whole
            assert len(whole) < 400_000

    def test_a_card_is_rendered_once(self, watched: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        rendered = []
        original = dashboard.rendered_card
        monkeypatch.setattr(dashboard, "rendered_card", lambda data: rendered.append(data) or original(data))
        dashboard._rendered.cache_clear()
        for _ in range(3):
            panels(watched)
        assert len(rendered) == 1


# foreground, background, least ratio: text 4.5, and what has to be told apart 3 (WCAG 2.2, 1.4.3 and 1.4.11).
PAIRS = (
    [(text, back, 4.5) for text in ("text", "muted", "link", "warn", "bad") for back in ("surface", "page")]
    + [(word, f"{word}-back", 4.5) for word in ("good", "warn", "bad")]
    + [("text", "none-back", 4.5), ("button-text", "button", 4.5)]
    + [(part, "surface", 3.0) for part in ("reference", "current", "tier-rule", "tier-model", "tier-fallback")]
    + [(part, "surface", 3.0) for part in ("border", "focus", "button")]
    + [("border", "page", 3.0), ("focus", "page", 3.0)]
)


def luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def schemes() -> dict[str, dict[str, str]]:
    text = (ASSETS / "dashboard.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", text, re.S)
    )
    return {"light": light, "dark": dark}


class TestColours:
    def test_the_formula(self) -> None:
        assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
        assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, scheme: str) -> None:
        colours = schemes()[scheme]
        low = {
            (one, other): round(contrast(colours[one], colours[other]), 2)
            for one, other, least in PAIRS
            if contrast(colours[one], colours[other]) < least
        }
        assert low == {}

    def test_every_colour_is_a_variable_that_both_schemes_have(self) -> None:
        text = (ASSETS / "dashboard.css").read_text()
        both = schemes()
        assert both["light"].keys() == both["dark"].keys()
        assert set(re.findall(r"var\(--([\w-]+)\)", text)) == set(both["light"])
        outside = re.sub(r":root \{.*?\}", "", text, flags=re.S)
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?![\w:.-])", outside) == []

    def test_every_class_of_the_plots_has_a_style(self) -> None:
        text = (ASSETS / "dashboard.css").read_text()
        for each in (
            "answered",
            "refused",
            "reference",
            "current",
            "tier-rule",
            "tier-model",
            "tier-fallback",
            "empty",
        ):
            assert re.search(rf"rect\.{each}\b[^{{}}]*{{ fill: var", text), each
