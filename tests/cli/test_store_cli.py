"""``edgeml init``, ``install``, ``gc``, ``settings``, ``trust``, ``token``: what comes back, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles.releases import release
from cli.boxes import Box
from cli.shell import python_for
from data.generate_bundles import ALICE, BOB, MALLORY, ONE

import edgeml
from edgeml.bundles import Keyring, rotate, sign
from edgeml.supervisor.tokens import Tokens


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.chdir(tmp_path)
    return Box(tmp_path)


def test_as_the_shell_runs_it(box: Box) -> None:
    made = box.shell("init", "store", "--keyring", "keyring.json", "--device", "pi-2", "--require-order")
    assert made.returncode == 0 and "1 of 1 keys sign" in made.stdout, made.stderr
    done = box.shell("install", "1.edgeml", "2.edgeml")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == [f"door {version} {release(version).digest}" for version in "12"]
    state = box.store.state()
    assert (state.device, state.require_order, len(state.models["door"].releases)) == ("pi-2", True, 2)
    again = box.shell("init", "store", "--keyring", "keyring.json")
    assert again.returncode == 1 and again.stderr.startswith("error: store is a store already")
    lost = box.shell("install", "1.edgeml", "--store", "nowhere")
    assert lost.returncode == 1 and "nowhere is no store; make one with" in lost.stderr


def test_init_wants_one_decision_about_trust(box: Box) -> None:
    for words in ((), ("--keyring", "keyring.json", "--allow-unsigned")):
        assert "give either" in box.run("init", "store", *words, status=2).stderr
    assert not Path("store").exists()
    assert "keyring" in box.run("init", "store", "--keyring", "1.edgeml", status=1).stderr
    assert box.json("init", "store", "--allow-unsigned")["allow_unsigned"] is True


def test_init_needs_the_folder_above(box: Box) -> None:
    assert "No such file" in box.run("init", "a/b", "--keyring", "keyring.json", status=1).stderr


def test_install_for_machines_and_twice(box: Box) -> None:
    box.with_releases()
    for _ in range(2):
        (item,) = box.json("install", "1.edgeml")["installed"]
        assert item == {"name": "door", "version": "1", "digest": release("1").digest}
    assert len(box.store.journal.entries()) == 2


def test_a_stick_may_be_taken_out(box: Box) -> None:
    box.with_releases()
    Path("stick").mkdir()
    shutil.copy("1.edgeml", "stick/1.edgeml")
    before = Path("stick/1.edgeml").read_bytes()
    box.run("install", "stick/1.edgeml")
    assert Path("stick/1.edgeml").read_bytes() == before
    shutil.rmtree("stick")
    assert box.store.read_bundle(release("1").digest).version == "1"


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: release("9", keys=()).save("bad.edgeml"), "not signed at all"),
        (lambda: release("9", keys=(MALLORY,)).save("bad.edgeml"), "unknown keys"),
        (lambda: Path("bad.edgeml").write_bytes(Path("1.edgeml").read_bytes()[:-2000]), "bad.edgeml"),
        (lambda: Path("bad.edgeml").write_bytes(b"hello"), "bad.edgeml"),
        (lambda: release("1", size=9).save("bad.edgeml"), "versions never change"),
    ],
)
def test_a_bad_file_is_refused_and_leaves_nothing(box: Box, make, word: str) -> None:
    box.with_releases("1")
    make()
    before = box.store.state(), sorted(os.listdir("store/blobs/sha256"))
    result = box.run("install", "bad.edgeml", status=1)
    assert result.stderr.startswith("error: ") and word in result.stderr and result.stdout == ""
    assert (box.store.state(), sorted(os.listdir("store/blobs/sha256"))) == before


def test_all_files_are_read_before_one_is_installed(box: Box) -> None:
    box.with_releases()
    Path("bad.edgeml").write_bytes(b"hello")
    box.run("install", "1.edgeml", "bad.edgeml", status=1)
    assert box.store.state().models == {}


def test_unsigned_bundles_where_the_operator_wants_them(box: Box) -> None:
    box.run("init", "store", "--allow-unsigned")
    release("9", keys=()).save("9.edgeml")
    box.run("install", "9.edgeml")
    assert "unsigned bundles are taken" in box.run("status").stderr
    assert "install a keyring first" in box.run("settings", "--no-allow-unsigned", status=1).stderr
    assert "version 1 is trusted" in box.run("trust", "keyring.json").stdout
    assert box.json("settings", "--no-allow-unsigned")["allow_unsigned"] is False


def test_gc(box: Box) -> None:
    digests = box.with_releases("1", "2", "3")
    assert box.json("gc")["files"] == 0
    assert "removed" in box.run("gc", "--keep", "0").stdout
    assert set(box.store.state().models["door"].releases) == set(digests[1:])


def test_settings(box: Box) -> None:
    box.with_releases()
    before = box.store.state()
    assert "(none)" in box.run("settings").stdout and box.store.state() == before
    assert box.json("settings", "--device", "pi-2", "--require-order")["device"] == "pi-2"
    state = box.store.state()
    assert (state.device, state.require_order) == ("pi-2", True)
    box.run("settings", "--no-require-order")
    assert not box.store.state().require_order and box.store.state().device == "pi-2"


def test_rotation(box: Box) -> None:
    box.with_releases("1")
    rotate(ONE, keys=[BOB.public], signers=[ALICE, BOB]).save("next.json")
    refused = box.run("trust", "next.json", status=1).stderr
    assert "door 1 would no longer be trusted" in refused
    sign(release("1"), BOB).save("1.edgeml")
    box.run("install", "1.edgeml")
    document = box.json("trust", "next.json")
    assert (document["version"], document["keys"]) == (2, [BOB.public.keyid])
    Keyring((MALLORY.public,), version=3).sign(MALLORY).save("strange.json")
    assert "old keys" in box.run("trust", "strange.json", status=1).stderr


class TestTokens:
    def test_made_shown_once_and_revoked(self, box: Box) -> None:
        box.with_releases()
        made = box.run("token", "create", "office", "--scope", "push, release")
        secret = made.stdout.strip()
        token = Tokens(box.folder / "store").check(secret)
        assert token is not None and token.scopes == ("read", "push", "release")
        path = box.folder / "store/tokens.json"
        assert secret not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "office" in box.run("token", "list").stdout and secret not in box.run("token", "list").stdout
        assert [each["name"] for each in box.json("token", "list")["tokens"]] == ["office"]
        assert "already" in box.run("token", "create", "office", status=1).stderr
        box.run("token", "revoke", "office")
        assert Tokens(box.folder / "store").check(secret) is None
        assert "no token" in box.run("token", "revoke", "office", status=1).stderr
        assert "there are no tokens" in box.run("token", "list").stdout

    def test_the_least_by_default(self, box: Box) -> None:
        box.with_releases()
        document = box.json("token", "create", "eyes")
        token = Tokens(box.folder / "store").check(document["token"])
        assert token is not None and token.scopes == ("read",)

    def test_refused(self, box: Box) -> None:
        assert "is no store" in box.run("token", "create", "x", status=1).stderr
        box.with_releases()
        assert "no scope 'root'" in box.run("token", "create", "x", "--scope", "root", status=1).stderr


class TestRoot:
    """Root works as the store's owner: a record that belonged to root could not be replaced by the service."""

    OWNER = 54321

    @pytest.fixture
    def open_box(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
        if os.geteuid() != 0:
            pytest.skip("only root becomes somebody else")
        # pytest's own folders are closed to others.
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            monkeypatch.chdir(folder)
            box = Box(Path(folder))
            Path("store").mkdir(mode=0o750)
            os.chown("store", self.OWNER, self.OWNER)
            for name in ("1.edgeml", "keyring.json"):
                Path(name).chmod(0o600)  # which the owner of the store may not read
            yield box

    @pytest.fixture
    def python(self) -> str:
        """A Python that the owner may run."""
        return python_for(self.OWNER)

    def test_nothing_in_the_store_belongs_to_root(self, open_box: Box, python: str) -> None:
        for words in (
            ("init", "store", "--keyring", "keyring.json"),
            ("install", "1.edgeml"),
            ("activate", "1", "--now", "--no-admission"),
            ("status",),
            ("history",),
            ("token", "create", "office"),
            ("gc",),
        ):
            done = open_box.shell(*words, python=python)
            assert done.returncode == 0, done.stderr
        assert {path.stat().st_uid for path in Path("store").rglob("*")} == {self.OWNER}
        found = json.loads(open_box.shell("doctor", "--json", python=python).stdout)["findings"]
        assert [each["level"] for each in found if each["check"] == "access"] == ["ok"]

    def test_a_python_that_the_owner_cannot_read(self, open_box: Box, tmp_path: Path) -> None:
        shutil.copytree(Path(edgeml.__file__).parent, tmp_path / "edgeml")
        tmp_path.chmod(0o700)
        done = open_box.shell("gc", path=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and "may not read" in done.stderr
