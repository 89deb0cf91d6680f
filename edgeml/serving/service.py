"""The process that serves: Granian's worker inside this very process, started and stopped without a lost request.

One process, because a second one would only wait and weigh: Granian's own command forks a worker and watches it. Its
worker class is used directly, which also spares each request the making of a full WSGI environment. This is the only
file that knows Granian.

Stopping goes in this order:

1. no new connection is made (``Listener.refuse_new``), and ``ready`` says 503;
2. requests on open connections, and connections in the queue, are answered, each with ``Connection: close``, until no
   request has come for ``quiet_s`` (``drain_s`` at most);
3. Granian closes idle connections and waits for answers that are being made (``finish_s`` at most).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from edgeml.serving.data_plane import DataPlane
from edgeml.serving.memory import give_back
from edgeml.serving.relief import Relief, poke
from edgeml.serving.sockets import BACKLOG, Listener
from edgeml.serving.turns import Turns

# How long a client may take to send the head of a request, and how long an idle connection is kept.
HEADER_MS = 30_000
STEP_S = 0.02
IDLE_S = 10 * 365 * 86_400


def serve(plane: DataPlane, listener: Listener, *, ready: Callable[[], None]) -> int:
    """Serves until SIGTERM or SIGINT. Must be called in the main thread.

    Args:
        plane: Who answers.
        listener: Where requests come in; closed at the end.
        ready: Called once requests are answered.

    Returns:
        0 where every request got its answer, 1 where some did not end in time.
    """
    with _signals() as wait_for_signal:
        worker = _Worker(plane, listener)
        give_back()
        ready()
        wait_for_signal()
        plane.stopping = True
        listener.refuse_new()
        _wait_until_quiet(plane)
        finished = worker.stop(plane.limits.finish_s)
        listener.close()
    if not finished:
        print("error: some requests were still being answered and are given up", file=sys.stderr)
    return 0 if finished else 1


class _Worker:
    """Granian's WSGI worker on threads of this process."""

    def __init__(self, plane: DataPlane, listener: Listener) -> None:
        from asyncio import new_event_loop

        # Granian publishes no types for what follows.
        granian: Any = import_module("granian._granian")
        futures: Any = import_module("granian._futures")
        http: Any = import_module("granian.http")
        answer = plane.answer
        turns = Turns(lambda: plane.asked)
        relief = Relief(
            plane.limits.threads,
            answered=turns.threads,
            begun=lambda: plane.asked,
            poke=lambda: poke(listener.socket),
        )
        answered, begins, ends = turns.answered, relief.begins, relief.ends

        def call(protocol: Any, environ: Mapping[str, Any]) -> None:
            begins()
            try:
                status, headers, body = answer(environ)
                if type(body) is bytes:
                    protocol.response_bytes(status, headers, body)
                else:
                    protocol.response_iter(status, headers, body)
                answered()
            finally:
                ends()

        # The worker closes the descriptor that it is given; ours stays for refuse_new and close.
        unix = listener.path is not None
        held = granian.SocketHolder(os.dup(listener.socket.fileno()), unix, BACKLOG)
        worker = granian.WSGIWorker(
            worker_id=1,
            sock=(None, held),
            ipc=None,
            threads=1,
            blocking_threads=1,
            py_threads=plane.limits.threads,
            # Never, as far as a service is concerned: one that has gone would have to be missed first.
            py_threads_idle_timeout=IDLE_S,
            backpressure=plane.limits.connections,
            http_mode="1",
            http1_opts=http.HTTP1Settings(header_read_timeout=HEADER_MS),
            metrics=(None, None),
        )
        self._relief = relief
        threading.Thread(target=relief.watch, name="edgeml-relief", daemon=True).start()
        self._signal = granian.WorkerSignal()
        self._stopped = threading.Event()
        self._signal.add_cb(self._stopped.set)
        # Granian asks for an event loop even where nothing is asynchronous; it is never run.
        self._loop = new_event_loop()
        run = worker.serve_str_uds if unix else worker.serve_str
        run(futures._new_cbscheduler(self._loop, call, impl_asyncio=True), self._loop, self._signal)

    def stop(self, timeout_s: float) -> bool:
        """Closes idle connections and waits for the others; False where they take too long."""
        self._relief.stop()
        self._signal.set()
        stopped = self._stopped.wait(timeout_s)
        self._loop.close()
        return stopped


def _wait_until_quiet(plane: DataPlane) -> None:
    end = time.monotonic() + plane.limits.drain_s
    seen, since = plane.asked, time.monotonic()
    while (now := time.monotonic()) < end and now - since < plane.limits.quiet_s:
        time.sleep(STEP_S)
        if plane.asked != seen:
            seen, since = plane.asked, time.monotonic()


@contextmanager
def _signals() -> Iterator[Callable[[], object]]:
    """Makes SIGTERM and SIGINT wake the function that it gives.

    The wake-up goes through a socket: another thread may be the one that the kernel interrupts, and a lock would then
    sleep on.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    woken = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield lambda: reader.recv(1)
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        reader.close()
        writer.close()
