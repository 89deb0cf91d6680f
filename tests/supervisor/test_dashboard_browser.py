"""The dashboard in a real browser, before a real box: what it shows, what its buttons do, and who can use it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from supervisor import dashboard_samples as samples
from supervisor import penguin_bundles as made
from supervisor.running_store import BODY, JSON, PATIENCE_S, Running, end_left, store_of, until

from edgeml.bundles import Bundle
from edgeml.bundles.store import Store
from edgeml.supervisor.tokens import Tokens
from models.browser import PATIENCE_MS, NoBrowser, chromium, screenshot, sign_in

MODEL = "penguins"
HERE = Path(__file__).parent
PANELS = ("release", "traffic", "latency", "quality", "drift", "validation", "box", "events", "card")


class DashboardBox(Running):
    """A box with two releases of the penguins; the second answers.

    Attributes:
        manage: Address of its dashboard.
        token: May read and release.
        digests: Bare, of both releases.
    """

    def __init__(self, root: Path, bundle: Bundle) -> None:
        self.root = root
        store, self.digests = store_of(root, made.version(bundle, "1"), made.version(bundle, "2"))
        store.activate(self.digests[1], now=True)
        self.token = Tokens(root).create("office", ("release",))
        self.uds = None
        self.bundle = bundle
        self.reports = root.parent / "reports.json"
        self.watch(samples.report(now=time.time()))
        self._log = root.parent / "box.log"
        # Not 0: a box that starts again on a port that the system chose may find it still in use.
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.manage_port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        words = ["serve", "--store", str(self.root), "--port", "0", "--manage-port", str(self.manage_port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "dashboard_box.py"), str(self.reports), *words],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"listens on http://127\.0\.0\.1:(\d+), management on (\S+)$", line.strip())
        assert found, (line, self._log.read_text())
        self.port, self.manage = int(found[1]), found[2]

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        with suppress(OSError, ValueError):
            end_left(self.root)

    def watch(self, report: dict[str, Any]) -> None:
        """Changes what the dashboard is told of the watching."""
        whole = self.reports.with_suffix(".new")
        whole.write_text(json.dumps({MODEL: report}), encoding="utf-8")
        os.replace(whole, self.reports)

    def ask(self, times: int) -> None:
        """Real traffic."""
        connection = self.connect()
        for _ in range(times):
            connection.request("POST", "/v1/predict", BODY, JSON)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
        connection.close()

    @property
    def active(self) -> str | None:
        return Store(self.root).state().models[MODEL].active


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with suppress_missing(), chromium(install=True) as found:
        yield found


@contextmanager
def suppress_missing() -> Iterator[None]:
    try:
        yield
    except NoBrowser as error:
        pytest.skip(f"the dashboard is not tried in a browser: {error}")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: Any, penguins_bundle: Bundle) -> Iterator[DashboardBox]:
    """A box that no test changes."""
    box = DashboardBox(tmp_path_factory.mktemp("standing") / "store", penguins_bundle)
    yield box
    box.stop()


@pytest.fixture
def box(tmp_path: Path, penguins_bundle: Bundle) -> Iterator[DashboardBox]:
    """A box of a test's own."""
    box = DashboardBox(tmp_path / "store", penguins_bundle)
    yield box
    box.stop()


class Eyes:
    """A page that is watched: what it asks for, and what it complains of.

    Args:
        page: The page.
        origin: The one place that it may ask.
    """

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )

    def check(self, *, complaints: int = 0) -> None:
        """It asked nobody else, and had nothing to complain of."""
        assert self.requests and [url for url in self.requests if not url.startswith((self.origin, "data:"))] == []
        assert len(self.complaints) <= complaints, self.complaints

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def sees(self, selector: str, words: str) -> None:
        """Waits until a place says something."""
        until(lambda: words in self.text(selector), why=f"{selector} says {words!r}; it says {self.text(selector)!r}")


