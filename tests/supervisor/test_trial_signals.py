import pytest
from trial_worker import Worker

from edgeml.supervisor.trial import Trial
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters

GOOD = Counters(requests=10_000)


def warned(verdict):
    return [warning.signal for warning in verdict.warnings]


def test_five_invalid_outputs_within_a_minute_roll_back():
    worker = Worker(previous=GOOD)
    verdict = worker.serve_for(4, requests=50, invalid_outputs=1)
    assert verdict.kind == "hold"
    verdict = worker.serve(requests=50, invalid_outputs=1)
    assert (verdict.kind, verdict.signal) == ("roll_back", "invalid_outputs")
    assert verdict.reason == "5 of 250 outputs within 60 s were invalid (limit 5, and 1.00%)"


def test_invalid_outputs_that_are_rare_or_far_apart_do_not():
    usual = Counters(requests=10_000, invalid_outputs=90)
    assert Worker(previous=usual).serve_for(20, requests=100, invalid_outputs=1).kind == "hold"  # 1 % is not more
    worker = Worker(previous=usual)
    for _ in range(30):  # 2 %, but never five within a minute
        for _ in range(4):
            worker.serve(9.0, requests=10)
        verdict = worker.serve(9.0, requests=10, invalid_outputs=1)
    assert verdict.kind == "hold" and warned(verdict) == ["error_rate"]


def test_a_previous_release_that_was_as_bad_makes_it_ambiguous():
    worker = Worker(previous=Counters(requests=10_000, invalid_outputs=3_000))
    verdict = worker.serve_for(700, requests=10, invalid_outputs=3)
    assert (verdict.kind, verdict.signal) == ("hold", "ambiguous")
    assert warned(verdict) == ["invalid_outputs", "error_rate"]
    assert "the previous release had 30.00% itself" in verdict.warnings[0].reason


def test_a_candidate_that_is_evidently_worse_than_a_bad_release_rolls_back():
    worker = Worker(previous=Counters(requests=10_000, invalid_outputs=300))
    verdict = worker.serve_for(20, requests=10, invalid_outputs=5)
    assert (verdict.kind, verdict.signal) == ("roll_back", "invalid_outputs")


def test_more_errors_than_the_previous_release_roll_back():
    worker = Worker(previous=Counters(requests=1_000, model_errors=10))
    verdict = worker.serve_for(20, requests=5, model_errors=1)
    assert (verdict.kind, verdict.signal) == ("roll_back", "error_rate")
    assert "of 1000 of the previous release: evidence" in verdict.reason and "(limit 100)" in verdict.reason


def test_as_many_errors_as_the_previous_release_hold_forever():
    worker = Worker(previous=Counters(requests=10_000, model_errors=500))
    verdict = worker.serve_for(1_000, requests=20, model_errors=1)
    assert (verdict.kind, verdict.signal) == ("hold", "ambiguous")
    assert "not evidently more than before" in verdict.warnings[0].reason


def test_errors_below_one_percent_like_before_are_confirmed():
    worker = Worker(previous=Counters(requests=10_000, model_errors=50))
    for _ in range(11):
        worker.serve(requests=199)
        verdict = worker.serve_for(60, requests=1, model_errors=0)
        worker.serve(requests=1, model_errors=1)
    assert verdict.kind == "confirm"


def test_doubtful_evidence_holds_and_goes_away_with_more_answers():
    config = TrialConfig(min_seconds=1, min_requests=1)
    worker = Worker(Trial(config), previous=Counters(requests=100_000))
    worker.serve(requests=150)
    verdict = worker.serve(requests=50, model_errors=2)
    assert (verdict.kind, warned(verdict)) == ("hold", ["error_rate"])
    assert "that roll back" in verdict.warnings[0].reason
    assert worker.serve(requests=5_000).kind == "confirm"


def test_few_failures_never_roll_back_however_clean_the_past():
    worker = Worker(previous=Counters(requests=10**9))
    verdict = worker.serve(requests=4, model_errors=4)
    assert (verdict.kind, warned(verdict)) == ("hold", ["error_rate"])
    assert worker.serve(requests=1, model_errors=1).kind == "roll_back"


def test_a_difference_too_small_to_matter_holds_however_evident():
    worker = Worker(previous=Counters(requests=10**9))
    verdict = worker.serve(requests=1_000_000, model_errors=900)
    assert (verdict.kind, warned(verdict)) == ("hold", ["error_rate"])
    assert worker.serve(requests=1_000_000, model_errors=1_200).kind == "roll_back"


@pytest.mark.parametrize("previous", [None, Counters(), Counters(requests=3)])
def test_errors_without_a_comparison_are_judged_by_the_absolute_limit(previous):
    worker = Worker(previous=previous)
    assert worker.serve(requests=4, model_errors=4).kind == "hold"
    verdict = worker.serve(requests=96, model_errors=1)
    assert (verdict.kind, verdict.signal) == ("roll_back", "error_rate")


def test_the_past_of_the_previous_release_counts_when_no_worker_serves_it_any_more():
    worker = Worker(Trial(previous_history=Counters(requests=1_000)))
    assert worker.serve(requests=20, model_errors=5).signal == "error_rate"


