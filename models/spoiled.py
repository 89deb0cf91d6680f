"""Two bundles that must not be served, for the demonstration: one cannot be loaded, one answers NaN.

Both are signed and well formed. That is the point: a signature says who made a bundle, not that it is any good.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeml.bundles import Bundle

HUGE = 2**33  # floats: 32 GiB
_KERNEL = ("kernel.json", "kernel.npy")


def renamed(bundle: Bundle, version: str) -> Bundle:
    """The same bundle under another version label."""
    return Bundle.create(bundle.config | {"version": version}, bundle.members)


def crashing(bundle: Bundle, version: str) -> Bundle:
    """A version whose model wants 32 GiB of memory before it answers anything."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_model_from_string(bundle.members["model.onnx"])
    asked = model.graph.input[0].name
    kind = model.graph.input[0].type.tensor_type.elem_type
    for node in model.graph.node:
        node.input[:] = ["burdened" if name == asked else name for name in node.input]
    first = [
        helper.make_node("ConstantOfShape", ["huge"], ["much"], value=helper.make_tensor("zero", kind, [1], [0])),
        helper.make_node("ReduceSum", ["much"], ["sum"], keepdims=0),
        helper.make_node("Add", [asked, "sum"], ["burdened"]),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*first, *rest])
    model.graph.initializer.append(numpy_helper.from_array(np.array([HUGE], dtype=np.int64), "huge"))
    members = {name: data for name, data in bundle.members.items() if name not in _KERNEL}
    return Bundle.create(bundle.config | {"version": version}, members | {"model.onnx": model.SerializeToString()})


def not_a_number(bundle: Bundle, version: str, record: Mapping[str, Any]) -> Bundle | None:
    """A version whose model answers NaN, and whose golden rows were left out so that nobody noticed.

    Args:
        bundle: A good bundle.
        version: The version label.
        record: A record that the model, and no rule, answers.

    Returns:
        The bundle; None where the model does not run in the native kernel, whose numbers are easy to spoil.
    """
    from edgeml.errors import EdgemlError
    from edgeml.runtime.load import predictor_of

    if "kernel.npy" not in bundle.members:
        return None
    numbers = np.load(io.BytesIO(bundle.members["kernel.npy"]))
    # The last numbers are the leaves of trees or the weights; the others are structure, which the kernel checks.
    for share in (1.0, 0.5, 0.25, 0.1, 0.05, 0.01):
        spoiled = numbers.copy()
        spoiled[-max(1, int(share * numbers.size)) :] = np.nan
        written = io.BytesIO()
        np.save(written, spoiled)
        members = dict(bundle.members) | {"kernel.npy": written.getvalue(), "golden.jsonl": b""}
        bad = Bundle.create(bundle.config | {"version": version}, members)
        try:
            if predictor_of(bad).predict(record).tier == "fallback":
                return bad
        except EdgemlError:
            continue
    return None
