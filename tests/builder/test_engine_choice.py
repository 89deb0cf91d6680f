"""Which engine a bundle's model runs in: chosen, said why, and the same in every build of the same inputs."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import edgeml
from edgeml.builder import engine_choice

TABLE, ANSWERS = load_wine(return_X_y=True, as_frame=True)
TABLE = TABLE.iloc[:, :4]


def _built(estimator, table=TABLE):
    return edgeml.build(estimator.fit(table, ANSWERS), table, ANSWERS, name="choice", version="1")


def test_the_kernel_where_it_has_parity():
    bundle = _built(DecisionTreeClassifier(random_state=0))
    assert bundle.config["parity"]["engine"] == "native" and "kernel.json" in bundle.members
    assert engine_choice.NATIVE in bundle.members["CARD.md"].decode()
    assert bundle.digest == _built(DecisionTreeClassifier(random_state=0)).digest


def test_onnx_runtime_where_the_kernel_lacks_a_node():
    bundle = _built(SVC())
    assert bundle.config["parity"]["engine"] == "c" and "kernel.json" not in bundle.members
    assert bundle.config["parity"]["why"].startswith(engine_choice.LACKS)
    assert len(bundle.config["parity"]["why"]) > len(engine_choice.LACKS)


def test_onnx_runtime_where_it_is_much_faster(monkeypatch):
    monkeypatch.setattr(engine_choice, "is_much_slower", lambda native, other: True)
    bundle = _built(DecisionTreeClassifier(random_state=0))
    assert bundle.config["parity"]["engine"] == "c" and "kernel.json" not in bundle.members
    assert bundle.config["parity"]["why"] == engine_choice.SLOWER


@pytest.mark.parametrize(
    ("native", "other", "slower"),
    [({1: 1, 256: 1}, {1: 1, 256: 1}, False), ({1: 9, 256: 2}, {1: 1, 256: 1}, False),
     ({1: 9, 256: 9}, {1: 1, 256: 1}, True)],
)  # fmt: skip
def test_much_slower_for_one_and_for_many(monkeypatch, native, other, slower):
    monkeypatch.setattr(engine_choice, "_seconds", lambda session, rows: session[rows])
    assert engine_choice.is_much_slower(native, other) is slower


def test_categories_of_histogram_gradient_boosting_run_in_the_kernel():
    table = TABLE.assign(kind=np.arange(len(TABLE)) * 7 % 11 + (ANSWERS == 1) * 11)
    bundle = _built(HistGradientBoostingClassifier(max_iter=10, categorical_features=["kind"]), table)
    assert bundle.config["parity"]["engine"] == "native"
