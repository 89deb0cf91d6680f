"""From a registry or a file into a store: refused before it is fetched, resumed after anything, installed whole."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from bundles.registry_peers import QUICK, Fault, FaultProxy, ToyRegistry, bundle_of, docker_registry
from bundles.releases import new_store, release
from data.generate_bundles import ALICE, BOB, MALLORY, ONE

from edgeml.bundles import Bundle, rotate, sign
from edgeml.bundles.blob_sources import FileSource
from edgeml.bundles.box_settings import change_settings
from edgeml.bundles.byte_budget import ByteBudget
from edgeml.bundles.disk import Disk, Room
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store, StoreLimits
from edgeml.bundles.store_pull import copy_into_store, pull_into_store, pull_reference
from edgeml.errors import (
    ConflictError,
    OrderError,
    RequirementError,
    SignatureError,
    StorageError,
    TransferError,
)

SIZE = 2 * 1024 * 1024 + 11
BIG = sign(bundle_of(SIZE), ALICE)
MODEL = BIG.manifest.members["model.onnx"].digest


@pytest.fixture
def store(tmp_path) -> Store:
    return new_store(tmp_path / "store")


@pytest.fixture
def toy():
    with ToyRegistry() as registry:
        put(registry, BIG)
        yield registry


def put(registry: ToyRegistry, bundle: Bundle, tag: str = "") -> None:
    with Registry(registry.at) as pusher:
        push(pusher, BundleSource(bundle), "door", tag)
    registry.seen.clear()


def fetch(store: Store, at: str, reference: str = "1.0.0", attempts: int = QUICK.attempts, **options):
    with Registry(at, patience=replace(QUICK, attempts=attempts)) as registry:
        return pull_into_store(store, registry, "door", reference, who="tests", **options)


def fetched(toy: ToyRegistry) -> set[str]:
    """Digests of the bundle's own blobs that were asked for."""
    return {path.rpartition("/")[2] for path in toy.paths("GET") if "/blobs/" in path} & set(BIG.blobs)


def test_a_bundle_is_fetched_and_installed(store, toy):
    seen = []
    arrival = fetch(store, toy.at, progress=lambda done, total: seen.append((done, total)))
    assert (arrival.name, arrival.version, arrival.digest) == ("door", "1.0.0", BIG.digest)
    assert store.read_bundle(BIG.digest).members == BIG.members
    assert seen[-1][0] == seen[-1][1] == sum(map(len, BIG.blobs.values()))
    assert store.journal.entries()[0].who == "tests"
    assert store.incoming.waiting() == {} and arrival.bytes_received < 1.02 * SIZE


def test_twice_fetches_nothing_and_brings_new_signatures(store, toy):
    fetch(store, toy.at)
    generation = store.state().generation
    again = fetch(store, toy.at, BIG.digest)
    assert fetched(toy) == set(BIG.blobs) and again.bytes_received < 5000 and again.bytes_skipped >= SIZE
    assert store.state().generation == generation
    store.change_keyring(rotate(ONE, keys=[ALICE.public, BOB.public], signers=[ALICE, BOB], threshold=1))
    put(toy, sign(BIG, BOB))
    toy.seen.clear()
    fetch(store, toy.at)
    assert fetched(toy) == set()
    assert len(store.state().models["door"].releases[bare(BIG.digest)].envelopes) == 2


def test_a_damaged_blob_is_mended_by_another_pull(store, toy):
    fetch(store, toy.at)
    path = store.blobs.folder / bare(MODEL)
    path.chmod(0o644)
    path.write_bytes(b"x" * SIZE)
    fetch(store, toy.at)
    assert store.read_bundle(BIG.digest).members == BIG.members


@pytest.mark.parametrize("cut", [1, 70_000, SIZE - 1])
def test_an_earlier_attempt_is_gone_on_from_by_another_process(store, toy, cut):
    start = len(BIG.config_bytes) + 3000
    with FaultProxy(toy.port, [Fault(cut_down=start + cut)] + [Fault(cut_down=0)] * 9) as proxy:
        with pytest.raises(TransferError, match="the link broke"):
            fetch(store, proxy.at)
    kept = store.incoming.received(bare(MODEL)) if cut > 4000 else 0
    toy.seen.clear()
    arrival = fetch(Store(store.root), toy.at)
    assert store.read_bundle(BIG.digest).members == BIG.members
    if kept:
        ranges = [seen.headers.get("Range") for seen in toy.seen if MODEL in seen.path]
        # A request of the first attempt may be noted late; what counts is how the second one went on.
        assert ranges[-1:] == [f"bytes={kept}-"] and arrival.bytes_skipped >= kept


