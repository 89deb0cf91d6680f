"""LightGBM and XGBoost: the same labels on every row, the scores within the tolerance, and clear refusals."""

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml
from edgeml.builder.category_chains import GrowingTree
from edgeml.builder.native_kernel import native_kernel
from edgeml.builder.onnx_graph import DOUBLE, Graph
from edgeml.builder.onnx_trees import sum_of_trees
from edgeml.errors import ParityError, UnsupportedError
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.onnx_session import OnnxSession

# The libraries warn of their own arguments.
pytestmark = pytest.mark.filterwarnings("ignore")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(600, 4))
X[:, 2] = RANDOM.integers(0, 12, 600)
X[RANDOM.random(X.shape) < 0.05] = np.nan
FULL = np.nan_to_num(X)
TWO = (FULL[:, 0] + np.isin(X[:, 2], [3, 4, 8]) > 0).astype(int)
THREE = TWO + (FULL[:, 1] > 0.5)
NUMBER = FULL[:, 0] * 3 + FULL[:, 3] ** 2
AROUND_ZERO = np.random.default_rng(1).integers(-3, 4, X.shape).astype(float)
TABLE = pd.DataFrame(X, columns=list("abcd"))
CATEGORIES = {"enable_categorical": True, "feature_types": ["q", "q", "c", "q"]}
QUIET = {"verbose": -1, "n_estimators": 20}


def _lightgbm(kind, y, **settings):
    fit = {"categorical_feature": [2]} if settings.pop("categories", False) else {}
    return lambda: getattr(lightgbm, kind)(**QUIET, **settings).fit(TABLE, y, **fit)


def _xgboost(kind, y, **settings):
    return lambda: getattr(xgboost, kind)(n_estimators=20, **settings).fit(TABLE, y)


def _stopped_lightgbm():
    stop = [lightgbm.early_stopping(2, verbose=False)]
    model = lightgbm.LGBMClassifier(n_estimators=300, learning_rate=0.5, verbose=-1)
    return model.fit(TABLE[:300], TWO[:300], eval_set=[(TABLE[300:], TWO[300:])], callbacks=stop)


def _stopped_xgboost():
    model = xgboost.XGBClassifier(n_estimators=300, learning_rate=0.5, early_stopping_rounds=2)
    return model.fit(TABLE[:300], TWO[:300], eval_set=[(TABLE[300:], TWO[300:])], verbose=False)


MODELS = {
    "lightgbm two": _lightgbm("LGBMClassifier", TWO),
    "lightgbm text": _lightgbm("LGBMClassifier", np.array(["no", "yes"])[TWO]),
    "lightgbm categories": _lightgbm("LGBMClassifier", TWO, categories=True, min_child_samples=5),
    "lightgbm three": _lightgbm("LGBMClassifier", THREE),
    "lightgbm one against all": _lightgbm("LGBMClassifier", THREE, objective="multiclassova"),
    "lightgbm forest": _lightgbm("LGBMClassifier", TWO, boosting_type="rf", subsample=0.7, subsample_freq=1),
    "lightgbm dart": _lightgbm("LGBMRegressor", NUMBER, boosting_type="dart"),
    "lightgbm number": _lightgbm("LGBMRegressor", NUMBER),
    "lightgbm no missing": _lightgbm("LGBMRegressor", NUMBER, use_missing=False),
    "lightgbm poisson": _lightgbm("LGBMRegressor", abs(NUMBER), objective="poisson"),
    "lightgbm stopped": _stopped_lightgbm,
    "xgboost two": _xgboost("XGBClassifier", TWO),
    "xgboost categories": _xgboost("XGBClassifier", TWO, **CATEGORIES),
    "xgboost one hot": _xgboost("XGBClassifier", TWO, max_cat_to_onehot=50, **CATEGORIES),
    "xgboost three": _xgboost("XGBClassifier", THREE),
    "xgboost forest": _xgboost("XGBRFClassifier", THREE),
    "xgboost number": _xgboost("XGBRegressor", NUMBER, base_score=2.5),
    "xgboost poisson": _xgboost("XGBRegressor", abs(NUMBER), objective="count:poisson"),
    "xgboost stopped": _stopped_xgboost,
}


