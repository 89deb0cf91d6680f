"""The signals by which people and systemd ask a process to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """Calls ``stop`` at SIGTERM, SIGINT and SIGHUP; does nothing outside the main thread.

    Under nohup a terminal may go; otherwise its end is the end of the service, worker and all.

    Args:
        stop: Called in the main thread, between two of its instructions.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    numbers = (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if hangs_up else ()))
    before = [signal.signal(number, lambda *_: stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
