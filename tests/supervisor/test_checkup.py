"""What a check-up finds on a sound box, and in each way in which one can be unsound."""

import os
import socket
import sqlite3
import sys
import threading
from dataclasses import replace

import pytest
from bundles.releases import installed, new_store, release
from data.generate_bundles import ALICE, BOB

from edgeml.bundles import Keyring
from edgeml.bundles.disk import SYSTEM, Disk, Room
from edgeml.bundles.event import Event
from edgeml.bundles.installation import StoreLimits
from edgeml.bundles.record import RESERVE_BYTES
from edgeml.monitor.link import Link, places
from edgeml.supervisor import checkup, checkup_disk, checkup_onnxruntime
from edgeml.supervisor.checkup import check_up
from edgeml.supervisor.finding import Finding, Patient

NOW = 1.8e9
EXT4 = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
MEMINFO = "MemTotal: 1000000 kB\nMemAvailable: 600000 kB\nSwapTotal: 0 kB\n"


@pytest.fixture
def system(tmp_path):
    """A well-kept box: its ``proc`` and ``sys``."""
    root = tmp_path / "system"
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(EXT4)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "sys/class/rtc/rtc0").mkdir(parents=True)
    return root


@pytest.fixture
def store(tmp_path):
    store = new_store(tmp_path / "store", clock=lambda: NOW)
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two, now=True)
    return store


@pytest.fixture(autouse=True)
def _onnxruntime_is_not_tried_each_time(monkeypatch):
    monkeypatch.setattr(checkup, "_OF_BOX", checkup._OF_BOX[:2])


def looked_at(store, system, *, now=NOW, deep=False) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in check_up(store.root, system=system, clock=lambda: now, deep=deep):
        found.setdefault(each.check, []).append(each)
    return found


def worst(found, check) -> Finding:
    return max(found[check], key=lambda each: ("ok", "warning", "danger").index(each.level))


def model_blob(store, version):
    for path in store.blobs.folder.iterdir():
        if path.read_bytes().startswith(f"door {version} ".encode()):
            return path
    raise AssertionError(version)


def test_a_sound_box_has_nothing_but_no_service(store, system):
    found = looked_at(store, system, deep=True)
    assert {check for check in found if worst(found, check).level != "ok"} == {"service"}
    assert worst(found, "service").found == "no supervisor runs on this store"


def test_looking_changes_nothing(store, system):
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    looked_at(store, system, deep=True)
    after = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after.get(path)} <= {"journal.db-wal", "journal.db-shm"}
    assert {path.name for path in after.keys() - before.keys()} <= {"journal.db-wal", "journal.db-shm"}


def test_every_worry_says_what_it_means_and_what_to_do(tmp_path, system):
    store = new_store(tmp_path / "bad", keyring=None, allow_unsigned=True, clock=lambda: NOW)
    (store.root / "reserve").unlink()
    (system / "sys/class/rtc/rtc0").rmdir()
    (system / "proc/self/mountinfo").write_text("27 1 254:0 / / ro - weird /dev/vda rw\n")
    for each in check_up(store.root, system=system, clock=lambda: 0.0):
        assert each.level == "ok" or (each.meaning and each.remedy), each


class TestRecord:
    def test_a_damaged_record(self, store, system):
        (store.root / "state.json").write_bytes(b"\0" * 200)
        found = looked_at(store, system)
        assert (
            worst(found, "record").level == "danger" and "its backup (generation 4)" in worst(found, "record").meaning
        )

    def test_a_missing_backup(self, store, system):
        (store.root / "state.json.bak").unlink()
        assert worst(looked_at(store, system), "backup").level == "warning"

    def test_everything_lost(self, store, system):
        for name in ("state.json", "state.json.bak", "journal.db"):
            (store.root / name).unlink()
        found = looked_at(store, system)
        assert worst(found, "store").level == "danger" and "edgeml init" in worst(found, "store").remedy
        assert "clock" in found and "blobs" not in found

    def test_no_store_at_all(self, tmp_path, system):
        findings = check_up(tmp_path / "none", system=system, clock=lambda: NOW)
        assert findings[0].level == "danger" and "is no store" in findings[0].found

    def test_a_record_older_than_the_journal(self, store, system):
        old = (store.root / "state.json").read_bytes()
        store.roll_back("door", reason="x")
        (store.root / "state.json").write_bytes(old)
        finding = worst(looked_at(store, system), "journal")
        assert finding.level == "danger" and "generation 6" in finding.found and "generation 5" in finding.found

    def test_a_damaged_journal(self, store, system):
        with sqlite3.connect(store.root / "journal.db") as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        (store.root / "journal.db").write_bytes(b"no database at all" * 300)
        assert worst(looked_at(store, system), "journal").level == "warning"

    def test_the_reserve(self, store, system):
        (store.root / "reserve").write_bytes(b"")
        assert worst(looked_at(store, system), "reserve").level == "danger"
        os.truncate(store.root / "reserve", RESERVE_BYTES)  # the size, and no blocks
        assert worst(looked_at(store, system), "reserve").level == "danger"
        (store.root / "reserve").write_bytes(bytes(RESERVE_BYTES - 4096))
        assert worst(looked_at(store, system), "reserve").level == "warning"


