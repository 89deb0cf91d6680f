"""The process that tries a bundle: what it answers, and what it cannot do any more."""

import json
import os
import subprocess
import sys

import pytest
from runtime.onnx_models import GOLDEN, OTHER_GOLDEN, asking_for_32_gib, bundle_of, endless, filling, relu

from edgeml.bundles import Bundle, Keyring, generate_key, sign

LIMITS = {"memory_bytes": 256 * 2**20, "cpu_seconds": 20, "open_files": 64}
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


def tried(spec, *, keyring=None, parent=None, **limits):
    """Has a bundle tried; gives the answer."""
    request = {
        "bundle": spec if isinstance(spec, dict) else str(spec),
        "keyring": None if keyring is None else str(keyring),
        "parent": parent or os.getpid(),
        "limits": LIMITS | limits,
    }
    done = subprocess.run(
        [sys.executable, "-B", "-m", "edgeml.serving.admission"],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.strip().splitlines()) == 1
    return json.loads(done.stdout)


@pytest.fixture
def saved(tmp_path):
    def save(bundle, name="tried.edgeml"):
        bundle.save(tmp_path / name)
        return tmp_path / name

    return save


def refused(answer, code):
    assert (answer["ok"], answer["code"]) == (False, code), answer
    return answer["reason"]


# What is admitted


def test_a_good_bundle_is_measured(penguins_path, penguins_bundle):
    answer = tried(penguins_path)
    assert answer["ok"] and answer["digest"] == penguins_bundle.digest
    assert (answer["name"], answer["version"], answer["backend"]) == ("penguins", "1.0.0", "native")
    assert answer["golden_rows"] > 0 and answer["load_s"] > 0 and answer["golden_s"] > 0
    assert 0 <= answer["steady_bytes"] <= answer["peak_bytes"] < LIMITS["memory_bytes"]


def test_memory_that_only_loading_needs_is_in_the_peak(saved):
    """100 MiB are filled while the model is loaded, and given back."""
    answer = tried(saved(bundle_of(filling(25 * 2**20), golden=b"")), memory_bytes=2**31)
    assert answer["ok"] and answer["backend"] == "c" and answer["onnxruntime"]
    assert answer["peak_bytes"] > 100 * 2**20
    assert answer["steady_bytes"] < 64 * 2**20


def test_golden_tensors_are_asked(saved):
    assert tried(saved(bundle_of(relu(), golden=GOLDEN)))["golden_rows"] == 1
    assert "1 of 1 golden rows differ" in refused(tried(saved(bundle_of(relu(), golden=OTHER_GOLDEN))), "golden_rows")


def test_golden_records_are_asked(saved, penguins_bundle):
    rows = [json.loads(line) for line in penguins_bundle.members["golden.jsonl"].splitlines()]
    row = next(row for row in rows if row["expected"]["tier"] == "model")
    row["expected"]["label"] = "Dodo"
    golden = b"".join(json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows)
    bundle = Bundle.create(penguins_bundle.config, dict(penguins_bundle.members) | {"golden.jsonl": golden})
    assert "expected label 'Dodo'" in refused(tried(saved(bundle)), "golden_rows")


def test_golden_rows_that_do_not_fit_are_no_crash(saved):
    bundle = bundle_of(relu(), golden=b'{"expected":{"z":1},"record":{"x":[[1.0,2.0]]}}\n')
    assert "does not fit" in refused(tried(saved(bundle)), "golden_rows")


# What is refused


def test_signatures(saved, tmp_path):
    key, other = generate_key(), generate_key()
    for name, trusted in (("ours", key), ("theirs", other)):
        Keyring(keys=(trusted.public,)).save(tmp_path / name)
    path = saved(sign(bundle_of(relu()), key))
    assert tried(path, keyring=tmp_path / "ours")["ok"]
    refused(tried(path, keyring=tmp_path / "theirs"), "signature")


