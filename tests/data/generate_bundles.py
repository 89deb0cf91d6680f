"""Makes the bundles in tests/data/bundles: good ones, and one for each way of being broken.

Run ``python tests/data/generate_bundles.py`` after a deliberate change of the format. A test checks that this file and
the committed bundles agree, byte for byte, and that each broken one is refused with its own message.

Broken bundles are *signed over what is broken* wherever that is possible: a good signature must not open the door to
a bad structure. The keys come from fixed seeds and protect nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeml.bundles import Bundle, Keyring, PrivateKey, Signature, sign
from edgeml.bundles.archive import BLOCK, header, write
from edgeml.bundles.layout import entries
from edgeml.bundles.manifest import MANIFEST_TYPE
from edgeml.errors import ArchiveError, BundleError, DigestError, RequirementError, SignatureError

FOLDER = Path(__file__).parent / "bundles"

ALICE, BOB, MALLORY = (PrivateKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
ONE = Keyring((ALICE.public,))
TWO = Keyring((ALICE.public, BOB.public), threshold=2)

CONFIG: dict[str, Any] = {
    "format": 1,
    "name": "door",
    "version": "1.0.0",
    "task": "classification",
    "requires": {"edgeml": ">=0.1", "onnxruntime": ">=1.20"},
    "schema": {"features": [{"name": "x", "kind": "number"}], "unknown_fields": "reject", "layout": "record"},
    "outputs": {"labels": ["no", "yes"]},
    "fallback": {"label": "no"},
}
MEMBERS = {"CARD.md": b"# door\n", "model.onnx": bytes(range(100))}

Entries = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        data: The file's bytes.
        error: What reading it with the keyring raises; None for a good one.
        message: What the message must match.
        keyring: The keys to trust.
    """

    data: bytes
    error: type[BundleError] | None = None
    message: str = ""
    keyring: Keyring = ONE


def canonical(document: Any) -> bytes:
    """The canonical JSON of the format, written down a second time."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(data: bytes) -> str:
    """``sha256:<hex>``, written down a second time."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def packed(archive: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of these entries, however senseless."""
    return b"".join(write(archive))


def unpacked(data: bytes) -> Entries:
    """Names and contents of a good archive, read by Python's tarfile."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return [(info.name, data[info.offset_data : info.offset_data + info.size]) for info in archive]


def signed(bundle: Bundle, *keys: PrivateKey) -> bytes:
    """The file of a bundle signed by these keys."""
    for key in keys:
        bundle = sign(bundle, key)
    return b"".join(bundle.to_chunks())


def forged(manifest: bytes, blobs: Iterable[bytes], *keys: PrivateKey, version: str = "1.0.0") -> bytes:
    """A well-formed, well-signed archive over any manifest bytes and any blobs."""
    signatures = sorted((key.sign(MANIFEST_TYPE, manifest) for key in keys), key=lambda signature: signature.keyid)
    return packed(entries(manifest, version, signatures, {digest(blob): blob for blob in blobs}))


def with_config(config: bytes) -> bytes:
    """A well-signed bundle with any bytes as config."""
    document = json.loads(GOOD.manifest_bytes)
    document["config"] |= {"digest": digest(config), "size": len(config)}
    return forged(canonical(document), [config, *MEMBERS.values()], ALICE)


def with_manifest(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A well-signed bundle whose manifest was changed."""
    document = json.loads(GOOD.manifest_bytes)
    change(document)
    return forged(canonical(document), [GOOD.config_bytes, *MEMBERS.values()], ALICE)


def with_member(name: str, data: bytes) -> bytes:
    """A well-signed bundle with one more member, which nobody checked."""
    members = dict(sorted((MEMBERS | {name: data}).items()))
    harmless = {"rules.json": b"{}", "golden.jsonl": b"", "CARD.md": b""}
    document = json.loads(Bundle.create(CONFIG, MEMBERS | {name: harmless[name]}).manifest_bytes)
    for layer in document["layers"]:
        if layer["annotations"]["org.opencontainers.image.title"] == name:
            layer |= {"digest": digest(data), "size": len(data)}
    return forged(canonical(document), [GOOD.config_bytes, *members.values()], ALICE)


