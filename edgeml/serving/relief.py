"""Sees to it that a thread is there for the next request, while the only one waits for a slow client.

Granian 2.8 keeps one thread that works off its queue, and starts others when it finds requests waiting there as one
comes in. Where the second request ever comes within a fraction of a millisecond of the first it may find none, and
then waits for as long as the first takes: with a client that stops in the middle of its body, for as long as that
client likes (in 8 of 201 starts with such a client and one other). Nothing but a request makes Granian look again.
So, when all threads are busy and none gets on for a while, two cheap ones are sent to the service's own socket.

1. A request pays an append, a pop, and a look at a flag.
2. The watching thread sleeps while nobody is held up, and ends once all threads are there: they are never given back.
3. Where the own socket cannot be reached nothing is lost but this: it is as if nobody watched.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from threading import Event, get_ident

# How often it looks while requests come. A client is held up for two looks at most.
LOOK_S = 0.02
# ... and after calls for another thread that brought none.
MOST_LOOK_S = 1.0
# Looks at which nothing is asked and a thread is free, after which it sleeps.
PATIENCE = 50
_ASKED_S = 1.0
_REQUEST = b"GET /v2/health/live HTTP/1.1\r\nHost: edgeml\r\nConnection: close\r\n\r\n"


class Relief:
    """Watches whether the threads get on. ``begins`` and ``ends`` are called by each of them.

    Args:
        threads: How many there may be.
        answered: Those that have answered so far.
        begun: How many requests were begun so far.
        poke: Makes the server look whether it needs another thread.
        pause: Waits for a number of seconds.
    """

    def __init__(
        self,
        threads: int,
        *,
        answered: Collection[int],
        begun: Callable[[], int],
        poke: Callable[[], None],
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._threads = threads
        self._answered = answered
        self._begun = begun
        self._poke = poke
        self._pause = pause
        # A list, since its append and pop are whole under the GIL where += is not.
        self._inside: list[int] = []
        self._known: set[int] = set()
        self._asleep = False
        self._stopped = False
        self._wake = Event()

    def begins(self) -> None:
        """The calling thread begins with a request."""
        self._inside.append(get_ident())
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def ends(self) -> None:
        """A thread is done with its request."""
        self._inside.pop()

    def watch(self) -> None:
        """Watches until all threads are there, or ``stop``; on a thread of its own."""
        seen, still, pause = self._begun(), 0, LOOK_S
        while not self._stopped:
            held_up = self._all_busy()
            if len(self._known) >= self._threads:
                return
            if still >= PATIENCE and not held_up:
                self._sleep()
                still = 0
            self._pause(pause)
            begun = self._begun()
            if begun != seen:
                seen, still, pause = begun, 0, LOOK_S
                continue
            still += 1
            if held_up and self._all_busy():
                self._poke()
                # What was sent is no client's, and if it helped, more are known at the next look.
                seen, pause = self._begun(), min(2 * pause, MOST_LOOK_S)

    def stop(self) -> None:
        """Ends the watch."""
        self._stopped = True
        self._wake.set()

    def _all_busy(self) -> bool:
        inside = self._inside.copy()
        self._known.update(inside, self._answered)
        return len(inside) >= max(1, len(self._known))

    def _sleep(self) -> None:
        self._wake.clear()
        self._asleep = True
        # Somebody may have begun before the flag was up.
        if not self._all_busy() and not self._stopped:
            self._wake.wait()
        self._asleep = False


def poke(listening: socket.socket) -> None:
    """Sends two requests to a listening socket of this process, and waits a moment for their answers.

    Args:
        listening: The socket.
    """
    with ExitStack() as stack, suppress(OSError):
        sent = []
        for _ in range(2):
            own = stack.enter_context(socket.socket(listening.family, socket.SOCK_STREAM))
            own.settimeout(_ASKED_S)
            own.connect(listening.getsockname())
            own.sendall(_REQUEST)
            sent.append(own)
        for own in sent:
            while own.recv(4096):
                pass