class TestBlobs:
    def test_a_missing_one_that_answers(self, store, system):
        model_blob(store, "2").unlink()
        finding = worst(looked_at(store, system), "blobs")
        assert finding.level == "danger" and "door 2: model.onnx: blob" in finding.found and "missing" in finding.found

    def test_a_rotten_one_is_found_deep_only(self, store, system):
        target = model_blob(store, "1")
        target.chmod(0o644)
        target.write_bytes(b"X" * target.stat().st_size)
        assert worst(looked_at(store, system), "blobs").level == "ok"
        finding = worst(looked_at(store, system, deep=True), "blobs")
        assert finding.level == "danger" and "damaged" in finding.found
        store.install(release("1"))
        assert worst(looked_at(store, system, deep=True), "blobs").level == "ok"

    def test_one_that_does_not_answer_is_a_warning(self, store, system):
        (three,) = installed(store, "3")
        (store.blobs.folder / three).unlink()
        assert worst(looked_at(store, system), "blobs").level == "warning"

    def test_a_damaged_keyring_is_mended_by_giving_it_again(self, store, system):
        path = store.blobs.folder / store.state().keyring
        path.chmod(0o644)
        path.write_bytes(b"{}")
        found = looked_at(store, system)
        assert worst(found, "blobs").level == worst(found, "keyring").level == "danger"
        store.change_keyring(Keyring((ALICE.public,)))
        assert worst(looked_at(store, system), "keyring").level == "ok"

    def test_leftovers(self, store, system):
        (store.blobs.folder / ("a" * 64)).write_bytes(b"left over")
        (store.root / ".state.json.abc.tmp").write_bytes(b"half of a record")
        finding = worst(looked_at(store, system), "leftovers")
        assert finding.level == "warning" and "1 blobs" in finding.found and "1 temporary" in finding.found
        store.collect()
        store.settings(device="box")
        assert worst(looked_at(store, system), "leftovers").level == "ok"

    def test_old_transfers(self, store, system):
        store.incoming.start("abc")
        os.utime(store.incoming.folder / "part-abc", (NOW, NOW))
        assert worst(looked_at(store, system), "incoming").level == "ok"
        assert worst(looked_at(store, system, now=NOW + 90_000), "incoming").level == "warning"


class TestTrust:
    def test_unsigned(self, store, system):
        store.settings(allow_unsigned=True)
        assert worst(looked_at(store, system), "unsigned").level == "warning"

    @pytest.mark.parametrize(("days", "level"), [(365, "ok"), (10, "warning"), (-1, "warning")])
    def test_expiry(self, tmp_path, system, days, level):
        keyring = Keyring((ALICE.public,), expires="2027-01-31T00:00:00Z")
        store = new_store(tmp_path / "dated", keyring=keyring, clock=lambda: 1.0e9)
        assert worst(looked_at(store, system, now=1801353600 - days * 86400), "keyring").level == level

    def test_what_answers_is_trusted_no_more(self, store, system):
        # Only by writing past the store's rules: the check is there for a record that was put back by hand.
        held = store.trust.keep(Keyring((BOB.public,)))
        store._record.change(lambda state: (replace(state, keyring=held), (Event("keyring"),)), who="test")
        finding = worst(looked_at(store, system), "trust")
        assert finding.level == "danger" and "door 1" in finding.found

    def test_orders_without_a_name(self, store, system):
        store.settings(require_order=True)
        assert worst(looked_at(store, system), "orders").level == "warning"

    def test_nothing_installed_and_nothing_active(self, tmp_path, system):
        store = new_store(tmp_path / "empty", clock=lambda: NOW)
        assert "no bundle is installed" in worst(looked_at(store, system), "releases").found
        installed(store, "1")
        assert "no bundle is active" in worst(looked_at(store, system), "releases").found

    def test_deaths_and_denials(self, store, system):
        store.roll_back("door", reason="x")
        store.died("SIGSEGV")
        found = looked_at(store, system)
        assert "died 1 times" in worst(found, "releases").found
        assert "1 denied (2)" in worst(found, "denied").found