def test_structure_and_requirements(saved, tmp_path):
    (tmp_path / "no.edgeml").write_bytes(b"nothing of the kind" * 100)
    refused(tried(tmp_path / "no.edgeml"), "structure")
    refused(tried(saved(bundle_of(relu(), requires={"edgeml": ">=99"}))), "requirement")
    reason = refused(tried(saved(bundle_of(relu(), requires={"memory_bytes": 2**40}))), "memory")
    assert str(2**40) in reason and str(LIMITS["memory_bytes"]) in reason
    schema = {"inputs": [], "outputs": []}
    refused(tried(saved(bundle_of(relu(), schema=schema))), "structure")


def test_the_model_is_looked_through_before_it_is_opened(saved, penguins_bundle):
    assert "may run for ever" in refused(tried(saved(bundle_of(endless()))), "scan")
    # Also where the native kernel answers and ONNX Runtime would never see it.
    bundle = Bundle.create(penguins_bundle.config, dict(penguins_bundle.members) | {"model.onnx": endless()})
    assert "may run for ever" in refused(tried(saved(bundle)), "scan")


def test_a_model_that_onnx_runtime_refuses(saved):
    broken = relu().replace(b"only", b"oxly").replace(b"\x0a\x01x\x12\x01y", b"\x0a\x01w\x12\x01y")
    refused(tried(saved(bundle_of(broken))), "model")


@pytest.mark.parametrize("model", [asking_for_32_gib(), filling(2**33), filling(2**28)])
def test_a_model_that_wants_more_memory_than_is_granted(saved, model):
    refused(tried(saved(bundle_of(model))), "memory")


def test_what_is_the_boxs_fault_says_so(tmp_path, penguins_path):
    refused(tried(tmp_path / "nothing.edgeml"), "box")
    (tmp_path / "keyring").write_text("{")
    refused(tried(penguins_path, keyring=tmp_path / "keyring"), "box")
    refused(tried(penguins_path, keyring=tmp_path / "no-keyring"), "box")
    refused(tried(penguins_path, parent=1), "box")


# From the store of a box


@pytest.fixture
def store(tmp_path):
    from edgeml.bundles.store import Store

    return Store.create(tmp_path / "store", keyring=None, allow_unsigned=True)


def test_a_bundle_of_the_store(store, tmp_path):
    digest = store.install(bundle_of(relu(), golden=GOLDEN))
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*"))
    answer = tried({"store": str(tmp_path / "store"), "digest": digest})
    assert answer["ok"] and answer["digest"] == bundle_of(relu(), golden=GOLDEN).digest
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*")) == before


def test_bytes_that_the_disk_has_changed_are_not_the_bundles_fault(store, tmp_path):
    bundle = bundle_of(relu(), golden=GOLDEN)
    store.install(bundle)
    spec = {"store": str(tmp_path / "store"), "digest": bundle.digest}
    blob = tmp_path / "store/blobs/sha256" / bundle.manifest.members["model.onnx"].digest.removeprefix("sha256:")
    whole = blob.read_bytes()
    for damaged in (whole[:-1] + b"?", whole[:-1], whole + b"?", b""):
        blob.chmod(0o644)
        blob.write_bytes(damaged)
        refused(tried(spec), "box")
    blob.unlink()
    refused(tried(spec), "box")
    refused(tried(spec | {"digest": "sha256:" + "0" * 64}), "box")


# What the process cannot do any more

