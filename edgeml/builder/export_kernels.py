"""Models that compare a record with stored records through a kernel: SVM, kernel ridge, Gaussian processes.

1. Squared distances are |x|^2 - 2 x.y + |y|^2 about the stored records' mean, never below zero.
2. An SVM's label is libsvm's: each pair of classes votes, the first class with the most votes wins.
3. libsvm's probabilities come out of an iteration, which ONNX Runtime's own SVM node repeats (in float32); they may
   contradict the votes, in scikit-learn as here, so the label comes from the votes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from edgeml.builder.export_registry import Classified, Detected, Unwritable, two_probabilities, writes
from edgeml.builder.onnx_error_function import error_function
from edgeml.builder.onnx_graph import FLOAT, Graph, Tensor


def squared_distances(graph: Graph, x: Tensor, rows: ArrayLike) -> Tensor:
    """Squared Euclidean distances from each record to each stored row [m, d]; [N, m]."""
    stored = np.asarray(rows, dtype=np.float64)
    # Distances do not change when both sides are moved; about the mean the subtraction loses the fewest digits.
    centre = stored.mean(axis=0)
    moved = stored - centre
    y = graph.sub(x, centre)
    cross = graph.affine(y, -2.0 * moved.T, (moved**2).sum(axis=1))
    return graph.maximum(graph.add(cross, graph.row_sum(graph.square(y))), np.float64(0.0))


def plain_kernel(
    graph: Graph, x: Tensor, rows: ArrayLike, *, name: str, gamma: float, coef0: float, degree: float
) -> Tensor:
    """``linear``, ``poly``, ``rbf``, ``sigmoid``, ``laplacian`` or ``cosine`` kernel with each stored row; [N, m]."""
    stored = np.asarray(rows, dtype=np.float64)
    if name == "rbf":
        return graph.call("Exp", graph.mul(squared_distances(graph, x, stored), -gamma))
    if name == "linear":
        return graph.matmul(x, stored.T)
    if name in ("poly", "polynomial"):
        return graph.pow(graph.affine(x, gamma * stored.T, coef0), np.float64(degree))
    if name == "sigmoid":
        return graph.call("Tanh", graph.affine(x, gamma * stored.T, coef0))
    if name == "cosine":
        length = np.linalg.norm(stored, axis=1, keepdims=True)
        own = graph.call("Sqrt", graph.row_sum(graph.square(x)))
        safe = graph.where(graph.compare("Equal", own, np.float64(0.0)), np.float64(1.0), own)
        return graph.div(graph.matmul(x, (stored / np.where(length == 0, 1.0, length)).T), safe)
    raise Unwritable(f"kernel {name!r}")


# Support vector machines


def _support_kernel(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    if callable(estimator.kernel) or estimator.kernel == "precomputed":
        raise Unwritable(f"{type(estimator).__name__} with its own kernel")
    vectors = _dense(estimator.support_vectors_)
    return plain_kernel(
        graph, x, vectors, name=estimator.kernel, gamma=float(estimator._gamma), coef0=estimator.coef0,
        degree=estimator.degree,
    )  # fmt: skip


def _dense(matrix: Any) -> NDArray[np.float64]:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)


@writes("regressor", "SVR", "NuSVR")
def support_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The kernel times the dual coefficients."""
    return graph.affine(_support_kernel(graph, estimator, x), _dense(estimator._dual_coef_).T, estimator._intercept_)


@writes("detector", "OneClassSVM")
def one_class(graph: Graph, estimator: Any, x: Tensor) -> Detected:
    """The kernel times the dual coefficients; zero is an outlier, as in libsvm."""
    decision = support_regressor(graph, estimator, x)
    return Detected(graph.label_if("Greater", decision, 0.0), decision)


