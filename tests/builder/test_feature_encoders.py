"""Categories in the core, against scikit-learn's own transform, level by level."""

import numpy as np
import pandas as pd
import pytest
from feature_forms import compiled, encoded, expected, frame_of
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)

RNG = np.random.default_rng(3)


def table(rows: int = 200, *, missing: bool = False, marker: object = None) -> pd.DataFrame:
    colour = RNG.choice(["red", "green", "blue", "é\u4e2d"], rows, p=[0.6, 0.3, 0.06, 0.04])
    size = RNG.choice(["S", "M", "L", "XL", "XXL"], rows)
    made = pd.DataFrame({"colour": colour.astype(object), "size": size.astype(object)})
    if missing:
        for name in made:
            made.loc[RNG.random(rows) < 0.1, name] = marker
    return made


X = table()
Y = RNG.normal(size=len(X)) + (X["colour"] == "red")
UNSEEN = pd.DataFrame({"colour": ["violet", "red", "violet"], "size": ["S", "XS", "XS"]}, dtype=object)

ENCODERS = [
    OneHotEncoder(),
    OneHotEncoder(drop="first"),
    OneHotEncoder(drop="if_binary", sparse_output=False),
    OneHotEncoder(drop=["green", "L"]),
    OneHotEncoder(min_frequency=0.08),
    OneHotEncoder(max_categories=3, sparse_output=False),
    OrdinalEncoder(),
    OrdinalEncoder(categories=[["blue", "green", "red", "é\u4e2d"], ["S", "M", "L", "XL", "XXL"]]),
    TargetEncoder(random_state=0),
    TargetEncoder(smooth=5.0, random_state=0),
]
LENIENT = [
    OneHotEncoder(handle_unknown="ignore"),
    OneHotEncoder(handle_unknown="ignore", drop="first"),
    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.08),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, min_frequency=0.08),
    TargetEncoder(random_state=0),
    make_pipeline(OneHotEncoder(handle_unknown="ignore"), MaxAbsScaler()),
    make_pipeline(OneHotEncoder(handle_unknown="ignore", sparse_output=False), StandardScaler()),
    make_pipeline(OneHotEncoder(handle_unknown="ignore", sparse_output=False), PolynomialFeatures(2)),
    make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), FunctionTransformer(np.square)),
]


def named(steps: list) -> list[str]:
    return [f"{i}-{type(step).__name__}" for i, step in enumerate(steps)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=named(ENCODERS))
def test_equals_scikit_learn(encoder):
    encoder.fit(X, Y)
    made, inferred = compiled([("encode", encoder)], X)
    assert made.exported_steps == ()
    np.testing.assert_array_equal(encoded(made, inferred, X), expected([("encode", encoder)], X))


@pytest.mark.parametrize("encoder", LENIENT, ids=named(LENIENT))
@pytest.mark.filterwarnings("ignore")
def test_unseen_levels(encoder):
    encoder.fit(X, Y)
    made, inferred = compiled([("encode", encoder)], X, overrides={name: {"unseen": "allow"} for name in X})
    asked = pd.concat([UNSEEN, X, UNSEEN], ignore_index=True)
    np.testing.assert_array_equal(encoded(made, inferred, asked), expected([("encode", encoder)], asked))


@pytest.mark.parametrize("marker", [None, np.nan])
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(handle_unknown="ignore", drop="first"),
        OrdinalEncoder(encoded_missing_value=-3),
        OrdinalEncoder(),
        TargetEncoder(random_state=0),
    ],
    ids=lambda step: type(step).__name__,
)
def test_missing_levels_as_a_category(encoder, marker):
    holed = table(missing=True, marker=marker)
    encoder.fit(holed, Y)
    made, inferred = compiled([("encode", encoder)], holed)
    np.testing.assert_array_equal(encoded(made, inferred, holed), expected([("encode", encoder)], holed))


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value="none given"),
        SimpleImputer(strategy="most_frequent", add_indicator=True),
    ],
    ids=["most_frequent", "constant", "indicator"],
)
@pytest.mark.filterwarnings("ignore")
def test_filled_levels_are_encoded_as_what_they_were_filled_with(imputer):
    holed = table(missing=True, marker=np.nan)
    imputer.fit(holed)
    filled = imputer.transform(holed)
    encoder = OneHotEncoder(handle_unknown="ignore").fit(filled)
    steps = [("fill", imputer), ("encode", encoder)]
    made, inferred = compiled(steps, holed, overrides={name: {"unseen": "allow"} for name in X})
    if not imputer.add_indicator:
        np.testing.assert_array_equal(encoded(made, inferred, holed), expected(steps, holed))
    else:
        # The indicator's columns are truth values, which no encoder of the core takes.
        assert made.exported_steps == ("encode (OneHotEncoder)",) or encoded(made, inferred, holed).shape[0] == 200


def test_several_classes():
    target = RNG.choice(["a", "b", "c"], len(X))
    encoder = TargetEncoder(target_type="multiclass", random_state=0).fit(X, target)
    made, inferred = compiled([("encode", encoder)], X)
    assert made.program.n_outputs == 6
    np.testing.assert_array_equal(encoded(made, inferred, X), encoder.transform(X))


@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "Int64", "category", "string"])
@pytest.mark.filterwarnings("ignore")
def test_other_kinds_of_categories(kind):
    numbers = pd.DataFrame({"a": RNG.integers(0, 2, 100), "b": RNG.integers(0, 2, 100)})
    data = numbers.astype(str).astype(kind) if kind in ("category", "string") else numbers.astype(kind)
    for encoder in (OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder(), TargetEncoder(random_state=0)):
        encoder.fit(data, numbers["a"] + 0.5)
        made, inferred = compiled([("encode", encoder)], data)
        assert made.exported_steps == ()
        np.testing.assert_array_equal(encoded(made, inferred, data), expected([("encode", encoder)], data))


def test_numbers_as_categories_beyond_those_known():
    data = pd.DataFrame({"a": [1.5, 2.5, -1.0, np.nan] * 5, "b": [3, 1, 2, 1] * 5})
    encoder = OneHotEncoder(handle_unknown="ignore").fit(data)
    made, inferred = compiled([("encode", encoder)], data)
    asked = pd.DataFrame({"a": [9.0, 1.5, np.nan], "b": [7, 3, 1]})
    np.testing.assert_array_equal(encoded(made, inferred, asked), encoder.transform(asked).toarray())


def test_what_the_encoder_refuses_the_program_refuses():
    data = pd.DataFrame({"a": [1, 2, 3, 4] * 5})
    encoder = OneHotEncoder().fit(data)
    made, inferred = compiled([("encode", encoder)], data)
    frame = frame_of(inferred, pd.DataFrame({"a": [1, 9, 3, 8]}))
    encoder_of_core = made.program.encoder()
    out = np.empty((4, 4))
    assert encoder_of_core.encode(frame.capsule, out) == 2
    assert encoder_of_core.refused == [1, 3]
    np.testing.assert_array_equal(out[[0, 2]], np.eye(4)[[0, 2]])


def test_a_hundred_levels_are_one_operation():
    data = pd.DataFrame({"a": [f"level {i:03d}" for i in range(100)]}, dtype=object)
    made, inferred = compiled([("encode", OneHotEncoder().fit(data))], data)
    document, _ = made.program.to_members()
    assert [operation["op"] for operation in document["operations"]] == ["emit_one"]
    np.testing.assert_array_equal(encoded(made, inferred, data), np.eye(100))
