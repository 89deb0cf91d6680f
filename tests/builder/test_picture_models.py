"""The examples in models/ that take pictures."""

import importlib

import pytest

import edgeml
from edgeml.errors import BuildError
from edgeml.runtime.predictor import Predictor


def test_digits():
    made = importlib.import_module("models.digits.train").train()
    bundle = edgeml.build(**made)
    assert bundle.config["quality"]["overall"]["accuracy"] > 0.93 and bundle.config["parity"]["flips"] == 0


def test_fashion(monkeypatch):
    module = importlib.import_module("models.fashion.train")
    if not module.DATA.exists():
        pytest.skip("the package dataset-fashion-mnist is not installed")
    monkeypatch.setattr(module, "N_TRAIN", 1200)
    monkeypatch.setattr(module, "N_HELD_OUT", 200)
    bundle = edgeml.build(**module.train())
    assert bundle.config["quality"]["overall"]["accuracy"] > 0.75 and bundle.config["parity"]["flips"] == 0
    assert set(Predictor.from_bundle(bundle).labels) == set(module.LABELS)


def test_fashion_without_its_data_says_how_to_get_them(monkeypatch, tmp_path):
    module = importlib.import_module("models.fashion.train")
    monkeypatch.setattr(module, "DATA", tmp_path)
    with pytest.raises(BuildError, match="apt-get install dataset-fashion-mnist"):
        module.train()
