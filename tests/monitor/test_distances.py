import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

from edgeml.monitor import distances
from edgeml.monitor.chi_square import chi_square_tail

REFERENCE = [100, 200, 300, 250, 150]
CURRENT = [80, 150, 320, 300, 150]
SYMMETRIC = ["psi", "jensen_shannon", "hellinger", "l_infinity", "total_variation", "ks_binned", "wasserstein_binned"]
ALL = [*SYMMETRIC, "kl", "psi_bias", "chi_square_fit", "chi_square_contingency"]
COUNT = st.one_of(st.integers(0, 20), st.integers(0, 10**6))
PAIRS = st.integers(1, 40).flatmap(
    lambda bins: st.tuples(st.lists(COUNT, min_size=bins, max_size=bins), st.lists(COUNT, min_size=bins, max_size=bins))
)
FILLED = PAIRS.filter(lambda pair: any(pair[0]) and any(pair[1]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("psi", 0.029253823),
        ("jensen_shannon", 0.072544164),
        ("kl", 0.014908824),
        ("hellinger", 0.060433879),
        ("total_variation", 0.07),
        ("l_infinity", 0.05),
        ("ks_binned", 0.07),
        ("wasserstein_binned", 0.14),
    ],
)
def test_known_distances(name, value):
    assert getattr(distances, name)(REFERENCE, CURRENT) == pytest.approx(value, abs=5e-10)


def test_known_distances_with_other_settings():
    assert distances.jensen_shannon(REFERENCE, CURRENT, base=None) == pytest.approx(0.060396978, abs=6e-10)
    assert distances.wasserstein_binned(REFERENCE, CURRENT, [0, 10, 20, 30, 40]) == pytest.approx(1.4)


def test_known_tests():
    fit, p_fit = distances.chi_square_fit(REFERENCE, CURRENT)
    assert (fit, p_fit) == (pytest.approx(27.833333, abs=5e-7), pytest.approx(1.3482e-05, abs=5e-10))
    both, p_both = distances.chi_square_contingency(REFERENCE, CURRENT)
    assert (both, p_both) == (pytest.approx(14.555695, abs=5e-7), pytest.approx(0.005717266, abs=5e-10))
    assert distances.ks_p_value(0.07, 1000, 1000) == pytest.approx(0.0148932, abs=5e-8)


def test_what_evidently_s_own_tests_expect():
    # tests/stattests/test_stattests.py
    reference, current = [16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]
    assert distances.chi_square_fit(reference, current)[1] == pytest.approx(0.67309, abs=5e-6)
    assert distances.hellinger(reference, current) == pytest.approx(0.06812, abs=1e-5)


def nannyml(reference, current, outside):
    """NannyML 0.13, drift/univariate/methods.py, from the shares on."""
    p = np.array(reference) / sum(reference)
    q = np.array(current) / (sum(current) + outside)
    leftover = 1 - np.sum(q)
    if leftover > 0:
        q = np.append(q, leftover)
        p = np.append(p, 0)
    hellinger = np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2)) / np.sqrt(2)
    return float(jensenshannon(p, q, base=2)), float(hellinger)


@given(PAIRS, st.integers(0, 1_000))
def test_nannyml_s_distances_to_the_last_bit(pair, outside):
    reference, current = pair
    assume(any(reference) and (any(current) or outside))
    js, hellinger = nannyml(reference, current, outside)
    assume(not math.isnan(js))  # scipy's rounding may leave the root of a number just below 0; ours is 0 there
    assert distances.jensen_shannon(reference, current, outside=outside) == js
    assert distances.hellinger(reference, current, outside=outside) == hellinger


@pytest.mark.parametrize("bins", [7, 8, 9, 127, 128, 129, 136, 300, 1_000])
def test_nannyml_s_distances_to_the_last_bit_with_many_bins(bins):
    """numpy adds up short, middle and long arrays in different orders."""
    rng = np.random.default_rng(bins)
    for _ in range(20):
        shares = rng.dirichlet(np.ones(bins))
        pair = [rng.multinomial(rows, shares).tolist() for rows in (5_000, 700)]
        outside = int(rng.integers(0, 20))
        ours = (distances.jensen_shannon(*pair, outside=outside), distances.hellinger(*pair, outside=outside))
        assert ours == nannyml(*pair, outside)


@given(FILLED)
def test_scipy_s_jensen_shannon_to_the_last_bit(pair):
    expected = float(jensenshannon(*pair))
    assume(not math.isnan(expected))
    assert distances.jensen_shannon(*pair, base=None) == expected


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_nannyml_s_l_infinity_of_two_columns_of_labels(reference, current):
    labels = sorted({*reference, *current})
    ours = distances.l_infinity([reference.count(x) for x in labels], [current.count(x) for x in labels])
    old, new = np.array(reference), np.array(current)
    assert ours == max(abs((old == x).sum() / len(old) - (new == x).sum() / len(new)) for x in labels)


