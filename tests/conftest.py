"""Bundles that several tests share, built once for each test process."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def penguins():
    """The arguments of ``edgeml.build`` for the penguins example."""
    from edgeml.builder.script import arguments_of

    return arguments_of(ROOT / "models" / "penguins" / "train.py")


@pytest.fixture(scope="session")
def penguins_bundle(penguins):
    """The penguins bundle: rules, gradient boosting, missing values, categories."""
    import edgeml

    return edgeml.build(**penguins)


@pytest.fixture(scope="session")
def penguins_path(penguins_bundle, tmp_path_factory):
    """The penguins bundle as a file."""
    path = tmp_path_factory.mktemp("penguins") / "penguins.edgeml"
    penguins_bundle.save(path)
    return path
