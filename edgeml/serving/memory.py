"""Gives memory back that only loading needed: the garbage of the start, and code that ran once.

1. Python's garbage is collected, and what is left is set apart, so that no later collection looks at it again.
2. The C allocator returns its free pages.
3. Pages of program code are taken out of this process. They stay in the kernel's cache, and those that are used come
   back with the next touch; the rest (most of ONNX Runtime's loader and optimiser) weighs no more. Only mappings that
   are executable and not writable are dropped: nothing in them can have been changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

_MADV_DONTNEED = 4


def give_back() -> None:
    """Returns what can be returned. Does its best, and nothing where the system offers no way."""
    gc.collect()
    gc.freeze()
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        system = ctypes.CDLL(None)
        system.malloc_trim(0)
        for start, end in _code():
            system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _code() -> list[tuple[int, int]]:
    """Start and end of each mapping of program code that comes from a file."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, permissions, _, _, inode, *_ = line.split()
            if permissions == "r-xp" and inode != "0":
                start, end = where.split("-")
                found.append((int(start, 16), int(end, 16)))
    return found
