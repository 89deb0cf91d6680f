import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.monitor.alarms import (
    Alarms,
    FalseAlarmBudget,
    Finding,
    debiased_psi,
    judge,
    log_threshold,
)
from edgeml.monitor.drift_evidence import DriftEvidence
from edgeml.monitor.windows import SubWindows

THRESHOLD = 10.0


def finding(log_evidence, effect, threshold=THRESHOLD):
    level = "none" if log_evidence < threshold else "drift" if effect >= 0.1 else "small"
    return Finding(level, log_evidence, effect, 1_000, log_evidence < threshold - math.log(10))


HEALTHY, SMALL, DRIFT = finding(-3.0, 0.0), finding(50.0, 0.02), finding(12.0, 0.2)
HOVERING = finding(THRESHOLD - 1, 0.2)


def test_thirty_days_are_as_many_starts_as_minutes():
    assert FalseAlarmBudget().starts() == 30 * 1_440
    assert FalseAlarmBudget(days=None, rows=1_000_000).starts() == 2_000
    assert FalseAlarmBudget(days=1, rows=1_000_000).starts() == 2_000
    assert FalseAlarmBudget(days=None, rows=3).starts() == 1
    assert math.exp(log_threshold(20, 43_200)) == pytest.approx(864_000)


@pytest.mark.parametrize("budget", [(None, None), (0, None), (None, -1), (math.inf, None), (math.nan, None)])
def test_budgets_without_a_length_are_refused(budget):
    with pytest.raises(ValueError, match="positive days or rows"):
        FalseAlarmBudget(*budget).starts()
    with pytest.raises(ValueError, match="no threshold for 0 columns"):
        log_threshold(0, 100)
    with pytest.raises(ValueError, match="close without end"):
        FalseAlarmBudget().starts(seconds_per_start=0)


def test_a_change_is_an_alarm_if_it_is_certain_and_large():
    reference = [25_000] * 4
    evidence = DriftEvidence(reference)

    def level(counts):
        return judge(reference, evidence, [counts], threshold=math.log(1_000)).level

    assert level([500, 500, 500, 500]) == "none"
    assert level([800, 200, 500, 500]) == "drift"
    assert level([10_800, 9_200, 10_000, 10_000]) == "small"  # certain, and of no size
    assert level([8, 2, 5, 5]) == "none"  # large, and nothing but noise
    nothing = judge(reference, evidence, [[0, 0, 0, 0]], threshold=math.log(1_000))
    assert (nothing.level, nothing.effect, nothing.rows, nothing.calm) == ("none", None, 0, True)
    assert judge(reference, evidence, [], threshold=1.0) == Finding("none", -math.inf, None, 0, True)
    assert level([0, 0, 0, 10**6]) == "drift"


def test_the_size_is_that_of_the_rows_with_the_evidence():
    reference = [25_000] * 4
    changed, healthy = [800, 200, 500, 500], [2_500] * 4
    suffixes = [changed, [a + b for a, b in zip(changed, healthy, strict=True)]]
    found = judge(reference, DriftEvidence(reference), suffixes, threshold=5.0)
    assert found.rows == 2_000 and found.effect == debiased_psi(reference, changed)
    strict = judge(reference, DriftEvidence(reference), suffixes, threshold=5.0, min_effect=0.5)
    assert strict.level == "small"


def test_the_debiased_size_of_healthy_rows_is_next_to_nothing():
    rng = np.random.default_rng(2)
    shares = np.full(34, 1 / 34)
    sizes = [
        debiased_psi(rng.multinomial(1_000, shares).tolist(), rng.multinomial(500, shares).tolist()) for _ in "x" * 300
    ]
    assert 0 <= min(sizes) and sum(sizes) / 300 < 0.02 and sorted(sizes)[290] < 0.1


def test_an_alarm_stays_until_it_is_acknowledged_and_calm():
    alarms = Alarms()
    assert alarms.update("age", HEALTHY, 1.0) is None and alarms.latched == {}
    assert alarms.update("age", DRIFT, 2.0) == "raised"
    assert alarms.update("age", DRIFT, 3.0) is None
    assert alarms.update("age", HEALTHY, 4.0) is None and "age" in alarms.latched  # nobody has seen it yet
    assert alarms.acknowledge("age", 5.0) and alarms.latched == {}
    assert alarms.update("age", DRIFT, 6.0) == "raised"
    assert not alarms.acknowledge("age", 7.0)
    assert alarms.update("age", HOVERING, 8.0) is None and "age" in alarms.latched
    assert alarms.update("age", HEALTHY, 9.0) == "ended" and alarms.latched == {}


def test_evidence_that_hovers_at_the_threshold_is_one_alarm():
    alarms, events = Alarms(), []
    for minute in range(100):
        events.append(alarms.update("age", DRIFT if minute % 2 else HOVERING, minute))
        if minute == 10:
            alarms.acknowledge("age", minute)
    assert [event for event in events if event] == ["raised"]


