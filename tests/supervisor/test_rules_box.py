"""Rules on a running box: audits and labels find out the one that is wrong; it is disabled where that is allowed."""

import json
import os
import signal
import time
import urllib.error
import urllib.request

import pytest
from cli.shell import run
from supervisor.moved_rules import KEPT, MOVED, NEITHER, signs
from supervisor.running_store import Load, known, running, until

from edgeml.bundles.box_settings import change_settings
from edgeml.bundles.store import Store
from edgeml.supervisor.channel import watched
from edgeml.supervisor.rule_switches import SUFFIX
from edgeml.supervisor.tokens import Tokens


@pytest.fixture(scope="module")
def bundles():
    return signs("1"), signs("2")


def box_of(tmp_path, bundles, **settings):
    store = Store.create(tmp_path / "store", keyring=None, allow_unsigned=True)
    digests = [store.install(each) for each in bundles]
    store.activate(digests[0], now=True)
    change_settings(store, {"audit_share": 1.0, "audit_cpu_share": 1.0} | settings, who="cli")
    return tmp_path / "store", digests


def seldom(what, **more):
    """As ``until``, for what comes every few seconds and costs more to look at."""
    return until(lambda: time.sleep(0.25) or what(), **more)


def ask(box, record, times=1):
    """The answers to one record, asked several times, each by itself."""
    given = []
    for _ in range(times):
        status, answer = box.post("/v1/predict", {"records": [record]})
        assert status == 200, answer
        given += answer["predictions"]
    return given


def who(box, record):
    (answer,) = ask(box, record)
    return answer["tier"], answer.get("rule"), answer["label"]


def rules(box):
    found = (watched(box.root) or {}).get("signs", {}).get("rules", {})
    return {each["id"]: each for each in found.get("rules", [])}, found


def events(box):
    return [each.event for each in box.store.journal.entries() if each.event.kind == "rule"]


def edgeml(root, *words, status=0):
    done = run(*words, "--store", root, cwd=root.parent)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done


