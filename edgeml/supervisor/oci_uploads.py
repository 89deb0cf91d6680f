"""The writing side of the OCI distribution interface: blobs come in, piece by piece, and go on where they stopped.

1. Bytes go to the disk as they come (``Store.incoming``), in pieces of at most 64 KiB; a connection that is cut keeps
   what came.
2. A chunk that says where it belongs is taken only there. One that does not say is put at the end.
3. The newest request about an upload owns it. Bytes of an older one that come later are thrown away: they would come
   in behind the place that the client was told. Whoever asks where it stopped waits a moment for what an older request
   is still taking in: what is here already need not be sent again.
4. An upload becomes a blob when its bytes hash to the digest. What a blob means is the business of manifests.

Source: OCI distribution specification 1.1, "Push".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator

from edgeml.bundles.layout import EMPTY, EMPTY_CONFIG
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import NotInstalledError, RequestError, TransferError
from edgeml.supervisor.call import Call
from edgeml.supervisor.oci_names import check_repository, content_range, hex_of
from edgeml.supervisor.places import Places, Turn
from edgeml.supervisor.refusals import Answer, Headers, refused
from edgeml.supervisor.request_body import Body

_MINTED = re.compile(r"[0-9a-f]{32}\Z")
_EMPTY = bare(EMPTY_CONFIG.digest)
_MOST_OWNERS = 256
_MOMENT_SECONDS = 0.25
_MOST_MOMENTS = 20


class OciUploads:
    """Uploads into one store.

    Args:
        store: The store.
        transfers: Places for blobs in transfer, both ways.
        hashing: Places for work that reads and hashes blobs.
        waits: Places for waiting.
    """

    def __init__(self, store: Store, *, transfers: Places, hashing: Places, waits: Places) -> None:
        self._store = store
        self._transfers = transfers
        self._hashing = hashing
        self._waits = waits
        self._owning = threading.Lock()
        self._owners: dict[str, threading.Event] = {}

    def transfer(self, body: Body) -> Turn:
        """Takes one of the places for transfers.

        Args:
            body: Of the request: as long as the place is held, its client may be as slow as a transfer may.

        Raises:
            RequestError: Code ``TOOMANYREQUESTS``.
        """
        turn = self._transfers.take()
        body.transfers(True)

        def give_back() -> None:
            body.transfers(False)
            turn.close()

        return Turn(give_back)

    def held(self, digest: str) -> int | None:
        """Size of a blob that waits or is installed, in bytes, its bytes read and hashed just now; None without one.

        Who is told that a blob is here does not send it: a damaged one would never be mended.

        Raises:
            RequestError: Code ``TOOMANYREQUESTS``: others are being hashed.
        """
        if digest == _EMPTY:
            return len(EMPTY)
        incoming, blobs = self._store.incoming, self._store.blobs
        if incoming.size(digest) is None and blobs.size(digest) is None:
            return None
        with self._hashing.take():
            size = incoming.verified_size(digest)
            return blobs.verified_size(digest) if size is None else size

    def start(self, call: Call, name: str) -> Answer:
        """Begins an upload; or mounts a blob that is here; or takes one whole."""
        check_repository(name)
        mount, whole = call.query("mount"), call.query("digest")
        if mount and self.held(hex_of(mount)) is not None:
            return self._created(name, mount)
        if whole:
            expected = hex_of(whole)
            with self.transfer(call.body):
                upload = self._store.incoming.start()
                try:
                    self._receive(upload, call.body, None)
                    self._store.incoming.finish(upload, expected)
                except BaseException:
                    self._forget(upload)
                    raise
            return self._created(name, whole)
        upload = self._store.incoming.start()
        return 202, self._where(name, upload, 0), b""

    def where(self, call: Call, name: str, upload: str) -> Answer:
        """Where an upload stopped."""
        check_repository(name)
        self._received(upload)
        waiting = self._waits.take_if_free()
        if waiting is not None:
            with waiting:
                self._let_finish(upload)
        with self._owning:
            received = self._received(upload)
            self._owners.pop(upload, None)  # whoever asks wants to go on, so nobody else does
        return 204, self._where(name, upload, received), b""

    def chunk(self, call: Call, name: str, upload: str) -> Answer:
        """Takes a piece."""
        check_repository(name)
        self._received(upload)
        span = content_range(call.header("Content-Range"))
        with self.transfer(call.body):
            received = self._receive(upload, call.body, span)
        if isinstance(received, RequestError):
            return self._misplaced(name, upload, received)
        return 202, self._where(name, upload, received), b""

    def finish(self, call: Call, name: str, upload: str) -> Answer:
        """Takes the last piece, if there is one, and makes a blob of the upload."""
        check_repository(name)
        self._received(upload)
        digest = call.query("digest")
        expected = hex_of(digest)
        span = content_range(call.header("Content-Range"))
        with self.transfer(call.body):
            received = self._receive(upload, call.body, span)
            if isinstance(received, RequestError):
                return self._misplaced(name, upload, received)
            self._store.incoming.finish(upload, expected)
        self._owners.pop(upload, None)
        return self._created(name, digest)

    def cancel(self, call: Call, name: str, upload: str) -> Answer:
        """Drops an upload."""
        check_repository(name)
        self._received(upload)
        self._forget(upload)
        return 204, [], b""

    def _receive(self, upload: str, body: Body, span: tuple[int, int] | None) -> int | RequestError:
        """Takes a body in.

        Returns:
            How many bytes of the upload are here now; an error where the body belongs to another place.
        """
        owner = threading.Event()
        with self._owning:
            received = self._received(upload)
            self._owners.pop(upload, None)
            while len(self._owners) >= _MOST_OWNERS:
                del self._owners[next(iter(self._owners))]
            self._owners[upload] = owner
        if span is not None:
            first, last = span
            if first != received:
                return RequestError(f"{received} bytes are here, and the chunk begins at {first}", code="RANGE_INVALID")
            if body.length is not None and body.length != last + 1 - first:
                raise RequestError(
                    f"Content-Range names {last + 1 - first} bytes, and the body has {body.length}", code="SIZE_INVALID"
                )
            body.limit = min(body.limit, last + 1 - first)
        pieces = self._owned(upload, owner, body)
        try:
            received = self._store.incoming.append(upload, pieces)
        except NotInstalledError as error:
            raise _unknown(error) from error
        finally:
            pieces.close()  # at once: it may hold the lock, and a traceback would keep it
            owner.set()
        if span is not None and received != span[1] + 1:
            raise RequestError("the body ended before its Content-Range does", code="SIZE_INVALID")
        return received

    def _owned(self, upload: str, owner: threading.Event, body: Body) -> Generator[bytes, None, None]:
        for piece in body.pieces():
            # Held until the piece is written: nobody is told a size, or begins to write, in between.
            with self._owning:
                if self._owners.get(upload) is not owner:
                    raise TransferError("a newer request goes on with this upload", code="cut")
                yield piece

    def _let_finish(self, upload: str) -> None:
        """Waits for a request whose connection was cut while its bytes are still taken in; not for one that hangs."""
        owner, seen = self._owners.get(upload), -1
        for _ in range(_MOST_MOMENTS):
            received = self._received(upload)
            if owner is None or received == seen or owner.wait(_MOMENT_SECONDS):
                return
            seen = received

    def _received(self, upload: str) -> int:
        # A box's own pulls are transfers too, named by digests; nobody outside has a part in them.
        if not _MINTED.match(upload):
            raise _unknown(NotInstalledError(f"there is no upload {upload[:80]!r}; start one with POST"))
        try:
            return self._store.incoming.received(upload)
        except NotInstalledError as error:
            raise _unknown(error) from error

    def _forget(self, upload: str) -> None:
        with self._owning:
            self._owners.pop(upload, None)
        try:
            self._store.incoming.cancel(upload)
        except NotInstalledError:
            pass  # a wrong digest has dropped it already

    def _misplaced(self, name: str, upload: str, error: RequestError) -> Answer:
        return refused(error, oci=True, headers=self._where(name, upload, self._received(upload)))

    def _where(self, name: str, upload: str, received: int) -> Headers:
        return [
            ("Location", f"/v2/{name}/blobs/uploads/{upload}"),
            ("Range", f"0-{max(received - 1, 0)}"),
            ("Docker-Upload-UUID", upload),
        ]

    def _created(self, name: str, digest: str) -> Answer:
        return 201, [("Location", f"/v2/{name}/blobs/{digest}"), ("Docker-Content-Digest", digest)], b""


def _unknown(error: Exception) -> RequestError:
    return RequestError(str(error), code="BLOB_UPLOAD_UNKNOWN")
