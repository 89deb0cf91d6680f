"""The error function in float64, which ONNX Runtime has in float32 only.

W. J. Cody, "Rational Chebyshev approximation for the error function", Mathematics of Computation 23 (1969), 631-637:
three rational functions, for |x| <= 0.46875, up to 4, and beyond; each good to about 1e-16.
"""

from __future__ import annotations

import numpy as np

from edgeml.builder.onnx_graph import Graph, Tensor

_SMALL = (
    [1.85777706184603153e-1, 3.16112374387056560e00, 1.13864154151050156e02, 3.77485237685302021e02,
     3.20937758913846947e03],
    [1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03],
)  # fmt: skip
_MIDDLE = (
    [2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e01,
     2.98635138197400131e02, 8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03,
     1.23033935479799725e03],
    [1.0, 1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03,
     3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03, 1.23033935480374942e03],
)  # fmt: skip
_LARGE = (
    [1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4],
    [1.0, 2.56852019228982242e00, 1.87295284992346725e00, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3],
)  # fmt: skip


def _ratio(graph: Graph, x: Tensor, coefficients: tuple[list[float], list[float]]) -> Tensor:
    """A rational function by Horner's rule; the coefficients of the highest powers come first."""
    parts = []
    for polynomial in coefficients:
        value = graph.add(graph.mul(x, polynomial[0]), polynomial[1])
        for coefficient in polynomial[2:]:
            value = graph.add(graph.mul(value, x), coefficient)
        parts.append(value)
    return graph.div(parts[0], parts[1])


def error_function(graph: Graph, x: Tensor) -> Tensor:
    """erf(x), element by element."""
    size = graph.call("Abs", x)
    # Each formula gets arguments from its own range only, so that none overflows where another is meant.
    near = graph.clip(x, -0.5, 0.5)
    small = graph.mul(near, _ratio(graph, graph.square(near), _SMALL))
    mid = graph.clip(size, 0.46875, 4.0)
    tail = graph.mul(graph.call("Exp", graph.mul(graph.square(mid), -1.0)), _ratio(graph, mid, _MIDDLE))
    far = graph.clip(size, 4.0, 27.0)
    inverse = graph.div(1.0, graph.square(far))
    rest = graph.sub(1.0 / float(np.sqrt(np.pi)), graph.mul(inverse, _ratio(graph, inverse, _LARGE)))
    end = graph.div(graph.mul(graph.call("Exp", graph.mul(graph.square(far), -1.0)), rest), far)
    complement = graph.where(graph.compare("LessOrEqual", size, 4.0), tail, end)
    large = graph.mul(graph.call("Sign", x), graph.sub(1.0, complement))
    return graph.where(graph.compare("LessOrEqual", size, 0.46875), small, large)
