"""A box that is told to pull, over its real API: one budget for all pulls, and only from where the operator lets it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bundles.registry_peers import QUICK, ToyRegistry, bundle_of, docker_registry
from cli.services import Service
from cli.shell import run
from data.generate_bundles import ALICE, ONE

from edgeml.bundles import sign
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import TransferError
from edgeml.fleet.device_client import DeviceClient

MIB = 1024 * 1024
BIG = sign(bundle_of(2 * MIB), ALICE)
MODEL = BIG.manifest.members["model.onnx"].digest


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    Store.create(tmp_path / "store", keyring=ONE)
    made = Service(tmp_path / "store")
    yield made
    made.stop()


def edgeml(service: Service, *words: str, status: int = 0) -> Any:
    done = run(*words, "--store", service.root, cwd=service.root.parent)
    assert done.returncode == status, done.stdout + done.stderr
    return done


@contextmanager
def device_of(service: Service) -> Iterator[DeviceClient]:
    with DeviceClient(service.manage, token=service.token, patience=QUICK) as device:
        yield device


def refused(service: Service, reference: str) -> TransferError:
    """What a told pull fails of, asked for with a wait, so that the status is that of the failure."""
    with device_of(service) as device, pytest.raises(TransferError) as caught:
        device._ask("POST", "/v1/pulls?wait=30", "a pull", json.dumps({"from": reference}).encode())
    return caught.value


def is_installed(service: Service) -> bool:
    return Store(service.root).state().find(bare(BIG.digest)) is not None


def test_one_budget_for_all_pulls_of_a_box(service: Service, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "token").write_text(service.token)
    with docker_registry(tmp_path / "registry") as at:
        with Registry(at, patience=QUICK) as pusher:
            push(pusher, BundleSource(BIG), "shop/door")
        reference = f"{at}/shop/door@{BIG.digest}"
        edgeml(service, "settings", "--pull-registry", at, "--pull-budget-per-day", "1MB")
        error = refused(service, reference)
        assert (error.status, error.code) == (403, "budget")
        assert "budget of 1000000 bytes" in str(error) and "edgeml settings --pull-budget-per-day" in str(error)
        kept = Store(service.root).incoming.received(bare(MODEL))
        assert 900_000 < kept <= 1_000_000
        # Used up for everybody: through the client of a fleet, and for the box's own command.
        words = ("push", service.manage, "--from-registry", reference, "--token-file", "token", "--json")
        pushed = run(*words, cwd=tmp_path)
        assert pushed.returncode == 1 and "is used up" in json.loads(pushed.stdout)["boxes"][0]["error"]
        assert "is used up" in edgeml(service, "pull", reference, status=1).stderr
        # A box that is killed and started again has not more, either.
        service.kill()
        service.start()
        assert refused(service, reference).code == "budget"
        assert Store(service.root).incoming.received(bare(MODEL)) == kept
        edgeml(service, "settings", "--pull-budget-per-day", "3MB")
        with device_of(service) as device:
            assert device.finish(lambda: device.pull(reference), seconds=120).state == "done"
    assert is_installed(service)


def test_what_a_command_pulled_counts_for_the_api_and_without_a_limit_too(service: Service, tmp_path: Path) -> None:
    with ToyRegistry() as toy:
        with Registry(toy.at) as pusher:
            push(pusher, BundleSource(BIG), "door")
            push(pusher, BundleSource(sign(bundle_of(MIB, version="2"), ALICE)), "door")
        edgeml(service, "pull", f"{toy.at}/door:1.0.0")
        edgeml(service, "settings", "--pull-registry", toy.at, "--pull-budget-per-day", "2MB")
        toy.seen.clear()
        assert refused(service, f"{toy.at}/door:2").code == "budget" and toy.seen == []
        edgeml(service, "settings", "--no-pull-budget")
        with device_of(service) as device:
            device.finish(lambda: device.pull(f"{toy.at}/door:2"), seconds=120)


def test_bytes_are_written_down_before_the_power_goes(service: Service) -> None:
    half, kept, over = MIB + 12_345, threading.Event(), threading.Event()

    def stall(handler: Any) -> bool:
        if handler.command == "GET" and handler.path.endswith(MODEL):
            handler.send_response(200)
            handler.send_header("Content-Length", str(2 * MIB))
            handler.end_headers()
            handler.wfile.write(BIG.members["model.onnx"][:half])
            kept.set()
            over.wait(60)
            handler.close_connection = True
            return True
        return False

    with ToyRegistry() as toy:
        with Registry(toy.at) as pusher:
            push(pusher, BundleSource(BIG), "door")
        toy.hook = stall
        edgeml(service, "settings", "--pull-registry", toy.at, "--pull-budget-per-day", "3MB")
        part = service.root / "incoming" / f"part-{bare(MODEL)}"
        with device_of(service) as device:
            device.pull(f"{toy.at}/door:1.0.0")
            assert kept.wait(60)
            while not part.exists() or part.stat().st_size < half:
                assert device.status()
        service.kill()
        over.set()
        spent = json.loads((service.root / "budget.json").read_text())["bytes"]
        assert half <= spent <= half + MIB
        service.start()


def test_a_token_does_not_make_a_box_look_at_itself(service: Service) -> None:
    with ToyRegistry() as toy:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            error = refused(service, f"http://{host}:{toy.port}/door:1")
            assert (error.status, error.code) == (403, "registry_not_allowed")
            assert f"edgeml settings --pull-registry {host}:{toy.port}" in str(error)
        assert refused(service, "169.254.169.254/latest/meta-data:1").code == "registry_not_allowed"
        assert toy.seen == []
        # The box's own command is its operator's word.
        with Registry(toy.at) as pusher:
            push(pusher, BundleSource(BIG), "door")
        edgeml(service, "pull", f"{toy.at}/door:1.0.0")
    assert is_installed(service)


def test_damaged_settings_stop_pulls_and_say_how_to_mend_them(service: Service) -> None:
    (service.root / "settings.json").write_text("{")
    error = refused(service, "registry.example/door:1")
    assert error.status == 500 and "settings.json is damaged" in str(error) and "--defaults" in str(error)
    assert "settings.json is damaged" in run("doctor", "--store", service.root, cwd=service.root.parent).stdout
    edgeml(service, "settings", "--defaults")
    assert "settings.json" not in run("doctor", "--store", service.root, cwd=service.root.parent).stdout