def test_an_acknowledged_alarm_is_raised_again_only_if_it_grew_by_half():
    alarms = Alarms()
    alarms.update("age", finding(12.0, 0.2), 1.0)
    alarms.update("age", finding(12.0, 0.4), 2.0)
    alarms.acknowledge("age", 3.0)
    assert alarms.update("age", finding(90.0, 0.59), 4.0) is None
    assert alarms.update("age", finding(90.0, 0.61), 5.0) == "raised again"
    assert alarms.latched["age"].raised == 2 and alarms.latched["age"].acknowledged is None
    assert alarms.update("age", finding(90.0, 2.0), 6.0) is None  # it waits to be seen
    alarms.acknowledge("age", 7.0)
    assert alarms.update("age", finding(90.0, 2.9), 8.0) is None
    assert alarms.update("age", finding(90.0, 3.1), 9.0) == "raised again"


def test_small_changes_raise_nothing_and_columns_do_not_mix():
    alarms = Alarms()
    assert alarms.update("age", SMALL, 1.0) is None and alarms.latched == {}
    alarms.update("age", DRIFT, 2.0)
    alarms.update("city", HEALTHY, 2.0)
    assert not alarms.acknowledge("age", 3.0)
    with pytest.raises(KeyError):
        alarms.acknowledge("city", 3.0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.sampled_from("ab"), st.floats(-5, 40), st.floats(0, 1)),
        st.tuples(st.just("acknowledge"), st.sampled_from("ab")),
    ),
    max_size=60,
)


def play(alarms, steps, now=0):
    events = []
    for step in steps:
        now += 1
        if step[0] == "update":
            events.append((step[1], alarms.update(step[1], finding(*step[2:]), now)))
        elif step[1] in alarms.latched:
            events.append((step[1], "ended" if alarms.acknowledge(step[1], now) else "acknowledged"))
    return events


@given(STEPS)
def test_each_end_follows_a_raise_and_an_acknowledgement(steps):
    events = play(Alarms(), steps)
    for column in "ab":
        state = "none"
        for event in [event for name, event in events if name == column and event]:
            allowed = {
                "raised": {"none"},
                "raised again": {"seen"},
                "acknowledged": {"raised", "seen"},
                "ended": {"raised", "seen"},
            }
            assert state in allowed[event]
            state = {"raised": "raised", "raised again": "raised", "acknowledged": "seen", "ended": "none"}[event]


@given(STEPS, STEPS)
def test_alarms_go_on_where_they_were_saved(before, after):
    alarms, restored = Alarms(), Alarms()
    play(alarms, before)
    restored.restore(json.loads(json.dumps(alarms.to_document(), allow_nan=False)))
    assert restored.latched == alarms.latched
    # Whether a column is calm is looked at anew, so both look once more before an operator comes.
    again = [("update", column, HOVERING.log_evidence, 0.0) for column in "ab"]
    assert play(restored, again + after) == play(alarms, again + after)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"effect": math.nan}, "'age'.*'effect' is a finite number"),
        ({"since": "now"}, "'since' is a finite number"),
        ({"raised": 0}, "'raised' counts from 1"),
        ({"raised": 1.5}, "'raised' counts from 1"),
        ({"acknowledged": True}, "'acknowledged' is a finite number"),
        ({"more": 1}, "has the members"),
    ],
)
def test_a_damaged_document_is_refused_and_changes_nothing(change, message):
    alarms = Alarms()
    alarms.update("age", DRIFT, 1.0)
    before = alarms.to_document()
    with pytest.raises(ValueError, match=message):
        alarms.restore({"latched": {"age": before["latched"]["age"] | change}})
    for wrong in (None, [], {}, {"latched": []}, {"latched": {"age": None}}, before | {"more": 1}):
        with pytest.raises(ValueError, match="alarm"):
            alarms.restore(wrong)
    assert alarms.to_document() == before


def test_a_whole_stream_raises_once_and_ends_once():
    """Healthy, changed, healthy again: what an operator sees."""
    rng = np.random.default_rng(8)
    reference = [1_000] * 10
    evidence, ring, alarms = DriftEvidence(reference), SubWindows(10), Alarms()
    threshold = log_threshold(20, FalseAlarmBudget().starts())
    healthy, changed = np.full(10, 0.1), np.array([0.2, 0.2, *[0.075] * 8])
    totals, events = np.zeros(10, dtype=np.int64), []
    for minute in range(60):
        totals += rng.multinomial(600, changed if 20 <= minute < 30 else healthy)
        ring.read(totals.tolist(), int(totals.sum()), minute * 60.0)
        event = alarms.update("age", judge(reference, evidence, ring.suffixes(), threshold=threshold), minute)
        if event:
            events.append((event, minute))
        if minute == 25:
            assert not alarms.acknowledge("age", minute)
    assert [event for event, _ in events] == ["raised", "ended"]
    assert 20 <= events[0][1] <= 22 and 30 < events[1][1] <= 40