@given(FILLED)
def test_scipy_to_nine_digits(pair):
    reference, current = pair
    p, q = np.array(reference) / sum(reference), np.array(current) / sum(current)
    close = {"rel": 1e-9, "abs": 1e-12}
    with np.errstate(all="ignore"):
        assert distances.kl(reference, current) == pytest.approx(float(special.rel_entr(p, q).sum()), **close)
    places = list(range(len(p)))
    w1 = stats.wasserstein_distance(places, places, p, q)
    assert distances.wasserstein_binned(reference, current) == pytest.approx(w1, rel=1e-9, abs=1e-10)
    assert distances.ks_binned(reference, current) == pytest.approx(abs(p.cumsum() - q.cumsum()).max(), **close)
    assert distances.total_variation(reference, current) == pytest.approx(abs(p - q).sum() / 2, **close)
    occupied = [i for i in places if reference[i] or current[i]]
    table = np.array([[reference[i] for i in occupied], [current[i] for i in occupied]])
    statistic, p_value, _, _ = stats.chi2_contingency(table)
    assert distances.chi_square_contingency(reference, current) == (
        pytest.approx(statistic, rel=1e-9, abs=1e-9),
        pytest.approx(p_value, rel=1e-6, abs=1e-300),  # that of a statistic which itself agrees to 1e-9
    )


@given(FILLED)
def test_a_fit_is_scipy_s_where_the_reference_leaves_no_bin_empty(pair):
    reference, current = [count + 1 for count in pair[0]], pair[1]
    expected = np.array(reference) * (sum(current) / sum(reference))
    statistic = float((((np.array(current) - expected) ** 2) / expected).sum())
    ours, p_value = distances.chi_square_fit(reference, current)
    assert ours == pytest.approx(statistic, rel=1e-9, abs=1e-12)
    assert p_value == (pytest.approx(stats.chi2.sf(ours, len(reference) - 1), rel=1e-9) if len(reference) > 1 else 1.0)


@given(st.integers(1, 4_000), st.floats(0, 10))
def test_the_tail_of_chi_square_is_scipy_s(degrees, times):
    statistic = degrees * times
    expected = stats.chi2.sf(statistic, degrees)
    assert chi_square_tail(statistic, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-290)


@given(st.floats(0, 1), st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_p_value_of_kolmogorov_smirnov_is_scipy_s(statistic, n, m):
    expected = special.kolmogorov(statistic * math.sqrt(n / (n + m) * m))
    assert distances.ks_p_value(statistic, n, m) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("name", SYMMETRIC)
@given(pair=FILLED)
def test_either_may_be_the_reference(name, pair):
    distance = getattr(distances, name)
    assert distance(*pair) == pytest.approx(distance(*reversed(pair)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", [*SYMMETRIC, "kl"])
@given(pair=FILLED, times=st.integers(1, 1_000))
def test_equal_shares_are_at_distance_zero_whatever_the_totals(name, pair, times):
    current = [count * times for count in pair[0]]
    if name == "psi":  # half an observation has no multiple
        current = [count * times if count else 0 for count in pair[0]]
    # The root of a rounding error of 1e-16 is 1e-8.
    assert getattr(distances, name)(pair[0], current) == pytest.approx(0, abs=1e-7)
    assert distances.psi(pair[0], current) == 0


@given(FILLED)
def test_distances_are_within_their_ranges(pair):
    for name in ("jensen_shannon", "hellinger", "l_infinity", "total_variation", "ks_binned"):
        assert 0 <= getattr(distances, name)(*pair) <= 1 + 1e-12
    assert distances.psi(*pair) >= 0
    assert distances.l_infinity(*pair) <= 2 * distances.total_variation(*pair) + 1e-12
    assert distances.hellinger(*pair) ** 2 <= distances.total_variation(*pair) + 1e-12


def test_bins_that_only_one_side_has():
    assert distances.psi([50, 50, 0], [50, 0, 50]) == pytest.approx(
        distances.psi([100, 100, 1], [100, 1, 100]), rel=1e-9
    )
    assert distances.kl([50, 50], [100, 0]) == math.inf
    assert distances.kl([100, 0], [50, 50]) == pytest.approx(math.log(2))
    assert distances.chi_square_fit([100, 0], [99, 1]) == (math.inf, 0.0)
    assert distances.jensen_shannon([1, 0], [0, 1]) == distances.hellinger([1, 0], [0, 1]) == 1
    assert distances.chi_square_contingency([0, 7], [0, 9]) == (0.0, 1.0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("pair", [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([], [])])
def test_nothing_is_at_no_distance(name, pair):
    assert getattr(distances, name)(*pair) is None


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_pair_of_histograms_is_refused(name):
    with pytest.raises(ValueError, match="2 bins and the current counts have 3"):
        getattr(distances, name)([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="negative"):
        getattr(distances, name)([1, 2], [3, -1])


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="3 positions for 2 bins"):
        distances.wasserstein_binned([1, 2], [2, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="ascend"):
        distances.wasserstein_binned([1, 2], [2, 1], [1, 0])
    with pytest.raises(ValueError, match="both sides need some"):
        distances.ks_p_value(0.1, 0, 5)
    with pytest.raises(ValueError, match="degrees"):
        chi_square_tail(1.0, -1)
    with pytest.raises(ValueError, match="degrees"):
        chi_square_tail(math.nan, 1)


def test_the_index_of_healthy_rows_is_its_bias_on_average():
    rng = np.random.default_rng(1)
    shares = np.full(12, 1 / 12)
    pairs = [(rng.multinomial(2_000, shares).tolist(), rng.multinomial(800, shares).tolist()) for _ in range(2_000)]
    index = np.mean([distances.psi(*pair) for pair in pairs])
    assert index == pytest.approx(distances.psi_bias(*pairs[0]), rel=0.05)
