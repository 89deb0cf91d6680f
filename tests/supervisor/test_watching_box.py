"""A running box under watch: real processes, real traffic, and whoever is killed in between."""

import json
import os
import random
import signal
import urllib.request

import pytest
from cli import invoices
from cli.invoices import records, table
from supervisor.running_store import running, until

from edgeml.bundles.store import Store
from edgeml.supervisor.channel import watched
from edgeml.supervisor.tokens import Tokens


@pytest.fixture(scope="module")
def bundle():
    return invoices.bundle()


@pytest.fixture
def root(tmp_path, bundle):
    store = Store.create(tmp_path / "store", keyring=None, allow_unsigned=True)
    store.activate(store.install(bundle), now=True)
    return tmp_path / "store"


def predict(box, given):
    status, answer = box.post("/v1/predict", {"records": given})
    assert status == 200, answer
    return answer["predictions"]


def report(box):
    return (watched(box.root) or {}).get("invoices", {"answered": 0})


def wait_answered(box, count):
    return until(lambda: (found := report(box))["answered"] >= count and found, why=f"{count} answers counted")


def test_healthy_traffic_raises_nothing_and_a_shift_is_told(root):
    with running(root, manage_port=0) as box:
        for batch in range(8):
            predict(box, records(500, 10 + batch))
        found = wait_answered(box, 4000)
        assert found["answered"] == 4000 == sum(found["tiers"].values())
        assert {each["level"] for each in found["drift"]["columns"]} == {"none"}
        assert not [entry for entry in box.store.journal.entries() if entry.event.kind == "drift"]
        for batch in range(8):
            predict(box, records(500, 30 + batch, mean=62.0))
        event = until(
            lambda: [each.event for each in box.store.journal.entries() if each.event.kind == "drift"], why="an alarm"
        )
        assert {each.signal for each in event} >= {"amount"}
        token = Tokens(root).create("operator", scopes=("read", "release"))
        worst = managed(box, token, "/v1/models/invoices/watch")["drift"]["columns"][0]
        assert worst["latched"] and worst["effect"] > 0.1
        seen = managed(box, token, "/v1/models/invoices/drift/acknowledge", {"column": "amount"})
        assert seen == {"column": "amount", "ended": False}
        columns = {each["name"]: each for each in report(box)["drift"]["columns"]}
        assert columns["amount"]["acknowledged"] and columns["age"]["level"] == "none"


def managed(box, token, path, body=None):
    request = urllib.request.Request(
        box.manage + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_what_is_refused_is_counted_and_put_into_words(root):
    with running(root) as box:
        predict(box, records(100, 1))
        for each in records(20, 2):
            each["Country"] = each.pop("country")
            assert box.post("/v1/predict", {"records": [each]})[0] == 400
        box.post("/v1/predict", b"{not json")
        found = until(lambda: (found := report(box)).get("refused", 0) >= 20 and found, why="refusals counted")
        (finding,) = [each for each in found["validation"]["findings"] if each["kind"] == "renamed"]
        assert finding["text"] == "field `country` now arrives as `Country`"
        assert found["validation"]["requests"] == {"invalid_json": 1}


def test_labels_that_come_back_are_reported(root):
    with running(root) as box:
        frame, truth = table(300, 5)
        given = predict(box, json.loads(frame.to_json(orient="records")))
        told = [{"id": each["id"], "label": str(label)} for each, label in zip(given, truth, strict=True)]
        status, answer = box.post("/v1/feedback", {"feedback": told})
        assert status == 200, answer
        right = sum(each["label"] == label for each, label in zip(given, truth, strict=True))

        def labelled():
            realised = (report(box).get("quality") or {}).get("realised")
            return realised if realised and realised["rows"] == 300 else None

        realised = until(labelled, why="labels counted")
        assert realised["accuracy"]["value"] == pytest.approx(right / 300)
        estimated = report(box)["quality"]["estimated"]["accuracy"]
        assert estimated["low"] <= right / 300 <= estimated["high"]


def wait_another_worker(box, old):
    def answers():
        return box.live().get("worker", {}).get("pid") not in (None, old) and box.served("invoices")

    until(answers, why="another worker")


@pytest.mark.parametrize(
    "seed", [1, pytest.param(2, marks=pytest.mark.crash), pytest.param(3, marks=pytest.mark.crash)]
)
def test_the_worker_is_killed_at_any_moment_and_no_counter_falls_or_doubles(root, seed):
    chance = random.Random(seed)
    with running(root) as box:
        sent = known = 0
        for _ in range(2):  # a third death in a row would be the bundle's fault
            for _ in range(chance.randrange(1, 6)):
                predict(box, records(100, chance.randrange(1000)))
                sent += 100
            if chance.random() < 0.6:
                wait_answered(box, known + 1)
            old = box.worker
            os.kill(old, signal.SIGKILL)
            wait_another_worker(box, old)
            now = report(box)
            assert known <= now["answered"] <= sent
            known = now["answered"]
            columns = now["drift"]["columns"] if known else []
            assert all(share >= 0 for each in columns for share in each["current"])
        before = known
        predict(box, records(100, 9))
        found = wait_answered(box, before + 100)
        assert found["answered"] == before + 100
    # Ended in order, nothing is lost: the next start goes on from there.
    with running(root) as box:
        assert wait_answered(box, before + 100)["answered"] == before + 100


def test_a_supervisor_that_is_killed_loses_nothing_while_its_worker_lives(root):
    with running(root) as box:
        predict(box, records(300, 1))
        wait_answered(box, 300)
        box.kill()
        predict(box, records(200, 2))
        with running(root) as other:
            assert wait_answered(other, 500)["answered"] == 500
            other.stop()
    with running(root) as box:
        assert wait_answered(box, 500)["answered"] == 500


def test_a_damaged_snapshot_is_dropped_with_a_line_and_serving_goes_on(root, bundle):
    with running(root) as box:
        predict(box, records(300, 1))
        wait_answered(box, 300)
    (path,) = (root / "monitors").glob("*.watch")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with running(root) as box:
        predict(box, records(100, 1))
        assert wait_answered(box, 1)["answered"] == 100
        assert "damaged" in box.event("watch").reason
    assert path.exists()  # a good one in its place
