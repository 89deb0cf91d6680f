"""``make test-sanitize``: the tests of the kernels once more, over kernels that a sanitizer watches.

1. Each kind gets a tree of its own under ``build/sanitized``: sources and tests are copied, and its kernels are
   compiled there, so that the kernels of the checkout stay what they are.
2. Python itself is not instrumented. The sanitizer's library is loaded before it, and Python's own allocator is
   switched off, so that every byte that a kernel allocates has its own walls.
3. Of races only those are reported that instrumented code takes part in; Python's lock is a mutex like any other to
   the sanitizer.

Run as ``python tests/hardening/sanitized.py [KIND ...]``.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("edgeml", "ext", "tests", "models", "setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE")
TESTS = ("tests/kernels", "tests/runtime")
# Measures the memory of the process, of which a sanitizer keeps what was freed.
LEFT_OUT = "not test_nothing_is_leaked"
# A race needs two threads: the tests that have them, of the kernels and of what keeps its state in them.
THREADED = ("tests/kernels", "tests/runtime/test_counting.py", "tests/runtime/test_answer_quality.py")
FOUND = 66
SHOWN_LINES = 40


@dataclass(frozen=True)
class Kind:
    """A kind of build.

    Attributes:
        flags: For ``-fsanitize=``.
        library: What has to be loaded before Python.
        options: The sanitizer's own variables.
        tests: What is run.
    """

    flags: str
    library: str
    options: dict[str, str]
    tests: tuple[str, ...]


KINDS = {
    "memory": Kind(
        "address,undefined",
        "libasan.so",
        {
            # Python never gives back what lives as long as the process.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:log_path=report",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:log_path=report",
            "PYTHONMALLOC": "malloc",
        },
        TESTS,
    ),
    "threads": Kind(
        "thread",
        "libtsan.so",
        {"TSAN_OPTIONS": f"ignore_noninstrumented_modules=1:exitcode={FOUND}:history_size=4:log_path=report"},
        THREADED,
    ),
}


def library(name: str, compiler: str) -> Path | None:
    """Where the compiler keeps a sanitizer's library; None where it has none."""
    said = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    found = Path(said.stdout.strip())
    return found.resolve() if found.is_absolute() and found.exists() else None


def tree(name: str) -> Path:
    """A copy of the sources for one kind; what was compiled there before is kept."""
    folder = ROOT / "build" / "sanitized" / name
    folder.mkdir(parents=True, exist_ok=True)
    for item in COPIED:
        source, target = ROOT / item, folder / item
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
    return folder


def run(name: str) -> int:
    """Compiles and tests one kind; gives the exit status of its tests."""
    kind, compiler = KINDS[name], os.environ.get("CC", "gcc")
    loaded = library(kind.library, compiler)
    # ONNX Runtime throws C++ exceptions, which a sanitizer follows only where it finds their library before itself.
    thrown = library("libstdc++.so.6", compiler)
    if loaded is None:
        print(f"{name}: {compiler} has no {kind.library}; install it (Debian: libgcc-12-dev comes with gcc)")
        return 1
    folder = tree(name)
    print(f"{name}: compiling the kernels with -fsanitize={kind.flags}", flush=True)
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", "2"]
    environment = os.environ | {"EDGEML_SANITIZE": kind.flags}
    done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr)
        return done.returncode
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", "-k", LEFT_OUT, *kind.tests]
    if kind.flags == "thread":
        # The sanitizer wants its shadow memory where newer kernels may have put something else.
        command = ["setarch", platform.machine(), "-R", *command]
    environment = (
        os.environ
        | kind.options
        | {"LD_PRELOAD": " ".join(str(each) for each in (loaded, thrown) if each), "PYTHONPATH": str(folder)}
    )
    for old in folder.glob("report.*"):
        old.unlink()
    status = subprocess.run(command, cwd=folder, env=environment).returncode
    # In files, because pytest keeps what is written to the terminal, and dies with it.
    for report in sorted(folder.glob("report.*")):
        print("\n".join(report.read_text().splitlines()[:SHOWN_LINES]))
    return status


def main() -> None:
    """Runs the kinds that are named, or all of them."""
    names = sys.argv[1:] or list(KINDS)
    failed = [name for name in names if run(name)]
    for name in names:
        print(f"{name}: {'FAILED' if name in failed else 'clean'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
