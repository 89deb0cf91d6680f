"""Bounds of a share without scipy are scipy's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeml.monitor.binomial import at_most, lower_bound, upper_bound


@settings(max_examples=40)
@given(st.integers(1, 600), st.data())
def test_they_are_those_of_clopper_and_pearson(trials, data):
    successes = data.draw(st.integers(0, min(trials, 60)) | st.integers(max(0, trials - 60), trials))
    confidence = data.draw(st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    expected = 1.0 if successes == trials else stats.beta.ppf(confidence, successes + 1, trials - successes)
    assert upper_bound(successes, trials, confidence) == pytest.approx(expected, rel=1e-7)
    expected = 0.0 if successes == 0 else stats.beta.ppf(1 - confidence, successes, trials - successes + 1)
    assert lower_bound(successes, trials, confidence) == pytest.approx(expected, rel=1e-7, abs=1e-12)
    share = data.draw(st.floats(0, 1))
    assert at_most(successes, trials, share) == pytest.approx(stats.binom.cdf(successes, trials, share), abs=1e-9)


def test_nothing_is_known_of_nothing():
    assert (lower_bound(0, 0, 0.95), upper_bound(0, 0, 0.95)) == (0.0, 1.0)
