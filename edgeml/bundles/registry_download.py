"""One blob on its way from a registry: on from where it stopped, and never a byte more than it has.

The length is the manifest's, never the registry's. A registry that does not resume (416, or the whole blob where a part
was asked for) costs one fresh start, not more.

Source: OCI distribution specification 1.1, "Pulling blobs"; RFC 9110 section 14 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from edgeml.bundles.archive import blob_name, shown
from edgeml.bundles.manifest import Descriptor
from edgeml.bundles.registry import Attempts, Registry
from edgeml.bundles.registry_link import Answer, Interrupted
from edgeml.errors import TransferError

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)\Z")


class Sink(Protocol):
    """Where a bundle's blobs go to."""

    def has(self, digest: str) -> bool:
        """Whether the whole blob is there, verified."""

    def partial(self, digest: str) -> int:
        """How many bytes of the blob are there, counted from its first; 0 where there are none."""

    def write(self, digest: str, offset: int, chunks: Iterable[bytes]) -> None:
        """Writes bytes of a blob. They may end early: what came is kept for the next time.

        Args:
            digest: The blob.
            offset: Where the bytes belong: what ``partial`` said, or 0, which drops what was there.
            chunks: The bytes, piece by piece.
        """

    def finish(self, digest: str, size: int) -> None:
        """All bytes are there: hashes them from the first to the last.

        Args:
            digest: The blob.
            size: Its size in bytes.

        Raises:
            DigestError: They are other bytes; they have been dropped.
        """


class Download:
    """One blob on its way."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        descriptor: Descriptor,
        sink: Sink,
        count: Callable[[int], None],
        there: Callable[[int], None],
    ) -> None:
        """Args:
        registry: Where from.
        name: Name in the registry.
        descriptor: The blob.
        sink: Where to.
        count: Called with each number of bytes that came; may raise.
        there: Called with the number of bytes of the blob that are there.
        """
        self._registry = registry
        self._name = name
        self._blob = descriptor
        self._what = f"pulling {shown(blob_name(descriptor.digest))}"
        self._sink = sink
        self._count = count
        self._there = there

    def run(self, attempts: Attempts, offset: int) -> int:
        """Fetches what is missing.

        Args:
            attempts: Counts the interruptions.
            offset: How many bytes are there already; 0 drops what is there.

        Returns:
            How many of the bytes that were there before are in use.

        Raises:
            TransferError: It no longer goes forward, or the registry refuses or lies. What came is in the sink.
        """
        used, best, fresh = offset, offset, False
        if offset == 0:
            self._sink.write(self._blob.digest, 0, ())
        while offset < self._blob.size:
            try:
                with self._open(offset) as answer:
                    if offset and answer.status != 206:
                        self._start_anew(fresh)
                        used, offset, fresh = 0, 0, True
                        if answer.status == 416:
                            continue
                    body = _Body(answer, self._blob.size - offset, self._count)
                    start = offset
                    self._sink.write(self._blob.digest, start, self._seen(body, start))
                    offset = self._sink.partial(self._blob.digest)
                    if body.failure is not None:
                        raise body.failure
                    if offset < self._blob.size:
                        raise Interrupted(
                            f"{self._registry.at}: {self._what} ended after {offset} bytes", code="interrupted"
                        )
            except Interrupted as error:
                if offset > best:
                    best = offset
                    attempts.progress()
                attempts.interrupted(error)
        return used

    def _open(self, offset: int) -> Answer:
        """Asks for a blob from an offset on, and believes no length but the manifest's."""
        left = self._blob.size - offset
        answer = self._registry.once(
            "GET",
            f"/v2/{self._name}/blobs/{self._blob.digest}",
            what=self._what,
            expect={200, 206, 416} if offset else {200},
            headers={"Range": f"bytes={offset}-"} if offset else {},
        )
        problem = ""
        if answer.status == 206:
            found = _CONTENT_RANGE.match(answer.header("Content-Range"))
            ours = (str(offset), str(self._blob.size - 1))
            if found is None or found.groups()[:2] != ours or found[3] not in ("*", str(self._blob.size)):
                problem = f"it sends {answer.header('Content-Range')[:80]!r} where bytes {offset}- were asked for"
        elif answer.status == 200:
            left = self._blob.size
        if not problem and answer.status != 416 and answer.length() not in (None, left):
            problem = f"it has {answer.length()} bytes, and {left} of {self._blob.size} are missing"
        if answer.header("Content-Encoding") not in ("", "identity"):
            problem = f"it is sent as {answer.header('Content-Encoding')[:80]!r}"
        if problem:
            answer.close()
            raise TransferError(
                f"{self._registry.at}: {self._what}: {problem}; nothing of it is taken", code="wrong_length"
            )
        return answer

    def _start_anew(self, again: bool) -> None:
        if again:
            raise TransferError(
                f"{self._registry.at}: {self._what}: the link breaks and the registry does not resume; "
                "try again over a better link",
                code="no_resume",
            )
        self._sink.write(self._blob.digest, 0, ())

    def _seen(self, body: Iterable[bytes], offset: int) -> Iterator[bytes]:
        for data in body:
            offset += len(data)
            yield data
            self._there(offset)


class _Body:
    """A body for a sink: it just ends when something goes wrong, so that what came before is kept.

    Attributes:
        failure: What went wrong; None where nothing did.
    """

    def __init__(self, answer: Answer, max_bytes: int, count: Callable[[int], None]) -> None:
        self._answer = answer
        self._max_bytes = max_bytes
        self._count = count
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._answer.pieces(self._max_bytes)
        while True:
            try:
                data = next(pieces, b"")
                if not data:
                    return
                self._count(len(data))
            except Exception as error:  # the caller's budget may raise anything; it is raised again behind the sink
                self.failure = error
                return
            yield data
