"""The drift reference: exact counts that add up."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.drift_oracle import share_bin
from runtime.test_rules_alone import bundle_of
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import edgeml
from edgeml.builder import drift_reference
from edgeml.builder.drift_reference import (
    category_reference,
    number_reference,
    output_reference,
    text_reference,
    word_reference,
)
from edgeml.monitor.drift import word_buckets
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=300))
def test_every_number_is_counted_once(values):
    document = number_reference(np.array(values))
    known = [value for value in values if value == value]
    assert document["missing"] == len(values) - len(known)
    assert sum(document["counts"]) == len(known)
    edges = document["edges"]
    assert all(low < high for low, high in zip(edges, edges[1:], strict=False))
    assert len(document["counts"]) == (len(edges) + 1 if edges else 0)
    for index, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        last = index == len(edges) - 2
        expected = sum(low <= value < high or (last and value == high) for value in known)
        assert document["counts"][index + 1] == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50).map(lambda tenths: tenths / 10), min_size=1, max_size=300), st.integers(0, 2**32))
def test_answers_that_differ_in_their_last_digits_are_counted_alike(values, seed):
    values = np.array(values)
    document = output_reference(values)
    edges, counts = np.array(document["edges"]), document["counts"]
    assert counts[0] == counts[-1] == 0 and sum(counts) == len(values) and len(edges) <= 33
    for sign in (-1, 1):
        elsewhere = values + sign * 1e-6 * np.maximum(1, np.abs(values))
        assert np.histogram(elsewhere, bins=edges)[0].tolist() == counts[1:-1]
    assert document["counts"] == number_reference(values)["counts"] or len(set(values)) > 32


def test_round_scores_are_not_on_an_edge():
    rows = np.arange(20.0)[:, None].repeat(20, axis=0)
    y = (np.arange(400) % 20 < rows[:, 0]).astype(int)
    document = reference_of(DecisionTreeClassifier(random_state=0), y, table=rows)
    edges = np.array(document["answers"]["confidence"]["edges"])
    shares = np.maximum(np.arange(20), 20 - np.arange(20)) / 20  # of the leaves
    for share in shares:
        own = {np.searchsorted(edges, share + d, side="right") for d in (-1e-6, 0, 1e-6)}
        assert len(own) == 1 and 0 not in own and len(edges) not in own


def test_moments_are_those_of_the_values():
    values = np.array([1.0, 2.0, 4.0, np.nan])
    document = number_reference(values)
    assert document["mean"] == pytest.approx(7 / 3)
    assert document["m2"] == pytest.approx(np.var([1, 2, 4]) * 3)
    assert (document["min"], document["max"]) == (1.0, 4.0)


def test_levels_beyond_the_most_frequent_are_other():
    codes = np.repeat(np.arange(70), np.arange(70, 0, -1)).astype(np.int32)
    codes = np.concatenate([codes, [-1, -1, -2]]).astype(np.int32)
    document = category_reference(codes, [f"level {code}" for code in range(70)])
    assert len(document["levels"]) == 64 and document["levels"][0] == "level 0"
    assert document["counts"][0] == 70 and document["other"] == sum(range(1, 7))
    assert (document["missing"], document["unseen"]) == (2, 1)
    assert sum(document["counts"]) + document["other"] + 3 == document["n"]


def test_texts_are_counted_by_length():
    document = text_reference([b"", b"a", b"ab", b"abcd", None])
    assert (document["n"], document["missing"], document["empty"]) == (5, 1, 1)
    assert sum(document["counts"]) == 4


def known(document, word):
    (bucket,) = word_buckets(word)
    return bool(base64.b64decode(document["vocabulary"])[bucket >> 3] >> (bucket & 7) & 1)


def test_a_row_is_asked_of_the_words_of_the_other_rows():
    document = word_reference([b"red blue", b"Red green!", b"red red red lone", b"...", None])
    assert document["least"] == 1 and document["counts"][:2] == [1, 1]
    # Half of each of the first two rows is unknown to the others, and a quarter of the third.
    assert document["counts"][2:] == [0, 0, 1, 0, 0, 2, 0, 0, 0, 0]
    # A new row is asked of all of them.
    assert all(known(document, word) for word in (b"red", b"blue", b"LONE")) and not known(document, b"yellow")


def test_a_large_vocabulary_keeps_the_words_of_most_rows(monkeypatch):
    monkeypatch.setattr(drift_reference, "MAX_WORDS", 2)
    document = word_reference([b"a b c", b"a b d", b"a b e", b"a f"])
    assert document["least"] == 2
    assert [known(document, word) for word in (b"a", b"b", b"c", b"f")] == [True, True, False, False]
    # "b" stands in two other rows of each row that has it, and c, d, e and f in none.
    assert document["counts"][2:] == [0, 0, 0, 3, 0, 1, 0, 0, 0, 0]


def test_new_rows_of_the_same_source_show_the_share_that_the_reference_expects():
    generator = np.random.default_rng(20)

    def rows(n):
        return [" ".join(f"w{word}" for word in generator.zipf(1.3, 30)).encode() for _ in range(n)]

    def mean(counts):
        return sum((i + 0.5) / 10 * count for i, count in enumerate(counts[2:])) / sum(counts[2:])

    reference = word_reference(rows(1000))
    vocabulary = base64.b64decode(reference["vocabulary"])
    fresh = [share_bin(vocabulary, row) for row in rows(1000)]
    seen = mean([0, *(fresh.count(bin_) for bin_ in range(11))])
    # To its own vocabulary every row of the reference would be known, and each new row would look like drift.
    assert seen > 0.09 and mean(reference["counts"]) == pytest.approx(seen, abs=0.006)


def test_words_of_so_many_texts_are_watched(monkeypatch):
    monkeypatch.setattr(drift_reference, "WORD_FEATURES", 1)
    schema = Schema.from_dict({"features": [{"name": name, "kind": "text"} for name in ("a", "b")]})
    reader = RecordReader(schema)
    frame = reader.new_frame()
    reader.read_many(frame, [{"a": "one", "b": "two"}])
    bundle = bundle_of()
    answers = edgeml.runtime.predictor.Predictor.from_bundle(bundle).predict_many([{"speed": 0.1}])
    document = drift_reference.drift_reference(schema, frame, frame, answers)
    assert ["words" in document["features"][name] for name in ("a", "b")] == [True, False]


def test_the_bundle_carries_it(penguins_bundle):
    document = json.loads(penguins_bundle.members["reference.json"])
    assert set(document["features"]) == {
        "bill_length_mm",
        "bill_depth_mm",
        "flipper_length_mm",
        "body_mass_g",
        "island",
        "sex",
    }
    answers, tiers = document["answers"], document["answers"]["tiers"]
    assert sum(tiers.values()) == answers["rows"] and tiers["rule"] > 0 and answers["abstain"] == 0
    # The answers are those to the held-out rows, which are fewer.
    assert answers["held_out"] is True and answers["rows"] < document["rows"]
    assert sum(answers["labels"].values()) == tiers["model"]
    assert answers["label_counts"]["labels"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert sum(answers["label_counts"]["counts"]) == answers["rows"]
    assert document["features"]["sex"]["missing"] > 0
    assert sum(document["answers"]["confidence"]["counts"]) == tiers["model"]


ROWS = np.array([[-2.0, 0.5], [-1.0, 0.1], [0.5, 0.2], [1.5, 0.9], [2.5, 0.3]] * 20)
LEFT = {"id": "left", "when": "x0 < -1.5", "then": {"label": 0}}
ASK = {"id": "ask-the-model", "when": "x0 > 2", "then": "abstain"}


def reference_of(model, y, *, table=ROWS, **more):
    bundle = edgeml.build(model.fit(table, y), table, y, name="drifting", version="1", **more)
    return json.loads(bundle.members["reference.json"])


@pytest.mark.parametrize("model", [LinearSVC(), LogisticRegression()], ids=["decision", "probability"])
def test_scores_are_counted_over_the_rows_of_the_model(model):
    document = reference_of(model, (ROWS[:, 0] > 0).astype(int), rules=[LEFT, ASK])
    answers = document["answers"]
    assert answers["tiers"] == {"rule": 20, "model": 80, "fallback": 0} and answers["abstain"] == 20
    assert sum(answers["confidence"]["counts"]) == 80
    edges = answers["confidence"]["edges"]
    assert len(edges) == 21 and edges[0] == 0.0 and edges[-1] >= 1.0 and edges == sorted(edges)
    assert sum(answers["labels"].values()) == 80
    # The rule's label counts among those of all tiers.
    assert answers["held_out"] is False and answers["rows"] == 100
    counted = dict(zip(answers["label_counts"]["labels"], answers["label_counts"]["counts"], strict=True))
    assert counted == {label: answers["labels"][label] + (20 if label == "0" else 0) for label in ("0", "1")}


def test_values_are_counted_over_the_rows_of_the_model():
    rule = {"id": "left", "when": "x0 < -1.5", "then": {"value": 7.0}}
    document = reference_of(LinearRegression(), ROWS[:, 0] * 3, rules=[rule])
    (values,) = document["answers"]["values"]
    assert (values["n"], values["missing"], sum(values["counts"])) == (80, 0, 80)
    assert document["answers"]["tiers"]["rule"] == 20 and document["answers"]["abstain"] == 0


def test_rules_that_answer_everything_leave_nothing_to_count():
    document = reference_of(LinearSVC(), (ROWS[:, 0] > 0).astype(int), rules=[LEFT | {"when": "true"}])
    answers = document["answers"]
    assert answers["tiers"] == {"rule": 100, "model": 0, "fallback": 0}
    assert sum(answers["confidence"]["counts"]) == 0 and len(answers["confidence"]["edges"]) == 21
