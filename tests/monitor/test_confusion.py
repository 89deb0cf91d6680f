"""One label against all others, against scikit-learn; intervals of shares, against simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from edgeml.monitor.confusion import confusion_counts, f1_of, figure, macro, share_interval


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=80))
def test_measures_are_those_of_scikit_learn(rows):
    counts = {}
    for pair in rows:
        counts[pair] = counts.get(pair, 0) + 1
    given_labels, true = zip(*rows, strict=True)
    expected = precision_recall_fscore_support(true, given_labels, labels=[0, 1, 2], zero_division=np.nan)[:3]
    for label, one in enumerate(confusion_counts(counts, 3)):
        for place, (name, (right, n)) in enumerate(one.shares().items()):
            got = f1_of(right / n) if n and name == "f1" else right / n if n else np.nan
            # scikit-learn calls F1 undefined only where its label neither came nor was given.
            assert got == pytest.approx(expected[place][label], nan_ok=True)


def test_the_interval_holds_the_share_of_new_rows():
    """Rates estimated from m rows, shares of n others: 3 standard errors with both taken into account."""
    rng = np.random.default_rng(5)
    for rate, m, n in [(0.5, 200, 100), (0.9, 100, 400), (0.99, 300, 100), (0.02, 100, 100)]:
        estimate = rng.binomial(m, rate, 4_000) / m
        share = rng.binomial(n, rate, 4_000) / n
        enough = n * m / (n + m)
        ends = np.array([share_interval(each * enough, enough, 3.0) for each in estimate])
        assert ((ends[:, 0] <= share) & (share <= ends[:, 1])).mean() > 0.99


def test_an_interval_is_never_empty_and_always_within_0_and_1():
    for right, rows in [(0, 5), (5, 5), (2, 5), (0.3, 0.5), (1e6, 1e6)]:
        low, high = share_interval(right, rows, 3.0)
        assert 0 <= low <= right / rows <= high <= 1 and low < high
    assert share_interval(5, 10, 3.0)[1] - share_interval(5, 10, 3.0)[0] > 0.8
    assert share_interval(5e5, 1e6, 3.0) == pytest.approx((0.4985, 0.5015), abs=1e-5)


def test_figures_of_no_rows_are_none_and_the_mean_is_over_the_others():
    assert figure(0, 0, (0.0, 1.0)) is None
    one, other = figure(1, 2, (0.25, 0.75)), figure(1, 1, (0.5, 1.0))
    assert macro([one, None, other]) == {"value": 0.75, "low": 0.375, "high": 0.875}
    assert macro([None]) is None
    f1 = figure(1, 2, (0.0, 1.0), f1=True)
    assert f1 == {"value": pytest.approx(2 / 3), "low": 0.0, "high": 1.0, "rows": 2}
