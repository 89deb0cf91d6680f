"""``edgeml push`` to a real box: ``edgeml serve --store`` with its management plane, as an operator has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from bundles.registry_peers import QUICK, bundle_of
from cli.services import Service
from cli.shell import run
from data.generate_bundles import ALICE, ONE

from edgeml.bundles import Bundle, sign
from edgeml.bundles.blob_sources import FileSource
from edgeml.bundles.registry_push import push
from edgeml.bundles.store import Store
from edgeml.fleet.device_client import DeviceClient

MIB = 1024 * 1024


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Store.create(tmp_path / "store", keyring=ONE)
    made = Service(tmp_path / "store")
    yield made
    made.stop()


def test_two_versions_are_pushed_and_answer(service: Service, penguins_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(service.token)
    for version, options in (("1", ["--activate", "--now"]), ("2", ["--activate"])):
        bundle = sign(
            Bundle.create(dict(penguins_bundle.config) | {"version": version}, penguins_bundle.members), ALICE
        )
        bundle.save(tmp_path / f"{version}.edgeml")
        words = ("push", f"{version}.edgeml", service.manage, "--token-file", "token", *options, "--json")
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        (outcome,) = json.loads(done.stdout)["boxes"]
        assert outcome["state"] == ("active" if version == "1" else "trial")
        assert (outcome["digest"], service.predict()["bundle"]) == (bundle.digest, bundle.digest)
    # Everything but config, manifest and signature is what the first one brought.
    assert outcome["bytes_sent"] < 40_000 < outcome["bytes_skipped"]


class Interrupting(FileSource):
    """A source that does something when so many bytes of a blob have been read."""

    at = 0
    then: Any = None

    def open(self, digest: str, offset: int) -> BinaryIO:
        source, stream = self, super().open(digest, offset)

        class Stream:
            def __enter__(self) -> Stream:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

            def read(self, size: int) -> bytes:
                nonlocal offset
                data = stream.read(size)
                offset += len(data)
                if source.then is not None and offset >= source.at:
                    then, source.then = source.then, None
                    then()
                return data

        return Stream()  # type: ignore[return-value]


def test_a_box_that_is_killed_during_a_push_keeps_what_came(service: Service, tmp_path: Path) -> None:
    bundle = sign(bundle_of(8 * MIB), ALICE)
    bundle.save(tmp_path / "big.edgeml")
    kept: list[int] = []

    def kill_and_start() -> None:
        service.kill()
        kept.extend(path.stat().st_size for path in (service.root / "incoming").glob("part-*"))
        service.start(int(service.manage.rpartition(":")[2]))

    with DeviceClient(service.manage, token=service.token, patience=QUICK) as device:
        with Interrupting(tmp_path / "big.edgeml") as source:
            source.at, source.then = 5 * MIB, kill_and_start
            report = push(device.registry, source, "door")
        found = device.release(bundle.digest)
    assert report.resumes >= 1 and kept and max(kept) >= 4 * MIB and report.bytes_sent <= 8 * MIB + 2 * MIB
    assert found is not None and found[1]["state"] == "installed"
    assert Store(service.root).read_bundle(bundle.digest).members == bundle.members
