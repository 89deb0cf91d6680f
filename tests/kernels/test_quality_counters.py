"""Counting of expected quality, against numpy; ids, against their description."""

import base64
import json
import math
import struct
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.kernels.quality_counters import QualityCounters
from edgeml.monitor.prediction_id import read_prediction_id

LABELS = ("a", "b", "c")
MAPS = [([0.2, 0.5], [0.0, 0.4, 0.9]), ([], []), ([0.3], [0.1, 1.0])]
BUNDLE = bytes.fromhex("deadbeef")
UNIT = 2.0**-30


def counters(**changed):
    return QualityCounters(LABELS, ["r0", "r1"], BUNDLE, **{"scored": True, "calibration": MAPS} | changed)


def oracle(scores, maps):
    """Probabilities of rows of scores, by numpy's own search."""
    if maps is None:
        return np.clip(scores, 0, 1)
    columns = [
        np.array(values)[np.searchsorted(edges, column, side="right")] if values else np.clip(column, 0, 1)
        for (edges, values), column in zip(maps, scores.T, strict=True)
    ]
    made = np.column_stack(columns)
    total = made.sum(axis=1, keepdims=True)
    return np.where(total > 0, made / np.where(total > 0, total, 1), 1 / made.shape[1])


def rows_of(seed, n):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([0.7] * 3, n)
    scores[rng.random(n) < 0.2] = [0.2, 0.5, 0.3]  # on the edges
    return scores, rng.integers(0, 3, n), rng.choice([0, 1, 1, 1, 2], n).astype(np.uint8)


@pytest.mark.parametrize("maps", [MAPS, None, [([], [])] * 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_are_those_of_numpy(maps, dtype):
    scores, given_labels, tiers = rows_of(1, 5_000)
    scores = scores.astype(dtype)
    made = counters(calibration=maps)
    made.count_models(tiers, given_labels, scores)
    by_model = tiers == 1
    chances, labels = oracle(scores[by_model].astype(np.float64), maps), given_labels[by_model]
    for label, (predicted, right, missed) in enumerate(made.counts()["labels"]):
        assert predicted == (labels == label).sum()
        # Each addend is rounded to 2**-30: within half of that for each row.
        assert abs(right * UNIT - chances[labels == label, label].sum()) < 5_000 * UNIT / 2
        assert abs(missed * UNIT - chances[labels != label, label].sum()) < 5_000 * UNIT / 2


@given(st.integers(0, 2**32 - 1))
def test_one_by_one_and_in_batches_and_merged_count_alike(seed):
    scores, labels, tiers = rows_of(seed, 40)
    batch, single, halves = counters(), counters(), [counters(), counters()]
    batch.count_models(tiers, labels, scores)
    for part, rows in zip(halves, (slice(0, 17), slice(17, None)), strict=True):
        part.count_models(tiers[rows], labels[rows], scores[rows])
    for tier, label, row in zip(tiers, labels, scores.tolist(), strict=True):
        if tier == 1:
            single.count_model(LABELS[label], dict(zip(LABELS, row, strict=True)))
    assert batch.counts() == single.counts()
    merged = [
        [one + other for one, other in zip(*pair, strict=True)]
        for pair in zip(*(part.counts()["labels"] for part in halves), strict=True)
    ]
    assert merged == batch.counts()["labels"]


def test_rules_and_the_fallback_are_counted():
    made = counters()
    made.count_rule("r1")
    made.count_rule("never heard of")
    made.count_rules(np.array([0, -1, 1, 1], dtype=np.int32))
    made.count_fallback()
    made.count_fallback(3)
    assert made.counts() == {"labels": [[0, 0, 0]] * 3, "unscored": 0, "rules": [1, 3], "fallback": 4, "middle": {}}


@pytest.mark.parametrize(
    ("label", "scores"),
    [
        ("a", None),
        (None, None),
        ("z", {"a": 0.1, "b": 0.2, "c": 0.7}),
        ("a", {"a": 1.0}),
        ("a", {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}),
        ("a", {"a": math.nan, "b": 0.2, "c": 0.3}),
    ],
)
def test_what_says_nothing_is_counted_apart(label, scores):
    made = counters()
    made.count_model(label, scores)
    assert made.counts()["unscored"] == 1 and made.counts()["labels"] == [[0, 0, 0]] * 3


def test_batches_that_say_nothing_are_counted_apart():
    scores, labels, tiers = rows_of(3, 100)
    scores[7], tiers[7] = math.nan, 1
    labels[8], tiers[8] = -1, 1
    made, unscored = counters(), counters(scored=False)
    made.count_models(tiers, labels, scores)
    unscored.count_models(tiers, labels, scores)
    assert made.counts()["unscored"] == 2
    assert unscored.counts()["labels"] == [] and unscored.counts()["unscored"] == (tiers == 1).sum()
    with pytest.raises(ValueError, match="as many rows"):
        made.count_models(tiers[:5], labels, scores)


def test_many_rows_do_not_overflow():
    made = counters(calibration=None)
    ones = np.tile([1.0, 0.0, 0.0], (1_000_000, 1))
    for _ in range(12):  # 12 million ones in units of 2**-30 are beyond 2**53
        made.count_models(np.ones(len(ones), np.uint8), np.zeros(len(ones), np.int64), ones)
    assert made.counts()["labels"][0] == [12_000_000, 12_000_000 << 30, 0]


def test_more_labels_than_are_counted_are_not_scored():
    made = QualityCounters(range(65), [], BUNDLE, scored=True)
    made.count_model(3, dict.fromkeys(map(str, range(65)), 1 / 65))
    assert made.counts() == {"labels": [], "unscored": 1, "rules": [], "fallback": 0, "middle": {}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"calibration": MAPS[:2]}, "of 2 labels"),
        ({"calibration": [([0.1] * 64, [0.5] * 65)] * 3}, "65 steps"),
        ({"calibration": [([0.1], [0.5])] * 3}, "1 edges"),
        ({"calibration": [([0.2, 0.1], [0.1, 0.2, 0.3])] * 3}, "rise"),
        ({"calibration": [([0.2], [0.1, 1.5])] * 3}, "probabilities"),
    ],
)
def test_calibrations_that_do_not_fit_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        counters(**changed)


