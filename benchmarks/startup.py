"""Time from exec to the first right answer over HTTP: B11.

The peer is not a server at all: a process that imports onnxruntime and flask, opens the exported W1 pipeline and
prints one line. Both are pinned to the server core; the polling client has the load core. Rounds interleave; the first
round, which reads the files from the disk, is not counted.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks import contestants, environments
from benchmarks.environments import PeerUnavailable
from benchmarks.measurement import Findings, Measurement, Say
from benchmarks.servers import Server

IMPORTS = "imports and session load alone"
PROGRAM = """
import flask, onnxruntime, sys
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print("loaded", flush=True)
"""
PAUSE_S = 0.001


def measure(findings: Findings, *, folder: Path, root: Path, core: int, rounds: int, expected: int, say: Say) -> None:
    """Measures starts.

    Args:
        findings: Where the measurements go.
        folder: Folder of artifacts.
        root: The repository.
        core: CPU core of the started process.
        rounds: How many interleaved rounds.
        expected: The right label of the first record.
        say: Told what takes long.
    """
    ours = Measurement("start", "edgeml", "s")
    theirs = Measurement("start", IMPORTS, "s")
    try:
        python = environments.ensure("flask", say)
    except PeerUnavailable as error:
        findings.gaps[theirs.key] = str(error)
        return
    for number in range(rounds + 1):
        say(f"start, round {number} of {rounds}")
        server: Server | None = None
        try:
            begin = time.perf_counter()
            server = Server(
                contestants.edgeml_service("w4", folder), core=core, log=folder / "start_edgeml.log", root=root
            )
            server.wait_until_right(expected, pause_s=PAUSE_S)
            seconds, cpu = time.perf_counter() - begin, server.cpu_seconds()
        except PeerUnavailable as error:
            findings.gaps[ours.key] = str(error)
            say(str(error))
            return
        finally:
            if server is not None:
                server.stop()
        alone = _imports(python, folder / "w1_lr_pipeline.onnx", core)
        if number:
            ours.rounds.append(seconds)
            ours.cpu.append(cpu)
            theirs.rounds.append(alone)
    findings.add(ours)
    findings.add(theirs)


def _imports(python: Path, model: Path, core: int) -> float:
    """Seconds from exec to the line that says the session is loaded; the interpreter's end is not counted."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [str(python), "-c", PROGRAM, str(model)],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
    if line.strip() != b"loaded":
        raise PeerUnavailable("onnxruntime or flask cannot be imported in the flask environment")
    return seconds
