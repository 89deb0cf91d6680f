"""One blob on its way to a registry: chunk by chunk, and on from where it stopped.

``POST`` begins it (or mounts the blob from another name), ``PATCH`` sends a chunk, ``PUT`` with the digest ends it.
After an interruption ``GET`` says where it stopped. A registry that forgot the upload, or will not say, is asked
whether it has the whole blob, since the answer to ``PUT`` may have been what was lost, and else gets it anew.

Source: OCI distribution specification 1.1, "Pushing a blob in chunks", "Mounting a blob from another repository".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from edgeml.bundles.archive import blob_name, shown
from edgeml.bundles.manifest import Descriptor
from edgeml.bundles.oci_reference import check_digest
from edgeml.bundles.registry import Attempts, Registry
from edgeml.bundles.registry_link import PIECE_BYTES, Answer, Interrupted
from edgeml.errors import TransferError

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,15})\Z")


class Upload:
    """One blob on its way."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        descriptor: Descriptor,
        open_blob: Callable[[str, int], BinaryIO],
        chunk_bytes: int,
        sent: Callable[[int, int], None],
        begun: Callable[[str], None] = lambda location: None,
    ) -> None:
        """Args:
        registry: Where to.
        name: Name in the registry.
        descriptor: The blob.
        open_blob: Opens a blob, by digest, for reading from an offset on.
        chunk_bytes: Size of a chunk.
        sent: Called with the number of bytes that have just gone out, and the offset behind them.
        begun: Called with the location of each upload that is begun.
        """
        self._registry = registry
        self._name = name
        self._blob = descriptor
        self._what = f"pushing {shown(blob_name(descriptor.digest))}"
        self._open_blob = open_blob
        self._chunk_bytes = chunk_bytes
        self._sent = sent
        self._begun = begun

    def start(self, attempts: Attempts, mount_from: str = "") -> str | None:
        """Begins an upload.

        Returns:
            Where to send it; None if the registry has mounted the blob.
        """
        query = f"?mount={check_digest(self._blob.digest)}" + (f"&from={mount_from}" if mount_from else "")
        path = f"/v2/{self._name}/blobs/uploads/"
        try:
            answer = self._registry.ask("POST", path + query, what=self._what, expect={201, 202}, attempts=attempts)
        except TransferError as error:
            # A name that one may not read from is no reason not to push.
            if isinstance(error, Interrupted) or not mount_from or error.status not in (400, 401, 403, 404, 405):
                raise
            answer = self._registry.ask("POST", path, what=self._what, expect={202}, attempts=attempts)
        with answer:
            if answer.status == 201:
                return None
            least = answer.header("OCI-Chunk-Min-Length")
            if least.isascii() and least.isdigit() and len(least) < 12:
                self._chunk_bytes = max(self._chunk_bytes, int(least))
            location = self._location(answer)
        self._begun(location)
        return location

    def run(self, attempts: Attempts, location: str, is_there: Callable[[], bool], *, fresh: bool = True) -> int:
        """Sends the blob, however often the link breaks, as long as it goes forward.

        Args:
            attempts: Counts the interruptions.
            location: Where to send it.
            is_there: Asks whether the registry has the whole blob.
            fresh: Whether the upload has just begun; otherwise the registry is asked how far it is.

        Returns:
            How many bytes of it were there before.

        Raises:
            TransferError: It no longer goes forward, or the registry refuses.
        """
        offset = best = 0
        sure, doubted, before = fresh, False, None
        while True:
            try:
                if not sure:
                    location, offset = self._where(location)
                    if not location:
                        # The upload is gone: it was finished and only the answer got lost, or it must begin anew.
                        if is_there():
                            return before or 0
                        begun = self.start(attempts)
                        if begun is None:
                            return before or 0
                        location, offset = begun, 0
                    sure = True
                    if offset > best:
                        # A chunk that was cut off is kept by some: that is progress, though no chunk was whole.
                        best = offset
                        attempts.progress()
                before = offset if before is None else before
                while offset < self._blob.size:
                    location, offset = self._chunk(location, offset)
                    if offset > best:
                        best = offset
                        attempts.progress()
                self._finish(location)
                return before
            except Interrupted as error:
                attempts.interrupted(error)
            except TransferError as error:
                # Bytes of a request that was cut may have come in after we had asked where it stopped: once.
                mixed = error.code == "DIGEST_INVALID" and not doubted
                if not mixed and error.status not in (404, 416):
                    raise
                doubted = doubted or mixed
                attempts.interrupted(Interrupted(str(error), status=error.status, code=error.code))
            sure = False

    def _where(self, location: str) -> tuple[str, int]:
        """Where the upload stopped: location and number of bytes; no location if the registry does not know it."""
        try:
            with self._registry.once("GET", location, what=self._what, expect={200, 202, 204}) as answer:
                kept = self._kept(answer)
                # "0-0" is what some say of nothing and all say of one byte: too little to doubt over.
                if kept is None or not 1 < kept <= self._blob.size:
                    return "", 0
                return self._location(answer, location), kept
        except TransferError as error:
            if error.status is None or not 400 <= error.status < 500 or error.status in (401, 403, 408, 429):
                raise
            return "", 0

    def _chunk(self, location: str, offset: int) -> tuple[str, int]:
        """Sends one chunk; returns the next location and offset."""
        size = min(self._chunk_bytes, self._blob.size - offset)
        failures: list[Exception] = []
        try:
            answer = self._registry.once(
                "PATCH",
                location,
                what=self._what,
                expect={202},
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Range": f"{offset}-{offset + size - 1}",
                },
                body=lambda: self._pieces(offset, size, failures),
                length=size,
            )
        except Interrupted as error:
            if failures:  # the link is fine: what cannot be read is our own side
                raise failures[0] from error
            raise
        with answer:
            kept = self._kept(answer)
            if kept is not None and kept != offset + size:
                raise Interrupted(f"{self._registry.at}: {self._what}: it kept {kept} of {offset + size} bytes")
            return self._location(answer, location), offset + size

    def _pieces(self, offset: int, size: int, failures: list[Exception]) -> Iterator[bytes]:
        try:
            with self._open_blob(self._blob.digest, offset) as stream:
                left = size
                while left:
                    data = stream.read(min(PIECE_BYTES, left))
                    if not data:
                        raise TransferError(
                            f"{self._what}: it ends before its {self._blob.size} bytes; verify the bundle"
                        )
                    left -= len(data)
                    yield data
                    self._sent(len(data), offset + size - left)
        except (OSError, TransferError) as error:
            failures.append(error)
            raise OSError("the blob cannot be read") from error

    def _finish(self, location: str) -> None:
        joint = "&" if "?" in location else "?"
        url = f"{location}{joint}digest={self._blob.digest}"
        with self._registry.once("PUT", url, what=self._what, expect={201, 204}, length=0):
            pass

    def _location(self, answer: Answer, default: str = "") -> str:
        location = answer.header("Location") or default
        return self._registry.resolve(answer.url, location, self._what)

    def _kept(self, answer: Answer) -> int | None:
        """Number of bytes that the registry says it has; None where it does not say."""
        found = _RANGE.match(answer.header("Range"))
        return int(found[1]) + 1 if found else None