def test_counting_from_many_threads_loses_nothing():
    made = counters()
    scores, labels, tiers = rows_of(5, 500)
    one = dict(zip(LABELS, scores[0].tolist(), strict=True))

    def work():
        for _ in range(50):
            made.count_models(tiers, labels, scores)
            made.count_model("b", one)
            made.count_rule("r0")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = counters()
    for _ in range(200):
        alone.count_models(tiers, labels, scores)
        alone.count_model("b", one)
        alone.count_rule("r0")
    assert made.counts() == alone.counts()


def id_in(opening: bytes) -> str:
    return json.loads(opening + b'"x":1}')["id"]


def test_an_id_is_as_described():
    made = counters()
    scores = dict(zip(LABELS, (0.1, 0.7, 0.2), strict=True))
    raw = base64.urlsafe_b64decode(id_in(made.id_of_model("b", scores)) + "=")
    chance = oracle(np.array([[0.1, 0.7, 0.2]]), MAPS)[0, 1]
    state = 2166136261
    for byte in raw[:17]:
        state = ((state ^ byte) * 16777619) % 2**32
    assert len(raw) == 20
    assert raw[:9] == b"\x11" + BUNDLE + struct.pack(">HH", 1, 1 + round(65534 * chance))
    assert int.from_bytes(raw[17:], "big") == (state ^ state >> 24) % 2**24


def test_ids_are_read_back():
    made = counters()
    scores = dict(zip(LABELS, (0.1, 0.7, 0.2), strict=True))
    model = read_prediction_id(id_in(made.id_of_model("b", scores)))
    assert (model.bundle, model.tier, model.index, model.value) == (BUNDLE, "model", 1, None)
    assert model.chance == pytest.approx(oracle(np.array([[0.1, 0.7, 0.2]]), MAPS)[0, 1], abs=1e-5)
    unscored = read_prediction_id(id_in(made.id_of_model("c", None)))
    assert (unscored.index, unscored.chance) == (2, None)
    rule = read_prediction_id(id_in(made.id_of_rule("r1")))
    assert (rule.tier, rule.index, rule.chance, rule.value) == ("rule", 1, None, None)
    fallback = read_prediction_id(id_in(made.id_of_fallback()))
    assert (fallback.tier, fallback.index, fallback.value) == ("fallback", 0, None)
    value = read_prediction_id(id_in(made.id_of_value(1.1)))
    assert (value.tier, value.value, value.index) == ("model", struct.unpack("f", struct.pack("f", 1.1))[0], 0)
    assert math.isnan(read_prediction_id(id_in(made.id_of_value(math.nan))).value)
    numbers = [each.number for each in (model, unscored, rule, fallback, value)]
    assert len(set(numbers)) == 5
    assert read_prediction_id(id_in(counters().id_of_rule("r1"))).number not in numbers


def test_ids_of_what_there_is_not_are_refused():
    with pytest.raises(ValueError, match="'z' is not one of the labels"):
        counters().id_of_model("z", None)
    with pytest.raises(ValueError, match="'r9' is not one of the rules"):
        counters().id_of_rule("r9")


@given(st.integers(0, 26), st.sampled_from("ABZaz09-_"))
def test_an_id_with_a_changed_letter_is_refused(place, letter):
    text = id_in(counters().id_of_rule("r1"))
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        with pytest.raises(ValueError, match="not as it was given out|another release"):
            read_prediction_id(changed)


@pytest.mark.parametrize(
    "text", ["", "A" * 26, "A" * 28, "A" * 26 + "=", "A" * 26 + "é", "A" * 26 + " ", "A" * 26 + "/"]
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError, match="27 letters|not as it was given out"):
        read_prediction_id(text)


def test_more_labels_than_sums_stay_outside_of_the_sums():
    counters = QualityCounters([f"label {i}" for i in range(20_000)], ["r"], b"abcd", scored=True)
    counters.count_rule("r")
    for _ in range(3):
        assert counters.counts() == {"labels": [], "unscored": 0, "rules": [1], "fallback": 0, "middle": {}}
    assert len(counters.id_of_model("label 19999", None)) == len(counters.id_of_rule("r"))


def test_a_map_without_steps_has_no_edges():
    with pytest.raises(ValueError, match="a map of 0 steps"):
        QualityCounters(["a"], [], b"abcd", scored=True, calibration=[([0.1, 0.2, 0.3], [])])


@pytest.mark.parametrize("scored", [True, False])
def test_labels_of_the_model_are_counted_with_and_without_scores(scored):
    counters = QualityCounters(["a", "b", "c"], [], bytes(4), scored=scored)
    assert counters.labels() == [0, 0, 0]
    for label, scores in (("b", {"a": 0.1, "b": 0.8, "c": 0.1}), ("b", None), ("c", {"a": 2.0, "b": 0.0, "c": 9.0})):
        counters.count_model(label, scores)
    counters.count_model(None, None)
    assert counters.labels() == [0, 2, 1]
    counters.count_labels(np.array([5, 0, 1], dtype=np.int64))
    assert counters.labels() == [5, 2, 2]
    with pytest.raises(ValueError, match="2 labels, where there are 3"):
        counters.count_labels(np.array([5, 0], dtype=np.int64))
