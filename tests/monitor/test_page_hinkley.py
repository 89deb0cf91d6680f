import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.monitor.page_hinkley import PageHinkley, share_spread, threshold_for


class River:
    """river.drift.PageHinkley 0.26 in both modes, as it is written there."""

    def __init__(self):
        self.drift_detected = False
        self.reset()

    def reset(self):
        self.n, self.mean = 0.0, 0.0
        self.increase = self.decrease = 0.0
        self.min_increase, self.max_decrease = float("inf"), -1

    def update(self, x):
        if self.drift_detected:
            self.drift_detected = False
            self.reset()
        self.n += 1.0
        self.mean += (1.0 / self.n) * (x - self.mean)
        dev = x - self.mean
        self.increase = (1 - 0.0001) * self.increase + dev - 0.005
        self.decrease = (1 - 0.0001) * self.decrease + dev + 0.005
        if self.increase < self.min_increase:
            self.min_increase = self.increase
        if self.decrease > self.max_decrease:
            self.max_decrease = self.decrease
        if self.n >= 30:
            up, down = self.increase - self.min_increase, self.max_decrease - self.decrease
            self.drift_detected = up > 50 or down > 50
        return self.drift_detected


def alarms(detector, values):
    return [i for i, value in enumerate(values) if detector.update(value)]


def test_the_example_in_river_s_documentation():
    rng = random.Random(12345)
    values = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    assert alarms(PageHinkley(), values) == [1006]


@given(st.lists(st.integers(-200, 200), max_size=400), st.floats(0.01, 30))
def test_it_alarms_where_river_does(values, scale):
    values = [value * scale for value in values]
    assert alarms(PageHinkley(), values) == alarms(River(), values)


def test_the_direction_is_named_and_forgotten():
    detector = PageHinkley(threshold=5)
    rise = [0.0] * 40 + [1.0] * 40
    assert any(detector.update(value) for value in rise[: 40 + 7])
    assert detector.drift_direction == "up"
    detector.update(1.0)
    assert not detector.drift_detected and detector.drift_direction == ""
    falling = PageHinkley(threshold=5)
    assert any(falling.update(value) for value in [1.0] * 40 + [0.0] * 7)
    assert falling.drift_direction == "down"


@given(st.lists(st.floats(-1e3, 1e3), max_size=120), st.lists(st.floats(-1e3, 1e3), max_size=120))
def test_it_goes_on_where_it_was_saved(before, after):
    whole, saved, restored = PageHinkley(), PageHinkley(), PageHinkley()
    for value in before:
        whole.update(value)
        saved.update(value)
    restored.restore(json.loads(json.dumps(saved.to_document(), allow_nan=False)))
    assert restored.to_document() == saved.to_document()
    assert alarms(restored, after) == alarms(whole, after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": -1}, "'values'"),
        ({"values": True}, "'values'"),
        ({"mean": math.nan}, "'mean'"),
        ({"rising": "0"}, "'rising'"),
        ({"lowest": None}, "'lowest'"),
        ({"direction": "left"}, "'direction'"),
        ({"more": 1}, "members"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(change, message):
    detector = PageHinkley()
    alarms(detector, [1.0, 2.0, 4.0])
    before = detector.to_document()
    with pytest.raises(ValueError, match=message):
        detector.restore(before | change)
    with pytest.raises(ValueError, match="members"):
        detector.restore([])
    assert detector.to_document() == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused_and_changes_nothing(value):
    detector = PageHinkley()
    detector.update(3.0)
    before = detector.to_document()
    with pytest.raises(ValueError, match="leave it out"):
        detector.update(value)
    assert detector.to_document() == before


@pytest.mark.parametrize(
    "wrong", [{"min_instances": 0}, {"delta": -1}, {"threshold": 0}, {"alpha": 0}, {"alpha": 1.1}, {"unit": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Page-Hinkley needs"):
        PageHinkley(**wrong)
    with pytest.raises(ValueError, match="run length"):
        threshold_for(10, 0.5)
    with pytest.raises(ValueError, match="no spread"):
        share_spread(1.5, 100)


def test_a_share_is_found_at_its_own_scale_and_not_at_river_s():
    rng = random.Random(7)

    def share(p):
        return sum(rng.random() < p for _ in range(500)) / 500

    values = [share(0.02) for _ in range(300)] + [share(0.05) for _ in range(100)]
    scaled = PageHinkley.scaled(share_spread(0.02, 500), run_length=10_000)
    found = alarms(scaled, values)
    assert found and 300 <= found[0] < 310
    assert alarms(PageHinkley(), values) == []


def test_the_threshold_gives_the_run_length_that_was_asked_for():
    # Montgomery, Introduction to Statistical Quality Control, table 9.3: h = 4 runs 168 values, h = 5 runs 465.
    assert threshold_for(168, 0.5) == pytest.approx(4.0, abs=0.05)
    assert threshold_for(465, 0.5) == pytest.approx(5.0, abs=0.05)
    rng = random.Random(3)
    runs = []
    for _ in range(60):
        detector = PageHinkley.scaled(2.0, run_length=500)
        runs.append(next(i for i in range(10**6) if detector.update(rng.gauss(100.0, 2.0))))
    # About exponential: the mean of 60 is within 40 % of its own; the running mean makes the runs longer or shorter.
    assert 250 < sum(runs) / len(runs) < 1_500


def test_the_spread_of_a_share_is_the_binomial_one():
    assert share_spread(0.2, 400) == pytest.approx(0.02)
    assert share_spread(0.0, 100) == pytest.approx(share_spread(1.0, 100))
    assert 0 < share_spread(0.0, 100) < 0.01