def test_a_rotten_part_costs_one_fresh_start(store, toy):
    store.incoming.start(bare(MODEL))
    store.incoming.append(bare(MODEL), [bytes(100_000)])
    assert fetch(store, toy.at).bytes_received > SIZE
    assert store.read_bundle(BIG.digest).members == BIG.members


def test_a_bundle_that_came_whole_before_the_power_went_is_installed_without_the_blobs(store, toy):
    with pytest.raises(OSError, match="power"):
        original = store.install_waiting
        try:
            store.install_waiting = lambda *_, **__: (_ for _ in ()).throw(OSError(5, "power"))  # type: ignore
            fetch(store, toy.at)
        finally:
            store.install_waiting = original  # type: ignore
    toy.seen.clear()
    fetch(Store(store.root), toy.at)
    assert fetched(toy) == set() and store.state().find(bare(BIG.digest)) == "door"


REFUSED = {
    "unsigned": (bundle_of(SIZE, version="2"), SignatureError, "not signed at all", set()),
    "a stranger's key": (sign(bundle_of(SIZE, version="3"), MALLORY), SignatureError, "trusted", set()),
    "too new": (
        sign(bundle_of(SIZE, requires={"edgeml": ">=99.0"}), ALICE),
        RequirementError,
        "needs edgeml >=99.0",
        {"config"},
    ),
    "too new for its runtime": (
        sign(bundle_of(SIZE, requires={"edgeml": ">=0.1", "onnxruntime": ">=99"}), ALICE),
        RequirementError,
        "needs onnxruntime >=99",
        {"config"},
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_the_box_does_not_take_is_refused_before_it_is_fetched(store, toy, name):
    bundle, error, words, allowed = REFUSED[name]
    put(toy, bundle, "bad")
    with pytest.raises(error, match=words):
        fetch(store, toy.at, "bad")
    asked = {path.rpartition("/")[2] for path in toy.paths("GET") if "/blobs/" in path}
    kinds = {"config" if digest == bundle.manifest.config.digest else "member" for digest in asked & set(bundle.blobs)}
    assert kinds == allowed and store.state().models == {}


def test_an_older_epoch_is_refused_before_it_is_fetched(store, toy):
    store.activate(store.install(release("9", epoch=3)), now=True)
    put(toy, sign(bundle_of(SIZE, security_epoch=2), ALICE))
    with pytest.raises(OrderError, match="security epoch 2, and this box accepts 3"):
        fetch(store, toy.at)
    model = bundle_of(SIZE, security_epoch=2).manifest.members["model.onnx"].digest
    assert not any(model in path for path in toy.paths("GET"))


def test_a_version_that_is_taken_is_refused_before_it_is_fetched(store, toy):
    store.install(release("1.0.0"))
    with pytest.raises(ConflictError, match="installed with another digest"):
        fetch(store, toy.at)
    assert fetched(toy) == set()


class FullDisk(Disk):
    """A disk with little room."""

    def room(self, folder):
        return Room(SIZE // 2, None)


def test_a_disk_without_room_is_told_before_anything_is_fetched(tmp_path, toy):
    small = new_store(tmp_path / "small", disk=FullDisk())
    with pytest.raises(StorageError, match="bytes left"):
        fetch(small, toy.at)
    assert fetched(toy) == set()


def test_a_quota_for_what_comes_in_is_kept_and_older_transfers_make_room(tmp_path, toy):
    limits = StoreLimits(incoming_bytes=SIZE + 60_000)
    small = new_store(tmp_path / "small", limits=limits)
    small.incoming.append(small.incoming.start("old"), [bytes(100_000)])
    fetch(small, toy.at)
    assert small.read_bundle(BIG.digest).members == BIG.members
    with pytest.raises(StorageError, match="more than this box's quota"):
        fetch(new_store(tmp_path / "tiny", limits=StoreLimits(incoming_bytes=SIZE - 1)), toy.at)


def test_what_strangers_put_beside_a_bundle_is_not_kept(store, toy):
    put(toy, sign(sign(BIG, MALLORY), BOB))
    fetch(store, toy.at)
    (release_,) = store.state().models["door"].releases.values()
    assert len(release_.envelopes) == 1


def test_one_at_a_time(store, toy):
    def meanwhile(done, total):
        with pytest.raises(ConflictError, match="another bundle is being fetched"):
            fetch(Store(store.root), toy.at)

    fetch(store, toy.at, progress=meanwhile)


def test_a_day_brings_no_more_than_its_budget_and_the_next_goes_on(tmp_path, toy):
    now = [20_000.0 * 86_400]

    def clock() -> float:
        return now[0]

    store = new_store(tmp_path / "store", clock=clock)
    per_day, days, before = 700_000, 0, 0
    while store.state().find(bare(BIG.digest)) is None:
        days += 1
        toy.seen.clear()
        try:
            with FaultProxy(toy.port) as proxy:
                fetch(store, proxy.at, budget_per_day=per_day)
        except TransferError as error:
            assert error.code == "budget"
            kept = store.incoming.received(bare(MODEL))
            assert before < kept <= before + per_day
            before = kept
            # Once more on the same day: not a single request.
            toy.seen.clear()
            with pytest.raises(TransferError, match="used up"):
                fetch(Store(store.root, clock=clock), toy.at, budget_per_day=per_day)
            assert toy.seen == []
        now[0] += 86_400
    assert days == 4 and store.read_bundle(BIG.digest).members == BIG.members
    assert ByteBudget(store.root, per_day, now=lambda: now[0] - 86_400).left > 0


def test_from_debians_registry(store, tmp_path):
    with docker_registry(tmp_path) as at:
        with Registry(at, patience=QUICK) as pusher:
            push(pusher, BundleSource(BIG), "shop/door")
        host, port = at.split(":")
        with FaultProxy(int(port), [Fault(cut_down=400_000), Fault(cut_down=900_000)]) as proxy:
            with Registry(proxy.at, patience=QUICK) as registry:
                arrival = pull_into_store(store, registry, "shop/door", "1.0.0", who="tests")
        assert arrival.resumes >= 1 and arrival.bytes_received < 1.1 * SIZE
        steps: list[str] = []
        with pytest.raises(TransferError, match=f"--pull-registry {at}") as caught:
            pull_reference(store, f"{at}/shop/door:1.0.0", steps.append, who="api")
        assert caught.value.code == "registry_not_allowed" and steps == []
        change_settings(store, listed=[at], who="tests")
        assert pull_reference(store, f"{at}/shop/door:1.0.0", steps.append, who="api") == bare(BIG.digest)
    assert store.read_bundle(BIG.digest).members == BIG.members and "fetching" in steps[-1]


def test_a_reference_without_a_tag_names_nothing(store):
    for text in ("127.0.0.1:1", "127.0.0.1:1/door"):
        with pytest.raises(TransferError, match="names no bundle"):
            pull_reference(store, text, lambda step: None, who="api")


def test_a_file_is_copied_from_a_folder_that_cannot_be_written(store, tmp_path):
    stick = tmp_path / "stick"
    stick.mkdir()
    BIG.save(stick / "b.edgeml")
    (stick / "b.edgeml").chmod(0o444)
    stick.chmod(0o555)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in stick.iterdir())
    with FileSource(stick / "b.edgeml") as source:
        arrival = copy_into_store(store, source, who="tests")
        assert (arrival.digest, arrival.bytes_skipped) == (BIG.digest, 0)
        again = copy_into_store(store, source, who="tests")
        assert again.bytes_received == 0
    assert sorted((path.name, path.stat().st_mtime_ns) for path in stick.iterdir()) == before
    stick.chmod(0o755)
    os.unlink(stick / "b.edgeml")
    assert store.read_bundle(BIG.digest).members == BIG.members


@pytest.mark.parametrize("name", ["unsigned", "a stranger's key", "too new"])
def test_a_file_that_the_box_does_not_take_is_refused_before_it_is_copied(store, tmp_path, name):
    bundle, error, words, allowed = REFUSED[name]
    bundle.save(tmp_path / "b.edgeml")
    with FileSource(tmp_path / "b.edgeml") as source, pytest.raises(error, match=words):
        copy_into_store(store, source, who="tests")
    assert len(store.incoming.waiting()) == len(allowed)
