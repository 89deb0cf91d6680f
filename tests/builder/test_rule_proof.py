"""The bounds that learned rules are held to, against sums that are written out and against drawn lists."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.builder.rule_proof import lower_bound, p_value, proven, rows_needed, upper_bound


def tail(rows: int, right: int, share: float) -> float:
    return sum(math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(right, rows + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.data(), st.floats(0.05, 0.99))
def test_p_values_and_bounds_are_the_written_out_sums(rows, data, target):
    right = data.draw(st.integers(0, rows))
    assert p_value(rows, right, target) == pytest.approx(tail(rows, right, target), rel=1e-9, abs=1e-12)
    low = lower_bound(rows, right, 0.05)
    assert low == 0 if right == 0 else tail(rows, right, low) == pytest.approx(0.05, rel=1e-6)
    # A share is above the target at 95 % where its lower bound is.
    assert (p_value(rows, right, target) <= 0.05) == (low >= target - 1e-12) or abs(low - target) < 1e-9
    high = upper_bound(rows, right, 0.05)
    assert high == 1 if right == rows else 1 - tail(rows, right + 1, high) == pytest.approx(0.05, rel=1e-6)


def test_what_was_never_seen_proves_nothing():
    assert p_value(0, 0, 0.5) == 1.0
    assert (lower_bound(0, 0, 0.05), upper_bound(0, 0, 0.05)) == (0.0, 1.0)


def naive_holm(p_values, alpha):
    found = [False] * len(p_values)
    while True:
        left = [at for at, good in enumerate(found) if not good]
        if not left:
            return found
        smallest = min(left, key=lambda at: (p_values[at], at))
        if p_values[smallest] > alpha / len(left):
            return found
        found[smallest] = True


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 0.1), max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_steps_down(p_values, alpha):
    assert proven(p_values, alpha) == naive_holm(p_values, alpha)


@pytest.mark.parametrize("precision", [1.0, 0.99, 0.97])
def test_rows_that_are_needed_are_enough_and_one_less_is_not(precision):
    rows = rows_needed(0.95, 0.05, precision)
    assert p_value(rows, math.floor(rows * precision), 0.95) <= 0.05
    assert p_value(rows - 1, math.floor((rows - 1) * precision), 0.95) > 0.05


def test_no_number_of_rows_proves_what_is_not_so():
    assert rows_needed(0.95, 0.05, 0.95) is None
    assert rows_needed(0.95, 0.05, 1.0) == 59


def test_a_list_of_bad_rules_passes_as_seldom_as_was_said():
    # Ten disjoint regions whose precision is the target itself: the hardest case that must not pass.
    generator = np.random.default_rng(1)
    broken = 0
    for _ in range(1000):
        rows = generator.integers(20, 400, 10)
        right = generator.binomial(rows, 0.9)
        broken += any(proven([p_value(*pair, 0.9) for pair in zip(rows.tolist(), right.tolist(), strict=True)], 0.05))
    # 5 % and three standard deviations.
    assert broken <= 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)
