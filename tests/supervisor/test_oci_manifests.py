"""Manifests and signatures come in, in either order; installed bundles go out again."""

import json

import pytest
from bundles.releases import release
from data.generate_bundles import ALICE, BOB, MALLORY, TWO
from supervisor.boxes import digest_of

from edgeml.bundles import Keyring, sign
from edgeml.bundles.disk import Disk
from edgeml.bundles.layout import (
    EMPTY_CONFIG,
    INDEX_TYPE,
    SIGNATURE_TYPE,
    signature_blobs,
    signature_manifest_size,
    signature_subject,
)
from edgeml.bundles.manifest import MANIFEST_TYPE
from edgeml.supervisor.callers import Callers
from edgeml.supervisor.management import serve_management
from edgeml.supervisor.management_app import make_management_app


def model(box, name="door"):
    return box.store.state().models[name]


class TestTheOneForm:
    def test_a_signature_manifest_is_known_by_its_bytes(self):
        bundle = release("1")
        envelope, document = signature_blobs(bundle.manifest_bytes, bundle.signatures[0])
        subject, held = signature_subject(document)
        assert (subject.digest, subject.size) == (bundle.digest, len(bundle.manifest_bytes))
        assert (held.digest, held.size) == (digest_of(envelope), len(envelope))
        assert len(document) == signature_manifest_size(bundle.manifest_bytes)

    def test_and_by_each_of_them(self):
        bundle = release("1")
        _, document = signature_blobs(bundle.manifest_bytes, bundle.signatures[0])
        for position in range(len(document)):
            changed = bytearray(document)
            changed[position] ^= 1
            found = signature_subject(bytes(changed))
            # Only digests and sizes may differ, and sizes only together.
            assert found is None or found != signature_subject(document)
        for other in (document + b"\n", b" " + document, document[:-1], b"", b"{}", bundle.manifest_bytes):
            assert signature_subject(other) is None


@pytest.mark.parametrize("first", ["signature", "manifest"])
def test_signature_and_manifest_in_either_order(box, first):
    bundle = release("1")
    box.push_blobs(bundle)
    if first == "signature":
        [said] = box.push_signatures(bundle)
        assert (said.status, said.headers["edgeml-state"]) == (201, "waiting")
        assert said.headers["oci-subject"] == bundle.digest
        said = box.push_manifest(bundle.manifest_bytes, "1")
    else:
        said = box.push_manifest(bundle.manifest_bytes, "1")
        assert (said.status, said.headers["edgeml-state"]) == (201, "waiting")
        assert "not signed at all" in said.headers["edgeml-reason"]
        assert box.store.state().models == {}
        [said] = box.push_signatures(bundle)
        assert said.headers["oci-subject"] == bundle.digest
    assert (said.status, said.headers["edgeml-state"]) == (201, "installed")
    assert said.headers["docker-content-digest"].startswith("sha256:")
    assert box.store.read_bundle(bundle.digest).signers == {ALICE.keyid}
    assert box.store.journal.entries()[0].who == "api:tests"
    assert not [name for name in box.store.incoming.waiting() if name != EMPTY_CONFIG.digest[7:]]


def test_pushing_again_changes_nothing(box):
    bundle = release("1")
    box.push(bundle)
    before = box.store.state()
    for said in (box.push(bundle), box.push_manifest(bundle.manifest_bytes, bundle.digest)):
        assert (said.status, said.headers["edgeml-state"]) == (201, "installed")
    assert box.store.state() == before


def test_a_second_signature_is_added_to_an_installed_bundle(new_box):
    box = new_box(keyring=Keyring((ALICE.public, BOB.public)))
    box.push(release("1"))
    [_, said] = box.push_signatures(sign(release("1"), BOB))
    assert said.headers["edgeml-state"] == "installed"
    assert box.store.read_bundle(release("1").digest).signers == {ALICE.keyid, BOB.keyid}


