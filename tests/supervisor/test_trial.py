import json

from trial_worker import Worker

from edgeml.supervisor.trial import Finding, Trial
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters

GOOD = Counters(requests=10_000)  # a previous release that never failed


def test_a_good_bundle_is_confirmed_after_ten_minutes_and_two_hundred_questions():
    worker = Worker(previous=GOOD)
    verdict = worker.serve_for(600, requests=1)
    assert (verdict.kind, verdict.signal) == ("hold", "collecting")  # the first report began the 600 seconds
    verdict = worker.serve(requests=1)
    assert (verdict.kind, verdict.signal, verdict.warnings) == ("confirm", "passed", ())
    assert verdict.reason == "601 questions in 600 observed seconds, and no signal"


def test_time_without_questions_is_not_enough():
    worker = Worker(previous=GOOD)
    worker.serve(requests=199)
    verdict = worker.serve_for(700)
    assert (verdict.kind, verdict.signal) == ("hold", "collecting")
    assert verdict.reason == "199 questions in 700 observed seconds, of 200 in at least 600 s, or 86400 s"
    assert worker.serve(requests=1).kind == "confirm"


def test_low_traffic_is_confirmed_after_a_day_and_says_so():
    worker = Worker(previous=GOOD)
    worker.serve(requests=3)
    for _ in range(8_639):
        verdict = worker.serve(10.0)
    assert verdict.kind == "hold"
    verdict = worker.serve(10.0)
    assert (verdict.kind, verdict.signal) == ("confirm", "passed_low_traffic")
    assert "3 questions in 86400 observed seconds, fewer than 200" in verdict.reason


def test_a_box_that_was_off_is_not_confirmed_by_the_clock():
    worker = Worker(previous=GOOD)
    worker.serve_for(10, requests=100)
    verdict = worker.serve(10 * 86_400.0, requests=1)  # suspended for ten days
    assert verdict.kind == "hold" and worker.trial.progress(worker.now)["elapsed_seconds"] == 9.0


def test_nothing_is_confirmed_on_an_old_report():
    worker = Worker(previous=GOOD)
    assert worker.trial.verdict(worker.now).signal == "no_report"
    worker.serve_for(601, requests=1)
    assert worker.trial.verdict(worker.now + 10).kind == "confirm"
    verdict = worker.trial.verdict(worker.now + 10.1)
    assert (verdict.kind, verdict.signal) == ("hold", "no_report")
    worker.restart("exit code 1")
    assert worker.trial.verdict(worker.now).signal == "no_report"


def test_the_third_death_rolls_back_however_far_apart():
    worker = Worker(previous=GOOD)
    for _ in range(2):
        worker.serve_for(200, requests=1)
        worker.restart("exit code 1")
        assert worker.trial.verdict(worker.now).kind == "hold"
    worker.restart("signal 11 (SIGSEGV)")
    verdict = worker.trial.verdict(worker.now)
    assert (verdict.kind, verdict.signal) == ("roll_back", "process_deaths")
    assert verdict.reason == "the worker died 3 times (limit 3), last by signal 11 (SIGSEGV)"


def test_a_restart_on_purpose_is_no_death_and_counts_go_on():
    worker = Worker(previous=GOOD)
    for _ in range(5):
        verdict = worker.serve_for(150, requests=1)
        worker.restart()
    assert verdict.kind == "confirm" and worker.trial.progress(worker.now)["requests"] == 750


def test_the_time_in_which_no_worker_lives_does_not_count():
    worker = Worker(previous=GOOD)
    for _ in range(2):
        worker.serve_for(300, requests=1)
        worker.restart("exit code 1", after=5.0)
    worker.serve(requests=1)
    assert worker.trial.progress(worker.now)["elapsed_seconds"] == 598.0


def test_a_stall_rolls_back():
    worker = Worker(previous=GOOD)
    worker.serve(requests=1)
    worker.trial.stalled(worker.now + 10, 10.0)
    assert worker.trial.verdict(worker.now + 10).kind == "hold"
    worker.trial.stalled(worker.now + 10.5, 10.5)
    verdict = worker.trial.verdict(worker.now + 10.5)
    assert (verdict.kind, verdict.signal) == ("roll_back", "stall")
    assert verdict.reason == "the worker was silent for 10.5 s (limit 10 s)"


def test_one_golden_failure_rolls_back():
    worker = Worker(previous=GOOD)
    assert worker.serve(requests=1, golden=1).signal == "golden_failure"


