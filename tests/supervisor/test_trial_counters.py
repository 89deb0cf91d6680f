import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.supervisor.trial_counters import MAX_LABELS, Counters, CounterSum

COUNTS = st.fixed_dictionaries(
    {name: st.integers(0, 50) for name in ("model_errors", "invalid_outputs", "fallbacks", "deadline_misses")}
    | {"requests": st.integers(1, 50), "labels": st.dictionaries(st.sampled_from("abc"), st.integers(1, 9))}
)


def added(a, b):
    return {
        name: {key: a[name].get(key, 0) + b[name].get(key, 0) for key in {*a[name], *b[name]}}
        if name == "labels"
        else a[name] + b[name]
        for name in a
    }


@given(st.lists(st.tuples(COUNTS, st.booleans()), min_size=1))
def test_the_sum_over_all_lives_is_all_that_happened(steps):
    counted, life, worker, everything = CounterSum(), 0, None, None
    for counts, restart in steps:
        everything = counts if everything is None else added(everything, counts)
        if restart or worker is None:
            life, worker = life + 1, counts
        else:
            worker = added(worker, counts)
        more = counted.add(Counters(**worker), life)
        assert more == Counters(**counts)
        counted = CounterSum.from_document(counted.to_document())
    assert counted.total == Counters(**everything)


def test_a_report_that_comes_twice_adds_nothing():
    counted = CounterSum()
    for _ in range(2):
        counted.add(Counters(requests=7, labels={"a": 3}), 1)
    assert counted.total == Counters(requests=7, labels={"a": 3})


def test_requests_that_fell_begin_a_new_life_whatever_its_number():
    counted = CounterSum()
    counted.add(Counters(requests=7, fallbacks=2), 1)
    counted.add(Counters(requests=3, fallbacks=2), 1)
    assert counted.total == Counters(requests=10, fallbacks=4)


def test_history_comes_first_and_memory_is_the_highest_seen():
    counted = CounterSum(Counters(requests=100, rss_bytes=5))
    counted.add(Counters(requests=1, rss_bytes=9), 1)
    counted.add(Counters(requests=2, rss_bytes=7), 1)
    assert counted.total == Counters(requests=102, rss_bytes=9)


def test_a_label_that_leaves_the_most_frequent_takes_nothing_away():
    counted = CounterSum()
    counted.add(Counters(requests=9, labels={"a": 5, "b": 4}), 1)
    counted.add(Counters(requests=19, labels={"a": 15, "other": 4}), 1)
    assert counted.total.labels == {"a": 15, "b": 4, "other": 4}


def test_labels_stay_bounded_over_many_lives():
    counted = CounterSum()
    for life in range(10):
        counted.add(Counters(requests=100, labels={f"{life} {n}": n + 1 for n in range(MAX_LABELS)}), life)
    assert len(counted.total.labels) <= MAX_LABELS + 1
    assert sum(counted.total.labels.values()) == 10 * sum(range(1, MAX_LABELS + 1))


@pytest.mark.parametrize(
    ("report", "named"),
    [
        ({"requests": -1}, "requests must be a whole number"),
        ({"requests": True}, "requests must be a whole number"),
        ({"rss_bytes": 1.5}, "rss_bytes must be a whole number"),
        ({"labels": {"a": "1"}}, r"labels\['a'\] must be a whole number"),
        ({"labels": {1: 1}}, "1 is not a text"),
        ({"labels": []}, "labels must be an object"),
        ({"labels": {str(n): 1 for n in range(66)}}, "at most 65"),
        ({"request": 1}, "unknown member 'request'"),
        ([], "must be an object, not list"),
    ],
)
def test_a_report_that_is_none_is_refused_by_name(report, named):
    with pytest.raises(ValueError, match=named):
        Counters.from_mapping(report)


@pytest.mark.parametrize(
    "document", [{}, None, {"total": {}, "last": {}, "life": "1"}, {"total": {}, "last": {}, "life": 1, "more": 1}]
)
def test_a_sum_that_is_none_is_refused(document):
    with pytest.raises(ValueError, match="counters"):
        CounterSum.from_document(document)


def test_shares():
    report = Counters(requests=10, model_errors=4, invalid_outputs=3, fallbacks=20)
    assert (report.failures, report.share("failures"), report.share("fallbacks")) == (7, 0.7, 1.0)
    assert Counters().share("fallbacks") == 0.0
    assert Counters.from_mapping(report.to_mapping()) == report
