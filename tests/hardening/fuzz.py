"""``make fuzz``: coverage-guided fuzzing of every kernel that reads foreign bytes, under the address sanitizer.

libFuzzer guides, by way of ``atheris``; the kernels are compiled for it by clang, in a tree of their own. What was
found interesting stays in ``build/fuzz/NAME``, so that the next run goes on from there; an input that breaks a target
is left in ``build/fuzz/NAME.found`` and its command is printed.

Run as ``python tests/hardening/fuzz.py [--seconds N] [NAME ...]``; a minute a target where nothing is said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from sanitized import ROOT, tree

MAX_BYTES = 4096
CLANG = "make fuzz needs clang (Debian/Ubuntu: apt-get install clang; Fedora: dnf install clang compiler-rt)"


def main() -> None:
    """Builds, fuzzes each target in turn, and says what was found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    if shutil.which("clang") is None:
        sys.exit(CLANG)
    spec = find_spec("atheris")
    if spec is None or spec.origin is None:
        sys.exit("atheris is missing; 'make fuzz' installs it (pip install 'edgeml[fuzz]')")
    preloaded = Path(spec.origin).parent.parent / "asan_with_fuzzer.so"
    folder = tree("fuzz")
    print("compiling the kernels for the fuzzer", flush=True)
    built = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", "2"],
        cwd=folder,
        env=os.environ | {"CC": "clang", "LDSHARED": "clang -shared", "EDGEML_SANITIZE": "address,fuzzer-no-link"},
        capture_output=True,
        text=True,
    )
    if built.returncode:
        sys.exit(built.stdout + built.stderr)
    environment = os.environ | {
        "LD_PRELOAD": str(preloaded),
        "PYTHONPATH": str(folder),
        # Python's own strings and dicts are not the kernels' memory, and it never gives all of it back.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }
    script = folder / "tests" / "hardening" / "fuzz_targets.py"
    from fuzz_targets import TARGETS

    unknown = set(given.names) - TARGETS.keys()
    if unknown:
        sys.exit(f"there is no target {', '.join(sorted(unknown))}; there is {', '.join(TARGETS)}")
    failed = []
    for name in given.names or TARGETS:
        corpus, found = ROOT / "build" / "fuzz" / name, ROOT / "build" / "fuzz" / f"{name}.found"
        corpus.mkdir(parents=True, exist_ok=True)
        found.mkdir(exist_ok=True)
        for number, seed in enumerate(TARGETS[name][1]):
            (corpus / f"seed{number}").write_bytes(seed)
        command = [sys.executable, str(script), name]
        limits = [f"-max_total_time={given.seconds}", f"-max_len={MAX_BYTES}", "-timeout=10", "-print_final_stats=1"]
        done = subprocess.run(
            [*command, str(corpus), *limits, f"-artifact_prefix={found}/"],
            env=environment,
            capture_output=True,
            text=True,
        )
        said = dict(
            line.removeprefix("stat::").split(":", 1) for line in done.stderr.splitlines() if line.startswith("stat::")
        )
        runs = int(said.get("number_of_executed_units", "0"))
        print(f"{name}: {runs:,} inputs, {'clean' if done.returncode == 0 else 'FOUND SOMETHING'}", flush=True)
        if done.returncode or not runs:
            failed.append(name)
            print("\n".join(done.stderr.splitlines()[-60:]))
    sys.exit(f"found in: {', '.join(failed)}; the inputs are in build/fuzz" if failed else 0)


if __name__ == "__main__":
    main()
