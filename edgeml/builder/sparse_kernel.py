"""A native kernel whose first product takes only the columns that a text has.

Of the many columns that vectorizers give nearly all are zero. Where everything that reads the row multiplies all of it
with weights, these weights are turned on their side (those of one column stand together) and taken out of the kernel's
operations; what is left works on the sums. Where anything else reads the row, the kernel stays as it is and the row is
written out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def with_sparse_product(document: dict[str, Any], constants: Numbers) -> tuple[dict[str, Any], Numbers]:
    """Takes the products over the row out of a kernel.

    Args:
        document: ``kernel.json``.
        constants: ``kernel.npy``.

    Returns:
        The kernel with ``sparse``, or as it was.
    """
    width: int = document["width"]
    products = [o for o in document["operations"] if _reads_row(o, document["index"], width)]
    if not products or document["door"] != "float64":
        return document, constants
    if any(o["op"] != "product" or o.get("from", 0) != 0 or o["count"] != width for o in products):
        return document, constants
    weights: list[Numbers] = []
    bias: list[Numbers] = []
    places: dict[int, int] = {}
    for o in products:
        start, results = o.get("constant", 0), o["extra"]
        end = start + width * results
        places |= {o["to"] + i: len(places) + i for i in range(results)}
        weights.append(constants[start:end].reshape(results, width))
        bias.append(constants[end : end + results])
    sums = len(places)

    def moved(register: int) -> int:
        return places[register] if register in places else register - width + sums

    kept = [o for o in document["operations"] if not any(o is product for product in products)]
    index = list(document["index"])
    operations = []
    for o in kept:
        if o["op"] == "pick":
            start = o.get("index", 0)
            index[start : start + o["count"]] = [moved(at) for at in index[start : start + o["count"]]]
            operations.append(o | {"to": moved(o["to"])})
        else:
            operations.append(o | {"to": moved(o["to"]), "from": moved(o.get("from", 0))})
    registers = document["registers"] - width + sums
    outputs = []
    for output in document["outputs"]:
        start = moved(output["start"])
        if start < sums:
            # An output does not lie in the row, and the row is what the product gives.
            count = max(1, output["columns"])
            operations.append({"op": "pick", "to": registers, "count": count, "index": len(index)})
            index += range(start, start + count)
            start = registers
            registers += count
        outputs.append(output | {"start": start})
    taken = sorted((o.get("constant", 0), o.get("constant", 0) + (width + 1) * o["extra"]) for o in products)

    def shifted(start: int) -> int:
        """Where a constant stands once the weights before it are gone."""
        return start - sum(int(end - begin) for begin, end in taken if begin < start)

    rest = np.delete(constants, np.concatenate([np.arange(*part) for part in taken]))
    turned = np.concatenate(weights).T.ravel()
    made = document | {
        "width": sums,
        "registers": registers,
        "index": index,
        "operations": [o | {"constant": shifted(o["constant"])} if "constant" in o else o for o in operations],
        "ensembles": [[at, trees, shifted(start), *sizes] for at, trees, start, *sizes in document["ensembles"]],
        "outputs": outputs,
        "sparse": {"width": width, "constant": len(rest)},
    }
    return made, np.concatenate([rest, turned, *bias])


def _reads_row(operation: dict[str, Any], index: list[int], width: int) -> bool:
    if operation["op"] == "pick":
        start = operation.get("index", 0)
        return any(at < width for at in index[start : start + operation["count"]])
    return bool(operation.get("from", 0) < width)
