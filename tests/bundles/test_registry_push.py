"""Pushing: nothing is sent twice without need, whatever the link and the registry do."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from typing import BinaryIO

import pytest
from bundles.registry_peers import QUICK, Fault, FaultProxy, ToyRegistry, bundle_of
from data.generate_bundles import ALICE, BOB, GOOD, GOOD_SIGNED

from edgeml.bundles import sign
from edgeml.bundles.layout import EMPTY, INDEX_TYPE, SIGNATURE_TYPE
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.upload_notes import UploadNotes
from edgeml.errors import TransferError

BIG = sign(bundle_of(4 * 1024 * 1024 + 17), ALICE)
BIG_BYTES = sum(descriptor.size for descriptor in BundleSource(BIG).descriptors)
CHUNK = 128 * 1024


@pytest.fixture
def toy():
    with ToyRegistry() as registry:
        yield registry


def client(at: str, **arguments) -> Registry:
    return Registry(at, patience=QUICK, **arguments)


@pytest.mark.parametrize("relative", [True, False])
def test_everything_arrives_signatures_first_and_the_second_push_sends_nothing(toy, relative):
    toy.relative = relative
    with client(toy.at) as registry:
        first = push(registry, BundleSource(GOOD_SIGNED), "door")
        assert (first.digest, first.tag, first.blobs_sent, first.blobs_skipped) == (GOOD.digest, "1.0.0", 5, 0)
        assert set(GOOD.blobs.values()) < set(toy.blobs.values()) and EMPTY in toy.blobs.values()
        assert toy.manifests["door", "1.0.0"][1] == GOOD.manifest_bytes
        order = [path.rpartition("/")[2] for path in toy.paths("PUT") if "/manifests/" in path]
        assert len(order) == 2 and order[0].startswith("sha256:") and order[1] == "1.0.0"
        second = push(registry, BundleSource(GOOD_SIGNED), "door")
    assert (second.bytes_sent, second.blobs_sent) == (0, 0) and second.bytes_skipped == first.bytes_sent


def test_blobs_that_stand_under_another_name_are_mounted(toy):
    with client(toy.at) as registry:
        push(registry, BundleSource(GOOD_SIGNED), "door")
        report = push(registry, BundleSource(GOOD_SIGNED), "gate", "x", mount_from="door")
    assert report.bytes_sent == 0 and report.blobs_skipped == 5 and ("gate", "x") in toy.manifests


def test_a_name_that_may_not_be_mounted_from_is_no_reason_not_to_push(toy):
    def refuse(handler) -> bool:
        if "from=" in handler.path:
            handler.fail(403, "DENIED")
        return "from=" in handler.path

    toy.hook = refuse
    with client(toy.at) as registry:
        assert push(registry, BundleSource(GOOD), "gate", mount_from="door").blobs_sent == 3


def test_ten_cuts_cost_a_tenth_of_the_size_at_most(toy):
    cuts = [Fault(cut_up=350_000 + 1009 * number) for number in range(10)]
    with FaultProxy(toy.port, cuts) as proxy, client(proxy.at) as registry:
        report = push(registry, BundleSource(BIG), "door", chunk_bytes=CHUNK // 4)
        assert proxy.connections == 11 and proxy.up_bytes <= 1.1 * BIG_BYTES
    assert set(BIG.blobs.values()) < set(toy.blobs.values())
    assert report.resumes == 10 and BIG_BYTES <= report.bytes_sent <= 1.1 * BIG_BYTES


def test_a_link_that_lets_no_chunk_through_as_a_whole_still_brings_the_blob(toy):
    cuts = [Fault(cut_up=300_000)] * 12  # each connection brings less than a chunk
    with FaultProxy(toy.port, cuts) as proxy, client(proxy.at) as registry:
        report = push(registry, BundleSource(BIG), "door")
        assert proxy.up_bytes <= 1.1 * BIG_BYTES
    assert report.resumes == 12 and set(BIG.blobs.values()) < set(toy.blobs.values())


def test_a_push_that_gave_up_is_gone_on_with_by_the_next(toy, tmp_path):
    notes = UploadNotes(tmp_path / "notes")
    with FaultProxy(toy.port, [Fault(cut_up=3_000_000)]) as proxy:
        with Registry(proxy.at, patience=replace(QUICK, attempts=1)) as registry, pytest.raises(TransferError):
            push(registry, BundleSource(BIG), "door", notes=notes)
        (upload,) = toy.uploads.values()
        kept = len(upload)
        assert kept > 2_000_000
        with client(proxy.at) as registry:
            report = push(registry, BundleSource(BIG), "door", notes=UploadNotes(tmp_path / "notes"))
    assert report.bytes_sent <= BIG_BYTES - kept and report.bytes_skipped >= kept and report.resumes == 0
    assert set(BIG.blobs.values()) < set(toy.blobs.values()) and not list((tmp_path / "notes").iterdir())


@pytest.mark.parametrize("note", ["/v2/door/blobs/uploads/ab", "http://[", "\xff", "", "/v2/door/blobs/uploads/bad"])
def test_a_note_that_leads_nowhere_costs_a_blob_or_one_push(toy, tmp_path, note):
    notes = UploadNotes(tmp_path)
    model = BIG.manifest.members["model.onnx"].digest
    toy.uploads["bad"] = bytearray(b"something else")
    notes.put(f"http://{toy.at}", "door", model, "x")
    next(tmp_path.iterdir()).write_bytes(note.encode("latin-1"))
    with client(toy.at) as registry:
        try:
            push(registry, BundleSource(BIG), "door", notes=notes)
        except TransferError:
            push(registry, BundleSource(BIG), "door", notes=notes)
    assert set(BIG.blobs.values()) < set(toy.blobs.values()) and not list(tmp_path.iterdir())


def test_old_notes_are_forgotten_and_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    notes = UploadNotes(tmp_path / "notes")
    for digest in ("a", "b"):
        notes.put("http://x", "door", digest, "/here")
    old = notes._path("http://x", "door", "a")
    os.utime(old, (1, 1))
    assert (notes.get("http://x", "door", "a"), notes.get("http://x", "door", "b")) == ("", "/here")
    os.utime(notes._path("http://x", "door", "b"), (1, 1))
    notes.tidy()
    assert not list((tmp_path / "notes").iterdir())
    (tmp_path / "file").write_text("")
    nowhere = UploadNotes(tmp_path / "file")
    nowhere.put("http://x", "door", "a", "/here")
    nowhere.tidy()
    assert nowhere.get("http://x", "door", "a") == ""


def test_a_registry_that_takes_its_time_with_a_chunk_is_not_measured_by_the_time_for_connecting(toy):
    toy.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    def pause(handler) -> bool:
        if handler.command == "PATCH":
            time.sleep(0.6)  # the chunk is larger than all buffers between, so the sender waits
        return False

    toy.hook = pause
    bundle = bundle_of(12 * 1024 * 1024)
    with Registry(toy.at, patience=replace(QUICK, connect_seconds=0.2)) as registry:
        assert push(registry, BundleSource(bundle), "door", chunk_bytes=2**24).resumes == 0


def test_progress_is_told_and_ends_with_everything(toy):
    told = []
    with FaultProxy(toy.port, [Fault(cut_up=700_000)]) as proxy, client(proxy.at) as registry:
        push(registry, BundleSource(BIG), "door", progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, BIG_BYTES) and told[-1] == (BIG_BYTES, BIG_BYTES)
    assert all(0 <= done <= total for done, total in told)


def test_a_lost_answer_to_the_last_request_is_no_loss(toy):
    lost = []

    def lose(handler) -> bool:
        if handler.command == "PUT" and "/blobs/" in handler.path and not lost:
            lost.append(handler.path)
            handler.give = lambda *_, **__: None  # done, but nobody hears of it
            toy.hook = lambda _: False
            handler.dispatch()
            handler.close_connection = True
            return True
        return False

    toy.hook = lose
    with client(toy.at) as registry:
        report = push(registry, BundleSource(GOOD), "door")
    assert lost and report.resumes == 1 and report.bytes_sent == sum(map(len, GOOD.blobs.values()))


def test_a_registry_that_forgets_uploads_gets_the_blob_anew(toy):
    def forget(handler) -> bool:
        if handler.command == "GET" and "/uploads/" in handler.path:
            toy.uploads.clear()
        return False

    toy.hook = forget
    with FaultProxy(toy.port, [Fault(cut_up=700_000)]) as proxy, client(proxy.at) as registry:
        report = push(registry, BundleSource(BIG), "door", chunk_bytes=CHUNK)
    assert set(BIG.blobs.values()) < set(toy.blobs.values()) and report.bytes_sent > BIG_BYTES


def test_a_link_that_never_lets_a_chunk_through_is_given_up(toy):
    # Each connection breaks before its first byte of body.
    with FaultProxy(toy.port, [Fault(cut_up=200)] * 100) as proxy, client(proxy.at) as registry:
        with pytest.raises(TransferError, match="the link broke"):
            push(registry, BundleSource(BIG), "door")
        assert proxy.connections < 60


def test_a_busy_registry_is_waited_for(toy):
    answers = iter([503, 429, 500, 502])

    def busy(handler) -> bool:
        status = next(answers, None) if handler.command == "PATCH" else None
        if status:
            handler.body()
            handler.fail(status, "TOOMANYREQUESTS", Retry_After="0")
        return status is not None

    toy.hook = busy
    with client(toy.at) as registry:
        assert push(registry, BundleSource(GOOD), "door").resumes == 4


def test_a_registry_that_is_always_busy_is_given_up_with_its_own_words(toy):
    def busy(handler) -> bool:
        if handler.command == "POST":
            handler.fail(503, "UNAVAILABLE")
        return handler.command == "POST"

    toy.hook = busy
    with client(toy.at) as registry, pytest.raises(TransferError, match="503 .UNAVAILABLE: unavailable") as caught:
        push(registry, BundleSource(GOOD), "door")
    assert caught.value.status == 503 and len(toy.paths("POST")) == QUICK.attempts


def test_without_referrers_api_the_fallback_index_is_kept_and_foreign_entries_stay(toy):
    toy.referrers = False
    tag = GOOD.digest.replace(":", "-")
    foreign = {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1, "artifactType": "sbom"}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [foreign]}
    toy.manifests["door", tag] = (INDEX_TYPE, json.dumps(index).encode())
    with client(toy.at) as registry:
        push(registry, BundleSource(GOOD_SIGNED), "door")
        push(registry, BundleSource(sign(GOOD_SIGNED, BOB)), "door")
        push(registry, BundleSource(sign(GOOD_SIGNED, BOB)), "door")
    kind, data = toy.manifests["door", tag]
    listed = json.loads(data)["manifests"]
    assert kind == INDEX_TYPE and listed[0] == foreign and len(listed) == 3
    assert {entry["artifactType"] for entry in listed[1:]} == {SIGNATURE_TYPE}


def test_a_source_that_cannot_be_read_is_no_broken_link(toy):
    class Broken(BundleSource):
        def open(self, digest: str, offset: int) -> BinaryIO:
            raise OSError(5, "Input/output error")

    with client(toy.at) as registry, pytest.raises(OSError, match="Input/output error"):
        push(registry, Broken(GOOD), "door")
    assert len(toy.paths("PATCH")) <= 1


def test_a_registry_that_changes_the_manifest_is_found_out(toy):
    def change(handler) -> bool:
        if handler.command == "PUT" and "/manifests/" in handler.path:
            handler.body()
            handler.give(201, Docker_Content_Digest="sha256:" + "0" * 64)
            return True
        return False

    toy.hook = change
    with client(toy.at) as registry, pytest.raises(TransferError, match="changes what it is given"):
        push(registry, BundleSource(GOOD), "door")


@pytest.mark.parametrize(
    ("name", "tag"), [("../door", ""), ("Door", ""), ("door", "a b"), ("door", "../x"), ("a//b", "")]
)
def test_names_and_tags_that_no_registry_has_are_refused_before_anything_is_sent(toy, name, tag):
    with client(toy.at) as registry, pytest.raises(TransferError, match="cannot be a"):
        push(registry, BundleSource(GOOD), name, tag)
    assert not toy.seen


def test_an_upload_that_is_sent_elsewhere_gets_no_credentials(toy):
    with ToyRegistry() as other:
        toy.auth = "token"
        # The other one stores the blob's bytes, as some clouds do, and must not learn the token.
        other.uploads["ab"] = bytearray()

        def elsewhere(handler) -> bool:
            if handler.command == "POST":
                handler.give(202, Location=f"http://{other.at}/v2/door/blobs/uploads/ab", Range="0-0")
                return True
            return False

        toy.hook = elsewhere
        with client(toy.at, token="fixed") as registry, pytest.raises(TransferError):
            push(registry, BundleSource(GOOD), "door")
        assert other.seen and all("Authorization" not in seen.headers for seen in other.seen)
        assert all(seen.headers.get("Authorization") == "Bearer fixed" for seen in toy.seen)
