"""How a bundle gets into a store: from memory, or out of the blobs that wait in ``incoming``.

The order of checks: signatures over the manifest's bytes; only then the manifest is parsed; sizes and digests of all
blobs; the config; order, version and room. Then blobs are written and their names synced, and last the record names
the bundle. Cut off anywhere before that, the box has a few blobs too many, which the next collection removes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edgeml.bundles import transitions
from edgeml.bundles.archive import Limits, digest_of
from edgeml.bundles.blobs import Blobs
from edgeml.bundles.bundle import Bundle, config_of
from edgeml.bundles.envelope import envelope_bytes
from edgeml.bundles.fitting import added
from edgeml.bundles.incoming import Incoming
from edgeml.bundles.manifest import Descriptor, Manifest
from edgeml.bundles.record import Record
from edgeml.bundles.signing import Signature
from edgeml.bundles.state import Release, State, bare
from edgeml.bundles.transitions import Change
from edgeml.bundles.trust import Trust
from edgeml.errors import ConflictError, DigestError, NotInstalledError, StateError, StorageError

# What a file system may need beside a blob's bytes: blocks of the folder, of the record, of the journal.
SLACK_BYTES = 256 * 1024
SLACK_FILES = 8
# What the record's generation and time may grow by until it is written.
_STAMP_BYTES = 32


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What a store may hold.

    Attributes:
        quota_bytes: Most bytes of installed blobs.
        incoming_bytes: Most bytes of transfers and waiting blobs.
        bundle: What one bundle may be.
        keep: Superseded bundles that stay for each model when room is needed or garbage is collected.
    """

    quota_bytes: int = 2 * 1024**3
    incoming_bytes: int = 1024**3
    bundle: Limits = Limits()
    keep: int = 2


