"""Bundles that are pushed from a disk: verified first, read at the verified places, never in memory."""

from __future__ import annotations

import tracemalloc

import pytest
from bundles.registry_peers import QUICK, ToyRegistry, bundle_of
from bundles.releases import new_store, release
from data.generate_bundles import ALICE, BOB, FOLDER, GOOD, GOOD_SIGNED, SIGNED, cases

from edgeml.bundles import sign
from edgeml.bundles.blob_sources import FileSource, StoreSource
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.errors import DigestError, NotInstalledError, TransferError

CASES = cases()
# Whether a JSON member is JSON is for admission to say, on the box and in a process of its own.
_OF_MEMBERS = {"member-bad-json", "member-duplicate-keys", "member-bad-line", "member-card-not-utf8"}


def contents(source) -> dict[str, bytes]:
    found = {}
    for each in source.descriptors:
        with source.open(each.digest, 0) as stream:
            found[each.digest] = stream.read()
    return found


def same(source, bundle) -> None:
    expected = BundleSource(bundle)
    assert source.manifest_bytes == bundle.manifest_bytes and source.tag == bundle.version
    assert (source.descriptors, source.signature_manifests) == (expected.descriptors, expected.signature_manifests)
    assert contents(source) == contents(expected)


@pytest.mark.parametrize("bundle", [GOOD, GOOD_SIGNED, sign(GOOD_SIGNED, BOB)])
def test_a_file_gives_what_the_bundle_in_memory_gives(tmp_path, bundle):
    bundle.save(tmp_path / "b.edgeml")
    with FileSource(tmp_path / "b.edgeml") as source:
        same(source, bundle)
        assert (source.config, source.digest, source.signers) == (bundle.config, bundle.digest, frozenset())
        model = bundle.manifest.members["model.onnx"].digest
        with source.open(model, 40) as one, source.open(model, 7) as other:
            assert (one.read(3), other.read(3), one.read()) == (
                bytes(range(40, 43)),
                bytes(range(7, 10)),
                bytes(range(43, 100)),
            )


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_broken_file_is_refused_as_it_is_when_it_is_read_whole(name):
    case = CASES[name]
    if case.error is None:
        with FileSource(FOLDER / f"{name}.edgeml", keyring=case.keyring) as source:
            assert source.digest == GOOD.digest and source.signers
        return
    try:
        FileSource(FOLDER / f"{name}.edgeml", keyring=case.keyring).close()
    except case.error as error:
        assert str(error).startswith(str(FOLDER / f"{name}.edgeml"))
    else:
        assert name in _OF_MEMBERS, "a broken file was taken"


def test_a_large_file_is_never_in_memory(tmp_path):
    bundle_of(24 * 1024 * 1024).save(tmp_path / "b.edgeml")
    tracemalloc.start()
    try:
        with FileSource(tmp_path / "b.edgeml") as source, source.open(source.descriptors[-1].digest, 0) as stream:
            while stream.read(65536):
                pass
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_the_verified_file_is_sent_whatever_takes_its_name(tmp_path):
    path = tmp_path / "b.edgeml"
    path.write_bytes(SIGNED)
    with FileSource(path) as source:
        path.unlink()
        path.write_bytes(b"another file")
        same(source, GOOD_SIGNED)


def test_bytes_that_change_after_they_were_verified_are_found_out(tmp_path):
    path = tmp_path / "b.edgeml"
    path.write_bytes(SIGNED)
    with ToyRegistry() as toy, Registry(toy.at, patience=QUICK) as registry, FileSource(path) as source:
        place = SIGNED.index(GOOD.members["model.onnx"])
        path.write_bytes(SIGNED[:place] + b"?" + SIGNED[place + 1 :])
        with pytest.raises(TransferError, match="DIGEST_INVALID"):
            push(registry, source, "door")
        path.write_bytes(SIGNED[:place])
        with pytest.raises(TransferError, match="ends before its"):
            push(registry, source, "door")
        assert ("door", "1.0.0") not in toy.manifests


def test_a_store_gives_what_was_installed(tmp_path):
    store = new_store(tmp_path / "store")
    bundle = release("1", size=100_000)
    digest = store.install(bundle)
    same(StoreSource(store, digest), bundle)
    with pytest.raises(NotInstalledError):
        StoreSource(store, "0" * 64)
    blob = store.blobs.folder / bundle.manifest.members["model.onnx"].digest[7:]
    blob.chmod(0o644)
    blob.write_bytes(bytes(len(blob.read_bytes())))
    with pytest.raises(DigestError, match="model.onnx of door 1 is damaged"):
        StoreSource(store, digest)


def test_a_neighbour_pushes_what_it_has_installed(tmp_path):
    store = new_store(tmp_path / "store")
    bundle = sign(release("1", size=500_000), ALICE)
    digest = store.install(bundle)
    with ToyRegistry() as toy, Registry(toy.at, patience=QUICK) as registry:
        push(registry, StoreSource(store, digest), "door")
        assert set(bundle.blobs.values()) < set(toy.blobs.values())
