import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.monitor.windows import SubWindows

PIECES = st.lists(st.tuples(st.lists(st.integers(0, 400), min_size=3, max_size=3), st.integers(0, 90)), max_size=40)


def feed(ring, pieces, totals=(0, 0, 0), now=0.0):
    """Reads after each piece; gives the pieces of each closed sub-window, and those of the open one."""
    totals, closed, open_ = list(totals), [], []
    for counts, seconds in pieces:
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        now += seconds
        open_.append(counts)
        if ring.read(totals, sum(totals), now):
            closed.append(open_)
            open_ = []
    return totals, closed, open_, now


def added(pieces):
    return [sum(column) for column in zip(*pieces, [0, 0, 0], strict=True)]


@given(PIECES)
def test_windows_are_the_sums_of_what_came_in_them(pieces):
    ring = SubWindows(3)
    _, closed, open_, _ = feed(ring, pieces)
    assert [list(window.counts) for window in ring.closed] == [added(window) for window in closed][-8:]
    assert list(ring.open.counts) == added(open_) and ring.open.rows == sum(added(open_))
    assert ring.closings == len(closed)
    assert all(window.rows >= 500 for window in ring.closed)


@given(PIECES)
def test_suffixes_reach_back_one_closing_at_a_time(pieces):
    ring = SubWindows(3)
    _, closed, open_, _ = feed(ring, pieces)
    parts = [*[added(window) for window in closed][-8:], added(open_)]
    assert list(ring.suffixes()) == [added(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
    assert list(ring.suffixes(1, 2)) == [suffix[1:] for suffix in ring.suffixes()]


@given(PIECES)
def test_boxes_merge_by_addition(pieces):
    """One ring that counts the rows of two boxes has the sums of their two rings, closing by closing."""
    boxes, both = (SubWindows(3, rows=1), SubWindows(3, rows=1)), SubWindows(3, rows=1)
    # Each box has at least a row in each piece, so that all three close at the same readings.
    halves = [([count // 2 + 1 for count in counts], [count - count // 2 for count in counts]) for counts, _ in pieces]
    halves = [(one, [other[0] + 1, *other[1:]]) for one, other in halves]
    for box, ring in enumerate(boxes):
        feed(ring, [(half[box], 60) for half in halves])
    feed(both, [([a + b for a, b in zip(*half, strict=True)], 60) for half in halves])
    sums = [
        [a + b for a, b in zip(one, other, strict=True)]
        for one, other in zip(boxes[0].suffixes(), boxes[1].suffixes(), strict=True)
    ]
    assert list(both.suffixes()) == sums


def test_a_window_needs_rows_and_time():
    ring = SubWindows(1)
    assert not ring.read([0], 0, 100.0)
    assert not ring.read([499], 499, 200.0)
    assert ring.read([500], 500, 200.0)
    assert not ring.read([5_000], 5_000, 259.9)
    assert ring.read([5_000], 5_000, 260.0)
    assert [window.rows for window in ring.closed] == [500, 4_500]


def test_no_more_closings_a_day_than_minutes():
    ring = SubWindows(1)
    closings = sum(ring.read([i * 10_000], i * 10_000, i * 5.0) for i in range(86_400 // 5 + 1))
    assert closings == ring.closings == 1_440 and len(ring.closed) == 8


def test_a_reading_that_comes_twice_counts_once():
    ring = SubWindows(2)
    for _ in range(3):
        ring.read([7, 3], 10, 1.0)
    assert next(ring.suffixes()) == [7, 3]


def test_counters_that_go_back_are_refused_until_the_ring_is_told():
    ring = SubWindows(2)
    ring.read([7, 3], 10, 1.0)
    with pytest.raises(ValueError, match="went back"):
        ring.read([6, 4], 10, 2.0)
    with pytest.raises(ValueError, match="went back"):
        ring.read([7, 3], 9, 2.0)
    assert next(ring.suffixes()) == [7, 3]
    ring.begin([6, 4], 10, 3.0)
    ring.read([6, 5], 11, 4.0)
    assert next(ring.suffixes()) == [0, 1]


def test_a_clock_that_goes_back_closes_nothing_early():
    ring = SubWindows(1)
    ring.read([600], 600, 1e6)
    assert not ring.read([700], 700, 10.0)
    assert not ring.read([800], 800, 69.0)
    assert ring.read([900], 900, 70.0)


@given(PIECES, PIECES)
def test_it_goes_on_where_it_was_saved(before, after):
    ring, restored = SubWindows(3), SubWindows(3)
    totals, *_ = feed(ring, before)
    restored.restore(json.loads(json.dumps(ring.to_document())))
    assert list(restored.suffixes()) == list(ring.suffixes()) and restored.closings == ring.closings
    assert restored.to_document() == ring.to_document()
    whole = next(reversed(list(ring.suffixes())))
    closings = restored.closings
    totals, closed, *_ = feed(restored, after, totals)
    if len(closed) + len(ring.closed) <= 8:  # nothing has left the ring, so nothing of what came is missing
        grown = [a + b for a, b in zip(whole, added([counts for counts, _ in after]), strict=True)]
        assert list(restored.suffixes())[-1] == grown
    assert restored.closings == closings + len(closed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"began": [0, 0]}, "'began' has not the layout's 3"),
        ({"began": [0, 0, -1]}, "-1 where a count"),
        ({"began": [0, 0, 2**63]}, "where a count"),
        ({"open": {"rows": 1.5, "counts": [0, 0, 0]}}, "'open.rows' has 1.5"),
        ({"open": [1]}, "'open' is no sub-window"),
        ({"closed": [{"rows": 1, "counts": [True, 0, 0]}], "closings": 1}, r"'closed\[0\].counts' has True"),
        ({"closed": [{"rows": 1, "counts": [0, 0, 0]}], "closings": 0}, "at most 0"),
        ({"closings": None}, "'closings' has None"),
        ({"more": 1}, "has the members"),
    ],
)
def test_a_damaged_document_is_refused_and_changes_nothing(change, message):
    ring = SubWindows(3)
    ring.read([1, 2, 3], 6, 1.0)
    before = ring.to_document()
    with pytest.raises(ValueError, match=message):
        ring.restore(before | change)
    with pytest.raises(ValueError, match="has the members"):
        ring.restore(None)
    assert ring.to_document() == before


def test_settings_and_layouts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="rows >= 1"):
        SubWindows(3, rows=0)
    ring = SubWindows(3)
    with pytest.raises(ValueError, match="2 counters came, and the layout has 3"):
        ring.read([1, 2], 3, 0.0)
    with pytest.raises(ValueError, match="2 counters came"):
        ring.begin([1, 2], 3, 0.0)
