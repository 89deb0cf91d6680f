"""The files that contestants load: exported models, arrays, bundles and request bodies, in ``build/benchmarks``.

1. Made anew in each run from ``workloads.py``: a few seconds, and never a stale model.
2. Peers get the whole pipeline exported by skl2onnx without zipmap, with two inputs (one for numbers, one for
   categories), which onnxruntime answers faster than one input for each column; and the model alone.
3. edgeml gets bundles made by ``edgeml.build``, as any user's.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import word_workload, workloads

FOLDER = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
OPSET = {"": 17, "ai.onnx.ml": 3}


def make_peers(folder: Path, say: Callable[[str], None]) -> None:
    """Writes what the peers load and the bodies that all services are sent."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    def write(name: str, fitted: Any, types: list[tuple[str, Any]]) -> None:
        model = convert_sklearn(fitted, initial_types=types, options={"zipmap": False}, target_opset=OPSET)
        (folder / name).write_bytes(model.SerializeToString())

    say("exporting the models for the peers")
    folder.mkdir(parents=True, exist_ok=True)
    n_numbers, n_columns = len(workloads.NUMERIC), len(workloads.COLUMNS)
    for model in ("lr", "trees"):
        fitted, table, label = workloads.w1_fitted(model)
        by_position = workloads.w1_pipeline(model)
        columns = by_position.named_steps["columns"]
        places = {"numbers": list(range(n_numbers)), "categories": list(range(n_numbers, n_columns))}
        columns.set_params(transformers=[(name, step, places[name]) for name, step, _ in columns.transformers])
        by_position.fit(table.to_numpy(dtype=object), label)
        write(
            f"w1_{model}_pipeline.onnx",
            by_position,
            [
                ("numbers", FloatTensorType([None, n_numbers])),
                ("categories", StringTensorType([None, n_columns - n_numbers])),
            ],
        )
        n_features = [("input", FloatTensorType([None, workloads.N_FEATURES]))]
        write(f"w1_{model}_model.onnx", fitted.named_steps["model"], n_features)
        for name, asked in (("asked", workloads.asked_table()), ("batch", workloads.batch_table())):
            encoded = fitted.named_steps["columns"].transform(asked)
            dense = encoded.toarray() if hasattr(encoded, "toarray") else encoded
            np.save(folder / f"{name}_encoded.npy", np.ascontiguousarray(dense, dtype=np.float32))
            np.save(folder / f"{name}_numbers.npy", asked[list(workloads.NUMERIC)].to_numpy(dtype=np.float32))
            np.save(folder / f"{name}_categories.npy", asked[list(workloads.CATEGORIES)].to_numpy(dtype=str))
    make_locale(folder)
    documents, _, _ = workloads.w2_fitted()
    write("w2_pipeline.onnx", documents, [("text", StringTensorType([None, 1]))])
    np.save(folder / "w2_asked.npy", np.array(workloads.w2_asked()))
    vectorizer = documents.named_steps["tfidfvectorizer"]
    np.save(folder / "w2_terms.npy", vectorizer.get_feature_names_out().astype(str))
    np.save(folder / "w2_idf.npy", vectorizer.idf_)
    regression, _, _ = workloads.w5_fitted()
    write("w5_model.onnx", regression, [("input", FloatTensorType([None, workloads.N_FEATURES]))])
    for name, bodies in (
        ("records", workloads.record_bodies()),
        ("edgeml_records", workloads.edgeml_record_bodies()),
        ("oip_records", workloads.oip_record_bodies()),
        ("oip_tensors", workloads.oip_tensor_bodies()),
    ):
        (folder / f"{name}.ndjson").write_bytes(b"\n".join(bodies) + b"\n")


def make_locale(folder: Path) -> None:
    """Writes en_US.UTF-8, which onnxruntime's text operators ask for, where it can be made (Debian: locales)."""
    target = folder / "locale" / "en_US.UTF-8"
    command = shutil.which("localedef")
    if command is not None and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Where it fails the locale is missing, and the table says so.
        subprocess.run([command, "-i", "en_US", "-f", "UTF-8", str(target)], capture_output=True, check=False)


def make_bundles(folder: Path, say: Callable[[str], None]) -> None:
    """Builds the bundles: W1 with each model, W1 with the rule of B5 and with many, W2, W5."""
    import edgeml

    folder.mkdir(parents=True, exist_ok=True)
    for name, model, rules in (
        ("w1-lr", "lr", None),
        ("w1-trees", "trees", None),
        ("w1-rules", "lr", workloads.RULES),
        *((f"w1-rules-{count}", "lr", workloads.rule_list(count)) for count in word_workload.SIZES),
    ):
        say(f"building the bundle {name}")
        pipeline, table, label = workloads.w1_fitted(model)
        edgeml.build(pipeline, table, label, name=name, version="1", rules=rules).save(folder / f"{name}.edgeml")
    say("building the bundle w2")
    documents, texts, classes = workloads.w2_fitted()
    edgeml.build(documents, texts, classes, name="w2", version="1").save(folder / "w2.edgeml")
    say("building the bundle w5")
    regression, matrix, label = workloads.w5_fitted()
    edgeml.build(regression, matrix, label, name="w5", version="1").save(folder / "w5.edgeml")
