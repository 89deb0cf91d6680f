"""Supervisor and worker, two real processes: what is active answers, swaps, trials, ways back."""

import os
import signal

import pytest
from data.generate_bundles import ONE
from runtime import onnx_models
from supervisor import penguin_bundles as made
from supervisor.running_store import Load, RunningStore, known, running, store_of, until

from edgeml.bundles import sign
from edgeml.bundles.store import Store

QUICK = ("min_seconds=1", "min_requests=20")
MODEL = "penguins"


@pytest.fixture
def one(penguins_bundle):
    return made.version(penguins_bundle, "1")


@pytest.fixture
def two(penguins_bundle):
    return made.version(penguins_bundle, "2")


def test_what_is_active_answers_and_says_so(tmp_path, one):
    _, (first,) = store_of(tmp_path / "store", one)
    with running(tmp_path / "store") as box:
        assert f"{tmp_path / 'store'} listens on http://127.0.0.1:" in box.line
        status, answer = box.predict()
        assert (status, answer["version"], answer["bundle"]) == (200, "1", f"sha256:{first}")
        assert box.get("/v2/health/ready") == (200, {"live": True, "ready": True})
        live = box.live()
        assert live["models"] == {MODEL: {"digest": f"sha256:{first}", "ready": True, "reason": ""}}
        assert live["worker"]["deaths"] == 0 and live["trials"] == {} and live["degraded"] == ""
        assert box.stop() == 0
        assert box.log == ""


def test_several_models_answer_under_their_names(tmp_path, penguins_bundle, one):
    other = made.version(penguins_bundle, "7", name="birds")
    store, (first, second) = store_of(tmp_path / "store", one, other)
    store.activate(second, now=True)
    with running(tmp_path / "store") as box:
        assert box.predict("penguins")[1]["bundle"] == f"sha256:{first}"
        assert box.predict("birds")[1]["bundle"] == f"sha256:{second}"
        status, problem = box.predict()
        assert (status, problem["code"]) == (400, "name_a_model") and "birds, penguins" in problem["error"]
        assert box.predict("fish")[0] == 404


def test_without_a_bundle_it_is_not_ready_and_says_why_and_then_follows_the_record_by_itself(tmp_path, one):
    store = Store.create(tmp_path / "store", keyring=ONE)
    with running(tmp_path / "store") as box:
        status, problem = box.predict()
        assert (status, problem["code"]) == (503, "not_ready") and "activate one" in problem["error"]
        assert box.get("/v2/health/ready")[0] == 503 and box.get("/v2/health/live")[0] == 200
        first = store.install(one)
        assert "activate one" in box.predict(MODEL)[1]["error"] or box.predict(MODEL)[0] == 404
        store.activate(first, now=True)
        box.wait_served(first)
        assert box.predict()[1]["version"] == "1"


def test_what_changed_while_no_supervisor_ran_is_followed_at_the_next_start(tmp_path, one, two):
    store, (first, second) = store_of(tmp_path / "store", one, two)
    with running(tmp_path / "store") as box:
        assert box.predict()[1]["version"] == "1"
    store.activate(second, now=True)
    with running(tmp_path / "store") as box:
        assert box.predict()[1]["version"] == "2"
    store.roll_back(MODEL, reason="a test")
    with running(tmp_path / "store") as box:
        assert box.predict()[1]["version"] == "1"


@pytest.mark.parametrize("path", ["/v1/predict", pytest.param("/v1/models/penguins/predict", marks=pytest.mark.crash)])
def test_a_swap_under_load_fails_no_request_and_mixes_no_answer(tmp_path, one, two, path):
    store, (first, second) = store_of(tmp_path / "store", one, two)
    with running(tmp_path / "store") as box, Load(box, known(one, two), clients=16, path=path) as load:
        for _ in range(4):
            store.activate(second, now=True)
            box.follow()
            load.wait_for(100, second)
            store.roll_back(MODEL, reason="a test")
            store.allow(second)
            box.follow()
            load.wait_for(100, first)
        assert load.failures == [] and set(load.answers) == {first, second} and set(load.tiers) == {"model"}
        assert box.log == ""