class TestBox:
    @pytest.mark.parametrize(("now", "level"), [(NOW, "ok"), (NOW - 60, "ok"), (NOW - 3600, "warning"), (0, "warning")])
    def test_clock(self, store, system, now, level):
        assert worst(looked_at(store, system, now=now), "clock").level == level

    def test_a_clock_of_1970_on_a_fresh_box(self, tmp_path, system):
        store = new_store(tmp_path / "fresh", clock=lambda: 5.0)
        assert worst(looked_at(store, system, now=5.0), "clock").level == "warning"

    def test_no_clock_without_power(self, store, system):
        (system / "sys/class/rtc/rtc0").rmdir()
        assert worst(looked_at(store, system), "rtc").level == "warning"

    @pytest.mark.parametrize(("free_kb", "level"), [(600_000, "ok"), (60_000, "warning"), (20_000, "danger")])
    def test_memory(self, store, system, free_kb, level):
        (three,) = installed(store, "3")
        store.activate(three, peak_bytes=100_000_000)
        (system / "proc/meminfo").write_text(MEMINFO.replace("600000", str(free_kb)))
        assert worst(looked_at(store, system), "memory").level == level

    def test_a_box_that_tells_nothing(self, store, tmp_path):
        found = looked_at(store, tmp_path / "nowhere")
        for check in ("mount", "memory"):
            assert worst(found, check).level == "warning"


class TestDisk:
    def test_quota(self, tmp_path, system, monkeypatch):
        store = new_store(tmp_path / "small", clock=lambda: NOW)
        store.install(release("1", size=12_000))
        monkeypatch.setattr("edgeml.bundles.store.StoreLimits", lambda: StoreLimits(quota_bytes=20_000))
        assert worst(looked_at(store, system), "quota").level == "warning"

    def test_a_disk_that_does_not_sync(self, store, system, monkeypatch):
        def broken(descriptor):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", broken)
        finding = worst(looked_at(store, system), "writing")
        assert finding.level == "danger" and "Input/output error" in finding.found
        assert not list(store.root.glob(".*.tmp"))

    def test_a_lock_that_nobody_lets_go(self, store, system, monkeypatch):
        monkeypatch.setattr(checkup_disk, "LOCK_S", 0.1)
        with SYSTEM.lock(store.root / "lock", wait=True):
            finding = worst(looked_at(store, system), "writing")
        assert finding.level == "danger" and "held the store's lock" in finding.found

    def test_a_full_disk(self, store, system, monkeypatch):
        monkeypatch.setattr(Disk, "room", lambda self, folder: Room(300_000, 5))
        assert worst(looked_at(store, system), "room").level == "warning"
        monkeypatch.setattr(Disk, "room", lambda self, folder: Room(4096, None))
        assert worst(looked_at(store, system), "room").level == "danger"


class TestAccess:
    @pytest.mark.parametrize(
        ("path", "mode"), [("", 0o777), ("state.json", 0o666), ("blobs/sha256", 0o757), ("journal.db", 0o646)]
    )
    def test_open_to_everybody(self, store, system, path, mode):
        (store.root / path).chmod(mode)
        finding = worst(looked_at(store, system), "access")
        assert finding.level == "danger" and "everybody may write" in finding.found

    def test_the_folder_above(self, store, system):
        store.root.parent.chmod(0o777)
        assert worst(looked_at(store, system), "access").level == "danger"
        store.root.parent.chmod(0o1777)
        assert worst(looked_at(store, system), "access").level == "ok"

    def test_tokens_and_keys(self, store, system):
        (store.root / "tokens.json").write_text("{}")
        (store.root / "tokens.json").chmod(0o600)
        assert worst(looked_at(store, system), "access").level == "ok"
        (store.root / "tokens.json").chmod(0o640)
        assert "tokens.json" in worst(looked_at(store, system), "access").found
        (store.root / "tokens.json").chmod(0o600)
        (store.root / "key.pem").write_bytes(ALICE.to_pem(None))
        assert "is a private key" in worst(looked_at(store, system), "access").found

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_files_of_somebody_else(self, store, system):
        os.chown(store.root / "state.json", 12345, 0)
        finding = worst(looked_at(store, system), "access")
        assert finding.level == "danger" and "do not belong" in finding.found and "chown -R 0" in finding.remedy


