import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.histogram_oracle import HIGHEST, LOWEST, SortedValues

from edgeml.kernels.histogram import Histogram

# Spread over the octaves, with the ends of the range and of octaves as likely as anything else.
in_range = st.one_of(
    st.integers(LOWEST, 100_000),
    st.integers(LOWEST, HIGHEST),
    st.integers(10, 35).flatmap(lambda bits: st.sampled_from([(1 << bits) - 1, 1 << bits, (1 << bits) + 1])),
    st.sampled_from([LOWEST, HIGHEST]),
)
anything = st.one_of(in_range, st.integers(0, LOWEST), st.integers(HIGHEST, 1 << 50))
recorded = st.lists(st.tuples(anything, st.integers(1, 50)), min_size=1, max_size=40)
shares = st.one_of(st.floats(0, 100), st.sampled_from([0.0, 50.0, 90.0, 99.0, 99.9, 100.0]))


def both(pairs):
    histogram, oracle = Histogram(), SortedValues()
    for ns, count in pairs:
        histogram.record_many(ns, count)
        oracle.record_many(ns, count)
    return histogram, oracle


@given(st.lists(st.tuples(in_range, st.integers(1, 50)), min_size=1, max_size=40), shares)
def test_a_percentile_lies_within_one_percent_above_the_exact_one(pairs, q):
    histogram, oracle = both(pairs)
    exact = oracle.percentile(q)
    assert exact <= histogram.percentile(q) <= exact * 1.01


@given(recorded, shares)
def test_what_lies_outside_the_range_counts_at_its_ends(pairs, q):
    histogram, oracle = both(pairs)
    exact = min(max(oracle.percentile(q), LOWEST), HIGHEST)
    assert exact <= histogram.percentile(q) <= exact * 1.01


@given(recorded)
def test_count_extremes_mean_and_overflow_are_exact(pairs):
    histogram, oracle = both(pairs)
    assert histogram.count == len(oracle.values)
    assert (histogram.min, histogram.max) == (oracle.values[0], oracle.values[-1])
    assert histogram.mean == pytest.approx(oracle.mean, rel=1e-12)
    assert histogram.overflow == oracle.overflow


@given(recorded, anything)
def test_what_is_longer_is_counted_but_for_its_own_bucket(pairs, ns):
    histogram, oracle = both(pairs)
    inside = min(max(ns, LOWEST), HIGHEST)
    surely = sum(value > inside * 1.01 for value in oracle.values if value <= HIGHEST)
    surely += sum(value > HIGHEST for value in oracle.values) if inside * 1.01 < HIGHEST else 0
    assert surely <= histogram.count_above(ns) <= sum(value > ns for value in oracle.values)
    with pytest.raises(ValueError, match="not negative"):
        histogram.count_above(-1)


@given(st.lists(recorded, min_size=2, max_size=4))
def test_merging_is_recording_everything(parts):
    merged = Histogram()
    for part in parts:
        merged.merge(both(part)[0])
    whole, _ = both([pair for part in parts for pair in part])
    assert merged.to_bytes() == whole.to_bytes()


@given(recorded)
def test_bytes_come_back(pairs):
    histogram, _ = both(pairs)
    data = histogram.to_bytes()
    again = Histogram.from_bytes(data)
    assert again.to_bytes() == data
    assert again.percentile(50) == histogram.percentile(50)
    assert pickle.loads(pickle.dumps(histogram)).to_bytes() == data


@given(st.lists(anything, max_size=30))
def test_one_by_one_is_the_same_as_many(values):
    one, many = Histogram(), Histogram()
    for value in values:
        one.record(value)
    for value in set(values):
        many.record_many(value, values.count(value))
    assert one.to_bytes() == many.to_bytes()


def test_every_bucket_is_narrow_and_they_follow_each_other_without_gap():
    value, ends = LOWEST, []
    while value <= HIGHEST:
        histogram = Histogram()
        histogram.record(value)
        end = histogram.percentile(100)
        assert value <= end <= value * (1 + 1 / 128)
        ends.append(end)
        value = end + 1
    assert len(ends) == 3302 and ends == sorted(set(ends))


def test_an_empty_histogram():
    histogram = Histogram()
    assert (histogram.count, histogram.min, histogram.max, histogram.overflow) == (0, 0, 0, 0)
    assert histogram.mean == 0.0 and histogram.percentile(99) == 0
    assert Histogram.from_bytes(histogram.to_bytes()).to_bytes() == histogram.to_bytes()
    other = Histogram()
    other.record(5_000)
    before = other.to_bytes()
    other.merge(histogram)
    assert other.to_bytes() == before


