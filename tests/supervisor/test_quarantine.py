"""The supervisor tries bundles that do all they can, and survives; what is the box's fault is not the bundle's."""

import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from runtime.onnx_models import GOLDEN, OTHER_GOLDEN, asking_for_32_gib, bundle_of, endless, filling, relu

from edgeml.errors import AdmissionError
from edgeml.monitor.free_memory import free_memory_bytes
from edgeml.supervisor import quarantine
from edgeml.supervisor.quarantine import Admission, Budget, admit

MIB = 2**20


@pytest.fixture
def saved(tmp_path):
    def save(bundle, name="tried.edgeml"):
        bundle.save(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def endless_path(saved):
    return saved(bundle_of(endless(), session={"control_flow": True}))


def refused(path, *, code, budget=None):
    with pytest.raises(AdmissionError) as caught:
        admit(path, keyring_path=None, budget=budget or Budget())
    assert caught.value.code == code, caught.value
    return str(caught.value)


# Bundles


def test_a_good_bundle(penguins_path, penguins_bundle):
    admission = admit(penguins_path, keyring_path=None)
    assert (admission.name, admission.digest) == ("penguins", penguins_bundle.digest)
    assert admission.golden_rows > 0 and admission.backend == "native"
    assert admission.network == ("none" if admission.confined_by else "open")


def test_a_bundle_of_the_store(tmp_path):
    from edgeml.bundles.store import Store

    digest = Store.create(tmp_path / "store", keyring=None, allow_unsigned=True).install(bundle_of(relu()))
    spec = {"store": tmp_path / "store", "digest": bundle_of(relu()).digest}
    assert admit(spec, keyring_path=None).digest.endswith(digest.removeprefix("sha256:"))
    with pytest.raises(OSError, match="is not installed"):
        admit(spec | {"digest": "sha256:" + "0" * 64}, keyring_path=None)


def test_golden_rows_that_differ(saved):
    path = saved(bundle_of(relu(), golden=OTHER_GOLDEN))
    assert "golden rows differ" in refused(path, code="golden_rows")
    assert admit(saved(bundle_of(relu(), golden=GOLDEN)), keyring_path=None).golden_rows == 1


@pytest.mark.parametrize("model", [asking_for_32_gib(), filling(2**33), filling(2**28)])
def test_a_bomb_of_memory(saved, model):
    reason = refused(saved(bundle_of(model)), code="memory", budget=Budget(memory_bytes=100 * MIB))
    assert "memory granted: 100.0 MiB" in reason


def test_a_peak_above_the_budget_names_both_numbers(saved):
    """It fits into the address space, which has some slack, but not into the budget."""
    reason = refused(saved(bundle_of(filling(25 * MIB))), code="memory", budget=Budget(memory_bytes=90 * MIB))
    assert "MiB at its highest point, and the box grants 90.0 MiB" in reason


def test_an_endless_loop_ends(endless_path):
    reason = refused(endless_path, code="time", budget=Budget(cpu_seconds=2))
    assert reason == "killed by SIGXCPU: the bundle needed more than 2 s of processor time"


def test_an_endless_loop_without_consent(saved):
    assert "may run for ever" in refused(saved(bundle_of(endless())), code="scan")


def test_a_load_that_is_too_slow(saved):
    path = saved(bundle_of(relu()))
    assert "the box grants 0 s" in refused(path, code="time", budget=Budget(load_seconds=0))


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "no.edgeml").write_bytes(b"nothing of the kind" * 100)
    refused(tmp_path / "no.edgeml", code="structure")


# Processes that die while they try


