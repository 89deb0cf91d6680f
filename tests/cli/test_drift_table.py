"""Small histograms in text: what a column was and is, on one scale."""

import pytest

from edgeml.cli import drift_table
from edgeml.cli.drift_table import changed_most, histograms


@pytest.fixture(autouse=True)
def unicode_terminal(monkeypatch):
    monkeypatch.setattr(drift_table.sys, "stdout", Terminal("utf-8"))


class Terminal:
    def __init__(self, encoding):
        self.encoding = encoding


def column(kind, bins, reference, current):
    return {"kind": kind, "bins": bins, "reference": reference, "current": current, "rows": 10}


def test_bars_have_one_scale_and_missing_values_are_left_out():
    given = column(
        "number", ["missing", "below 0", "0 to 1", "above 1"], [0.2, 0.0, 0.4, 0.4], [0.8, 0.0, 0.001, 0.199]
    )
    reference, now = histograms(given)
    assert (reference, now) == (" ██", " ▁▄")
    assert changed_most(given) == "missing: 20.0% -> 80.0%"


def test_a_terminal_without_unicode_gets_ascii(monkeypatch):
    monkeypatch.setattr(drift_table.sys, "stdout", Terminal("ascii"))
    assert histograms(column("tier", ["rule", "model"], [0.5, 0.5], [0.0, 1.0])) == ("++", " @")


def test_neighbours_are_merged_and_of_levels_the_commonest_are_kept():
    shares = [1 / 33] * 33
    reference, _ = histograms(column("number", ["missing", *map(str, range(33))], [0.0, *shares], [0.0, *shares]))
    assert len(reference) == drift_table.MOST_BARS and " " not in reference
    levels = [0.0] * 40
    levels[39] = 1.0
    reference, now = histograms(column("label", [*map(str, range(40))], levels, levels))
    assert len(now) == drift_table.MOST_BARS and now.strip() == "█" and now[-1] == "█"


def test_nothing_known_gives_no_bars():
    assert histograms({"kind": "number", "rows": 0}) == ("", "")
    assert histograms(column("tier", ["rule", "model"], [0.5, 0.5], [0.0, 0.0])) == ("██", "  ")
    assert changed_most({"kind": "number", "rows": 0}) == ""
