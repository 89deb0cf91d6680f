"""Native models of somebody else's arrays, for ``fuzz_targets.py``: what is made runs, and says what its scores are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import atheris
import numpy as np
from fuzz_numbers import floats, ints

from edgeml.kernels.native_model import NativeBinding, NativeModel, TreeShares
from edgeml.runtime.contributions import quadrature
from edgeml.runtime.raw_scores import Opaque, raw_score

Target = Callable[[bytes], None]


def native() -> Target:
    """A native model: what is made runs."""
    rows = np.array([[1.0, -2.0, 0.5], [np.nan, 3.0, -1.0]])

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        operations = ints(given, 8 * given.ConsumeIntInRange(0, 4)).reshape(-1, 8)
        index, constants = ints(given, given.ConsumeIntInRange(0, 12)), floats(given, given.ConsumeIntInRange(0, 24))
        sizes = [tuple(ints(given, 5).tolist()) for _ in range(given.ConsumeIntInRange(0, 2))]
        registers = given.ConsumeIntInRange(3, 10)
        try:
            model = NativeModel(operations, index, constants, width=3, n_registers=registers, ensembles=sizes)
            out = np.zeros((2, 1))
            binding = NativeBinding(model, rows, [(given.ConsumeIntInRange(0, 10), out)])
        except (ValueError, OverflowError):
            return
        binding.run()
        _explained(given, model, registers)

    return target


def _explained(given: Any, model: NativeModel, registers: int) -> None:
    """What a made model says of itself, and how its trees are divided by any counts."""
    with suppress(Opaque):
        raw_score(model, given.ConsumeIntInRange(0, registers - 1))
    points, weights = quadrature(given.ConsumeIntInRange(0, 6))
    try:
        _, leaves, _ = model.size_of(0)
        model.count_leaves(0, np.zeros((2, 3)), np.zeros(leaves, dtype=np.int64))
        counts = ints(given, given.ConsumeIntInRange(0, leaves), -1, 9)
        players = ints(given, 3, -1, 3)
        shares = TreeShares(model, 0, counts, players, points, weights)
    except (ValueError, IndexError):
        return
    for target in (0, 1, -(2**63), 2**63 - 1):
        shares.add(np.array([1.0, np.nan, 0.5]), target, np.zeros(shares.n_players))
