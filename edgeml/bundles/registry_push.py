"""Pushing a bundle: what is there already is not sent, what was cut off goes on where it stopped.

Order::

    blobs                 those of the signatures first, then config and members
    signature manifests   they may stand before what they are about; a box can so judge the bundle when it comes
    fallback index        tag ``sha256-<hex>``, only where the registry has no referrers API
    manifest              under its tag, last: whoever can see the tag can fetch everything

Blobs that the registry has are not sent; ``registry_upload`` sends one.

Source: OCI distribution specification 1.1, "Pushing Manifests with Subject", "Referrers
Tag Schema".
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from edgeml.bundles.archive import blob_name, digest_of, shown
from edgeml.bundles.bundle import Bundle
from edgeml.bundles.documents import canonical, parse_object
from edgeml.bundles.envelope import ENVELOPE_TYPE
from edgeml.bundles.layout import EMPTY, EMPTY_CONFIG, INDEX_TYPE, SIGNATURE_TYPE, signature_blobs
from edgeml.bundles.manifest import MANIFEST_TYPE, Descriptor, Manifest
from edgeml.bundles.oci_reference import check_name, check_tag
from edgeml.bundles.registry import Attempts, Registry
from edgeml.bundles.registry_upload import Upload
from edgeml.bundles.signing import Signature
from edgeml.bundles.upload_notes import UploadNotes
from edgeml.errors import ArchiveError, TransferError

CHUNK_BYTES = 1024 * 1024
INDEX_MAX_BYTES = 1024 * 1024

Progress = Callable[[int, int], None]


class BlobSource(Protocol):
    """Where a bundle's bytes come from."""

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest's exact bytes."""

    @property
    def tag(self) -> str:
        """The tag to use where the caller gives none."""

    @property
    def signature_manifests(self) -> Sequence[bytes]:
        """The exact bytes of each signature manifest."""

    @property
    def descriptors(self) -> Sequence[Descriptor]:
        """Every blob once, in the order of sending: those of the signatures first."""

    def open(self, digest: str, offset: int) -> BinaryIO:
        """A blob, to be read from an offset on.

        Args:
            digest: One of ``descriptors``.
            offset: In bytes.
        """


@dataclass(frozen=True, slots=True)
class Outline:
    """What is sent of a bundle, beside its own blobs.

    Attributes:
        signature_manifests: The exact bytes of each signature manifest.
        blobs: The blobs of the signatures, by digest.
        descriptors: Every blob once, in the order of sending.
    """

    signature_manifests: tuple[bytes, ...]
    blobs: dict[str, bytes]
    descriptors: tuple[Descriptor, ...]

    @classmethod
    def of(cls, manifest_bytes: bytes, manifest: Manifest, signatures: Sequence[Signature]) -> Outline:
        """The outline of a bundle.

        Args:
            manifest_bytes: The manifest's exact bytes.
            manifest: The same, parsed.
            signatures: In the order of key ids.
        """
        pairs = [signature_blobs(manifest_bytes, signature) for signature in signatures]
        blobs = {digest_of(envelope): envelope for envelope, _ in pairs}
        descriptors = {digest: Descriptor(ENVELOPE_TYPE, digest, len(data)) for digest, data in blobs.items()}
        if pairs:
            blobs[EMPTY_CONFIG.digest] = EMPTY
            descriptors[EMPTY_CONFIG.digest] = EMPTY_CONFIG
        for descriptor in (manifest.config, *manifest.members.values()):
            descriptors.setdefault(descriptor.digest, descriptor)
        return cls(tuple(document for _, document in pairs), blobs, tuple(descriptors.values()))


