"""The front of the data plane: an HTTP/1.1 server that reads requests, asks a handler, and writes its answers.

1. A request is read whole without the GIL; then the thread that read it asks the handler and writes the answer, itself.
2. One thread does so for all connections. The others come in while a handler takes longer than some 3 ms, or has a
   large body to look at.
3. Clients that send or read slowly cost memory, which is bounded, and no thread.
4. What cannot be read in one way only is refused (RFC 9112): a bare LF, a folded line, both lengths, two lengths.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

BODY: str
"""The key of an environ under which the whole body stands, as bytes."""

@final
class Front:
    """Serves one listening socket with the threads that call ``run``.

    Args:
        listener: Descriptor of the socket; it is made non-blocking, and not closed.
        answer: Asked with the request as WSGI describes it (``REQUEST_METHOD``, ``PATH_INFO``, ``QUERY_STRING``,
            ``SERVER_PROTOCOL``, ``CONTENT_TYPE``, ``CONTENT_LENGTH``, ``HTTP_...``) and its body under ``BODY``. Gives
            status, headers, and the body as bytes or an iterator over pieces of it. A list of headers that comes again
            is written down once, so it must not be changed. ``("connection", "close")`` in it closes the connection.
        refuse: Asked, with a status, what to say to a request that is refused unasked: 400, 408, 413, 414, 417, 431,
            501, 503, 505; 499 for a body that was cut short, and 500 where ``answer`` raises. Gives what ``answer``
            gives, with a body of bytes.
        connections: Connections open at a time; more wait in the socket's queue.
        body_bytes: Largest body, in bytes; of a larger one the request is refused with 413.
        memory_bytes: Bodies of more than 64 KiB that are read or answered at a time, in bytes; the others wait unread,
            in the order of their coming. A body with a content coding counts as ``body_bytes`` besides, for what it
            inflates to, however small it came. One is always let in.
        head_s: Seconds in which a head must have come, and which an idle connection is kept.
        stall_s: Seconds that a client may send nothing of a body, or read nothing of an answer that waits for it.
            Beyond that 8 KiB a second have to come or go on the average.
        server: What the ``server`` field says; nothing leaves it out.

    Raises:
        ValueError: A bound makes no sense.
        OSError: ``listener`` is no listening socket, or the system has no descriptors left.
    """

    def __init__(
        self,
        listener: int,
        answer: Callable[[Mapping[str, Any]], tuple[int, list[tuple[str, str]], Any]],
        refuse: Callable[[int], tuple[int, list[tuple[str, str]], Any]],
        *,
        connections: int,
        body_bytes: int,
        memory_bytes: int,
        head_s: float = 30.0,
        stall_s: float = 30.0,
        server: str = "edgeml",
    ) -> None: ...
    def run(self) -> None:
        """Serves with the calling thread, until ``stop``."""

    def stop(self, timeout_s: float) -> bool:
        """Closes idle connections, waits for answers that are being made, and lets the threads go.

        A body that is still coming has two seconds; then it is refused with 408.

        Args:
            timeout_s: How long to wait at most, in seconds.

        Returns:
            False where some answers were given up.
        """

    @property
    def connections(self) -> int:
        """Connections that are open now."""

def parse_head(pieces: Iterable[bytes]) -> tuple[int, dict[str, Any]]:
    """Reads the head of a request as a connection does.

    Args:
        pieces: Its bytes, as they come in.

    Returns:
        Its size in bytes, and its environ with ``keep``, ``chunked``, ``expects`` and ``length`` beside; 0 where its
        end is missing; the negative status of a refusal.
    """

def decode_chunks(pieces: Iterable[bytes], room: int) -> tuple[int, bytes, bytes]:
    """Decodes a chunked body as a connection does.

    Args:
        pieces: Its bytes, as they come in.
        room: Most bytes of the body.

    Returns:
        1 at the end of the body, 0 before it or where there is no more room, or a negative status; the body; what was
        not read.
    """
