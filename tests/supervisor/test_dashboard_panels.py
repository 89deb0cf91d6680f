"""The panels: what they say of real-looking documents, of none, of broken ones, and that nothing in them is markup."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from supervisor.dashboard_samples import HOSTILE, NOW, broken, column, hostile, report, wide

from edgeml.supervisor.dashboard import PANELS
from edgeml.supervisor.dashboard_card import MOST_BYTES, card
from edgeml.supervisor.dashboard_drift import drift_panel
from edgeml.supervisor.dashboard_html import Html, count, duration, moment, number, percent, shown, size, tag
from edgeml.supervisor.dashboard_panels import (
    View,
    box_panel,
    events_panel,
    latency_panel,
    models_panel,
    quality_panel,
    release_panel,
    traffic_panel,
    validation_panel,
)
from edgeml.supervisor.dashboard_rules import rules_panel

ONE, TWO = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
# All that the panels are made of. What is not here came from somewhere else.
TAGS = set(
    "a badge button code dd details div dl dt h3 h4 h5 h6 li ol p pre span strong summary table caption thead tbody tr "
    "th td time ul svg rect line circle text".split()
)
ATTRIBUTES = set(
    "class href type role tabindex scope datetime viewbox x y x1 y1 x2 y2 cx cy r width height text-anchor".split()
)
VOID = {"rect", "line", "circle"}


def release(digest: str, version: str, **changes: Any) -> dict[str, Any]:
    return {
        "digest": digest,
        "version": version,
        "state": "confirmed",
        "reason": "",
        "denied": False,
        "installed": NOW,
        "confirmed": True,
    } | changes


def model(**changes: Any) -> dict[str, Any]:
    return {
        "name": "door",
        "active": TWO,
        "previous": ONE,
        "candidate": None,
        "tries_left": None,
        "trial": None,
        "serves": {"digest": TWO, "ready": True, "reason": ""},
        "releases": [release(TWO, "2"), release(ONE, "1", state="superseded")],
    } | changes


def view(document: dict[str, Any] | None = None, **changes: Any) -> View:
    return View(
        **({"model": model(), "report": report() if document is None else document, "may_release": True} | changes)
    )


class Reader(HTMLParser):
    """Reads markup as a browser does; keeps elements, attributes and text, and refuses what is not well formed."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    unknown_decl = handle_decl
    handle_pi = handle_decl

    def check(self) -> Reader:
        """Every element and attribute is one that the panels are made of."""
        for name, attributes in self.elements:
            assert name in TAGS, name
            for key, value in attributes.items():
                assert key in ATTRIBUTES or key.startswith(("data-", "aria-")), (name, key)
                if key == "href":
                    assert value == "#"
        return self

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == name]


def read(markup: Html) -> Reader:
    assert isinstance(markup, Html)
    return Reader(markup).check()


