"""Bundles that kill their process while they are loaded, on real boxes: what answers then, and who pays for it."""

import json
import os

import pytest
from click.testing import CliRunner
from data.generate_bundles import ONE
from runtime import onnx_models
from supervisor import penguin_bundles as made
from supervisor.running_store import ROW, Load, known, running, store_of, until

from edgeml.bundles import sign
from edgeml.bundles.store import Store
from edgeml.cli import main

MODEL = "penguins"
# What a bundle's version says that its model does to the process that loads it, and what its rules do.
SITE = """
import os, signal
from edgeml.runtime import model_session, tensor_predictor
from edgeml.serving import worker

def die_where(word, bundle):
    if word in bundle.config["version"]:
        os.kill(os.getpid(), signal.SIGKILL)

session, degraded = model_session.model_session, worker.degraded_engine
tensors = tensor_predictor.TensorPredictor.from_bundle

def deadly_session(bundle, backend):
    die_where("deadly", bundle)
    return session(bundle, backend)

def deadly_rules(bundle, *arguments, **more):
    die_where("rules", bundle)
    return degraded(bundle, *arguments, **more)

def deadly_tensors(bundle, **more):
    die_where("deadly", bundle)
    return tensors(bundle, **more)

model_session.model_session, worker.degraded_engine = deadly_session, deadly_rules
tensor_predictor.TensorPredictor.from_bundle = deadly_tensors
"""
RULE_ROW = ROW | {"bill_length_mm": 39.1, "island": "Torgersen"}


