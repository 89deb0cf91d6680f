"""``edgeml rollback`` itself, beside real processes: with no network, with dead or hung processes, with a full disk.

What is promised in each case: the command ends with status 0, the record names the old bundle, the journal says who
went back and why, and the old bundle answers over HTTP: at once where there is a supervisor, else with the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crash import mounts
from supervisor import penguin_bundles as made
from supervisor.running_store import PATIENCE_S, RunningStore, end, is_alive, running, store_of, until

from edgeml.bundles import Bundle
from edgeml.bundles.store import Store

MODEL = "penguins"
REASON = "too many false alarms"
NO_SERVICE = "no service runs on this store; the next one that starts will load it"
SERVED = "the worker serves it"
NOT_NOTED = "warning: the change is made, but could not be written into the journal: "
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount file systems and leave the network")


@dataclass
class Releases:
    """A store with three confirmed releases, of which the third is active.

    Attributes:
        root: Folder of the store.
        digests: Bare, by version.
    """

    root: Path
    digests: dict[str, str]

    @classmethod
    def make(cls, root: Path, bundle: Bundle) -> Releases:
        store, digests = store_of(root, *(made.version(bundle, word) for word in "123"))
        for digest in digests[1:]:
            store.activate(digest, now=True)
        return cls(root, dict(zip("123", digests, strict=True)))

    def command(self, *words: str, inside: tuple[str, ...] = ()) -> list[str]:
        return [*inside, sys.executable, "-m", "edgeml", *words, "--store", str(self.root)]

    def run(self, *words: str, inside: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Runs a command as a shell does."""
        return subprocess.run(
            self.command(*words, inside=inside), capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
        )

    def roll_back(self, *words: str, said: str, warned: str = "", to: str = "2", inside: tuple[str, ...] = ()) -> None:
        """Runs ``edgeml rollback`` and checks what it says, and that the record follows it."""
        done = self.run("rollback", "--reason", REASON, *words, inside=inside)
        assert done.returncode == 0, done.stderr
        self.check(done.stdout, said=said, to=to)
        if warned:
            assert warned in done.stderr
        else:
            assert done.stderr == ""

    def check(self, output: str, *, said: str, to: str = "2") -> None:
        lines = [f"{MODEL} {to} sha256:{self.digests[to][:12]} is active", said]
        assert output.splitlines() == [line for line in lines if line]
        model = Store(self.root).state().models[MODEL]
        assert (model.active, model.candidate) == (self.digests[to], None)
        assert set(model.denied) == {self.digests["3"]}

    def history(self) -> list[dict[str, Any]]:
        """All that ``edgeml history`` tells, newest first."""
        done = self.run("history", "--json", "-n", "1000")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["events"]

    def check_history(self) -> None:
        """It names the one rollback there was: of what, by whom, and why."""
        (event,) = [each for each in self.history() if each["event"] == "rolled_back"]
        assert (event["who"], event["model"], event["reason"]) == ("cli", MODEL, REASON)
        assert event["digest"] == f"sha256:{self.digests['3']}"

    def check_reason(self) -> None:
        """A journal that has no room is still read; why the bundle was left stands in the record, too."""
        assert [each["event"] for each in self.history()].count("activated") == 3
        (left,) = [each for each in self.listed() if each["version"] == "3"]
        assert (left["state"], left["reason"]) == ("rejected", REASON)

    def listed(self) -> list[dict[str, Any]]:
        done = self.run("releases", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["releases"]

    def check_answer(self, box: RunningStore, version: str) -> None:
        """A version answers, and nothing but it."""
        status, document = box.predict()
        assert (status, document["version"]) == (200, version)
        assert document["bundle"] == f"sha256:{self.digests[version]}"
        assert document["predictions"][0]["label"] in made.labels_of(version)


@pytest.fixture
def releases(tmp_path: Path, penguins_bundle: Bundle) -> Releases:
    return Releases.make(tmp_path / "store", penguins_bundle)


def test_a_time_to_wait_that_is_none_is_refused_before_anything_changes(releases: Releases) -> None:
    done = releases.run("rollback", "--wait", "inf")
    assert done.returncode == 2 and "--wait" in done.stderr
    assert Store(releases.root).state().models[MODEL].active == releases.digests["3"]


@as_root
class TestWithoutANetwork:
    """In a network namespace of its own, with nothing in it: not even the loopback interface is up."""

    INSIDE = ("unshare", "--net")

    @pytest.fixture(autouse=True)
    def may_leave_the_network(self) -> None:
        try:
            tried = subprocess.run([*self.INSIDE, "true"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("unshare is not installed (apt-get install util-linux)")
        if tried.returncode:
            pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")

    def test_beside_a_service_whose_port_cannot_be_reached(self, releases: Releases) -> None:
        with running(releases.root) as box:
            releases.check_answer(box, "3")
            reach = f"import socket; socket.create_connection(('127.0.0.1', {box.port}))"
            tried = subprocess.run([*self.INSIDE, sys.executable, "-c", reach], capture_output=True, text=True)
            assert tried.returncode == 1 and "Network is unreachable" in tried.stderr
            releases.roll_back(said=SERVED, inside=self.INSIDE)
            releases.check_answer(box, "2")
            releases.check_history()

    def test_on_a_box_that_has_none_at_all(self, releases: Releases, tmp_path: Path) -> None:
        with running(releases.root, uds=tmp_path / "s.sock", command=self.INSIDE) as box:
            releases.check_answer(box, "3")
            releases.roll_back(said=SERVED, inside=self.INSIDE)
            releases.check_answer(box, "2")
            releases.check_history()

    def test_without_a_service(self, releases: Releases) -> None:
        releases.roll_back(said=NO_SERVICE, inside=self.INSIDE)
        releases.check_history()
        with running(releases.root) as box:
            releases.check_answer(box, "2")


class TestWithTheWorkerDead:
    def test_killed_just_before(self, releases: Releases) -> None:
        with running(releases.root) as box:
            os.kill(box.worker, signal.SIGKILL)
            releases.roll_back(said=SERVED)
            releases.check_answer(box, "2")
            releases.check_history()
            assert "the worker killed by SIGKILL; it is started again" in box.log

    def test_killed_while_the_command_waits_for_it(self, releases: Releases) -> None:
        with running(releases.root) as box:
            worker = box.worker
            # A stopped worker follows nothing, so the command is still waiting when it is killed.
            os.kill(worker, signal.SIGSTOP)
            command = releases.command("rollback", "--reason", REASON)
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
                until(lambda: box.store.state().models[MODEL].active == releases.digests["2"], why="the record changed")
                assert waiting.poll() is None
                os.kill(worker, signal.SIGKILL)
                output, errors = waiting.communicate(timeout=2 * PATIENCE_S)
            assert (waiting.returncode, errors) == (0, "")
            releases.check(output, said=SERVED)
            releases.check_answer(box, "2")
            releases.check_history()

    def test_stopped_it_is_killed_by_its_supervisor_and_the_next_one_serves_it(self, releases: Releases) -> None:
        with running(releases.root, "--trial", "stall_seconds=3") as box:
            worker = box.worker
            os.kill(worker, signal.SIGSTOP)
            releases.roll_back(said=SERVED)
            assert not is_alive(worker) and "the worker gave no sign of life" in box.log
            releases.check_answer(box, "2")
            releases.check_history()

    def test_stopped_and_nobody_wants_to_wait_for_the_next_one(self, releases: Releases) -> None:
        with running(releases.root, "--trial", "stall_seconds=3") as box:
            os.kill(box.worker, signal.SIGSTOP)
            warned = f"warning: the worker does not serve it yet: it serves sha256:{releases.digests['3'][:12]}"
            releases.roll_back("--wait", "0.2", said="", warned=warned)
            # Nobody asks again: the supervisor gets there by itself.
            box.wait_served(releases.digests["2"])
            releases.check_answer(box, "2")
            releases.check_history()


class TestWithTheSupervisorDead:
    def test_its_worker_goes_on_and_the_next_supervisor_makes_it_follow(self, releases: Releases) -> None:
        with running(releases.root) as box:
            worker = box.worker
            box.kill()
            releases.check_answer(box, "3")
            alone = "its supervisor has died, and it goes on with what it served before"
            warned = f"warning: the worker does not serve it yet: {alone}; start the service again"
            releases.roll_back(said="", warned=warned)
            releases.check_history()
            assert f"the worker is alone: {alone}" in releases.run("status").stdout
            examined = releases.run("doctor", "--json").stdout
            assert f"the worker is alone: {alone}" in examined and "nothing answers" not in examined
            with running(releases.root) as next_one:
                assert next_one.worker == worker
                next_one.wait_served(releases.digests["2"])
                next_one.port = box.port
                releases.check_answer(next_one, "2")

    def test_both_dead(self, releases: Releases) -> None:
        with running(releases.root) as box:
            worker = box.worker
            box.kill()
            end(worker)
            releases.roll_back(said=NO_SERVICE)
            releases.check_history()
            with running(releases.root) as next_one:
                releases.check_answer(next_one, "2")

    def test_stopped_it_is_not_waited_for_without_end(self, releases: Releases) -> None:
        with running(releases.root) as box:
            os.kill(box.process.pid, signal.SIGSTOP)
            try:
                warned = "warning: the worker does not serve it yet: the supervisor gave no answer within 2.5 s"
                releases.roll_back("--wait", "0.5", said="", warned=warned)
            finally:
                os.kill(box.process.pid, signal.SIGCONT)
            box.wait_served(releases.digests["2"])
            releases.check_answer(box, "2")
            releases.check_history()


Filled = tuple[Releases, Callable[[], None]]


@as_root
class TestOnAFullDisk:
    @pytest.fixture(
        params=[
            "tmpfs, no bytes",
            "tmpfs, no inodes",
            pytest.param("ext4, no bytes", marks=pytest.mark.crash),
            pytest.param("ext4, no inodes", marks=pytest.mark.crash),
        ]
    )
    def filled(self, request: Any, tmp_path: Path, penguins_bundle: Bundle) -> Iterator[Filled]:
        """Releases on a small disk, and what takes the last byte or inode of it."""
        kind, _, what = request.param.partition(", no ")
        with ExitStack() as stack:
            try:
                if kind == "ext4":
                    folder = stack.enter_context(mounts.ext4(tmp_path)).folder
                else:
                    folder = stack.enter_context(mounts.tmpfs(tmp_path / "tmpfs", size=16 * 1024**2, inodes=200))
            except mounts.MountError as error:
                pytest.skip(str(error))
            yield (
                Releases.make(folder / "store", penguins_bundle),
                lambda: mounts.fill(folder, inodes=what == "inodes"),
            )

    @pytest.mark.parametrize("to", ["2", "1"], ids=["warm", "cold"])
    def test_beside_a_service(self, filled: Filled, to: str) -> None:
        releases, fill = filled
        with running(releases.root) as box:
            fill()
            releases.check_answer(box, "3")
            releases.roll_back("--to", to, said=SERVED, warned=NOT_NOTED, to=to)
            releases.check_answer(box, to)
            releases.check_reason()

    def test_beside_a_worker_that_is_killed(self, filled: Filled) -> None:
        releases, fill = filled
        with running(releases.root) as box:
            fill()
            os.kill(box.worker, signal.SIGKILL)
            releases.roll_back(said=SERVED, warned=NOT_NOTED)
            releases.check_answer(box, "2")
            releases.check_reason()

    @pytest.mark.parametrize(
        "stopped",
        [
            # The supervisor tries again after ten seconds.
            pytest.param(False, id="while it runs", marks=pytest.mark.crash),
            pytest.param(True, id="when it stops"),
        ],
    )
    def test_the_history_knows_of_it_once_there_is_room(self, filled: Filled, stopped: bool) -> None:
        releases, fill = filled
        with running(releases.root) as box:
            fill()
            releases.roll_back(said=SERVED, warned="the service keeps it in memory and writes it when it can")
            assert not [each for each in self.events(releases) if each == "rolled_back"]
            shutil.rmtree(releases.root.parent / "ballast")
            if not stopped:
                until(lambda: "rolled_back" in self.events(releases), why="the history tells of the rollback")
                releases.check_answer(box, "2")
        releases.check_history()

    def events(self, releases: Releases) -> list[str]:
        return [each["event"] for each in releases.history()]

    def test_without_a_service(self, filled: Filled) -> None:
        releases, fill = filled
        with running(releases.root) as box:
            releases.check_answer(box, "3")
        fill()
        releases.roll_back(said=NO_SERVICE, warned=NOT_NOTED)
        releases.check_reason()

    def test_again_and_again_to_the_oldest(self, filled: Filled) -> None:
        """The reserve is there again after each, so nobody has to make room between two mistakes."""
        releases, fill = filled
        with running(releases.root) as box:
            fill()
            releases.roll_back(said=SERVED, warned=NOT_NOTED)
            fill()
            done = releases.run("rollback")
            assert done.returncode == 0, done.stderr
            assert SERVED in done.stdout
            releases.check_answer(box, "1")