class BundleSource:
    """A bundle that is in memory; nothing of it is copied."""

    def __init__(self, bundle: Bundle) -> None:
        self.manifest_bytes = bundle.manifest_bytes
        self.tag = bundle.version
        outline = Outline.of(bundle.manifest_bytes, bundle.manifest, bundle.signatures)
        self.signature_manifests = outline.signature_manifests
        self.descriptors = outline.descriptors
        self._blobs = outline.blobs | bundle.blobs

    def open(self, digest: str, offset: int) -> BinaryIO:
        """A blob, to be read from an offset on."""
        stream = io.BytesIO(self._blobs[digest])
        stream.seek(offset)
        return stream


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did.

    Attributes:
        digest: Of the bundle.
        tag: Under which it now stands.
        bytes_sent: Of blobs, in all, with those that were sent twice.
        bytes_skipped: Of blobs and parts of blobs that the registry had, or mounted.
        blobs_sent: Number of blobs.
        blobs_skipped: Number of blobs.
        resumes: Interruptions that were got over.
    """

    digest: str
    tag: str
    bytes_sent: int
    bytes_skipped: int
    blobs_sent: int
    blobs_skipped: int
    resumes: int


def push(
    registry: Registry,
    source: BlobSource,
    name: str,
    tag: str = "",
    *,
    mount_from: str = "",
    progress: Progress | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    notes: UploadNotes | None = None,
) -> PushReport:
    """Pushes a bundle. Doing it twice sends nothing the second time.

    Args:
        registry: Where to.
        source: The bundle; the caller has verified it.
        name: Name in the registry.
        tag: Tag to put it under; empty takes the source's.
        mount_from: Another name of that registry, from which blobs may be taken over without sending them.
        progress: Called with the bytes that are there and the bytes of all blobs; may go back after an interruption.
        chunk_bytes: Size of a chunk, which is the most that an interruption costs.
        notes: Remember uploads that were begun, so that another push goes on with them; None forgets them.

    Returns:
        What was done.

    Raises:
        TransferError: The registry refuses, or it was interrupted too often. Doing it again goes on with the next blob.
    """
    return _Push(
        registry, source, check_name(name), check_tag(tag or source.tag), mount_from, progress, chunk_bytes, notes
    ).run()


class _Push:
    def __init__(
        self,
        registry: Registry,
        source: BlobSource,
        name: str,
        tag: str,
        mount_from: str,
        progress: Progress | None,
        chunk_bytes: int,
        notes: UploadNotes | None,
    ) -> None:
        self._registry = registry
        self._notes = notes
        self._source = source
        self._name = name
        self._tag = tag
        self._mount_from = check_name(mount_from) if mount_from else ""
        self._progress = progress or (lambda done, total: None)
        self._chunk_bytes = chunk_bytes
        self._total = sum(descriptor.size for descriptor in source.descriptors)
        self._done = self._bytes_sent = self._bytes_skipped = 0
        self._blobs_sent = self._blobs_skipped = self._resumes = 0

    def run(self) -> PushReport:
        digest = digest_of(self._source.manifest_bytes)
        with self._registry.transfer():
            self._progress(0, self._total)
            for descriptor in self._source.descriptors:
                self._blob(descriptor)
            signatures = self._source.signature_manifests
            # What is about something says in its answer whether the registry has noticed.
            unnoticed = [data for data in signatures if not self._manifest(data, digest_of(data), "signature manifest")]
            if unnoticed:
                self._fallback_index(digest, unnoticed)
            self._manifest(self._source.manifest_bytes, self._tag, f"manifest {self._name}:{self._tag}")
        return PushReport(
            digest,
            self._tag,
            self._bytes_sent,
            self._bytes_skipped,
            self._blobs_sent,
            self._blobs_skipped,
            self._resumes,
        )

    def _blob(self, descriptor: Descriptor) -> None:
        attempts = Attempts(self._registry.patience)
        if self._has(descriptor, attempts):
            self._skipped(descriptor)
        else:
            self._upload(descriptor, attempts)
        self._resumes += attempts.resumes
        self._done += descriptor.size
        self._progress(self._done, self._total)

    def _upload(self, descriptor: Descriptor, attempts: Attempts) -> None:
        key = self._registry.reference.origin, self._name, descriptor.digest

        def begun(location: str) -> None:
            if self._notes is not None:
                self._notes.put(*key, location)

        upload = Upload(self._registry, self._name, descriptor, self._source.open, self._chunk_bytes, self._sent, begun)
        noted = "" if self._notes is None else self._notes.get(*key)
        location = noted or upload.start(attempts, self._mount_from)
        if location is None:
            self._skipped(descriptor)
            return
        try:
            there = upload.run(attempts, location, lambda: self._has(descriptor, attempts), fresh=not noted)
        except TransferError as error:
            if self._notes is not None and error.code in ("bad_redirect", "DIGEST_INVALID"):
                self._notes.drop(*key)  # it would lead there again
            raise
        self._blobs_sent += 1
        self._bytes_skipped += there
        if self._notes is not None:
            self._notes.drop(*key)

    def _skipped(self, descriptor: Descriptor) -> None:
        self._blobs_skipped += 1
        self._bytes_skipped += descriptor.size

    def _sent(self, size: int, offset: int) -> None:
        self._bytes_sent += size
        self._progress(self._done + offset, self._total)

    def _has(self, descriptor: Descriptor, attempts: Attempts) -> bool:
        with self._registry.ask(
            "HEAD",
            f"/v2/{self._name}/blobs/{descriptor.digest}",
            what=f"asking for {shown(blob_name(descriptor.digest))}",
            expect={200, 404},
            attempts=attempts,
        ) as answer:
            return answer.status == 200

    def _manifest(self, data: bytes, reference: str, what: str, media_type: str = MANIFEST_TYPE) -> bool:
        """Puts a manifest there; says whether the registry has noticed what it is about."""
        with self._registry.ask(
            "PUT",
            f"/v2/{self._name}/manifests/{reference}",
            what=f"pushing {what}",
            expect={201},
            headers={"Content-Type": media_type},
            body=data,
        ) as answer:
            stored = answer.header("Docker-Content-Digest")
            if stored and stored != digest_of(data):
                raise TransferError(
                    f"{self._registry.at}: pushing {what}: stored as {stored[:80]!r}, not {digest_of(data)}: the "
                    "registry changes what it is given",
                    code="changed",
                )
            return bool(answer.header("OCI-Subject"))

    def _fallback_index(self, digest: str, signatures: Sequence[bytes]) -> None:
        """Adds to what others have put there. Two who do so at once may lose an entry; the specification knows."""
        tag = digest.replace(":", "-")
        listed: list[Any] = []
        data, answer = self._registry.fetch(
            f"/v2/{self._name}/manifests/{tag}",
            what=f"reading the index {tag[:19]}...",
            max_bytes=INDEX_MAX_BYTES,
            accept=INDEX_TYPE,
            fine={404},
        )
        if answer.status == 200:
            listed = self._listed(data)
        known = {entry.get("digest") for entry in listed if isinstance(entry, dict)}
        added = [Descriptor.of(data, MANIFEST_TYPE).to_dict() | {"artifactType": SIGNATURE_TYPE} for data in signatures]
        added = [entry for entry in added if entry["digest"] not in known]
        if added:
            index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*listed, *added]}
            self._manifest(canonical(index, "the index"), tag, f"the index {tag[:19]}...", INDEX_TYPE)

    def _listed(self, data: bytes) -> list[Any]:
        try:
            entries = parse_object(data, "the index").get("manifests")
        except ArchiveError as error:
            raise TransferError(f"{self._registry.at}: the list of signatures: {error}", code="bad_index") from error
        return entries if isinstance(entries, list) else []
