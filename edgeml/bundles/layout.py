"""The OCI image layout inside the archive: which entries there are, and in which order.

Order, so that one pass over the file meets every byte when it is due::

    oci-layout                       a constant
    index.json                       names the manifest and the signature manifests
    blobs/sha256/<manifest>
    blobs/sha256/<envelope>          } for each signature,
    blobs/sha256/<signature manifest>} in the order of key ids
    blobs/sha256/44136fa3...         `{}`, the empty config that signature manifests refer to; only where there are any
    blobs/sha256/<config>
    blobs/sha256/<member>            in the order of member names; equal bytes stand once

Reading the head (all before the config) parses nothing: every part but the manifest's own bytes, key ids, signature
bytes and the version label follows from what came before, so it is written again and compared.

Sources: OCI image specification 1.1, ``image-layout.md``, ``image-index.md``, ``manifest.md`` (subject, empty
descriptor).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from edgeml.bundles.archive import BLOB_PREFIX, ArchiveReader, Entry, Limits, blob_name, digest_of, shown
from edgeml.bundles.config import is_version
from edgeml.bundles.documents import canonical
from edgeml.bundles.envelope import ENVELOPE_TYPE, envelope_bytes, envelope_size, read_envelope
from edgeml.bundles.manifest import BUNDLE_TYPE, MANIFEST_TYPE, Descriptor, Manifest
from edgeml.bundles.signing import Signature
from edgeml.errors import ArchiveError, SignatureError

SIGNATURE_TYPE = "application/vnd.edgeml.signature.v1"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
EMPTY = b"{}"
EMPTY_CONFIG = Descriptor.of(EMPTY, "application/vnd.oci.empty.v1+json")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# Stands for the version label while the rest of the index is compared; no version label can look like this.
_UNKNOWN_VERSION = "/version/"


@dataclass(frozen=True, slots=True)
class Head:
    """The part of the archive that is read before a signature is good.

    Attributes:
        manifest: The manifest's exact bytes, not parsed.
        version: The version label in the index; must turn out to be the manifest's.
        signatures: As they stand in the envelopes, not verified.
        blobs: The bytes of every blob read so far, by digest.
    """

    manifest: bytes
    version: str
    signatures: tuple[Signature, ...]
    blobs: Mapping[str, bytes]


def entries(
    manifest: bytes, version: str, signatures: Sequence[Signature], blobs: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """All entries of an archive, in order.

    Args:
        manifest: The manifest's exact bytes.
        version: The version label.
        signatures: In the order of key ids.
        blobs: Config and members, by digest and in their order.
    """
    signed = [signature_blobs(manifest, signature) for signature in signatures]
    yield "oci-layout", OCI_LAYOUT
    yield "index.json", _index(manifest, version, [document for _, document in signed])
    head = [manifest, *(blob for pair in signed for blob in pair), *([EMPTY] if signed else [])]
    for digest, blob in ({digest_of(blob): blob for blob in head} | dict(blobs)).items():
        yield blob_name(digest), blob


def read_head(reader: ArchiveReader, limits: Limits) -> Head:
    """Reads everything up to the config, and parses none of it.

    Args:
        reader: At the beginning of the archive.
        limits: What is accepted at most.

    Raises:
        ArchiveError: The entries are not those that belong here.
        DigestError: A blob is not what its name says.
        SignatureError: An envelope is damaged or over another manifest.
    """
    if _entry(reader, "oci-layout", len(OCI_LAYOUT)) != OCI_LAYOUT:
        raise ArchiveError("oci-layout is not the one of an .edgeml file")
    index = _entry(reader, "index.json", limits.index_bytes)
    manifest = _blob(reader, "the manifest", limits.manifest_bytes)
    blobs = {digest_of(manifest): manifest}
    # How many there are, not what they say: the index is compared as a whole below.
    count = index.count(SIGNATURE_TYPE.encode())
    if count > limits.signatures:
        raise ArchiveError(f"the file has {count} signatures; at most {limits.signatures} are accepted")
    signatures: list[Signature] = []
    documents: list[bytes] = []
    for _ in range(count):
        signature, envelope, document = _read_signature(reader, manifest)
        if signatures and signature.keyid <= signatures[-1].keyid:
            raise ArchiveError("the signatures do not stand in the order of their key ids, each key once")
        signatures.append(signature)
        documents.append(document)
        blobs |= {digest_of(envelope): envelope, digest_of(document): document}
    if count:
        blobs[EMPTY_CONFIG.digest] = _entry(reader, blob_name(EMPTY_CONFIG.digest), len(EMPTY))
    return Head(manifest, _version_in(index, manifest, documents), tuple(signatures), blobs)


def read_blobs(reader: ArchiveReader, manifest: Manifest, head: Head) -> dict[str, bytes]:
    """Reads config and members up to the end of the archive.

    Args:
        reader: Behind the head.
        manifest: The parsed manifest.
        head: What was read before.

    Returns:
        The bytes of every blob, by digest.

    Raises:
        ArchiveError: An entry is missing, extra, out of order, or of another size than the manifest says.
        DigestError: A blob is not what its name says.
    """
    blobs = dict(head.blobs)
    waiting: dict[str, tuple[str, Descriptor]] = {}
    for where, descriptor in (("config", manifest.config), *manifest.members.items()):
        if descriptor.digest not in blobs:
            waiting.setdefault(blob_name(descriptor.digest), (where, descriptor))
    while waiting:
        name, (where, descriptor) = next(iter(waiting.items()))
        entry = reader.peek()
        if entry is None:
            raise ArchiveError(f"{where} is missing: the archive ends without its {shown(name)}")
        if entry.name != name:
            problem = "stands too early" if entry.name in waiting else "is not named by the manifest"
            raise ArchiveError(f"{shown(entry.name)} {problem}; {where} ({shown(name)}) belongs there")
        if entry.size != descriptor.size:
            raise ArchiveError(f"{where} has {entry.size} bytes, and the manifest says {descriptor.size}")
        blobs[descriptor.digest] = reader.read(where, descriptor.size)
        del waiting[name]
    extra = reader.peek()
    if extra is not None:
        raise ArchiveError(f"{shown(extra.name)} is not named by the manifest: an extra entry")
    for where, descriptor in (("config", manifest.config), *manifest.members.items()):
        if len(blobs[descriptor.digest]) != descriptor.size:
            size = len(blobs[descriptor.digest])
            raise ArchiveError(f"{where} has {size} bytes, and the manifest says {descriptor.size}")
    return blobs


def signature_blobs(manifest: bytes, signature: Signature) -> tuple[bytes, bytes]:
    """Envelope and signature manifest that belong to a signature.

    Args:
        manifest: The manifest's exact bytes.
        signature: The signature over them.
    """
    envelope = envelope_bytes(manifest, signature)
    return envelope, _signature_manifest(manifest, envelope)


def envelope_of(signature_manifest: bytes, manifest: bytes) -> Descriptor:
    """The envelope that a signature manifest names; the rest is compared with the one form, and nothing is parsed.

    Args:
        signature_manifest: The bytes that came.
        manifest: The manifest that they are said to be about.

    Raises:
        SignatureError: They are not a signature manifest of edgeml about this manifest.
    """
    size = envelope_size(len(manifest))
    unknown = "sha256:" + "?" * 64
    form = _signature_manifest_of(manifest, Descriptor(ENVELOPE_TYPE, unknown, size))
    before, _, _ = form.partition(unknown.encode())
    digest = signature_manifest[len(before) : len(before) + len(unknown)].decode("ascii", "replace")
    envelope = Descriptor(ENVELOPE_TYPE, digest, size)
    if not _DIGEST.match(digest) or _signature_manifest_of(manifest, envelope) != signature_manifest:
        raise SignatureError("a signature manifest is about another bundle, or not in the form that edgeml writes")
    return envelope


def signature_manifest_size(manifest: bytes) -> int:
    """The size of every signature manifest about a manifest, in bytes."""
    unknown = Descriptor(ENVELOPE_TYPE, "sha256:" + "?" * 64, envelope_size(len(manifest)))
    return len(_signature_manifest_of(manifest, unknown))


def signature_subject(data: bytes) -> tuple[Descriptor, Descriptor] | None:
    """What a signature manifest is about, before the manifest that it is about is here; nothing is parsed.

    Args:
        data: Any bytes.

    Returns:
        Descriptors of the signed manifest and of the envelope; None where the bytes are not, one by one, in the form
        that edgeml writes.
    """
    found = _signature_form().fullmatch(data)
    if found is None:
        return None
    envelope, length, subject, size = (group.decode() for group in found.groups())
    if envelope_size(int(size)) != int(length):
        return None
    return Descriptor(MANIFEST_TYPE, subject, int(size)), Descriptor(ENVELOPE_TYPE, envelope, int(length))


@cache
def _signature_form() -> re.Pattern[bytes]:
    """The one form of a signature manifest, with the digests and sizes left open."""
    unknown = Descriptor(ENVELOPE_TYPE, "sha256:?", -1)
    form = re.escape(_signature_document(unknown, Descriptor(MANIFEST_TYPE, "sha256:?", -1)))
    form = form.replace(re.escape(b"sha256:?"), b"(sha256:[0-9a-f]{64})").replace(
        re.escape(b"-1"), b"([1-9][0-9]{0,9})"
    )
    return re.compile(form)


def _read_signature(reader: ArchiveReader, manifest: bytes) -> tuple[Signature, bytes, bytes]:
    entry, size = reader.peek(), envelope_size(len(manifest))
    if entry is not None and entry.name.startswith(BLOB_PREFIX) and entry.size != size:
        raise SignatureError(
            f"a signature envelope has {entry.size} bytes, and over this manifest it has {size}: "
            "the signature is missing or over another manifest"
        )
    envelope = _blob(reader, "a signature envelope", size)
    signature = read_envelope(envelope, manifest)
    expected = _signature_manifest(manifest, envelope)
    document = _blob(reader, "a signature manifest", len(expected))
    if document != expected:
        raise ArchiveError(f"the signature manifest of key {signature.keyid[:16]} is not the one that belongs there")
    return signature, envelope, document


def _entry(reader: ArchiveReader, name: str, max_bytes: int) -> bytes:
    entry = reader.peek()
    if entry is None or entry.name != name:
        raise _misplaced(entry, shown(name))
    return reader.read(shown(name), max_bytes)


def _blob(reader: ArchiveReader, what: str, max_bytes: int) -> bytes:
    entry = reader.peek()
    if entry is None or not entry.name.startswith(BLOB_PREFIX):
        raise _misplaced(entry, what)
    return reader.read(what, max_bytes)


def _misplaced(entry: Entry | None, what: str) -> ArchiveError:
    return ArchiveError(
        f"{'the end of the archive' if entry is None else shown(entry.name)} stands where {what} belongs"
    )


def _signature_manifest(manifest: bytes, envelope: bytes) -> bytes:
    return _signature_manifest_of(manifest, Descriptor.of(envelope, ENVELOPE_TYPE))


def _signature_manifest_of(manifest: bytes, envelope: Descriptor) -> bytes:
    return _signature_document(envelope, Descriptor.of(manifest, MANIFEST_TYPE))


def _signature_document(envelope: Descriptor, subject: Descriptor) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": SIGNATURE_TYPE,
        "config": EMPTY_CONFIG.to_dict(),
        "layers": [envelope.to_dict()],
        "subject": subject.to_dict(),
    }
    return canonical(document, "a signature manifest")


def _index(manifest: bytes, version: str, signature_manifests: Sequence[bytes]) -> bytes:
    # Only the bundle carries a reference name, so that tools asked for it never pick a signature.
    bundle = Descriptor.of(manifest, MANIFEST_TYPE).to_dict()
    bundle |= {"artifactType": BUNDLE_TYPE, "annotations": {REF_NAME: version}}
    signatures = [
        Descriptor.of(document, MANIFEST_TYPE).to_dict() | {"artifactType": SIGNATURE_TYPE}
        for document in signature_manifests
    ]
    return canonical({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [bundle, *signatures]}, "index.json")


def _version_in(index: bytes, manifest: bytes, signature_manifests: Sequence[bytes]) -> str:
    """Compares the index with the one that belongs there, and takes the version label out of it."""
    before, _, after = _index(manifest, _UNKNOWN_VERSION, signature_manifests).partition(_UNKNOWN_VERSION.encode())
    version = index[len(before) : len(index) - len(after)].decode("ascii", "replace")
    if not index.startswith(before) or not index.endswith(after) or not is_version(version):
        raise ArchiveError("index.json is damaged: it does not list exactly this manifest and these signatures")
    return version