def flipped(data: bytes, offset: int) -> bytes:
    """The same bytes with one bit turned over."""
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


def offset_of(data: bytes, part: bytes) -> int:
    """Where a part stands, exactly once, in the data."""
    assert data.count(part) == 1
    return data.index(part)


def with_special(kind: int = tarfile.USTAR_FORMAT, **fields: Any) -> bytes:
    """The good archive with a foreign tar entry in front of the last one."""
    info = tarfile.TarInfo(f"blobs/sha256/{'0' * 64}")
    for key, value in fields.items():
        setattr(info, key, value)
    return SIGNED[:LAST_HEADER] + info.tobuf(kind) + SIGNED[LAST_HEADER:]


def renamed(new: str) -> bytes:
    """The good archive with another name on its last entry."""
    name, data = ENTRIES[-1]
    return SIGNED[:LAST_HEADER] + header(new, len(data)) + SIGNED[LAST_HEADER + BLOCK :]


def tampered_envelope() -> bytes:
    """An archive that is consistent in every hash, and whose signature bytes are not a signature."""
    good = GOOD_SIGNED.signatures[0]
    bad = Signature(good.keyid, flipped(good.value, 10))
    return packed(entries(GOOD.manifest_bytes, "1.0.0", [bad], GOOD.blobs))


def mix_and_match() -> bytes:
    """The signature of one bundle on the manifest of another of the same size."""
    other = Bundle.create(CONFIG, MEMBERS | {"CARD.md": b"# moor\n"})
    envelope, document, empty = unpacked(signed(other, ALICE))[3:6]
    archive = unpacked(b"".join(GOOD.to_chunks()))
    index = unpacked(SIGNED)[1]
    return packed([archive[0], index, archive[2], envelope, document, empty, *archive[3:]])


