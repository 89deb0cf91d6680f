"""A bundle under watch: nothing is counted twice or lost by a kill, and what the data do is seen, kept and told."""

import json
import random
import tracemalloc
from array import array

import numpy as np
import pytest

from edgeml.kernels.histogram import Histogram
from edgeml.monitor.counted import Answered, DriftCounts, Total
from edgeml.monitor.drift import DriftMonitor
from edgeml.monitor.drift_layout import Layout
from edgeml.monitor.validation import Validation
from edgeml.monitor.watch import Watch, WatchSettings
from edgeml.monitor.watch_report import watch_report
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

DIGEST = "d" * 64
SLO = {"p99_ms": 20.0, "deadline_ms": 100.0}
SCHEMA = {
    "features": [
        {"name": "amount", "kind": "number", "missing": "allow"},
        {"name": "country", "kind": "category", "levels": ["DE", "FR", "AT"], "unseen": "allow"},
    ]
}


def reference(rows=5000, seed=0):
    from edgeml.builder.drift_reference import category_reference, number_reference

    rng = np.random.default_rng(seed)
    return {
        "format": 1,
        "rows": rows,
        "features": {
            "amount": number_reference(rng.normal(40, 12, rows)),
            "country": category_reference(rng.choice(3, rows, p=[0.6, 0.3, 0.1]).astype(np.int32), ["DE", "FR", "AT"]),
        },
    }


REFERENCE = reference()
LAYOUT = Layout.of(REFERENCE, SCHEMA)


class Clock:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


class Process:
    """What a worker that loaded the bundle counts and sends."""

    lives = 0

    def __init__(self):
        Process.lives += 1
        self.life = Process.lives
        self.drift = DriftMonitor(LAYOUT)
        self.latency = Histogram()
        self.validation = Validation()
        self.missed = 0
        self.reader = RecordReader(Schema.from_dict(SCHEMA))

    def answer(self, amounts, countries, *, ms=1.0):
        frame = self.reader.new_frame(len(amounts))
        self.reader.read_columns(
            frame, {"amount": np.asarray(amounts, float), "country": np.asarray(countries, object)}
        )
        tiers = np.ones(len(amounts), np.uint8)
        rules = np.full(len(amounts), -1, np.int32)
        self.drift.counters.observe(frame.capsule, tiers=tiers, rule_index=rules)
        self.latency.record_many(int(ms * 1e6), len(amounts))
        self.missed += len(amounts) * (ms > 100)

    def document(self):
        from base64 import b64encode

        document = {
            "kind": "watched",
            "birth": 1,
            "latency": {"model": b64encode(self.latency.to_bytes()).decode()},
            "missed": self.missed,
            "validation": self.validation.document(),
            "unknown": {},
            "capture": {},
            "quality": None,
            "drift": self.drift.document(),
        }
        return json.loads(json.dumps(document))


class Traffic:
    """Rows of a world that may change, sent to one watch by one process after another."""

    def __init__(self, watch, clock, seed=1):
        self.watch, self.clock, self.rng = watch, clock, np.random.default_rng(seed)
        self.process = Process()
        self.events = []
        self.now = 1_790_000_000.0

    def send(self, rows, *, mean=40.0, deviation=12.0, shares=(0.6, 0.3, 0.1), ms=1.0, every_s=60.0, report=True):
        amounts = self.rng.normal(mean, deviation, rows)
        countries = self.rng.choice(["DE", "FR", "AT"], rows, p=shares)
        self.process.answer(amounts, countries, ms=ms)
        self.clock.at += every_s
        self.now += every_s
        if report:
            self.report()

    def report(self):
        self.events += self.watch.take(self.process.life, self.process.document(), self.now, columns=2)

    def restart(self):
        self.process = Process()


def watched(settings=None):
    clock = Clock()
    watch = Watch(DIGEST, LAYOUT, SLO, settings or WatchSettings(), clock=clock)
    return watch, Traffic(watch, clock)


def report(watch, traffic):
    document = watch_report(watch, now=traffic.now, columns=2, budget_days=30.0, schema=SCHEMA, reference=REFERENCE)
    return json.loads(json.dumps(document, allow_nan=False))


def test_a_healthy_day_raises_nothing_and_adds_up():
    watch, traffic = watched()
    for _ in range(40):
        traffic.send(600)
    assert traffic.events == []
    found = report(watch, traffic)
    assert found["answered"] == 24_000 and found["refused"] == 0
    assert found["drift"]["rows"] == pytest.approx(8 * 600, abs=1200)
    assert {each["level"] for each in found["drift"]["columns"]} == {"none"}
    assert sum(count for _, _, count in found["traffic"]) == 24_000
    assert all(sum(each["current"]) == pytest.approx(1) for each in found["drift"]["columns"])
    assert found["validation"]["findings"] == []