@contextmanager
def looking(browser: Any, box: DashboardBox, *, token: str | None = None, **options: Any) -> Iterator[Eyes]:
    """An open dashboard, signed in to unless the token is empty."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        eyes = Eyes(page, box.manage)
        page.goto(box.manage + "/")
        if token != "":
            sign_in(page, token or box.token)
        yield eyes
    finally:
        context.close()


def test_every_panel_shows_what_is_so(browser: Any, standing: DashboardBox) -> None:
    standing.ask(50)
    with looking(browser, standing) as eyes:
        expected = {
            "models": f"{MODEL} serving",
            "release": f"sha256:{standing.digests[1][:12]}",
            "traffic": "4\u202f321",
            "latency": "burns fast",
            "quality": "92.1 % to 95.7 %",
            "drift": "bill_length_mm",
            "validation": "now arrives as `Country`",
            "box": "process ",
            "events": "activated",
            "card": "Species of an adult penguin",
        }
        assert set(expected) == {"models", *PANELS}
        for name, words in expected.items():
            eyes.sees(f"#panel-{name}", words)
        assert eyes.page.title() == f"{MODEL} – edgeml" and "Connected" in eyes.text("#status")
        assert eyes.page.locator("svg[role=img][aria-label]").count() == eyes.page.locator("svg").count() == 8
        # It goes on by itself.
        standing.watch(samples.report(now=time.time(), answered=98765))
        eyes.sees("#panel-traffic", "98\u202f765")
        eyes.check()


def test_the_token_stays_in_the_tab(browser: Any, standing: DashboardBox) -> None:
    with looking(browser, standing) as eyes:
        page = eyes.page
        assert page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie]") == [
            [standing.token],
            0,
            "",
        ]
        assert not any(standing.token in url for url in eyes.requests)
        page.reload()
        eyes.sees("#panel-traffic", "answers/s")
        page.click("#forget")
        assert page.evaluate("sessionStorage.length") == 0
        assert page.is_visible("#token") and not page.is_visible("main") and eyes.text("#panel-release") == ""
        eyes.check()


@pytest.mark.parametrize("token", ["nonsense", "spaces and ümlauts"])
def test_a_token_that_is_refused_is_said(browser: Any, standing: DashboardBox, token: str) -> None:
    with looking(browser, standing, token="") as eyes:
        assert eyes.page.evaluate("document.activeElement.id") == "token"
        eyes.page.fill("#token", token)
        eyes.page.press("#token", "Enter")
        eyes.sees("#problem", "token is not known here" if token == "nonsense" else "That is no token")
        assert eyes.page.is_visible("#token") and not eyes.page.is_visible("main")
        eyes.check(complaints=1)  # the browser notes a refusal by itself


def test_a_box_that_is_gone_is_said_and_found_again(browser: Any, box: DashboardBox) -> None:
    with looking(browser, box) as eyes:
        box.stop()
        eyes.sees("#problem", "The box cannot be reached")
        assert "What is shown is of" in eyes.text("#problem") and eyes.page.is_visible("main.old")
        box.start()
        eyes.sees("#status", "Connected")
        assert not eyes.page.is_visible("#problem") and not eyes.page.is_visible("main.old")


def test_going_back_by_the_button(browser: Any, box: DashboardBox) -> None:
    with looking(browser, box) as eyes:
        page = eyes.page
        page.click("text=Roll back to 1")
        assert page.is_visible("dialog[open]") and "is left and denied" in eyes.text("dialog")
        page.click("#ask-no")
        assert not page.is_visible("dialog[open]") and box.active == box.digests[1]
        assert page.evaluate("document.activeElement.dataset.act") == "rollback"
        page.click("text=Roll back to 1")
        page.fill("#reason", "the counters <b>look</b> odd")
        page.click("#ask-yes")
        eyes.sees("#outcome", "Roll back: done.")
        assert box.active == box.digests[0]
        eyes.sees("#panel-events", "rolled back")
        eyes.sees("#panel-events", "the counters <b>look</b> odd")
        eyes.sees("#panel-release", f"sha256:{box.digests[0][:12]} serving")
        assert page.locator("[data-act=rollback]").count() == 0
        box.ask(1)
        eyes.check()


def test_a_trial_is_confirmed_by_the_button(browser: Any, box: DashboardBox, penguins_bundle: Bundle) -> None:
    with looking(browser, box) as eyes:
        store = Store(box.root)
        three = store.install(made.version(penguins_bundle, "3"))
        store.activate(three)
        eyes.sees("#panel-release", "On trial")
        eyes.sees("#panel-release", "answers in")
        eyes.page.click("text=Confirm 3")
        assert "becomes the release that answers" in eyes.text("dialog")
        eyes.page.click("#ask-yes")
        eyes.sees("#outcome", "Confirm 3: done.")
        assert box.active == three
        eyes.sees("#panel-events", "confirmed")
        eyes.check()


def test_what_fails_is_said_and_stays(browser: Any, standing: DashboardBox) -> None:
    """The column of the sample is no column of this box's bundle, so acknowledging it is refused."""
    with looking(browser, standing) as eyes:
        eyes.page.click("text=Acknowledge")
        assert "bill_length_mm" in eyes.text("dialog")
        eyes.page.click("#ask-yes")
        eyes.sees("#outcome", "Acknowledge: not done, or not known to be")
        asked = len(eyes.requests)
        until(lambda: eyes.page.evaluate("1") and len(eyes.requests) > asked + 1, why="it asks again")
        assert "not done" in eyes.text("#outcome")
        eyes.check(complaints=1)


