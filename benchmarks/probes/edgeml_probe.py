"""edgeml in one process: dict in, Prediction out; 1,000 records from columns; model and vectorizer alone.

Arguments: the folder of artifacts. The ONNX sessions of all bundles stay alive in the process while anything is
measured, as they do in a worker.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import edgeml
from benchmarks import word_workload, workloads
from benchmarks.probes.probe import Work, serve, walk
from benchmarks.text_rows import mark
from edgeml.runtime.native_session import NativeSession

WANTED = ("scores", "label")


def one(predictor: Any, records: list[dict[str, Any]]) -> Work:
    """One record a call."""
    return Work(walk(predictor.predict, records), lambda: [int(predictor.predict(record).label) for record in records])


def batch(predictor: Any) -> Work:
    """1,000 records a call, from arrays by column."""
    table = workloads.batch_table()
    columns = {str(name): table[name].to_numpy() for name in table.columns}
    return Work(
        walk(predictor.predict_columns, [columns]),
        lambda: [int(answer.label) for answer in predictor.predict_columns(columns)],
        predictions=len(table),
    )


def model_one(session: NativeSession, matrix: np.ndarray) -> Work:
    """The kernel alone, one encoded row a call: a copy into its input, as with onnxruntime's IO binding."""
    bound = session.binding(1, outputs=WANTED)
    row, run, label = bound.input, bound.run, bound.outputs["label"]
    rows = [matrix[i : i + 1] for i in range(len(matrix))]

    def call(given: np.ndarray) -> None:
        row[:] = given
        run()

    def answers() -> list[int]:
        found = []
        for given in rows:
            call(given)
            found.append(int(label[0]))
        return found

    return Work(walk(call, rows), answers)


def model_batch(session: NativeSession, matrix: np.ndarray) -> Work:
    """The kernel alone, all rows in one call, in blocks as a batch is answered; with their copy into the blocks."""

    def call(given: np.ndarray) -> dict[str, np.ndarray]:
        def fill(block: np.ndarray, start: int) -> None:
            block[:] = given[start : start + len(block)]

        return session.stream(len(given), outputs=WANTED, fill=fill)

    return Work(walk(call, [matrix]), lambda: [int(label) for label in call(matrix)["label"]], predictions=len(matrix))


def vectorizer(predictor: Any, records: list[dict[str, Any]]) -> Work:
    """The feature program without the model's product: a dict in, the row float64 [1, 20000] filled."""
    reader, encoder = predictor.reader, predictor.program.encoder()
    frame = reader.new_frame()
    row = np.empty((1, encoder.n_outputs), dtype=predictor.program.dtype)
    encoder.bind(row)
    capsule, read, encode = frame.capsule, reader.read, encoder.encode_bound

    def call(record: dict[str, Any]) -> None:
        read(frame, record)
        encode(capsule)

    def answers() -> list[int]:
        found = []
        for record in records:
            call(record)
            columns = row[0].nonzero()[0]
            found.append(mark(columns, row[0, columns]))
        return found

    return Work(walk(call, records), answers)


NAMES = ("w1-lr", "w1-trees", "w1-rules", *(f"w1-rules-{n}" for n in word_workload.SIZES), "w2")


def main() -> None:
    """Loads the bundles and answers the runner."""
    folder = Path(sys.argv[1])
    bundles = {name: edgeml.load(folder / f"{name}.edgeml") for name in NAMES}
    asked = workloads.records(workloads.asked_table())
    documents = [{"text": text} for text in workloads.w2_asked()]
    trees = bundles["w1-trees"].session
    assert isinstance(trees, NativeSession), "the kernel is to stand beside compiled trees, not ONNX Runtime"
    works = {
        "w1_lr_one": one(bundles["w1-lr"], asked),
        "w1_trees_one": one(bundles["w1-trees"], asked),
        "w1_rule_one": one(bundles["w1-rules"], workloads.rule_records()),
        **{f"w1_rules_{n}": one(bundles[f"w1-rules-{n}"], workloads.rule_list_records(n)) for n in word_workload.SIZES},
        "w2_one": one(bundles["w2"], documents),
        "w2_vectorizer": vectorizer(bundles["w2"], documents),
        "w1_lr_batch": batch(bundles["w1-lr"]),
        "w1_trees_batch": batch(bundles["w1-trees"]),
        "w1_trees_one/model": model_one(trees, np.load(folder / "asked_encoded.npy")),
        "w1_trees_batch/model": model_batch(trees, np.load(folder / "batch_encoded.npy")),
    }
    backend = getattr(bundles["w1-lr"].session, "backend", "")
    serve(works, {"edgeml": version("edgeml"), "onnxruntime": version("onnxruntime"), "backend": backend})


if __name__ == "__main__":
    main()
