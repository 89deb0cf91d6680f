"""The edgeml command as a shell runs it: in a process of its own, with or without a terminal."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import edgeml

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

def train():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["a", "b", "c", "d"]
    return {"pipeline": LogisticRegression(max_iter=500).fit(X, y), "X": X, "y": y, "name": "iris", "version": "1"}
"""


def _command(words):
    return [sys.executable, "-m", "edgeml", *map(str, words)], {**os.environ, "PYTHONPATH": str(ROOT)}


def run(*words, cwd, stdin=None):
    """Runs the command with pipes; gives what came of it."""
    command, environment = _command(words)
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, env=environment, timeout=120)


def run_in_a_terminal(*words, cwd):
    """Runs the command with a terminal of 100 columns for standard error; gives its status and what was drawn."""
    command, environment = _command(words)
    ours, theirs = pty.openpty()
    environment |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "30", "NO_COLOR": "1"}
    process = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says EIO when the last writer has gone
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    return process.wait(timeout=120), drawn.decode(errors="replace")


def python_for(user):
    """A Python of this version that another user may run, and read this edgeml with; skips where there is none.

    Args:
        user: Number of the user, who need not have a name.
    """
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    words = ["-c", f"import selectors; open({edgeml.__file__!r}).close()"]
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        with suppress(OSError):
            if subprocess.run([candidate, *words], user=user, cwd="/", capture_output=True).returncode == 0:
                return candidate
    pytest.skip(f"no Python here can be run, with {Path(edgeml.__file__).parent}, by another user")
