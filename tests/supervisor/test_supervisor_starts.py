"""Starting, and going on, where the world is hostile: addresses, disks, clocks, no network, systemd."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor import penguin_bundles as made
from supervisor.running_store import PATIENCE_S, Load, is_alive, known, running, store_of, until

from edgeml.bundles.store import Store

MODEL = "penguins"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and leave the network")


@pytest.fixture
def one(penguins_bundle):
    return made.version(penguins_bundle, "1")


@pytest.fixture
def two(penguins_bundle):
    return made.version(penguins_bundle, "2")


def refused(*arguments: str) -> str:
    """``edgeml serve --store`` that ends by itself with status 1; gives what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeml", "serve", "--no-manage", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_address_in_use_ends_it_at_once_with_a_reason(tmp_path, one):
    store_of(tmp_path / "store", one)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused("--store", str(tmp_path / "store"), "--port", str(taken.getsockname()[1]))
    assert "is in use by another service" in said and said.count("\n") == 1


def test_a_second_supervisor_is_refused_and_the_first_goes_on(tmp_path, one):
    store_of(tmp_path / "store", one)
    with running(tmp_path / "store") as box:
        said = refused("--store", str(tmp_path / "store"), "--port", "0")
        assert "another supervisor runs for" in said
        assert box.predict()[0] == 200 and box.live()["models"]


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    assert "is no store; make one with 'edgeml init" in refused("--store", str(tmp_path), "--port", "0")


def test_with_a_clock_of_1970_the_last_good_bundle_answers(tmp_path, one, two):
    """A box without a clock that keeps time starts there, and its keyring, bundles and orders are all of the future."""
    store, (first, second) = store_of(tmp_path / "store", one, two)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import time\ntime.time = lambda: 12.0\n")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    with (
        running(tmp_path / "store", environment=environment, trial=("min_seconds=1", "min_requests=1")) as box,
        Load(box, known(one, two), clients=2) as load,
    ):
        assert box.predict()[1]["version"] == "1"
        store.activate(second)
        box.follow()
        until(lambda: store.state().models[MODEL].active == second, why="confirmed")
        load.wait_for(10, second)
    entries = [entry for entry in store.journal.entries() if entry.event.kind == "confirmed"]
    assert entries[0].at == 12.0
    assert store.state().last_time > 1e9


@ROOT
@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0,
    reason="no network namespace can be made here",
)
def test_a_cold_start_without_any_network_serves(tmp_path, one):
    store_of(tmp_path / "store", one)
    with running(tmp_path / "store", uds=tmp_path / "e.sock", command=("unshare", "-n", "--")) as box:
        assert box.predict()[1]["version"] == "1"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("managed", [False, True], ids=["data plane alone", "with the management plane"])
def test_a_start_asks_no_network(tmp_path, one, managed):
    """All network calls of both processes: their own sockets, and those that listen, one for each plane."""
    store_of(tmp_path / "store", one)
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-qq", "-o", str(trace), "-e", "trace=socket,connect,sendto,bind,listen", "--")
    with running(tmp_path / "store", command=strace, manage_port=0 if managed else None) as box:
        assert box.predict()[1]["version"] == "1"
        assert ("management on" in box.line) == managed
        if managed:
            with socket.create_connection(("127.0.0.1", int(box.line.rpartition(":")[2])), timeout=PATIENCE_S) as asked:
                asked.sendall(b"GET /v1/models HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")
                assert asked.recv(12) == b"HTTP/1.1 401"
        # strace hands no signal on; what it runs is asked itself.
        supervisor = int(trace.read_text().split(maxsplit=1)[0])
        os.kill(supervisor, signal.SIGTERM)
        assert box.process.wait(PATIENCE_S) == 0
    calls, signalled, ending = trace.read_text().partition("--- SIGTERM")
    assert signalled
    # To end, the management plane wakes itself up through its own port, and speaks to nobody else.
    called = set(re.findall(r"connect\(\d+, (\{sa_family=AF_INET.*?\})", ending))
    own = box.line.rpartition(":")[2].strip() if managed else ""
    assert called <= {f'{{sa_family=AF_INET, sin_port=htons({own}), sin_addr=inet_addr("127.0.0.1")}}'}
    planes = 1 + managed
    assert len(re.findall(r"bind\(\d+, \{sa_family=AF_INET, .*127\.0\.0\.1", calls)) == planes
    assert calls.count("socket(AF_INET") == planes
    assert set(re.findall(r"socket\((\w+)", calls)) <= {"AF_INET", "AF_UNIX", "AF_NETLINK"}
    connected = set(re.findall(r"connect\(\d+, \{sa_family=(\w+)", calls))
    assert connected == {"AF_UNIX"}
    assert not re.search(r"sendto\(.*AF_INET", calls)


def test_systemd_hears_that_it_is_ready_alive_and_stopping(tmp_path, one):
    store_of(tmp_path / "store", one)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
        with running(tmp_path / "store", environment=environment) as box:
            said = [systemd.recv(4096).decode()]
            while not said[-1].startswith("READY=1\n"):
                said.append(systemd.recv(4096).decode())
            assert f"STATUS=serving on http://127.0.0.1:{box.port}" in said[-1]
            while said[-3:] != ["WATCHDOG=1"] * 3:
                said.append(systemd.recv(4096).decode())
            os.kill(box.worker, signal.SIGKILL)
            while not said[-1].startswith("STATUS=the worker killed by SIGKILL"):
                said.append(systemd.recv(4096).decode())
            box.process.send_signal(signal.SIGTERM)
            while said[-1] != "STOPPING=1":
                said.append(systemd.recv(4096).decode())
            assert box.process.wait(PATIENCE_S) == 0
        assert len([word for word in said if word.startswith("READY")]) == 1


