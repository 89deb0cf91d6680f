"""What holds for every trial, whatever happens in it."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from trial_worker import Worker

from edgeml.supervisor.trial import Trial
from edgeml.supervisor.trial_config import TrialConfig
from edgeml.supervisor.trial_counters import Counters

# Short, so that sequences which hypothesis can find reach every verdict.
CONFIG = TrialConfig(
    min_seconds=20, min_requests=30, max_seconds=60, memory_bytes=1_000, collapse_answers=20, burn_bad_events=3
)
REFERENCE = {"a": 80, "b": 20}
PREVIOUS = st.sampled_from([None, Counters(), Counters(requests=500), Counters(requests=500, model_errors=100)])

SERVE = st.fixed_dictionaries(
    {"seconds": st.sampled_from([0.5, 5.0, 9.0, 10.0, 10.5, 4_000.0]), "requests": st.integers(0, 20)},
    optional={
        "model_errors": st.integers(0, 4),
        "invalid_outputs": st.integers(0, 3),
        "fallbacks": st.integers(0, 4),
        "deadline_misses": st.integers(0, 3),
        "labels": st.dictionaries(st.sampled_from("ab"), st.integers(0, 10)),
        "golden": st.sampled_from([0, 0, 0, 0, 1]),
        "rss": st.sampled_from([0, 999, 1_000, 1_001]),
    },
)
HEALTHY = st.fixed_dictionaries({"seconds": st.sampled_from([5.0, 9.0, 10.0]), "requests": st.integers(0, 20)})
STEP = st.one_of(
    HEALTHY.map(lambda counts: ("serve", counts)),
    SERVE.map(lambda counts: ("serve", counts)),
    st.sampled_from([("restart", None), ("die", None), ("stall", 9.0), ("stall", 11.0), ("supervisor", None)]),
    st.sampled_from([("drift", "drifts"), ("drift", None)]),
)
STEPS = st.one_of(st.lists(HEALTHY.map(lambda counts: ("serve", counts)), max_size=30), st.lists(STEP, max_size=30))


def take(worker, step):
    """One step; gives the verdict after it."""
    what, value = step
    if what == "serve":
        return worker.serve(**value)
    if what == "restart":
        worker.restart()
    elif what == "die":
        worker.restart("signal 11 (SIGSEGV)")
    elif what == "stall":
        worker.now += value
        worker.trial.stalled(worker.now, value)
    elif what == "drift":
        worker.trial.report(worker.now, "drift", value)
    else:
        document = json.loads(json.dumps(worker.trial.to_document(), allow_nan=False))
        worker.trial = Trial.from_document(document, CONFIG, reference_labels=REFERENCE)
    return worker.trial.verdict(worker.now)


def worker_with(previous):
    return Worker(Trial(CONFIG, reference_labels=REFERENCE), previous=previous)


# An exchange of the worker lasts a second, which lies between two reports like any other.
@example(
    None,
    [
        *(("serve", {"seconds": s, "requests": n}) for s, n in ((5.0, 12), (10.0, 16))),
        ("restart", None),
        ("serve", {"seconds": 9.0, "requests": 2}),
    ],
)
@given(PREVIOUS, STEPS)
def test_nothing_is_confirmed_before_both_minima_and_never_with_a_warning(previous, steps):
    worker, seconds, requests, reported = worker_with(previous), 0.0, 0, None
    for step in steps:
        verdict = take(worker, step)
        if step[0] == "serve":
            # What lies between two reports, with an exchange of the worker; a gap that is too long is no time at all.
            gap = 0.0 if reported is None else worker.now - reported
            seconds += gap if gap <= CONFIG.stall_seconds else 0.0
            requests += step[1]["requests"]
            reported = worker.now
        if verdict.kind == "confirm":
            assert verdict.warnings == ()
            if verdict.signal == "passed":
                assert seconds >= CONFIG.min_seconds and requests >= CONFIG.min_requests
            else:
                assert verdict.signal == "passed_low_traffic" and seconds >= CONFIG.max_seconds
        json.dumps(worker.trial.progress(worker.now), allow_nan=False)


@given(PREVIOUS, STEPS)
def test_a_rollback_is_never_taken_back_and_its_cause_never_changes(previous, steps):
    worker, first = worker_with(previous), None
    for step in steps:
        verdict = take(worker, step)
        if first is not None:
            assert (verdict.kind, verdict.signal, verdict.reason) == first
        elif verdict.kind == "roll_back":
            first = ("roll_back", verdict.signal, verdict.reason)


@given(PREVIOUS, STEPS)
def test_hard_signals_roll_back_at_once(previous, steps):
    worker, deaths = worker_with(previous), 0
    for step in steps:
        verdict = take(worker, step)
        deaths += step[0] == "die"
        hard = (
            deaths >= 3
            or step == ("stall", 11.0)
            or (step[0] == "serve" and (step[1].get("golden") or step[1].get("rss") == 1_001))
        )
        if hard:
            assert verdict.kind == "roll_back"


@settings(max_examples=150)
@given(PREVIOUS, st.lists(st.tuples(SERVE, st.integers(1, 5), st.booleans()), max_size=20))
def test_it_does_not_matter_in_how_many_pieces_or_lives_the_counts_arrive(previous, batches):
    whole, pieces = (Worker(Trial(CONFIG, reference_labels=REFERENCE, previous_history=previous)) for _ in range(2))
    for batch, parts, restart in batches:
        verdict = whole.serve(**batch)
        for part in range(parts):
            share = {name: cut(value, part, parts) for name, value in batch.items() if name not in ("seconds", "rss")}
            if part and restart:
                pieces.restart(after=0.0)
            pieces.report(0.0 if part else batch["seconds"], rss=batch.get("rss", 0), **share)
        other = pieces.trial.verdict(pieces.now)
        assert (other.kind, other.signal, other.reason) == (verdict.kind, verdict.signal, verdict.reason)
        assert pieces.trial.progress(pieces.now) == whole.trial.progress(whole.now)


@given(PREVIOUS, STEPS)
def test_a_supervisor_that_starts_again_is_never_quicker_to_confirm(previous, steps):
    steady, restarted = worker_with(previous), worker_with(previous)
    for step in steps:
        verdict = take(steady, step)
        again = take(restarted, step)
        if again.kind == "confirm":
            assert verdict.kind == "confirm"
        take(restarted, ("supervisor", None))


def cut(value, part, parts):
    if isinstance(value, dict):
        return {key: cut(count, part, parts) for key, count in value.items()}
    return value * (part + 1) // parts - value * part // parts