class TestWhatTheySay:
    def test_release(self) -> None:
        found = read(release_panel(view()))
        assert "2 sha256:cdcdcdcdcdcd serving" in found.text
        (button,) = found.all("button")
        assert (button["data-act"], button["data-digest"], button["data-version"]) == ("rollback", TWO, "1")
        assert read(release_panel(view(may_release=False))).all("button") == []

    def test_a_trial(self) -> None:
        trial = {
            "verdict": "hold",
            "signal": "",
            "reason": "too few answers",
            "elapsed_seconds": 12.5,
            "requests": 40,
            "needed": {"seconds": 47.5, "requests": 60},
            "signals": {"fallback_rate": {"value": 0.01, "limit": 0.05, "state": "fine"}},
            "warnings": [{"signal": "memory", "reason": "it grows"}],
        }
        found = read(release_panel(view(model=model(candidate=TWO, active=ONE, tries_left=2, trial=trial))))
        for words in ("40 answers in 12.5 s; 60 answers and 47.5 s to go", "too few answers", "2 starts left"):
            assert words in found.text
        assert "memory: it grows" in found.text and "fallback rate" in found.text
        confirm, back = found.all("button")
        assert (confirm["data-act"], confirm["data-digest"]) == ("confirm", TWO)
        assert (back["data-act"], back["data-digest"], back["data-version"]) == ("rollback", TWO, "1")

    @pytest.mark.parametrize(
        ("serves", "words"),
        [
            (None, "no worker serves it"),
            ({"digest": None, "ready": False, "reason": "no memory"}, "not served no memory"),
            ({"digest": ONE, "ready": True, "reason": ""}, "is being exchanged"),
        ],
    )
    def test_what_is_not_served(self, serves: Any, words: str) -> None:
        assert words in read(release_panel(view(model=model(serves=serves)))).text

    def test_nothing_active_and_nothing_to_go_back_to(self) -> None:
        bare = model(active=None, previous=None, serves=None, releases=[])
        found = read(release_panel(view(model=bare)))
        assert found.all("button") == [] and "nothing to go back to" in found.text
        assert "There is no card" in read(PANELS["card"](view(model=bare))).text

    def test_traffic(self) -> None:
        found = read(traffic_panel(view()))
        for words in ("17.5 answers/s", "4\u202f321", "69.4 %", "30.1 %", "0.5 %"):
            assert words in found.text
        labels = [each["aria-label"] for each in found.all("svg")]
        assert labels[1] == "Answers by tier: rule 69.4 %, model 30.1 %, fallback 0.5 %."
        assert "at most 90 in a minute" in str(labels[0])
        assert len([each for each in found.all("rect") if each["class"] == "answered"]) == 54

    def test_a_middle_tier_is_shown_where_there_is_one(self) -> None:
        found = read(traffic_panel(view(report(tiers={"rule": 30, "middle": 50, "model": 20, "fallback": 0}))))
        labels = [each["aria-label"] for each in found.all("svg")]
        assert labels[1] == "Answers by tier: rule 30.0 %, middle 50.0 %, model 20.0 %, fallback 0.0 %."
        assert any("tier-middle" in str(each["class"]) for each in found.all("rect"))

    def test_latency(self) -> None:
        found = read(latency_panel(view()))
        for words in (
            "80 µs",
            "600 µs",
            "2.1 ms",
            "36 ms",
            "holds",
            "burns fast",
            "20.8",
            "21 of 4\u202f321 (0.49 %)",
            "-20.0 %",
        ):
            assert words in found.text, words
        (drawn,) = found.all("svg")
        assert "rule: median 80 µs, 99.9th percentile 2.1 ms" in str(drawn["aria-label"])
        assert "limit p99: 5 ms; limit deadline: 50 ms" in str(drawn["aria-label"])

    def test_quality(self) -> None:
        found = read(quality_panel(view()))
        for words in ("94.1 %", "92.1 % to 95.7 %", "85.0 %", "labels contradict the estimate"):
            assert words in found.text
        assert "estimated 94.1 %, from 92.1 % to 95.7 %; realised 85.0 %" in str(found.all("svg")[0]["aria-label"])

    def test_quality_of_values_and_without_an_estimate(self) -> None:
        errors = {"rows": 12, "mean_absolute_error": 1.5, "root_mean_squared_error": 2.25}
        quality = {
            "estimated": None,
            "realised": {"by_tier": {"model": errors, "rule": {"rows": 0}}},
            "agreement": None,
            "notes": ["no estimate without labels: the model answers with numbers"],
        }
        found = read(quality_panel(view(report(quality=quality))))
        assert "1.5" in found.text and "2.25" in found.text
        assert "No estimate without labels: the model answers with numbers." in found.text
        assert "No label has come back yet" in read(quality_panel(view(report(quality={})))).text

    def test_rules(self) -> None:
        found = read(rules_panel(view()))
        for part in ("big", "below its target", "disabled", "99.0 %", "85.0 % of 320 (79.0 % to 90.0 %)", "small"):
            assert part in found.text, part
        assert "3 drawn answers were not audited" in found.text and "1 more rules are not shown" in found.text
        assert "has no rules" in read(rules_panel(view(report(rules={})))).text

    def test_drift(self) -> None:
        found = read(drift_panel(view()))
        assert (
            "1 alarm over 3\u202f210 rows" in found.text
            and "one false alarm in 30 days: evidence of 10^6.1" in found.text
        )
        assert "effect (PSI) 0.412, evidence 10^7.25" in found.text and "shown only" in found.text
        (button,) = found.all("button")
        assert (button["data-act"], button["data-column"]) == ("acknowledge", "bill_length_mm")
        plots = found.all("svg")
        assert len(plots) == 4
        assert "50 to 60 20.0 % then, 46.8 % now" in str(plots[0]["aria-label"])

    def test_thousands_of_columns(self) -> None:
        found = read(drift_panel(view(wide(4000))))
        assert len(found.all("svg")) == 50
        assert "The 50 of 4\u202f000 columns that moved most are shown." in found.text

    def test_a_column_of_a_thousand_bins_is_a_small_plot(self) -> None:
        many = 1000
        one = column(
            bins=[f"level {n}" for n in range(many)], reference=[1 / many] * many, current=[0.0] * (many - 1) + [1.0]
        )
        found = read(drift_panel(view(report(drift={"rows": 5, "columns": [one]}))))
        assert len([each for each in found.all("rect")]) <= 2 * 64
        assert "level 999 0.1 % then, 100.0 % now" in str(found.all("svg")[0]["aria-label"])

    def test_validation(self) -> None:
        found = read(validation_panel(view()))
        for words in (
            "field `country` now arrives as `Country`",
            "above max 3, not a number 1",
            "too large",
            "Country (12)",
        ):
            assert words in found.text

    def test_many_findings_and_fields(self) -> None:
        finding = report()["validation"]["findings"][0]
        fields = {f"f{n}": {"missing": n + 1} for n in range(500)}
        found = read(validation_panel(view(report(validation={"findings": [finding] * 30, "fields": fields}))))
        assert (
            "10 more findings are not shown" in found.text
            and "50 fields that were refused most are shown, of 500" in found.text
        )
        assert "f499" in found.text and "f449" not in found.text

    def test_events(self) -> None:
        events = [
            {
                "at": NOW,
                "who": "api:ops",
                "kind": "rolled_back",
                "digest": TWO,
                "reason": "odd",
                "signal": "fallback_rate",
            },
            {
                "at": NOW - 5,
                "who": "supervisor",
                "kind": "drift_alarm",
                "digest": None,
                "reason": "island",
                "signal": "",
            },
        ]
        found = read(events_panel(view(events=events)))
        assert "2026-09-21 14:13:20 rolled back 2 sha256:cdcdcdcdcdcd by api:ops odd (fallback rate)" in found.text
        assert [each["class"] for each in found.all("span")][:1] == ["badge bad"]
        assert "badge warn" in [each["class"] for each in found.all("span")]

    def test_models(self) -> None:
        listed = {"door": model(), "odd": model(candidate=ONE), "off": model(serves=None)}
        found = read(models_panel(listed, "odd"))
        assert [each.get("aria-current") for each in found.all("a")] == [None, "true", None]
        assert "door serving" in found.text and "odd on trial" in found.text and "off not served" in found.text

    def test_the_box(self) -> None:
        box = {
            "storage": {"used_bytes": 2048, "quota_bytes": 2**31, "free_bytes": 3 * 2**30},
            "problems": ["the journal: disk full"],
            "live": {"worker": {"pid": 7, "deaths": 3, "rss_bytes": 2**20}, "degraded": "the journal: disk full"},
        }
        found = read(box_panel(box, report(monitors={"failure": "no room for monitors"})))
        for words in ("2 KiB of 2 GiB", "3 GiB", "process 7, 1 MiB", "440 records, 320 labels, 1 dropped"):
            assert words in found.text
        assert found.text.count("disk full") == 1 and "no room for monitors" in found.text


