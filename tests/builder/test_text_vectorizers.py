"""Vectorizers in the core against scikit-learn: every setting, texts in many scripts, and what stands behind them."""

import numpy as np
import pandas as pd
import pytest
from builder.text_forms import assert_alike, by_the_core, compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler
from sklearn.svm import LinearSVC

import edgeml
from edgeml.builder.feature_columns import NotCompiled
from edgeml.builder.text_pattern import token_pattern
from edgeml.errors import BuildError

TEXTS = [
    "The quick brown fox jumps over the lazy dog, twice: the dog sleeps.",
    "Größe und Straße -- ÄRGER mit Ölfässern; naïve café façade",
    "ΌΣΟΙ ΟΔΟΣ Σ ΣΊΣΥΦΟΣ. Οδυσσεύς, ΟΔΥΣΣΕΎΣ'Σ",
    "İstanbul'da IŞIK ılık İİ diyarbakır I",
    "Съешь ещё этих мягких французских булок, да выпей же чаю",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ٣٤",
    "いろはにほへと ちりぬるを 色は匂へど 散りぬるを １２３ ｱｲｳ",
    "키스의 고유조건은 입술끼리 만나야 하고",
    "emoji 👩‍👩‍👧 ok 👍🏽 c̈a va e\u0301te\u0301 ﬁne ﷺ x\u00a0y\u2003z\u200b!",
    "tabs\tand\n\nlines  \r\n  spaces \x1c\x1d here_and_there under__score 3d 007 a-b-c",
    "",
    " ",
    "a",
    "zz zz zz",
]
TOKENS = st.sampled_from(
    ["the", "Dog", "Σ", "ΟΔΟΣ", "é", "e\u0301", "İ", "ß", "_", "12", "\u00b2", "дом", "色", "👍", "'", "-"]
)
SPACES = st.sampled_from([" ", "  ", "\t", "\n ", "\u00a0", ", ", "", ".", "\u200d"])
DOCUMENTS = st.lists(st.tuples(TOKENS, SPACES), max_size=12).map(lambda parts: "".join(a + b for a, b in parts))
PATTERNS = [r"(?u)\b\w\w+\b", r"\w+", r"\b[a-z]{3,}\b", r"[^\W\d_]+", r"\S+", r"[^ ]{2,}", r"[\w'-]+", r"[A-Za-zäöüß]+"]


@st.composite
def vectorizers(draw):
    """A vectorizer with some of all settings."""
    analyzer = draw(st.sampled_from(["word", "char", "char_wb"]))
    shortest = draw(st.integers(1, 3))
    shared = {
        "analyzer": analyzer,
        "ngram_range": (shortest, shortest + draw(st.integers(0, 2))),
        "lowercase": draw(st.booleans()),
        "strip_accents": draw(st.sampled_from([None, "ascii", "unicode"])),
        "binary": draw(st.booleans()),
    }
    if analyzer == "word":
        shared["token_pattern"] = draw(st.sampled_from([p for p in PATTERNS if "äöü" not in p]))
        shared["stop_words"] = draw(st.sampled_from([None, ["the", "дом", "a"]]))
    norm = draw(st.sampled_from([None, "l1", "l2"]))
    kind = draw(st.sampled_from(["count", "tfidf", "hashing"]))
    if kind == "hashing":
        return HashingVectorizer(
            n_features=draw(st.sampled_from([7, 64, 1024])), norm=norm, alternate_sign=draw(st.booleans()), **shared
        )
    if kind == "count":
        return CountVectorizer(**shared)
    flags = {name: draw(st.booleans()) for name in ("use_idf", "smooth_idf", "sublinear_tf")}
    return TfidfVectorizer(norm=norm, **flags, **shared)


@settings(max_examples=60, deadline=None)
@given(vectorizers(), st.lists(DOCUMENTS, min_size=1, max_size=6))
def test_any_vectorizer_gives_scikit_learns_columns(vectorizer, documents):
    assert_alike(vectorizer, documents, fit_on=TEXTS)


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if "äöü" not in p])
@pytest.mark.filterwarnings("ignore:Your stop_words may be inconsistent")
def test_token_patterns(pattern):
    assert_alike(CountVectorizer(token_pattern=pattern), TEXTS)
    assert_alike(CountVectorizer(token_pattern=pattern, ngram_range=(1, 3), stop_words="english"), TEXTS)


@pytest.mark.parametrize(
    "pattern",
    [r"[A-Za-zäöüß]+", r"\w+|\d+", r"(\w)\w+", r"\b\w+", r"\w*", r"\w{2,4}", r"\b\S+\b", r"\w+?", r"a+b", r"[^][^]+"],
)
def test_other_token_patterns_are_not_compiled(pattern):
    with pytest.raises(NotCompiled, match="token_pattern="):
        token_pattern(pattern)


