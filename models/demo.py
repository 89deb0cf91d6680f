"""``make demo``: builds one bundle from real data, signs it, serves it, asks it; then updates a box, well and
badly, and changes the world of another.

Run as ``python -m models.demo [MODEL]``; MODEL is a folder beside this file. Everything it makes is in ``demo-out/``.
"""

import http.client
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.demo_pictures import records_of
from models.demo_releases import show_releases
from models.demo_tiers import show_tiers
from models.demo_watching import show_watching

MODELS = Path(__file__).parent
OUT = MODELS.parent / "demo-out"
ASKED_TIMES = 300
console = Console(highlight=False)


def main() -> None:
    """Runs the demonstration."""
    model = sys.argv[1] if len(sys.argv) > 1 else "penguins"
    known = sorted(path.parent.name for path in MODELS.glob("*/train.py"))
    if model not in known:
        raise SystemExit(f"there is no model {model!r}; MODEL is one of {', '.join(known)}")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    began = time.monotonic()

    step("1. Build", f"edgeml build models/{model}/train.py -o demo-out/{model}.edgeml")
    arguments, bundle = build(model)
    report(bundle)

    step("2. Sign", "edgeml keygen, edgeml sign, edgeml verify")
    path = OUT / f"{model}.edgeml"
    bundle.save(path)
    run("keygen", "--out", str(OUT / "key.pem"), "--keyring", str(OUT / "keyring.json"))
    run("sign", str(path), "--key", str(OUT / "key.pem"))
    run("verify", str(path), "--keyring", str(OUT / "keyring.json"))

    port = free_port()
    step("3. Serve", f"edgeml serve demo-out/{model}.edgeml --keyring demo-out/keyring.json --port {port}")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edgeml",
            "serve",
            str(path),
            "--keyring",
            str(OUT / "keyring.json"),
            "--port",
            str(port),
        ]
    )
    try:
        waited = wait_until_ready(server, port)
        console.print(f"ready after {waited:.2f} s")
        step("4. Ask", "real held-out records, over HTTP, on one kept connection")
        ask(model, port, arguments)
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=30)
    console.print(f"\nSIGTERM; the server ended with status {status}")
    if status != 0:
        raise SystemExit(f"the server ended with status {status}")
    held_out = [dict(record) for record in records_of(arguments, arguments["held_out"][0])]
    truth = np.asarray(arguments["held_out"][1]).tolist()
    if "middle" in arguments:
        show_tiers(console, step, run, out=OUT, model=model, bundle=bundle, records=held_out, truth=truth)
    show_releases(
        console,
        step,
        out=OUT,
        model=model,
        bundle=bundle,
        record=model_record(bundle, arguments),
        ports=(free_port(), free_port()),
    )
    show_watching(
        console,
        step,
        out=OUT,
        model=model,
        bundle=bundle,
        records=held_out,
        truth=truth,
        ports=(free_port(), free_port()),
    )
    console.print(
        f"\nDone in {time.monotonic() - began:.0f} s. The bundle is in demo-out/{model}.edgeml; read its card with"
    )
    console.print(f"  .venv/bin/edgeml card demo-out/{model}.edgeml")


def step(title: str, text: str) -> None:
    """Prints a heading."""
    console.print(f"\n[bold]{title}[/bold]  {text}")


def build(model: str) -> tuple[dict[str, Any], Any]:
    """Builds the bundle with a progress bar; gives the script's arguments too."""
    from edgeml.builder import build as build_bundle
    from edgeml.builder.script import arguments_of

    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=None)
        arguments = arguments_of(MODELS / model / "train.py")

        def say(name: str, number: int, total: int) -> None:
            bar.update(task, description=name, completed=number, total=total)

        bundle = build_bundle(**arguments, progress=say)
    return arguments, bundle


def report(bundle: Any) -> None:
    """Prints parity, quality and tiers as they stand in the bundle."""
    parity, config = bundle.config["parity"], bundle.config
    console.print(f"bundle   {config['name']} {config['version']}  {bundle.digest}")
    console.print(
        f"parity   {parity['rows']} rows asked of both scikit-learn and the bundle: {parity['flips']} labels differ, "
        f"largest difference {parity['max_difference']:.2g} (door {parity['door']})"
    )
    total = sum(config["tiers"].values())
    shares = ", ".join(f"{tier} {count / total:.0%}" for tier, count in config["tiers"].items() if count)
    console.print(f"tiers    {shares} of {total} held-out records")
    if config.get("quality"):
        simplest = config["baseline"]
        figures = ", ".join(f"{name} {value:.3f}" for name, value in config["quality"]["overall"].items())
        console.print(f"quality  {figures}")
        console.print(
            f"baseline {simplest['measure']}: always the same answer {simplest['majority']:.3f}, "
            f"best single rule {simplest['one_rule']:.3f}"
        )


def model_record(bundle: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """A held-out record that no rule answers."""
    from edgeml.runtime.load import predictor_of

    predictor = predictor_of(bundle)
    records = records_of(arguments, arguments["held_out"][0])
    return next(dict(record) for record in records if predictor.predict(record).tier == "model")


def run(*words: str) -> None:
    """Runs an ``edgeml`` command and shows what it prints."""
    subprocess.run([sys.executable, "-m", "edgeml", *words], check=True)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: "subprocess.Popen[bytes]", port: int) -> float:
    """Waits for the readiness route; gives the seconds it took."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode} before it was ready")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return time.monotonic() - began
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise SystemExit("the server was not ready within 30 s")


def ask(model: str, port: int, arguments: dict[str, Any]) -> None:
    """Sends every held-out record, shows one answer of each tier with the command that asks for it, and the latency."""
    X, truth = arguments["held_out"]
    records = records_of(arguments, X)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    shown: dict[str, tuple[str, dict[str, Any]]] = {}
    right = 0
    for record, true in zip(records, list(truth), strict=True):
        body = json.dumps({"records": [record]})
        answer = post(connection, body)["predictions"][0]
        right += answer.get("label") == true
        shown.setdefault(answer["tier"], (body, answer))
    if arguments.get("rules") or "label" in next(iter(shown.values()))[1]:
        console.print(f"{len(records)} held-out records sent, {right} answered as the known label says")
    table = Table("tier", "answer", "round trip, median", "p99", title=None)
    for tier in sorted(shown, reverse=True):
        body, answer = shown[tier]
        console.print(f"\n[bold]{tier}[/bold]:", style=None)
        data = body if len(body) < 900 else f"@demo-out/{tier}.json"
        if data is not body:
            (OUT / f"{tier}.json").write_text(body)
        console.print(
            f"curl -s http://127.0.0.1:{port}/v1/models/{model}/predict "
            f"-H 'Content-Type: application/json' -d '{data}'",
            soft_wrap=True,
            markup=False,
        )
        console.print(json.dumps(post(connection, body)), soft_wrap=True, markup=False)
        times = []
        for _ in range(ASKED_TIMES):
            start = time.perf_counter()
            post(connection, body)
            times.append((time.perf_counter() - start) * 1e6)
        given = answer.get("label", answer.get("value"))
        table.add_row(
            tier, str(given), f"{statistics.median(times):.0f} us", f"{statistics.quantiles(times, n=100)[98]:.0f} us"
        )
    console.print()
    console.print(table)
    connection.close()


def post(connection: http.client.HTTPConnection, body: str) -> dict[str, Any]:
    """Sends one records request."""
    connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise SystemExit(f"the server answered {response.status}: {answer}")
    return dict(answer)


if __name__ == "__main__":
    main()
