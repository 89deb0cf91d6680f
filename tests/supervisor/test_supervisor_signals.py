"""Each signal of a trial under real traffic: a bundle that passed admission and goes wrong, and beside it a good one.

The supervisor goes back by itself, says why in the journal, and fails nobody; what it may not decide it holds.
"""

import json
import subprocess
import sys

import pytest
from data.generate_bundles import ONE
from runtime import test_rules_alone as rules_alone
from supervisor import worsened_bundles as made
from supervisor.penguin_bundles import signed
from supervisor.running_store import Load, known, running, store_of, until

from edgeml.bundles.store import Store

MODEL = "penguins"
QUICK = ("min_seconds=3", "min_requests=500")
MIXED = [made.body(made.ADELIE), made.body(made.GENTOO)]
HEAVY = [made.body(made.heavy(made.ADELIE)), made.body(made.heavy(made.GENTOO))]
# Of 200 rows one is long, and ten are heavy.
SOME = [*(MIXED * 9), HEAVY[0], MIXED[0]] * 9 + [*(MIXED * 9), HEAVY[1], made.body(made.long(made.ADELIE))]


@pytest.fixture
def good(penguins_bundle):
    """Makes good versions."""
    return lambda word, **config: made.release(penguins_bundle, word, **config)


def command(box, *words):
    """Runs ``edgeml`` for the box, as a person does; gives what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeml", *words, "--store", str(box.root)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def activate(box, digest):
    """Lets a bundle answer on trial, once it has passed admission."""
    command(box, "activate", digest)
    released = box.store.state().models[MODEL].releases[digest]
    assert released.peak_bytes > 0


def newest(box):
    """What was last decided on the box, as its history tells it; what it noticed of the data is no decision."""
    events = json.loads(command(box, "history", "--json", "-n", "50"))["events"]
    return next(each for each in events if each["event"] not in ("drift", "objective"))


def gone_back(box, load, first, second, signal):
    """Waits until the box has gone back for a reason, and the release before answers again; gives the reason."""
    event = box.event("rolled_back")
    assert (event.signal, event.digest) == (signal, second)
    box.wait_served(first)
    load.wait_for(100, first)
    told = newest(box)
    assert (told["event"], told["signal"], told["who"]) == ("rolled_back", signal, "supervisor")
    model = box.store.state().models[MODEL]
    assert model.active == first and model.candidate is None and second in model.denied
    assert box.live()["worker"]["deaths"] == 0
    return event.reason


def confirmed(box, load, second):
    """Waits until the bundle is confirmed, with nothing to say against it."""
    until(lambda: box.store.state().models[MODEL].active == second, why=f"confirmed; {box.live()['trials']}")
    event = box.event("confirmed")
    assert (event.signal, event.digest) == ("passed", second) and event.reason.endswith("and no signal")
    load.wait_for(100, second)


def held(box, signal):
    """Waits until the trial is held for a signal; gives what ``edgeml status`` says of it."""
    until(lambda: box.live()["trials"][MODEL]["signal"] == "ambiguous", why=f"held; {box.live()['trials']}")
    assert [each["signal"] for each in box.live()["trials"][MODEL]["warnings"]] == [signal]
    until(lambda: f"the trial is held: {signal}" in box.log, why="said")
    said = command(box, "status")
    assert f"the trial of {MODEL} is held: {signal}: " in said
    return said


class TestErrorRate:
    def test_a_bundle_that_fails_more_often_than_the_one_before_is_gone_back_from(self, tmp_path, penguins_bundle):
        one = made.raising(penguins_bundle, "1", made.LONG)
        two = made.raising(penguins_bundle, "2", made.LONG, made.HEAVY)
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(2000, first)
            activate(box, second)
            reason = gone_back(box, load, first, second, "error_rate")
            assert "of the previous release: evidence" in reason
            assert load.failures == []

    def test_one_that_fails_as_rarely_is_confirmed(self, tmp_path, penguins_bundle):
        one, two = (made.raising(penguins_bundle, word, made.LONG) for word in "12")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(2000, first)
            activate(box, second)
            confirmed(box, load, second)
            assert load.failures == [] and load.fallbacks[first] > 0 and load.fallbacks[second] > 0

    @pytest.mark.crash
    def test_one_that_fails_as_often_as_a_bad_one_waits_for_a_person(self, tmp_path, penguins_bundle):
        one, two = (made.raising(penguins_bundle, word, made.LONG, made.HEAVY) for word in "12")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(2000, first)
            activate(box, second)
            assert "not evidently more than before" in held(box, "error_rate")
            command(box, "confirm", MODEL)
            assert box.store.state().models[MODEL].active == second
            assert load.failures == []

    def test_invalid_outputs_on_some_rows_are_too_many(self, tmp_path, penguins_bundle, good):
        one, two = good("1"), made.giving_nan(penguins_bundle, "2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(2000, first)
            activate(box, second)
            gone_back(box, load, first, second, "invalid_outputs")
            assert load.failures == [] and set(load.fallbacks) == {second}

    @pytest.mark.parametrize("limit", [5.0, pytest.param(50.0, marks=pytest.mark.crash)])
    def test_a_bare_model_has_no_fallback_and_is_judged_all_the_same(self, tmp_path, limit):
        """What it cannot answer is an error to the client, and a question that it failed."""
        _, (first, second) = store_of(
            tmp_path / "store", made.tensors("1", limit=100.0), made.tensors("2", limit=limit)
        )
        request = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 10.0]}]}
        with running(tmp_path / "store", trial=("min_seconds=3", "min_requests=200")) as box:

            def ask():
                status, document = box.post(f"/v2/models/{MODEL}/infer", request)
                return status, document.get("code") or document["parameters"]["bundle"].removeprefix("sha256:")

            assert [ask() for _ in range(300)] == [(200, first)] * 300
            activate(box, second)
            answers = set()

            def over():
                answers.update(ask() for _ in range(20))
                return box.store.state().models[MODEL].candidate is None

            until(over, why=f"the end of the trial; {box.live()}")
            box.follow()
            if limit < 10.0:
                assert newest(box)["signal"] == "error_rate" and ask() == (200, first)
                assert answers <= {(500, "model_failed"), (200, first)}
            else:
                assert newest(box)["signal"] == "passed" and answers == {(200, second)}

    def test_where_rules_alone_leave_the_answer_to_the_fallback_nothing_has_failed(self, tmp_path):
        """It is what the bundle says that it does; a first one has none before it to be compared with."""
        plain = rules_alone.bundle_of(rules_alone.CONFIG | {"name": MODEL})
        only = signed(plain.config, plain.members)
        store = Store.create(tmp_path / "store", keyring=ONE)
        first = store.install(only)
        bodies = [made.body({"speed": speed}) for speed in [*([0.1, 3.0] * 9), 0.1, 1.5]]
        with running(tmp_path / "store", trial=QUICK) as box:
            activate(box, first)
            with Load(box, known(only), bodies=bodies) as load:
                confirmed(box, load, first)
                assert load.failures == [] and load.fallbacks[first] > 0


class TestDeadlines:
    def test_a_bundle_that_is_late_on_some_rows_is_gone_back_from(self, tmp_path, penguins_bundle, good):
        one, two = good("1", slo={"deadline_ms": made.DEADLINE_MS}), made.slow(penguins_bundle, "2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        numbers = (*QUICK, "burn_bad_events=5")
        with running(tmp_path / "store", trial=numbers) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(500, first)
            activate(box, second)
            reason = gone_back(box, load, first, second, "deadline_burn")
            assert "answers came after their deadline" in reason
            assert load.failures == [] and load.fallbacks == {}

    @pytest.mark.crash
    def test_one_that_is_in_time_is_confirmed(self, tmp_path, good):
        one, two = (good(word, slo={"deadline_ms": made.DEADLINE_MS}) for word in "12")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        numbers = (*QUICK, "burn_bad_events=5")
        with running(tmp_path / "store", trial=numbers) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(500, first)
            activate(box, second)
            confirmed(box, load, second)
            assert load.failures == []


class TestMemory:
    """With the limit that a box sets by itself: what the worker had, the bundle's room, and some slack."""

    def test_a_bundle_that_grows_is_gone_back_from(self, tmp_path, penguins_bundle, good):
        """Its first questions make it grow, before it has ever reported."""
        one, two = good("1"), made.growing(penguins_bundle, "2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=SOME) as load:
            load.wait_for(500, first)
            activate(box, second)
            reason = gone_back(box, load, first, second, "memory")
            assert "MB of memory (limit" in reason
            assert load.failures == [] and load.fallbacks == {}

    @pytest.mark.crash
    def test_one_that_does_not_is_confirmed(self, tmp_path, penguins_bundle, good):
        """The same model, asked nothing that makes it grow."""
        one, two = good("1"), made.growing(penguins_bundle, "2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=MIXED) as load:
            load.wait_for(500, first)
            activate(box, second)
            confirmed(box, load, second)
            assert load.failures == []


class TestCollapse:
    def test_a_bundle_that_answers_one_label_for_everything_is_gone_back_from(self, tmp_path, penguins_bundle, good):
        one, two = good("1"), made.collapsed(penguins_bundle, "2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=HEAVY) as load:
            load.wait_for(1000, first)
            activate(box, second)
            assert "answers are 'Adelie', 68.2% of" in gone_back(box, load, first, second, "output_collapse")
            assert load.failures == [] and load.fallbacks == {}

    @pytest.mark.crash
    def test_one_that_tells_them_apart_is_confirmed(self, tmp_path, good):
        one, two = good("1"), good("2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two), bodies=HEAVY) as load:
            load.wait_for(1000, first)
            activate(box, second)
            confirmed(box, load, second)
            assert load.failures == []

    @pytest.mark.crash
    def test_where_the_one_before_gave_that_label_too_a_person_decides(self, tmp_path, good):
        one, two = good("1"), good("2")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        numbers = ("min_seconds=3", "min_requests=1500")
        with running(tmp_path / "store", trial=numbers) as box, Load(box, known(one, two)) as load:
            load.wait_for(1500, first)
            activate(box, second)
            assert "the previous release gave it too" in held(box, "output_collapse")
            command(box, "rollback", MODEL)
            load.wait_for(100, first)
            assert load.failures == []

    def test_what_rules_answer_is_no_collapse_of_the_model(self, tmp_path, penguins_bundle):
        """The labels of the drift reference are the model's, so only those that the model gives compare with them."""
        one, two = (signed(dict(penguins_bundle.config) | {"version": word}, penguins_bundle.members) for word in "12")
        _, (first, second) = store_of(tmp_path / "store", one, two)
        ruled = [made.body(made.GENTOO | {"bill_depth_mm": 15.0})]
        numbers = ("min_seconds=3", "min_requests=1500")
        with running(tmp_path / "store", trial=numbers) as box, Load(box, known(one, two), bodies=ruled) as load:
            activate(box, second)
            confirmed(box, load, second)
            assert load.failures == [] and set(load.tiers) == {"rule"}
