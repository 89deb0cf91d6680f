"""``edgeml bench``: what a bundle, or a running service, does on this box, and whether its objectives hold."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml.cli import NOT_CHECKED
from edgeml.cli.tables import row, show, table

if TYPE_CHECKING:
    from edgeml.bundles import Bundle
    from edgeml.fleet.service_bench import Measured

START_S = 120


@click.command()
@click.argument("target", metavar="FILE|URL")
@click.option("--bundle", type=click.Path(path_type=Path), help="With URL: the bundle that it serves.")
@click.option("--keyring", type=click.Path(path_type=Path), help="Trust only bundles that these keys have signed.")
@click.option("--model", help="With URL: the model to ask. [default: the bundle's]")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests a second. [default: half of the most]")
@click.option("--connections", type=click.IntRange(1, 512), default=8, show_default=True, help="As many at a time.")
@click.option("--seconds", type=click.FloatRange(0.2, 3600), default=5.0, show_default=True, help="For each part.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def bench(
    target: str,
    bundle: Path | None,
    keyring: Path | None,
    model: str | None,
    rate: float | None,
    connections: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure the bundle FILE in a service of its own, or the service at URL (http://HOST:PORT or unix:PATH).

    It is asked the bundle's golden rows: first as fast as it answers, then at a steady rate, where each latency counts
    from the moment at which the request was due. The exit status is 1 where an objective of the bundle does not hold.
    """
    from edgeml.bundles import Bundle, Keyring
    from edgeml.fleet.request_load import Target
    from edgeml.fleet.service_bench import measure_service

    running = target.startswith(("http://", "https://", "unix:"))
    if running and bundle is None:
        raise click.UsageError("with a URL, --bundle FILE says what to ask, and what is promised")
    if not running and (bundle is not None or model is not None):
        raise click.UsageError("--bundle and --model go with a URL")
    if keyring is None:
        click.echo(NOT_CHECKED, err=True)
    file = bundle if running and bundle is not None else Path(target)
    read = Bundle.read(file, keyring=Keyring.read(keyring) if keyring else None)
    path, bodies = requests_of(read, model)
    slo = read.config.get("slo", {})

    def measure(url: str, pid: int | None) -> Measured:
        where = Target.of(url)
        sent = [where.request(path, body) for body in bodies]
        return measure_service(where, sent, slo=slo, pid=pid, rate=rate, connections=connections, seconds=seconds)

    if running:
        measured = measure(target, None)
    else:
        with _service(file, keyring) as (url, pid):
            measured = measure(url, pid)
    if as_json:
        click.echo(json.dumps({"name": read.config["name"], "digest": read.digest} | measured.to_dict()))
    else:
        _show(f"{read.config['name']} {read.config['version']}", measured)
    if not measured.holds:
        raise SystemExit(1)


def requests_of(bundle: Bundle, model: str | None) -> tuple[str, list[bytes]]:
    """Path and bodies of the requests that ask a bundle's golden rows, one a request.

    Args:
        bundle: The bundle.
        model: Name of the model to ask; None for the bundle's.

    Raises:
        BundleError: The bundle has no golden rows.
    """
    from edgeml.errors import BundleError
    from edgeml.runtime.golden import golden_rows

    rows = [each["record"] for each in golden_rows(bundle)]
    if not rows:
        raise BundleError(
            f"{bundle.config['name']} has no golden rows to ask; build it with sample records, or measure with a tool "
            "that brings its own"
        )
    name = model or bundle.config["name"]
    if bundle.config["task"] != "tensors":
        return f"/v1/models/{name}/predict", [json.dumps({"records": [each]}).encode() for each in rows]
    types = {each["name"]: each["datatype"] for each in bundle.config["schema"]["inputs"]}
    return f"/v2/models/{name}/infer", [
        json.dumps({"inputs": [_tensor(key, types[key], data) for key, data in each.items()]}).encode() for each in rows
    ]


def _tensor(name: str, datatype: str, data: Any) -> dict[str, Any]:
    shape, inner = [], data
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


@contextmanager
def _service(file: Path, keyring: Path | None) -> Iterator[tuple[str, int]]:
    """The bundle in a service of its own; its URL and process."""
    from edgeml.errors import BundleError

    with tempfile.TemporaryDirectory(prefix="edgeml-bench-") as folder:
        socket = Path(folder) / "s"
        command = [sys.executable, "-m", "edgeml", "serve", str(file), "--uds", str(socket)]
        trusted = ["--keyring", str(keyring)] if keyring is not None else []
        process = subprocess.Popen([*command, *trusted], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                _, said = process.communicate(timeout=START_S)
                raise BundleError(f"the service did not start: {said.strip().removeprefix(NOT_CHECKED).strip()}")
            yield f"unix:{socket}", process.pid
        finally:
            process.terminate()
            process.communicate(timeout=START_S)


def _show(title: str, measured: Measured) -> None:
    found = measured.to_dict()
    latency = found["latency_ms"]
    shown = table(title, "figure", "measured", right=("measured",))
    row(shown, "answers a second, saturated", f"{found['throughput']:,.0f}")
    row(shown, "asked then at a rate of", f"{found['rate']:,.0f} a second")
    for name, words in (("p50", "median"), ("p99", "p99"), ("p999", "p99.9"), ("p100", "slowest")):
        row(shown, f"latency, {words}", "none" if latency[name] is None else f"{latency[name]:.3f} ms")
    if measured.cpu_us is not None:
        row(shown, "CPU for each answer", f"{measured.cpu_us:.1f} us")
    if measured.memory_bytes is not None:
        row(shown, "memory (PSS)", f"{measured.memory_bytes / 1e6:.1f} MB")
    row(shown, "errors", f"{found['errors']}" + (f" ({found['first_error']})" if found["errors"] else ""))
    promised = table(
        "Objectives", "objective", "later than that", "allowed", "holds", right=("later than that", "allowed")
    )
    for each in measured.objectives:
        verdict = "yes" if each.holds else "NO"
        row(promised, f"{each.name} {each.limit_ms:g}", f"{each.share:.3%}", f"{each.budget:.1%}", verdict)
    show(shown, promised)
    for doubt in measured.doubts:
        click.echo(f"note: {doubt}", err=True)
