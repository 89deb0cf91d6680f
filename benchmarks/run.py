"""``make bench``: all figures in one run, one table, one JSON.

Run as ``python -m benchmarks.run``; ``--help`` lists what can be left out. Results are in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import (
    artifacts,
    environments,
    http_load,
    idle,
    in_process,
    report,
    soak,
    startup,
    swaps,
    watching,
    workloads,
)
from benchmarks.measurement import Findings
from benchmarks.service import Bench

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PARTS = ("in-process", "w3", "w4", "w5", "memory", "start", "swaps", "soak", "idle", "watching")


def main() -> None:
    """Measures, prints the table, writes the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part (may be given several times)")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default 7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of an in-process round (default 1)")
    parser.add_argument("--load-seconds", type=float, default=3.0, help="length of a round over HTTP (default 3)")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the benchmark needs two CPU cores: one for the server, one for the load")
    parts = given.only or list(PARTS)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    folder = artifacts.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if set(parts) != {"w3"}:  # which needs no model
        artifacts.make_peers(folder, say)
        artifacts.make_bundles(folder, say)
    findings = Findings()
    server_core, load_core = cores[0], cores[-1]
    tasks = [task for task in in_process.TASKS if ("w3" if task.startswith("w3") else "in-process") in parts]
    if tasks:
        in_process.measure(
            tasks, findings, folder=folder, core=server_core, root=ROOT, rounds=given.rounds,
            seconds=given.seconds, say=say,
        )  # fmt: skip
    if {"w4", "w5", "memory"} & set(parts):
        bench = Bench(
            folder=folder,
            root=ROOT,
            server_core=server_core,
            load_core=load_core,
            wrk=http_load.find_wrk(say),
            expected=expected_labels(),
            say=say,
        )
        for task in ("w4", "w5"):
            if task in parts:
                bench.rates(task, findings, rounds=given.rounds, seconds=given.load_seconds)
        if "memory" in parts:
            bench.memory(findings, rounds=3)
    if "start" in parts:
        startup.measure(
            findings, folder=folder, root=ROOT, core=server_core, rounds=given.rounds,
            expected=expected_labels()["w4"][0], say=say,
        )  # fmt: skip
    if "swaps" in parts:
        swaps.measure(
            findings, folder=folder, root=ROOT, server_core=server_core, load_core=load_core, rounds=given.rounds,
            wrk=http_load.find_wrk(say), say=say,
        )  # fmt: skip
    if "soak" in parts:
        soak.measure(
            findings, folder=folder, root=ROOT, server_core=server_core, load_core=load_core,
            wrk=http_load.find_wrk(say), expected=expected_labels()["w4"][0], say=say,
        )  # fmt: skip
    if "idle" in parts:
        idle.measure(findings, folder=folder, root=ROOT, core=server_core, rounds=min(given.rounds, 3), say=say)
    if "watching" in parts:
        watching.measure(
            findings, folder=folder, root=ROOT, core=server_core, rounds=given.rounds, seconds=given.seconds, say=say
        )
    facts = about(given.rounds)
    figures = report.table(findings, facts)
    print(figures)
    print(report.many_rules(findings))
    print(watching.table(findings))
    print(report.others(findings))
    write(findings, facts, figures, whole=given.only is None)
    if given.readme:
        readme = ROOT / "README.md"
        readme.write_text(report.put_into(readme.read_text(), figures))
    missed = report.missed(report.lines(findings))
    if missed:
        say(f"missed: {', '.join(missed)}")


def expected_labels() -> dict[str, list[int]]:
    """scikit-learn's own labels for the bodies of each task."""
    pipeline, _, _ = workloads.w1_fitted("lr")
    regression, _, _ = workloads.w5_fitted()
    matrix = workloads.w5_matrix(workloads.N_ASKED, seed=workloads.SEED + 6)
    return {
        "w4": [int(label) for label in pipeline.predict(workloads.asked_table())],
        "w5": [int(label) for label in regression.predict(matrix)],
    }


def about(rounds: int) -> dict[str, Any]:
    """Where and with what was measured."""
    packages = ("edgeml", "onnxruntime", "scikit-learn", "skl2onnx", "flask", "numpy")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "command": "make bench",
        "rounds": rounds,
        "peers": {peer.name: environments.versions(peer.name) for peer in sorted(environments.PEERS.iterdir())},
    } | {name: version(name) for name in packages}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def write(findings: Findings, facts: dict[str, Any], figures: str, *, whole: bool) -> None:
    """Writes the JSON and the table; a partial run gets files of its own."""
    RESULTS.mkdir(exist_ok=True)
    name = "latest" if whole else "partial"
    document = {
        "about": facts,
        "measurements": [measurement.to_dict() for measurement in findings.measurements.values()],
        "gaps": findings.gaps,
        "notes": findings.notes,
    }
    tables = (figures, report.many_rules(findings), watching.table(findings), report.others(findings))
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text("\n".join(tables))


if __name__ == "__main__":
    main()
