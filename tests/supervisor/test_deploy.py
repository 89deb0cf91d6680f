"""The systemd unit: systemd understands it, and edgeml can live within it."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor import penguin_bundles as made
from supervisor.running_store import PATIENCE_S, ROW, running, store_of, until

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "edgeml.service"
PR_SET_MDWE = 65
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")


def settings(name):
    """All values of a setting, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@needs_systemd
def test_systemd_understands_every_line(tmp_path):
    unit = tmp_path / "edgeml.service"
    unit.write_text(UNIT.read_text().replace("/opt/edgeml/bin/edgeml", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=PATIENCE_S)
    complaints = [line for line in done.stderr.splitlines() if "edgeml.service" in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_command_is_one_that_edgeml_takes():
    from edgeml.cli.serve import serve

    program, *words = settings("ExecStart")[0].split()
    assert program.endswith("/bin/edgeml") and words[0] == "serve"
    serve.make_context("serve", words[1:], resilient_parsing=False)


def test_only_the_supervisor_is_signalled_and_an_out_of_memory_worker_is_its_business():
    assert (settings("KillMode"), settings("OOMPolicy"), settings("Type")) == (["process"], ["continue"], ["notify"])


def test_it_runs_where_no_memory_may_become_code(penguins_path, tmp_path):
    """MemoryDenyWriteExecute, as the kernel does it itself since 6.3."""
    (tmp_path / "rows.ndjson").write_text(json.dumps(ROW) + "\n")
    code = (
        f"import ctypes, os, sys; "
        f"assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0; "
        f"os.execv(sys.executable, [sys.executable, '-m', 'edgeml', 'predict', *sys.argv[1:]])"
    )
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel does not know PR_SET_MDWE")
    from edgeml.bundles import Bundle

    bundle = Bundle.read(penguins_path)
    kept = {name: data for name, data in bundle.members.items() if not name.startswith("kernel.")}
    Bundle.create(bundle.config, kept).save(tmp_path / "onnx.edgeml")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "onnx.edgeml"), str(tmp_path / "rows.ndjson")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0 and json.loads(done.stdout)["tier"] == "model", done.stderr


def allowed():
    """The system calls that the unit's filter lets through."""

    def group(name):
        said = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        ).stdout
        words = [line.split("#")[0].strip() for line in said.splitlines()[1:]]
        return set().union(*(group(word) if word.startswith("@") else {word} for word in words if word))

    found = set()
    for line in settings("SystemCallFilter"):
        each = [group(word) if word.startswith("@") else {word} for word in line.removeprefix("~").split()]
        found = found - set().union(*each) if line.startswith("~") else found | set().union(*each)
    return found


@pytest.mark.crash
@needs_systemd
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_it_asks_the_kernel_for_nothing_that_the_unit_forbids(tmp_path, penguins_bundle):
    """Start, answer, try a bundle, swap, lose the worker, stop: every system call of every process."""
    one, two = (made.version(penguins_bundle, word) for word in "12")
    _, (_, second) = store_of(tmp_path / "store", one, two)
    traces = [tmp_path / "serve", tmp_path / "activate"]
    strace = ["strace", "-f", "-qq", "-o"]
    command = (*strace, str(traces[0]), "--")
    with running(tmp_path / "store", command=command, trial=("min_seconds=1", "min_requests=1")) as box:
        assert box.predict()[0] == 200
        words = ["activate", second[:8], "--store", str(box.root)]
        tried = [*strace, str(traces[1]), "--", sys.executable, "-m", "edgeml", *words]
        subprocess.run(tried, check=True, capture_output=True, timeout=PATIENCE_S)
        assert box.predict()[1]["version"] == "2"
        worker = box.worker
        os.kill(worker, 9)
        until(lambda: box.worker != worker)
        box.wait_served(second)
        os.kill(int(traces[0].read_text().split(maxsplit=1)[0]), 15)
        assert box.process.wait(PATIENCE_S) == 0
    asked = set().union(*(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE) for trace in traces))
    assert asked - allowed() == set()