STEPS = {
    "tf-idf": make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)),
    "hashed tf-idf": make_pipeline(
        HashingVectorizer(n_features=256, alternate_sign=False, norm=None), TfidfTransformer()
    ),
    "scaled": make_pipeline(CountVectorizer(), StandardScaler(with_mean=False)),
    "largest": make_pipeline(TfidfVectorizer(), MaxAbsScaler()),
    "norm of the largest": make_pipeline(CountVectorizer(), Normalizer("max")),
    "weighed union": FeatureUnion(
        [("w", TfidfVectorizer()), ("c", CountVectorizer(analyzer="char_wb", ngram_range=(2, 4)))],
        transformer_weights={"w": 2.0, "c": 0.25},
    ),
    "union, scaled": make_pipeline(
        FeatureUnion([("w", TfidfVectorizer()), ("c", TfidfVectorizer(analyzer="char"))]), MaxAbsScaler()
    ),
    "rare and frequent terms left out": CountVectorizer(analyzer="char", min_df=2, max_df=0.5, max_features=5),
    "a vocabulary that was given": TfidfVectorizer(vocabulary=["dog", "the dog", "fox"], ngram_range=(1, 2)),
    "float32": TfidfVectorizer(dtype=np.float32),
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_steps_behind_a_vectorizer(steps):
    steps.fit(TEXTS)
    tolerance = 1e-6 if getattr(steps, "dtype", None) == np.float32 else 1e-12
    np.testing.assert_allclose(by_the_core(steps, TEXTS), steps.transform(TEXTS).toarray(), rtol=tolerance, atol=1e-15)


def test_a_selection_is_made_before_what_stands_behind_it():
    labels = [row % 2 for row in range(len(TEXTS))]
    steps = make_pipeline(CountVectorizer(), SelectKBest(chi2, k=20), Normalizer(), TfidfTransformer()).fit(
        TEXTS, labels
    )
    np.testing.assert_allclose(by_the_core(steps, TEXTS), steps.transform(TEXTS).toarray(), rtol=1e-12)


@pytest.mark.parametrize("later", [Normalizer(), TfidfTransformer()])
@pytest.mark.parametrize("wanted", [[0, 1, 1], [2, 2], list(range(8)) * 2])
def test_columns_that_stand_twice_before_a_norm_go_to_onnx_with_it(later, wanted):
    # A column that counts twice in a norm has only one place among the values of a text.
    counted = CountVectorizer(vocabulary=["the", "dog", "a", "zz", "ok", "und", "twice", "fox"])
    twice = ColumnTransformer([("wanted", "passthrough", wanted)])
    for transformed, steps in ((later, [counted, twice, later]), (MaxAbsScaler(), [counted, twice, MaxAbsScaler()])):
        pipeline = make_pipeline(*steps).fit(TEXTS)
        made, _ = compiled(pipeline, TEXTS)
        exported = [name for name in made.exported_steps if type(transformed).__name__ in name]
        assert bool(exported) == (transformed is later), made.exported_steps


def test_a_pattern_that_only_looks_like_one_class_goes_to_onnx():
    # For Python the first bracket is closed by the last one: `][^` are its characters.
    found = CountVectorizer(token_pattern=r"[^][^]+").fit(TEXTS)
    made, _ = compiled(found, TEXTS)
    assert made.exported_steps == ("columns.text (CountVectorizer)",)


@pytest.mark.parametrize(
    "step",
    [
        CountVectorizer(tokenizer=str.split, token_pattern=None),
        CountVectorizer(preprocessor=str.strip),
        CountVectorizer(analyzer=str.split),
        CountVectorizer(token_pattern=r"\w+|\$"),
    ],
)
def test_python_functions_and_other_patterns_go_to_onnx(step):
    made, _ = compiled(step.fit(TEXTS), TEXTS)
    assert made.exported_steps == ("columns.text (CountVectorizer)",) and made.program.strings == ("text",)


@pytest.mark.parametrize("analyzer", ["word", "char", "char_wb"])
@pytest.mark.parametrize("sizes", [(1, 400), (4, 300), (9, 1000)])
def test_sizes_beyond_the_longest_term(analyzer, sizes):
    vocabulary = [
        "dog",
        "the lazy dog twice",
        "дом",
        " the ",
        "zz",
        "zz zz zz",
        "ότι σ",
        "naïve ca",
        "色は匂へど 散りぬる",
    ]
    assert_alike(CountVectorizer(analyzer=analyzer, ngram_range=sizes, vocabulary=vocabulary), TEXTS)


def test_more_sizes_or_hashes_than_the_core_takes_go_to_onnx():
    for many in (HashingVectorizer(analyzer="char", ngram_range=(1, 300)), HashingVectorizer(n_features=2**24 + 1)):
        made, _ = compiled(many, TEXTS)
        assert made.exported_steps == ("columns.text (HashingVectorizer)",)
    each = [(str(size), HashingVectorizer(n_features=4, analyzer="char", ngram_range=(1, 100))) for size in range(3)]
    made, _ = compiled(FeatureUnion(each), TEXTS)
    assert made.exported_steps == ("columns.text.2 (HashingVectorizer)",)
    assert len(made.compiled_steps) == 2