class Small:
    """A little file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=2m", "tmpfs")

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words, str(self.folder)], check=True, timeout=PATIENCE_S)

    def fill(self) -> None:
        with open(self.folder / "full", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def read_only(self, yes: bool) -> None:
        self._mount("-o", f"remount,{'ro' if yes else 'rw'}")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True, timeout=PATIENCE_S)


@pytest.fixture
def small(tmp_path):
    try:
        mounted = Small(tmp_path / "small")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    yield mounted
    mounted.unmount()


@ROOT
def test_on_a_full_disk_it_starts_serves_and_goes_back(small, penguins_bundle, one, two):
    store, (first, second) = store_of(small.folder / "store", one, two)
    store.activate(second, now=True)
    (small.folder / "store.log").symlink_to(os.devnull)
    small.fill()
    with running(small.folder / "store") as box, Load(box, known(one, two), clients=2) as load:
        assert box.predict()[1]["version"] == "2"
        worker = box.worker
        os.kill(worker, signal.SIGKILL)
        with load.forgiving():
            until(lambda: box.worker != worker)
            box.wait_served(second)
        Store(small.folder / "store").roll_back(MODEL, reason="a test")
        box.follow()
        load.wait_for(20, first)
        box.wait_served(first)


@ROOT
def test_where_the_disk_turns_read_only_a_failed_trial_ends_all_the_same(small, penguins_bundle, one):
    """The record cannot say so yet, but nobody is answered by that bundle any more."""
    bad = made.giving_nan(penguins_bundle, "2")
    store, (first, second) = store_of(small.folder / "store", one, bad)
    with running(small.folder / "store", trial=("failures=200",)) as box:
        store.activate(second)
        box.follow()
        small.read_only(True)
        with Load(box, known(one, bad), clients=4) as load:
            load.wait_for(50, first)
            box.wait_served(first)
            assert load.failures == [] and load.answers[second] > 0
            assert store.state().models[MODEL].candidate == second
            # Neither asking again nor a death brings it back.
            box.follow()
            assert box.served() == first
            small.read_only(False)
            until(lambda: store.state().models[MODEL].candidate is None, why="recorded")
            assert box.event("rolled_back").signal == "invalid_outputs"
            load.wait_for(20, first)
            assert load.failures == []


@ROOT
def test_where_no_attempt_can_be_counted_what_is_confirmed_answers(small, one, two):
    store, (first, second) = store_of(small.folder / "store", one, two)
    with running(small.folder / "store") as box:
        store.activate(second)
        box.follow()
        small.read_only(True)
        os.kill(box.worker, signal.SIGKILL)
        box.wait_served(first)
        assert box.predict()[1]["version"] == "1"
        assert "an attempt cannot be counted, so nothing is tried" in box.log
        small.read_only(False)
        assert store.state().models[MODEL].tries_left == 2


@ROOT
def test_it_starts_on_a_disk_that_is_read_only(small, one):
    """A file system that the kernel has made read-only after an error: the box still answers after the next start."""
    store_of(small.folder / "store", one)
    with running(small.folder / "store") as box:
        assert box.predict()[1]["version"] == "1"
    small.read_only(True)
    with running(small.folder / "store") as box:
        assert box.predict()[1]["version"] == "1"
    small.read_only(False)


# Holds the worker's lock, says hello for a process that has ended, with a socket, and ends once it was heard.
GHOST = """
import fcntl, os, socket, subprocess, sys, time
from pathlib import Path
from edgeml.monitor.link import reach

root = Path(sys.argv[1])
lock = open(root / "worker.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
gone = subprocess.Popen(["true"])
gone.wait()
listening = socket.create_server(("127.0.0.1", 0))
print(gone.pid, flush=True)
while True:
    try:
        link = reach(root, timeout_s=5.0)
        break
    except OSError:
        time.sleep(0.05)
link.send({"kind": "hello", "pid": gone.pid, "life": 1, "serving": {}}, [listening.fileno()])
sys.stdin.read()
"""


def test_a_worker_that_ends_while_it_is_taken_over_is_followed_by_another(tmp_path, one):
    store_of(tmp_path / "store", one)
    ghost = subprocess.Popen(
        [sys.executable, "-c", GHOST, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        gone = ghost.stdout.readline().strip()
        with running(tmp_path / "store", wait=False) as box:
            until(lambda: f"process {gone} said hello and cannot be taken over" in box.log or box.process.poll())
            assert box.process.poll() is None, box.log
            ghost.communicate()
            box.wait_ready()
            assert box.predict()[1]["version"] == "1"
            assert box.stop() == 0
    finally:
        ghost.kill()
        ghost.communicate()


@ROOT
def test_on_a_read_only_disk_a_worker_that_was_left_is_ended_and_not_whoever_has_its_predecessors_number(small, one):
    """The worker could not leave its number; the one that stands in its lock is somebody else's by now."""
    store_of(small.folder / "store", one)
    with running(small.folder / "store") as box:
        assert box.predict()[1]["version"] == "1"
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        (small.folder / "store" / "worker.lock").write_text(str(innocent.pid))
        small.read_only(True)
        with running(small.folder / "store") as box:
            worker = box.worker
            assert worker != innocent.pid
            box.kill()
            os.kill(worker, signal.SIGSTOP)
            with running(small.folder / "store", wait=False) as again:
                until(lambda: again.live())
                again.process.send_signal(signal.SIGTERM)
                until(lambda: "was left behind; it gets SIGTERM" in again.log)
                os.kill(worker, signal.SIGCONT)
                assert again.process.wait(PATIENCE_S) == 0
                assert f"process {worker} was left behind" in again.log
            assert not is_alive(worker) and innocent.poll() is None
        small.read_only(False)
    finally:
        innocent.kill()
        innocent.wait()
