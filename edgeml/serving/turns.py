"""While requests are short, one thread answers them all and the others rest.

Several threads are there so that a client which sends its body slowly holds up nobody else. But they share one GIL,
and the server gives it away each time it reads a body: where two threads answer short requests, nearly every request
pays for a change of threads, which takes longer than the request itself. So:

1. A thread that has answered and was not the last to do so rests for a tick, if requests come faster than ``MANY``
   in a tick.
2. It goes back to work as soon as they no longer do: the working thread waits for a slow client, or works on a large
   batch (where the kernels give the GIL away and a second core helps), or there is little to do.
3. The thread that answered last never rests, so one is always there for the next request. Who is held up by a slow
   client waits one tick.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import get_ident

# As long as CPython lets a thread keep the GIL that another one wants.
TICK_S = 0.005
# Requests in a tick from which on a change of threads is dear: 0.3 ms for each.
MANY = 16


class Turns:
    """Who works and who rests. Each thread calls ``answered`` after each of its answers.

    No lock is needed: each attribute is read or written at once, and a decision made on an old value costs a tick.

    Args:
        begun: Tells how many requests were begun so far.
        rest: Waits for a number of seconds.
        clock: Tells the time, in seconds.

    Attributes:
        threads: Those that have answered.
    """

    def __init__(
        self,
        begun: Callable[[], int],
        *,
        rest: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begun = begun
        self._rest = rest
        self._clock = clock
        self._last = 0
        self._seen = (clock(), begun())
        self.threads: set[int] = set()

    def answered(self) -> None:
        """Returns when the calling thread is to take its next request."""
        me = get_ident()
        if self._last == me:
            return
        while self._crowded():
            self._rest(TICK_S)
        self.threads.add(me)
        self._last = me

    def _crowded(self) -> bool:
        """Whether requests come in faster than several threads are good for."""
        now, begun = self._clock(), self._begun()
        then, before = self._seen
        ticks = (now - then) / TICK_S
        crowded = begun - before > MANY * max(1.0, ticks)
        if crowded or ticks >= 1.0:
            self._seen = (now, begun)
        return crowded
