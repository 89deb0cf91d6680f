import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.monitor.burn_rate import BurnRate, EventRing, Events

BATCHES = st.lists(
    st.tuples(st.floats(0, 90), st.integers(0, 5), st.integers(0, 20)).map(lambda b: (b[0], b[1], b[1] + b[2])),
    max_size=40,
)


@given(BATCHES)
def test_a_window_holds_all_of_its_length_and_less_than_a_slot_more(batches):
    ring, now, kept = EventRing(60, 5), 0.0, []
    for step, bad, total in batches:
        now += step
        ring.add(now, bad, total)
        kept.append((now, bad, total))
        seen = ring.events(now)
        for attribute, column in (("bad", 1), ("total", 2)):
            least = sum(entry[column] for entry in kept if entry[0] > now - 60)
            most = sum(entry[column] for entry in kept if entry[0] >= now - 65)
            assert least <= getattr(seen, attribute) <= most


@given(BATCHES)
def test_memory_is_bounded_and_a_document_restores_the_ring(batches):
    ring, now = EventRing(60, 5), 0.0
    for step, bad, total in batches:
        now += step
        ring.add(now, bad, total)
    document = ring.to_document()
    assert len(document) <= 13
    other = EventRing(60, 5)
    other.restore(document)
    assert other.to_document() == document and other.events(now) == ring.events(now)


def test_a_clock_that_goes_back_loses_nothing():
    ring = EventRing(60, 5)
    ring.add(100.0, 1, 2)
    ring.add(3.0, 1, 2)
    assert ring.events(100.0) == Events(2, 4)


def test_an_empty_window_has_no_bad_share():
    assert EventRing(60, 5).events(7.0).share == 0.0
    assert Events(1, 4).share == 0.25


def test_bad_events_may_be_told_before_their_total():
    ring = EventRing(60, 5)
    ring.add(1.0, 2, 0)
    assert ring.events(1.0) == Events(2, 0) and ring.events(1.0).share == 1.0
    ring.add(1.0, 0, 8)
    assert ring.events(1.0).share == 0.25 and Events(3, 2).share == 1.0


@pytest.mark.parametrize("lengths", [(0, 1), (60, 0), (60, 61), (float("inf"), 1), (float("nan"), 1)])
def test_impossible_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="window"):
        EventRing(*lengths)


@pytest.mark.parametrize("counts", [(-1, 2), (1, -2)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="bad events"):
        EventRing(60, 5).add(0.0, *counts)


@pytest.mark.parametrize(
    "document", [[[1, 2]], [[1, 0, "2"]], [[2, 0, 1], [1, 0, 1]], [[1, -3, 2]], [[0, 0, 1], [99, 0, 1]]]
)
def test_a_broken_document_is_refused(document):
    with pytest.raises(ValueError, match="slot"):
        EventRing(60, 5).restore(document)


def test_the_rate_is_the_share_of_bad_over_the_budget():
    burn = BurnRate(0.001)
    burn.add(0.0, 2, 100)
    assert burn.rate(0.0) == pytest.approx(20.0)
    assert BurnRate(0.001).rate(0.0) == 0.0
    with pytest.raises(ValueError, match="budget"):
        BurnRate(0.0)


def test_both_windows_must_burn():
    burn = BurnRate(0.001)
    burn.add(0.0, 100, 100)
    assert burn.exceeds(0.0, 14.4, bad_events=10)
    # The cause is gone for six minutes: the hour still burns, the alarm has ended.
    burn.add(360.0, 0, 10)
    assert burn.long.events(360.0).bad == 100
    assert not burn.exceeds(360.0, 14.4, bad_events=10)


def test_a_blip_after_a_good_hour_is_no_alarm():
    burn = BurnRate(0.001)
    for minute in range(55):
        burn.add(60.0 * minute, 0, 1_000)
    burn.add(3_300.0, 500, 1_000)
    assert burn.short.events(3_300.0).share > 14.4 * 0.001 > burn.long.events(3_300.0).share
    assert not burn.exceeds(3_300.0, 14.4, bad_events=10)


def test_a_few_bad_events_at_low_traffic_are_no_alarm():
    burn = BurnRate(0.001)
    burn.add(0.0, 9, 9)
    assert burn.rate(0.0) == pytest.approx(1000.0) and not burn.exceeds(0.0, 14.4, bad_events=10)
    burn.add(1.0, 1, 1)
    assert burn.exceeds(1.0, 14.4, bad_events=10)
