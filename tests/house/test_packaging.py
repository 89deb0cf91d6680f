"""What an sdist holds, and what each kind of build asks of the compiler (setup.py)."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What the dashboard is made of, beside the code.
ASSETS = {f"edgeml/supervisor/assets/dashboard.{kind}" for kind in ("html", "css", "js")}


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
    assert ASSETS <= names
    assert {
        "setup.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "edgeml/kernels/frame.pyi",
        "edgeml/py.typed",
    } <= names
    assert not any(name.endswith((".so", ".c")) for name in names)


def test_what_is_installed_holds_the_dashboard(tmp_path):
    setup("--quiet", "egg_info", "--egg-base", tmp_path, "build_py", "--build-lib", tmp_path / "lib", EDGEML_EXT="none")
    assert {each for each in ASSETS if (tmp_path / "lib" / each).read_bytes()} == ASSETS
    assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob("edgeml/supervisor/assets/*")} == ASSETS


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what builds the kernels: each kind of build writes other C files."""
    folder = tmp_path_factory.mktemp("sources")
    shutil.copytree(ROOT / "ext", folder / "ext")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def built(sources, kind, **environment):
    """Builds one kernel; gives the compiler's command lines and the kernel's file."""
    said = setup(
        "build_ext",
        "--build-lib",
        sources / kind,
        "--build-temp",
        sources / f"{kind}-objects",
        cwd=sources,
        EDGEML_EXT="histogram",
        **environment,
    )
    (kernel,) = (sources / kind).rglob("*.so")
    return said, kernel


# Loads a kernel from its file, uses it, and prints the lines of its source that a tracer has seen.
USE = """
import importlib.util, sys
seen = set()
def trace(frame, event, argument):
    if frame.f_code.co_filename.endswith("histogram.pyx"):
        seen.add(frame.f_lineno)
    return trace
spec = importlib.util.spec_from_file_location("edgeml.kernels.histogram", sys.argv[1])
kernel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)
sys.settrace(trace)
histogram = kernel.Histogram()
for value in range(100):
    histogram.record(value)
sys.settrace(None)
assert histogram.count == 100
print(len(seen))
"""


def used(kernel, **environment):
    done = subprocess.run(
        [sys.executable, "-c", USE, str(kernel)], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)


def test_a_release_build_keeps_ieee_arithmetic(sources):
    said, kernel = built(sources, "release")
    assert "-O3" in said and "-ffp-contract=off" in said and "-ffast-math" not in said and "-fsanitize" not in said
    assert used(kernel) == 0


def test_a_debug_build_is_not_optimised_and_keeps_its_assertions(sources):
    said, kernel = built(sources, "debug", EDGEML_DEBUG="1")
    command = next(line for line in said.splitlines() if "histogram.c" in line and " -c " in line)
    # What stands last counts: Python's own flags come first.
    assert command.rindex("-O0") > max(command.rfind(f"-O{level}") for level in "123")
    assert command.rindex("-UNDEBUG") > command.rfind("-DNDEBUG") and "-g" in command.split()
    assert used(kernel) == 0


@pytest.mark.crash
def test_a_sanitized_build_is_compiled_and_linked_with_the_sanitizer(sources):
    said, kernel = built(sources, "sanitized", EDGEML_SANITIZE="undefined")
    assert said.count("-fsanitize=undefined") >= 2 and "-fno-omit-frame-pointer" in said
    assert used(kernel) == 0
    assert b"__ubsan_handle" in kernel.read_bytes()


@pytest.mark.crash
def test_a_coverage_build_shows_its_lines_to_a_tracer(sources):
    said, kernel = built(sources, "coverage", EDGEML_COVERAGE="1")
    assert "-DCYTHON_TRACE_NOGIL=1" in said
    assert "__Pyx_TraceLine(" in (sources / "build" / "cython-traced" / "ext" / "histogram.c").read_text()
    if sys.version_info < (3, 12):  # later Pythons are traced by sys.monitoring
        assert used(kernel) > 0


def test_a_build_of_another_kind_builds_again_in_place(sources, tmp_path):
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "*.so"))
    for path in tmp_path.glob("ext/*.pyx"):
        if path.stem != "histogram":
            path.unlink()
    (tmp_path / "edgeml" / "kernels").mkdir(parents=True)
    for package in ("edgeml", "edgeml/kernels"):
        (tmp_path / package / "__init__.py").touch()
    compiled = []
    for environment in ({}, {}, {"EDGEML_DEBUG": "1"}, {"EDGEML_DEBUG": "1"}, {}):
        said = setup("build_ext", "--inplace", cwd=tmp_path, **environment)
        compiled.append("-c build/cython/ext/histogram.c" in said)
    assert compiled == [True, False, True, False, True]
