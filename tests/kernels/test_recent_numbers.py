"""The set of the last numbers, against a plain dictionary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.kernels.recent_numbers import RecentNumbers

# Few different numbers, so that they come again; multiples of a power of two, so that they meet in the table.
NUMBERS = st.one_of(st.integers(0, 30), st.integers(0, 30).map(lambda n: n << 58), st.integers(0, 2**64 - 1))


@given(st.integers(1, 12), st.lists(NUMBERS, max_size=200))
def test_it_remembers_the_last_numbers_and_no_others(most, numbers):
    recent, oracle = RecentNumbers(most), {}
    for number in numbers:
        assert recent.add(number) is (number not in oracle)
        oracle[number] = None
        if len(oracle) > most:
            del oracle[next(iter(oracle))]
        assert len(recent) == len(oracle)
    for number in {*numbers, 5, 1 << 63}:
        assert (number in recent) is (number in oracle)


def test_many_numbers_of_one_life():
    recent = RecentNumbers(65_536)
    first = 0x1234_5678 << 32
    assert all(recent.add(first + n) for n in range(100_000))
    assert len(recent) == 65_536
    assert first + 34_463 not in recent and first + 34_464 in recent
    assert not recent.add(first + 99_999)


@pytest.mark.parametrize("most", [0, -1, (1 << 24) + 1])
def test_sizes_out_of_range_are_refused(most):
    with pytest.raises(ValueError, match=r"2\*\*24"):
        RecentNumbers(most)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_out_of_range_are_refused(number):
    with pytest.raises(OverflowError):
        RecentNumbers(4).add(number)
