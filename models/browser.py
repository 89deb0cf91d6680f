"""A headless Chromium, for pictures of the dashboard and for its tests.

``python -m models.browser http://127.0.0.1:8081/ docs/dashboard.png`` takes a picture; the token comes from
EDGEML_TOKEN.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE_MS = 60_000


class NoBrowser(Exception):
    """There is no Chromium here; says how to get one."""


def find_chromium(*, install: bool = False) -> str:
    """Where Chromium is.

    Args:
        install: Whether it may be installed from Debian's packages where this is root on such a system.

    Raises:
        NoBrowser: It is not there.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    why = "apt-get install chromium"
    if found is None and install and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
            done = subprocess.run(["apt-get", *words], env=environment, capture_output=True, text=True, check=False)
        found, why = shutil.which("chromium"), f"apt-get could not install it: {done.stderr.strip()[-200:]}"
    if found is None:
        raise NoBrowser(f"no Chromium is installed ({why})")
    return found


@contextmanager
def chromium(*, install: bool = False) -> Iterator[Any]:
    """A browser, closed at the end: ``playwright.sync_api.Browser``.

    Args:
        install: See ``find_chromium``.

    Raises:
        NoBrowser: There is none, or playwright is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowser("playwright is not installed (pip install 'edgeml[test]')") from None
    path = find_chromium(install=install)
    # Chromium's own sandbox needs another user than root, and what it is shown here comes from this machine.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*arguments, "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Any, token: str) -> None:
    """Gives the token to an open dashboard, and waits until its panels are there."""
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("main:not([hidden])", timeout=PATIENCE_MS)
    page.wait_for_selector("#panel-release dl", timeout=PATIENCE_MS)


def screenshot(
    address: str,
    token: str,
    path: Path,
    *,
    model: str = "",
    scheme: str = "light",
    width: int = 1280,
    height: int | None = None,
) -> None:
    """Takes a picture of a box's whole dashboard.

    Args:
        address: Of the management plane, such as ``http://127.0.0.1:8081``.
        token: A token with the scope ``read``; one with ``release`` shows the buttons, too.
        path: The PNG.
        model: Which model; the first of the box where it is left out.
        scheme: ``light`` or ``dark``.
        width: In pixels.
        height: In pixels; None for as much as there is.

    Raises:
        NoBrowser: There is no browser here.
    """
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(address.rstrip("/") + "/" + (f"#model={model}" if model else ""))
        sign_in(page, token)
        clip = None if height is None else {"x": 0, "y": 0, "width": width, "height": height}
        page.screenshot(path=path, full_page=True, clip=clip)


def main() -> None:
    """Takes a picture."""
    parser = argparse.ArgumentParser(prog="python -m models.browser", description="Takes a picture of a dashboard.")
    parser.add_argument("address", help="of the management plane, such as http://127.0.0.1:8081")
    parser.add_argument("path", type=Path, help="the PNG")
    parser.add_argument("--model", default="")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, help="default: the whole page")
    given = parser.parse_args()
    token = os.environ.get("EDGEML_TOKEN", "")
    if not token:
        parser.error("set EDGEML_TOKEN to a token of the box (edgeml token create)")
    try:
        size = {"width": given.width, "height": given.height}
        screenshot(given.address, token, given.path, model=given.model, scheme=given.scheme, **size)
    except NoBrowser as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.path} shows {given.address}")


if __name__ == "__main__":
    main()
