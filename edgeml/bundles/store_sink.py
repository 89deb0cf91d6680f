"""Where a store takes the blobs of a bundle that is fetched: piece by piece on the disk, kept when the power goes.

A blob on its way is the transfer ``part-<hex>`` of ``Incoming``; whoever fetches it the next time goes on behind its
last byte. A blob that is whole waits under its digest until the bundle is installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from edgeml.bundles.installation import SLACK_BYTES, SLACK_FILES
from edgeml.bundles.manifest import Manifest
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import NotInstalledError, StorageError


class StoreSink:
    """The incoming side of one store. One process at a time: ``store_pull`` holds a lock.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._incoming = store.incoming

    def has(self, digest: str) -> bool:
        """Whether the whole blob waits or is installed; its bytes are read and hashed now."""
        name = bare(digest)
        return self._incoming.verified_size(name) is not None or self._store.blobs.verified_size(name) is not None

    def partial(self, digest: str) -> int:
        """How many bytes of the blob are here, counted from its first."""
        with suppress(NotInstalledError):
            return self._incoming.received(bare(digest))
        return 0

    def write(self, digest: str, offset: int, chunks: Iterable[bytes]) -> None:
        """Writes bytes of a blob behind those that are here; offset 0 drops them first.

        Raises:
            StorageError: The quota of incoming transfers is spent.
            OSError: The disk refused; what came before is kept.
        """
        name = bare(digest)
        if offset == 0:
            with suppress(NotInstalledError):
                self._incoming.cancel(name)
        self._incoming.start(name)
        # Somebody else's transfers may have pushed this one out; whoever fetches it asks ``partial`` and begins anew.
        if self._incoming.received(name) == offset:
            self._incoming.append(name, chunks)

    def finish(self, digest: str, size: int) -> None:
        """Hashes the blob from its first byte, and keeps it as a whole or drops it.

        Raises:
            DigestError: It is another one.
            OSError: The disk refused.
        """
        self._incoming.finish(bare(digest), bare(digest))

    def make_room(self, manifest: Manifest) -> None:
        """Makes sure that what is missing of a bundle will fit, before any of it is fetched.

        Raises:
            StorageError: Disk or quota will not hold it.
        """
        missing = {}
        for descriptor in (manifest.config, *manifest.members.values()):
            name = bare(descriptor.digest)
            if self._incoming.size(name) is None and self._store.blobs.size(name) is None:
                missing[name] = max(descriptor.size - self.partial(name), 0)
        wanted, room = sum(missing.values()), self._store.blobs.room()
        if room.free_bytes < wanted + SLACK_BYTES:
            raise StorageError(
                f"the disk has {room.free_bytes} bytes left, and {wanted} and {SLACK_BYTES} to spare are needed to "
                "fetch the bundle; make room, or collect garbage with 'edgeml gc'"
            )
        if room.free_files is not None and room.free_files < len(missing) + SLACK_FILES:
            raise StorageError(f"the disk has {room.free_files} inodes left; make room")
        begun = max(missing, key=self.partial, default="")
        if self._incoming.make_room(wanted, keep=f"part-{begun}") < wanted:
            raise StorageError(
                f"{wanted} bytes are to be fetched, more than the quota of {self._incoming.quota_bytes} for what "
                "comes in leaves"
            )
