"""What make says at once where the machine lacks something, and that it names what to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words, path=None):
    """Runs make; gives its status and what it said."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "CC", "MAKEFLAGS", "MODEL")}
    done = subprocess.run(
        [shutil.which("make"), "--no-print-directory", *words],
        cwd=ROOT,
        env=plain | ({} if path is None else {"PATH": str(path)}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def refused(*words, path=None):
    """What make says when it stops: the first line, once the remedies are there."""
    status, said = make(".toolcheck", *words, path=path)
    assert status != 0
    assert [line.split(":")[0].strip() for line in said.splitlines()[1:]] == ["Debian/Ubuntu", "Fedora", "Alpine"]
    return said.splitlines()[0]


def test_a_machine_that_has_everything_passes():
    assert make(".toolcheck", f"PYTHON={sys.executable}") == (0, "")


def test_a_named_python_that_is_not_there():
    assert "needs Python >= 3.11 with venv (/nope: not found)" in refused("PYTHON=/nope")


def test_a_named_python_that_is_too_old(tmp_path):
    old = script(tmp_path / "python3", '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')
    assert f"needs Python >= 3.11 with venv ({old}: Python 3.9.2)" in refused(f"PYTHON={old}")
    for name in ("sh", "head", "cc", "printf"):
        os.symlink(shutil.which(name), tmp_path / name)
    # Nothing is named, and what the path holds is too old.
    assert "needs Python >= 3.11 with venv (python3: Python 3.9.2)" in refused(path=tmp_path)


def test_no_python_at_all(tmp_path):
    for name in ("sh", "head", "cc", "printf"):
        os.symlink(shutil.which(name), tmp_path / name)
    assert "(python3: not found)" in refused(path=tmp_path)


def test_no_compiler():
    assert "needs a C compiler ('nocc' was not found)" in refused(f"PYTHON={sys.executable}", "CC=nocc")


def test_a_compiler_without_the_headers_of_the_c_library():
    said = refused(f"PYTHON={sys.executable}", "CC=cc -nostdinc")
    assert "needs the headers of the C library ('cc -nostdinc' could not compile" in said


@pytest.mark.parametrize(
    ("asked", "message"),
    [("Python.h", "needs the headers of Python (Python.h was not found)"), ("ensurepip", "needs Python's venv module")],
)
def test_parts_of_python_that_are_missing(tmp_path, asked, message):
    python = script(tmp_path / "python3", f'case "$2" in *{asked}*) exit 1;; esac; exec {sys.executable} "$@"')
    assert message in refused(f"PYTHON={python}")


def test_help_lists_every_example():
    status, said = make("help")
    assert status == 0
    for path in ROOT.glob("models/*/train.py"):
        assert path.parent.name in said
