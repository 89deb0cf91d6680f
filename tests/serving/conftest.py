"""One service for all tests that only ask."""

import json

import pytest
from serving.running import Running

ROW = {
    "bill_length_mm": 47.0,
    "bill_depth_mm": 18.5,
    "flipper_length_mm": 195.0,
    "body_mass_g": 3700,
    "island": "Biscoe",
    "sex": "male",
}


@pytest.fixture(scope="session")
def service(penguins_path):
    running = Running(penguins_path, "--max-body", "100000", "--max-rows", "200")
    yield running
    status, errors = running.stop()
    assert (status, errors) == (0, "")


@pytest.fixture
def row():
    """A record that the model answers."""
    return dict(ROW)


@pytest.fixture
def gentoo():
    """A record that a rule answers."""
    return ROW | {"bill_depth_mm": 15.0, "flipper_length_mm": 217.0}


@pytest.fixture
def body(row):
    """A records request of one record."""
    return json.dumps({"records": [row]}).encode()
