"""All of scikit-learn's estimators that predict: a bundle with parity, or a build error that names the estimator.

The model of each bundle is also answered by all engines, which share no code: they agree as far as float32, in which
ONNX Runtime gives what it adds up over trees.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from zoo_cases import Case, cases, fitted
from zoo_engines import engine_differences

import edgeml
from edgeml.errors import ParityError, UnsupportedError

CASES = list(cases())
FLOAT32 = 2.0**-23

# Nobody may lose an estimator without saying so: of these no bundle can be built, for the reason given.
REFUSED = {
    "ClassifierChain": "several labels",
    "MultiOutputClassifier": "several labels",
}


def test_the_document_names_every_estimator():
    text = (Path(__file__).resolve().parents[2] / "docs" / "estimators.md").read_text()
    assert [case.name for case in CASES if f"`{case.name}`" not in text] == []


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
@pytest.mark.filterwarnings("ignore")
def test_a_bundle_or_a_refusal_that_names_the_estimator(case: Case, record_property):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fitted(case)
    pipeline = make_pipeline(found.preparation, found.estimator)
    y = found.y if case.task in ("classification", "regression") else None
    outcome = {"task": case.task, "name": case.name, "data": case.data}
    try:
        bundle = edgeml.build(pipeline, found.X, y, held_out=(found.held_out, None), name="zoo", version="1")
    except (UnsupportedError, ParityError) as error:
        record_property("zoo", outcome | {"refused": type(error).__name__})
        reason = REFUSED.get(case.name)
        assert reason, f"no bundle: {error}"
        assert case.name in str(error) and reason in str(error)
        return
    parity = bundle.config["parity"]
    engines = engine_differences(bundle, found.held_out)
    record_property("zoo", outcome | {"parity": parity, "engines": engines})
    assert case.name not in REFUSED
    assert parity["flips"] == 0 and parity["max_difference"] <= 1e-5 and parity["rows"] > 100
    assert engines.keys() == {"reference"} | ({"native"} if parity["engine"] == "native" else set())
    assert max(engines.values()) <= FLOAT32
    # Once more without the builder's own comparison: the bundle as a box reads it.
    answers = edgeml.Predictor.from_bundle(bundle).predict_many(found.held_out)
    expected = pipeline.predict(found.held_out)
    if case.task == "regression":
        scale = np.maximum(1.0, np.abs(expected))
        assert np.max(np.abs(np.asarray(answers.value_list()).reshape(expected.shape) - expected) / scale) <= 1e-5
    else:
        differing = [row for row, label in enumerate(answers.label_list()) if label != expected[row]]
        assert len(differing) <= parity["ties"]
