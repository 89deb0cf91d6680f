"""A bundle from a registry, or from a file on a stick, into the store of a box.

1. What the box does not trust, cannot run, or has no room for is refused before it is fetched: signatures and order
   first, then the config alone, then the rest.
2. What was fetched stays. Cut off at any byte, by a link, a budget, a kill or a power cut, the next pull goes on there.
3. One pull at a time for each store (``pull.lock``): two would write into one transfer. So one budget counts them all,
   whoever asked for them.
4. Installed is what ``Store.install_waiting`` installs: it verifies all of it again. Pulling what is installed fetches
   its manifest and new signatures, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from edgeml.bundles import transitions
from edgeml.bundles.archive import digest_of
from edgeml.bundles.blob_sources import FileSource
from edgeml.bundles.box_settings import BoxSettings
from edgeml.bundles.bundle import config_of
from edgeml.bundles.byte_budget import ByteBudget
from edgeml.bundles.config import check_requirements
from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.envelope import envelope_bytes
from edgeml.bundles.manifest import MANIFEST_TYPE, Manifest
from edgeml.bundles.oci_reference import Reference
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_gate import RegistryGate
from edgeml.bundles.registry_pull import Progress, pull
from edgeml.bundles.signing import Signature
from edgeml.bundles.state import Release, bare
from edgeml.bundles.store import Store
from edgeml.bundles.store_sink import StoreSink
from edgeml.errors import ConflictError, TransferError

_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Arrival:
    """A bundle that is installed now.

    Attributes:
        name: Name of the model.
        version: Version label.
        digest: ``sha256:<hex>``.
        bytes_received: Of everything that came, in all.
        bytes_skipped: Of what was here already.
        resumes: Interruptions that were got over.
    """

    name: str
    version: str
    digest: str
    bytes_received: int
    bytes_skipped: int
    resumes: int = 0


def pull_into_store(
    store: Store,
    registry: Registry,
    name: str,
    reference: str,
    *,
    who: str,
    budget_per_day: int | None = None,
    progress: Progress | None = None,
) -> Arrival:
    """Pulls a bundle from a registry and installs it.

    Args:
        store: The store.
        registry: Where from.
        name: Name in the registry.
        reference: Tag or digest.
        who: For the journal.
        budget_per_day: Bytes that may come in a day, counting all pulls of this store; None as the operator has set it.
            See ``ByteBudget``.
        progress: Called with the bytes that are here and the bytes of all blobs.

    Raises:
        ConflictError: Another bundle is being fetched or installed.
        SignatureError, RequirementError, BundleError: The box does not take it.
        StoreError: Order, version or room forbid it.
        TransferError: The registry refuses, or it was interrupted too often. What came is kept for the next time.
        OSError: The disk refused.
    """
    if budget_per_day is None:
        budget_per_day = BoxSettings.read(store.root).pull_bytes_per_day
    with _alone(store), ByteBudget(store.root, budget_per_day, now=store.now) as budget:
        budget.check()
        arriving = _Arriving(store)
        report = pull(
            registry,
            name,
            reference,
            arriving.sink,
            accept=arriving.accept,
            ready=arriving.ready,
            budget=budget.spend,
            progress=progress,
            limits=store.limits.bundle,
        )
        arriving.install(report.manifest_bytes, report.signatures, who)
    manifest = report.manifest
    return Arrival(
        manifest.name, manifest.version, report.digest, report.bytes_received, report.bytes_skipped, report.resumes
    )


def pull_reference(store: Store, reference: str, told: Callable[[str], None], *, who: str) -> str:
    """Pulls what a reference names, without credentials; for a service that is told to, by somebody who may only ask.

    Args:
        store: The store.
        reference: ``host:port/name:tag`` or ``host:port/name@sha256:...``.
        told: Called with how far it is, in words.
        who: For the journal.

    Returns:
        The bundle's hex digest.

    Raises:
        As ``pull_into_store``; TransferError also with code ``registry_not_allowed``, see ``RegistryGate``.
    """
    where = bundle_reference(reference)
    gate = RegistryGate(BoxSettings.read(store.root).pull_registries)
    gate.check(where)

    def progress(done: int, total: int) -> None:
        told(f"fetching: {done} of {total} bytes")

    with Registry(where, gate=gate) as registry:
        return bare(pull_into_store(store, registry, where.name, where.wanted, who=who, progress=progress).digest)


def bundle_reference(text: str) -> Reference:
    """The address of one bundle in a registry.

    Raises:
        TransferError: It is none, or names no bundle.
    """
    found = Reference.parse(text)
    if not found.name or not found.wanted:
        raise TransferError(f"{text[:80]!r} names no bundle; write host:port/name:tag or host:port/name@sha256:...")
    return found


def copy_into_store(store: Store, source: FileSource, *, who: str, progress: Progress | None = None) -> Arrival:
    """Copies a bundle out of a file and installs it; the file is not needed afterwards.

    Args:
        store: The store.
        source: The file, verified.
        who: For the journal.
        progress: Called with the bytes that are here and the bytes of all blobs.

    Raises:
        As ``pull_into_store``, but for the network.
    """
    told: Progress = progress or (lambda done, total: None)
    with _alone(store):
        arriving = _Arriving(store)
        manifest = arriving.accept(source.manifest_bytes, source.signatures)
        blobs = {each.digest: each for each in (manifest.config, *manifest.members.values())}
        total, done, copied = sum(each.size for each in blobs.values()), 0, 0
        for descriptor in blobs.values():
            told(done, total)
            if not arriving.sink.has(descriptor.digest):
                # From its first byte: what lies here may be rotten, and a file is read again at little cost.
                arriving.sink.write(descriptor.digest, 0, _pieces(source, descriptor.digest, told, done, total))
                arriving.sink.finish(descriptor.digest, descriptor.size)
                copied += descriptor.size
            done += descriptor.size
            if descriptor.digest == manifest.config.digest:
                arriving.ready(manifest)
        told(done, total)
        arriving.install(source.manifest_bytes, source.signatures, who)
    return Arrival(manifest.name, manifest.version, source.digest, copied, total - copied)


class _Arriving:
    """What is asked of a bundle on its way into a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digest = ""
        self.sink = StoreSink(store)

    def accept(self, manifest_bytes: bytes, signatures: Sequence[Signature]) -> Manifest:
        manifest = self._store.accept(manifest_bytes, signatures)
        self._digest = bare(digest_of(manifest_bytes))
        self.sink.make_room(manifest)
        return manifest

    def ready(self, manifest: Manifest) -> None:
        """Reads the config, which is here now, and asks whether this box can and may run the bundle."""
        data = self._store.trust.read(bare(manifest.config.digest), manifest.config.size)
        config = config_of(manifest, data)
        requires = dict(config["requires"])
        if "kernel.json" in manifest.members:
            requires.pop("onnxruntime", None)  # its own kernel answers, see runtime.load
        check_requirements(
            {"requires": requires},
            edgeml_version=_version("edgeml") or "0",
            onnxruntime_version=_version("onnxruntime") if "onnxruntime" in requires else None,
            re2_version=_version("google-re2") if "google-re2" in requires else None,
        )
        release = Release(manifest.version, epoch=int(config.get("security_epoch", 0)))
        transitions.install(self._store.state(), manifest.name, self._digest, release)

    def install(self, manifest_bytes: bytes, signatures: Sequence[Signature], who: str) -> None:
        incoming = self._store.incoming
        for signature in self._wanted(manifest_bytes, signatures):
            envelope = envelope_bytes(manifest_bytes, signature)
            name = bare(digest_of(envelope))
            incoming.put(name, envelope)
            incoming.remember_signature(self._digest, name)
        incoming.put(self._digest, manifest_bytes)
        self._store.install_waiting(self._digest, who=who)

    def _wanted(self, manifest_bytes: bytes, signatures: Sequence[Signature]) -> list[Signature]:
        """The signatures to keep: good ones by trusted keys. Anybody may put others beside a bundle in a registry."""
        keyring = self._store.trust.keyring(self._store.state())
        if keyring is None:
            return list(signatures[: self._store.limits.bundle.signatures])
        keys = {key.keyid: key for key in keyring.keys}
        return [
            each
            for each in signatures
            if each.keyid in keys and keys[each.keyid].accepts(each.value, MANIFEST_TYPE, manifest_bytes)
        ]


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    with SYSTEM.lock(store.root / "pull.lock", wait=False) as ours:
        if not ours:
            raise ConflictError("another bundle is being fetched into this store; try again when it is done")
        yield


def _pieces(source: FileSource, digest: str, told: Progress, done: int, total: int) -> Iterator[bytes]:
    with source.open(digest, 0) as stream:
        while data := stream.read(_PIECE_BYTES):
            yield data
            done += len(data)
            told(done, total)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