def children() -> set[int]:
    """Processes that this thread's process has made."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(word) for word in (task / "children").read_text().split()}
    return found


def confined(process: int) -> bool:
    """Whether it has begun to look at its bundle: the filter is the last thing that it puts on."""
    try:
        return "Seccomp:\t2" in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def until(condition):
    """Asks until it is true; gives up when nothing can be expected any more."""
    last = time.monotonic() + 60
    while time.monotonic() < last:
        if found := condition():
            return found
        os.sched_yield()
    raise AssertionError("it did not come to pass")


@pytest.fixture
def trying(endless_path):
    """A bundle that is being tried for ever in a thread; gives the child and what comes of it."""
    outcome = []

    def run():
        try:
            outcome.append(admit(endless_path, keyring_path=None))
        except Exception as error:
            outcome.append(error)

    before = children()
    thread = threading.Thread(target=run)
    thread.start()
    child = until(lambda: children() - before).pop()

    def ended():
        thread.join()
        return outcome[0]

    yield child, ended
    if thread.is_alive():
        os.kill(child, signal.SIGKILL)
        thread.join()


needs_filter = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="no filter of system calls on this machine"
)


@needs_filter
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS"])
def test_a_model_that_crashes(trying, name):
    child, ended = trying
    until(lambda: confined(child))
    wait_for_looking(child)
    os.kill(child, signal.Signals[name])
    error = ended()
    assert isinstance(error, AdmissionError) and error.code == "crash"
    assert f"killed by {name} while loading" in str(error)


@needs_filter
def test_a_process_that_the_kernel_kills(trying):
    child, ended = trying
    until(lambda: confined(child))
    wait_for_looking(child)
    os.kill(child, signal.SIGKILL)
    error = ended()
    assert isinstance(error, AdmissionError) and error.code == "memory"
    assert "killed by SIGKILL while loading" in str(error) and "512.0 MiB" in str(error)


@needs_filter
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_process_that_somebody_ends(trying, name):
    """No bundle does that: the service is being stopped, or a person was impatient. Nothing is held against it."""
    child, ended = trying
    until(lambda: confined(child))
    wait_for_looking(child)
    os.kill(child, signal.Signals[name])
    error = ended()
    assert isinstance(error, OSError) and not isinstance(error, AdmissionError)
    assert str(error).startswith("this box could not try the bundle") and f"was killed by {name}" in str(error)


def wait_for_looking(child):
    """The empty line is written right after the filter is put on; a mapped ONNX Runtime says that it was."""
    until(lambda: "libonnxruntime" in Path(f"/proc/{child}/maps").read_text())


ALONE = """
import sys
from edgeml.supervisor.quarantine import admit
admit(sys.argv[1], keyring_path=None)
"""


@needs_filter
def test_a_child_dies_with_its_parent(endless_path):
    parent = subprocess.Popen([sys.executable, "-c", ALONE, str(endless_path)])
    listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    child = int(until(lambda: listed.read_text().split())[0])
    watched = os.pidfd_open(child)
    try:
        until(lambda: confined(child))
        parent.kill()
        parent.wait()
        assert select.select([watched], [], [], 30)[0], "the child outlived its parent"
    finally:
        os.close(watched)


# Children that misbehave: a program in the child's place


@pytest.fixture
def child(monkeypatch, tmp_path):
    def takes_the_place(code):
        (tmp_path / "in_its_place.py").write_text(f"import os, sys, signal\nsys.stdin.readline()\n{code}\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(quarantine, "CHILD", "in_its_place")
        return tmp_path / "any.edgeml"

    return takes_the_place


FIGURES = {
    "ok": True,
    "name": "n",
    "version": "1",
    "digest": "sha256:0",
    "load_s": 0.1,
    "golden_rows": 1,
    "golden_s": 0.1,
    "peak_bytes": 1,
    "steady_bytes": 1,
    "network": "none",
    "confined_by": ["seccomp"],
    "onnxruntime": None,
    "backend": "native",
}


def saying(document):
    return f"os.write(1, b'\\n' + {json.dumps(document).encode()!r})"


def test_the_child_in_its_place_is_believed(child):
    assert admit(child(saying(FIGURES)), keyring_path=None) == Admission(
        **{key: value for key, value in FIGURES.items() if key not in ("ok", "confined_by")},
        confined_by=("seccomp",),
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ok", 1),
        ("ok", "yes"),
        ("peak_bytes", -1),
        ("peak_bytes", 1.5),
        ("peak_bytes", True),
        ("load_s", float("nan")),
        ("load_s", float("inf")),
        ("load_s", "0"),
        ("name", None),
        ("network", "maybe"),
        ("confined_by", [1]),
        ("more", 1),
    ],
)
def test_an_answer_that_does_not_fit_is_none(child, key, value):
    path = child(saying(FIGURES | {key: value}))
    assert "no answer" in refused(path, code="crash")


@pytest.mark.parametrize("code", ["os.write(1, b'\\n[]')", "os.write(1, b'\\n' + b'[' * 50000)", "os.write(1, b'\\n')"])
def test_no_answer(child, code):
    assert "ended with status 0 and no answer" in refused(child(code), code="crash")


def test_a_refusal_with_a_word_that_nobody_knows(child):
    refused(child(saying({"ok": False, "code": "because", "reason": "so"})), code="crash")


def test_an_endless_answer(child):
    path = child("while True: os.write(1, b'x' * 65536)")
    assert "more than 65536 bytes" in refused(path, code="crash")


def test_endless_complaints_are_cut(child):
    path = child(
        "os.write(1, b'\\n')\nfor _ in range(1000): os.write(2, b'x' * 4096)\nos.write(2, b'the end')\nsys.exit(3)"
    )
    reason = refused(path, code="crash")
    assert "ended with status 3" in reason and reason.endswith("the end") and len(reason) < 600


def test_a_good_answer_of_a_process_that_then_dies(child):
    path = child(saying(FIGURES) + "\nsignal.raise_signal(signal.SIGSEGV)")
    assert "killed by SIGSEGV" in refused(path, code="crash")


@pytest.mark.parametrize("more", ["", "\nos.close(1); os.close(2)"])
def test_a_child_that_never_ends(child, more):
    path = child(f"os.write(1, b'\\n'){more}\nsignal.pause()")
    reason = refused(path, code="time", budget=Budget(wall_seconds=1.0))
    assert "not ready after 1 s" in reason


# A sick box


def sick(path, said, *, keyring=None, budget=None):
    with pytest.raises(OSError, match=said):
        admit(path, keyring_path=keyring, budget=budget or Budget())


def test_no_process_can_be_made(monkeypatch, penguins_path):
    def fail(*args, **options):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(quarantine.subprocess, "Popen", fail)
    sick(penguins_path, "temporarily unavailable")


def test_the_disk_or_the_keyring_cannot_be_read(tmp_path, penguins_path):
    sick(tmp_path / "nothing.edgeml", "No such file")
    sick(penguins_path, "keyring", keyring=tmp_path / "no-keyring")
    (tmp_path / "keyring").write_text("{")
    sick(penguins_path, "keyring", keyring=tmp_path / "keyring")


def test_a_child_that_dies_before_it_looks_at_the_bundle(child, monkeypatch):
    sick(child("import nothing_of_the_kind"), "ended with status 1; it said: .*nothing_of_the_kind")
    sick(child("signal.raise_signal(signal.SIGILL)"), "was killed by SIGILL")
    sick(child("signal.pause()"), "was not ready in time", budget=Budget(wall_seconds=1.0))
    monkeypatch.setattr(quarantine.sys, "executable", "/nowhere/python")
    sick(child(""), "No such file")


# Memory of the box


@pytest.fixture
def box(tmp_path):
    """A box with 1,000 KiB available and a process in the group /a/b."""
    group = tmp_path / "sys/fs/cgroup/a/b"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("1:name=systemd:/x\n0::/a/b\n")
    return tmp_path


def group(folder, most, used, inactive=0):
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def test_free_memory(box):
    assert free_memory_bytes(box) == 1000 * 1024
    group(box / "sys/fs/cgroup/a/b", "max", 10)
    assert free_memory_bytes(box) == 1000 * 1024
    group(box / "sys/fs/cgroup/a/b", 5000, 3000, 500)
    assert free_memory_bytes(box) == 2500
    group(box / "sys/fs/cgroup/a", 4000, 3900)
    assert free_memory_bytes(box) == 100
    group(box / "sys/fs/cgroup/a", 4000, 4900)
    assert free_memory_bytes(box) == 0
    (box / "proc/self/cgroup").write_text("4:memory:/old\n")
    assert free_memory_bytes(box) == 1000 * 1024
    (box / "proc/self/cgroup").unlink()
    assert free_memory_bytes(box) == 1000 * 1024


def test_free_memory_of_a_group_of_its_own(box):
    """In a container the group is the root of what it can see."""
    (box / "proc/self/cgroup").write_text("0::/\n")
    group(box / "sys/fs/cgroup", 2000, 1500)
    assert free_memory_bytes(box) == 500


def test_a_box_that_does_not_say(box):
    (box / "proc/meminfo").write_text("MemTotal: 2000 kB\n")
    with pytest.raises(OSError, match="MemAvailable"):
        free_memory_bytes(box)


def test_this_box():
    assert free_memory_bytes() > 0
