"""edgeml drift, quality and status on a real box, while its service runs and afterwards."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from cli.invoices import bundle, records, regression, table, write
from cli.shell import run
from supervisor.running_store import running, until

from edgeml.bundles.store import Store
from edgeml.runtime import Engine, predictor_of
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.supervisor.watching import Watching


@pytest.fixture(scope="module")
def made():
    return bundle(slo={"p99_ms": 50, "deadline_ms": 500})


@pytest.fixture
def root(tmp_path, made):
    store = Store.create(tmp_path / "store", keyring=None, allow_unsigned=True)
    store.activate(store.install(made), now=True)
    return tmp_path / "store"


def told(root, *words, status=0):
    done = run(*words, "--store", root, cwd=root.parent)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def document(root, *words):
    return json.loads(told(root, *words, "--json"))


def send(box, rows, truth=()):
    status, answer = box.post("/v1/predict", {"records": rows})
    assert status == 200, answer
    labelled = zip(answer["predictions"], truth, strict=False)
    feedback = [{"id": each["id"], "label": str(label)} for each, label in labelled]
    if feedback:
        assert box.post("/v1/feedback", {"feedback": feedback})[0] == 200


def wait_for(box, what):
    return until(lambda: what(document(box.root, "drift")["models"]["invoices"]), why="counts")


def refused(found):
    return found["findings"][0]["records"] if found["findings"] else 0


def everything(root):
    """Each file of a store, with its bytes and when it was changed."""
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_an_operator_follows_a_shift_from_alarm_to_acknowledgement(root, made, tmp_path):
    with running(root) as box:
        until(lambda: box.served("invoices"), why="a worker")
        assert "no record was counted yet" in told(root, "drift")
        assert document(root, "status")["watched"]["invoices"]["answered"] == 0
        frame, truth = table(500, 20)
        send(box, json.loads(frame.to_json(orient="records")), truth)
        shifted = [row for seed in range(5) for row in records(500, 30 + seed, mean=62.0)]
        for start in range(0, len(shifted), 500):
            send(box, shifted[start : start + 500])
        for row in records(40, 3):
            row["Country"] = row.pop("country")
            assert box.post("/v1/predict", {"records": [row]})[0] == 400
        found = wait_for(box, lambda each: each["answered"] == 3000 and refused(each) == 40 and each)
        assert [each["text"] for each in found["findings"]] == ["field `country` now arrives as `Country`"]
        worst = found["drift"]["columns"][0]
        assert (worst["name"], worst["latched"], worst["acknowledged"]) == ("amount", True, False)

        text = told(root, "drift", "invoices")
        first, second = text.splitlines()[:2]
        assert first.startswith("invoices 1: 3000 answers since ") and "snapshot" not in first
        assert second.startswith("ALARM: amount differs") and "edgeml drift invoices --acknowledge 'amount'" in second
        assert "now arrives as `Country`" in text

        status = document(root, "status")["watched"]["invoices"]
        assert status["drift_alarms"]["amount"] is False and status["findings"] == 1 and status["refused"] == 40
        assert sum(status["tiers"].values()) == status["answered"] == 3000 and status["p99_ms"] > 0
        assert [each["level"] for each in status["objectives"]] == ["ok", "ok"]
        line = next(line for line in told(root, "status").splitlines() if "3,000" in line)
        assert "of 50 ms" in line and "rule " in line and "amount" in line

        assert "it ends when the data" in told(root, "drift", "--acknowledge", "amount")
        assert "no alarm on 'age'" in told(root, "drift", "invoices", "--acknowledge", "age", status=1)
        until(lambda: document(root, "status")["watched"]["invoices"]["drift_alarms"].get("amount"), why="seen")
        assert "amount (seen)" in " ".join(told(root, "status").split())

        quality = document(root, "quality")["models"]["invoices"]["quality"]
        assert quality["realised"]["rows"] == 500 and quality["agreement"]["agrees"]
        text = told(root, "quality")
        labelled = next(line for line in text.splitlines() if line.lstrip().startswith("accuracy"))
        assert f"{quality['realised']['accuracy']['value']:.1%}" in labelled
        assert f"{quality['reference']['measures']['overall']['accuracy']:.1%}" in labelled
        assert "that agrees" in text and "tiny" in text and "held-out rows" in text

        # A file of the same records says the same as the box.
        made.save(tmp_path / "invoices.edgeml")
        rows = [*json.loads(frame.to_json(orient="records")), *shifted]
        rows += [{("Country" if key == "country" else key): row[key] for key in row} for row in records(40, 3)]
        write(tmp_path / "same.ndjson", rows)
        done = run("check", "same.ndjson", "--bundle", "invoices.edgeml", "--json", cwd=tmp_path)
        same = json.loads(done.stdout)
        assert same["findings"] == document(root, "drift")["models"]["invoices"]["findings"]
        columns = {each["name"]: each for each in same["drift"]["columns"]}
        for each in document(root, "drift")["models"]["invoices"]["drift"]["columns"]:
            for key in ("current", "psi", "jensen_shannon", "missing"):
                assert columns[each["name"]][key] == each[key], (each["name"], key)
        assert same["quality"]["estimated"] == quality["estimated"]

    # The service has ended; what it kept is read, and nothing is changed by that.
    kept = next((root / "monitors").glob("*.watch"))
    os.utime(kept, (time.time() - 7200, time.time() - 7200))
    before = everything(root)
    text = told(root, "drift")
    assert "no service runs, so this is the snapshot of" in text and "2 hours old" in text
    assert "ALARM: amount" in text and "acknowledged" in text
    found = document(root, "drift")
    assert found["source"] == "snapshot"
    again = found["models"]["invoices"]["drift"]["columns"][0]
    assert (again["name"], again["level"], again["effect"]) == ("amount", "drift", pytest.approx(worst["effect"]))
    assert document(root, "quality")["models"]["invoices"]["quality"]["realised"]["rows"] == 500
    assert document(root, "status")["watched"] is None
    assert "no service runs" in told(root, "drift", "--acknowledge", "amount", status=1)
    assert everything(root) == before


def test_a_damaged_snapshot_is_said_and_left_where_it_is(root, made):
    path = counted(root, made, records(100, 1))
    path.write_bytes(path.read_bytes()[:-1])
    before = everything(root)
    done = run("drift", "--store", root, cwd=root.parent)
    assert done.returncode == 0 and "is damaged" in done.stderr and "nothing is known" in done.stdout
    assert "nothing is known of 'invoices'" in told(root, "quality", "invoices", status=1)
    assert everything(root) == before


def test_without_anything_kept_it_is_said(root):
    assert "none has kept a snapshot" in told(root, "drift")
    assert document(root, "quality") == {"source": "snapshot", "models": {}}
    assert "this box has no model 'door'; it has invoices" in told(root, "drift", "door", status=1)


def test_only_the_worst_columns_are_shown_unless_all_are_asked_for(root, made, monkeypatch):
    counted(root, made, records(800, 1))
    monkeypatch.setattr("edgeml.cli.drift_table.MOST_COLUMNS", 2)
    from click.testing import CliRunner

    from edgeml.cli import main

    few = CliRunner().invoke(main, ["drift", "--store", str(root)]).stdout
    every = CliRunner().invoke(main, ["drift", "--all", "--store", str(root)]).stdout
    names = [each["name"] for each in document(root, "drift")["models"]["invoices"]["drift"]["columns"]]
    assert f"{len(names) - 2} more columns: see --all" in few
    assert [name for name in names if f" {name} " in few] == names[:2]
    assert [name for name in names if f" {name} " in every] == names and "more columns" not in every


def test_the_errors_of_a_regression_are_shown(tmp_path):
    made = regression()
    store = Store.create(tmp_path / "store", keyring=None, allow_unsigned=True)
    store.activate(store.install(made), now=True)
    engine = counting(made)
    for answer in engine.predict_many([{"x": 1.0, "z": 0.0}, {"x": 0.0, "z": 1.0}]):
        engine.quality.feedback.error("model", answer.value - 1.0)
    keep(tmp_path / "store", engine)
    errors = document(tmp_path / "store", "quality")["models"]["meter"]["quality"]["realised"]["by_tier"]["model"]
    assert errors["rows"] == 2
    text = told(tmp_path / "store", "quality")
    assert f"{errors['mean_absolute_error']:.6g}" in text and f"{errors['root_mean_squared_error']:.6g}" in text
    assert "answers with numbers" in text


def counting(made):
    predictor = predictor_of(made)
    drift = drift_monitor(drift_layout(made), predictor)
    return Engine(predictor, drift=drift, quality=AnswerQuality.of(predictor, made))


def keep(root: Path, engine):
    """What a supervisor that heard this from its worker has kept when it ended."""
    watching = Watching(Store(root))
    watching.follow(Store(root).state())
    watching.take({"kind": "watched", "model": engine.name, "digest": engine.digest, "life": 1} | engine.watched())
    watching.keep()
    return next((root / "monitors").glob("*.watch"))


def counted(root, made, rows):
    engine = counting(made)
    engine.predict_many(rows)
    return keep(root, engine)
