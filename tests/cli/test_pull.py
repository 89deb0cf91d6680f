"""``edgeml pull``: from a registry and from a stick, resumed after ``kill -9``, within a budget, refused early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles.registry_peers import Fault, FaultProxy, ToyRegistry, bundle_of
from cli.boxes import ROOT, Box
from cli.shell import python_for, run_in_a_terminal
from click.testing import CliRunner, Result
from data.generate_bundles import ALICE, MALLORY

from edgeml.bundles import sign
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.state import bare
from edgeml.cli import main

MIB = 1024 * 1024
BIG = sign(bundle_of(2 * MIB), ALICE)
MODEL = BIG.manifest.members["model.onnx"].digest


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.chdir(tmp_path)
    made = Box(tmp_path)
    made.with_releases()
    return made


@pytest.fixture
def toy() -> Iterator[ToyRegistry]:
    with ToyRegistry() as registry:
        with Registry(registry.at) as pusher:
            push(pusher, BundleSource(BIG), "door")
        registry.seen.clear()
        yield registry


def pull(box: Box, *words: str, status: int = 0, given: str = "") -> Result:
    environment = {"EDGEML_STORE": str(box.folder / "store")}
    result = CliRunner().invoke(main, ["pull", *words], env=environment, input=given)
    assert result.exit_code == status, result.output
    return result


def installed(box: Box) -> bool:
    return box.store.state().find(bare(BIG.digest)) is not None


def test_from_a_registry_twice(box: Box, toy: ToyRegistry) -> None:
    first = json.loads(pull(box, f"{toy.at}/door:1.0.0", "--json").stdout)
    assert (first["name"], first["version"], first["digest"], first["resumes"]) == ("door", "1.0.0", BIG.digest, 0)
    again = pull(box, f"{toy.at}/door@{BIG.digest}")
    assert f"door 1.0.0 {BIG.digest} is installed" in again.stdout and "2.1 MB were here" in again.stdout
    assert box.store.read_bundle(BIG.digest).members == BIG.members


@pytest.mark.parametrize("auth", ["basic", "bearer", "token"])
def test_credentials(box: Box, toy: ToyRegistry, auth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEML_TOKEN", "of-a-box-and-nobody-elses-business")
    toy.auth = auth
    reference = f"{toy.at}/door:1.0.0"
    assert "401" in pull(box, reference, status=1).stderr
    assert not any("of-a-box" in str(seen.headers) for seen in toy.seen)
    if auth == "token":
        Path("token").write_text("fixed\n")
        pull(box, reference, "--token-file", "token")
    else:
        pull(box, reference, "--username", "ann", "--password-stdin", given="secret\n")
    assert installed(box)


def size_of(path: Path) -> int:
    """Size of a file that comes and goes."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_it_goes_on_after_a_kill(box: Box, toy: ToyRegistry) -> None:
    kept, over = threading.Event(), threading.Event()
    half = MIB + 12_345

    def stall(handler: Any) -> bool:
        if handler.command == "GET" and handler.path.endswith(MODEL) and not handler.headers.get("Range"):
            handler.send_response(200)
            handler.send_header("Content-Length", str(2 * MIB))
            handler.end_headers()
            handler.wfile.write(BIG.members["model.onnx"][:half])
            kept.set()
            over.wait(60)
            handler.close_connection = True
            return True
        return False

    toy.hook = stall
    command = [sys.executable, "-m", "edgeml", "pull", f"{toy.at}/door:1.0.0", "--store", str(box.store.root)]
    killed = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    part = box.store.incoming.folder / f"part-{bare(MODEL)}"
    try:
        assert kept.wait(60)
        while size_of(part) < half:
            assert killed.poll() is None, killed.communicate()
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        over.set()
    toy.hook = lambda handler: False
    toy.seen.clear()
    document = json.loads(pull(box, f"{toy.at}/door:1.0.0", "--json").stdout)
    ranges = [seen.headers.get("Range") for seen in toy.seen if seen.path.endswith(MODEL)]
    assert ranges == [f"bytes={half}-"] and document["bytes_skipped"] >= half
    assert box.store.read_bundle(BIG.digest).members == BIG.members


def test_a_link_that_breaks_again_and_again(box: Box, toy: ToyRegistry) -> None:
    with FaultProxy(toy.port, [Fault(cut_down=300_000)] * 5) as proxy:
        document = json.loads(pull(box, f"{proxy.at}/door:1.0.0", "--json").stdout)
        assert proxy.down_bytes <= 1.1 * 2 * MIB
    assert document["resumes"] == 5 and installed(box)