def test_what_would_fill_the_zeros_goes_to_onnx_behind_the_compiled_columns():
    steps = make_pipeline(TfidfVectorizer(), TruncatedSVD(3)).fit(TEXTS)
    made, _ = compiled(steps, TEXTS)
    assert made.compiled_steps == ("columns.text.tfidfvectorizer (TfidfVectorizer)",)
    assert made.exported_steps == ("columns.text.truncatedsvd (TruncatedSVD)",)


def test_numbers_and_categories_stand_beside_texts():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "body": [TEXTS[i % len(TEXTS)] + f" number{i}" for i in range(120)],
            "size": rng.normal(size=120),
            "title": [TEXTS[(i * 5 + 1) % len(TEXTS)] for i in range(120)],
        }
    )
    y = rng.integers(0, 3, 120)
    columns = ColumnTransformer(
        [
            ("b", TfidfVectorizer(), "body"),
            ("n", StandardScaler(), ["size"]),
            ("t", CountVectorizer(binary=True), "title"),
        ]
    )
    pipeline = make_pipeline(columns, LogisticRegression(max_iter=300)).fit(X, y)
    texts = {name: {"kind": "text"} for name in ("body", "title")}
    predictor = edgeml.Predictor.from_bundle(edgeml.build(pipeline, X, y, name="mixed", version="1", features=texts))
    assert predictor.session.backend == "native" and predictor.session.product is not None
    answers = predictor.predict_many(X)
    assert answers.label_list() == pipeline.predict(X).tolist()
    np.testing.assert_allclose(answers.scores, pipeline.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("form", [list, np.array, pd.Series])
def test_a_list_of_texts_becomes_one_feature(form):
    texts, labels = [f"{text} {number % 7}" for number, text in enumerate(TEXTS * 6)], [0, 1, 1] * 28
    pipeline = make_pipeline(TfidfVectorizer(), MaxAbsScaler(), LogisticRegression()).fit(texts, labels)
    bundle = edgeml.build(
        pipeline, form(texts), labels, name="list", version="1", held_out=(form(texts[:40]), labels[:40])
    )
    predictor = edgeml.Predictor.from_bundle(bundle)
    assert [feature.kind for feature in predictor.schema.features] == ["text"]
    answer = predictor.predict({"text": "the quick Σ 3"})
    assert list(answer.scores.values()) == pytest.approx(
        pipeline.predict_proba(["the quick Σ 3"])[0].tolist(), abs=1e-12
    )


def test_a_list_of_texts_takes_a_pipeline():
    with pytest.raises(BuildError, match="begins with a vectorizer"):
        edgeml.build(LogisticRegression(), ["a", "b"], [0, 1], name="list", version="1")


MODELS = {
    "LinearSVC": (LinearSVC(), True),
    "SGD": (SGDClassifier(loss="log_loss", random_state=0), None),
    "SGD, modified Huber": (SGDClassifier(loss="modified_huber", random_state=0), False),
    "multinomial": (MultinomialNB(), True),
    "complement": (ComplementNB(), True),
    "Bernoulli": (BernoulliNB(), False),
    "one for each": (OneVsRestClassifier(LogisticRegression()), False),
    "trees": (RandomForestClassifier(n_estimators=5, random_state=0), False),
    "neighbours": (KNeighborsClassifier(3), False),
    "behind SVD": (make_pipeline(TruncatedSVD(4, random_state=0), StandardScaler(), LogisticRegression()), True),
}


@pytest.mark.parametrize(("model", "sparse"), MODELS.values(), ids=MODELS.keys())
def test_any_model_stands_behind_texts(model, sparse):
    rng = np.random.default_rng(1)
    words = [f"w{number}" for number in range(60)]
    labels = [("red", "green", "blue")[row % 3] for row in range(150)]
    texts = [" ".join([*rng.choice(words[20 * (row % 3) :][:30], 6), f"n{row}"]) for row in range(150)]
    pipeline = make_pipeline(TfidfVectorizer(), model).fit(texts, labels)
    predictor = edgeml.Predictor.from_bundle(edgeml.build(pipeline, texts, labels, name="model", version="1"))
    if sparse is not None:  # what the native kernel does not have goes to ONNX Runtime, with the row written out
        assert (getattr(predictor.session, "product", None) is not None) == sparse
    asked = [*texts, "w1 w2 w59", "nothing known", ""]
    table = pd.DataFrame({"text": asked})
    given, wanted = predictor.predict_many(table), pipeline.predict(asked)
    assert given.label_list() == wanted.tolist()
    assert [predictor.predict({"text": text}).label for text in asked[-20:]] == wanted[-20:].tolist()


def test_a_regression_over_texts():
    texts = [f"room {number % 9} of {number} is {'big' if number % 2 else 'small'}" for number in range(90)]
    values = [float(number % 9 + 5 * (number % 2)) for number in range(90)]
    pipeline = make_pipeline(HashingVectorizer(n_features=2**12, ngram_range=(1, 2)), Ridge()).fit(texts, values)
    predictor = edgeml.Predictor.from_bundle(edgeml.build(pipeline, texts, values, name="rooms", version="1"))
    assert predictor.session.product is not None
    given = [predictor.predict({"text": text}).value for text in texts[:20]]
    assert given == pytest.approx(pipeline.predict(texts[:20]).tolist(), abs=1e-9)