def managed(box, token, path, body=None):
    request = urllib.request.Request(
        box.manage + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            data = answer.read()
            return answer.status, json.loads(data) if path != "/metrics" else data.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_audits_find_out_a_rule_and_a_person_disables_it(tmp_path, bundles):
    root, digests = box_of(tmp_path, bundles)
    with running(root, manage_port=0) as box:
        assert who(box, MOVED) == ("rule", "moved", "plus") and who(box, KEPT) == ("rule", "kept", "plus")
        ask(box, MOVED, 60), ask(box, KEPT, 40), ask(box, NEITHER, 5)
        (event,) = seldom(lambda: events(box), why="a finding")
        assert (event.signal, event.model) == ("moved", "signs") and "the model contradicts it" in event.reason

        def audited():
            by_rule, found = rules(box)
            return by_rule.get("kept", {}).get("agreement") and by_rule["kept"]["agreement"]["rows"] >= 41 and found

        found = seldom(audited, why="audits counted")
        moved, kept = found["rules"]
        assert moved["id"] == "moved" and moved["agreement"]["value"] == 0.0 and set(moved["findings"]) == {"agreement"}
        assert kept["agreement"]["value"] == 1.0 and not kept["findings"] and kept["promised_by"] == "measured"
        assert found["tiers"]["rule"]["agreement"]["rows"] == 102 and found["disabled"] == []
        assert who(box, MOVED)[0] == "rule"  # it is only reported

        token = Tokens(root).create("operator", scopes=("read", "release"))
        reader = Tokens(root).create("reader", scopes=("read",))
        path = "/v1/models/signs/rules"
        assert managed(box, reader, f"{path}/disable", {"rule": "moved"})[0] == 403
        assert managed(box, token, f"{path}/disable", {"rule": "nobody"})[1]["code"] == "unknown_rule"
        assert managed(box, token, f"{path}/disable", {})[1]["field"] == "rule"
        status, said = managed(box, token, f"{path}/disable", {"rule": "moved", "reason": "z means something else"})
        assert (status, said["disabled"], said["followed"], said["failure"]) == (200, True, True, "")
        assert who(box, MOVED) == ("model", None, "minus") and who(box, KEPT)[1] == "kept"
        assert events(box)[0].reason == "rule moved is disabled until the next bundle: z means something else"
        assert box.get("/v1/models/signs")[1]["disabled_rules"] == ["moved"]
        assert managed(box, token, "/v1/models/signs")[1]["serves"]["disabled_rules"] == ["moved"]
        text = managed(box, token, "/metrics")[1]
        for line in (
            'edgeml_rule_disabled{model="signs",rule="moved",version="1"} 1.0',
            'edgeml_rule_found_out{kind="agreement",model="signs",rule="moved",version="1"} 1.0',
            'edgeml_rules_disabled{model="signs",version="1"} 1.0',
            'edgeml_audited_answers_total{model="signs",tier="rule",verdict="agrees",version="1"} 41.0',
        ):
            assert line in text, line
        # A killed worker, and then another supervisor: it stays so.
        os.kill(box.worker, signal.SIGKILL)
        seldom(lambda: box.live()["models"].get("signs", {}).get("disabled_rules") == ["moved"] and _again(box))
        assert who(box, MOVED)[0] == "model"
    with running(root) as box:
        assert who(box, MOVED)[0] == "model" and rules(box)[1]["disabled"] == ["moved"]
        told = edgeml(root, "quality").stdout
        for part in ("contradicted, DISABLED", "100.0% (8", "Audited", "until the next bundle by api:operator at 20"):
            assert part in told, told
        assert "signs: rules: 1 contradicted by the model, 1 disabled; see" in edgeml(root, "status").stderr
        assert "rule moved is enabled" in edgeml(root, "rules", "enable", "moved").stdout
        assert who(box, MOVED) == ("rule", "moved", "plus")
        assert "disabled_rules" not in box.get("/v1/models/signs")[1]
        assert "signs has no rule 'nobody'" in edgeml(root, "rules", "disable", "nobody", status=1).stderr


def _again(box):
    try:
        return box.get("/v2/health/ready")[0] == 200
    except OSError:
        return False


def test_labels_find_it_out_and_it_is_disabled_until_the_next_bundle(tmp_path, bundles):
    root, (first, second) = box_of(tmp_path, bundles, audit_share=0.0, disable_rules="disable")
    bodies = [json.dumps({"records": [each]}).encode() for each in (KEPT, MOVED, NEITHER)]
    with running(root) as box, Load(box, known(*bundles), clients=1, bodies=bodies) as load:
        given = ask(box, MOVED, 60)
        labelled = [{"id": each["id"], "label": "minus"} for each in given if each["tier"] == "rule"]
        assert box.post("/v1/feedback", {"feedback": labelled})[0] == 200
        seldom(lambda: len(events(box)) == 2, why="a rule disabled")
        last, found = events(box)
        assert "live precision is below its target: 0.0% of" in found.reason
        assert (last.reason, last.signal) == ("rule moved is disabled until the next bundle", "moved")
        seldom(lambda: who(box, MOVED) == ("model", None, "minus"), why="the worker follows")
        assert rules(box)[0]["moved"]["decided"]["who"] == "supervisor"
        # Another supervisor adopts the worker, and knows it as well.
        box.kill()
        with running(root, wait=False) as other:
            other.wait_ready()
            assert who(other, MOVED)[0] == "model"
            assert len(list((root / "monitors").glob(f"*{SUFFIX}"))) == 1
            # The next bundle is not concerned by it; the one before still is.
            other.store.activate(second, now=True)
            other.follow()
            other.wait_served(second, "signs")
            assert who(other, MOVED) == ("rule", "moved", "plus")
            other.store.roll_back("signs", reason="")
            other.follow()
            other.wait_served(first, "signs")
            assert who(other, MOVED) == ("model", None, "minus")
            load.wait_for(30)
            other.stop()
            load._forgives = True
    assert load.failures == []