def test_reset_forgets_everything():
    histogram = Histogram()
    histogram.record_many(70_000_000_000, 3)
    histogram.reset()
    assert histogram.to_bytes() == Histogram().to_bytes()
    histogram.record(2_000)
    assert (histogram.count, histogram.min, histogram.max, histogram.overflow) == (1, 2_000, 2_000, 0)


def test_a_histogram_may_be_merged_into_itself():
    histogram = Histogram()
    histogram.record_many(3_000, 2)
    histogram.merge(histogram)
    assert (histogram.count, histogram.mean) == (4, 3_000.0)


def test_nothing_recorded_zero_times():
    histogram = Histogram()
    histogram.record_many(5, 0)
    assert histogram.count == 0


def test_bad_arguments():
    histogram = Histogram()
    with pytest.raises(ValueError, match="-1 ns"):
        histogram.record(-1)
    with pytest.raises(ValueError, match="-2"):
        histogram.record_many(5, -2)
    with pytest.raises(OverflowError):
        histogram.record(1 << 63)
    with pytest.raises(TypeError):
        histogram.record("5")
    with pytest.raises(TypeError):
        histogram.merge(None)
    for q in (-0.1, 100.1, float("nan")):
        with pytest.raises(ValueError, match="percentile"):
            histogram.percentile(q)
    assert histogram.count == 0


def test_counts_do_not_wrap_around():
    histogram = Histogram()
    histogram.record_many((1 << 63) - 1, 1 << 62)
    assert histogram.count == histogram.overflow == 1 << 62
    with pytest.raises(OverflowError, match="2\\*\\*62"):
        histogram.record(1)
    other = Histogram()
    other.record(1)
    with pytest.raises(OverflowError, match="2\\*\\*62"):
        other.merge(histogram)
    assert histogram.count == 1 << 62 and other.count == 1
    assert Histogram.from_bytes(histogram.to_bytes()).to_bytes() == histogram.to_bytes()


def sample():
    histogram = Histogram()
    for ns in (1_500, 2_500, 61_000_000_000):
        histogram.record_many(ns, 2)
    return histogram.to_bytes()


HEADER = struct.Struct("<4sHqqHIqqqqQI")
FIELDS = ("magic", "version", "lowest", "highest", "halves", "buckets", "count", "overflow", "min", "max", "sum", "n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("magic", b"NOPE"),
        ("version", 2),
        ("lowest", 1),
        ("highest", 5),
        ("halves", 64),
        ("buckets", 9),
        ("count", 5),
        ("count", 7),
        ("overflow", 0),
        ("overflow", 3),
        ("overflow", -1),
        ("min", 1_000_000),
        ("min", 2_500),
        ("min", -1),
        ("max", 2_500),
        ("max", -1),
        ("sum", 0),
        ("sum", 1 << 60),
        ("n", 2),
        ("n", 4),
    ],
)
def test_contradicting_bytes_are_refused(field, value):
    data = sample()
    fields = dict(zip(FIELDS, HEADER.unpack_from(data), strict=True))
    fields[field] = value
    with pytest.raises(ValueError):
        Histogram.from_bytes(HEADER.pack(*fields.values()) + data[HEADER.size :])


@pytest.mark.parametrize(
    "entries",
    [[(0, 3), (0, 3)], [(9, 1), (3, 5)], [(0, -6)], [(0, 0), (1, 6)], [(3302, 6)], [(0, 1 << 62), (1, 1 << 62)]],
)
def test_buckets_out_of_order_or_range_are_refused(entries):
    fields = dict(zip(FIELDS, HEADER.unpack_from(sample()), strict=True))
    fields |= {"n": len(entries), "overflow": 0, "min": 0, "max": 1_000}
    data = HEADER.pack(*fields.values()) + b"".join(struct.pack("<Iq", *entry) for entry in entries)
    with pytest.raises(ValueError):
        Histogram.from_bytes(data)


def test_cut_or_lengthened_bytes_are_refused():
    data = sample()
    for end in range(len(data)):
        with pytest.raises(ValueError):
            Histogram.from_bytes(data[:end])
    with pytest.raises(ValueError):
        Histogram.from_bytes(data + b"\0")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for candidate in (data, sample()[: HEADER.size] + data):
        try:
            histogram = Histogram.from_bytes(candidate)
        except ValueError:
            continue
        assert histogram.to_bytes() == candidate
