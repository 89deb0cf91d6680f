"""The counters of a trial, as the supervisor reads them."""

import threading

from edgeml.monitor.tally import MAX_LABELS, Tally
from edgeml.supervisor.trial_counters import MAX_LABELS as READ_LABELS
from edgeml.supervisor.trial_counters import Counters


def test_nothing_seen_is_a_report_of_noughts():
    assert Counters.from_mapping(Tally().document(0, {})) == Counters()


def test_what_was_counted_is_what_the_supervisor_reads():
    tally = Tally(5_000_000)
    tally.failed(invalid=True)
    tally.failed(invalid=False, count=2)
    tally.failed(invalid=False, answered=False)
    tally.fell_back(3)
    tally.missed()
    tally.missed(3)
    tally.golden_failed()
    given = {"a": 5, "never": 0, 7: 1, True: 1}
    counters = Counters.from_mapping(tally.document(20, given, rss_bytes=1000))
    assert counters == Counters(
        requests=21,
        model_errors=3,
        invalid_outputs=1,
        fallbacks=6,
        deadline_misses=4,
        labels={"a": 5, "7": 1, "True": 1},
        rss_bytes=1000,
        golden_failures=1,
    )
    assert tally.deadline_ns == 5_000_000


def test_many_labels_stay_within_what_the_supervisor_takes_and_a_named_one_stays_named():
    assert MAX_LABELS == READ_LABELS
    tally = Tally()
    given = {f"label {n}": 0 for n in range(200)}
    tally.document(1, given | {"label 198": 1})
    given = dict.fromkeys(given, 1)
    before = tally.document(200, given)["labels"]
    given["label 199"] += 1000
    after = tally.document(1200, given)["labels"]
    assert "label 198" in before
    assert set(before) == set(after) and len(after) == MAX_LABELS + 1
    assert sum(after.values()) == 1200 and sum(before.values()) == 200
    Counters.from_mapping(tally.document(1200, given))


def test_failures_are_counted_exactly_by_many_threads():
    tally = Tally()
    threads = [threading.Thread(target=lambda: [tally.failed(invalid=True) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        Counters.from_mapping(tally.document(0, {}))
    for thread in threads:
        thread.join()
    assert tally.invalid_outputs == 4000
