"""Pulling a bundle: nothing large is fetched before it is known to be wanted, nothing twice, and no byte too many.

Order:

1. the manifest, by tag or digest: at most 256 KiB, its digest compared, not parsed,
2. its signatures: the list of referrers, or the fallback tag of older registries. That list is the only thing that is
   parsed before a signature is good, strictly and within bounds; signature manifests and envelopes have one form and
   are compared with it. What is not in that form is passed over: anybody who may push can put something there,
3. ``accept`` judges. A box that does not trust or cannot run the bundle refuses here,
4. the config, if the sink does not have it, and ``ready`` judges again: what the bundle asks of the box,
5. members that the sink does not have: with ``Range`` from where it stopped. A registry that does not resume costs one
   fresh start, not more.

A blob's length is never taken from the registry, and its digest is the sink's to check over all bytes from the first.

Source: OCI distribution specification 1.1, "Pulling blobs", "Listing Referrers", "Referrers Tag Schema".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeml.bundles.archive import Limits, digest_of
from edgeml.bundles.documents import parse_object
from edgeml.bundles.envelope import read_envelope
from edgeml.bundles.layout import INDEX_TYPE, SIGNATURE_TYPE, envelope_of, signature_manifest_size
from edgeml.bundles.manifest import MANIFEST_TYPE, Descriptor, Manifest
from edgeml.bundles.oci_reference import check_digest, check_name, check_tag
from edgeml.bundles.registry import Attempts, Registry
from edgeml.bundles.registry_download import Download, Sink
from edgeml.bundles.registry_link import Answer
from edgeml.bundles.signing import Signature
from edgeml.errors import ArchiveError, DigestError, SignatureError, TransferError

INDEX_MAX_BYTES = 1024 * 1024
MAX_REFERRERS = 64

_MAX_PAGES = 8
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')

Accept = Callable[[bytes, tuple[Signature, ...]], Manifest]
Ready = Callable[[Manifest], None]
Budget = Callable[[int], None]
Progress = Callable[[int, int], None]


class MemorySink:
    """Keeps blobs in memory.

    Attributes:
        blobs: Whole blobs by digest.
        parts: What has come of the others.
    """

    def __init__(self, blobs: Mapping[str, bytes] | None = None) -> None:
        self.blobs: dict[str, bytes] = dict(blobs or {})
        self.parts: dict[str, bytearray] = {}

    def has(self, digest: str) -> bool:
        """Whether the whole blob is there."""
        return digest in self.blobs

    def partial(self, digest: str) -> int:
        """How many bytes of the blob are there."""
        return len(self.parts.get(digest, b""))

    def write(self, digest: str, offset: int, chunks: Iterable[bytes]) -> None:
        """Keeps bytes of a blob."""
        part = self.parts.setdefault(digest, bytearray())
        del part[offset:]
        for chunk in chunks:
            part += chunk

    def finish(self, digest: str, size: int) -> None:
        """Hashes the blob, and keeps it as a whole or drops it."""
        data = bytes(self.parts.pop(digest, b""))
        if len(data) != size or digest_of(data) != digest:
            raise DigestError(f"blob {digest[7:19]}... holds other bytes than were packed")
        self.blobs[digest] = data


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull brought.

    Attributes:
        manifest: As ``accept`` returned it.
        manifest_bytes: Its exact bytes.
        digest: Of the bundle.
        signatures: All that were found, in the order of key ids; good or not was for ``accept`` to say.
        bytes_received: Of everything, in all, with what was received twice.
        bytes_skipped: Of blobs and parts of blobs that the sink had.
        blobs_received: Number of blobs.
        blobs_skipped: Number of blobs.
        resumes: Interruptions that were got over.
    """

    manifest: Manifest
    manifest_bytes: bytes
    digest: str
    signatures: tuple[Signature, ...]
    bytes_received: int
    bytes_skipped: int
    blobs_received: int
    blobs_skipped: int
    resumes: int


