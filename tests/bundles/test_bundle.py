"""Bundles as a whole: made, written, read, signed; the same inputs give the same bytes; no damage passes."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from data.generate_bundles import ALICE, BOB, CONFIG, GOOD, MEMBERS, ONE, SIGNED, TWO, canonical, digest, unpacked

from edgeml.bundles import Bundle, Keyring, Limits, sign, verify
from edgeml.errors import ArchiveError, BundleError, SignatureError

ALL_MEMBERS = {
    "CARD.md": "# tür\n".encode(),
    "features.json": b'{"ops": []}',
    "features.npy": b"\x93NUMPY" + bytes(100),
    "golden.jsonl": b'{"record":{},"expected":{}}\n',
    "kernel.trees.bin": bytes(1000),
    "model.onnx": os.urandom(4000),
    "reference.json": b"{}",
    "rules.json": b'{"rules":[]}',
}


def test_written_and_read_again(tmp_path: Path) -> None:
    config = CONFIG | {"created": "2026-01-02T03:04:05Z", "note": {"ü": [1, 2.5, None, True]}}
    bundle = Bundle.create(config, ALL_MEMBERS)
    bundle.save(tmp_path / "b.edgeml")
    again = Bundle.read(tmp_path / "b.edgeml")
    assert again.config == config
    assert dict(again.members) == ALL_MEMBERS
    assert (again.name, again.version, again.digest) == ("door", "1.0.0", bundle.digest)
    assert again.document("rules.json") == {"rules": []}
    assert not again.trusted and again.signatures == () and again.signers == frozenset()
    assert list(tmp_path.iterdir()) == [tmp_path / "b.edgeml"]


def test_the_file_is_an_oci_image_layout() -> None:
    """Followed the way any OCI tool would: index -> manifest -> config and layers, each by digest and size."""
    files = dict(unpacked(SIGNED))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    bundle, signature = index["manifests"]
    assert bundle["annotations"] == {"org.opencontainers.image.ref.name": "1.0.0"}
    assert bundle["digest"] == GOOD.digest and "annotations" not in signature

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert (len(data), digest(data)) == (descriptor["size"], descriptor["digest"])
        return data

    manifest = json.loads(blob(bundle))
    assert canonical(manifest) == blob(bundle)
    assert manifest["artifactType"] == "application/vnd.edgeml.bundle.v1"
    assert json.loads(blob(manifest["config"])) == CONFIG
    titles = {layer["annotations"]["org.opencontainers.image.title"]: blob(layer) for layer in manifest["layers"]}
    assert titles == MEMBERS
    referrer = json.loads(blob(signature))
    assert referrer["subject"]["digest"] == GOOD.digest
    assert referrer["artifactType"] == "application/vnd.edgeml.signature.v1"
    assert blob(referrer["config"]) == b"{}"


def test_a_stranger_can_verify_the_signature() -> None:
    """Only the DSSE and Ed25519 specifications are used here, none of our code."""
    files = dict(unpacked(SIGNED))
    envelope = json.loads(next(data for data in files.values() if data.startswith(b'{"payload"')))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    assert kind == "application/vnd.oci.image.manifest.v1+json" and digest(payload) == GOOD.digest
    message = b"DSSEv1 " + b" ".join([str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])
    [signature] = envelope["signatures"]
    assert signature["keyid"] == digest(ALICE.public.raw).removeprefix("sha256:")
    Ed25519PublicKey.from_public_bytes(ALICE.public.raw).verify(base64.b64decode(signature["sig"]), message)


def test_same_inputs_same_bytes_in_other_processes(tmp_path: Path) -> None:
    script = (
        "import sys; from edgeml.bundles import Bundle, PrivateKey, sign;"
        "from data.generate_bundles import CONFIG, MEMBERS, ALICE, BOB;"
        "flip = int(sys.argv[2]);"
        "order = lambda d: dict(reversed(list(d.items()))) if flip else d;"
        "b = sign(sign(Bundle.create(order(CONFIG), order(MEMBERS)), BOB if flip else ALICE), ALICE if flip else BOB);"
        "b.save(sys.argv[1])"
    )
    made = []
    for seed in ("0", "1", "4242"):
        path = tmp_path / f"{seed}.edgeml"
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        flip = "1" if seed == "1" else "0"
        subprocess.run([sys.executable, "-c", script, str(path), flip], env=environment, check=True)
        made.append(path.read_bytes())
    assert made[0] == made[1] == made[2]


def test_signing_keeps_the_digest_and_adds_up() -> None:
    once = sign(GOOD, ALICE)
    both = sign(once, BOB)
    assert GOOD.digest == once.digest == both.digest
    assert [signature.keyid for signature in both.signatures] == sorted([ALICE.keyid, BOB.keyid])
    assert b"".join(sign(sign(GOOD, BOB), ALICE).to_chunks()) == b"".join(both.to_chunks())
    assert b"".join(sign(both, ALICE).to_chunks()) == b"".join(both.to_chunks()), "twice changes nothing"
    assert verify(both, TWO) == {ALICE.keyid, BOB.keyid}
    with pytest.raises(SignatureError, match="2 of 2"):
        verify(once, TWO)
    with pytest.raises(BundleError, match="1 signatures, the most"):
        sign(once, BOB, limits=Limits(signatures=1))


def test_any_flipped_byte_is_refused() -> None:
    """300 places drawn at random, and every byte of the last header: each change, with and without a keyring."""
    chance = random.Random(7)
    places = [chance.randrange(len(SIGNED)) for _ in range(300)] + list(range(len(SIGNED) - 2048, len(SIGNED) - 1536))
    for place in places:
        data = bytearray(SIGNED)
        data[place] ^= chance.randrange(1, 256)
        for keyring in (ONE, None):
            with pytest.raises(BundleError) as caught:
                Bundle.from_bytes(bytes(data), keyring=keyring)
            assert len(str(caught.value)) > 20, place


def test_any_cut_is_refused() -> None:
    for size in [*range(0, len(SIGNED), 512), *range(1, len(SIGNED), 509)]:
        with pytest.raises(BundleError):
            Bundle.from_bytes(SIGNED[:size], keyring=ONE)


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "b.edgeml"
    path.write_bytes(SIGNED)
    for limits, message in (
        (Limits(total_bytes=len(SIGNED) - 1), "at most"),
        (Limits(files=4), "more than 4 entries"),
        (Limits(manifest_bytes=100), "the manifest has .* at most 100"),
        (Limits(index_bytes=100), "index.json has .* at most 100"),
        (Limits(signatures=0), "1 signatures; at most 0"),
    ):
        with pytest.raises(ArchiveError, match=message):
            Bundle.read(path, keyring=ONE, limits=limits)
    exact = Limits(total_bytes=len(SIGNED), files=len(unpacked(SIGNED)), signatures=1)
    assert Bundle.read(path, keyring=ONE, limits=exact).trusted
    with pytest.raises(BundleError, match="at most 5000"):
        Bundle.create(CONFIG, MEMBERS | {"model.onnx": bytes(5000)}, limits=Limits(total_bytes=5000))


def test_a_parser_sees_nothing_before_the_signature_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = json.JSONDecoder.decode

    def decode(self: json.JSONDecoder, text: str) -> Any:
        seen.append(text)
        return real(self, text)

    monkeypatch.setattr(json.JSONDecoder, "decode", decode)
    with pytest.raises(SignatureError):
        Bundle.from_bytes(SIGNED, keyring=Keyring((BOB.public,)))
    assert seen == []
    Bundle.from_bytes(SIGNED, keyring=ONE)
    assert seen[0] == GOOD.manifest_bytes.decode()


def test_without_a_keyring_digests_are_still_verified() -> None:
    bundle = Bundle.from_bytes(SIGNED)
    assert not bundle.trusted and len(bundle.signatures) == 1
    assert verify(bundle, ONE) == {ALICE.keyid}


def test_expired_keyring_reads_nothing_new() -> None:
    keyring = Keyring((ALICE.public,), expires="2026-01-01T00:00:00Z")
    assert Bundle.from_bytes(SIGNED, keyring=keyring, now=0.0).trusted, "a box whose clock starts in 1970 still starts"
    with pytest.raises(SignatureError, match="expired at 2026-01-01"):
        Bundle.from_bytes(SIGNED, keyring=keyring, now=1_767_225_600.0)
    assert Bundle.from_bytes(SIGNED, keyring=keyring, now=1_767_225_599.0).trusted


def test_members_with_equal_bytes_stand_once() -> None:
    """Also where they equal the empty config of the signatures."""
    bundle = Bundle.create(CONFIG, {"model.onnx": b"{}", "rules.json": b"{}", "reference.json": b"{}"})
    for made in (bundle, sign(bundle, ALICE)):
        data = b"".join(made.to_chunks())
        names = [name for name, _ in unpacked(data)]
        assert len(names) == len(set(names))
        assert dict(Bundle.from_bytes(data).members) == dict(bundle.members)


@pytest.mark.parametrize(
    ("config", "members", "message"),
    [
        ({}, {"setup.py": b""}, "'setup.py' cannot be a member"),
        ({}, {"kernel.../x": b""}, "cannot be a member"),
        ({}, {"rules.json": b"[]"}, "rules.json is not a JSON object"),
        ({}, {"golden.jsonl": b"{}\n\n{}"}, "golden.jsonl, line 2"),
        ({}, {"rules.json": bytes(5 * 1024 * 1024)}, "rules.json has 5242880 bytes; at most"),
        ({"tolerance": float("nan")}, {}, "config cannot be written as JSON"),
        ({"note": {1, 2}}, {}, "config cannot be written as JSON"),
        ({"note": "\ud800"}, {}, "config cannot be written as JSON"),
        ({"note": "x" * 1024 * 1024}, {}, "config has .* at most"),
        ({"version": "1/2"}, {}, "version must be"),
    ],
)
def test_what_cannot_be_packed_is_refused(config: dict[str, Any], members: dict[str, bytes], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle.create(CONFIG | config, MEMBERS | members)


def test_a_bundle_needs_something_that_answers() -> None:
    with pytest.raises(BundleError, match="at least one of model.onnx and rules.json"):
        Bundle.create(CONFIG, {"CARD.md": b""})
    assert Bundle.create(CONFIG, {"rules.json": b"{}"}).members.keys() == {"rules.json"}


def test_missing_member_is_named() -> None:
    with pytest.raises(BundleError, match="no member rules.json"):
        GOOD.document("rules.json")
