"""The supervisor's end of its private socket: the worker's connection, and commands that nudge or ask."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from edgeml.errors import EdgemlError
from edgeml.monitor.link import Link, listen, places

# How long a message may wait for room in the kernel's buffer.
SEND_S = 2
# How long a command waits for the worker that does not say how long.
WAIT_S = 60.0


class Control:
    """Listens until it is closed; each connection has a thread.

    Args:
        root: Folder of the store.
        worker: Told ``("hello", link, document)``, ``("heard", link, document)`` and ``("gone", link)`` of workers.
        follow: Answers a nudge once the worker follows the record, or after so many seconds.
        live: Answers a question for what is served now.
        keep: Takes events that a command could not write into the journal; says how many.
        answers: What answers other kinds of questions, by kind; given the question.

    Raises:
        OSError: The socket cannot be made.
    """

    def __init__(
        self,
        root: Path,
        *,
        worker: Callable[[tuple[Any, ...]], None],
        follow: Callable[[float], dict[str, Any]],
        live: Callable[[], dict[str, Any]],
        keep: Callable[[Any], int],
        answers: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    ) -> None:
        self._worker = worker
        self._follow = follow
        self._live = live
        self._keep = keep
        self._answers = dict(answers or {})
        self._links: WeakSet[Link] = WeakSet()
        self._path, self._socket = _listen(root)
        threading.Thread(target=self._accept, args=(self._socket,), name="edgeml-control", daemon=True).start()

    def close(self) -> None:
        """Stops listening, and hangs up on everybody."""
        with suppress(OSError):
            os.unlink(self._path)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for link in list(self._links):
            link.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:  # closed: the supervisor ends
                return
            # Whoever does not read must not hold up the one thread that everything waits for.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
            link = Link(connected)
            self._links.add(link)
            threading.Thread(target=self._converse, args=(link,), name="edgeml-link", daemon=True).start()

    def _converse(self, link: Link) -> None:
        first = next(link.documents(), None)
        if first is not None and first.get("kind") == "hello":
            self._worker(("hello", link, first))
            for document in link.documents():
                self._worker(("heard", link, document))
            self._worker(("gone", link))
            link.heard_out.set()
            return
        # Whoever asks may have gone, or not say in a number how long it waits.
        with closing(link), suppress(OSError, TypeError, ValueError, OverflowError):
            if first is not None and first.get("kind") == "nudge":
                # Before the wait: whoever asks may not stay that long.
                kept = {"events": self._keep(first["events"])} if "events" in first else {}
                link.send(self._follow(float(first.get("wait_s", WAIT_S))) | kept)
            elif first is not None and first.get("kind") == "status":
                link.send(self._live())
            elif first is not None and (answer := self._answers.get(str(first.get("kind")))) is not None:
                try:
                    link.send(answer(first))
                except EdgemlError as error:
                    link.send({"error": str(error)})


def _listen(root: Path) -> tuple[Path, socket.socket]:
    first, elsewhere = places(root)
    try:
        return first, listen(first)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        try:
            elsewhere.parent.mkdir(mode=0o750, exist_ok=True)
            return elsewhere, listen(elsewhere)
        except OSError:
            raise error from None
