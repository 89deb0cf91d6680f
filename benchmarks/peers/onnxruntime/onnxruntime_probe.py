"""onnxruntime's Python package in one process: whole exported pipeline, model only, and with IO binding.

Arguments: the folder of artifacts. All arrays are ready before the clock starts, which no service has for free.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.peers.onnx_answers import open_session
from benchmarks.probes.probe import Work, serve, walk


def feeds_of(folder: Path, rows: str) -> dict[str, np.ndarray]:
    """Reads the two inputs of the exported pipeline."""
    return {
        "numbers": np.load(folder / f"{rows}_numbers.npy"),
        "categories": np.load(folder / f"{rows}_categories.npy").astype(object),
    }


def one_by_one(session: Any, feeds: dict[str, np.ndarray]) -> Work:
    """One row a call; every row's arrays are made beforehand."""
    n = len(next(iter(feeds.values())))
    rows = [{name: np.ascontiguousarray(array[i : i + 1]) for name, array in feeds.items()} for i in range(n)]
    run = session.run
    return Work(walk(lambda row: run(None, row), rows), lambda: [int(run(None, row)[0][0]) for row in rows])


def at_once(session: Any, feeds: dict[str, np.ndarray]) -> Work:
    """All rows in one call."""
    run = session.run
    return Work(
        walk(lambda given: run(None, given), [feeds]),
        lambda: [int(label) for label in run(None, feeds)[0]],
        predictions=len(next(iter(feeds.values()))),
    )


def bound(session: Any, matrix: np.ndarray) -> Work:
    """One row a call through IO binding: a copy into the bound input, no allocation, outputs in place."""
    row = np.zeros((1, matrix.shape[1]), dtype=np.float32)
    label = np.zeros(1, dtype=np.int64)
    scores = np.zeros((1, 2), dtype=np.float32)
    binding = session.io_binding()
    kept = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (row, label, scores)]
    names = [output.name for output in session.get_outputs()]
    binding.bind_ortvalue_input("input", kept[0])
    binding.bind_ortvalue_output(names[0], kept[1])
    binding.bind_ortvalue_output(names[1], kept[2])
    run = session.run_with_iobinding
    rows = [matrix[i : i + 1] for i in range(len(matrix))]

    def call(given: np.ndarray) -> None:
        row[:] = given
        run(binding)

    def answers() -> list[int]:
        found = []
        for given in rows:
            call(given)
            found.append(int(kept[1].numpy()[0]))
        return found

    return Work(walk(call, rows), answers)


def main() -> None:
    """Loads the models and answers the runner."""
    folder = Path(sys.argv[1])
    works: dict[str, Work] = {}
    for model in ("lr", "trees"):
        pipeline = open_session(str(folder / f"w1_{model}_pipeline.onnx"))
        alone = open_session(str(folder / f"w1_{model}_model.onnx"))
        asked, batch = np.load(folder / "asked_encoded.npy"), np.load(folder / "batch_encoded.npy")
        works[f"w1_{model}_one/pipeline"] = one_by_one(pipeline, feeds_of(folder, "asked"))
        works[f"w1_{model}_one/model"] = one_by_one(alone, {"input": asked})
        works[f"w1_{model}_one/binding"] = bound(alone, asked)
        works[f"w1_{model}_batch/pipeline"] = at_once(pipeline, feeds_of(folder, "batch"))
        works[f"w1_{model}_batch/model"] = at_once(alone, {"input": batch})
    about: dict[str, Any] = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
    try:
        texts = open_session(str(folder / "w2_pipeline.onnx"))
        asked_texts = np.load(folder / "w2_asked.npy").astype(object).reshape(-1, 1)
        works["w2_one/pipeline"] = one_by_one(texts, {"text": asked_texts})
    except Exception as error:  # its text operators load only where the locale en_US.UTF-8 is installed
        about["without"] = {"w2_one/pipeline": str(error).splitlines()[0][:200]}
    serve(works, about)


if __name__ == "__main__":
    main()