CONFINED = """
import json, os, resource, socket, subprocess, sys
from edgeml.serving.confinement import confine
own = os.getpid()
victim, folder = int(sys.argv[1]), sys.argv[2]
already = open(folder + "/kept", "r+b")
state = confine(parent=os.getppid(), memory_bytes=2**27, cpu_seconds=5, open_files=16)
def outcome(call):
    try:
        call()
    except BaseException as error:
        return type(error).__name__
    return "done"
def reach():
    with socket.socket() as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", int(sys.argv[3])))
def open_many():
    kept = [open("/dev/null") for _ in range(50)]
def write():
    already.write(b"x")
    already.flush()
print(json.dumps({
    "network": state.network, "means": state.means,
    "reach": outcome(reach),
    "unix": outcome(lambda: socket.socket(socket.AF_UNIX)),
    "create": outcome(lambda: open(folder + "/new", "w")),
    "append": outcome(lambda: open(folder + "/kept", "a")),
    "write": outcome(write),
    "read": open(folder + "/kept").read(),
    "remove": outcome(lambda: os.unlink(folder + "/kept")),
    "rename": outcome(lambda: os.rename(folder + "/kept", folder + "/other")),
    "truncate": outcome(lambda: os.truncate(folder + "/kept", 0)),
    "mode": outcome(lambda: os.chmod(folder + "/kept", 0)),
    "run": outcome(lambda: subprocess.run(["/bin/true"])),
    "fork": outcome(os.fork),
    "kill": outcome(lambda: os.kill(victim, 9)),
    "thread": outcome(lambda: (t := __import__("threading").Thread(target=int)).start() or t.join()),
    "memory": outcome(lambda: bytearray(2**28)),
    "files": outcome(open_many),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "size": resource.getrlimit(resource.RLIMIT_FSIZE),
    "cpu": resource.getrlimit(resource.RLIMIT_CPU), "nice": os.nice(0),
}), flush=True)
os.close(1)
os._exit(0)
"""


@pytest.fixture
def confined(tmp_path):
    """What a confined process could do, and a folder that it tried to change."""
    import socket

    (tmp_path / "kept").write_text("kept")
    victim = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, str(victim.pid), str(tmp_path), str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    alive = victim.poll() is None
    victim.communicate()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"victim": alive}, tmp_path


def test_no_network(confined):
    found, _ = confined
    if not found["means"]:
        pytest.skip("this kernel offers no way to close the network")
    assert found["network"] == "none"
    assert found["reach"] in ("PermissionError", "OSError")


def test_limits_hold(confined):
    found, _ = confined
    assert found["memory"] == "MemoryError" and found["files"] == "OSError"
    assert found["core"] == [0, 0] and found["size"] == [0, 0] and found["nice"] >= 10
    assert found["cpu"] == [5, 6]
    assert found["write"] == "OSError" and found["read"] == "kept"


def test_only_computing_and_reading_are_left(confined):
    found, folder = confined
    if "seccomp" not in found["means"]:
        pytest.skip("this kernel or machine has no filter of system calls")
    refused = ("unix", "create", "append", "remove", "rename", "truncate", "mode", "run", "fork", "kill")
    assert {name: found[name] for name in refused} == dict.fromkeys(refused, "PermissionError")
    assert found["thread"] == "done" and found["victim"]
    assert [path.name for path in folder.iterdir()] == ["kept"] and (folder / "kept").read_text() == "kept"


def test_the_filters_numbers_are_those_of_the_kernels_headers():
    """For this machine; the other table is compared where its headers are."""
    import platform
    import re
    from pathlib import Path

    from edgeml.serving import seccomp

    headers = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }
    compared = 0
    for machine, path in headers.items():
        if not path.exists():
            continue
        text = path.read_text()
        found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
        ours = seccomp._REFUSED[machine] | seccomp._UNKNOWN | {"seccomp": seccomp._ENTER[machine]}
        ours |= {"clone": seccomp._CLONE[machine], "tgkill": seccomp._TGKILL[machine]}
        ours |= {"openat": seccomp._OPENS[machine][-1][0]}
        # fchmodat2 is younger than some headers.
        assert {name: found[name] for name in ours if name in found} == {
            name: number for name, number in ours.items() if name in found
        }
        assert len([name for name in ours if name not in found]) <= 1
        compared += 1
    if not compared:
        pytest.skip(f"no headers of the kernel here ({platform.machine()})")
