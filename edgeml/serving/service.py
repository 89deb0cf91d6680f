"""The process that serves: the compiled front on threads of this very process, started and stopped without a lost
request.

One process, because a second one would only wait and weigh. The front (``edgeml.kernels.http_front``) reads requests
and writes answers; what it asks is ``DataPlane.answer``.

Stopping goes in this order:

1. no new connection is made (``Listener.refuse_new``), and ``ready`` says 503;
2. requests on open connections, and connections in the queue, are answered, each with ``Connection: close``, until no
   request has come for ``quiet_s`` (``drain_s`` at most);
3. idle connections are closed, bodies have two seconds more to come, and answers that are being made are waited for
   (``finish_s`` at most).
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeml.kernels.http_front import Front
from edgeml.serving.bad_requests import refusals
from edgeml.serving.data_plane import DataPlane
from edgeml.serving.memory import give_back
from edgeml.serving.sockets import Listener

STEP_S = 0.02


def serve(plane: DataPlane, listener: Listener, *, ready: Callable[[], None]) -> int:
    """Serves until SIGTERM or SIGINT. Must be called in the main thread.

    Args:
        plane: Who answers.
        listener: Where requests come in; closed at the end.
        ready: Called once requests are answered.

    Returns:
        0 where every request got its answer, 1 where some did not end in time.
    """
    limits = plane.limits
    front = Front(
        listener.socket.fileno(),
        plane.answer,
        refusals(limits),
        connections=limits.connections,
        body_bytes=limits.body_bytes,
        memory_bytes=limits.waiting_bytes,
        head_s=limits.head_s,
        stall_s=limits.stall_s,
    )
    with _signals() as wait_for_signal:
        for number in range(limits.threads):
            threading.Thread(target=front.run, name=f"edgeml-front-{number}", daemon=True).start()
        give_back()
        ready()
        wait_for_signal()
        plane.stopping = True
        listener.refuse_new()
        _wait_until_quiet(plane)
        finished = front.stop(limits.finish_s)
        listener.close()
    if not finished:
        print("error: some requests were still being answered and are given up", file=sys.stderr)
    return 0 if finished else 1


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
