"""Bundles to push or copy that are too large for memory: a file on a disk, or what a store has installed.

1. A file is verified from its first byte to its last before anything of it is sent; only its head and config are kept.
   It stays open, and is read at the places that were verified, whatever takes its name meanwhile.
2. Several threads may read one source at a time.
3. Bytes that change after they were verified are not believed by whoever gets them: digests are compared there again.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edgeml.bundles.archive import ArchiveReader, Limits, blob_name, digest_of, shown
from edgeml.bundles.bundle import config_of
from edgeml.bundles.files import open_regular
from edgeml.bundles.keyring import Keyring
from edgeml.bundles.layout import Head, read_head
from edgeml.bundles.manifest import MANIFEST_TYPE, Descriptor, Manifest
from edgeml.bundles.registry_push import Outline
from edgeml.bundles.signing import Signature
from edgeml.bundles.state import State, bare
from edgeml.bundles.store import Store
from edgeml.errors import ArchiveError, BundleError, DigestError, NotInstalledError

_BUFFER_BYTES = 64 * 1024


class FileSource:
    """An ``.edgeml`` file, verified in bounded memory. JSON members are not parsed: that is the box's admission.

    Attributes:
        manifest: What it consists of.
        manifest_bytes: Its exact bytes.
        config: What the bundle says about itself.
        signatures: That it carries.
        signers: Ids of the keys whose signatures are good; empty without a keyring.
        tag: Its version label.
        signature_manifests: The exact bytes of each signature manifest.
        descriptors: Every blob once, in the order of sending.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        keyring: Keyring | None = None,
        limits: Limits | None = None,
        now: float | None = None,
    ) -> None:
        """Args:
        path: The file.
        keyring: The keys to trust; None verifies digests and structure alone.
        limits: What is accepted at most.
        now: Seconds since 1970, for the keyring's expiry; None asks the system clock.

        Raises:
            BundleError: As ``Bundle.read``.
            OSError: The file does not exist or cannot be read.
        """
        self._stream, size = open_regular(path)
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self._read(size, keyring, limits or Limits(), now)
        except BundleError as error:
            self.close()
            raise type(error)(f"{path}: {error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the manifest."""
        return digest_of(self.manifest_bytes)

    def open(self, digest: str, offset: int) -> BinaryIO:
        """A blob, to be read from an offset on."""
        if digest in self._small:
            stream = io.BytesIO(self._small[digest])
            stream.seek(offset)
            return stream
        start, size = self._places[digest]
        return io.BufferedReader(_Window(self._stream.fileno(), start + offset, start + size), _BUFFER_BYTES)

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, size: int, keyring: Keyring | None, limits: Limits, now: float | None) -> None:
        reader = ArchiveReader(self._stream, size, limits)
        head = read_head(reader, limits)
        self.signers: frozenset[str] = frozenset()
        if keyring is not None:
            self.signers = keyring.check(MANIFEST_TYPE, head.manifest, head.signatures, now=now)
        manifest = Manifest.from_bytes(head.manifest, limits)
        if manifest.version != head.version:
            raise ArchiveError(f"index.json calls this version {head.version}, and the manifest {manifest.version}")
        if not {"model.onnx", "rules.json"} & manifest.members.keys():
            raise ArchiveError("a bundle needs at least one of model.onnx and rules.json")
        self.manifest, self.manifest_bytes, self.tag = manifest, head.manifest, manifest.version
        self.signatures = head.signatures
        outline = Outline.of(head.manifest, manifest, head.signatures)
        self.signature_manifests, self.descriptors = outline.signature_manifests, outline.descriptors
        self._small = dict(head.blobs)
        self.config: dict[str, Any] = self._skim(reader, manifest, head)

    def _skim(self, reader: ArchiveReader, manifest: Manifest, head: Head) -> dict[str, Any]:
        sizes = {digest: len(data) for digest, data in head.blobs.items()}
        for where, descriptor in (("config", manifest.config), *manifest.members.items()):
            if descriptor.digest not in sizes:
                self._expect(reader, where, descriptor)
                sizes[descriptor.digest] = descriptor.size
                if where == "config":
                    self._small[descriptor.digest] = reader.read(where, descriptor.size)
                else:
                    self._places[descriptor.digest] = reader.skim(where, descriptor.size), descriptor.size
            if sizes[descriptor.digest] != descriptor.size:
                raise ArchiveError(
                    f"{where} has {sizes[descriptor.digest]} bytes, and the manifest says {descriptor.size}"
                )
        extra = reader.peek()
        if extra is not None:
            raise ArchiveError(f"{shown(extra.name)} is not named by the manifest: an extra entry")
        return config_of(manifest, self._small[manifest.config.digest])

    def _expect(self, reader: ArchiveReader, where: str, descriptor: Descriptor) -> None:
        entry, name = reader.peek(), blob_name(descriptor.digest)
        if entry is None:
            raise ArchiveError(f"{where} is missing: the archive ends without its {shown(name)}")
        if entry.name != name:
            raise ArchiveError(f"{shown(entry.name)} stands where {where} ({shown(name)}) belongs")
        if entry.size != descriptor.size:
            raise ArchiveError(f"{where} has {entry.size} bytes, and the manifest says {descriptor.size}")


class StoreSource:
    """An installed bundle, as a box hands it to a neighbour.

    Attributes:
        manifest: What it consists of.
        manifest_bytes: Its exact bytes.
        signatures: That came with it.
        tag: Its version label.
        signature_manifests: The exact bytes of each signature manifest.
        descriptors: Every blob once, in the order of sending.
    """

    def __init__(self, store: Store, digest: str, *, state: State | None = None) -> None:
        """Args:
        store: The store.
        digest: The bundle's digest.
        state: The record, where the caller has it.

        Raises:
            NotInstalledError: It is not installed.
            DigestError: A blob is damaged.
            OSError: The disk cannot be read.
        """
        state, digest = state or store.state(), bare(digest)
        name = state.find(digest)
        if name is None:
            raise NotInstalledError(f"sha256:{digest[:12]} is not installed; see 'edgeml releases'")
        self._store = store
        self.manifest_bytes = store.blobs.read(digest, store.limits.bundle.manifest_bytes)
        self.manifest = Manifest.from_bytes(self.manifest_bytes, store.limits.bundle)
        self.tag = self.manifest.version
        self.signatures: Sequence[Signature] = store.trust.signatures(
            self.manifest_bytes, state.models[name].releases[digest].envelopes
        )
        outline = Outline.of(self.manifest_bytes, self.manifest, self.signatures)
        self.signature_manifests, self.descriptors = outline.signature_manifests, outline.descriptors
        self._small = outline.blobs
        for where, descriptor in (("config", self.manifest.config), *self.manifest.members.items()):
            if store.blobs.verified_size(bare(descriptor.digest)) != descriptor.size:
                raise DigestError(f"{where} of {name} {self.tag} is damaged on this disk; install its bundle again")

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the manifest."""
        return digest_of(self.manifest_bytes)

    def open(self, digest: str, offset: int) -> BinaryIO:
        """A blob, to be read from an offset on."""
        stream: BinaryIO = (
            io.BytesIO(self._small[digest]) if digest in self._small else self._store.blobs.open(bare(digest))
        )
        stream.seek(offset)
        return stream

    def __enter__(self) -> StoreSource:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


class _Window(io.RawIOBase):
    """Some bytes of an open file, read without moving the place that others read at."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = start
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, min(len(buffer), self._end - self._at), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