def test_missed_deadlines_burn():
    worker = Worker(previous=GOOD)
    assert worker.serve_for(9, requests=10, deadline_misses=1).kind == "hold"
    verdict = worker.serve(requests=10, deadline_misses=1)
    assert (verdict.kind, verdict.signal) == ("roll_back", "deadline_burn")
    assert "burn rate 100.0 (limit 14.4)" in verdict.reason


def test_a_previous_release_that_was_as_late_makes_it_ambiguous():
    worker = Worker(previous=Counters(requests=10_000, deadline_misses=1_000))
    verdict = worker.serve_for(700, requests=10, deadline_misses=1)
    assert (verdict.kind, warned(verdict)) == ("hold", ["deadline_burn"])
    assert worker.serve_for(60, requests=10, deadline_misses=9).kind == "roll_back"


def test_one_class_for_everything_rolls_back():
    worker = Worker(Trial(reference_labels={"good": 85, "bad": 15}), previous=GOOD)
    assert worker.serve(requests=999, labels={"good": 999}).kind == "hold"
    verdict = worker.serve(requests=1, labels={"good": 1})
    assert (verdict.kind, verdict.signal) == ("roll_back", "output_collapse")
    assert verdict.reason == "100.00% of 1000 answers are 'good', 85.0% of the bundle's reference"


@pytest.mark.parametrize(
    ("reference", "labels"),
    [
        ({"good": 85, "bad": 15}, {"good": 999, "bad": 1}),  # 99.9 % is not more
        ({"good": 90, "bad": 10}, {"good": 5_000}),  # the reference is like that
        (None, {"good": 5_000}),  # nothing to compare with
        ({}, {"good": 5_000}),
        ({"good": 1, "bad": 1}, {"other": 5_000}),  # many rare classes
        ({"good": 1, "bad": 1}, {}),  # a regressor
    ],
)
def test_what_is_no_collapse(reference, labels):
    worker = Worker(Trial(reference_labels=reference), previous=GOOD)
    verdict = worker.serve(requests=5_000, labels=labels)
    assert (verdict.kind, verdict.warnings) == ("hold", ())


def test_a_class_that_the_reference_does_not_have_collapses_too_and_one_called_other_is_a_class():
    for reference, label in (({"good": 1}, "new"), ({"good": 1, "other": 1}, "other")):
        worker = Worker(Trial(reference_labels=reference), previous=GOOD)
        assert worker.serve(requests=1_000, labels={label: 1_000}).signal == "output_collapse"


def test_a_collapse_that_the_previous_release_shows_too_is_ambiguous():
    before = Counters(requests=5_000, labels={"good": 5_000})
    worker = Worker(Trial(reference_labels={"good": 1, "bad": 1}), previous=before)
    verdict = worker.serve(requests=2_000, labels={"good": 2_000})
    assert (verdict.kind, warned(verdict)) == ("hold", ["output_collapse"])
    assert "the previous release gave it too" in verdict.warnings[0].reason


def test_many_more_fallbacks_than_before_hold_and_never_roll_back():
    worker = Worker(previous=GOOD)
    verdict = worker.serve_for(700, requests=10, fallbacks=2)
    assert (verdict.kind, warned(verdict)) == ("hold", ["fallback_rate"])
    assert verdict.warnings[0].reason.endswith("evidently more than 0.00% before")


def test_missed_deadlines_must_burn_in_both_windows():
    worker = Worker(previous=GOOD)
    for _ in range(400):
        worker.serve(9.0, requests=500)
    verdict = worker.serve(requests=500, deadline_misses=500)  # a blip after a good hour
    assert (verdict.kind, verdict.warnings) == ("confirm", ())
    worker = Worker(previous=GOOD)
    worker.serve(requests=9, deadline_misses=9)
    for _ in range(40):
        worker.serve(9.0, requests=1)
    verdict = worker.serve(requests=1, deadline_misses=0)  # six good minutes after a bad second
    assert worker.trial.progress(worker.now)["signals"]["deadline_burn"]["value"] == 0.0
    worker.trial = Trial.from_document(worker.trial.to_document())
    verdict = worker.serve(requests=1_000, deadline_misses=1)  # the tenth, but the last minutes are good
    assert verdict.kind == "hold" and verdict.warnings == ()


def test_a_previous_release_within_its_budget_excuses_no_missed_deadlines():
    worker = Worker(previous=Counters(requests=1_000, deadline_misses=5))
    assert worker.serve(requests=500, deadline_misses=10).signal == "deadline_burn"


@pytest.mark.parametrize("before", [{"bad": 5_000}, {"good": 999}, {"good": 900, "bad": 100}])
def test_a_previous_release_with_other_answers_or_few_excuses_no_collapse(before):
    previous = Counters(requests=5_000, labels=before)
    worker = Worker(Trial(reference_labels={"good": 1, "bad": 1}), previous=previous)
    assert worker.serve(requests=2_000, labels={"good": 2_000}).signal == "output_collapse"


def test_few_failures_or_few_more_fallbacks_are_no_warning():
    assert Worker().serve(requests=100, model_errors=4).warnings == ()
    worker = Worker(previous=Counters(requests=10**9))
    assert worker.serve(requests=1_000_000, fallbacks=900).warnings == ()
    assert warned(worker.serve(requests=1_000_000, fallbacks=1_200)) == ["fallback_rate"]