@pytest.mark.parametrize("first", ["signature", "manifest"])
def test_two_of_two(new_box, first):
    box = new_box(keyring=TWO)
    one, both = release("1"), release("1", keys=(ALICE, BOB))
    box.push_blobs(one)
    if first == "manifest":
        assert box.push_manifest(one.manifest_bytes, "1").headers["edgeml-state"] == "waiting"
    [said] = box.push_signatures(one)
    assert said.headers["edgeml-state"] == "waiting"
    if first == "signature":
        said = box.push_manifest(one.manifest_bytes, "1")
        assert said.headers["edgeml-state"] == "waiting" and "2 of 2" in said.headers["edgeml-reason"]
    assert box.push_signatures(both)[-1].headers["edgeml-state"] == "installed"


def test_a_foreign_signature_is_refused_and_leaves_nothing(box):
    bundle = release("1", keys=(MALLORY,))
    box.push_blobs(bundle)
    box.push_signatures(bundle)
    said = box.push_manifest(bundle.manifest_bytes, "1")
    assert (said.status, said.code) == (403, "DENIED") and "unknown keys" in said.json["errors"][0]["message"]
    assert box.store.incoming.size(bundle.digest[7:]) is None
    assert box.store.incoming.signatures(bundle.digest[7:]) == []
    # and it cannot stand in the way of the good one
    assert box.push(sign(bundle, ALICE)).headers["edgeml-state"] == "installed"


def test_a_foreign_signature_over_a_waiting_manifest_is_refused_at_once(box):
    bundle = release("1", keys=(MALLORY,))
    box.push_blobs(bundle)
    box.push_manifest(bundle.manifest_bytes, "1")
    [said] = box.push_signatures(bundle)
    assert (said.status, said.code) == (403, "DENIED")
    assert box.store.incoming.signatures(bundle.digest[7:]) == []
    assert box.push_signatures(release("1"))[0].headers["edgeml-state"] == "installed"


