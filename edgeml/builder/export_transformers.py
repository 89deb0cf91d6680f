"""Transformers that stand inside an estimator (in a bagged or searched pipeline), where the feature compiler ends.

Written with scikit-learn's own arithmetic: divisions stay divisions, in the same order.
"""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np

from edgeml.builder.export_kernels import plain_kernel
from edgeml.builder.export_registry import Unwritable, transform, writes
from edgeml.builder.export_wrappers import apply_function
from edgeml.builder.onnx_graph import Graph, Tensor


@writes("transformer", "StandardScaler")
def standard_scaler(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """(x - mean) / scale."""
    if step.with_mean:
        x = graph.sub(x, step.mean_)
    return graph.div(x, step.scale_) if step.with_std else x


@writes("transformer", "MinMaxScaler")
def min_max_scaler(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """x * scale + min."""
    scaled = graph.add(graph.mul(x, step.scale_), step.min_)
    return graph.clip(scaled, float(step.feature_range[0]), float(step.feature_range[1])) if step.clip else scaled


@writes("transformer", "MaxAbsScaler")
def max_abs_scaler(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """x / scale."""
    if getattr(step, "clip", False):
        raise Unwritable("MaxAbsScaler(clip=True)")
    return graph.div(x, step.scale_)


@writes("transformer", "RobustScaler")
def robust_scaler(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """(x - center) / scale."""
    if step.with_centering:
        x = graph.sub(x, step.center_)
    return graph.div(x, step.scale_) if step.with_scaling else x


@writes("transformer", "Normalizer")
def normalizer(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Rows divided by their norm; rows of zeros stay."""
    if step.norm == "l2":
        norm = graph.call("Sqrt", graph.row_sum(graph.square(x)))
    elif step.norm == "l1":
        norm = graph.row_sum(graph.call("Abs", x))
    else:
        norm = graph.reduce("ReduceMax", graph.call("Abs", x))
    return graph.div(x, graph.where(graph.compare("Equal", norm, np.float64(0.0)), np.float64(1.0), norm))


@writes("transformer", "Binarizer")
def binarizer(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """One above the threshold, else zero."""
    return Tensor(graph.number(graph.compare("Greater", x, np.float64(step.threshold))).name, x.width)


@writes("transformer", "SimpleImputer")
def simple_imputer(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Missing values replaced by the fitted statistic."""
    statistics = np.asarray(step.statistics_, dtype=np.float64)
    wants_nan = isinstance(step.missing_values, float) and np.isnan(step.missing_values)
    if not wants_nan or step.add_indicator or np.isnan(statistics).any():
        raise Unwritable("SimpleImputer with an indicator, an empty column or missing_values other than NaN")
    missing = Tensor(graph.node("IsNaN", [x.name])[0], x.width)
    return graph.where(missing, statistics, x)


@writes(
    "transformer", "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect",
    "VarianceThreshold", "SelectFromModel", "RFE", "RFECV", "SequentialFeatureSelector",
)  # fmt: skip
def selector(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """The columns that were kept."""
    return graph.columns(x, step.get_support(indices=True))


@writes("transformer", "PCA", "IncrementalPCA")
def principal_components(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """(x - mean) @ components, divided by the deviations where whitened."""
    if step.mean_ is not None:
        x = graph.sub(x, step.mean_)
    turned = graph.matmul(x, step.components_.T)
    if not step.whiten:
        return turned
    scale = np.sqrt(step.explained_variance_)
    scale = np.where(scale < np.finfo(scale.dtype).eps, np.finfo(scale.dtype).eps, scale)
    return graph.div(turned, scale)


@writes("transformer", "TruncatedSVD")
def truncated_svd(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """x @ components."""
    return graph.matmul(x, step.components_.T)


@writes("transformer", "GaussianRandomProjection", "SparseRandomProjection")
def random_projection(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """x @ components."""
    components = step.components_
    return graph.matmul(x, np.asarray(components.toarray() if hasattr(components, "toarray") else components).T)


@writes("transformer", "FastICA", "FactorAnalysis")
def latent_factors(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """An affine map, read off the fitted attributes."""
    if type(step).__name__ == "FastICA":
        moved = graph.sub(x, step.mean_) if step.whiten else x
        return graph.matmul(moved, step.components_.T)
    psi = step.components_ / step.noise_variance_
    covariance = np.linalg.inv(np.eye(len(step.components_)) + psi @ step.components_.T)
    return graph.matmul(graph.sub(x, step.mean_), psi.T @ covariance)


@writes("transformer", "LinearDiscriminantAnalysis")
def discriminants(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """The projection on the discriminant axes."""
    width = step._max_components
    if step.solver == "svd":
        return graph.matmul(graph.sub(x, step.xbar_), step.scalings_[:, :width])
    return graph.matmul(x, step.scalings_[:, :width])


@writes("transformer", "PolynomialFeatures")
def polynomial(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Products of columns, in scikit-learn's order."""
    columns = [graph.columns(x, [index]) for index in range(x.width)]
    known: dict[tuple[int, ...], Tensor] = {(): graph.constant_rows([1.0])}
    chosen = combinations if step.interaction_only else combinations_with_replacement
    parts = []
    for degree in range(0 if step.include_bias else max(1, step._min_degree), step._max_degree + 1):
        if 0 < degree < step._min_degree:
            continue
        for indices in chosen(range(x.width), degree):
            parts.append(_product(graph, columns, known, indices))
    return graph.concat(parts)


def _product(
    graph: Graph, columns: list[Tensor], known: dict[tuple[int, ...], Tensor], indices: tuple[int, ...]
) -> Tensor:
    if indices not in known:
        first = columns[indices[0]]
        rest = _product(graph, columns, known, indices[1:])
        known[indices] = first if len(indices) == 1 else graph.mul(first, rest)
    return known[indices]


@writes("transformer", "Nystroem")
def nystroem(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Kernel with the chosen records, times the normalisation."""
    if callable(step.kernel) or step.kernel_params:
        raise Unwritable("Nystroem with its own kernel or kernel_params")
    rows = np.asarray(step.components_, dtype=np.float64)
    gamma = 1.0 / rows.shape[1] if step.gamma is None else float(step.gamma)
    coef0, degree = 1.0 if step.coef0 is None else step.coef0, 3.0 if step.degree is None else step.degree
    kernel = plain_kernel(graph, x, rows, name=step.kernel, gamma=gamma, coef0=coef0, degree=degree)
    return graph.matmul(kernel, step.normalization_.T)


@writes("transformer", "FunctionTransformer")
def function_transformer(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """One of numpy's own functions."""
    if step.kw_args:
        raise Unwritable("FunctionTransformer(kw_args=...)")
    return apply_function(graph, step.func, x)


@writes("transformer", "FeatureUnion")
def feature_union(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Transformers side by side, each times its weight."""
    weights = step.transformer_weights or {}
    parts = []
    for name, inner in step.transformer_list:
        if isinstance(inner, str) and inner == "drop":
            continue
        part = transform(graph, inner, x)
        parts.append(graph.mul(part, float(weights[name])) if name in weights else part)
    return graph.concat(parts)


@writes("transformer", "ColumnTransformer")
def column_transformer(graph: Graph, step: Any, x: Tensor) -> Tensor:
    """Transformers over columns given by number."""
    parts = []
    for _, inner, columns in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        chosen = _column_numbers(columns, x.width)
        if chosen:
            parts.append(transform(graph, inner, graph.columns(x, chosen)))
    return graph.concat(parts)


def _column_numbers(columns: Any, width: int) -> list[int]:
    if isinstance(columns, slice):
        return list(range(width))[columns]
    array = np.atleast_1d(np.asarray(columns))
    if array.dtype == bool:
        return [int(index) for index in np.flatnonzero(array)]
    if array.size and array.dtype.kind not in "iu":
        raise Unwritable("ColumnTransformer over named columns inside an estimator")
    return [int(index) % width for index in array]
