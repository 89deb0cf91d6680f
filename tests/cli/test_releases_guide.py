"""Every command of docs/releases.md is run, in order, on one box, by a shell."""

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
GUIDE = (ROOT / "docs/releases.md").read_text()
BLOCKS = re.findall(r"(?:<!-- run: ([a-z]+) -->\n)?```sh\n(.*?)```", GUIDE, re.S)
SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

def train():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["a", "b", "c", "d"]
    return {"pipeline": LogisticRegression(max_iter=500).fit(X, y), "X": X, "y": y, "name": "iris", "version": "1"}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    (folder / "train.py").write_text(SCRIPT)
    made = ["edgeml keygen"]
    for version in "123":
        made += [
            f"edgeml build train.py --version {version} -o iris-{version}.edgeml",
            f"edgeml sign iris-{version}.edgeml --key key.pem",
        ]
    shell(folder, " && ".join(made))
    (folder / "usb").mkdir()
    shutil.copy(folder / "iris-3.edgeml", folder / "usb")
    return folder


def environment(folder):
    own = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{own}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "EDGEML_STORE": str(folder / "store"),
    }


def shell(folder, code):
    code = code.replace("/var/lib/edgeml", str(folder / "store")).replace("/media/usb", str(folder / "usb"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_every_block_is_marked():
    assert BLOCKS and all(kind in ("sh", "background") for kind, _ in BLOCKS)


def test_the_guide_is_right(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    background = []
    said = []
    try:
        for kind, code in BLOCKS:
            if kind == "background":
                words = code.replace("/var/lib/edgeml", str(folder / "store")).replace("8080", str(port)).split()
                background.append(
                    subprocess.Popen(
                        words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                    )
                )
                wait_for(port)
            else:
                said.append(shell(folder, code))
    finally:
        for process in background:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=40)
            process.stdout.close()
    text = "\n".join(said)
    assert "does not serve it yet" not in text, text
    assert text.count("the worker serves it") == 5
    for word in ("too many false alarms", "keyring version 2 is trusted", "0 dangers", "token office is revoked"):
        assert word in text, text


def wait_for(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service of the guide did not come up")