def test_a_budget_ends_it_and_keeps_what_came(box: Box, toy: ToyRegistry) -> None:
    words = (f"{toy.at}/door:1.0.0", "--budget-per-day", "1MB")
    said = pull(box, *words, status=1).stderr
    assert "budget of 1000000 bytes" in said and "pull again tomorrow" in said and not installed(box)
    kept = box.store.incoming.received(bare(MODEL))
    assert 900_000 < kept <= 1_000_000
    toy.seen.clear()
    assert "used up" in pull(box, *words, status=1).stderr and toy.seen == []
    # The operator decides otherwise: the kept bytes are not fetched again.
    pull(box, f"{toy.at}/door:1.0.0", "--budget-per-day", "3 MiB")
    assert [seen.headers.get("Range") for seen in toy.seen if seen.path.endswith(MODEL)] == [f"bytes={kept}-"]
    assert installed(box)


def test_what_is_not_trusted_is_refused_before_it_is_fetched(box: Box, toy: ToyRegistry) -> None:
    bad = sign(bundle_of(2 * MIB, version="2"), MALLORY)
    with Registry(toy.at) as pusher:
        push(pusher, BundleSource(bad), "door")
    toy.seen.clear()
    pull(box, f"{toy.at}/door:2", status=1)
    assert not any(digest in path for path in toy.paths("GET") for digest in bad.blobs)
    bad.save(box.folder / "bad.edgeml")
    assert "bad.edgeml" in pull(box, "bad.edgeml", status=1).stderr
    assert box.store.state().models == {} and box.store.incoming.waiting() == {}


def test_from_a_stick_that_cannot_be_written(box: Box) -> None:
    stick = box.folder / "stick"
    stick.mkdir()
    BIG.save(stick / "b.edgeml")
    stick.chmod(0o555)
    assert "2.1 MB came, 0 B were here" in pull(box, "stick/b.edgeml").stdout
    assert "0 B came" in pull(box, str(stick / "b.edgeml")).stdout
    assert box.store.read_bundle(BIG.digest).members == BIG.members
    assert os.listdir(stick) == ["b.edgeml"]


def test_and_activate(box: Box, toy: ToyRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from edgeml.supervisor import quarantine

    monkeypatch.setattr(quarantine, "admit", lambda *_, **__: SimpleNamespace(peak_bytes=1))
    result = pull(box, f"{toy.at}/door:1.0.0", "--activate", "--json")
    assert json.loads(result.stdout)["state"] == "trial" and "is on trial" in result.stderr
    assert box.store.state().models["door"].candidate == bare(BIG.digest)
    pull(box, "1.edgeml", "--activate", "--now", status=1)  # another one is on trial
    box.run("confirm")
    assert "door 1 sha256" in pull(box, "1.edgeml", "--activate", "--now").stdout


def test_a_damaged_stick_installs_nothing(box: Box) -> None:
    data = bytearray(b"".join(BIG.to_chunks()))
    data[-MIB] ^= 1
    (box.folder / "b.edgeml").write_bytes(data)
    assert "other bytes than were packed" in pull(box, "b.edgeml", status=1).stderr
    assert box.store.state().models == {} and box.store.incoming.waiting() == {}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("none.edgeml",), 1, "there is no such file"),
        (("127.0.0.1:9/door",), 1, "names no bundle"),
        (("127.0.0.1:9/door:1", "--now"), 2, "goes with --activate"),
        (("127.0.0.1:9/door:1", "--password-stdin"), 2, "goes with --username"),
        (("127.0.0.1:9/door:1", "--budget-per-day", "many"), 2, "no size"),
        (("1.edgeml", "--budget-per-day", "1MB"), 2, "is a file"),
        (("127.0.0.1:9/door:1", "--username", "ann", "--token", "x"), 2, "not both"),
    ],
)
def test_wrong_usage(box: Box, words: tuple[str, ...], status: int, told: str) -> None:
    assert told in pull(box, *words, status=status).stderr


def test_a_bar_where_somebody_is_watching(box: Box, toy: ToyRegistry) -> None:
    status, drawn = run_in_a_terminal("pull", f"{toy.at}/door:1.0.0", "--store", "store", cwd=box.folder)
    assert status == 0 and "door:1.0.0" in drawn and "2.1/2.1 MB" in drawn


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the store's owner")
def test_root_pulls_as_the_owner_of_the_store(toy: ToyRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = 12345
    python = python_for(owner)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        os.chmod(folder, 0o755)
        monkeypatch.chdir(folder)
        box = Box(Path(folder))
        box.with_releases()
        for path in [box.store.root, *box.store.root.rglob("*")]:
            os.chown(path, owner, owner)
        (box.folder / "1.edgeml").chmod(0o600)  # which the owner of the store may not read
        for source in (f"{toy.at}/door:1.0.0", "1.edgeml"):
            done = box.shell("pull", source, python=python)
            assert done.returncode == 0, done.stderr
        assert {path.stat().st_uid for path in box.store.root.rglob("*")} == {owner}


def test_sizes() -> None:
    from edgeml.cli.sizes import Size

    sizes = {"50MB": 50_000_000, "200 MiB": 200 * MIB, "1g": 10**9, "7": 7, "3kib": 3072, "2B": 2}
    assert {text: Size().convert(text, None, None) for text in sizes} == sizes