def _same(bundle, model, table):
    answers = edgeml.Predictor.from_bundle(bundle).predict_many(table)
    expected = model.predict(table)
    if not hasattr(model, "predict_proba"):
        given = np.asarray(answers.value_list())
        np.testing.assert_array_less(np.abs(given - expected) / np.maximum(1, np.abs(expected)), 1e-5)
        return
    assert answers.label_list() == expected.tolist()
    np.testing.assert_allclose(answers.scores, model.predict_proba(table), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_alone(name):
    model = MODELS[name]()
    bundle = edgeml.build(model, TABLE, None, name="boosted", version="1")
    assert bundle.config["parity"]["flips"] == 0
    _same(bundle, model, TABLE)
    # Rows a hair away from those fitted on: no bound lies exactly there.
    _same(bundle, model, TABLE * np.where(TABLE.columns == "c", 1.0, 1.0 + 1e-7))


@pytest.mark.parametrize("last", [lightgbm.LGBMClassifier(**QUIET), xgboost.XGBClassifier(n_estimators=20)])
def test_last_step_of_a_pipeline(last):
    pipeline = make_pipeline(StandardScaler(), last).fit(TABLE, TWO)
    bundle = edgeml.build(pipeline, TABLE, TWO, name="boosted", version="1")
    assert bundle.config["parity"]["engine"] == "native"
    _same(bundle, pipeline, TABLE)


def test_an_early_stopped_model_is_shorter_than_it_was_fitted():
    booster = _stopped_xgboost().get_booster()
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: lightgbm.LGBMRanker(**QUIET).fit(TABLE, TWO, group=[60] * 10), "LGBMRanker is no classifier"),
        (lambda: xgboost.XGBRanker(n_estimators=5).fit(TABLE, TWO, qid=np.repeat(range(10), 60)), "XGBRanker is no"),
        (lambda: xgboost.XGBClassifier(booster="gblinear").fit(FULL, TWO), "booster='gbtree'"),
        (lambda: xgboost.XGBClassifier(missing=-1.0, n_estimators=5).fit(TABLE, TWO), "fit it with NaN"),
        (lambda: lightgbm.LGBMRegressor(linear_tree=True, **QUIET).fit(FULL, NUMBER), "linear_tree=True"),
        (
            lambda: lightgbm.LGBMClassifier(zero_as_missing=True, **QUIET).fit(AROUND_ZERO, AROUND_ZERO[:, 0] > -0.5),
            "zero_as_missing=True.*fit it without, with NaN",
        ),
        (lambda: lightgbm.LGBMRegressor(reg_sqrt=True, **QUIET).fit(TABLE, NUMBER), "sqrt"),
        (_xgboost("XGBClassifier", TWO, objective="binary:hinge"), "binary:hinge"),
    ],
)
def test_what_cannot_be_taken_is_named(make, said):
    with pytest.raises(UnsupportedError, match=said):
        edgeml.build(make(), TABLE, None, name="boosted", version="1")


CODES = np.column_stack([RANDOM.integers(0, 9, 500), RANDOM.normal(size=500)]).astype(float)
IN_SET = np.isin(CODES[:, 0], [0, 3, 4]).astype(int)
BELOW_ZERO = np.array([[-0.5, 0.0], [-1.0, 0.0], [-1e-300, 0.0], [-0.999, 0.0], [-0.0, 0.0], [0.5, 0.0], [-1.5, 0.0]])
OF_CODES = {
    "lightgbm": lambda: lightgbm.LGBMClassifier(**QUIET, min_child_samples=5).fit(
        CODES, IN_SET, categorical_feature=[0]
    ),
    "xgboost": lambda: xgboost.XGBClassifier(
        n_estimators=5, enable_categorical=True, feature_types=["c", "q"], max_cat_to_onehot=1
    ).fit(CODES, 1 - IN_SET),
}


@pytest.mark.parametrize("library", OF_CODES)
def test_below_zero_each_library_has_its_own_categories(library):
    model = OF_CODES[library]()
    answers = model.predict(BELOW_ZERO)
    assert len(set(answers.tolist())) == 2 and (answers[0] == answers[4]) == (library == "lightgbm")
    bundle = edgeml.build(model, CODES, None, name="boosted", version="1")
    _same(bundle, model, BELOW_ZERO)


@pytest.mark.parametrize("library", OF_CODES)
def test_parity_asks_below_zero(library, monkeypatch):
    def wrong(*dtype, cuts_to_zero=False):
        return GrowingTree(*dtype, cuts_to_zero=not cuts_to_zero)

    monkeypatch.setattr(f"edgeml.builder.export_{library}.GrowingTree", wrong)
    with pytest.raises(ParityError):
        edgeml.build(OF_CODES[library](), CODES, None, name="boosted", version="1")


def test_a_probability_that_xgboost_rounds_to_one_half_is_the_first_class():
    model = xgboost.XGBClassifier(n_estimators=1, learning_rate=1e-8, base_score=0.5).fit(FULL, TWO)
    assert set(model.predict(FULL).tolist()) == {0} and (model.predict_proba(FULL) == 0.5).any()
    _same(edgeml.build(model, FULL, None, name="boosted", version="1"), model, FULL)


@pytest.mark.parametrize("missing_inside", [False, True])
@pytest.mark.parametrize(("dtype", "cuts_to_zero"), [("float32", False), ("float64", False), ("float64", True)])
def test_a_set_of_categories_asks_for_the_whole_part(dtype, cuts_to_zero, missing_inside):
    members = {0, 1, 5, 7, 8}
    tree = GrowingTree(dtype, cuts_to_zero=cuts_to_zero)
    root, inside, outside = tree.reserve(), tree.reserve(), tree.reserve()
    tree.categories(root, 0, members, inside, outside, missing_inside=missing_inside)
    tree.leaf(inside, 1.0)
    tree.leaf(outside, -1.0)
    graph = Graph(1, dtype)
    model = graph.finish({"value": (sum_of_trees(graph, graph.x, [tree.finish(0, 1)]), DOUBLE)})
    whole = np.arange(-2, 12, dtype=dtype)
    below = np.nextafter(whole, np.array(-99, dtype=dtype))
    asked = np.concatenate([whole, below, whole + 0.5, [np.nan, np.inf, -np.inf]])
    asked = asked.astype(dtype).reshape(-1, 1)
    wanted = [
        1.0
        if (
            missing_inside
            if np.isnan(x)
            else np.isfinite(x) and (x > -1 if cuts_to_zero else x >= 0) and int(x) in members
        )
        else -1.0
        for x in asked[:, 0].tolist()
    ]
    assert OnnxSession.open(model).run({"dense": asked})["value"].ravel().tolist() == wanted
    kernel = native_kernel(model, dtype)
    assert kernel is not None
    assert NativeSession(*kernel).run({"dense": asked})["value"].ravel().tolist() == wanted
