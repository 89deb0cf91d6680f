"""What pyproject.toml cannot say: the extensions and their compiler flags.

Environment variables (each picks one kind of build; default is the release build):
    EDGEML_DEBUG=1      no optimisation, symbols, Cython line tracing off, asserts on
    EDGEML_SANITIZE=X   X goes to -fsanitize= (address, undefined, thread; comma-separated)
    EDGEML_COVERAGE=1   Cython line tracing, so that coverage.py sees the kernels
    EDGEML_EXT=a,b      build only these kernels (a name that there is not builds none)

A kernel is built again where its sources are newer, and all are where the last build in this checkout was of another
kind: setuptools compares times, not flags. Traced C files have a folder of their own for the same reason.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
DEBUG = os.environ.get("EDGEML_DEBUG") == "1"
COVERAGE = os.environ.get("EDGEML_COVERAGE") == "1"
SANITIZE = os.environ.get("EDGEML_SANITIZE", "")
ONLY = {name for name in os.environ.get("EDGEML_EXT", "").split(",") if name}

compile_args = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if DEBUG:
    compile_args += ["-O0", "-g", "-UNDEBUG"]
else:
    # No -ffast-math: answers must equal scikit-learn's, so rounding and NaN must keep their meaning.
    compile_args += ["-O3", "-g0", "-ffp-contract=off"]
if SANITIZE:
    compile_args += [f"-fsanitize={SANITIZE}", "-g", "-fno-omit-frame-pointer"]
    link_args += [f"-fsanitize={SANITIZE}"]
if COVERAGE:
    macros += [("CYTHON_TRACE_NOGIL", "1")]
if sys.platform == "win32":
    compile_args = ["/O2"]

kind = " ".join([*compile_args, *(name for name, _ in macros)])
# What the kernels in this checkout were built as; "mixed" after a build of some of them.
stamp = ROOT / "build" / "kind"
force = stamp.exists() and stamp.read_text() != kind
if "build_ext" in sys.argv:
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text("mixed" if ONLY else kind)

extensions = [
    Extension(
        f"edgeml.kernels.{path.stem}",
        [path.relative_to(ROOT).as_posix()],
        include_dirs=["ext"],
        depends=[header.relative_to(ROOT).as_posix() for header in sorted(ROOT.glob("ext/*.h"))],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        define_macros=macros,
        libraries=[] if sys.platform == "win32" else ["m"],
    )
    for path in sorted(ROOT.glob("ext/*.pyx"))
    if not ONLY or path.stem in ONLY
]

setup(
    options={"build_ext": {"force": True}} if force else {},
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython-traced" if COVERAGE else "build/cython",
        include_path=["ext"],
        compiler_directives={
            "language_level": "3",
            "embedsignature": False,
            "linetrace": COVERAGE,
        },
    ),
)
