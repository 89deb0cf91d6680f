"""Keys and signatures: known vectors, PEM files, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeml.bundles.signing import PrivateKey, PublicKey, generate_key, is_encrypted, pae
from edgeml.errors import SignatureError

# RFC 8032, section 7.1, TEST 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_public_key_of_rfc_8032() -> None:
    key = PrivateKey.from_seed(SEED)
    assert key.public.raw == PUBLIC
    assert key.keyid == "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9"


def test_pre_authentication_encoding_of_the_dsse_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_a_signature_fits_only_its_key_type_and_bytes() -> None:
    key, other = generate_key(), generate_key()
    signature = key.sign("a/b", b"payload").value
    assert key.public.accepts(signature, "a/b", b"payload")
    assert not other.public.accepts(signature, "a/b", b"payload")
    assert not key.public.accepts(signature, "a/c", b"payload")
    assert not key.public.accepts(signature, "a/b", b"payloae")
    assert not key.public.accepts(signature[:-1], "a/b", b"payload")
    assert not key.public.accepts(b"", "a/b", b"payload")
    # A key that is no point of the curve accepts nothing, and raises nothing.
    assert not PublicKey(b"\xff" * 32).accepts(signature, "a/b", b"payload")


@pytest.mark.parametrize("passphrase", [None, "grüße"])
def test_private_key_file(passphrase: str | None) -> None:
    key = generate_key()
    pem = key.to_pem(passphrase)
    assert is_encrypted(pem) is (passphrase is not None)
    assert PrivateKey.from_pem(pem, passphrase).keyid == key.keyid
    assert PublicKey.from_pem(key.public.to_pem()) == key.public


def test_private_keys_that_are_refused() -> None:
    locked = generate_key().to_pem("secret")
    curve = generate_private_key(SECP256R1())
    foreign = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem, passphrase, message in (
        (locked, None, "assword"),
        (locked, "wrong", "is the passphrase right"),
        (generate_key().to_pem(), "needless", "assword"),
        (b"junk", None, "not a private key in PEM"),
        (foreign, None, "not an Ed25519 key"),
    ):
        with pytest.raises(SignatureError, match=message):
            PrivateKey.from_pem(pem, passphrase)


def test_public_keys_that_are_refused() -> None:
    foreign = generate_private_key(SECP256R1()).public_key()
    for pem, message in (
        (b"junk", "not a public key in PEM"),
        (foreign.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "not an Ed25519 key"),
    ):
        with pytest.raises(SignatureError, match=message):
            PublicKey.from_pem(pem)
    with pytest.raises(SignatureError, match="32 bytes, not 31"):
        PublicKey(bytes(31))


def test_a_private_key_shows_itself_nowhere() -> None:
    key = PrivateKey.from_seed(SEED)
    assert repr(key) == f"PrivateKey({key.keyid[:16]}...)"
    assert not hasattr(key, "__dict__")


def test_a_box_that_verifies_nothing_does_not_load_cryptography() -> None:
    script = (
        "import sys; from edgeml.bundles import Bundle; from data.generate_bundles import FOLDER\n"
        "print(any(name.split('.')[0] == 'cryptography' for name in sys.modules))"
    )
    lean = "import sys, edgeml.bundles; print(any(name.split('.')[0] == 'cryptography' for name in sys.modules))"
    answers = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()
        ).stdout
        for code in (lean, script)
    ]
    # The second, which signs when it is imported, shows that the question can be answered with yes.
    assert [answer.strip() for answer in answers] == ["False", "True"]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
