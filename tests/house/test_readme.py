"""Every command of the README is run, in order, in one folder, as a newcomer would.

A block is marked by a comment before it: ``run: sh``, ``run: python``, ``run: file NAME``, ``run: background``
(started, and stopped at the end) or ``run: make``. Blocks without a mark are refused, so nothing is left unrun.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- run: ([a-z]+)(?: (\S+))? -->\n)?```(\w+)\n(.*?)```", re.S)
BLOCKS = [match.groups() for match in BLOCK.finditer(README)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_every_block_is_marked():
    assert BLOCKS
    assert [code for kind, _, language, code in BLOCKS if kind is None] == []


def test_blocks_run_in_order(tmp_path):
    ports = {number: str(free_port()) for number in ("8080", "8090", "8091")}
    bin_folder = str(Path(sys.executable).parent)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f'PATH="{bin_folder}:$PATH"\n')
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONWARNINGS": "default"}
    background = []
    without_curl = False
    try:
        for kind, name, _, code in BLOCKS:
            for number, port in ports.items():
                code = code.replace(number, port)
            if kind == "file":
                (tmp_path / name).write_text(code)
            elif kind == "background":
                background.append(subprocess.Popen(code.split(), cwd=tmp_path, env=environment))
                wait_for(re.search(r"--port (\d+)", code).group(1))
            elif kind == "sh" and "curl" in code and shutil.which("curl") is None:
                without_curl = True
            elif kind in ("sh", "python"):
                command = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
                )
                assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
                if "curl" in code:
                    assert '"setosa"' in done.stdout and '"error":"' not in done.stdout
    finally:
        for process in background:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(timeout=20) for process in background] == [0] * len(background)
    if without_curl:
        pytest.skip("curl is not installed: all blocks ran but those that call it (apt-get install curl)")


def wait_for(port: str) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server of the README did not come up")


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_demo_runs(tmp_path):
    # The demo itself, without make: its set-up is what is running this test.
    done = subprocess.run(
        [sys.executable, "-m", "models.demo", "penguins"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("parity", "rule", "model", "curl", "ended with status 0", "rejected", "invalid_outputs", "0 failed"):
        assert word in done.stdout


def test_links_of_the_documents_lead_somewhere():
    for document in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        ROOT / "benchmarks" / "README.md",
    ]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