def test_memory_beyond_the_limit_rolls_back_even_if_it_comes_down_again():
    worker = Worker(Trial(TrialConfig(memory_bytes=100_000_000)), previous=GOOD)
    assert worker.serve(requests=1, rss=100_000_000).kind == "hold"
    worker.serve(requests=1, rss=100_000_001)
    verdict = worker.serve(requests=1, rss=50_000_000)
    assert (verdict.kind, verdict.signal) == ("roll_back", "memory")
    assert Worker(Trial(), previous=GOOD).serve(requests=1, rss=10**12).kind == "hold"


def test_the_first_failure_is_the_one_that_is_named():
    worker = Worker(previous=GOOD)
    worker.serve(requests=1, golden=1)
    worker.trial.stalled(worker.now + 1, 99.0)
    verdict = worker.serve_for(700, requests=10)
    assert (verdict.kind, verdict.signal) == ("roll_back", "golden_failure")


def test_a_spike_between_two_verdicts_is_seen():
    trial = Trial()
    trial.observe(1.0, Counters(requests=10, invalid_outputs=10), None, worker_life=1)
    trial.observe(2.0, Counters(requests=100_000, invalid_outputs=10), None, worker_life=1)
    assert trial.verdict(2.0).signal == "invalid_outputs"


def test_reports_of_one_instant_are_judged_together():
    trial = Trial()
    trial.observe(1.0, Counters(requests=10, invalid_outputs=10), None, worker_life=1)
    trial.observe(1.0, Counters(requests=100_000, invalid_outputs=10), None, worker_life=1)
    assert trial.verdict(1.0).kind == "hold"


def test_drift_holds_and_is_reported_but_never_rolls_back():
    worker = Worker(previous=GOOD)
    worker.trial.report(worker.now, "drift", "petal_length drifts, PSI 0.31 (limit 0.2)")
    for _ in range(9_000):  # 25 hours
        verdict = worker.serve(10.0, requests=1)
    assert (verdict.kind, verdict.signal) == ("hold", "ambiguous")
    assert verdict.warnings == (Finding("drift", "petal_length drifts, PSI 0.31 (limit 0.2)"),)
    assert "by hand" in verdict.reason and "PSI 0.31" in verdict.reason
    worker.trial.report(worker.now, "drift", None)
    assert worker.serve(requests=1).kind == "confirm"


def test_a_first_install_is_judged_by_absolute_rules_alone():
    worker = Worker()
    verdict = worker.serve_for(601, requests=1)
    assert verdict.kind == "confirm"
    progress = worker.trial.progress(worker.now)
    assert progress["previous_requests"] is None and progress["signals"]["error_rate"]["value"] == 1.0


def test_progress_says_what_is_still_needed_and_is_json():
    worker = Worker(previous=GOOD)
    worker.serve_for(101, requests=1, fallbacks=1, labels={"a": 1})
    progress = json.loads(json.dumps(worker.trial.progress(worker.now), allow_nan=False))
    assert progress["verdict"] == "hold" and progress["signal"] == "collecting"
    assert progress["elapsed_seconds"] == 100.0 and progress["requests"] == 101
    assert progress["previous_requests"] == 10_000
    assert progress["needed"] == {"seconds": 500.0, "requests": 99, "seconds_at_low_traffic": 86_300.0}
    assert list(progress["signals"]) == [
        "process_deaths",
        "stall",
        "golden_failure",
        "memory",
        "invalid_outputs",
        "error_rate",
        "deadline_burn",
        "output_collapse",
        "fallback_rate",
    ]
    assert progress["signals"]["fallback_rate"] == {"value": 1.0, "limit": 0.5, "state": "ambiguous"}
    assert progress["warnings"] == [
        {"signal": "fallback_rate", "reason": "101 of 101 answers are the fallback, more than half"}
    ]


def test_a_clock_that_stands_still_or_goes_back_confirms_nothing():
    trial = Trial(TrialConfig(min_seconds=5, min_requests=1))
    for step in range(50):
        trial.observe(100.0 - step % 3, Counters(requests=step), None, worker_life=1)
    assert trial.progress(100.0)["elapsed_seconds"] == 0.0 and trial.verdict(100.0).kind == "hold"


def test_a_stall_that_ended_before_it_was_judged_still_rolls_back():
    trial = Trial()
    trial.stalled(20.0, 11.0)
    trial.stalled(20.0, 0.0)
    assert trial.verdict(20.0).signal == "stall"
