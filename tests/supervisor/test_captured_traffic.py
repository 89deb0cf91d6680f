"""Capture on a real box: how much of the traffic is kept, what of it, and that nothing endangers answers or start."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from crash import mounts
from data.generate_bundles import ALICE
from supervisor.running_store import ROW, end, end_left, running, store_of, until

from edgeml.bundles import sign
from edgeml.bundles.box_settings import change_settings
from edgeml.bundles.store import Store
from edgeml.monitor.capture_file import CaptureFile
from edgeml.monitor.capture_policy import is_hard
from edgeml.serving.capturing import FILE, KEY
from edgeml.serving.warm_up import checked_engine

EASY = ROW | {"bill_length_mm": 38.0, "flipper_length_mm": 185.0, "island": "Torgersen"}
# Nothing is forgotten.
PATIENT = {"capture_rows": 10**6, "capture_bytes": 10**9, "capture_bytes_per_day": 10**10}


@pytest.fixture(scope="session")
def signed(penguins_bundle):
    return sign(penguins_bundle, ALICE)


@pytest.fixture(scope="session")
def hard(penguins_bundle):
    """A record that the model cannot decide."""
    record = ROW | {"bill_length_mm": 47.6, "bill_depth_mm": 15.7, "flipper_length_mm": 197.0, "body_mass_g": 3917}
    engine = checked_engine(penguins_bundle, max_rows=10)
    answer, other = engine.predict(record), engine.predict(EASY)
    assert is_hard(answer.tier, answer.scores) and not is_hard(other.tier, other.scores)
    return record


def box_of(folder: Path, bundle, *, excluded=(), hashed=(), **settings) -> Path:
    store, _ = store_of(folder / "store", bundle)
    change_settings(store, PATIENT | settings, excluded=excluded, hashed=hashed, who="cli")
    return folder / "store"


def rows(root: Path):
    return list(CaptureFile(root / FILE).rows())


def edgeml(*words: str, status: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "edgeml", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def is_whole(path: Path) -> bool:
    database = sqlite3.connect(path)
    try:
        return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        database.close()


def test_as_many_are_kept_as_the_operator_says_and_hard_ones_more_often(tmp_path, signed, hard):
    root = box_of(tmp_path, signed, capture_share=0.02, capture_boost=10.0)
    with running(root) as box:
        for _ in range(40):
            records = [hard if place % 10 == 0 else EASY for place in range(500)]
            assert box.post("/v1/predict", {"records": records})[0] == 200
        for _ in range(1000):
            assert box.post("/v1/predict", {"records": [EASY]})[0] == 200
    kept = rows(root)
    difficult = [each for each in kept if each.record == hard]
    easy = [each for each in kept if each.record == EASY]
    assert len(difficult) + len(easy) == len(kept)
    # 2,000 hard records kept with 0.2, 19,000 easy ones with 0.02; six standard deviations.
    assert abs(len(difficult) - 400) < 6 * (2000 * 0.2 * 0.8) ** 0.5
    assert abs(len(easy) - 380) < 6 * (19_000 * 0.02 * 0.98) ** 0.5
    assert {round(each.chance, 9) for each in difficult} == {0.2} and {round(each.chance, 9) for each in easy} == {0.02}
    # Weighted by the inverse of their chances they stand for the whole traffic again.
    spread = (2000 * 0.8 / 0.2 + 19_000 * 0.98 / 0.02) ** 0.5
    assert abs(sum(1 / each.chance for each in kept) - 21_000) < 6 * spread


def test_the_operator_turns_it_on_and_off_while_the_service_runs(tmp_path, signed):
    root = box_of(tmp_path, signed)
    with running(root) as box:
        box.predict()
        edgeml("settings", "--capture", "1", "--capture-boost", "1", "--store", str(root))

        def captures():
            box.predict()
            return FILE in {path.name for path in root.iterdir()}

        # The file comes with the first batch, and that when the queue is half full: 3,000 records at once.
        until(lambda: box.post("/v1/predict", {"records": [ROW] * 3000})[0] == 200 and captures(), why="captured")
        edgeml("settings", "--capture", "0", "--store", str(root))
    # What was asked before it was turned on is not there; everything that is there is whole.
    kept = rows(root)
    assert len(kept) >= 3000 and all(each.record == ROW for each in kept) and is_whole(root / FILE)
    assert len({each.id for each in kept}) == len(kept)
    assert KEY not in {path.name for path in root.iterdir()}


def test_excluded_and_hashed_fields_are_in_no_file_of_the_box(tmp_path, signed):
    root = box_of(tmp_path, signed, excluded=["sex"], hashed=["island"], capture_share=1.0)
    secret = ROW | {"sex": "female", "island": "Torgersen"}
    with running(root) as box:
        said = box.post("/v1/predict", {"records": [secret] * 3000})[1]["predictions"]
        until(lambda: (root / FILE).exists() and CaptureFile(root / FILE).held(day=0).rows, why="a batch")
        for path in root.glob("capture*"):
            with suppress(FileNotFoundError):  # SQLite's log goes with the last who uses it
                content = path.read_bytes()
                assert b"female" not in content and b"Torgersen" not in content
    kept = rows(root)
    assert [each.id for each in kept] == [each["id"] for each in said]
    for path in root.glob("capture*"):
        assert b"female" not in path.read_bytes() and b"Torgersen" not in path.read_bytes(), path
        assert path.stat().st_mode & 0o077 == 0
    assert set(kept[0].record) == set(ROW) - {"sex"} and kept[0].record["island"].startswith("hash:")


def test_labels_come_after_a_restart(tmp_path, signed):
    root = box_of(tmp_path, signed, capture_share=1.0, capture_boost=1.0)
    with running(root) as box:
        ids = [each["id"] for each in box.post("/v1/predict", {"records": [ROW] * 3})[1]["predictions"]]
    with running(root) as box:
        assert box.post("/v1/feedback", {"id": ids[1], "label": "Chinstrap"}) == (200, {"status": "accepted"})
        box.post("/v1/feedback", {"id": box.predict()[1]["predictions"][0]["id"], "label": "Gentoo"})
    assert [each.label for each in rows(root)] == [None, "Chinstrap", None, "Gentoo"]
    lines = edgeml("capture", "export", "--labelled", "--store", str(root)).splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["Chinstrap", "Gentoo"]


def test_a_worker_killed_at_any_moment_leaves_a_whole_file_and_starts_again(tmp_path, signed):
    root = box_of(tmp_path, signed, capture_share=1.0, hashed=["island"])
    draw = random.Random(11)
    before = 0
    for number in range(6):
        with running(root) as box:
            worker = box.worker
            for _ in range(draw.randrange(1, 4)):
                assert box.post("/v1/predict", {"records": [ROW] * draw.randrange(2100, 4000)})[0] == 200
            if number % 2:  # else in the batch that these have begun
                until(lambda was=before: (root / FILE).exists() and len(rows(root)) > was, why="a batch")
            if number:
                box.kill()
                end(worker)
            else:
                os.kill(worker, signal.SIGKILL)
                until(lambda was=worker: box.live().get("worker", {}).get("pid") not in (None, was), why="another one")
                until(lambda: box.predict()[0] == 200, why="an answer")
        if (root / FILE).exists():
            kept = rows(root)
            assert len(kept) >= before and len({each.id for each in kept}) == len(kept)
            before = len(kept)
    assert is_whole(root / FILE) and before >= 3 * 2100
    assert CaptureFile(root / FILE).held(day=0).bytes == sum(
        len(json.dumps(each.record, separators=(",", ":"))) + len(json.dumps(each.prediction, separators=(",", ":")))
        for each in rows(root)
    )


@pytest.mark.parametrize("damage", ["settings.json", FILE, KEY])
def test_a_damaged_file_never_prevents_the_start(tmp_path, signed, damage):
    root = box_of(tmp_path, signed, capture_share=1.0, hashed=["island"])
    with running(root) as box:
        box.predict()
    content = b"\0" * 8192
    (root / damage).write_bytes(content)
    for name in ("-wal", "-shm"):
        (root / f"{FILE}{name}").unlink(missing_ok=True)
    with running(root) as box:
        assert box.predict()[0] == 200
        if damage != FILE:
            until(lambda: f"capture: nothing is captured: {root / damage} is damaged" in box.log, why="it is said")
    if damage == FILE:
        assert len(rows(root)) == 1 and (root / f"{FILE}.damaged").read_bytes() == content
        assert "put aside" in edgeml("capture", "status", "--store", str(root))
        edgeml("capture", "clear", "--yes", "--store", str(root))
        assert rows(root) == [] and not (root / f"{FILE}.damaged").exists()
    else:
        assert len(rows(root)) == 1  # from before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_costs_captured_records_and_no_answer(tmp_path, signed):
    with mounts.tmpfs(tmp_path / "disk", size=8 * 1024**2) as disk:
        root = box_of(disk, signed, capture_share=1.0)
        with running(root) as box:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            (disk / "ballast").write_bytes(bytes(free - 256 * 1024))
            assert box.post("/v1/predict", {"records": [ROW] * 3000})[0] == 200
            until(lambda: "capture: database or disk is full" in box.log, why="it is said")
            assert box.predict()[0] == 200
            (disk / "ballast").unlink()
            ids = {each["id"] for each in box.post("/v1/predict", {"records": [ROW] * 3000})[1]["predictions"]}
        kept = {each.id for each in rows(root)}
        assert ids <= kept and is_whole(root / FILE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_store_that_cannot_be_written_is_read_and_answers(tmp_path, signed):
    with mounts.tmpfs(tmp_path / "disk", size=64 * 1024**2) as disk:
        root = box_of(disk, signed, capture_share=1.0)
        with running(root) as box:
            box.predict()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        held = CaptureFile(root / FILE).held(day=0)
        assert (held.rows, len(rows(root))) == (1, 1)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        with running(root) as box:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            assert box.post("/v1/predict", {"records": [ROW] * 3000})[0] == 200
            until(lambda: "capture: " in box.log, why="it is said")
            assert box.predict()[0] == 200
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            box.predict()
        assert len(rows(root)) == 3  # from before, and what came last


def test_a_worker_that_is_left_alone_writes_down_what_it_kept(tmp_path, signed):
    root = box_of(tmp_path, signed, capture_share=1.0)
    with running(root) as box:
        worker = box.worker
        box.kill()
        box.predict()
        os.kill(worker, signal.SIGTERM)
        until(lambda: (root / FILE).exists() and len(rows(root)) == 1, why="written down")
    end_left(root)


def test_the_settings_reach_the_watch(tmp_path, signed):
    from edgeml.monitor.watch import WatchSettings
    from edgeml.supervisor.watch_settings import watch_settings

    root = box_of(tmp_path, signed)
    assert watch_settings(root) == WatchSettings()
    edgeml("settings", "--false-alarm-days", "90", "--drift-min-effect", "0.25", "--store", str(root))
    found = watch_settings(root)
    assert (found.budget.days, found.min_effect) == (90.0, 0.25)
    assert Store(root).journal.entries()[0].event.kind == "settings"
    (root / "settings.json").write_text("{")
    assert watch_settings(root) == WatchSettings()
