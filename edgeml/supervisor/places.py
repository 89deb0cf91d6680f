"""Bounds on what holds a thread of the management plane, so that status, health and going back always find one.

A request holds its thread for as long as it takes. Each thing that may take long has a few places of its own, fewer in
all than there are threads (``management.Doors``, ``management_app.AppPlaces``):

1. Transfers of blobs, and work that reads and hashes blobs, take a place or are refused: "try again in a second".
2. Whoever waits for the end of an operation takes a place, or is told at once how far it is.
3. Everything else waits for the network only as long as a client is slow with something small: a head, a document, a
   TLS handshake, the reading of an answer. That is the ``WaitingRoom``: it refuses nobody who comes; where it is full,
   whoever has been slow for longest gives way, and first at the address that has most of its places. So a flood of slow
   clients drives out itself, and a client that sends its request in one piece never needs a place at all.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from edgeml.errors import RequestError


class Turn:
    """A place that is held.

    Args:
        give_back: Called once, when it is closed.
    """

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def close(self) -> None:
        """Gives the place back."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Places:
    """So many places for one kind of work.

    Args:
        count: How many.
        full: What is said where there is none, such as ``too many blobs are in transfer``.
    """

    def __init__(self, count: int, full: str) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._full = full

    def take(self) -> Turn:
        """Takes a place.

        Raises:
            RequestError: Code ``TOOMANYREQUESTS``: there is none.
        """
        turn = self.take_if_free()
        if turn is None:
            raise RequestError(f"{self._full}; try again in a second", code="TOOMANYREQUESTS")
        return turn

    def take_if_free(self) -> Turn | None:
        """Takes a place; None where there is none."""
        return Turn(self._free.release) if self._free.acquire(blocking=False) else None


class Guest(Protocol):
    """A connection whose client is waited for.

    Attributes:
        address: Where the client is.
        since: When its request began, in monotonic seconds.
    """

    address: str
    since: float

    def cut(self) -> None:
        """Ends it from another thread."""
        ...


class WaitingRoom:
    """Where threads wait for slow clients.

    Args:
        places: Threads that may wait at a time.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._guests: list[Guest] = []
        self._lock = threading.Lock()

    @contextmanager
    def place(self, guest: Guest) -> Iterator[None]:
        """A place, for as long as one piece from one client is waited for.

        Raises:
            TimeoutError: It is full, and this one has been slow for longest.
        """
        leaving = None
        with self._lock:
            if len(self._guests) >= self._places:
                leaving = self._slowest(guest)
                if leaving is guest:
                    raise TimeoutError("timed out")
                self._guests.remove(leaving)
            self._guests.append(guest)
        if leaving is not None:
            leaving.cut()
        try:
            yield
        finally:
            with self._lock:
                if guest in self._guests:
                    self._guests.remove(guest)

    def _slowest(self, coming: Guest) -> Guest:
        guests = [*self._guests, coming]
        held = Counter(each.address for each in guests)
        return min(guests, key=lambda each: (-held[each.address], each.since))