@pytest.mark.parametrize("name", sorted(PANELS))
def test_nothing_known(name: str) -> None:
    bare = model(active=None, previous=None, serves=None, releases=[])
    found = read(PANELS[name](View(model=bare)))
    assert len(found.text) > 10 and found.all("svg") == []


@pytest.mark.parametrize("name", sorted(PANELS))
@pytest.mark.parametrize("case", range(5))
def test_broken_numbers(name: str, case: int) -> None:
    found = read(PANELS[name](view(broken()[case])))
    drawn = " ".join(str(value) for each in found.elements for key, value in each[1].items() if key in ATTRIBUTES)
    assert not re.search(r"\b(nan|inf|None)\b", drawn), drawn
    for _, attributes in found.elements:
        for key in ("width", "height", "r"):
            assert float(attributes.get(key) or 0) >= 0


class TestHostileTexts:
    def attacked(self) -> View:
        one = release(TWO, HOSTILE, state=HOSTILE, reason=HOSTILE)
        trial = {"verdict": HOSTILE, "reason": HOSTILE, "warnings": [{"signal": HOSTILE, "reason": HOSTILE}]}
        trial["signals"] = {HOSTILE: {"value": 1, "limit": 2, "state": HOSTILE}}
        attacked = model(
            name=HOSTILE,
            candidate=TWO,
            active=ONE,
            serves={"digest": TWO, "ready": False, "reason": HOSTILE},
            releases=[one, release(ONE, HOSTILE)],
            trial=trial,
        )
        events = [{"at": 1, "who": HOSTILE, "kind": HOSTILE, "digest": TWO, "reason": HOSTILE, "signal": HOSTILE}]
        return View(model=attacked, report=hostile(), events=events, card=card(HOSTILE.encode()), may_release=True)

    @pytest.mark.parametrize("name", sorted(PANELS))
    def test_are_shown_as_texts(self, name: str) -> None:
        markup = PANELS[name](self.attacked())
        found = read(markup)
        assert "<script" not in markup and "<img" not in markup
        if name not in ("quality", "traffic"):
            assert "<script>" in found.text  # as people read it
        for hidden in "\u202e\x00\x1b":
            assert hidden not in found.text
            for _, attributes in found.elements:
                # What a button names is letter by letter what the box knows; all else is for people.
                exact = ("data-model", "data-column", "data-keep", "data-digest")
                assert all(hidden not in str(value) for key, value in attributes.items() if key not in exact)

    def test_what_a_button_names_comes_back_as_it_was(self) -> None:
        """A button must name what the box knows, or nothing could be acknowledged."""
        name = "a \"b\" <c> & 'd' \u202e\u200d"
        found = read(drift_panel(view(report(drift={"rows": 1, "columns": [column(name)]}))))
        assert found.all("button")[0]["data-column"] == name
        assert read(models_panel({name: model()}, name)).all("a")[0]["data-model"] == name

    def test_models_and_the_box(self) -> None:
        found = read(models_panel({HOSTILE: model()}, ""))
        assert "<script>" in found.text
        box = {"problems": [HOSTILE], "live": {"degraded": HOSTILE, "worker": {"pid": HOSTILE}}}
        assert "<script>" in read(box_panel(box, {})).text

    def test_long_texts_are_cut(self) -> None:
        assert len(shown("x" * 10_000)) == 400 and shown("x" * 400) == "x" * 400
        long = model(name="n" * 100_000, releases=[release(TWO, "v" * 100_000), release(ONE, "w" * 100_000)])
        assert len(read(release_panel(view(model=long))).text) < 10_000


