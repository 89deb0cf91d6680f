"""The second half of ``make demo``: a box that is sent new versions over the network, good ones and bad ones.

While everything happens, a client asks the box without pause. At the end it says how many of its requests failed.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgeml.bundles import Bundle
from models.spoiled import crashing, not_a_number, renamed

# Short for a demonstration; the defaults are ten minutes and 200 questions.
TRIAL = ("--trial", "min_seconds=4", "--trial", "min_requests=40")
PAUSE_S = 0.004
WAIT_S = 40.0

Step = Callable[[str, str], None]


class Client(threading.Thread):
    """Asks one record again and again on one kept connection.

    Attributes:
        seen: How many answers each version and tier gave.
        failures: What went wrong, if anything did.
    """

    def __init__(self, port: int, record: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._body = json.dumps({"records": [record]})
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._over = threading.Event()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        """Asks until ``finish``."""
        while not self._over.is_set():
            try:
                self._connection.request("POST", "/v1/predict", self._body, {"Content-Type": "application/json"})
                response = self._connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    self.seen[answer["version"], answer["predictions"][0]["tier"]] += 1
                else:
                    self.failures.append(f"{response.status}: {answer}")
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                self._connection.close()
            time.sleep(PAUSE_S)

    def finish(self) -> None:
        """Ends the asking."""
        self._over.set()
        self.join()
        self._connection.close()


def show_releases(
    console: Console,
    step: Step,
    *,
    out: Path,
    model: str,
    bundle: Bundle,
    record: dict[str, Any],
    ports: tuple[int, int],
) -> None:
    """Runs a box and sends it versions 2, 3 and 4 of a bundle that it serves as version 1.

    Args:
        console: Where to print.
        step: Prints a heading.
        out: Folder with the first bundle, ``key.pem`` and ``keyring.json``.
        model: The model's name.
        bundle: The first bundle.
        record: A record that the model answers.
        ports: Of the data plane and of the management plane.
    """
    box = out / "box"
    step("5. A box", "edgeml init, install, activate; then edgeml serve --store demo-out/box")
    edgeml("init", str(box), "--keyring", str(out / "keyring.json"))
    edgeml("install", str(out / f"{model}.edgeml"), "--store", str(box))
    edgeml("activate", f"{model}:{bundle.version}", "--now", "--store", str(box))
    token = json.loads(
        edgeml("token", "create", "demo", "--scope", "push,release", "--store", str(box), "--json", quiet=True)
    )["token"]
    with serving(box, ports):
        client = Client(ports[0], record)
        client.start()
        url = f"http://127.0.0.1:{ports[1]}"

        step("6. Version 2", "pushed over the network, served on trial, gone back from")
        send(out, renamed(bundle, "2.0.0"), url, token)
        wait_for(lambda: client.seen["2.0.0", "model"] > 0, "version 2 to answer")
        edgeml("status", "--store", str(box))
        edgeml("rollback", "--store", str(box), "--reason", "shown to work")

        step("7. Version 3", "its model wants 32 GiB before it has answered anything: refused before it may serve")
        send(out, crashing(bundle, "3.0.0"), url, token)
        if not gone_back(box, "3.0.0"):
            raise SystemExit("version 3 was not rejected")

        step("8. Version 4", "its model answers NaN, and its golden rows were left out")
        bad = not_a_number(bundle, "4.0.0", record)
        if bad is None:
            console.print("this model does not run in the native kernel; see the next example")
        else:
            send(out, bad, url, token)
            wait_for(lambda: gone_back(box, "4.0.0"), "the trial to end")
        before = client.seen[bundle.version, "model"]
        wait_for(lambda: client.seen[bundle.version, "model"] > before, "version 1 to answer again")
        client.finish()
        edgeml("history", "--store", str(box), "-n", "16")
    asked = Table("version", "tier", "answers")
    for (version, tier), count in sorted(client.seen.items()):
        asked.add_row(version, tier, str(count))
    console.print(asked)
    total = sum(client.seen.values())
    console.print(f"{total} requests were sent meanwhile; {len(client.failures)} failed")
    if client.failures:
        raise SystemExit(f"requests failed: {client.failures[:3]}")


def send(out: Path, bundle: Bundle, url: str, token: str) -> None:
    """Signs a bundle and pushes it to the box; a refusal is what the demonstration expects of a bad one."""
    path = out / f"{bundle.name}-{bundle.version}.edgeml"
    bundle.save(path)
    edgeml("sign", str(path), "--key", str(out / "key.pem"), quiet=True)
    edgeml("push", str(path), url, "--activate", "--token", token, expect=None)


def gone_back(box: Path, version: str) -> bool:
    """Whether a version was rejected."""
    listed = json.loads(edgeml("releases", "--store", str(box), "--json", quiet=True))["releases"]
    return any(release["version"] == version and release["state"] == "rejected" for release in listed)


def edgeml(*words: str, quiet: bool = False, expect: int | None = 0) -> str:
    """Runs an ``edgeml`` command and shows it with what it prints.

    Args:
        words: The command's words.
        quiet: Whether to show nothing.
        expect: The exit status that is wanted; None takes any.
    """
    if not quiet:
        here = f"{Path.cwd()}/"
        shown = ["TOKEN" if word.startswith("edgeml_") else word.removeprefix(here) for word in words]
        print(f"\n$ edgeml {' '.join(shown)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "edgeml", *words], stdout=subprocess.PIPE if quiet else None, text=True, check=False
    )
    if expect is not None and done.returncode != expect:
        raise SystemExit(f"edgeml {words[0]} ended with status {done.returncode}")
    return done.stdout or ""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Waits until something is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {WAIT_S:.0f} s for {what}")
        time.sleep(0.1)


@contextmanager
def serving(box: Path, ports: tuple[int, int]) -> Iterator[None]:
    """Runs the box's service."""
    command = [sys.executable, "-m", "edgeml", "serve", "--store", str(box), "--port", str(ports[0])]
    process = subprocess.Popen([*command, "--manage-port", str(ports[1]), *TRIAL], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the box did not start")
        print(line, end="", flush=True)
        yield
    finally:
        process.terminate()
        process.wait(30)