def test_a_shift_raises_one_alarm_on_its_column_until_it_is_seen_and_over():
    watch, traffic = watched()
    for _ in range(20):
        traffic.send(600)
    while not traffic.events:
        traffic.send(600, mean=52.0)
        assert traffic.now < 1_790_000_000 + 86_400
    (event,) = traffic.events
    assert (event.kind, event.subject) == ("drift", "amount") and "differ from the reference" in event.text
    worst = report(watch, traffic)["drift"]["columns"][0]
    assert worst["name"] == "amount" and worst["latched"] and not worst["acknowledged"] and worst["level"] == "drift"
    for _ in range(10):
        traffic.send(600, mean=52.0)
    assert len(traffic.events) == 1
    watch.acknowledge("amount", traffic.now)
    for _ in range(30):
        traffic.send(600)
    assert [event.text for event in traffic.events[1:]] == ["amount: the data are again as in the reference"]
    assert not report(watch, traffic)["drift"]["columns"][0]["latched"]


def test_a_unit_that_changed_is_said_in_words():
    watch, traffic = watched()
    for _ in range(9):
        traffic.send(600, mean=4000.0, deviation=1200.0)
    (finding,) = report(watch, traffic)["validation"]["findings"]
    assert finding["kind"] == "unit" and "100 times larger" in finding["text"]


def test_late_answers_burn_the_budget_and_are_told_once():
    watch, traffic = watched()
    for _ in range(10):
        traffic.send(100, ms=50.0)
    objective = report(watch, traffic)["objectives"][0]
    assert (objective["name"], objective["late"], objective["level"]) == ("p99_ms", 1000, "fast")
    assert [event.subject for event in traffic.events if event.kind == "objective"] == ["p99_ms"]
    assert report(watch, traffic)["objectives"][1]["level"] == "ok"


@pytest.mark.parametrize("seed", range(20))
def test_whoever_dies_when_nothing_is_negative_or_counted_twice(seed):
    """Processes and the watcher die at random moments; what was reported last is what is known."""
    chance = random.Random(seed)
    watch, traffic = watched()
    reported = known = 0
    kept, kept_known = None, 0
    previous = 0
    for _ in range(60):
        act = chance.random()
        if act < 0.55:
            traffic.send(50, report=False)
            reported += 50
        elif act < 0.75:
            traffic.report()
            known += reported
            reported = 0
        elif act < 0.85:  # the worker is killed: what it did not report is gone
            traffic.restart()
            reported = 0
        elif act < 0.92:  # a snapshot
            kept, kept_known = json.loads(json.dumps(watch.to_document())), known
            kept_process = traffic.process
        elif kept is not None:  # the watcher is killed, and the next one goes on from the snapshot
            watch = Watch(DIGEST, LAYOUT, SLO, WatchSettings(), clock=traffic.clock)
            watch.restore(kept)
            traffic.watch = watch
            assert watch.answered.now.together().count == kept_known
            if traffic.process is kept_process:
                # The worker outlived it, and what it tells is the whole: nothing is lost.
                traffic.report()
                known += reported
            else:
                # What ended in between, and was not kept, is lost; what runs is not.
                traffic.report()
                known = kept_known + traffic.process.latency.count
            reported = 0
            previous = 0
        total = watch.answered.now.together().count
        assert total == watch.drift.now.rows == known
        assert total >= previous
        assert sum(watch.drift.now.counts[: LAYOUT.columns[0].bins]) == total
        assert min(watch.windows.open.counts, default=0) >= 0
        previous = total


def test_a_count_that_is_behind_is_not_taken():
    watch, traffic = watched()
    traffic.send(100)
    late = traffic.process.document()
    traffic.send(100)
    assert watch.take(traffic.process.life, late, traffic.now, columns=2) == []
    assert watch.answered.now.together().count == 200


@pytest.mark.parametrize(
    "damage",
    [
        {"latency": {"model": "AAAA"}},
        {"missed": -1},
        {"validation": []},
        {"validation": {"records": -5}},
        {"drift": {"rows": 1, "columns": "", "sums": "", "birth": 1}},
        {"drift": {"rows": 1}},
        {"latency": None},
        {"quality": {"labels": 3}},
    ],
)
def test_what_is_no_count_is_refused_and_changes_nothing(damage):
    watch, traffic = watched()
    traffic.send(100)
    before = json.dumps(watch.to_document())
    with pytest.raises((ValueError, KeyError, TypeError)):
        watch.take(traffic.process.life, traffic.process.document() | damage, traffic.now, columns=2)
    assert json.dumps(watch.to_document()) == before


