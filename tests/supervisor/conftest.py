"""Boxes that are stopped when the test is over."""

import pytest
from supervisor.boxes import make_box


@pytest.fixture
def new_box(tmp_path):
    """Makes boxes."""
    boxes = []

    def make(**options):
        boxes.append(make_box(tmp_path / f"store-{len(boxes)}", **options))
        return boxes[-1]

    yield make
    for box in boxes:
        box.management.stop(grace_seconds=0.5)


@pytest.fixture
def box(new_box):
    """A box that trusts ALICE."""
    return new_box()
