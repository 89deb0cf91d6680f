"""A box whose ONNX Runtime is missing, or dies when it is imported: bundles with a native kernel serve as elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundles.releases import new_store
from running import JSON, Running
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml
from edgeml.supervisor.checkup_onnxruntime import check_onnxruntime
from edgeml.supervisor.finding import Patient

TABLE, ANSWERS = load_breast_cancer(return_X_y=True, as_frame=True)
TABLE = TABLE.iloc[:, :6].rename(columns=lambda name: name.replace(" ", "_"))
BROKEN = {
    "missing": "raise ImportError('no onnxruntime here')",
    "dies": "import os\nos.abort()",
}


@pytest.fixture(params=list(BROKEN))
def broken(request, tmp_path, monkeypatch):
    """An onnxruntime before all others on the path, in this process's children."""
    package = tmp_path / "broken" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(BROKEN[request.param] + "\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.delenv("EDGEML_ORT_LIBRARY", raising=False)
    return request.param


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(max_iter=500), RandomForestClassifier(20, random_state=0)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_same_labels(estimator, broken, tmp_path):
    pipeline = make_pipeline(StandardScaler(), estimator).fit(TABLE, ANSWERS)
    bundle = edgeml.build(pipeline, TABLE, ANSWERS, name="alone", version="1")
    path = tmp_path / "alone.edgeml"
    bundle.save(path)
    records = TABLE.head(200).to_dict("records")
    running = Running(path)
    try:
        status, _, body = running.ask("POST", "/v1/predict", json.dumps({"records": records}), JSON)
        assert status == 200
        found = json.loads(body)["predictions"]
    finally:
        running.process.terminate()
        running.process.communicate(timeout=20)
    assert {each["tier"] for each in found} == {"model"}
    assert [each["label"] for each in found] == np.asarray(pipeline.predict(TABLE.head(200))).tolist()


def test_the_check_up_says_so_and_lives(broken, tmp_path):
    store = new_store(tmp_path / "store")
    patient = Patient(store.root, Path("/"), 0.0, False, store, store.state())
    kernels, found = check_onnxruntime(patient)
    assert (kernels.level, found.level) == ("ok", "warning")
    assert found.meaning == "only bundles with a native kernel can run here"
    assert ("signal 6" in found.found) == (broken == "dies")