def test_a_token_that_reads_has_no_buttons(browser: Any, standing: DashboardBox) -> None:
    token = Tokens(standing.root).create("looks", ["read"])
    with looking(browser, standing, token=token) as eyes:
        assert "may only read" in eyes.text("#panel-release")
        assert eyes.page.locator("main button").count() == 0


def test_by_keyboard_alone(browser: Any, box: DashboardBox) -> None:
    with looking(browser, box, token="") as eyes:
        page = eyes.page
        page.keyboard.type(box.token)  # the field has the focus
        page.keyboard.press("Enter")
        eyes.sees("#panel-release", "Roll back to 1")
        until(lambda: page.evaluate("document.activeElement.id") == "main")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.act") == "rollback":
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert page.evaluate("document.activeElement.dataset.act") == "rollback" and outline == "solid"
        # New figures do not take the focus away: the panel that has it is drawn anew.
        page.evaluate("document.activeElement.dataset.old = 'yes'")
        store = Store(box.root)
        store.deny(store.install(made.version(box.bundle, "9")), reason="another line of the list")
        until(lambda: page.evaluate("!document.querySelector('[data-old]')"), why="the panel is drawn anew")
        assert page.evaluate("document.activeElement.dataset.act") == "rollback"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "reason"
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.dataset.act") == "rollback" and box.active == box.digests[1]
        page.keyboard.press("Enter")
        page.keyboard.type("by keyboard")
        page.keyboard.press("Enter")
        eyes.sees("#outcome", "Roll back: done.")
        assert box.active == box.digests[0]
        eyes.sees("#panel-events", "by keyboard")
        eyes.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_on_every_screen(browser: Any, standing: DashboardBox, scheme: str, width: int) -> None:
    options = {"viewport": {"width": width, "height": 700}, "color_scheme": scheme}
    with looking(browser, standing, **options) as eyes:
        page = eyes.page
        page.wait_for_selector("#panel-card table")
        for each in page.locator("summary").all():
            each.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = page.evaluate(
            "[...document.querySelectorAll('section *')].filter(e => !e.closest('.wide, pre, svg') && "
            "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))"
        )
        assert beyond == []
        back, front = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (back, front) == {
            "light": ("rgb(244, 245, 247)", "rgb(22, 25, 29)"),
            "dark": ("rgb(16, 19, 23)", "rgb(236, 238, 241)"),
        }[scheme]
        eyes.check()