class Installation:
    """Puts bundles into one store.

    Args:
        record: Named last.
        blobs: Where the bytes go.
        incoming: Where they may wait.
        trust: Whose bundles are taken.
        limits: What the store may hold.
        clock: Seconds since 1970.
        collect: Removes superseded bundles but as many for each model as it is told, and blobs that nobody needs but
            those it is told.
    """

    def __init__(
        self,
        *,
        record: Record,
        blobs: Blobs,
        incoming: Incoming,
        trust: Trust,
        limits: StoreLimits,
        clock: Callable[[], float],
        collect: Callable[[Collection[str], int], object],
    ) -> None:
        self._record = record
        self._incoming = incoming
        self._blobs = blobs
        self._trust = trust
        self._limits = limits
        self._clock = clock
        self._collect = collect

    def from_memory(self, bundle: Bundle, *, who: str = "cli") -> str:
        """Installs a bundle that is in memory.

        Args:
            bundle: Read and verified; whether the box trusts it is decided here.
            who: For the journal.

        Returns:
            Its hex digest.

        Raises:
            SignatureError: The box does not trust it.
            StoreError: Order, room or version forbid it.
            OSError: The disk refused.
        """
        digest = bare(bundle.digest)
        with self._record.locked("install.lock"):
            state = self._record.read()[0]
            self._trust.check(state, bundle.manifest_bytes, bundle.signatures, now=max(self._clock(), state.last_time))
            release = self._release(bundle.config, bundle.version, bundle.manifest_bytes, bundle.signatures)

            def named(now: State) -> Change:
                return transitions.install(now, bundle.name, digest, release)

            named(state)
            envelopes = [envelope_bytes(bundle.manifest_bytes, each) for each in bundle.signatures]
            contents = {bare(digest_of(data)): data for data in [*bundle.blobs.values(), *envelopes]}
            contents[digest] = bundle.manifest_bytes
            self._need_place(state, named, contents)
            self._need_room({hex_digest: len(data) for hex_digest, data in contents.items()})
            written: list[str] = []
            try:
                for hex_digest, data in contents.items():
                    if self._blobs.add(hex_digest, data):
                        written.append(hex_digest)
                self._blobs.settle()
            except OSError:
                # Gives a full disk its room back; and what may not be synced must not be found here by the next try.
                self._blobs.discard(written)
                raise
            self._record.change(named, who=who, adds=True)
        return digest

    def from_waiting(self, digest: str, *, who: str) -> str:
        """Installs a bundle whose blobs all wait in ``incoming``, or are here already; nothing is held in memory.

        Args:
            digest: Digest of its manifest.
            who: For the journal.

        Returns:
            Its hex digest.

        Raises:
            SignatureError: Not enough trusted keys have signed yet; everything goes on waiting.
            NotInstalledError: The manifest, or a blob that it names, is not here yet.
            BundleError: It breaks the format.
            StoreError: Order, room or version forbid it.
            OSError: The disk refused.
        """
        digest = bare(digest)
        with self._record.locked("install.lock"):
            state = self._record.read()[0]
            limits = self._limits.bundle
            manifest_bytes = self._trust.read(digest, limits.manifest_bytes)
            known = state.find(digest)
            noted = self._incoming.signatures(digest)
            held = () if known is None else state.models[known].releases[digest].envelopes
            signatures = self._trust.signatures(manifest_bytes, sorted({*noted, *held}))
            self._trust.check(state, manifest_bytes, signatures, now=max(self._clock(), state.last_time))
            manifest = Manifest.from_bytes(manifest_bytes, limits)
            needed = {bare(each.digest): each for each in (manifest.config, *manifest.members.values())}
            for where, descriptor in (("config", manifest.config), *manifest.members.items()):
                self._check_present(where, descriptor)
            config = config_of(manifest, self._trust.read(bare(manifest.config.digest), manifest.config.size))
            release = self._release(config, manifest.version, manifest_bytes, signatures)

            def named(now: State) -> Change:
                return transitions.install(now, manifest.name, digest, release)

            named(state)
            names = [*needed, *release.envelopes, digest]
            self._need_place(state, named, names)
            self._need_room({name: self._incoming.size(name) or 0 for name in names})
            here = [name for name in names if self._incoming.size(name) is not None]
            # What others have already, whole, stays where it is: a move that is undone would take it away from them.
            moved = [name for name in here if self._blobs.verified_size(name) is None]
            for name in moved:
                self._blobs.take_in(self._incoming.folder / name)
            try:
                self._blobs.settle()
            except OSError:
                self._blobs.give_back(moved, self._incoming.folder)
                raise
            self._record.change(named, who=who, adds=True)
            with suppress(OSError):
                self._incoming.drop([digest, *noted, *here])
        return digest

    def check_waiting(self, digest: str) -> Manifest:
        """Checks the signatures of a manifest that waits, and parses it; no blob needs to be here.

        Raises:
            SignatureError: Not enough trusted keys have signed yet.
            BundleError: It breaks the format.
        """
        digest = bare(digest)
        state = self._record.read()[0]
        manifest_bytes = self._trust.read(digest, self._limits.bundle.manifest_bytes)
        signatures = self._trust.signatures(manifest_bytes, self._incoming.signatures(digest))
        self._trust.check(state, manifest_bytes, signatures, now=max(self._clock(), state.last_time))
        return Manifest.from_bytes(manifest_bytes, self._limits.bundle)

    def accept(self, manifest_bytes: bytes, signatures: Sequence[Signature]) -> Manifest:
        """Decides about a bundle before any of its blobs is fetched.

        Raises:
            SignatureError: The box does not trust it.
            BundleError: The manifest breaks the format.
            StoreError: The version is taken by another digest, or there will be no room.
        """
        state = self._record.read()[0]
        self._trust.check(state, manifest_bytes, signatures, now=max(self._clock(), state.last_time))
        manifest = Manifest.from_bytes(manifest_bytes, self._limits.bundle)
        size = sum(each.size for each in (manifest.config, *manifest.members.values()))
        if size > self._limits.quota_bytes or size > self._limits.incoming_bytes:
            raise StorageError(f"the bundle has {size} bytes, more than this box's quota")
        for digest, known in state.model(manifest.name).releases.items():
            if known.version == manifest.version and digest != bare(digest_of(manifest_bytes)):
                raise ConflictError(f"{manifest.name} {manifest.version} is installed with another digest")
        return manifest

    def _check_present(self, where: str, descriptor: Descriptor) -> None:
        digest = bare(descriptor.digest)
        size = self._incoming.verified_size(digest)
        if size is None:
            size = self._blobs.verified_size(digest)
        if size is None:
            raise NotInstalledError(f"{where} (blob {descriptor.digest}) is not here yet; send it")
        if size != descriptor.size:
            raise DigestError(f"{where} has {size} bytes, and the manifest says {descriptor.size}")

    def _release(
        self, config: Mapping[str, object], version: str, manifest: bytes, signatures: Sequence[Signature]
    ) -> Release:
        epoch = config.get("security_epoch", 0)
        assert isinstance(epoch, int)
        envelopes = tuple(sorted(bare(digest_of(envelope_bytes(manifest, each))) for each in signatures))
        return Release(version, epoch=epoch, envelopes=envelopes, installed=self._clock())

    def _need_place(self, state: State, named: Callable[[State], Change], spare: Collection[str]) -> None:
        """Makes room in the record, removing superseded bundles where it is nearly full."""
        for keep in (self._limits.keep, 0, None):
            larger, _ = named(state)
            try:
                if larger is not state:
                    added(state, larger, slack_bytes=_STAMP_BYTES)
                return
            except StateError:
                if keep is None:
                    raise
            # What is here already and waits for its name in the record must not be taken for garbage.
            self._collect(spare, keep)
            state = self._record.read()[0]

    def _need_room(self, sizes: Mapping[str, int]) -> None:
        """Makes room for blobs, removing superseded bundles where the quota asks for it."""
        new = {name: size for name, size in sizes.items() if self._blobs.size(name) is None}
        wanted = sum(new.values())
        used = self._blobs.used()
        if used + wanted > self._limits.quota_bytes:
            # What is here already and waits for its name in the record must not be taken for garbage.
            self._collect(sizes.keys(), 0)
            used = self._blobs.used()
        if used + wanted > self._limits.quota_bytes:
            raise StorageError(
                f"the bundle needs {wanted} bytes, and {used} of the quota's {self._limits.quota_bytes} are taken by "
                "bundles that may not be removed"
            )
        room = self._blobs.room()
        fresh = sum(size for name, size in new.items() if self._incoming.size(name) is None)
        if room.free_bytes < fresh + SLACK_BYTES:
            raise StorageError(
                f"the disk has {room.free_bytes} bytes left, and the bundle needs {fresh} and {SLACK_BYTES} to spare; "
                "make room, or collect garbage with 'edgeml gc'"
            )
        if room.free_files is not None and room.free_files < len(new) + 8:
            raise StorageError(f"the disk has {room.free_files} inodes left, and the bundle needs {len(new) + 8}")
