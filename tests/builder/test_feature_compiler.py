"""How far the compiler goes through a pipeline, and that program and remainder together are the whole of it."""

import numpy as np
import pandas as pd
import pytest
from feature_forms import compiled, encoded, expected
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

from edgeml.builder.feature_compiler import compile_features
from edgeml.builder.schema_inference import infer_schema
from edgeml.errors import BuildError

RNG = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "age": RNG.integers(18, 90, 150).astype(float),
        "income": RNG.lognormal(9, 1, 150),
        "city": RNG.choice(["Oslo", "Bergen", "Tromsø"], 150).astype(object),
        "grade": RNG.choice(list("abc"), 150).astype(object),
        "visits": RNG.poisson(3, 150),
    }
)
X.loc[::7, "age"] = np.nan
Y = (X["income"] > X["income"].median()).to_numpy()


def check_whole(step):
    step.fit(X, Y)
    made, inferred = compiled([("prepare", step)], X)
    assert made.exported_steps == ()
    want = expected([("prepare", step)], X)
    np.testing.assert_allclose(encoded(made, inferred, X), want, rtol=1e-11, atol=1e-11)
    return made


def test_columns_by_name_position_mask_selector_and_remainder():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    check_whole(ColumnTransformer([("n", numbers, ["income", "age"]), ("c", OneHotEncoder(), ["city", "grade"])]))
    check_whole(ColumnTransformer([("n", numbers, [1, 0, 4])]))
    check_whole(ColumnTransformer([("n", numbers, np.array([True, True, False, False, False]))]))
    check_whole(ColumnTransformer([("n", numbers, slice(0, 2)), ("d", "drop", ["city"])]))
    check_whole(
        ColumnTransformer([("c", OneHotEncoder(), make_column_selector(dtype_exclude="number"))], remainder=numbers)
    )
    check_whole(ColumnTransformer([("p", "passthrough", ["visits", "income"]), ("none", StandardScaler(), [])]))


def test_unions_and_nesting():
    numbers = ["age", "income", "visits"]
    union = FeatureUnion([("scaled", StandardScaler()), ("squares", PolynomialFeatures(2, include_bias=False))])
    weighted = FeatureUnion(
        [("a", MinMaxScaler()), ("b", "passthrough"), ("c", "drop"), ("pca", PCA(2))], transformer_weights={"a": 0.3}
    )
    for inner in (union, weighted):
        made = check_whole(
            Pipeline(
                [
                    ("columns", ColumnTransformer([("n", make_pipeline(SimpleImputer(), inner), numbers)])),
                    (
                        "again",
                        ColumnTransformer(
                            [
                                (
                                    "first",
                                    KBinsDiscretizer(3, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
                                    [0],
                                ),
                                ("rest", "passthrough", slice(1, None)),
                            ]
                        ),
                    ),
                    ("last", StandardScaler()),
                ]
            )
        )
        assert "prepare.columns.n.simpleimputer (SimpleImputer)" in made.compiled_steps


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_each_branch_goes_as_far_as_it_can():
    spline = make_pipeline(SimpleImputer(), SplineTransformer(n_knots=4), StandardScaler())
    step = ColumnTransformer(
        [("smooth", spline, ["age"]), ("c", OneHotEncoder(), ["city"]), ("k", KNNImputer(), ["visits"])]
    )
    steps = [("prepare", step.fit(X, Y)), ("scale", MinMaxScaler().fit(step.transform(X)))]
    made, inferred = compiled(steps, X)
    assert made.compiled_steps == ("prepare.smooth.simpleimputer (SimpleImputer)", "prepare.c (OneHotEncoder)")
    assert made.exported_steps == (
        "prepare.smooth.splinetransformer (SplineTransformer)",
        "prepare.smooth.standardscaler (StandardScaler)",
        "prepare.k (KNNImputer)",
        "scale (MinMaxScaler)",
    )
    assert made.columns["prepare.k"] == ("visits",)
    dense = encoded(made, inferred, X)
    assert dense.shape == (150, 1 + 3 + 1)
    rest = made.remainder[:-1]
    np.testing.assert_allclose(rest.transform(dense), expected(steps, X), rtol=1e-12)


def test_texts_that_a_python_function_cuts_go_to_the_model_as_strings():
    texts = X.assign(note=[f"seen {i} times in {city}" for i, city in enumerate(X["city"])])
    step = ColumnTransformer(
        [("t", TfidfVectorizer(tokenizer=str.split, token_pattern=None), "note"), ("n", SimpleImputer(), ["age"])]
    ).fit(texts)
    made, _ = compiled([("prepare", step)], texts, overrides={"note": {"kind": "text"}})
    assert made.program.strings == ("note",) and made.program.n_outputs == 1
    assert made.remainder[0].transformers_[0][2] == 1 and made.remainder[0].transformers_[1][2] == [0]


def test_searches_and_histogram_boosting_are_unfolded():
    pipeline = make_pipeline(ColumnTransformer([("n", SimpleImputer(), ["age", "income"])]), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(X, Y)
    made = compile_features(search, infer_schema(X).schema, X)
    assert made.program.n_outputs == 2 and type(made.remainder).__name__ == "LogisticRegression"
    table = X.assign(city=X["city"].astype("category"), grade=X["grade"].astype("category"))
    trees = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(table, Y)
    made = compile_features(trees, infer_schema(table).schema, table)
    assert made.program.n_outputs == 5 and made.compiled_steps


def test_a_column_that_x_does_not_have_is_named():
    step = ColumnTransformer([("n", SimpleImputer(), ["age"])]).fit(X)
    with pytest.raises(BuildError, match="column 'age', which X does not have"):
        compile_features(make_pipeline(step, LogisticRegression()), infer_schema(X[["income"]]).schema, X[["income"]])


def test_more_and_reordered_columns_do_no_harm():
    step = ColumnTransformer([("n", SimpleImputer(), ["age", "visits"])]).fit(X[["age", "visits"]])
    wider = X[["visits", "city", "age"]]
    made, inferred = compiled([("prepare", step)], wider)
    np.testing.assert_array_equal(encoded(made, inferred, wider), step.transform(wider))


def test_a_subclass_is_not_taken_for_its_parent():
    class Doubled(StandardScaler):
        def transform(self, X, copy=None):
            return 2 * super().transform(X, copy)

    table = X[["income"]]
    made, _ = compiled([("scale", Doubled().fit(table))], table)
    assert made.exported_steps == ("scale (Doubled)",)


def test_what_nothing_reads_is_left_out():
    table = X[["income", "visits"]]
    steps = [("poly", PolynomialFeatures(3).fit(table)), ("first", ColumnTransformer([("f", "passthrough", [1])]))]
    steps[1][1].fit(steps[0][1].transform(table))
    made, _ = compiled(steps, table)
    document, _ = made.program.to_members()
    assert [operation["op"] for operation in document["operations"]] == ["load", "emit"]


def test_a_function_over_categories_is_left_to_onnx():
    step = FunctionTransformer(np.log1p).fit(X[["city"]])
    made, _ = compiled([("f", step)], X[["city"]])
    assert made.program.strings == ("city",) and made.exported_steps == ("f (FunctionTransformer)",)