@writes("classifier", "SVC", "NuSVC")
def support_classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Votes of the pairs of classes; the decision is scikit-learn's one-vs-rest form of them."""
    k = len(estimator.classes_)
    kernel = _support_kernel(graph, estimator, x)
    probability = None
    if estimator.probability not in (False, "deprecated"):
        probability = _pairwise_probability(graph, estimator, x)
    dual, counts = _dense(estimator._dual_coef_), np.asarray(estimator._n_support)
    if k == 2:
        # libsvm's decision is positive for the first class.
        decision = graph.affine(kernel, -dual.T, -np.asarray(estimator._intercept_))
        return Classified(graph.label_if("GreaterOrEqual", decision, 0.0), probability, decision)
    ends = np.cumsum(counts)
    spans = [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = list(combinations(range(k), 2))
    weights = np.zeros((int(ends[-1]), len(pairs)))
    for column, (i, j) in enumerate(pairs):
        weights[spans[i], column] = dual[j - 1, spans[i]]
        weights[spans[j], column] = dual[i, spans[j]]
    confidence = graph.affine(kernel, -weights, -np.asarray(estimator._intercept_))
    label = graph.argmax(_votes(graph, graph.compare("GreaterOrEqual", confidence, np.float64(0.0)), k))
    if estimator.decision_function_shape != "ovr":
        return Classified(label, probability)
    second = graph.compare("Greater", confidence, np.float64(0.0))
    decision = one_vs_rest_decision(graph, second, confidence, k)
    if estimator.break_ties:
        return Classified(graph.argmax(decision), probability, decision, argmax=probability is None)
    return Classified(label, probability, decision)


def _pairwise_probability(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """libsvm's probabilities, coupled from those of the pairs of classes (Wu, Lin and Weng, 2004); [N, k]."""
    sign = -1.0 if len(estimator.classes_) == 2 else 1.0
    attributes = {
        "classlabels_ints": list(range(len(estimator.classes_))),
        "coefficients": (sign * _dense(estimator.dual_coef_)).ravel().tolist(),
        "kernel_params": [float(estimator._gamma), float(estimator.coef0), float(estimator.degree)],
        "kernel_type": estimator.kernel.upper(),
        "post_transform": "NONE",
        "prob_a": estimator._probA.tolist(),
        "prob_b": estimator._probB.tolist(),
        "rho": (sign * np.asarray(estimator.intercept_)).tolist(),
        "support_vectors": _dense(estimator.support_vectors_).ravel().tolist(),
        "vectors_per_class": estimator.n_support_.tolist(),
    }
    single = graph.cast(x, FLOAT)
    _, shares = graph.node("SVMClassifier", [single.name], outputs=2, domain="ai.onnx.ml", **attributes)
    return graph.number(Tensor(shares, len(estimator.classes_)))


def _votes(graph: Graph, second: Tensor, k: int) -> Tensor:
    """How many pairs each class wins, given for each pair whether its second class wins; [N, k]."""
    pairs = list(combinations(range(k), 2))
    change, start = np.zeros((len(pairs), k)), np.zeros(k)
    for row, (i, j) in enumerate(pairs):
        change[row, i], change[row, j] = -1.0, 1.0
        start[i] += 1.0
    return graph.affine(graph.number(second), change, start)


def one_vs_rest_decision(graph: Graph, second: Tensor, confidence: Tensor, k: int) -> Tensor:
    """Votes plus a bounded share of the summed confidences (scikit-learn's ``_ovr_decision_function``)."""
    pairs = list(combinations(range(k), 2))
    signs = np.zeros((len(pairs), k))
    for row, (i, j) in enumerate(pairs):
        signs[row, i], signs[row, j] = -1.0, 1.0
    total = graph.matmul(confidence, signs)
    share = graph.div(total, graph.mul(graph.add(graph.call("Abs", total), 1.0), 3.0))
    return graph.add(_votes(graph, second, k), share)


@writes("regressor", "KernelRidge")
def kernel_ridge(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The kernel times the dual coefficients."""
    if callable(estimator.kernel):
        raise Unwritable("KernelRidge with its own kernel")
    stored = _dense(estimator.X_fit_)
    gamma = 1.0 / stored.shape[1] if estimator.gamma is None else float(estimator.gamma)
    kernel = plain_kernel(
        graph, x, stored, name=estimator.kernel, gamma=gamma, coef0=estimator.coef0, degree=estimator.degree
    )
    return graph.matmul(kernel, np.asarray(estimator.dual_coef_).reshape(len(stored), -1))


# Gaussian processes


def process_kernel(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    """A Gaussian process's kernel between each record and each stored row; [N, m]."""
    writer = _PROCESS_KERNELS.get(type(kernel).__name__)
    if writer is None or not type(kernel).__module__.startswith("sklearn."):
        raise Unwritable(f"kernel {type(kernel).__name__}")
    return writer(graph, kernel, x, rows)


def _scaled_distances(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    scale = np.asarray(kernel.length_scale, dtype=np.float64)
    return squared_distances(graph, graph.div(x, scale), rows / scale)


def _constant(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.constant_rows(np.full(len(rows), float(kernel.constant_value)))


def _white(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.constant_rows(np.zeros(len(rows)))


def _rbf(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.call("Exp", graph.mul(_scaled_distances(graph, kernel, x, rows), -0.5))


def _matern(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    distance = graph.call("Sqrt", _scaled_distances(graph, kernel, x, rows))
    if kernel.nu == np.inf:
        return _rbf(graph, kernel, x, rows)
    if kernel.nu == 0.5:
        return graph.call("Exp", graph.mul(distance, -1.0))
    if kernel.nu not in (1.5, 2.5):
        raise Unwritable(f"Matern(nu={kernel.nu})")
    k = graph.mul(distance, float(np.sqrt(2 * kernel.nu)))
    front = graph.add(k, 1.0)
    if kernel.nu == 2.5:
        front = graph.add(front, graph.div(graph.square(k), 3.0))
    return graph.mul(front, graph.call("Exp", graph.mul(k, -1.0)))


def _rational(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    scaled = graph.div(squared_distances(graph, x, rows), 2.0 * kernel.alpha * kernel.length_scale**2)
    return graph.pow(graph.add(scaled, 1.0), np.float64(-kernel.alpha))


def _dot(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.affine(x, rows.T, float(kernel.sigma_0) ** 2)


def _sine(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    distance = graph.call("Sqrt", squared_distances(graph, x, rows))
    wave = graph.call("Sin", graph.mul(distance, np.pi / kernel.periodicity))
    return graph.call("Exp", graph.mul(graph.square(graph.div(wave, kernel.length_scale)), -2.0))


def _sum(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.add(process_kernel(graph, kernel.k1, x, rows), process_kernel(graph, kernel.k2, x, rows))


def _product(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.mul(process_kernel(graph, kernel.k1, x, rows), process_kernel(graph, kernel.k2, x, rows))


def _power(graph: Graph, kernel: Any, x: Tensor, rows: NDArray[np.float64]) -> Tensor:
    return graph.pow(process_kernel(graph, kernel.kernel, x, rows), np.float64(kernel.exponent))


_PROCESS_KERNELS: dict[str, Callable[[Graph, Any, Tensor, NDArray[np.float64]], Tensor]] = {
    "ConstantKernel": _constant,
    "DotProduct": _dot,
    "ExpSineSquared": _sine,
    "Exponentiation": _power,
    "Matern": _matern,
    "Product": _product,
    "RBF": _rbf,
    "RationalQuadratic": _rational,
    "Sum": _sum,
    "WhiteKernel": _white,
}


@writes("regressor", "GaussianProcessRegressor")
def process_regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The mean of the posterior."""
    stored = np.asarray(estimator.X_train_, dtype=np.float64)
    mean = graph.matmul(process_kernel(graph, estimator.kernel_, x, stored), estimator.alpha_.reshape(len(stored), -1))
    return graph.add(graph.mul(mean, np.atleast_1d(estimator._y_train_std)), np.atleast_1d(estimator._y_train_mean))


# Williams and Barber's approximation of the logistic curve by error functions, as in scikit-learn.
_LAMBDAS = np.array([0.41, 0.4, 0.37, 0.44, 0.39])
_COEFS = np.array([-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654])


@writes("classifier", "_BinaryGaussianProcessClassifierLaplace")
def binary_process(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """Sign of the latent mean; probability by the approximated integral (Rasmussen and Williams, 3.4)."""
    stored = np.asarray(estimator.X_train_, dtype=np.float64)
    kernel = process_kernel(graph, estimator.kernel_, x, stored)
    mean = graph.matmul(kernel, (estimator.y_train_ - estimator.pi_).reshape(-1, 1))
    inner = np.linalg.solve(estimator.L_, np.diag(estimator.W_sr_))
    used = graph.row_sum(graph.square(graph.matmul(kernel, inner.T)))
    own = np.unique(estimator.kernel_.diag(stored))
    if len(own) != 1:
        raise Unwritable("GaussianProcessClassifier with a kernel whose diagonal is not constant")
    variance = graph.sub(float(own[0]), used)
    alpha = graph.div(0.5, variance)
    bend = graph.call("Sqrt", graph.div(alpha, graph.add(alpha, _LAMBDAS**2)))
    curves = error_function(graph, graph.mul(graph.mul(mean, _LAMBDAS), bend))
    # sqrt(pi / alpha) / (2 sqrt(2 pi variance)) is one half.
    positive = graph.affine(curves, 0.5 * _COEFS.reshape(-1, 1), [0.5 * float(_COEFS.sum())])
    return Classified(graph.label_if("Greater", mean, 0.0), two_probabilities(graph, positive))
