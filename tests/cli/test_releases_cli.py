"""``edgeml activate``, ``confirm``, ``rollback``, ``deny``, ``status``, ``releases``, ``history``, ``order``."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles.releases import release
from cli.boxes import Box
from data.generate_bundles import ALICE, MALLORY

from edgeml.bundles.order import Order
from edgeml.errors import AdmissionError
from edgeml.supervisor import quarantine


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.chdir(tmp_path)
    return Box(tmp_path)


def model(box: Box):
    return box.store.state().models["door"]


def test_a_release_from_trial_to_confirmation_and_back(box: Box) -> None:
    (one,) = box.with_releases("1")
    box.run("install", "2.edgeml")
    two = release("2").digest.removeprefix("sha256:")
    shown = box.run("activate", two[:6], "--no-admission")
    assert f"door 2 sha256:{two[:12]} is on trial (3 attempts); 1 is kept to go back to" in shown.stdout
    assert "no service runs" in shown.stdout
    status = box.json("status")["models"]["door"]
    assert (status["active"]["version"], status["on_trial"]["version"], status["tries_left"]) == ("1", "2", 3)
    assert status["worker"] is None
    assert "door 2" in box.run("confirm").stdout and model(box).active == two
    document = box.json("rollback", "--reason", "five wrong labels")
    assert (document["active"]["version"], document["previous"]) == ("1", None)
    assert model(box).active == one and model(box).denied[two].reason == "five wrong labels"


@pytest.mark.parametrize("which", ["2", "door:2", "digest", "sha256:digest", "digest[:6]"])
def test_names_for_a_bundle(box: Box, which: str) -> None:
    box.with_releases("1")
    box.run("install", "2.edgeml")
    digest = release("2").digest.removeprefix("sha256:")
    named = which.replace("digest[:6]", digest[:6]).replace("digest", digest)
    box.run("activate", named, "--now", "--no-admission")
    assert model(box).active == digest


def test_names_that_fit_nothing(box: Box) -> None:
    box.with_releases("1")
    for which in ("9", "abcdef", "door:9", "gate:1"):
        assert "no installed bundle is" in box.run("activate", which, status=1).stderr


class TestAdmission:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
        asked: list[dict[str, str]] = []

        def admit(spec, *, keyring_path, budget=None):
            asked.append(dict(spec))
            return quarantine.Admission(
                "door", "2", spec["digest"], 0.1, 3, 0.1, 77_000, 50_000, "none", ("seccomp",), None, "native"
            )

        monkeypatch.setattr(quarantine, "admit", admit)
        return asked

    def test_comes_before_a_trial_and_its_measure_is_kept(self, box: Box, asked: list[dict[str, str]]) -> None:
        box.with_releases("1")
        box.run("install", "2.edgeml")
        box.run("activate", "2")
        digest = release("2").digest
        assert asked == [{"store": str(box.folder / "store"), "digest": digest}]
        assert model(box).releases[digest.removeprefix("sha256:")].peak_bytes == 77_000

    def test_is_not_asked_for_what_is_so_already_or_forbidden(self, box: Box, asked: list[dict[str, str]]) -> None:
        one, two = box.with_releases("1", "2")
        box.run("activate", "2")
        box.run("rollback")
        assert "is denied" in box.run("activate", "2", status=1).stderr
        assert asked == []

    def test_a_refusal_rejects_the_bundle(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        def admit(spec, *, keyring_path, budget=None):
            raise AdmissionError("golden row 7 gave yes, not no", code="golden_rows")

        monkeypatch.setattr(quarantine, "admit", admit)
        (one,) = box.with_releases("1")
        box.run("install", "2.edgeml")
        result = box.run("activate", "2", status=1)
        assert result.stderr == "error: golden row 7 gave yes, not no\n" and result.stdout == ""
        assert model(box).active == one and model(box).candidate is None
        entry = box.store.journal.entries()[0]
        assert (entry.event.kind, entry.event.reason) == ("rejected", "golden row 7 gave yes, not no")
        assert "is denied on this box: golden row 7" in box.run("activate", "2", status=1).stderr

    def test_a_sick_box_blames_nobody(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        def admit(spec, *, keyring_path, budget=None):
            raise OSError("this box could not try the bundle: no process could be made")

        monkeypatch.setattr(quarantine, "admit", admit)
        box.with_releases("1")
        box.run("install", "2.edgeml")
        assert "could not try the bundle" in box.run("activate", "2", status=1).stderr
        assert model(box).denied == {} and model(box).candidate is None

    def test_really(self, box: Box) -> None:
        """The bundles of these tests hold no model: a real child finds that out, and lives to say so."""
        box.with_releases("1")
        box.run("install", "2.edgeml")
        done = box.shell("activate", "2")
        assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
        assert set(model(box).denied) == {release("2").digest.removeprefix("sha256:")}


class TestOrders:
    def test_made_shown_and_carried_out(self, box: Box) -> None:
        box.with_releases("1")
        box.run("install", "2.edgeml")
        digest = release("2").digest
        words = ("order", "new", "--bundle", "2.edgeml", "--seq", "7", "--key", "key.pem", "-o", "order.json")
        assert "written to order.json" in box.run(*words).stdout
        assert "never overwritten" in box.run(*words, status=1).stderr
        document = box.json("order", "show", "order.json", "--keyring", "keyring.json")
        assert (document["model"], document["digest"], document["seq"]) == ("door", digest, 7)
        assert (document["signed_by"], document["checked"]) == ([ALICE.keyid], True)
        assert "not checked" in box.run("order", "show", "order.json").stdout
        box.run("activate", "2", "--order", "order.json", "--now", "--no-admission")
        assert model(box).deploy_seq == 7
        box.run("install", "3.edgeml")
        Path("three.json").write_bytes(
            Order("door", release("3").digest.removeprefix("sha256:"), 7).sign(ALICE).to_bytes()
        )
        replayed = box.run("activate", "3", "--order", "three.json", "--no-admission", status=1)
        assert "order 7 is a replay" in replayed.stderr

    def test_lifts_a_denial(self, box: Box) -> None:
        box.with_releases("1", "2")
        box.run("rollback")
        digest = release("2").digest
        box.run(
            *("order", "new", "--bundle", digest, "--model", "door", "--seq", "1", "--device", "*"),
            *("--expires", "2099-01-01T00:00:00Z", "--key", "key.pem", "-o", "order.json"),
        )
        box.run("activate", "2", "--order", "order.json", "--no-admission")
        assert model(box).candidate == digest.removeprefix("sha256:")

    def test_refused(self, box: Box) -> None:
        box.with_releases("1")
        bare = release("1").digest
        words = ("order", "new", "--bundle", bare, "--seq", "1", "--key", "key.pem", "-o", "x.json")
        assert "--model" in box.run(*words, status=2).stderr
        named = (*words, "--model", "door")
        assert "must look like" in box.run(*named, "--expires", "tomorrow", status=1).stderr
        assert "is no order" in box.run("order", "show", "keyring.json", status=1).stderr
        assert not Path("x.json").exists()
        Path("bad.json").write_bytes(Order("door", bare.removeprefix("sha256:"), 1).sign(MALLORY).to_bytes())
        assert "unknown keys" in box.run("order", "show", "bad.json", "--keyring", "keyring.json", status=1).stderr
        assert "unknown keys" in box.run("activate", "1", "--order", "bad.json", status=1).stderr


class TestRollback:
    def test_to_an_earlier_one(self, box: Box) -> None:
        one, _, _ = box.with_releases("1", "2", "3")
        assert "door 1" in box.run("rollback", "door", "--to", "1").stdout
        assert model(box).active == one

    def test_refused(self, box: Box) -> None:
        assert "is no store" in box.run("rollback", status=1).stderr
        box.with_releases()
        assert "no bundle is installed" in box.run("rollback", status=1).stderr
        box.run("install", "1.edgeml")
        assert "no earlier bundle" in box.run("rollback", status=1).stderr
        box.run("activate", "1", "--now", "--no-admission")
        box.run("install", "2.edgeml")
        assert "never confirmed" in box.run("rollback", "--to", "2", status=1).stderr
        assert "no model 'gate'" in box.run("rollback", "gate", status=1).stderr

    def test_says_which_model_where_there_are_several(self, box: Box) -> None:
        box.with_releases("1", "2")
        gate = [box.store.install(release(version, name="gate")) for version in "12"]
        box.store.activate(gate[0], now=True)
        box.store.activate(gate[1])
        assert "door, gate; say which" in box.run("rollback", status=1).stderr
        assert "gate 2" in box.run("confirm").stdout, "only gate is on trial"
        assert "door, gate; say which" in box.run("confirm", status=1).stderr
        box.run("rollback", "gate")
        assert box.store.state().models["gate"].active == gate[0]
        assert model(box).active == release("2").digest.removeprefix("sha256:")

    def test_with_a_journal_that_cannot_be_written(self, box: Box) -> None:
        one, _ = box.with_releases("1", "2")
        for path in (box.folder / "store").glob("journal.db*"):
            path.unlink()
        (box.folder / "store/journal.db").mkdir()
        result = box.run("rollback")
        assert "could not be written into the journal" in result.stderr and model(box).active == one

    @pytest.fixture
    def small_disk(self, box: Box) -> Iterator[Path]:
        if os.geteuid() != 0:
            pytest.skip("only root mounts a small disk")
        disk = box.folder / "disk"
        disk.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.decode()}")
        yield disk
        subprocess.run(["umount", "-l", str(disk)], check=True)

    def test_with_a_full_disk_and_no_service(self, box: Box, small_disk: Path) -> None:
        (box.folder / "store").symlink_to(small_disk / "store")
        box.run("init", str(small_disk / "store"), "--keyring", "keyring.json")
        for version in "12":
            box.run("install", f"{version}.edgeml")
            box.run("activate", version, "--now", "--no-admission")
        with (small_disk / "full").open("wb", buffering=0) as stream, pytest.raises(OSError):
            while True:
                stream.write(bytes(4096))
        refused = box.shell("install", "3.edgeml")
        assert refused.returncode == 1 and "bytes left" in refused.stderr
        done = box.shell("rollback", "--reason", "full and wrong")
        assert done.returncode == 0 and "door 1" in done.stdout, done.stderr
        assert model(box).active == release("1").digest.removeprefix("sha256:")
        found = {each["check"]: each["level"] for each in json.loads(box.shell("doctor", "--json").stdout)["findings"]}
        assert (found["room"], found["mount"]) == ("danger", "danger")

    def test_with_a_disk_that_has_turned_read_only(self, box: Box, small_disk: Path) -> None:
        (box.folder / "store").symlink_to(small_disk / "store")
        box.run("init", str(small_disk / "store"), "--keyring", "keyring.json")
        for version in "12":
            box.run("install", f"{version}.edgeml")
            box.run("activate", version, "--now", "--no-admission")
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        before = box.store.state()
        for words in (("rollback",), ("install", "3.edgeml"), ("settings", "--device", "x")):
            refused = box.shell(*words)
            assert refused.returncode == 1 and "Read-only file system" in refused.stderr, refused.stderr
            assert refused.stderr.startswith("error: ") and "Traceback" not in refused.stderr
        assert box.store.state() == before
        assert box.json("status")["models"]["door"]["active"]["version"] == "2"
        assert {each["version"] for each in box.json("releases")["releases"]} == {"1", "2"}
        found = json.loads(box.shell("doctor", "--json").stdout)["findings"]
        dangers = {each["check"] for each in found if each["level"] == "danger"}
        assert {"mount", "writing"} <= dangers
        assert any("read-only" in each["found"] for each in found)


def test_deny_and_lift(box: Box) -> None:
    one, two = box.with_releases("1", "2")
    assert "is answering" in box.run("deny", "2", status=1).stderr
    assert "door 1" in box.run("deny", "1", "--reason", "wrong labels").stdout
    assert model(box).denied[one].reason == "wrong labels" and model(box).previous is None
    assert "no earlier bundle" in box.run("rollback", status=1).stderr
    assert box.json("deny", "--lift", "1")["denied"] is False
    box.run("rollback", "--to", "1")
    assert model(box).active == one


class TestShown:
    def test_releases(self, box: Box) -> None:
        box.with_releases("1", "2")
        box.run("rollback", "--reason", "wrong [bold]labels[/]")
        listed = {each["version"]: each for each in box.json("releases", "door")["releases"]}
        assert (listed["1"]["role"], listed["1"]["state"], listed["1"]["signed_by"]) == (
            "active",
            "confirmed",
            [ALICE.keyid],
        )
        assert (listed["2"]["denied"], listed["2"]["reason"]) == (True, "wrong [bold]labels[/]")
        shown = box.run("releases").stdout
        for word in ("confirmed (active)", "rejected", ALICE.keyid[:12], "wrong [bold]labels[/]"):
            assert word in shown
        assert "no model 'gate'" in box.run("releases", "gate", status=1).stderr

    def test_a_damaged_bundle_is_listed_all_the_same(self, box: Box) -> None:
        (one,) = box.with_releases("1")
        (box.folder / "store/blobs/sha256" / one).unlink()
        assert box.json("releases")["releases"][0]["signed_by"] == []

    def test_history(self, box: Box) -> None:
        box.with_releases("1", "2")
        box.run("rollback", "--reason", "wrong labels")
        events = box.json("history", "door", "-n", "2")["events"]
        assert [each["event"] for each in events] == ["activated", "rolled_back"]
        assert "wrong labels" in box.run("history").stdout
        assert "nothing has happened" in box.run("history", "gate").stdout
        (box.folder / "store/journal.db").write_bytes(b"no database" * 1000)
        for name in ("journal.db-wal", "journal.db-shm"):
            (box.folder / "store" / name).unlink(missing_ok=True)
        assert "journal cannot be read" in box.run("history", status=1).stderr

    def test_status(self, box: Box) -> None:
        box.with_releases()
        assert "no bundle is installed" in box.run("status").stdout
        box.run("install", "1.edgeml")
        box.run("activate", "1", "--no-admission")
        shown = box.run("status").stdout
        assert "no service runs on this store" in shown and release("1").digest[:19] in shown
        (box.folder / "store/state.json").write_bytes(b"\0")
        result = box.run("status")
        assert "its backup" in result.stderr and "edgeml doctor" in result.stderr
        assert len(box.json("status")["degraded"]) == 1


class TestService:
    """A supervisor that says one thing; the real one has its own tests."""

    @pytest.fixture
    def says(self, monkeypatch: pytest.MonkeyPatch):
        from edgeml.supervisor import channel

        def told(document):
            monkeypatch.setattr(channel, "_ask", lambda root, asked, timeout_s: document)

        return told

    def test_the_worker_serves_it(self, box: Box, says) -> None:
        box.with_releases("1", "2")
        says({"models": {"door": {"digest": release("1").digest, "ready": True, "reason": ""}}})
        result = box.run("rollback")
        assert "the worker serves it" in result.stdout and result.stderr == ""
        assert box.json("status")["models"]["door"]["worker"]["ready"] is True
        assert release("1").digest[:19] in box.run("status").stdout

    @pytest.mark.parametrize(
        ("document", "word"),
        [
            ({"models": {}, "reason": "the supervisor gave no answer within 1 s"}, "gave no answer"),
            ({"models": {"door": {"digest": None, "ready": False, "reason": "no memory"}}}, "no memory"),
            (
                {"models": {"door": {"digest": "sha256:" + "0" * 64, "ready": True, "reason": ""}}},
                "it serves sha256:000",
            ),
        ],
    )
    def test_the_worker_does_not_and_the_change_stands(self, box: Box, says, document, word: str) -> None:
        one, _ = box.with_releases("1", "2")
        says(document)
        result = box.run("rollback")
        assert "does not serve it yet" in result.stderr and word in result.stderr
        assert model(box).active == one

    def test_activation_stands_whether_the_worker_follows_or_not(self, box: Box, says) -> None:
        box.with_releases("1")
        box.run("install", "2.edgeml", "3.edgeml")
        says({"models": {"door": {"digest": release("1").digest, "ready": True, "reason": ""}}})
        result = box.run("activate", "2", "--no-admission")
        assert "door 2" in result.stdout and "does not serve it yet: it serves" in result.stderr
        assert model(box).candidate == release("2").digest.removeprefix("sha256:")
        says({"models": {"door": {"digest": release("2").digest, "ready": True, "reason": ""}}})
        assert "the worker serves it" in box.run("confirm").stdout
        says({"models": {"door": {"digest": release("3").digest, "ready": True, "reason": ""}}})
        document = box.json("activate", "3", "--no-admission", "--now")
        assert (document["active"]["version"], document["worker"]["ready"]) == ("3", True)

    def test_a_degraded_service(self, box: Box, says) -> None:
        box.with_releases("1")
        says({"models": {}, "worker": {}, "degraded": "the disk failed 2 times"})
        assert "the disk failed 2 times" in box.run("status").stderr


def test_doctor(box: Box) -> None:
    box.with_releases("1", "2")
    document = box.json("doctor")
    assert document["sound"] is True and {each["check"] for each in document["findings"]} >= {
        "record",
        "mount",
        "clock",
    }
    shown = box.run("doctor", "--deep")
    assert "0 dangers" in shown.stdout and "every byte was read" in shown.stdout
    (box.folder / "store/reserve").unlink()
    sick = box.run("doctor", status=1)
    assert "going back might fail" in sick.stdout and "-> make room" in sick.stdout
    assert box.json("doctor", status=1)["sound"] is False
    assert "edgeml init" in box.run("doctor", "--store", "nowhere", status=1).stdout
