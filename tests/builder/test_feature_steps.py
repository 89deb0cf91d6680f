"""Transformers over numbers in the core, against scikit-learn's own transform."""

import numpy as np
import pandas as pd
import pytest
from feature_forms import compiled, encoded, expected
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
    f_regression,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)


def numbers(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": rng.normal(3, 2, rows),
            "skewed": rng.lognormal(1, 1, rows),
            "few": rng.integers(0, 4, rows).astype(float),
            "huge": rng.normal(0, 1e9, rows),
            "whole": rng.integers(-50, 50, rows),
            "constant": np.full(rows, 2.5),
        }
    )


X = numbers()
ASKED = pd.concat([numbers(100, 1), X.iloc[:50], numbers(30, 2) * 1000], ignore_index=True).astype(X.dtypes.to_dict())
Y = X["normal"] + X["few"]

WHOLE = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler((-2, 3), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False),
    RobustScaler(with_scaling=False, unit_variance=False),
    Normalizer("l1"),
    Normalizer("l2"),
    Normalizer("max"),
    Binarizer(threshold=1.5),
    KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
    KBinsDiscretizer(5, encode="onehot", strategy="uniform"),
    KBinsDiscretizer(3, encode="onehot-dense", strategy="kmeans", random_state=0),
    PowerTransformer(),
    PowerTransformer(standardize=False),
    QuantileTransformer(n_quantiles=50),
    QuantileTransformer(n_quantiles=300, output_distribution="normal"),
    PolynomialFeatures(2),
    PolynomialFeatures(3, include_bias=False),
    PolynomialFeatures((2, 3), interaction_only=True),
    SelectKBest(f_regression, k=3),
    SelectPercentile(f_regression, percentile=40),
    VarianceThreshold(),
    SelectFromModel(Lasso(alpha=0.1)),
    RFE(LinearRegression(), n_features_to_select=2),
    PCA(3),
    PCA(4, whiten=True),
    IncrementalPCA(3),
    TruncatedSVD(3, random_state=0),
    FunctionTransformer(),
]


@pytest.mark.parametrize("step", WHOLE, ids=[f"{i}-{type(step).__name__}" for i, step in enumerate(WHOLE)])
@pytest.mark.filterwarnings("ignore")
def test_equals_scikit_learn(step):
    step.fit(X, Y)
    made, inferred = compiled([("step", step)], X)
    assert made.exported_steps == () and made.compiled_steps == (f"step ({type(step).__name__})",)
    want = expected([("step", step)], ASKED)
    got = encoded(made, inferred, ASKED)
    scale = np.maximum(1, np.abs(want).max(axis=0))
    np.testing.assert_allclose(got / scale, want / scale, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(
    "function",
    "log1p sqrt square abs absolute fabs negative sign floor ceil trunc rint sin cos tanh arctan exp2 cbrt arcsinh "
    "expm1 log log2 log10 exp tan sinh cosh arccosh reciprocal".split(),
)
@pytest.mark.filterwarnings("ignore")
def test_functions_of_numpy(function):
    positive = X[["normal", "skewed", "few"]].abs() + 1.0
    step = FunctionTransformer(getattr(np, function), validate=function == "log").fit(positive)
    made, inferred = compiled([("step", step)], positive)
    assert made.exported_steps == ()
    np.testing.assert_allclose(encoded(made, inferred, positive), step.transform(positive), rtol=1e-13)


@pytest.mark.filterwarnings("ignore")
def test_integers_are_computed_as_scikit_learn_does():
    table = X[["whole"]]
    step = FunctionTransformer(np.square).fit(table)
    made, inferred = compiled([("step", step)], table)
    np.testing.assert_array_equal(encoded(made, inferred, table), step.transform(table))


@pytest.mark.parametrize(
    ("step", "table"),
    [
        (FunctionTransformer(lambda x: x + 1), X[["normal"]]),
        (FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), X[["normal"]]),
        (FunctionTransformer(np.reciprocal), X[["whole"]] + 100),
        (FunctionTransformer(np.log1p), pd.DataFrame({"flag": [True, False] * 10})),
        (FunctionTransformer(np.log1p), X[["few"]].astype(np.int8)),
    ],
    ids=["lambda", "kw_args", "whole-reciprocal", "bool", "int8"],
)
def test_what_the_core_does_not_have_is_left_to_onnx(step, table):
    made, _ = compiled([("first", step.fit(table)), ("then", StandardScaler().fit(step.transform(table)))], table)
    assert made.exported_steps == ("first (FunctionTransformer)", "then (StandardScaler)")
    assert [name for name, _ in made.remainder.steps] == ["first", "then", "estimator"]
    assert made.columns["first"] == tuple(table.columns)


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(),
        SimpleImputer(strategy="median"),
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value=-7),
        SimpleImputer(add_indicator=True),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        MissingIndicator(),
        MissingIndicator(features="all"),
        make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), PolynomialFeatures(2)),
    ],
    ids=lambda step: type(step).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_missing_numbers(imputer):
    rng = np.random.default_rng(5)
    table = X.copy().astype(float)
    table[rng.random(table.shape) < 0.2] = np.nan
    table["constant"] = X["constant"]
    table["empty"] = np.nan
    imputer.fit(table)
    made, inferred = compiled([("fill", imputer)], table, overrides={name: {"missing": "allow"} for name in table})
    assert made.exported_steps == ()
    asked = table.sample(frac=1, random_state=0)
    np.testing.assert_allclose(encoded(made, inferred, asked), expected([("fill", imputer)], asked), rtol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_another_marker_for_missing_numbers():
    table = X[["few", "normal"]].copy()
    imputer = SimpleImputer(missing_values=2.0, strategy="mean", add_indicator=True).fit(table)
    made, inferred = compiled([("fill", imputer)], table)
    np.testing.assert_allclose(encoded(made, inferred, table), imputer.transform(table), rtol=1e-13)


def test_box_cox():
    table = X[["skewed"]]
    for step in (PowerTransformer("box-cox"), PowerTransformer("box-cox", standardize=False)):
        step.fit(table)
        made, inferred = compiled([("step", step)], table)
        np.testing.assert_allclose(encoded(made, inferred, table), step.transform(table), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("step", [StandardScaler(), MinMaxScaler(clip=True), RobustScaler(), MaxAbsScaler()], ids=str)
def test_float32_data_rounds_after_each_step_as_scikit_learn_does(step):
    table = X[["normal", "skewed", "few"]].astype(np.float32)
    step.fit(table)
    made, inferred = compiled([("step", step)], table, door="float32")
    np.testing.assert_array_equal(encoded(made, inferred, table), step.transform(table))
    # A record brings doubles; the pipeline would have been given float32.
    doubles = X[["normal", "skewed", "few"]]
    np.testing.assert_array_equal(encoded(made, inferred, doubles), step.transform(doubles.astype(np.float32)))


def test_arrays_without_names():
    array = X[["normal", "skewed"]].to_numpy()
    steps = [("a", StandardScaler().fit(array)), ("b", PolynomialFeatures(2).fit(array))]
    made, inferred = compiled(steps, array)
    np.testing.assert_allclose(encoded(made, inferred, array), expected(steps, array), rtol=1e-12)
