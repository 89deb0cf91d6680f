"""A box whose ONNX Runtime is missing, or dies when it is imported: bundles with a native kernel serve as elsewhere."""

import json
import subprocess
import sys
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
from edgeml.bundles import Bundle
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


def build(tmp_path, estimator):
    """Builds a bundle in a process of its own, from a script as users write it."""
    script = tmp_path / "train.py"
    module, name, settings = estimator
    script.write_text(
        f"""
from sklearn.datasets import load_wine
from sklearn.{module} import {name}

def train():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X = X.rename(columns=lambda name: name.replace("/", "_"))
    return dict(pipeline={name}(**{settings!r}).fit(X, y), X=X, y=y, name="alone", version="1")
"""
    )
    command = [sys.executable, "-m", "edgeml", "build", str(script), "-o", str(tmp_path / "alone.edgeml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("broken", ["missing"], indirect=True)
@pytest.mark.parametrize("kind", [("tree", "DecisionTreeClassifier", {"random_state": 0}), ("svm", "SVC", {})])
def test_what_the_kernel_has_is_built_without_it_and_what_it_has_not_says_so(broken, kind, tmp_path):
    done = build(tmp_path, kind)
    if kind[1] == "SVC":
        assert done.returncode == 1
        said = " ".join(done.stderr.split())
        assert "SVC needs ONNX Runtime: the native kernel does not have: " in said and "install onnxruntime" in said
        return
    assert done.returncode == 0, done.stderr
    parity = Bundle.read(tmp_path / "alone.edgeml").config["parity"]
    assert parity["engine"] == "native" and parity["flips"] == 0
    assert parity["why"] == "the native kernel has parity; ONNX Runtime was not there to be compared with"
