"""The threshold of the middle tier: as the slow, obvious procedure chooses it; its promise holds over many draws."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.builder.middle_threshold import choose_threshold, fewest_rows, thresholds
from edgeml.errors import BuildError
from edgeml.monitor.binomial import upper_bound


def p_value(lost, n, budget):
    """P(Binomial(n, budget) <= lost), in fractions."""
    p = Fraction(budget)
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(lost + 1))


def slow(top, costs, sequence, budget, confidence):
    """Each threshold in turn, until one cannot be promised."""
    taken = None
    for threshold in sequence:
        lost = sum(bool(cost) and score >= threshold for score, cost in zip(top, costs, strict=True))
        if float(p_value(lost, len(top), budget)) > 1 - confidence:
            break
        taken = threshold
    return taken


SCORES = st.floats(0, 1) | st.just(float("nan")) | st.sampled_from([0.5, 0.9, 0.99, 1.0])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0.03, 0.1, 0.25, 0.5]),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_it_is_what_trying_each_gives(rows, budget, confidence):
    top, costs = (np.array(each) for each in zip(*rows, strict=True))
    sequence = thresholds(3)[::20]
    expected = slow(top, costs, sequence, budget, confidence)
    try:
        choice = choose_threshold(top, costs, n_labels=3, budget=budget, confidence=confidence, sequence=sequence)
    except BuildError:
        assert expected is None
        return
    # The strictest of those that answer the same rows.
    answered = top >= choice.threshold
    assert expected is not None and choice.threshold >= expected
    assert answered.sum() == (top >= expected).sum() == choice.answered
    assert choice.lost == (answered & costs).sum() and choice.rows == len(top)
    assert choice.bound == upper_bound(choice.lost, choice.rows, confidence)


def test_its_promise_holds_over_many_draws():
    """Where every threshold's loss is known, the one chosen is beyond the budget in at most 5 of 100 draws."""
    random = np.random.default_rng(0)
    budget, confidence, draws, beyond, answered = 0.05, 0.95, 2000, 0, 0.0
    for _ in range(draws):
        top = random.uniform(0.5, 1.0, 200)
        # A row of score s is lost with probability (1 - s) / 2: above t the share (1 - t)^2 / 2 of all rows is.
        costs = random.random(200) < (1 - top) / 2
        try:
            choice = choose_threshold(top, costs, n_labels=2, budget=budget, confidence=confidence)
        except BuildError:
            continue
        beyond += (1 - max(0.5, choice.threshold)) ** 2 / 2 > budget
        answered += (1 - choice.threshold) * 2
    # Of 2,000 draws 5 % are 100, plus three standard errors.
    assert beyond <= 100 + 3 * np.sqrt(draws * 0.05 * 0.95)
    assert answered / draws > 0.3  # and the promise is not held by answering nothing


def test_too_few_rows_say_how_many_it_takes():
    needed = fewest_rows(0.005, 0.95)
    assert float(p_value(0, needed, 0.005)) <= 0.05 < float(p_value(0, needed - 1, 0.005))
    with pytest.raises(BuildError, match=f"at least {needed}:"):
        choose_threshold(np.ones(100), np.zeros(100, dtype=bool), n_labels=2, budget=0.005, confidence=0.95)
    with pytest.raises(BuildError, match="too often wrong"):
        choose_threshold(np.ones(1000), np.ones(1000, dtype=bool), n_labels=2, budget=0.005, confidence=0.95)


def test_the_sequence_falls_from_strict_to_all():
    sequence = thresholds(4)
    assert (np.diff(sequence) < 0).all() and sequence[0] < 1 and sequence[-1] == pytest.approx(0.25)
