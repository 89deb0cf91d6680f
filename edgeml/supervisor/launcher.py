"""How a supervisor comes by a worker: it starts one, or takes over the one that an earlier supervisor left serving.

The listening socket outlives every worker. It is kept here: the first worker binds it and offers it, each later one
gets it as an open file.
"""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeml.monitor.link import Link
from edgeml.supervisor.worker_process import WorkerProcess, address_of, is_reachable, pause_s
from edgeml.supervisor.worker_state import WorkerOptions, WorkerState

# How long the end of a worker waits for the last that it said. Both are there already, and read by two threads.
LAST_WORDS_S = 2.0


class Launcher:
    """Starts workers and takes them over.

    Args:
        root: Folder of the store.
        options: How a worker is run.
        events: Gets ``("ended", process, how)`` once a worker has ended and everything it said is in the queue.
        say: Told what people should read, a line each.
    """

    def __init__(
        self,
        root: Path,
        options: WorkerOptions,
        events: queue.SimpleQueue[tuple[Any, ...]],
        say: Callable[[str], None],
    ) -> None:
        self._root = root
        self._options = options
        self._events = events
        self._say = say
        self._socket: socket.socket | None = None
        self._lives = 0

    @property
    def address(self) -> str:
        """Where the socket listens; empty while there is none."""
        return "" if self._socket is None else address_of(self._socket)

    def start(self, before: WorkerState, now: float) -> WorkerState:
        """Starts a worker; where that fails, it is to be started later.

        Args:
            before: The worker that was there before, for its deaths and turns.
            now: Seconds of CLOCK_MONOTONIC.
        """
        self._lives += 1
        deaths, turn = before.deaths, before.turn
        arguments = ["--store", str(self._root), *self._options.arguments]
        if self._socket is not None and not is_reachable(self._socket):
            self.close()
        held = self._socket.fileno() if self._socket is not None else None
        try:
            process = WorkerProcess.start(arguments, held, self._lives)
        except OSError as error:
            pause = pause_s(deaths + 1)
            self._say(f"no worker could be started ({error}); tried again in {pause:g} s")
            return WorkerState(deaths=deaths + 1, turn=turn, start_at=now + pause)
        return self._watched(WorkerState(process=process, heard=now, since=now, deaths=deaths, turn=turn))

    def take_over(self, link: Link, document: dict[str, Any], now: float) -> WorkerState | None:
        """Takes over a worker that says hello.

        Args:
            link: By which it speaks.
            document: What it said.
            now: Seconds of CLOCK_MONOTONIC.

        Returns:
            None where it offers no socket, or has ended since.
        """
        self.keep_socket(link)
        if self._socket is None:
            return None
        pid = document.get("pid", 0)
        try:
            process = WorkerProcess.adopt(int(pid), self._lives + 1)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            self._say(f"process {pid} said hello and cannot be taken over: {error}")
            return None
        self._lives += 1
        self._say(f"process {process.pid} was left serving and goes on under this supervisor")
        return self._watched(WorkerState(process=process, heard=now, since=now, loading=False))

    def keep_socket(self, link: Link) -> None:
        """Keeps the listening socket that a worker offers, so that it outlives the worker."""
        for descriptor in link.take_descriptors():
            if self._socket is None:
                self._socket = socket.socket(fileno=descriptor)
            else:
                os.close(descriptor)

    def close(self) -> None:
        """Lets go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _watched(self, worker: WorkerState) -> WorkerState:
        assert worker.process is not None

        def ended(process: WorkerProcess, how: str) -> None:
            voice = worker.voice
            if voice is not None:
                voice.heard_out.wait(LAST_WORDS_S)
            self._events.put(("ended", process, how))

        worker.process.watch(ended)
        return worker