class TestCards:
    def test_the_markdown_of_cards(self) -> None:
        text = (
            "# door 1\n\nFirst line\nsecond **strong** and `code <b>`.\n\n## Tiers\n\n- rule: 82\n- model: 22\n\n"
            "| rule | when |\n|---|---|\n| a | `x < 3 \\| y` |\n\n```\n<raw> **not strong**\n```\nend"
        )
        found = read(card(text.encode()))
        assert [each for each, _ in found.elements] == (
            ["div", "h3", "p", "strong", "code", "h4", "ul", "li", "li"]
            + ["div", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td", "code", "pre", "code", "p"]
        )
        for words in ("First line second strong and code <b>.", "x < 3 | y", "<raw> **not strong**\n", "end"):
            assert words in found.text

    @pytest.mark.parametrize(
        "text",
        [
            "<script>alert(1)</script>",
            "[click](javascript:alert(1)) ![x](http://evil/x.png) <http://evil>",
            "| <img src=x onerror=alert(1)> |\n|---|\n| </td></table><script> |",
            "```\n</code></pre><script>\n",
            "**<b onload=x>** `</code><script>`",
            "# </h3><iframe src=//evil>",
            "|---|",
            "|\n|",
            "```",
            "- \n* a\n+ <i>",
            "**" * 4000 + "`" * 4001,
            "&lt;b&gt;",
        ],
    )
    def test_nothing_else_is_markup(self, text: str) -> None:
        found = read(card(text.encode()))
        assert "href" not in {key for _, attributes in found.elements for key in attributes}
        assert read(card(b"\xff\xfe" + text.encode())).text.startswith("\ufffd")

    def test_a_huge_card_is_cut_and_says_so(self) -> None:
        huge = b"| a | b |\n|---|---|\n" + b"| -:-:-:-:-:-:x |\n" * 100_000
        markup = card(huge)
        assert "The card goes on" in read(markup).text and len(markup) < 5 * MOST_BYTES
        assert "The card goes on" in read(card(b"x" * (MOST_BYTES + 1))).text


class TestWords:
    def test_numbers(self) -> None:
        assert (number(0.123456), number(None), number(float("nan")), number(True)) == ("0.123", "–", "–", "–")
        assert (count(1234567), count("7")) == ("1\u202f234\u202f567", "–")
        assert (percent(0.1234), percent(0.5, 0)) == ("12.3 %", "50 %")
        assert [duration(each) for each in (80, 1500, 2_500_000, None)] == ["80 µs", "1.5 ms", "2.5 s", "–"]
        assert [size(each) for each in (12, 2048, 5 * 2**50, None)] == ["12 bytes", "2 KiB", "5120 TiB", "–"]

    @pytest.mark.parametrize("at", [None, "x", -1, 1e300, float("inf")])
    def test_moments_that_are_none(self, at: Any) -> None:
        assert moment(at) == "–"

    def test_elements(self) -> None:
        assert tag("p", "a<b", None, Html("<i></i>"), class_="x", data_a='"', hidden=True, title=None, lang=False) == (
            '<p class="x" data-a="&quot;" hidden>a&lt;b<i></i></p>'
        )
        assert tag("rect", x="1") == '<rect x="1"/>'

    def test_samples_are_not_changed(self) -> None:
        document = report()
        before = copy.deepcopy(document)
        for draw in PANELS.values():
            draw(view(document))
        assert document == before