class Clocked:
    """A dashboard whose clock only this test moves, on the way to its box.

    Args:
        eyes: The page, not signed in to yet.
        token: Its token.
    """

    def __init__(self, eyes: Eyes, token: str) -> None:
        self.page = eyes.page
        began = datetime(2026, 1, 1, tzinfo=UTC)
        self.page.clock.install(time=began)
        self.page.goto(eyes.origin + "/")
        self.page.clock.pause_at(began + timedelta(hours=1))
        self.asked = self.answered = 0
        self.fails = False
        self.page.route("**/v1/dashboard*", self._pass)
        sign_in(self.page, token)
        self.settled(1)

    def _pass(self, route: Any) -> None:
        self.asked += 1
        if self.fails:
            route.abort()
        else:
            route.continue_()

    def settled(self, times: int) -> None:
        """It has asked so often, and what came of it is shown."""
        until(lambda: self.page.evaluate("asking === null") and self.asked >= times, why=f"asked {times} times")
        assert self.asked == times

    def after(self, seconds: float, times: int) -> None:
        """So many seconds later it has asked so often in all."""
        self.page.clock.run_for(seconds * 1000)
        self.settled(times)


def test_it_asks_seldom_while_nobody_looks(browser: Any, standing: DashboardBox) -> None:
    with looking(browser, standing, token="") as eyes:
        clocked = Clocked(eyes, standing.token)
        clocked.after(3.9, 1)
        clocked.after(0.2, 2)
        hide = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => %s })"
        turn = "document.dispatchEvent(new Event('visibilitychange'))"
        eyes.page.evaluate(f"{hide % 'true'}; {turn}")
        clocked.after(4.1, 3)  # the question that was due
        clocked.after(59, 3)
        clocked.after(2, 4)
        eyes.page.evaluate(f"{hide % 'false'}; {turn}")
        clocked.settled(5)
        clocked.after(4.1, 6)
        eyes.check()


def test_it_asks_a_box_that_is_silent_later_and_later(browser: Any, standing: DashboardBox) -> None:
    with looking(browser, standing, token="") as eyes:
        clocked = Clocked(eyes, standing.token)
        clocked.fails = True
        times = 1
        for seconds in (4, 4, 8, 16, 32, 60, 60):
            clocked.after(seconds - 0.5, times)
            times += 1
            clocked.after(1, times)
            assert "cannot be reached" in eyes.text("#problem")
        clocked.fails = False
        clocked.after(61, times + 1)
        eyes.sees("#status", "Connected")
        clocked.after(4.1, times + 2)


def test_texts_that_attack_stay_texts(browser: Any, box: DashboardBox) -> None:
    box.watch(samples.hostile() | {"now": time.time()})
    with looking(browser, box) as eyes:
        eyes.page.on("dialog", lambda dialog: eyes.complaints.append(f"a script ran: {dialog.message}"))
        eyes.sees("#panel-validation", "<script>alert(1)</script>")
        eyes.sees("#panel-drift", "<img src=x onerror=alert(2)>")
        assert eyes.page.locator("main script, main img, main iframe, main [onerror]").count() == 0
        eyes.check()


def test_markup_that_got_in_would_not_run(browser: Any, standing: DashboardBox) -> None:
    """The policy holds even where escaping had failed."""
    with looking(browser, standing) as eyes:
        eyes.page.evaluate(
            "document.getElementById('panel-card').innerHTML = "
            '\'<img src=x onerror="document.title=1"><p style="color:red">x</p><img src="http://127.0.0.1:9/x">\''
        )
        until(lambda: len(eyes.complaints) >= 3, why="the browser refuses")
        assert all("Content Security Policy" in each for each in eyes.complaints), eyes.complaints
        assert eyes.page.title() == f"{MODEL} – edgeml"


def test_a_picture_for_the_readme(browser: Any, standing: DashboardBox, tmp_path: Path) -> None:
    path = tmp_path / "dashboard.png"
    command = [sys.executable, "-m", "models.browser", standing.manage, str(path), "--scheme", "dark", "--width", "800"]
    done = subprocess.run(
        command, env={**os.environ, "EDGEML_TOKEN": standing.token}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(data[16:20], "big") == 800
    assert int.from_bytes(data[20:24], "big") > 900 and callable(screenshot)
    nothing = subprocess.run(
        command, env={**os.environ, "EDGEML_TOKEN": ""}, capture_output=True, text=True, check=False
    )
    assert nothing.returncode == 2 and "EDGEML_TOKEN" in nothing.stderr
