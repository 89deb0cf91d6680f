"""The last part of ``make demo``: a box whose world changes, and how its operator learns of it.

First it is asked every held-out record once: rows that the model has never seen, from the world that it was made for.
Then only records from the upper third of one measurement come, as if one customer, one sensor or one season were left;
or pictures with less than half of the light.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgeml.bundles import Bundle
from edgeml.supervisor.channel import watched
from models.browser import NoBrowser, screenshot
from models.demo_pictures import darkened
from models.demo_releases import edgeml, serving, wait_for

AT_ONCE = 50
MOST_ROWS = 6_000
WORST = 4

Step = Callable[[str, str], None]


def show_watching(
    console: Console,
    step: Step,
    *,
    out: Path,
    model: str,
    bundle: Bundle,
    records: Sequence[dict[str, Any]],
    truth: Sequence[Any],
    ports: tuple[int, int],
) -> None:
    """Runs a box, changes its world, and waits for the alarm.

    Args:
        console: Where to print.
        step: Prints a heading.
        out: Folder with the bundle and ``keyring.json``.
        model: The model's name.
        bundle: The bundle.
        records: Held-out records.
        truth: What is true of each.
        ports: Of the data plane and of the management plane.

    Raises:
        SystemExit: The unchanged records raised an alarm, or the changed ones did not.
    """
    box = out / "watched"
    edgeml("init", str(box), "--keyring", str(out / "keyring.json"), quiet=True)
    edgeml("install", str(out / f"{model}.edgeml"), "--store", str(box), quiet=True)
    edgeml("activate", f"{bundle.name}:{bundle.version}", "--now", "--store", str(box), quiet=True)
    step("9. Watch", "edgeml serve --store demo-out/watched, asked each held-out record once")
    with serving(box, ports):
        answers = send(ports[0], records)
        feedback(ports[0], answers, truth)
        wait_for(lambda: report(box, bundle)["answered"] >= len(records), "the counts")
        show(console, report(box, bundle))
        if alarms(report(box, bundle)):
            raise SystemExit("records from the world that the model was made for raised an alarm")
        console.print(f"{len(records)} records, no alarm")

        words, changed = another_world(bundle, records)
        step("10. The world changes", f"from now on {words}")
        sent = 0
        rows = cycle(changed)
        end = time.monotonic() + 60
        while not alarms(report(box, bundle)) and sent < MOST_ROWS and time.monotonic() < end:
            sent += len(send(ports[0], list(islice(rows, AT_ONCE))))
            time.sleep(0.2)
        wait_for(lambda: bool(alarms(report(box, bundle))), "an alarm")
        show(console, report(box, bundle))
        found = alarms(report(box, bundle))
        console.print(f"{len(found)} columns raised an alarm, these first:")
        for each in found[:WORST]:
            console.print(
                f"[bold red]alarm[/bold red]  {each['name']}: PSI {each['effect']:.2f} over {each['rows']} rows"
            )
        edgeml("history", "--store", str(box), "-n", "4")
        picture(console, out, box, f"http://127.0.0.1:{ports[1]}/")


def picture(console: Console, out: Path, box: Path, url: str) -> None:
    """Takes a picture of the box's dashboard, where there is a browser."""
    made = edgeml("token", "create", "eyes", "--scope", "release", "--store", str(box), "--json", quiet=True)
    path = out / "dashboard.png"
    try:
        screenshot(url, json.loads(made)["token"], path)
    except NoBrowser as error:
        console.print(f"the dashboard is at {url}; no picture of it: {error}")
        return
    console.print(f"the dashboard was at {url}; its picture is in {path.parent.name}/{path.name}")


def send(port: int, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Asks for records, some at a time; gives the predictions."""
    answers: list[dict[str, Any]] = []
    for start in range(0, len(records), AT_ONCE):
        answers += post(port, "/v1/predict", {"records": records[start : start + AT_ONCE]})["predictions"]
    return answers


def feedback(port: int, answers: Sequence[dict[str, Any]], truth: Sequence[Any]) -> None:
    """Tells what was true, as somebody would who learns it later."""
    key = "label" if "label" in answers[0] else "value"
    items = [{"id": answer["id"], key: true} for answer, true in zip(answers, truth, strict=True)]
    post(port, "/v1/feedback", {"feedback": items})


def post(port: int, path: str, body: Any) -> Any:
    """Posts JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def report(box: Path, bundle: Bundle) -> dict[str, Any]:
    """What the box knows of the model."""
    nothing: dict[str, Any] = {"answered": 0, "drift": {"columns": []}}
    return (watched(box) or {}).get(bundle.name, nothing)


def alarms(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Columns with an alarm."""
    return [each for each in found["drift"]["columns"] if each["latched"]]


def another_world(bundle: Bundle, records: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """What comes from now on, in words, and such records."""
    if "image.json" in bundle.members:
        return "the pictures get less than half of the light", darkened(records)
    name = measurement(bundle)
    known = [record for record in records if record[name] is not None]
    texts = isinstance(known[0][name], str)
    size: Callable[[Any], float] = len if texts else float
    upper = sorted(known, key=lambda record: size(record[name]))[-max(1, len(known) // 3) :]
    return f"only records from the upper third of {'the length of ' if texts else ''}{name} come", upper


def measurement(bundle: Bundle) -> str:
    """A feature that is measured, with many values; a text, which has a length, where there is none."""
    reference = bundle.document("reference.json")["features"]
    numbers = [name for name, each in reference.items() if each["kind"] == "number"]
    if not numbers:
        return next(name for name, each in reference.items() if each["kind"] == "text")
    return max(numbers, key=lambda name: len(reference[name]["edges"]))


def show(console: Console, found: dict[str, Any]) -> None:
    """Prints traffic, quality and the columns that differ most."""
    tiers = ", ".join(f"{tier} {count}" for tier, count in found["tiers"].items() if count)
    console.print(f"answered {found['answered']} ({tiers}), refused {found['refused']}")
    quality = found.get("quality") or {}
    estimated = (quality.get("estimated") or {}).get("accuracy")
    realised = (quality.get("realised") or {}).get("accuracy")
    for words, rate in (("estimated without labels", estimated), ("by the labels that came", realised)):
        if rate:
            console.print(f"accuracy {words}: {rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})")
    table = Table("column", "level", "PSI", "evidence 10^", "rows")
    for each in found["drift"]["columns"][:WORST]:
        evidence = "" if each["evidence"] is None else f"{each['evidence']:.1f}"
        psi = "" if each["effect"] is None else f"{each['effect']:.2f}"
        table.add_row(each["name"], each["level"], psi, evidence, str(each["rows"]))
    console.print(table)


__all__ = ["show_watching"]