def cases() -> dict[str, Case]:
    """All files by name."""
    body = b"".join(GOOD.to_chunks())
    config = json.loads(GOOD.config_bytes)
    no_labels = {key: value for key, value in config.items() if key != "task"}
    last_name, last_data = ENTRIES[-1]

    def layer(index: int, **fields: Any) -> Callable[[dict[str, Any]], None]:
        return lambda document: document["layers"][index].update(fields)

    return {
        "good-unsigned": Case(body, SignatureError, "not signed at all"),
        "good-signed": Case(SIGNED),
        "good-two-signatures": Case(signed(GOOD, ALICE, BOB), keyring=TWO),
        # The file as such
        "empty": Case(b"", ArchiveError, "cut off"),
        "gzip": Case(gzip.compress(SIGNED, mtime=0).ljust(4096, b"\0"), ArchiveError, "not an .edgeml file"),
        "zip": Case(b"PK\x03\x04".ljust(4096, b"\0"), ArchiveError, "not an .edgeml file"),
        "truncated-in-block": Case(SIGNED[:-7], ArchiveError, "cut off"),
        "truncated-in-member": Case(SIGNED[: LAST_HEADER + BLOCK], ArchiveError, "cut off"),
        "truncated-before-member": Case(SIGNED[:LAST_HEADER], ArchiveError, "without the end mark"),
        "truncated-end-mark": Case(SIGNED[:-BLOCK], ArchiveError, "end mark of the archive is not whole"),
        "trailing-zeros": Case(SIGNED + bytes(BLOCK), ArchiveError, "after the end"),
        "trailing-data": Case(SIGNED + b"x" * BLOCK, ArchiveError, "after the end"),
        # One bit
        "flipped-header": Case(flipped(SIGNED, LAST_HEADER + 105), ArchiveError, "not the canonical one"),
        "flipped-header-checksum": Case(flipped(SIGNED, LAST_HEADER + 150), ArchiveError, "not the canonical one"),
        "flipped-header-spare": Case(flipped(SIGNED, LAST_HEADER + 511), ArchiveError, "not the canonical one"),
        "flipped-header-magic": Case(flipped(SIGNED, LAST_HEADER + 258), ArchiveError, "not a ustar header"),
        "flipped-padding": Case(flipped(SIGNED, len(SIGNED) - 2 * BLOCK - 1), ArchiveError, "padding"),
        "flipped-end-mark": Case(flipped(SIGNED, len(SIGNED) - 3), ArchiveError, "end mark"),
        "flipped-layout": Case(flipped(SIGNED, BLOCK + 5), ArchiveError, "oci-layout"),
        "flipped-index": Case(flipped(SIGNED, offset_of(SIGNED, b"ref.name")), ArchiveError, "index.json is damaged"),
        "flipped-manifest": Case(
            flipped(SIGNED, offset_of(SIGNED, b'"layers":[{"annotations"')),
            DigestError,
            "the manifest holds other bytes than were packed",
        ),
        "flipped-envelope": Case(
            flipped(SIGNED, offset_of(SIGNED, b'","sig":"') + 20), DigestError, "signature envelope holds other bytes"
        ),
        "flipped-model": Case(
            flipped(SIGNED, offset_of(SIGNED, bytes(range(100)))),
            DigestError,
            "model.onnx holds other bytes than were packed",
        ),
        # Entries
        "reordered-members": Case(
            packed([*ENTRIES[:-2], ENTRIES[-1], ENTRIES[-2]]), ArchiveError, "too early; CARD.md"
        ),
        "reordered-head": Case(
            packed([ENTRIES[1], ENTRIES[0], *ENTRIES[2:]]), ArchiveError, "where oci-layout belongs"
        ),
        "duplicate-member": Case(packed([*ENTRIES, ENTRIES[-1]]), ArchiveError, "blob .* appears twice"),
        "extra-member": Case(
            packed([*ENTRIES, ("blobs/sha256/" + digest(b"x")[7:], b"x")]), ArchiveError, "an extra entry"
        ),
        "missing-blob": Case(packed(ENTRIES[:-1]), ArchiveError, "model.onnx is missing"),
        "missing-index": Case(packed([ENTRIES[0], *ENTRIES[2:]]), ArchiveError, "where index.json belongs"),
        "wrong-size": Case(with_manifest(layer(1, size=101)), ArchiveError, "100 bytes, and the manifest says 101"),
        "wrong-digest": Case(
            packed([*ENTRIES[:-1], (last_name, last_data[::-1])]), DigestError, "holds other bytes than were packed"
        ),
        "huge-size": Case(
            SIGNED[:LAST_HEADER] + header(last_name, 8**11 - 1) + SIGNED[LAST_HEADER + BLOCK :],
            ArchiveError,
            "8589934591 bytes, and the manifest says 100",
        ),
        "symlink": Case(with_special(type=b"2", linkname="/etc/passwd"), ArchiveError, "a symbolic link"),
        "hard-link": Case(with_special(type=b"1", linkname="index.json"), ArchiveError, "a hard link"),
        "folder": Case(with_special(type=b"5"), ArchiveError, "a folder"),
        "device": Case(with_special(type=b"3"), ArchiveError, "a character device"),
        "pipe": Case(with_special(type=b"6"), ArchiveError, "a pipe"),
        "pax-header": Case(with_special(type=b"x"), ArchiveError, "an extended"),
        "pax-global-header": Case(with_special(type=b"g"), ArchiveError, "an extended"),
        "sparse": Case(with_special(type=b"S"), ArchiveError, "a sparse file"),
        "gnu-magic": Case(with_special(tarfile.GNU_FORMAT), ArchiveError, "not a ustar header"),
        "executable": Case(with_special(mode=0o755), ArchiveError, "not the canonical one"),
        "owner": Case(with_special(uid=1000, uname="eve"), ArchiveError, "not the canonical one"),
        "absolute-name": Case(renamed("/etc/passwd"), ArchiveError, "name '/etc/passwd' is not accepted"),
        "dot-dot-name": Case(renamed("blobs/sha256/../../../x"), ArchiveError, "is not accepted"),
        "upper-case-name": Case(renamed(last_name.upper()), ArchiveError, "is not accepted"),
        # Documents, well signed
        "config-bad-json": Case(with_config(b'{"format":1,'), ArchiveError, "config is not strict JSON"),
        "config-duplicate-keys": Case(
            with_config(GOOD.config_bytes[:-1] + b',"version":"2.0.0"}'), ArchiveError, "'version' appears twice"
        ),
        "config-nan": Case(with_config(GOOD.config_bytes[:-1] + b',"zeta":NaN}'), ArchiveError, "NaN is not JSON"),
        "config-beyond-float": Case(with_config(b'{"format":1e999}'), ArchiveError, "beyond float64"),
        "config-deep": Case(with_config(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"), ArchiveError, "nested deeper"),
        "config-not-utf8": Case(with_config(b'{"a":"\xff"}'), ArchiveError, "config is not strict JSON"),
        "config-spaces": Case(with_config(json.dumps(config).encode()), ArchiveError, "not in canonical form"),
        "config-list": Case(with_config(b"[]"), ArchiveError, "not a JSON object"),
        "config-format-2": Case(with_config(canonical(config | {"format": 2})), RequirementError, "has format 2"),
        "config-missing-key": Case(with_config(canonical(no_labels)), BundleError, "task is missing"),
        "config-wrong-type": Case(
            with_config(canonical(config | {"slo": {"p99_ms": "5"}})), BundleError, "slo must be"
        ),
        "config-bad-name": Case(with_config(canonical(config | {"name": "../door"})), BundleError, "name must be"),
        "config-other-name": Case(with_config(canonical(config | {"name": "gate"})), ArchiveError, "annotations"),
        "member-bad-json": Case(with_member("rules.json", b"{rules"), ArchiveError, "rules.json is not strict JSON"),
        "member-duplicate-keys": Case(
            with_member("rules.json", b'{"rules":[],"rules":[1]}'), ArchiveError, "rules.json .* appears twice"
        ),
        "member-bad-line": Case(
            with_member("golden.jsonl", b'{"a":1}\n{"a":Infinity}\n'), ArchiveError, "golden.jsonl, line 2"
        ),
        "member-card-not-utf8": Case(with_member("CARD.md", b"\xff\xfe"), ArchiveError, "CARD.md is not UTF-8"),
        "manifest-not-json": Case(forged(b"manifest", [], ALICE), ArchiveError, "the manifest is not strict JSON"),
        "manifest-foreign": Case(
            with_manifest(lambda document: document.update(artifactType="application/x")), ArchiveError, "artifactType"
        ),
        "manifest-extra-field": Case(
            with_manifest(lambda document: document.update(more=1)), ArchiveError, "fields, or an order"
        ),
        "manifest-unsorted": Case(
            with_manifest(lambda document: document["layers"].reverse()), ArchiveError, "fields, or an order"
        ),
        "manifest-unknown-member": Case(
            with_manifest(layer(0, annotations={"org.opencontainers.image.title": "setup.py"})),
            ArchiveError,
            "'setup.py' cannot be a member",
        ),
        "manifest-twice": Case(
            with_manifest(lambda document: document["layers"].append(document["layers"][1])),
            ArchiveError,
            "names member model.onnx twice",
        ),
        "manifest-huge-member": Case(with_manifest(layer(0, size=10**12)), ArchiveError, "0 to 4194304 bytes"),
        "manifest-other-version": Case(
            forged(GOOD.manifest_bytes, GOOD.blobs.values(), ALICE, version="1.0.1"), ArchiveError, "version 1.0.1"
        ),
        "index-bad-version": Case(
            forged(GOOD.manifest_bytes, GOOD.blobs.values(), ALICE, version="../1"),
            ArchiveError,
            "index.json is damaged",
        ),
        # Signatures
        "wrong-key": Case(signed(GOOD, MALLORY), SignatureError, "only by unknown keys"),
        "one-of-two-signatures": Case(SIGNED, SignatureError, "2 of 2 trusted keys are needed: only", TWO),
        "one-key-twice": Case(one_key_twice(), ArchiveError, "order of their key ids", TWO),
        "tampered-envelope": Case(tampered_envelope(), SignatureError, "does not fit these bytes"),
        "mix-and-match": Case(mix_and_match(), SignatureError, "over another manifest"),
        "envelope-of-other-size": Case(
            packed([*ENTRIES[:3], ("blobs/sha256/" + digest(b"x")[7:], b"x"), *ENTRIES[4:]]),
            SignatureError,
            "over another manifest",
        ),
        "envelope-loose-base64": Case(
            reassembled(loose_base64, lambda document: None), SignatureError, "envelope in this file is damaged"
        ),
        "envelope-other-key-id": Case(
            reassembled(lambda envelope: envelope.replace(b'"keyid":"3', b'"keyid":"G'), lambda document: None),
            SignatureError,
            "envelope in this file is damaged",
        ),
        "signature-manifest-extra-field": Case(
            reassembled(bytes, lambda document: document.update(annotations={})),
            ArchiveError,
            "a signature manifest has .* bytes; at most",
        ),
        "signature-manifest-other-type": Case(
            reassembled(bytes, lambda document: document["layers"][0].update(mediaType="application/vnd.dsse+json")),
            ArchiveError,
            "the signature manifest of key .* is not the one",
        ),
        "signature-left-out": Case(packed([*ENTRIES[:3], *ENTRIES[6:]]), SignatureError, "missing or over another"),
    }


def reassembled(change_envelope: Callable[[bytes], bytes], change_document: Callable[[dict[str, Any]], Any]) -> bytes:
    """A bundle whose signature parts were changed, with every hash and size made right again."""
    archive = dict(ENTRIES)
    names = list(archive)
    envelope = change_envelope(archive[names[3]])
    document = json.loads(archive[names[4]])
    document["layers"][0] |= {"digest": digest(envelope), "size": len(envelope)}
    change_document(document)
    index = json.loads(archive["index.json"])
    index["manifests"][1] |= {"digest": digest(canonical(document)), "size": len(canonical(document))}
    signature = [("blobs/sha256/" + digest(data)[7:], data) for data in (envelope, canonical(document))]
    return packed([ENTRIES[0], ("index.json", canonical(index)), ENTRIES[2], *signature, *ENTRIES[5:]])


def loose_base64(envelope: bytes) -> bytes:
    """The same signature in base64 whose unused last bits are not zero."""
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(envelope) - len(b'=="}]}') - 1
    return envelope[:at] + letters[letters.index(envelope[at]) + 1 :][:1] + envelope[at + 1 :]


def one_key_twice() -> bytes:
    """Two envelopes by one key, which must not count as two keys."""
    signature = GOOD_SIGNED.signatures[0]
    other = Signature(signature.keyid, flipped(signature.value, 3))
    return packed(entries(GOOD.manifest_bytes, "1.0.0", [signature, other], GOOD.blobs))


GOOD = Bundle.create(CONFIG, MEMBERS)
GOOD_SIGNED = sign(GOOD, ALICE)
SIGNED = b"".join(GOOD_SIGNED.to_chunks())
ENTRIES = unpacked(SIGNED)
LAST_HEADER = SIGNED.index(ENTRIES[-1][0].encode(), SIGNED.rindex(b"ustar\x0000") - 300)


def main() -> None:
    """Writes all files, and takes away those that are no longer made."""
    FOLDER.mkdir(exist_ok=True)
    made = {f"{name}.edgeml": case.data for name, case in cases().items()}
    for path in FOLDER.glob("*.edgeml"):
        if path.name not in made:
            path.unlink()
    for name, data in made.items():
        (FOLDER / name).write_bytes(data)
    print(f"{len(made)} bundles in {FOLDER}")


if __name__ == "__main__":
    main()
