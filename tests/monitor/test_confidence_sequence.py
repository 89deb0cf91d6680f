"""The confidence sequence: a martingale by exact sums, coverage at all times by simulation, and its shape."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.monitor.confidence_sequence import confidence_sequence, log_mixture_martingale

RATES = st.floats(0.001, 0.999)


@given(st.integers(0, 200), st.integers(0, 200), RATES)
def test_it_is_a_martingale_under_its_own_rate(right, wrong, rate):
    """The mean over the next trial, weighted by the rate, is what it was."""
    n = right + wrong
    now = log_mixture_martingale(right, n, rate)
    following = rate * math.exp(log_mixture_martingale(right + 1, n + 1, rate) - now)
    following += (1 - rate) * math.exp(log_mixture_martingale(right, n + 1, rate) - now)
    assert following == pytest.approx(1.0, abs=1e-9)


def test_it_is_the_likelihood_mixed_over_jeffreys_prior():
    """Against the integral, by numpy: midpoints in the angle, where the prior is flat."""
    angle = (np.arange(200_000) + 0.5) / 200_000 * math.pi / 2
    p = np.sin(angle) ** 2
    for right, n, rate in [(0, 3, 0.2), (7, 10, 0.6), (90, 100, 0.95)]:
        mixed = np.mean(p**right * (1 - p) ** (n - right))
        expected = math.log(mixed / (rate**right * (1 - rate) ** (n - right)))
        assert log_mixture_martingale(right, n, rate) == pytest.approx(expected, abs=1e-7)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.001, 0.5))
def test_its_ends_are_where_the_martingale_reaches_the_bound(right, wrong, alpha):
    n = right + wrong
    low, high = confidence_sequence(right, n, alpha=alpha)
    assert 0.0 <= low <= (right / n if n else 0.5) <= high <= 1.0
    for end in (low, high):
        if 0.0 < end < 1.0:
            assert log_mixture_martingale(right, n, end) == pytest.approx(-math.log(alpha), abs=1e-4)
    assert (low == 0.0) is (right == 0) and (high == 1.0) is (wrong == 0)


@given(st.integers(0, 500), st.integers(0, 500))
def test_it_is_symmetric(right, wrong):
    low, high = confidence_sequence(right, right + wrong)
    assert confidence_sequence(wrong, right + wrong) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_nothing_is_known_of_nothing():
    assert confidence_sequence(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
def test_it_covers_the_rate_at_all_times_at_once(rate):
    """4,000 streams of 2,000 trials, looked at after each. A 95 % interval for a fixed n misses in most of them."""
    streams, trials, alpha = 4_000, 2_000, 0.1
    rng = np.random.default_rng(20)
    missed = np.zeros(streams, dtype=bool)
    right = np.zeros(streams, dtype=np.int64)
    for n in range(1, trials + 1):
        right += rng.random(streams) < rate
        counts, where = np.unique(right, return_inverse=True)
        outside = [log_mixture_martingale(int(k), n, rate) >= -math.log(alpha) for k in counts]
        missed |= np.array(outside)[where]
    share = missed.mean()
    # The upper end at 99.9 %: three standard errors of a share of alpha.
    assert share <= alpha + 3.1 * math.sqrt(alpha * (1 - alpha) / streams)
    assert share > 0.001  # it is no interval of everything
    low, high = confidence_sequence(int(right[0]), trials, alpha=alpha)
    assert high - low < 0.13


@pytest.mark.parametrize(
    ("successes", "trials", "alpha"), [(-1, 3, 0.05), (4, 3, 0.05), (0, -1, 0.05), (1, 2, 0.0), (1, 2, 1.0)]
)
def test_what_cannot_be_is_refused(successes, trials, alpha):
    with pytest.raises(ValueError):
        confidence_sequence(successes, trials, alpha=alpha)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        log_mixture_martingale(1, 2, rate)


def test_impossible_rates_have_infinite_evidence_against_them():
    assert log_mixture_martingale(1, 2, 0.0) == log_mixture_martingale(1, 2, 1.0) == math.inf
