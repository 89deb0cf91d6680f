"""Keyrings: who is trusted, how many must sign, when trust ends, how one keyring follows another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data.generate_bundles import ALICE, BOB, MALLORY, ONE, SIGNED

from edgeml.bundles import Bundle, Keyring, PrivateKey, Signature, rotate
from edgeml.errors import SignatureError

CAROL = PrivateKey.from_seed(b"carol".ljust(32))
TWO_OF_THREE = Keyring((ALICE.public, BOB.public, CAROL.public), threshold=2)


def signatures(*keys: PrivateKey) -> list[Signature]:
    return [key.sign("t", b"p") for key in keys]


def test_two_of_three() -> None:
    assert TWO_OF_THREE.check("t", b"p", signatures(ALICE, CAROL)) == {ALICE.keyid, CAROL.keyid}
    assert TWO_OF_THREE.check("t", b"p", signatures(MALLORY, ALICE, BOB)) == {ALICE.keyid, BOB.keyid}
    for given, message in (
        (signatures(), "not signed at all"),
        (signatures(MALLORY), "only by unknown keys"),
        (signatures(ALICE), f"only {ALICE.keyid[:16]} signed"),
        (signatures(ALICE, ALICE), f"only {ALICE.keyid[:16]} signed"),
        ([*signatures(ALICE), Signature(BOB.keyid, bytes(64))], f"the signature by {BOB.keyid[:16]} does not fit"),
        ([*signatures(ALICE), replace(signatures(ALICE)[0], keyid=BOB.keyid)], "does not fit"),
    ):
        with pytest.raises(SignatureError, match=message):
            TWO_OF_THREE.check("t", b"p", given)


def test_a_bad_signature_beside_enough_good_ones_does_no_harm() -> None:
    given = [*signatures(ALICE, BOB), Signature(CAROL.keyid, bytes(64))]
    assert TWO_OF_THREE.check("t", b"p", given) == {ALICE.keyid, BOB.keyid}


def test_file(tmp_path: Path) -> None:
    keyring = replace(TWO_OF_THREE, expires="2031-01-01T00:00:00Z").sign(ALICE, BOB)
    keyring.save(tmp_path / "keyring.json")
    again = Keyring.read(tmp_path / "keyring.json")
    assert {key.keyid for key in again.keys} == {key.keyid for key in keyring.keys}
    assert (again.threshold, again.version, again.expires) == (2, 1, "2031-01-01T00:00:00Z")
    assert again.signatures == keyring.signatures
    assert Keyring.from_bytes(again.to_bytes()) == again


def test_rotation() -> None:
    second = rotate(ONE, keys=[BOB.public, CAROL.public], threshold=2, signers=[ALICE, BOB, CAROL])
    assert second.version == 2 and ONE.accept(second) is second
    with pytest.raises(SignatureError):
        Bundle.from_bytes(SIGNED, keyring=second)
    third = rotate(second, keys=[ALICE.public], signers=[ALICE, BOB, CAROL])
    assert Bundle.from_bytes(SIGNED, keyring=Keyring.from_bytes(third.to_bytes())).trusted


@pytest.mark.parametrize(
    ("signers", "message"),
    [
        ([BOB, CAROL], "old keys: signatures by 1 of 1 .* only by unknown keys"),
        ([ALICE, BOB], "new keys: signatures by 2 of 2"),
        ([], "old keys: .* not signed at all"),
    ],
)
def test_rotation_needs_old_and_new_keys(signers: list[PrivateKey], message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        rotate(ONE, keys=[BOB.public, CAROL.public], threshold=2, signers=signers)


def test_rotation_goes_one_version_at_a_time() -> None:
    second = rotate(ONE, keys=[ALICE.public], signers=[ALICE])
    third = rotate(second, keys=[ALICE.public], signers=[ALICE])
    with pytest.raises(SignatureError, match="keyring 1 can be followed by 2, not 3"):
        ONE.accept(third)
    with pytest.raises(SignatureError, match="keyring 2 can be followed by 3, not 1"):
        second.accept(ONE)


def test_a_changed_successor_is_refused() -> None:
    second = rotate(ONE, keys=[BOB.public, ALICE.public], signers=[ALICE, BOB])
    for forged in (
        replace(second, keys=(ALICE.public, MALLORY.public)),
        replace(second, expires="2099-01-01T00:00:00Z"),
        replace(second, threshold=2),
    ):
        with pytest.raises(SignatureError, match="does not fit these bytes"):
            ONE.accept(forged)


def test_an_expired_keyring_still_hands_over() -> None:
    expired = replace(ONE, expires="2001-01-01T00:00:00Z")
    with pytest.raises(SignatureError, match="expired at 2001"):
        Bundle.from_bytes(SIGNED, keyring=expired)
    successor = rotate(expired, keys=[ALICE.public], signers=[ALICE])
    assert Bundle.from_bytes(SIGNED, keyring=successor).trusted


def test_a_keyring_signature_is_not_a_bundle_signature() -> None:
    """The media type is part of what is signed."""
    payload = b"the same bytes"
    signature = ALICE.sign("application/vnd.edgeml.keyring.v1+json", payload)
    with pytest.raises(SignatureError, match="does not fit"):
        ONE.check("application/vnd.oci.image.manifest.v1+json", payload, [signature])


PUBLIC: dict[str, Any] = json.loads(ONE.to_bytes())["keys"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": []}, "1 to 32 keys, not 0"),
        ({"keys": [PUBLIC, PUBLIC]}, "names a key twice"),
        ({"keys": [PUBLIC | {"keyid": "0" * 64}]}, "listed under another id"),
        ({"keys": [PUBLIC | {"public": "AAAA"}]}, "32 bytes, not 3"),
        ({"keys": [PUBLIC | {"public": "?"}]}, "public must be base64"),
        ({"keys": "all"}, "keys must be a list"),
        ({"threshold": 0}, "cannot have the threshold 0"),
        ({"threshold": 2}, "cannot have the threshold 2"),
        ({"threshold": True}, "threshold must be a whole number"),
        ({"version": 0}, "version is 1 or more"),
        ({"version": "1"}, "version must be a whole number"),
        ({"expires": "tomorrow"}, "must look like 2027"),
        ({"expires": "2027-13-01T00:00:00Z"}, "must look like 2027"),
        ({"expires": 5}, "expires must be a text"),
        ({"treshold": 2}, "unknown key 'treshold'"),
        ({"signatures": [{"sig": "AAAA"}]}, "without a keyid"),
    ],
)
def test_broken_keyrings_are_refused(change: dict[str, Any], message: str) -> None:
    document = json.loads(ONE.to_bytes()) | change
    with pytest.raises(SignatureError, match=message):
        Keyring.from_bytes(json.dumps(document).encode())


def test_duplicate_keys_and_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="'threshold' appears twice"):
        Keyring.from_bytes(ONE.to_bytes().replace(b'"version"', b'"threshold": 1, "version"'))
    path = tmp_path / "keyring.json"
    path.write_bytes(b" " * 70_000)
    with pytest.raises(SignatureError, match="larger than 65536 bytes"):
        Keyring.read(path)
    path.write_bytes(b"{}")
    with pytest.raises(SignatureError, match="keyring.json"):
        Keyring.read(path)
