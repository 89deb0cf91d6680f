"""Locks among processes: who holds one, and what becomes of those who wait for one that does not become free."""

import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from bundles.releases import installed, new_store

from edgeml.bundles import disk
from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.lock_holder import holder_of, named_holder
from edgeml.errors import ConflictError, StoreError
from edgeml.supervisor.tokens import Tokens

HOLD = (
    "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)
OPEN = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"


@contextmanager
def another(code, path):
    """Another process that does something with a file, until this ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "\n"
        yield process.pid
    finally:
        process.communicate()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lock"
    path.write_text("")
    return path


def test_the_holder_is_who_has_the_lock_and_nobody_else(path):
    assert holder_of(path) is None
    with another(OPEN, path):
        assert holder_of(path) is None
        with another(HOLD, path) as pid:
            assert holder_of(path) == pid
            assert f"process {pid} (" in named_holder(path) and "flock" in named_holder(path)
    assert holder_of(path) is None
    with SYSTEM.lock(path, wait=False) as ours:
        assert ours and holder_of(path) == os.getpid()


def test_of_a_lock_that_is_not_there_nobody_is_the_holder(tmp_path):
    assert holder_of(tmp_path / "none") is None


def test_a_file_of_the_same_number_elsewhere_is_another_file(path, monkeypatch):
    """The kernel's list tells devices otherwise than ``stat`` does on some file systems; so the open file decides."""
    with another(OPEN, path) as idle, another(HOLD, path) as pid:
        number = os.stat(path).st_ino
        listed = path.with_name("locks")
        listed.write_text(
            f"1: FLOCK  ADVISORY  WRITE {os.getppid()} 00:01:{number} 0 EOF\n"
            f"1: -> FLOCK  ADVISORY  WRITE {idle} 00:02:{number} 0 EOF\n"
            f"2: POSIX  ADVISORY  WRITE {idle} 00:02:{number} 0 EOF\n"
            f"3: FLOCK  ADVISORY  WRITE {pid} 00:02:{number} 0 EOF\n"
        )
        monkeypatch.setattr("edgeml.bundles.lock_holder._LOCKS", listed)
        assert holder_of(path) == pid


def test_a_change_waits_its_turn(tmp_path):
    store = new_store(tmp_path / "store")
    with another(HOLD.replace("sys.stdin.read()", "import time; time.sleep(0.5)"), store.root / "lock"):
        (one,) = installed(store, "1")
    assert one in store.state().models["door"].releases


def test_a_change_does_not_wait_for_ever_and_says_for_whom(tmp_path, monkeypatch):
    store = new_store(tmp_path / "store")
    (one,) = installed(store, "1")
    monkeypatch.setattr(disk, "LOCK_S", 0.2)
    generation = store.state().generation
    with another(HOLD, store.root / "lock") as pid:
        with pytest.raises(ConflictError, match=rf"/lock has been held by process {pid} \(.*end it, and try again"):
            store.activate(one, now=True)
        # To answer, nobody needs the lock.
        assert store.read_bundle(one).version == "1"
    assert store.state().generation == generation
    store.activate(one, now=True)


def test_tokens_do_not_wait_for_ever_either(tmp_path, monkeypatch):
    store = new_store(tmp_path / "store")
    tokens = Tokens(store.root)
    tokens.create("office", ())
    monkeypatch.setattr(disk, "LOCK_S", 0.2)
    with another(HOLD, store.root / "tokens.lock") as pid:
        for change in (lambda: tokens.create("shop", ()), lambda: tokens.revoke("office")):
            with pytest.raises(StoreError, match=f"held by process {pid} "):
                change()
    assert [each.name for each in tokens.list()] == ["office"]


def test_a_lock_that_another_thread_of_this_process_holds_names_this_process(path):
    with open(path) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert named_holder(path).startswith(f"process {os.getpid()} (")
