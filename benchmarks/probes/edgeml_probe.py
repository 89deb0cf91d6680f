"""edgeml in one process: dict in, Prediction out; and 1,000 records from columns.

Arguments: the folder of artifacts. The ONNX sessions of all bundles stay alive in the process while anything is
measured, as they do in a worker.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edgeml
from benchmarks import workloads
from benchmarks.probes.probe import Work, serve, walk


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


def main() -> None:
    """Loads the bundles and answers the runner."""
    folder = Path(sys.argv[1])
    bundles = {name: edgeml.load(folder / f"{name}.edgeml") for name in ("w1-lr", "w1-trees", "w1-rules", "w2")}
    asked = workloads.records(workloads.asked_table())
    works = {
        "w1_lr_one": one(bundles["w1-lr"], asked),
        "w1_trees_one": one(bundles["w1-trees"], asked),
        "w1_rule_one": one(bundles["w1-rules"], workloads.rule_records()),
        "w2_one": one(bundles["w2"], [{"text": text} for text in workloads.w2_asked()]),
        "w1_lr_batch": batch(bundles["w1-lr"]),
        "w1_trees_batch": batch(bundles["w1-trees"]),
    }
    backend = getattr(bundles["w1-lr"].session, "backend", "")
    serve(works, {"edgeml": version("edgeml"), "onnxruntime": version("onnxruntime"), "backend": backend})


if __name__ == "__main__":
    main()
