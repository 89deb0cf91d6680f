"""Bundles that several tests share, built once for each test process."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from zoo.zoo_table import print_table

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no failure: no example is timed. Fewer than hypothesis's 100 where a test does not say: the kernels'
# fuzz targets and the tests that name a number look further.
settings.register_profile("edgeml", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgeml")


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


def pytest_terminal_summary(terminalreporter):
    print_table(terminalreporter)
