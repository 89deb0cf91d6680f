"""Error budgets: which share burns how fast in which windows, in constant memory, over restarts."""

import json

import pytest

from edgeml.monitor.objectives import Objectives

SLO = {"p99_ms": 20.0, "deadline_ms": 100.0}
T0 = 1_790_000_000.0


def after(*stretches, slo=SLO, step_s=60):
    """Traffic in stretches of (minutes, late for p99, answers) a minute; how the objectives stand after it."""
    objectives, now = Objectives(slo), T0
    for minutes, late, answers in stretches:
        for _ in range(minutes):
            objectives.add(now, {"p99_ms": late, "deadline_ms": 0}, answers)
            now += step_s
    return objectives, now - step_s


def p99(objectives, now):
    return objectives.standings(now)[0]


def test_within_the_budget_nothing_burns():
    standing = p99(*after((180, 1, 200)))
    assert (standing.name, standing.limit_ms, standing.budget, standing.level) == ("p99_ms", 20.0, 0.01, "ok")
    assert standing.share == pytest.approx(0.005)
    assert standing.burn[3600] == pytest.approx(0.5)
    assert standing.left == pytest.approx(0.5)


def test_a_fast_burn_is_seen_within_minutes_and_ends_with_its_cause():
    objectives, now = after((180, 0, 1000), (10, 1000, 1000))
    assert p99(objectives, now).level == "fast"  # 10 of 61 minutes: 16 times the budget
    for _ in range(6):
        now += 60
        objectives.add(now, {"p99_ms": 0}, 1000)
    assert p99(objectives, now).burn[3600] > 14.4
    assert p99(objectives, now).burn[300] == 0
    assert p99(objectives, now).level == "slow"  # the budget of days is overspent all the same


@pytest.mark.parametrize(
    ("share", "level"), [(0.145, "fast"), (0.065, "fast"), (0.02, "slow"), (0.011, "slow"), (0.009, "ok")]
)
def test_each_pair_has_its_rate(share, level):
    assert p99(*after((4 * 24 * 60, round(share * 10_000), 10_000))).level == level


def test_a_burn_that_just_began_is_no_burn_of_days():
    standing = p99(*after((3 * 24 * 60, 0, 1000), (20, 30, 1000)))
    assert standing.level == "ok" and standing.burn[300] == pytest.approx(3.0)


def test_a_few_late_answers_of_few_are_no_alarm():
    assert p99(*after((60, 0, 1), (5, 1, 1))).level == "ok"
    assert p99(*after((60, 0, 1), (10, 1, 1))).level == "fast"


def test_the_objectives_are_counted_apart_and_only_those_that_are_promised():
    objectives = Objectives({"deadline_ms": 50})
    objectives.add(T0, {"deadline_ms": 20, "p99_ms": 500}, 1000)
    (standing,) = objectives.standings(T0)
    assert (standing.name, standing.late, standing.answers) == ("deadline_ms", 20, 1000)
    assert standing.burn[300] == pytest.approx(20.0)
    assert Objectives({}).standings(T0) == []


def test_no_traffic_is_no_news():
    standing = p99(Objectives(SLO), T0)
    assert (standing.share, standing.level, standing.left) == (0.0, "ok", 1.0)


def test_it_goes_on_after_a_restart():
    objectives, now = after((70, 150, 1000))
    document = json.loads(json.dumps(objectives.to_document()))
    again = Objectives(SLO)
    again.restore(document)
    assert again.standings(now) == objectives.standings(now)
    assert json.loads(json.dumps(p99(again, now).to_dict()))["level"] == "fast"


@pytest.mark.parametrize("document", [{"p99_ms": {}}, {"p99_ms": {"minutes": [[1, 2]], "hours": []}}, {"p99_ms": 3}])
def test_a_damaged_document_is_refused_and_changes_nothing(document):
    objectives, now = after((70, 150, 1000))
    before = objectives.standings(now)
    with pytest.raises(ValueError, match="objectives|slot"):
        objectives.restore(document)
    assert objectives.standings(now) == before


def test_memory_is_bounded():
    objectives, _ = after((30 * 24 * 60, 3, 100))
    assert len(json.dumps(objectives.to_document())) < 12_000


def test_a_clock_that_was_set_back_stops_nothing():
    objectives, now = after((60, 0, 100))
    objectives.add(now - 40 * 86_400, {"p99_ms": 100}, 100)
    assert p99(objectives, now).late == 100