def pull(
    registry: Registry,
    name: str,
    reference: str,
    sink: Sink,
    *,
    accept: Accept,
    ready: Ready | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> PullReport:
    """Pulls a bundle.

    Args:
        registry: Where from.
        name: Name in the registry.
        reference: Tag or digest.
        sink: Where the blobs go to.
        accept: Called with the manifest's exact bytes and the signatures, before any blob is fetched; returns the
            manifest, parsed, or raises whatever says why the bundle is not wanted.
        ready: Called with the manifest once its config is in the sink, before any member is fetched; may raise whatever
            says why the bundle is not wanted.
        budget: Called with each number of bytes that came; may raise whatever says that no more may come now.
        progress: Called with the bytes that are there and the bytes of all blobs.
        limits: What is accepted at most.

    Returns:
        What was brought.

    Raises:
        TransferError: The registry refuses, lies, or it was interrupted too often. What came stays in the sink.
        DigestError: Some bytes are not those that were asked for.
        ArchiveError: The list of signatures cannot be read.
    """
    check_name(name)
    if not _DIGEST.match(reference):
        (check_digest if ":" in reference else check_tag)(reference)
    pulling = _Pull(registry, name, sink, budget or (lambda size: None), progress or (lambda done, total: None))
    with registry.transfer():
        return pulling.run(reference, accept, ready or (lambda manifest: None), limits or Limits())


class _Pull:
    def __init__(self, registry: Registry, name: str, sink: Sink, budget: Budget, progress: Progress) -> None:
        self._registry = registry
        self._name = name
        self._sink = sink
        self._budget = budget
        self._progress = progress
        self._total = self._done = 0
        self._received = self._skipped = self._blobs_received = self._blobs_skipped = self._resumes = 0

    def run(self, reference: str, accept: Accept, ready: Ready, limits: Limits) -> PullReport:
        what = f"manifest {self._name}{'@' if ':' in reference else ':'}{reference}"
        manifest_bytes = self._manifest(reference, what, limits.manifest_bytes)
        digest = digest_of(manifest_bytes)
        signatures = self._signatures(manifest_bytes, digest)
        manifest = accept(manifest_bytes, signatures)
        blobs = {descriptor.digest: descriptor for descriptor in (manifest.config, *manifest.members.values())}
        self._total = sum(descriptor.size for descriptor in blobs.values())
        self._progress(0, self._total)
        for descriptor in blobs.values():
            self._blob(descriptor)
            if descriptor.digest == manifest.config.digest:
                ready(manifest)
        return PullReport(
            manifest,
            manifest_bytes,
            digest,
            signatures,
            self._received,
            self._skipped,
            self._blobs_received,
            self._blobs_skipped,
            self._resumes,
        )

    def _manifest(self, reference: str, what: str, max_bytes: int) -> bytes:
        data, answer = self._small(f"manifests/{reference}", what, max_bytes, accept=MANIFEST_TYPE)
        # A registry that names another digest than it sends was damaged on its disk or on the way.
        promised = reference if ":" in reference else answer.header("Docker-Content-Digest") or digest_of(data)
        if digest_of(data) != promised:
            raise DigestError(f"{self._registry.at}: {what} has other bytes than its digest {promised[:80]} says")
        return data

    def _signatures(self, manifest: bytes, digest: str) -> tuple[Signature, ...]:
        size, found = signature_manifest_size(manifest), set()
        listed = [entry["digest"] for entry in self._referrers(digest) if _is_signature(entry, size)]
        if len(set(listed)) > MAX_REFERRERS:
            raise TransferError(
                f"{self._registry.at}: {len(set(listed))} signatures stand beside {self._name}@{digest}; at most "
                f"{MAX_REFERRERS} are looked at; take away those that are not needed",
                code="too_many",
            )
        for reference in dict.fromkeys(listed):
            try:
                document = self._manifest(reference, f"signature manifest {reference[7:19]}...", size)
                envelope = envelope_of(document, manifest)
                what = f"signature envelope {envelope.digest[7:19]}..."
                data, _ = self._small(f"blobs/{envelope.digest}", what, envelope.size)
                if digest_of(data) != envelope.digest:
                    raise DigestError(f"{self._registry.at}: {what} holds other bytes than were packed")
                found.add(read_envelope(data, manifest))
            except (SignatureError, DigestError):
                continue
            except TransferError as error:
                if error.status != 404 and error.code != "too_long":
                    raise
        return tuple(sorted(found, key=lambda signature: (signature.keyid, signature.value)))

    def _referrers(self, digest: str) -> list[Any]:
        """What the registry says is about the manifest; None of it is believed."""
        path = f"/v2/{self._name}/referrers/{digest}?artifactType={SIGNATURE_TYPE}"
        listed: list[Any] = []
        for page in range(_MAX_PAGES):
            what = f"the signatures of {digest[:19]}..."
            data, answer = self._small(path, what, INDEX_MAX_BYTES, accept=INDEX_TYPE, fine=_NO_REFERRERS)
            if page == 0 and answer.status != 200:
                tag = digest.replace(":", "-")
                data, answer = self._small(f"manifests/{tag}", what, INDEX_MAX_BYTES, accept=INDEX_TYPE, fine={404})
            if answer.status != 200:
                break
            listed += _entries(data)
            more = _NEXT_PAGE.search(answer.header("Link"))
            if more is None:
                break
            path = self._registry.resolve(answer.url, more[1], what)
        return listed

    def _small(
        self, path: str, what: str, max_bytes: int, *, accept: str = "*/*", fine: Iterable[int] = ()
    ) -> tuple[bytes, Answer]:
        whole = path if path.startswith(("/", "http")) else f"/v2/{self._name}/{path}"
        data, answer = self._registry.fetch(whole, what=what, max_bytes=max_bytes, accept=accept, fine=fine)
        self._count(len(data))
        return data, answer

    def _blob(self, descriptor: Descriptor) -> None:
        if self._sink.has(descriptor.digest):
            self._blobs_skipped += 1
            self._skipped += descriptor.size
        else:
            attempts = Attempts(self._registry.patience)
            download = Download(self._registry, self._name, descriptor, self._sink, self._count, self._there)
            there = self._sink.partial(descriptor.digest)
            fetched = download.run(attempts, there if there <= descriptor.size else 0)
            try:
                self._sink.finish(descriptor.digest, descriptor.size)
                self._skipped += fetched
            except DigestError:
                if not fetched:
                    raise
                # What lay here from the last time was rotten: once more, from the first byte.
                download.run(attempts, 0)
                self._sink.finish(descriptor.digest, descriptor.size)
            self._resumes += attempts.resumes
            self._blobs_received += 1
        self._done += descriptor.size
        self._progress(self._done, self._total)

    def _there(self, size: int) -> None:
        self._progress(self._done + size, self._total)

    def _count(self, size: int) -> None:
        self._received += size
        self._budget(size)


# 404 and 405 are the answers of registries from before the referrers API; some say 400, or 501.
_NO_REFERRERS = (400, 404, 405, 501)


def _entries(data: bytes) -> Sequence[Any]:
    entries = parse_object(data, "the list of signatures").get("manifests")
    if not isinstance(entries, list):
        raise ArchiveError("the list of signatures has no manifests")
    return entries


def _is_signature(entry: Any, size: int) -> bool:
    """Whether an entry of an index may be a signature; its size alone keeps most others out."""
    digest = entry.get("digest") if isinstance(entry, dict) else None
    kind = entry.get("artifactType", SIGNATURE_TYPE) if isinstance(entry, dict) else None
    return (
        isinstance(digest, str)
        and _DIGEST.match(digest) is not None
        and kind == SIGNATURE_TYPE
        and (entry.get("size") == size)
    )
