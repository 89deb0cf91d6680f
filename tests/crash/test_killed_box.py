"""P1, P2, P3 and P5 of a running box: worker, supervisor or both are killed while something is being changed.

``make test`` tries a moment of each, ``make test-crash`` many; see ``killed_box`` for what must hold.
"""

import random

import pytest
from crash.killed_box import CHANGES, VICTIMS, Cell, killed_box, moments

KILLS = 16


def tell(record_property, *cells):
    for cell in cells:
        record_property("crash_kills", cell.figures)
    violations = [each for cell in cells for each in cell.violations]
    assert not violations, "\n".join(violations[:10])


def test_a_moment_of_each(tmp_path, penguins_bundle, record_property):
    cells = [Cell(change, victim) for change in CHANGES for victim in VICTIMS]
    shares = list(moments(len(cells), "each"))
    random.Random("each").shuffle(shares)
    dying = Cell("trial", "both")
    with killed_box(tmp_path, penguins_bundle, "each") as box:
        for cell, share in zip(cells, shares, strict=True):
            box.kill(cell, share)
        box.die_on_trial(dying)
        box.finish(dying)
    tell(record_property, *cells, dying)


@pytest.mark.crash
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("change", CHANGES)
def test_many_moments_of_a_change(change, victim, tmp_path, penguins_bundle, record_property):
    cell = Cell(change, victim)
    with killed_box(tmp_path, penguins_bundle, f"{change} {victim}") as box:
        for share in moments(KILLS, f"{change} {victim}"):
            box.kill(cell, share)
        box.finish(cell)
    tell(record_property, cell)


@pytest.mark.crash
@pytest.mark.parametrize("victim", ["worker", "both"])
def test_a_bundle_under_which_the_box_dies_is_abandoned(victim, tmp_path, penguins_bundle, record_property):
    cell = Cell("trial", victim)
    with killed_box(tmp_path, penguins_bundle, victim) as box:
        for _ in range(4):
            box.die_on_trial(cell)
        box.finish(cell)
    tell(record_property, cell)
