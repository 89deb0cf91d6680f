"""The reading side of the OCI distribution interface: neighbours and registry tools fetch installed bundles from a box.

Sources: OCI distribution specification 1.1, "Pull", "Listing Tags", "Listing Referrers"; RFC 9110, section 14 (Range).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from edgeml.bundles.archive import digest_of
from edgeml.bundles.layout import EMPTY, EMPTY_CONFIG, INDEX_TYPE
from edgeml.bundles.manifest import MANIFEST_TYPE
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import RequestError
from edgeml.supervisor.call import Call, answer
from edgeml.supervisor.oci_names import check_repository, hex_of, is_fallback_tag, wanted_range
from edgeml.supervisor.oci_shelf import LATEST, Shelf, Shelves
from edgeml.supervisor.oci_uploads import OciUploads
from edgeml.supervisor.places import Turn
from edgeml.supervisor.refusals import Answer, Headers, json_bytes, refused
from edgeml.supervisor.request_body import PIECE_BYTES


class OciPlane:
    """Answers to whoever pulls.

    Args:
        store: The store.
        uploads: Knows of blobs that wait, and counts transfers.
    """

    def __init__(self, store: Store, uploads: OciUploads) -> None:
        self._store = store
        self._uploads = uploads
        self._shelves = Shelves(store)

    def version(self, call: Call) -> Answer:
        """Whether this interface is spoken here."""
        return answer({}, headers=[("Docker-Distribution-API-Version", "registry/2.0")])

    def tags(self, call: Call, name: str) -> Answer:
        """Version labels of installed bundles."""
        return answer({"name": name, "tags": sorted(self._shelf(name).tags)})

    def manifest(self, call: Call, name: str, reference: str) -> Answer:
        """A manifest, of a bundle or of a signature."""
        shelf = self._shelf(name)
        data = self._manifest(shelf, reference)
        if data is None:
            raise RequestError(f"no bundle {name}:{reference[:80]} is installed here", code="MANIFEST_UNKNOWN")
        digest = digest_of(data)
        headers = [("Content-Type", MANIFEST_TYPE), ("Docker-Content-Digest", digest), ("ETag", f'"{digest}"')]
        return 200, headers, data

    def referrers(self, call: Call, name: str, digest: str) -> Answer:
        """An index of the signatures over a manifest; empty where there are none."""
        listed = self._shelf(name).referrers.get(hex_of(digest), [])
        kind = call.query("artifactType")
        headers: Headers = [("Content-Type", INDEX_TYPE)]
        if kind:
            listed = [each for each in listed if each["artifactType"] == kind]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        return 200, headers, json_bytes({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed})

    def blob(self, call: Call, name: str, digest: str) -> Answer:
        """A blob, or a part of it. Whoever may push is told of blobs that wait, too, and need not send them again."""
        check_repository(name)
        wanted = hex_of(digest)
        headers: Headers = [
            ("Content-Type", "application/octet-stream"),
            ("Docker-Content-Digest", digest),
            ("ETag", f'"{digest}"'),
            ("Accept-Ranges", "bytes"),
        ]
        if digest == EMPTY_CONFIG.digest:
            return 200, headers, EMPTY
        shelf = self._shelves.all().get(name, Shelf())
        size = shelf.blobs.get(wanted)
        if call.method == "HEAD" and call.caller.may("push"):
            size = self._uploads.held(wanted)
        if size is None:
            raise RequestError(f"{name} has no blob {digest}", code="BLOB_UNKNOWN")
        found = None
        if call.header("If-Range") in ("", f'"{digest}"'):
            try:
                found = wanted_range(call.header("Range"), size)
            except RequestError as error:
                return refused(error, oci=True, headers=[("Content-Range", f"bytes */{size}")])
        start, end = found or (0, size)
        headers.append(("Content-Length", str(end - start)))
        if found is not None:
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
        body: Iterator[bytes] = iter(()) if call.method == "HEAD" else self._pieces(call, wanted, start, end)
        return 206 if found is not None else 200, headers, body

    def _shelf(self, name: str) -> Shelf:
        found = self._shelves.all().get(check_repository(name))
        if found is None:
            raise RequestError(f"this box has no model {name!r}", code="NAME_UNKNOWN")
        return found

    def _manifest(self, shelf: Shelf, reference: str) -> bytes | None:
        if ":" in reference:
            wanted: str | None = hex_of(reference)
        elif is_fallback_tag(reference):
            return None  # referrers are listed where the specification wants them
        else:
            wanted = shelf.latest if reference == LATEST else shelf.tags.get(reference)
        if wanted in shelf.signatures:
            return shelf.signatures[wanted]
        if wanted is None or wanted not in shelf.tags.values():
            return None
        return self._store.blobs.read(bare(wanted), self._store.limits.bundle.manifest_bytes)

    def _pieces(self, call: Call, digest: str, start: int, end: int) -> _Pieces:
        # Opened before the status is sent, so that a disk that does not read is an error and not a cut.
        turn = self._uploads.transfer(call.body)
        try:
            stream = self._store.blobs.open(digest)
        except BaseException:
            turn.close()
            raise
        stream.seek(start)
        return _Pieces(stream, end - start, turn)


class _Pieces:
    """A part of a blob; its file and its place are given back by ``close``, whether or not anybody has read it."""

    def __init__(self, stream: BinaryIO, size: int, turn: Turn) -> None:
        self._stream = stream
        self._left = size
        self._turn = turn

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> bytes:
        piece = self._stream.read(min(PIECE_BYTES, self._left))
        if not piece:
            raise StopIteration
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        self._stream.close()
        self._turn.close()
