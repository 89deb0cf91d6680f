"""What each operation of a feature program means, one number at a time, in plain Python."""

from __future__ import annotations

import bisect
import math
import statistics
from typing import Any


def run(
    operations: list[dict[str, Any]],
    *,
    index: list[int],
    constants: list[float],
    numbers: list[float],
    codes: list[int],
    n_outputs: int,
) -> tuple[list[float], bool]:
    """One row through a program; gives the output and whether the row is refused."""
    registers: dict[int, float] = {}
    made_codes: dict[int, int] = {}
    output = [0.0] * n_outputs
    refused = False
    for o in operations:
        op, to, first, count = o["op"], o.get("to", 0), o.get("from", 0), o.get("count", 0)
        at, extra, size = o.get("constant", 0), o.get("extra", 0), o.get("size", 0)
        places = index[o.get("index", 0) :]
        k = constants[at:]
        x = [registers.get(first + i, 0.0) for i in range(count)]

        entry = 0
        if size:
            code = codes[first] if first < len(codes) else made_codes[first - len(codes)]
            entry = code + 2 if 0 <= code + 2 < size else 0
        if op == "load":
            result = [numbers[places[i]] for i in range(count)]
        elif op == "table":
            result = [k[entry]]
        elif op == "constant":
            result = k[:count]
        elif op == "pick":
            result = [registers.get(places[i], 0.0) for i in range(count)]
        elif op in ("add", "subtract", "multiply", "divide"):
            result = [_arithmetic(op, x[i], k[i]) for i in range(count)]
        elif op == "clip":
            result = [_clipped(x[i], k[2 * i], k[2 * i + 1]) for i in range(count)]
        elif op == "fill":
            result = [k[i] if math.isnan(x[i]) else x[i] for i in range(count)]
        elif op == "replace":
            result = [k[2 * i + 1] if x[i] == k[2 * i] else x[i] for i in range(count)]
        elif op == "is_missing":
            result = [float(math.isnan(value)) for value in x]
        elif op == "equals":
            result = [float(x[i] == k[i]) for i in range(count)]
        elif op == "above":
            result = [float(x[i] > k[i]) for i in range(count)]
        elif op == "product":
            result = [registers.get(places[2 * i], 0.0) * registers.get(places[2 * i + 1], 0.0) for i in range(count)]
        elif op == "bin":
            result = [float(extra if math.isnan(x[0]) else bisect.bisect_right(k[:extra], x[0]))]
        elif op == "categorize":
            known = k[:extra]
            made_codes[to] = -1 if math.isnan(x[0]) else known.index(x[0]) if x[0] in known else -2
            continue
        elif op == "matrix":
            result = [sum(x[i] * k[j * count + i] for i in range(count)) for j in range(extra)]
        elif op == "emit":
            output[extra : extra + count] = x
            continue
        elif op == "emit_table":
            output[extra] = k[entry]
            continue
        elif op == "emit_one":
            if places[entry] >= 0:
                output[places[entry]] = 1.0
            continue
        else:
            assert op == "refuse"
            refused = refused or k[entry] != 0
            continue
        registers |= {to + i: value for i, value in enumerate(result)}
    return output, refused


def _arithmetic(op: str, x: float, k: float) -> float:
    if op == "divide":
        if k == 0:
            return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x) * math.copysign(1, k)
        return x / k
    return {"add": x + k, "subtract": x - k, "multiply": x * k}[op]


def _clipped(x: float, low: float, high: float) -> float:
    return low if x < low else high if x > high else x


def normal_quantile(p: float) -> float:
    """Quantile of the standard normal distribution."""
    return statistics.NormalDist().inv_cdf(p)
