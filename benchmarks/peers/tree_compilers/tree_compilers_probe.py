"""The W1 trees as machine code: treelite reads scikit-learn's ensemble, tl2cgen writes C, gcc -O3 compiles it.

Arguments: the folder of artifacts. The model alone, on the encoded rows, which are ready beforehand; one thread. The
ensemble is fitted here, by the same scikit-learn as the judge's, so nothing is unpickled. tl2cgen carries an older
treelite than the one that reads this scikit-learn, and says so; what it makes of the trees is held to the labels.
``-march=native``, branches annotated from the rows of the fit, and quantised thresholds made nothing faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tl2cgen
import treelite

from benchmarks import workloads
from benchmarks.probes.probe import Work, serve, walk

# scikit-learn's label is 1 from a raw score of 0 on, whose probability this is.
HALF = 0.5


def compiled(folder: Path) -> Path:
    """Fits the trees and compiles them into a shared library."""
    pipeline, _, _ = workloads.w1_fitted("trees")
    library = folder / "w1_trees_tl2cgen.so"
    with contextlib.redirect_stdout(sys.stderr):  # where its remarks belong: the runner reads what is on stdout
        tl2cgen.export_lib(
            treelite.sklearn.import_model(pipeline.named_steps["model"]),
            toolchain="gcc",
            libpath=library,
            params={},
            options=["-O3"],
        )
    return library


def by_predictor(library: Path, blocks: list[np.ndarray]) -> Work:
    """Through tl2cgen's Predictor: one block of rows a call; every DMatrix is made beforehand."""
    predictor = tl2cgen.Predictor(library, nthread=1)
    matrices = [tl2cgen.DMatrix(block) for block in blocks]
    predict = predictor.predict
    return Work(
        walk(predict, matrices),
        lambda: [int(score >= HALF) for matrix in matrices for score in predict(matrix).reshape(-1)],
        predictions=len(blocks[0]),
    )


def by_function(library: Path, matrix: np.ndarray) -> Work:
    """The compiled function itself, as a program in C calls it, and nothing around it but ctypes; one row a call."""
    predict = ctypes.CDLL(str(library)).predict
    predict.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    predict.restype = None
    # A feature is a union of a double and a mark for missing ones, which no double that was a float32 looks like.
    rows = matrix.astype(np.float64)
    places = [rows[i].ctypes.data for i in range(len(rows))]
    result = ctypes.c_double()
    out = ctypes.addressof(result)

    def call(row: int, rows: np.ndarray = rows) -> None:  # which keeps the rows alive
        result.value = 0.0  # the function adds to what is there
        predict(row, 0, out)

    def answers() -> list[int]:
        found = []
        for row in places:
            call(row)
            found.append(int(result.value >= HALF))
        return found

    return Work(walk(call, places), answers)


def main() -> None:
    """Compiles the trees and answers the runner."""
    folder = Path(sys.argv[1])
    library = compiled(folder)
    asked, batch = np.load(folder / "asked_encoded.npy"), np.load(folder / "batch_encoded.npy")
    works = {
        "w1_trees_one": by_predictor(library, [asked[i : i + 1] for i in range(len(asked))]),
        "w1_trees_one/function": by_function(library, asked),
        "w1_trees_batch": by_predictor(library, [batch]),
    }
    serve(works, {name: version(name) for name in ("treelite", "tl2cgen", "scikit-learn", "numpy")})


if __name__ == "__main__":
    main()