def test_a_missing_blob_or_envelope(box):
    bundle = release("1")
    envelope, document = signature_blobs(bundle.manifest_bytes, bundle.signatures[0])
    said = box.push_manifest(document, digest_of(document))
    assert (said.status, said.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    box.push_signatures(bundle)
    said = box.push_manifest(bundle.manifest_bytes, "1")
    assert (said.status, said.code) == (404, "MANIFEST_BLOB_UNKNOWN") and "config" in said.json["errors"][0]["message"]
    box.push_blobs(bundle)
    assert box.push_manifest(bundle.manifest_bytes, "1").headers["edgeml-state"] == "installed"


def test_a_manifest_under_another_name_tag_or_digest(box):
    bundle = release("1")
    box.push_blobs(bundle)
    box.push_signatures(bundle)
    for name, reference, code in (
        ("gate", "1", "NAME_INVALID"),
        ("door", "2", "MANIFEST_INVALID"),
        ("door", "-x", "MANIFEST_INVALID"),
        ("door", "sha256:" + "0" * 64, "DIGEST_INVALID"),
        ("door", "sha256:x", "DIGEST_INVALID"),
    ):
        said = box.push_manifest(bundle.manifest_bytes, reference, name)
        assert (said.status, said.code) == (400, code)
        box.push_signatures(bundle)
    assert box.push_manifest(bundle.manifest_bytes, "latest").headers["edgeml-state"] == "installed"
    said = box.push_manifest(bundle.manifest_bytes, "2")
    assert (said.status, said.code) == (400, "MANIFEST_INVALID")


def test_a_version_that_is_another_bundle_is_a_conflict(box):
    box.push(release("1"))
    said = box.push(release("1", size=1))
    assert said.status == 409 and "versions never change" in said.json["errors"][0]["message"]


def test_a_manifest_that_is_too_large(box):
    said = box.push_manifest(b"{" + b" " * 256 * 1024 + b"}", "1")
    assert (said.status, said.code) == (413, "SIZE_INVALID")


JUNK = [b"", b"{}", b"\xff\x00", b"[" * 100_000, b'{"schemaVersion":2}', b'{"a":NaN}']


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_junk_waits_unparsed_and_goes_nowhere(box, junk):
    said = box.push_manifest(junk, "1")
    assert (said.status, said.headers["edgeml-state"]) == (201, "waiting")
    assert box.store.state().models == {}


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_junk_is_refused_where_nobody_asks_for_signatures(new_box, junk):
    box = new_box(keyring=None, allow_unsigned=True)
    said = box.push_manifest(junk, "1")
    assert (said.status, said.code) == (400, "MANIFEST_INVALID")
    assert box.store.incoming.waiting() == {}


def test_an_unsigned_bundle_where_the_operator_allows_it(new_box):
    box = new_box(keyring=None, allow_unsigned=True)
    assert box.push(release("1", keys=())).headers["edgeml-state"] == "installed"


def test_what_waits_survives_a_restart(new_box, tmp_path):
    box = new_box()
    bundle = release("1")
    box.push_blobs(bundle)
    box.push_signatures(bundle)
    box.management.stop(grace_seconds=0.5)
    box.management = serve_management(make_management_app(box.store, box.releases, Callers(box.tokens)))
    assert box.push_manifest(bundle.manifest_bytes, "1").headers["edgeml-state"] == "installed"


def test_the_list_under_a_tag_that_older_clients_keep_is_taken_and_ignored(box):
    bundle = release("1")
    index = b'{"schemaVersion":2,"manifests":[]}'
    tag = bundle.digest.replace(":", "-")
    said = box.ask("PUT", f"/v2/door/manifests/{tag}", index, Content_Type=INDEX_TYPE)
    assert (said.status, said.headers["docker-content-digest"]) == (201, digest_of(index))
    assert box.ask("GET", f"/v2/door/manifests/{tag}").status == 404
    assert list(box.store.incoming.folder.iterdir()) == []


@pytest.mark.parametrize("step", ["sync", "rename", "sync_folder", "seal", "create"])
def test_a_disk_that_fails_once_holds_nothing_against_the_bundle(box, monkeypatch, step):
    bundle = release("1")
    box.push_blobs(bundle)
    box.push_signatures(bundle)
    failures = [OSError(5, "Input/output error")]
    real = getattr(Disk, step)

    def failing(self, *arguments):
        if failures:
            raise failures.pop()
        return real(self, *arguments)

    monkeypatch.setattr(Disk, step, failing)
    said = box.push_manifest(bundle.manifest_bytes, "1")
    assert (said.status, failures) == (507, []) and "Input/output" in said.json["errors"][0]["message"]
    assert nothing_is_denied(box)
    monkeypatch.undo()
    assert box.push(bundle).headers["edgeml-state"] == "installed"


def nothing_is_denied(box):
    return all(not each.denied for each in box.store.state().models.values())


class TestPulling:
    def test_everything_that_a_neighbour_needs(self, box):
        bundle = release("1", size=100_000)
        box.push(bundle)
        box.push(release("2"))
        reader = box.tokens.create("neighbour", [])

        def get(path, **headers):
            return box.ask("GET", f"/v2/door/{path}", token=reader, **headers)

        assert get("tags/list").json == {"name": "door", "tags": ["1", "2"]}
        for reference in ("1", bundle.digest):
            said = get(f"manifests/{reference}")
            assert (said.body, said.headers["docker-content-digest"]) == (bundle.manifest_bytes, bundle.digest)
            assert said.headers["content-type"] == MANIFEST_TYPE
            assert box.ask("HEAD", f"/v2/door/manifests/{reference}").headers["content-length"] == str(len(said.body))
        for digest, data in bundle.blobs.items():
            if digest != bundle.digest:
                assert get(f"blobs/{digest}").body == data
        [entry] = get(f"referrers/{bundle.digest}").json["manifests"]
        assert entry["artifactType"] == SIGNATURE_TYPE
        said = get(f"referrers/{bundle.digest}?artifactType={SIGNATURE_TYPE}")
        assert said.headers["oci-filters-applied"] == "artifactType" and len(said.json["manifests"]) == 1
        assert get(f"referrers/{bundle.digest}?artifactType=x").json["manifests"] == []
        document = json.loads(get(f"manifests/{entry['digest']}").body)
        assert document["subject"]["digest"] == bundle.digest
        envelope = get(f"blobs/{document['layers'][0]['digest']}").body
        assert envelope == signature_blobs(bundle.manifest_bytes, bundle.signatures[0])[0]

    def test_latest_is_what_is_active(self, box):
        box.push(release("1"))
        box.push(release("2"))
        assert box.ask("GET", "/v2/door/manifests/latest").status == 404
        box.store.activate(release("1").digest, now=True)
        assert box.ask("GET", "/v2/door/manifests/latest").headers["docker-content-digest"] == release("1").digest

    RANGES = [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=5-", 206, 5, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=0-99999999", 206, 0, None),
        ("bytes=-99999999", 206, 0, None),
        ("bytes=0-1,3-4", 200, 0, None),
        ("lines=0-1", 200, 0, None),
        ("bytes=-", 200, 0, None),
    ]

    @pytest.mark.parametrize("asked, status, start, end", RANGES)
    def test_ranges(self, box, asked, status, start, end):
        bundle = release("1", size=1000)
        box.push(bundle)
        digest = bundle.manifest.members["model.onnx"].digest
        data = bundle.blobs[digest]
        said = box.ask("GET", f"/v2/door/blobs/{digest}", Range=asked)
        assert (said.status, said.body) == (status, data[start:end])
        assert said.headers["etag"] == f'"{digest}"'
        if status == 206:
            first, last = said.headers["content-range"].removeprefix("bytes ").split("/")[0].split("-")
            assert data[int(first) : int(last) + 1] == said.body

    def test_ranges_that_are_not_there(self, box):
        bundle = release("1")
        box.push(bundle)
        digest = bundle.manifest.members["model.onnx"].digest
        size = len(bundle.blobs[digest])
        for asked in (f"bytes={size}-", "bytes=5-2", "bytes=-0"):
            said = box.ask("GET", f"/v2/door/blobs/{digest}", Range=asked)
            assert (said.status, said.headers["content-range"]) == (416, f"bytes */{size}")
        said = box.ask("GET", f"/v2/door/blobs/{digest}", Range="bytes=1-", If_Range='"sha256:other"')
        assert (said.status, said.body) == (200, bundle.blobs[digest])

    def test_what_is_not_installed_is_not_given(self, box):
        box.push(release("1"))
        keyring = box.store.state().keyring
        for path, code in (
            ("gate/tags/list", "NAME_UNKNOWN"),
            ("gate/manifests/1", "NAME_UNKNOWN"),
            ("door/manifests/2", "MANIFEST_UNKNOWN"),
            (f"door/blobs/sha256:{keyring}", "BLOB_UNKNOWN"),
            (f"gate/blobs/{release('1').manifest.members['model.onnx'].digest}", "BLOB_UNKNOWN"),
        ):
            said = box.ask("GET", f"/v2/{path}")
            assert (said.status, said.code) == (404, code), path
        assert box.ask("GET", f"/v2/door/referrers/sha256:{'0' * 64}").json["manifests"] == []

    def test_a_damaged_bundle_hides_only_itself(self, box):
        box.push(release("1"))
        box.push(release("2"))
        path = box.store.blobs.folder / release("1").digest[7:]
        path.chmod(0o644)
        path.write_bytes(b"rotten")
        assert box.ask("GET", "/v2/door/tags/list").json["tags"] == ["2"]