def test_a_trial_is_confirmed_once_it_has_seen_enough(tmp_path, one, two):
    store, (first, second) = store_of(tmp_path / "store", one, two)
    with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, two)) as load:
        store.activate(second)
        live = box.follow()
        assert live["models"][MODEL]["digest"] == f"sha256:{second}"
        assert live["trials"][MODEL]["digest"] == f"sha256:{second}"
        until(lambda: store.state().models[MODEL].active == second, why="confirmed")
        assert store.state().models[MODEL].previous == first
        event = box.event("confirmed")
        assert (event.signal, event.digest) == ("passed", second) and "questions in" in event.reason
        load.wait_for(50, second)
        assert load.failures == []


def test_a_bundle_that_gives_nan_is_gone_back_from_and_no_request_fails(tmp_path, penguins_bundle, one):
    bad = made.giving_nan(penguins_bundle, "2")
    store, (first, second) = store_of(tmp_path / "store", one, bad)
    with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, bad)) as load:
        store.activate(second)
        box.follow()
        box.wait_served(first)
        load.wait_for(50, first)
        assert load.failures == [] and load.answers[second] == load.tiers["fallback"] > 0
        event = box.event("rolled_back")
        assert (event.signal, event.digest) == ("invalid_outputs", second)
        model = store.state().models[MODEL]
        assert model.active == first and model.candidate is None and second in model.denied


@pytest.mark.parametrize("kind", ["unloadable", "untrue"])
def test_a_bundle_that_cannot_be_loaded_is_gone_back_from_before_it_answers_anybody(
    tmp_path, penguins_bundle, one, kind
):
    bad = getattr(made, kind)(penguins_bundle, "2")
    other = made.version(penguins_bundle, "7", name="birds")
    store, (first, second, third) = store_of(tmp_path / "store", one, bad, other)
    store.activate(third, now=True)
    path = "/v1/models/penguins/predict"
    with running(tmp_path / "store", trial=QUICK) as box, Load(box, known(one, bad), path=path) as load:
        store.activate(second)
        live = box.follow()
        assert live["models"][MODEL]["digest"] == f"sha256:{first}"
        event = box.event("rolled_back")
        assert (event.signal, event.digest) == ("load_failed", second)
        assert ("ONNX" if kind == "unloadable" else "golden row 0") in event.reason
        assert second in store.state().models[MODEL].denied
        load.wait_for(50, first)
        assert load.failures == [] and set(load.answers) == {first}
        assert box.predict("birds")[0] == 200


def test_an_active_bundle_that_cannot_be_loaded_gives_way_to_the_one_before(tmp_path, penguins_bundle, one):
    bad = made.unloadable(penguins_bundle, "2")
    store, (first, second) = store_of(tmp_path / "store", one, bad)
    store.activate(second, now=True)
    with running(tmp_path / "store") as box:
        assert box.predict()[1]["bundle"] == f"sha256:{first}"
        assert box.event("rolled_back").signal == "load_failed"


def test_the_only_bundle_that_cannot_be_loaded_leaves_a_reason(tmp_path):
    bare = sign(onnx_models.bundle_of(b"no model at all", name=MODEL), made.ALICE)
    store_of(tmp_path / "store", bare)
    with running(tmp_path / "store") as box:
        status, problem = box.predict()
        assert (status, problem["code"]) == (503, "not_ready") and "ONNX" in problem["error"]
        assert "neither rules nor a fallback" in problem["error"]
        assert "could not be loaded" in box.log
        assert box.store.state().models[MODEL].active is not None