@pytest.fixture
def site(tmp_path):
    """The environment in which some bundles are deadly."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    paths = [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def with_rules(bundle, version):
    """The bundle as it was built, rules and all."""
    return made.signed(dict(bundle.config) | {"version": version}, bundle.members)


def model(store):
    return store.state().models[MODEL]


def is_given_up(box, digest):
    """Whether rules and fallback of a bundle answer for the model, and the supervisor has heard of it."""
    found = box.live().get("models", {}).get(MODEL, {})
    return found.get("degraded") and found["digest"] == f"sha256:{digest}"


@pytest.mark.parametrize(
    "now", [pytest.param(True, id="active"), pytest.param(False, id="first trial", marks=pytest.mark.crash)]
)
def test_the_only_bundle_kills_its_process_and_then_rules_and_fallback_answer(tmp_path, penguins_bundle, site, now):
    store = Store.create(tmp_path / "store", keyring=ONE)
    only = with_rules(penguins_bundle, "1-deadly")
    digest = store.install(only)
    store.activate(digest, now=now)
    with running(tmp_path / "store", environment=site) as box:
        status, answer = box.post("/v1/predict", {"records": [RULE_ROW, ROW]})
        assert (status, answer["bundle"]) == (200, f"sha256:{digest}")
        by_rule, by_fallback = answer["predictions"]
        assert by_rule["tier"] == "rule" and by_rule["label"] == "Adelie" and "degraded" not in by_rule
        assert (by_fallback["tier"], by_fallback["degraded"]) == ("fallback", True)
        assert by_fallback["label"] == only.config["fallback"]["label"]
        assert "the box has given up its model" in by_fallback["reason"] and "3 times" in by_fallback["reason"]
        # The tensor protocol says so as well.
        tensors = [{"name": name, "datatype": kind, "shape": [1], "data": [ROW[name]]} for name, kind in KINDS.items()]
        status, answer = box.post(f"/v2/models/{MODEL}/infer", {"inputs": tensors})
        assert status == 200 and answer["parameters"]["tier"] == "fallback" and answer["parameters"]["degraded"] is True

        status, ready = box.get("/v2/health/ready")
        assert status == 200 and ready["ready"] is True and "given up" in ready["degraded"][MODEL]
        for path in (f"/v2/models/{MODEL}/ready", f"/v1/models/{MODEL}"):
            status, found = box.get(path)
            assert status == 200 and found["degraded"] is True and "given up" in found["reason"]
        assert box.get("/v1/models")[1]["models"][0]["degraded"] is True
        live = box.live()["models"][MODEL]
        assert (live["ready"], live["degraded"]) == (False, True) and "given up" in live["reason"]

        event = box.event("rolled_back")
        assert (event.digest, event.signal) == (digest, "process_deaths")
        found = model(box.store)
        assert (found.active, found.candidate, found.last_resort, found.last_resort_tries) == (None, None, digest, 2)
        assert digest in found.denied
        said = CliRunner().invoke(main, ["status", "--store", str(box.root), "--json"], catch_exceptions=False).stdout
        found = json.loads(said)["models"][MODEL]
        assert found["last_resort"]["version"] == "1-deadly" and found["worker"]["degraded"] is True
        said = CliRunner().invoke(main, ["status", "--store", str(box.root)], catch_exceptions=False).stdout
        assert "without its model" in " ".join(said.split())
        doctor = CliRunner().invoke(main, ["doctor", "--store", str(box.root), "--json"])
        assert doctor.exit_code == 1
        findings = [each for each in json.loads(doctor.stdout)["findings"] if each["check"] in ("service", "releases")]
        assert ("danger", True) in [(each["level"], "without its model" in each["found"]) for each in findings]
        assert any("1-deadly was given up" in each["found"] for each in findings)
        worker, deaths = box.worker, box.live()["worker"]["deaths"]
        assert deaths == 3
        box.follow()
        assert box.worker == worker and box.live()["worker"]["deaths"] == deaths
    # After the next start nothing of the model is loaded.
    with running(tmp_path / "store", environment=site) as box:
        assert box.predict()[1]["predictions"][0]["tier"] == "fallback"
        assert box.live()["worker"]["deaths"] == 0 and model(box.store).last_resort_tries == 1


KINDS = {
    "bill_length_mm": "FP64",
    "bill_depth_mm": "FP64",
    "flipper_length_mm": "FP64",
    "body_mass_g": "FP64",
    "island": "BYTES",
    "sex": "BYTES",
}


def test_a_supervisor_that_comes_after_adopts_it_and_counts_nothing(tmp_path, penguins_bundle, site):
    store, (digest,) = store_of(tmp_path / "store", made.version(penguins_bundle, "1-deadly"))
    with running(tmp_path / "store", environment=site) as box:
        worker = box.worker
        assert model(store).last_resort_tries == 2
        box.kill()
        with running(tmp_path / "store", environment=site) as again:
            until(lambda: again.live().get("worker", {}).get("pid") == worker, why="adopted")
            until(lambda: is_given_up(again, digest))
            assert again.predict()[0] == 200 and model(store).last_resort_tries == 2
            assert again.live()["worker"]["deaths"] == 0


@pytest.mark.crash
def test_where_rules_and_fallback_kill_it_too_nothing_answers_and_the_worker_lives(tmp_path, penguins_bundle, site):
    store, (digest,) = store_of(tmp_path / "store", made.version(penguins_bundle, "1-deadly-rules"))
    with running(tmp_path / "store", environment=site) as box:
        status, problem = box.predict()
        assert (status, problem["code"]) == (503, "not_ready")
        assert "loaded 3 times without its model" in problem["error"]
        assert box.get("/v2/health/ready")[0] == 503
        assert box.live()["worker"]["deaths"] == 6
        event = box.event("abandoned")
        assert (event.digest, event.signal) == (digest, "process_deaths")
        assert model(store).last_resort is None
    with running(tmp_path / "store", environment=site) as box:
        assert box.predict()[0] == 503 and box.live()["worker"]["deaths"] == 0


def test_one_with_neither_rules_nor_fallback_does_not_answer_and_says_why(tmp_path, site):
    bare = onnx_models.bundle_of(onnx_models.relu(), version="1-deadly", name=MODEL)
    store, (digest,) = store_of(tmp_path / "store", sign(bare, made.ALICE))
    with running(tmp_path / "store", environment=site) as box:
        status, problem = box.post(f"/v2/models/{MODEL}/infer", {"inputs": []})
        assert (status, problem["code"]) == (503, "not_ready"), problem
        assert box.event("abandoned").signal == "load_failed"
        status, problem = box.post(f"/v2/models/{MODEL}/infer", {"inputs": []})
        assert status == 503 and "neither rules nor a fallback" in problem["error"]
        assert box.live()["worker"]["deaths"] == 3 and model(store).last_resort is None


def test_the_next_bundle_answers_whole(tmp_path, penguins_bundle, site):
    two = made.version(penguins_bundle, "2")
    store, (first, second) = store_of(tmp_path / "store", made.version(penguins_bundle, "1-deadly"), two)
    with running(tmp_path / "store", environment=site) as box:
        assert is_given_up(box, first)
        load = Load(box, known(made.version(penguins_bundle, "1-deadly"), two))
        with load:
            store.activate(second)
            assert box.follow()["models"][MODEL] == {"digest": f"sha256:{second}", "ready": True, "reason": ""}
            load.wait_for(50, second)
            # Back again, without a request that fails; the whole one was never loaded for it.
            store.roll_back(MODEL, leave=second, reason="a test", signal="error_rate")
            box.follow()
            load.wait_for(50, first)
            assert is_given_up(box, first)
            store.allow(second)
            store.activate(second, now=True)
            box.follow()
            load.wait_for(50, second)
        assert load.failures == []
        assert model(store).last_resort is None and box.get("/v2/health/ready")[1] == {"live": True, "ready": True}


def test_the_only_bundle_cannot_be_loaded_and_the_process_lives(tmp_path, penguins_bundle):
    store, (digest,) = store_of(tmp_path / "store", made.unloadable(penguins_bundle, "1"))
    with running(tmp_path / "store") as box:
        answer = box.predict()[1]["predictions"][0]
        assert (answer["tier"], answer["degraded"]) == ("fallback", True)
        assert "its model could not be loaded" in answer["reason"] and "ONNX" in answer["reason"]
        assert is_given_up(box, digest) and "ONNX" in box.live()["models"][MODEL]["reason"]
        # It is still the active one: when it can be loaded, it is.
        assert model(store).active == digest and box.live()["worker"]["deaths"] == 0


class TestInnocents:
    """Bundles of other models, tried in a process that one of them ends."""

    @pytest.mark.parametrize(
        "deadly",
        [
            pytest.param("birds", id="loaded before it"),
            pytest.param("zebras", id="loaded after it", marks=pytest.mark.crash),
        ],
    )
    def test_a_trial_beside_a_deadly_trial_loses_no_attempt(self, tmp_path, penguins_bundle, site, deadly):
        other = made.version(penguins_bundle, "7", name=deadly)
        worse = made.version(penguins_bundle, "8-deadly", name=deadly)
        one, two = made.version(penguins_bundle, "1"), made.version(penguins_bundle, "2")
        store, (first, second, third, fourth) = store_of(tmp_path / "store", one, two, other, worse)
        store.activate(third, now=True)
        store.activate(second)
        store.activate(fourth)
        with running(tmp_path / "store", environment=site) as box:
            until(lambda: store.state().models[deadly].candidate is None, why="abandoned")
            box.wait_served(second)
            box.wait_served(third, deadly)
            assert box.live()["worker"]["deaths"] == 3
            assert (model(store).candidate, model(store).tries_left) == (second, 2)
            assert box.live()["trials"][MODEL]["signals"]["process_deaths"]["value"] == 0
            assert model(store).deaths_left == store.state().models[deadly].deaths_left == 3
            assert fourth in store.state().models[deadly].denied

    def test_a_trial_beside_a_deadly_active_bundle_loses_nothing(self, tmp_path, penguins_bundle, site):
        worse = made.version(penguins_bundle, "8-deadly", name="birds")
        one, two = made.version(penguins_bundle, "1"), made.version(penguins_bundle, "2")
        store, (first, second, third) = store_of(tmp_path / "store", one, two, worse)
        store.activate(third, now=True)
        store.activate(second)
        with running(tmp_path / "store", environment=site) as box:
            box.wait_served(second)
            assert store.state().models["birds"].last_resort == third
            assert box.predict("birds")[1]["predictions"][0]["tier"] == "fallback"
            assert (model(store).candidate, model(store).tries_left) == (second, 2)
            assert box.live()["trials"][MODEL]["signals"]["process_deaths"]["value"] == 0
