"""What an sdist holds, and what each kind of build asks of the compiler (setup.py)."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def setup(*words, cwd=ROOT, **environment):
    """Runs setup.py; gives what it printed."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("EDGEML_")}
    done = subprocess.run(
        [sys.executable, "setup.py", *map(str, words)],
        cwd=cwd,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_sdist_holds_the_sources_of_the_kernels(tmp_path):
    setup("--quiet", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path, EDGEML_EXT="none")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    kernels = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("ext/*.*")}
    assert kernels and kernels <= names
    assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob("edgeml/**/*.py")} <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "edgeml/kernels/frame.pyi", "edgeml/py.typed"} <= names
    assert not any(name.endswith((".so", ".c")) for name in names)