class TestService:
    @pytest.fixture
    def answers(self, tmp_path):
        """A store in a folder short enough for a socket's name, and a supervisor that says one thing."""
        opened: list[socket.socket] = []

        def begin(store, document):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(places(store.root)[0]))
            listener.listen()
            opened.append(listener)

            def answer():
                with listener:
                    connected, _ = listener.accept()
                    link = Link(connected)
                    link.receive(5)
                    link.send(document)
                    link.close()

            threading.Thread(target=answer, daemon=True).start()

        yield begin
        for each in opened:
            each.close()

    @pytest.mark.parametrize(
        ("served", "level", "word"),
        [
            ({"digest": "right", "ready": True}, "ok", "serves door"),
            ({"digest": "sha256:" + "0" * 64, "ready": True}, "warning", "the record says"),
            ({"digest": None, "ready": False, "reason": "no memory"}, "danger", "no memory"),
            (None, "danger", "has not loaded"),
        ],
    )
    def test_what_the_worker_serves(self, store, system, answers, served, level, word):
        active = store.state().models["door"].active
        if served and served["digest"] == "right":
            served = served | {"digest": f"sha256:{active}"}
        answers(store, {"models": {"door": served} if served else {}, "worker": {"deaths": 0}, "degraded": ""})
        finding = worst(looked_at(store, system), "service")
        assert finding.level == level and word in finding.found

    def test_a_degraded_store_and_a_dying_worker(self, store, system, answers):
        answers(store, {"models": {}, "worker": {"deaths": 2}, "degraded": "the disk failed 2 times"})
        found = [each.found for each in looked_at(store, system)["service"]]
        assert any("the disk failed" in each for each in found) and any("died 2 times" in each for each in found)

    def test_a_trial_that_waits_for_a_person(self, store, system, answers):
        warning = {"signal": "fallback_rate", "reason": "20 of 25 answers are the fallback"}
        trial = {"verdict": "hold", "signal": "ambiguous", "warnings": [warning]}
        answers(store, {"models": {}, "worker": {"deaths": 0}, "degraded": "", "trials": {"door": trial}})
        finding = worst(looked_at(store, system), "trial")
        assert finding.level == "warning" and "edgeml confirm door" in finding.remedy
        assert finding.found == "the trial of door is held: fallback_rate: 20 of 25 answers are the fallback"

    def test_a_worker_that_its_supervisor_has_left(self, store, system):
        with SYSTEM.lock(store.root / "worker.lock", wait=False) as held:
            assert held
            finding = worst(looked_at(store, system), "service")
        assert finding.level == "warning" and "nothing answers" not in finding.meaning
        assert (
            finding.found == "the worker is alone: its supervisor has died, and it goes on with what it served before"
        )
        # A lock that nobody holds is what a worker leaves when it ends.
        assert worst(looked_at(store, system), "service").meaning == "nothing answers"

    def test_a_trial_that_nobody_watches(self, store, system):
        (three,) = installed(store, "3")
        store.activate(three)
        assert worst(looked_at(store, system), "trial").level == "warning"


class TestOnnxruntime:
    """A processor is simulated by an interpreter that tells, and dies, as the probe would."""

    @pytest.fixture
    def python(self, tmp_path):
        def made(script):
            path = tmp_path / "python"
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            return str(path)

        return made

    def found(self, store, system, python):
        patient = Patient(store.root, system, NOW, False, store, store.state())
        return list(checkup_onnxruntime.check_onnxruntime(patient, python=python))

    def test_really(self, store, system):
        assert [(each.check, each.level) for each in self.found(store, system, sys.executable)] == [
            ("kernels", "ok"),
            ("onnxruntime", "ok"),
        ]

    def test_it_dies_of_the_processor(self, store, system, python):
        kernels, found = self.found(store, system, python("""echo '{"kernels": true}'; kill -ILL $$"""))
        assert kernels.level == "ok" and found.level == "danger"
        assert "SIGILL" in found.found and found.meaning == "door cannot answer"

    def test_nobody_needs_it(self, tmp_path, system, python):
        store = new_store(tmp_path / "empty", clock=lambda: NOW)
        found = self.found(store, system, python("""echo '{"kernels": true}'; echo 'No module' >&2; exit 1"""))[-1]
        assert found.level == "warning" and found.found == "No module" and "native kernel" in found.meaning

    def test_the_kernels_die(self, store, system, python):
        (found,) = self.found(store, system, python("kill -SEGV $$"))
        assert found.level == "danger" and "signal 11" in found.found

    def test_without_the_library_and_too_old(self, store, system, python):
        script = """echo 'noise'; echo '{"kernels": true}'; echo '{"onnxruntime": "1.1", "library": null}'"""
        _, library, old = self.found(store, system, python(script))
        assert library.level == "warning" and "C library" in library.found
        assert old.level == "danger" and "this box has 1.1" in old.found
