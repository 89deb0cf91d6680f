"""Admission goes by the box's settings: with ``edgeml activate``, with a service beside it, and over its API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.services import Service
from cli.shell import run
from runtime.onnx_models import GOLDEN, bundle_of, endless, filling, relu

from edgeml.bundles.store import Store
from edgeml.errors import TransferError
from edgeml.fleet.device_client import DeviceClient

MIB = 2**20
# Each is a version of the model ``tried``, and what it does while it is tried.
BUNDLES = {
    "large": bundle_of(filling(25 * MIB), version="large"),
    "endless": bundle_of(endless(), session={"control_flow": True}, version="endless"),
    "small": bundle_of(relu(), golden=GOLDEN, version="small"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = Store.create(tmp_path / "store", keyring=None, allow_unsigned=True)
    for bundle in BUNDLES.values():
        store.install(bundle)
    return store.root


@pytest.fixture
def service(root: Path) -> Iterator[Service]:
    made = Service(root)
    yield made
    made.stop()


def edgeml(root: Path, *words: str, status: int = 0) -> str:
    done = run(*words, "--store", root, cwd=root.parent)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def refused_by_command(root: Path, version: str) -> str:
    said = edgeml(root, "activate", version, "--now", status=1)
    edgeml(root, "deny", "--lift", version)
    return said


def refused_by_api(service: Service, version: str) -> str:
    with DeviceClient(service.manage, token=service.token) as device:
        with pytest.raises(TransferError) as caught:
            device.finish(lambda: device.activate("tried", BUNDLES[version].digest, now=True), seconds=120)
    edgeml(service.root, "deny", "--lift", version)
    return str(caught.value)


def test_a_command_without_a_service(root: Path) -> None:
    edgeml(root, "settings", "--admission-memory", "90MiB")
    assert "the box grants 90.0 MiB" in refused_by_command(root, "large")
    edgeml(root, "settings", "--admission-memory", "512MiB", "--admission-cpu-seconds", "2")
    assert "more than 2 s of processor time" in refused_by_command(root, "endless")
    seconds = ("--admission-wall-seconds", "3", "--admission-load-seconds", "2")
    edgeml(root, "settings", "--admission-cpu-seconds", "60", *seconds)
    assert "was not ready after 3 s" in refused_by_command(root, "endless")
    edgeml(root, "activate", "small", "--now")


def test_a_running_service_and_a_command_beside_it_go_by_the_same_numbers_at_once(service: Service) -> None:
    for size in ("90MiB", "85MiB"):
        edgeml(service.root, "settings", "--admission-memory", size)
        word = f"the box grants {size.removesuffix('MiB')}.0 MiB"
        assert word in refused_by_api(service, "large") and word in refused_by_command(service.root, "large")
    edgeml(service.root, "settings", "--admission-memory", "512MiB")
    with DeviceClient(service.manage, token=service.token) as device:
        done = device.finish(lambda: device.activate("tried", BUNDLES["large"].digest, now=True), seconds=120)
    assert done.state == "done"


def test_damaged_settings_blame_no_bundle_and_let_go_back(service: Service) -> None:
    store = Store(service.root)
    edgeml(service.root, "activate", "small", "--now")
    edgeml(service.root, "activate", "large", "--now")
    (service.root / "settings.json").write_text("{}{")
    assert "settings.json is damaged" in edgeml(service.root, "activate", "endless", status=1)
    with DeviceClient(service.manage, token=service.token) as device:
        with pytest.raises(TransferError, match="settings.json is damaged"):
            device.finish(lambda: device.activate("tried", BUNDLES["endless"].digest), seconds=120)
        assert store.state().models["tried"].denied == {}
        assert device.finish(lambda: device.roll_back("tried"), seconds=120).state == "done"
    # It starts, too.
    service.kill()
    service.start()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--admission-memory", "1MiB"), "admission_memory_bytes must be a whole number from 16777216"),
        (("--admission-cpu-seconds", "0"), "admission_cpu_seconds"),
        (("--admission-wall-seconds", "20"), "(30) must not be more than admission_wall_seconds (20)"),
        (("--admission-load-seconds", "nan"), "admission_load_seconds must be a number"),
        (("--pull-budget-per-day", "much"), "no size"),
        (("--pull-budget-per-day", "1MB", "--no-pull-budget"), "not both"),
        (("--pull-registry", "registry.example/shop"), "must be host:port"),
        (("--no-pull-registry", "registry.example"), "registry.example:443 is not listed"),
    ],
)
def test_wrong_settings_are_named(root: Path, words: tuple[str, ...], told: str) -> None:
    before = edgeml(root, "settings", "--json")
    # click breaks long lines
    assert told in " ".join(edgeml(root, "settings", *words, status=2).split())
    assert edgeml(root, "settings", "--json") == before


def test_settings_are_shown(root: Path) -> None:
    pulls = ("--pull-registry", "10.0.0.9:5000", "--pull-budget-per-day", "9MB")
    edgeml(root, "settings", "--admission-memory", "64MiB", *pulls)
    shown = edgeml(root, "settings")
    for part in ("64 MiB of memory", "60 s of processor time", "9.0 MB a day", "10.0.0.9:5000"):
        assert part in shown