def test_a_snapshot_goes_on_with_alarms_windows_and_budgets():
    watch, traffic = watched()
    for _ in range(12):
        traffic.send(600, mean=60.0, ms=50.0)
    again = Watch(DIGEST, LAYOUT, SLO, WatchSettings(), clock=traffic.clock)
    again.restore(json.loads(json.dumps(watch.to_document())))
    assert list(again.alarms.latched) == ["amount"]
    assert again.objectives.standings(traffic.now) == watch.objectives.standings(traffic.now)
    assert [each.rows for each in again.windows.closed] == [each.rows for each in watch.windows.closed]
    traffic.watch, count = again, len(traffic.events)
    traffic.restart()
    traffic.send(600, mean=60.0)
    assert len([each for each in traffic.events[count:] if each.kind == "drift"]) == 0  # it is latched still
    assert again.answered.now.together().count == 13 * 600


@pytest.mark.parametrize(
    "damage",
    [
        {"digest": "e" * 64},
        {"windows": {}},
        {"answered": {"ended": {}, "running": None, "key": ""}},
        {"since": "x"},
        {"since": float("inf")},
        {"alarms": []},
        {"traffic": [[1]]},
        {"objectives": {"p99_ms": 7}},
        {"drift": None},
    ],
)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(damage):
    watch, traffic = watched()
    traffic.send(600)
    document = json.loads(json.dumps(watch.to_document()))
    fresh = Watch(DIGEST, LAYOUT, SLO, WatchSettings(), clock=traffic.clock)
    before = json.dumps(fresh.to_document())
    with pytest.raises(ValueError):
        fresh.restore(document | damage)
    assert json.dumps(fresh.to_document()) == before


def test_totals_of_three_processes():
    total = Total(Answered())
    for life, counts in (("a", (1, 4)), ("b", (2, 2)), ("c", (5,))):
        for count in counts:
            histogram = Histogram()
            histogram.record_many(1000, count)
            assert total.take(life, Answered({"model": histogram}))
    assert total.now.answers == {"rule": 0, "middle": 0, "model": 4 + 2 + 5, "fallback": 0}


def test_counts_travel_unchanged():
    process = Process()
    process.answer([1.0, float("nan"), 99.5], ["DE", "XX", "AT"])
    document = process.drift.document()
    read = DriftCounts.from_document(document, LAYOUT.size, LAYOUT.n_numbers)
    again = DriftCounts.from_document(json.loads(json.dumps(read.to_document())), LAYOUT.size, LAYOUT.n_numbers)
    assert again == read and read.rows == 3
    assert read.counts[0] == 1 and read.sums[0] == 100.5
    with pytest.raises(ValueError, match="layout"):
        DriftCounts.from_document(document, LAYOUT.size + 1, LAYOUT.n_numbers)


def test_without_a_reference_everything_else_is_watched():
    clock = Clock()
    watch = Watch(DIGEST, None, SLO, WatchSettings(), clock=clock)
    traffic = Traffic(watch, clock)
    traffic.send(100)
    found = watch_report(watch, now=traffic.now, columns=0, budget_days=30.0, schema=SCHEMA, reference={})
    assert found["answered"] == 100 and found["drift"]["columns"] == []
    again = Watch(DIGEST, None, SLO, WatchSettings(), clock=clock)
    again.restore(json.loads(json.dumps(watch.to_document())))
    assert again.answered.now.together().count == 100


def test_the_watch_over_two_hundred_features_is_less_than_a_megabyte():
    from edgeml.builder.drift_reference import number_reference

    rng = np.random.default_rng(0)
    names = [f"x{number}" for number in range(200)]
    wide = {"format": 1, "rows": 5000, "features": {name: number_reference(rng.normal(size=5000)) for name in names}}
    layout = Layout.of(wide, {"features": [{"name": name, "kind": "number"} for name in names]})
    assert layout.size > 200 * 30
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        watch = Watch(DIGEST, layout, SLO, WatchSettings(), clock=Clock())
        for look in range(12):
            watch.windows.read(array("q", [look * 20]) * layout.size, look * 600, 100.0 * look)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(watch.windows.closed) == 8
    # The totals of the processes come with the first counts.
    assert taken + 2 * 8 * layout.size < 1_100_000 and watch.state_bytes < 1_000_000
