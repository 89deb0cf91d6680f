"""Numbers that a fuzzer draws from its bytes."""

from __future__ import annotations

from typing import Any

import numpy as np


def ints(given: Any, count: int, low: int = -3, high: int = 40) -> np.ndarray[Any, Any]:
    """Small numbers for the most part, since large ones are all refused alike; now and then any."""
    numbers = [
        given.ConsumeIntInRange(low, high)
        if given.ConsumeIntInRange(0, 15)
        else given.ConsumeIntInRange(-(2**31), 2**31 - 1)
        for _ in range(count)
    ]
    return np.array(numbers, dtype=np.int32)


def floats(given: Any, count: int) -> np.ndarray[Any, Any]:
    numbers = [
        given.ConsumeFloat() if given.ConsumeIntInRange(0, 3) == 0 else given.ConsumeIntInRange(-2, 40)
        for _ in range(count)
    ]
    return np.array(numbers, dtype=np.float64)


def far(given: Any, low: int, high: int) -> int:
    """A small number for the most part; now and then any of 64 bits, or one close to their largest."""
    kind = given.ConsumeIntInRange(0, 15)
    if kind > 1:
        return int(given.ConsumeIntInRange(low, high))
    return int(given.ConsumeInt(8)) if kind else 2**63 - 1 - int(given.ConsumeIntInRange(0, 8))
