"""Which fitted transformers over numbers the core has, and how each is written.

The arithmetic is scikit-learn's own, in its order: divisions stay divisions. Formulae and attribute names are those
of scikit-learn's documentation of each class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn.utils import check_array

from edgeml.builder.feature_columns import Column, Levels, NotCompiled, Register, Table, Text, working_dtype
from edgeml.builder.feature_texts import Term, vectorized, weighed
from edgeml.builder.feature_writer import ProgramWriter
from edgeml.runtime.features import FUNCTIONS

Compiler = Callable[[ProgramWriter, Any, Sequence[Column]], Sequence[Column]]
COMPILERS: dict[str, Compiler] = {}


def compiles(*names: str) -> Callable[[Compiler], Compiler]:
    """Registers a function for transformer classes of scikit-learn."""

    def register(compiler: Compiler) -> Compiler:
        for name in names:
            COMPILERS[name] = compiler
        return compiler

    return register


def compile_step(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> list[Column]:
    """Writes one fitted transformer.

    Raises:
        NotCompiled: The core has no equivalent of it, or not of this setting.
    """
    name = type(step).__name__
    # A subclass may have changed transform, so only scikit-learn's own classes are known by their name.
    compiler = COMPILERS.get(name) if type(step).__module__.startswith("sklearn.") else None
    if compiler is None:
        raise NotCompiled(name)
    return list(compiler(writer, step, columns))


def _numbers(step: Any, columns: Sequence[Column]) -> None:
    for column in columns:
        if isinstance(column, (Levels, Text)):
            raise NotCompiled(f"{type(step).__name__} over column {column.name!r}, which is not a number")


@compiles("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
def _vectorizer(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    return vectorized(step, columns, writer.texts)


@compiles("TfidfTransformer")
def _tfidf(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    return weighed(step, columns)


@compiles("StandardScaler")
def _standard(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    # Its constants take the data's own precision, unlike those of the other scalers.
    dtype = working_dtype(columns)
    if step.with_mean and step.mean_ is not None:
        columns = _subtract(writer, columns, step.mean_.astype(dtype))
    if step.with_std and step.scale_ is not None:
        columns = _divide(writer, columns, step.scale_.astype(dtype))
    return columns


@compiles("RobustScaler")
def _robust(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    if step.with_centering:
        columns = _subtract(writer, columns, step.center_)
    return _divide(writer, columns, step.scale_) if step.with_scaling else columns


@compiles("MinMaxScaler")
def _min_max(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    columns = writer.along("multiply", columns, step.scale_, lambda x, i: x * step.scale_[i])
    columns = writer.along("add", columns, step.min_, lambda x, i: x + step.min_[i])
    return _clip(writer, columns, *step.feature_range) if step.clip else columns


@compiles("MaxAbsScaler")
def _max_abs(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    columns = _divide(writer, columns, step.scale_)
    return _clip(writer, columns, -1.0, 1.0) if getattr(step, "clip", False) else columns


def _subtract(writer: ProgramWriter, columns: Sequence[Column], by: Any) -> Sequence[Column]:
    return writer.along("subtract", columns, by, lambda x, i: x - by[i])


def _divide(writer: ProgramWriter, columns: Sequence[Column], by: Any) -> Sequence[Column]:
    return writer.along("divide", columns, by, lambda x, i: x / by[i])


def _clip(writer: ProgramWriter, columns: Sequence[Column], low: float, high: float) -> Sequence[Column]:
    return writer.along("clip", columns, [[low, high]] * len(columns), lambda x, i: np.clip(x, low, high))


@compiles("Normalizer")
def _normalizer(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    if any(isinstance(column, Term) for column in columns):
        return weighed(step, columns)
    kind = {"max": 0, "l1": 1, "l2": 2}[step.norm]
    return writer.across("normalize", columns, [column.name for column in columns], extra=kind)


@compiles("Binarizer")
def _binarizer(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    limit = float(step.threshold)
    return writer.along("above", columns, [limit] * len(columns), lambda x, i: x > limit)


@compiles("KBinsDiscretizer")
def _k_bins(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    out: list[Column] = []
    for column, edges, n_bins in zip(columns, step.bin_edges_, step.n_bins_, strict=True):
        bins = writer.bins(column, edges[1:-1])
        if step.encode == "ordinal":
            out.append(bins)
            continue
        levels = writer.levels_of(bins, range(int(n_bins)))
        for k in range(int(n_bins)):
            values = np.zeros(len(levels.values))
            values[2 + k] = 1.0
            out.append(
                Table(f"{column.name} bin {k}", column.features, bins.dtype, levels.source, values, levels.reachable)
            )
    return out


@compiles("PowerTransformer")
def _power(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    powers = step.lambdas_
    if np.isnan(powers).any():
        raise NotCompiled("PowerTransformer that found no power for some column")
    if step.method == "yeo-johnson":
        columns = writer.along("yeo_johnson", columns, powers, lambda x, i: stats.yeojohnson(x, powers[i]))
    else:
        columns = writer.along("box_cox", columns, powers, lambda x, i: special.boxcox(x, powers[i]))
    return _standard(writer, step._scaler, columns) if step.standardize else columns


@compiles("QuantileTransformer")
def _quantile(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    low = high = 0.0
    if step.output_distribution == "normal":
        # The bounds that scikit-learn clips to, so that the inverse stays finite.
        edge = 1e-7 - np.spacing(1)
        low, high = float(stats.norm.ppf(edge)), float(stats.norm.ppf(1 - edge))
    references = np.asarray(step.references_)
    pool = np.concatenate([[low, high], references, np.asarray(step.quantiles_).T.ravel()])
    names = [column.name for column in columns]
    return writer.across("quantile", columns, names, constants=pool, extra=len(references))


@compiles("FunctionTransformer")
def _function(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    ufunc: Any = step.func
    if ufunc is None:
        return columns
    _numbers(step, columns)
    if isinstance(ufunc, partial) and ufunc.func is check_array and ufunc.keywords.get("dtype") == [np.float64]:
        # What HistGradientBoosting does with its numbers: they become float64, which loses nothing.
        return columns
    name = {"absolute": "abs", "fabs": "abs"}.get(getattr(ufunc, "__name__", ""), getattr(ufunc, "__name__", ""))
    if not isinstance(ufunc, np.ufunc) or getattr(np, ufunc.__name__, None) is not ufunc or name not in FUNCTIONS:
        raise NotCompiled(f"FunctionTransformer over {name or ufunc!r}, which is not one of numpy's {len(FUNCTIONS)}")
    if step.kw_args:
        raise NotCompiled("FunctionTransformer with kw_args")
    for column in columns:
        # numpy computes bool and small integers in half or single precision, and integers in integer arithmetic.
        kind = column.dtype
        if kind.kind == "b" or (kind.kind in "iu" and (kind.itemsize < 4 or name == "reciprocal")):
            raise NotCompiled(f"FunctionTransformer over {name} of the {kind} column {column.name!r}")
    function: Any = ufunc
    together = step.validate or len({working_dtype([column]) for column in columns}) == 1
    out: list[Column] = []
    for part in [columns] if together else [[column] for column in columns]:
        out += writer.along("function", part, None, lambda x, i: function(x), extra=FUNCTIONS.index(name))
    return out


@compiles("PolynomialFeatures")
def _polynomial(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    chosen = combinations if step.interaction_only else combinations_with_replacement
    known: dict[tuple[int, ...], Register] = {(i,): register for i, register in enumerate(writer.registers(columns))}
    out: list[Column] = [writer.constant(1.0, "1")] if step.include_bias else []
    for degree in range(1, step._max_degree + 1):
        # scikit-learn multiplies the first factor with the product of the others; so the rounding is the same.
        terms = list(chosen(range(len(columns)), degree))
        if degree > 1 and terms:
            factors = [known[part].register for term in terms for part in (term[:1], term[1:])]
            names = [" ".join(columns[i].name for i in term) for term in terms]
            made = writer.across("product", columns, names, index=factors, count=len(terms))
            known |= dict(zip(terms, made, strict=True))
        if degree >= step._min_degree:
            out += [known[term] for term in terms]
    return out


@compiles(
    "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect",
    "VarianceThreshold", "SelectFromModel", "RFE", "RFECV", "SequentialFeatureSelector",
)  # fmt: skip
def _selector(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    return [columns[i] for i in step.get_support(indices=True)]


@compiles("PCA", "IncrementalPCA")
def _principal_components(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    components = np.asarray(step.components_, dtype=np.float64)
    turned = _matrix(writer, columns, components, "pca")
    if step.mean_ is not None:
        offset = step.mean_ @ step.components_.T
        turned = _subtract(writer, turned, offset)
    if not step.whiten:
        return turned
    scale = np.sqrt(step.explained_variance_)
    return _divide(writer, turned, np.maximum(scale, np.finfo(scale.dtype).eps))


@compiles("TruncatedSVD")
def _truncated_svd(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    _numbers(step, columns)
    return _matrix(writer, columns, np.asarray(step.components_, dtype=np.float64), "svd")


def _matrix(writer: ProgramWriter, columns: Sequence[Column], weights: Any, name: str) -> Sequence[Column]:
    names = [f"{name}{k}" for k in range(len(weights))]
    return writer.across("matrix", columns, names, constants=weights, extra=len(weights))


@compiles("MissingIndicator")
def _missing_indicator(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    return indicators(writer, step, columns)


def indicators(writer: ProgramWriter, step: Any, columns: Sequence[Column]) -> Sequence[Column]:
    """Columns that are 1 where a value is missing, for the features that a MissingIndicator chose."""
    chosen = [columns[i] for i in step.features_]
    _numbers(step, chosen)
    marker = step.missing_values
    if _is_nan(marker):
        out = writer.along("is_missing", chosen, None, lambda x, i: np.isnan(x))
    elif isinstance(marker, (int, float)):
        out = writer.along("equals", chosen, [float(marker)] * len(chosen), lambda x, i: x == marker)
    else:
        raise NotCompiled(f"missing_values={marker!r}")
    return [replace(column, name=f"{column.name} missing") for column in out]


def fill(writer: ProgramWriter, step: Any, columns: Sequence[Column], statistics: Sequence[Any]) -> Sequence[Column]:
    """Numbers with the missing ones replaced, as SimpleImputer does."""
    numbers = [float(value) for value in statistics]
    marker = step.missing_values
    if _is_nan(marker) or marker is None:
        return writer.along("fill", columns, numbers, lambda x, i: np.where(np.isnan(x), numbers[i], x))
    if isinstance(marker, (int, float)):
        pairs = [[float(marker), number] for number in numbers]
        return writer.along("replace", columns, pairs, lambda x, i: np.where(x == marker, numbers[i], x))
    raise NotCompiled(f"SimpleImputer(missing_values={marker!r}) over numbers")


def _is_nan(marker: Any) -> bool:
    return (isinstance(marker, float) and marker != marker) or type(marker).__name__ == "NAType"