def test_going_back_from_a_trial_needs_no_disk(tmp_path, one, two):
    """The one before is still loaded, after a restart of the worker too, so its blobs may even be gone."""
    store, (first, second) = store_of(tmp_path / "store", one, two)
    with running(tmp_path / "store") as box:
        store.activate(second)
        box.follow()
        assert box.predict()[1]["version"] == "2"
        os.kill(box.worker, signal.SIGKILL)
        until(lambda: box.live()["worker"]["deaths"] == 1 and box.served() == second)
        for path in [*(tmp_path / "store" / "blobs" / "sha256").iterdir()]:
            path.rename(path.with_name(f"away-{path.name}"))
        store.roll_back(MODEL, reason="a test")
        assert box.follow()["models"][MODEL] == {"digest": f"sha256:{first}", "ready": True, "reason": ""}
        assert box.predict()[1]["version"] == "1"


def test_going_back_later_reads_the_disk(tmp_path, one, two):
    store, (first, second) = store_of(tmp_path / "store", one, two)
    store.activate(second, now=True)
    with running(tmp_path / "store") as box, Load(box, known(one, two)) as load:
        store.roll_back(MODEL, reason="a test")
        assert box.follow()["models"][MODEL]["digest"] == f"sha256:{first}"
        load.wait_for(50, first)


def test_a_blob_that_the_box_cannot_read_denies_nobody(tmp_path, one, two):
    store, (first, second) = store_of(tmp_path / "store", one, two)
    with running(tmp_path / "store") as box:
        blob = tmp_path / "store" / "blobs" / "sha256" / second
        blob.rename(blob.with_name("away"))
        store.activate(second)
        assert box.follow()["models"][MODEL]["digest"] == f"sha256:{first}"
        model = store.state().models[MODEL]
        assert model.candidate is None and model.denied == {}
        assert box.event("withdrawn").digest == second
        assert box.predict()[1]["version"] == "1"


@pytest.mark.parametrize("path", ["/v1/predict", pytest.param("/v1/models/penguins/predict", marks=pytest.mark.crash)])
def test_where_two_bundles_do_not_fit_requests_wait_and_none_fails(tmp_path, penguins_bundle, one, two, path):
    bad = made.unloadable(penguins_bundle, "3")
    store, (first, second, third) = store_of(tmp_path / "store", one, two, bad)
    with running(tmp_path / "store") as box, Load(box, known(one, two, bad), clients=12, path=path) as load:
        store.activate(second, peak_bytes=10**15)
        assert box.follow()["models"][MODEL]["digest"] == f"sha256:{second}"
        load.wait_for(50, second)
        store.roll_back(MODEL, reason="a test")
        box.follow()
        load.wait_for(50, first)
        # One that does not load at all: the old one was let go of for it, and is loaded again.
        store.activate(third, peak_bytes=10**15)
        assert box.follow()["models"][MODEL]["digest"] == f"sha256:{first}"
        assert box.event("rolled_back").signal == "load_failed"
        load.wait_for(50, first)
        assert load.failures == [] and set(load.answers) == {first, second}


def test_a_model_that_was_never_activated_is_not_ready(tmp_path, one, penguins_bundle):
    other = made.version(penguins_bundle, "7", name="birds")
    store_of(tmp_path / "store", one, other)
    with running(tmp_path / "store") as box:
        status, problem = box.predict("birds")
        assert (status, problem["code"]) == (503, "not_ready")
        assert box.get("/v2/health/ready")[0] == 503
        assert box.predict(MODEL)[0] == 200


def test_over_a_unix_socket(tmp_path, one):
    store_of(tmp_path / "store", one)
    with running(tmp_path / "store", uds=tmp_path / "edgeml.sock") as box:
        assert isinstance(box, RunningStore) and str(tmp_path / "edgeml.sock") in box.line
        assert box.predict()[1]["version"] == "1"
        assert box.stop() == 0
        assert not (tmp_path / "edgeml.sock").exists()
