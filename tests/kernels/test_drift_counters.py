"""DriftCounters against a slow oracle, under many threads, and with everything that does not fit."""

import sys
import threading
from array import array
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.drift_oracle import bucket_of, counted, words_of

from edgeml.kernels.drift_counters import (
    COLUMN_FIELDS,
    KINDS,
    VOCABULARY_BITS,
    DriftCounters,
    LaneCounters,
    word_buckets,
)
from edgeml.monitor.drift import DriftMonitor
from edgeml.monitor.drift_layout import Layout
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

TIERS = ("rule", "model", "fallback", "middle")
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-1.0, -0.0, 0.0, 1.0, 1.5, 2.0, sys.float_info.max, -sys.float_info.max, 5e-324]),
)
EDGES = st.one_of(
    st.just([]),
    st.lists(NUMBERS, min_size=2, max_size=63, unique=True).map(sorted),
    st.just([float(i) for i in range(33)]),
)
TEXTS = st.one_of(st.text(max_size=40), st.sampled_from(["", " ", "a b a", "Ünder A b! x9 ß", "q" * 70_000]))
LABELS = ["no", "yes", "maybe"]


def number(edges):
    return {"kind": "number", "n": 0, "missing": 0, "edges": edges, "counts": [0] * (len(edges) + 1 if edges else 0)}


@st.composite
def layouts(draw):
    """A schema, its reference, and the layout of both."""
    kinds = draw(
        st.lists(st.sampled_from(["number", "integer", "boolean", "category", "text"]), min_size=1, max_size=6)
    )
    features, seen = [], {}
    for place, kind in enumerate(kinds):
        name = f"f{place}"
        feature = {"name": name, "kind": kind, "missing": "allow"}
        if kind == "category":
            feature |= {"levels": ["a", "b", "c", "d"], "unseen": "allow"}
            kept = draw(st.lists(st.sampled_from(feature["levels"]), unique=True))
            seen[name] = {
                "kind": kind,
                "missing": 0,
                "unseen": 0,
                "other": 0,
                "levels": kept,
                "counts": [0] * len(kept),
            }
        elif kind == "text":
            feature["max_bytes"] = 2**20
            seen[name] = {"kind": kind, "missing": 0, "edges": [0, *(2**i for i in range(1, 17))], "counts": [0] * 17}
            if draw(st.booleans()):
                bitmap = bytearray(8192)
                for word in words_of(draw(TEXTS).encode()):
                    bitmap[bucket_of(word) // 8] |= 1 << bucket_of(word) % 8
                seen[name]["words"] = {"vocabulary": b64encode(bitmap).decode(), "counts": [0] * 12}
        else:
            seen[name] = number(draw(EDGES))
        features.append(feature)
    answers = {"held_out": True, "tiers": dict.fromkeys(draw(st.sampled_from([TIERS, TIERS[:3]])), 0)}
    task = draw(st.sampled_from(["scores", "score", "values"]))
    if task != "values":
        answers["label_counts"] = {"labels": LABELS, "counts": [0, 0, 0]}
    if task == "scores":
        edges = draw(st.lists(NUMBERS, min_size=2, max_size=21, unique=True).map(sorted))
        answers["confidence"] = {"edges": edges, "counts": [0] * (len(edges) - 1)}
    elif task == "score":
        answers["score"] = number(draw(EDGES))
    else:
        answers["values"] = [number(draw(EDGES)), number(draw(EDGES))]
    reference = {"format": 1, "rows": 0, "features": seen, "answers": answers}
    schema = {"features": features}
    return Schema.from_dict(schema), Layout.of(reference, schema), task


def values_of(feature):
    some = {
        "number": NUMBERS,
        "integer": st.integers(-(2**53) + 1, 2**53 - 1),
        "boolean": st.booleans(),
        "category": st.sampled_from(["a", "b", "c", "d", "e"]),
        "text": TEXTS,
    }[feature.kind]
    return st.none() | some


def answers_of(task):
    width = {"scores": 3, "score": 1, "values": 2}[task]
    return st.fixed_dictionaries(
        {
            "tier": st.sampled_from(TIERS),
            "label": st.none() if task == "values" else st.sampled_from(LABELS),
            "numbers": st.lists(NUMBERS, min_size=width, max_size=width),
            "rule": st.integers(0, len(RULE_LABELS) - 1),
        }
    )


RULE_LABELS = [-1, 0, 2]
FALLBACK = 1


def told(answer, task):
    """An answer as the oracle takes it: rules and the fallback have labels of their own."""
    label = answer["label"]
    if answer["tier"] == "rule":
        index = RULE_LABELS[answer["rule"]]
        label = None if index < 0 else LABELS[index]
    elif answer["tier"] == "fallback":
        label = LABELS[FALLBACK]
    scores, values = (None, answer["numbers"]) if task == "values" else (answer["numbers"], None)
    return {"tier": answer["tier"], "label": label, "scores": scores, "values": values}


def monitor_of(layout):
    return DriftMonitor(layout, rule_labels=RULE_LABELS, fallback_label=FALLBACK)


def arrays(answers, task, kind=np.float64):
    numbers = np.array([answer["numbers"] for answer in answers], dtype=kind)
    given_ = {
        "tiers": np.array([TIERS.index(answer["tier"]) for answer in answers], dtype=np.uint8),
        "rule_index": np.array(
            [answer["rule"] if answer["tier"] == "rule" else -1 for answer in answers], dtype=np.int32
        ),
    }
    if task != "values":
        given_["label_index"] = np.array([LABELS.index(answer["label"]) for answer in answers], dtype=np.int64)
    return given_ | {"values" if task == "values" else "scores": numbers}


def block_of(counters):
    return array("q", counters.snapshot()[1]).tolist()


def read(schema, records):
    reader = RecordReader(schema)
    frame = reader.new_frame()
    reader.read_many(frame, records)
    return frame


@settings(max_examples=75)
@given(st.data())
def test_batches_and_lanes_count_as_the_oracle_does(data):
    schema, layout, task = data.draw(layouts())
    record = st.fixed_dictionaries({feature.name: values_of(feature) for feature in schema.features})
    pairs = data.draw(st.lists(st.tuples(record, answers_of(task)), min_size=1, max_size=12))
    records, answers = [list(each) for each in zip(*pairs, strict=True)]
    levels = {feature.name: feature.levels for feature in schema.features if feature.levels}
    expected = counted(layout, [each | {"levels": levels} for each in records], [told(each, task) for each in answers])

    batch = monitor_of(layout).counters
    batch.observe(read(schema, records).capsule, **arrays(answers, task))
    assert block_of(batch) == expected and batch.rows == len(records)

    # The same in two parts: counters add up.
    cut = data.draw(st.integers(0, len(records)))
    parts = [monitor_of(layout).counters, monitor_of(layout).counters]
    for part, chosen in zip(parts, (slice(0, cut), slice(cut, None)), strict=True):
        if records[chosen]:
            part.observe(read(schema, records[chosen]).capsule, **arrays(answers[chosen], task))
    assert [a + b for a, b in zip(*map(block_of, parts), strict=True)] == expected

    # And one by one out of buffers that stay.
    single = monitor_of(layout).counters
    reader = RecordReader(schema)
    frame = reader.new_frame()
    numbers, raw = np.zeros(len(answers[0]["numbers"])), np.zeros(1, dtype=np.int64)
    buffers = {"value": numbers} if task == "values" else {"scores": numbers, "label": raw}
    with_raw = DriftMonitor(layout, label_values=[7, -7, 2**40], rule_labels=RULE_LABELS, fallback_label=FALLBACK)
    single = with_raw.counters
    lane = LaneCounters(single, frame.capsule, **buffers)
    for each, answer in zip(records, answers, strict=True):
        reader.read(frame, each)
        numbers[:] = answer["numbers"]
        raw[0] = 0 if answer["label"] is None else [7, -7, 2**40][LABELS.index(answer["label"])]
        if answer["tier"] == "rule":
            lane.rule(answer["rule"])
        elif answer["tier"] == "model" and data.draw(st.booleans()) and (given_ := lane.scored()) is not None:
            assert given_ == answer["numbers"]
        elif answer["tier"] == "middle":
            lane.middle(-1 if answer["label"] is None else LABELS.index(answer["label"]))
        else:
            getattr(lane, answer["tier"])()
    assert block_of(single) == expected and single.rows == len(records)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5), st.sampled_from([np.float32, np.float64]))
def test_the_label_is_that_of_the_first_largest_score(scores, kind):
    labels = [f"label {i}" for i in range(5)]
    layout = one_feature(label_counts={"labels": labels, "counts": [0] * 5})
    counters = DriftMonitor(layout).counters
    lane = LaneCounters(counters, ONE_ROW.capsule, scores=np.array(scores, dtype=kind))
    lane.model()
    column = next(column for column in layout.columns if column.kind == "label")
    own = block_of(counters)[column.start : column.start + column.bins]
    assert own == [0] + [int(index == scores.index(max(scores))) for index in range(5)]


def test_scores_are_given_and_counted_in_one_call():
    layout = one_feature(label_counts={"labels": ["no", "yes"], "counts": [0, 0]})
    counters = DriftMonitor(layout, label_values=[0, 1]).counters
    label = next(column for column in layout.columns if column.kind == "label")
    for kind in (np.float32, np.float64):
        scores, raw = np.array([0.25, 0.7], dtype=kind), np.array([1])
        lane = LaneCounters(counters, ONE_ROW.capsule, scores=scores, label=raw)
        before = counters.rows
        assert lane.scored() == scores.tolist() and counters.rows == before + 1
        raw[0] = 3  # no label at all
        assert lane.scored() is None
        raw[0], scores[0] = 1, np.nan
        assert lane.scored() is None
        scores[:] = np.finfo(kind).max, np.inf
        assert lane.scored() is None and counters.rows == before + 1
    assert LaneCounters(counters, ONE_ROW.capsule).scored() is None
    assert LaneCounters(counters, ONE_ROW.capsule, scores=np.array([1, 2])).scored() is None
    assert block_of(counters)[label.start : label.start + 3] == [0, 0, 2]


SCHEMA = Schema.from_dict({"features": [{"name": "x", "kind": "number", "missing": "allow"}]})
ONE_ROW = read(SCHEMA, [{"x": 0.5}])


def one_feature(edges=(0.0, 1.0), **answers):
    reference = {
        "format": 1,
        "rows": 0,
        "features": {"x": number(list(edges))},
        "answers": {"tiers": dict.fromkeys(TIERS, 0)} | answers,
    }
    return Layout.of(reference, SCHEMA.to_dict())


def test_sums_are_those_of_the_values_that_are_there():
    counters = DriftMonitor(one_feature()).counters
    frame = read(SCHEMA, [{"x": value} for value in (1.0, None, -3.0, 0.5)])
    counters.observe(frame.capsule, tiers=np.ones(4, np.uint8), rule_index=np.full(4, -1, np.int32))
    assert array("d", counters.snapshot()[2]).tolist() == [-1.5, 10.25]


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_words_are_those_of_the_oracle(text):
    assert word_buckets(text) == [bucket_of(word) for word in words_of(text)]


def test_words_of_a_text_that_is_known():
    # The published FNV-1a of "foobar" with 64 bits is 0x85944171f73967e8.
    assert 0x8594 ^ 0x4171 ^ 0xF739 ^ 0x67E8 == bucket_of(b"foobar") == word_buckets(b"  FooBar.")[0]
    assert VOCABULARY_BITS == 2**16 and len(word_buckets(b"one two-three \xc3\xa9t\xc3\xa9 4")) == 5


def test_many_threads_lose_nothing():
    rows, turns, threads = 50, 40, 6
    layout = one_feature(edges=[float(i) for i in range(33)])
    counters = DriftMonitor(layout).counters
    frame = read(SCHEMA, [{"x": float(i % 35 - 1)} for i in range(rows)])
    tiers, rules = np.ones(rows, np.uint8), np.full(rows, -1, np.int32)
    torn, stop = [], threading.Event()

    def count():
        reader = RecordReader(SCHEMA)
        own = reader.new_frame()
        reader.read(own, {"x": 2.5})
        lane = LaneCounters(counters, own.capsule)
        for _ in range(turns):
            counters.observe(frame.capsule, tiers=tiers, rule_index=rules)
            for _ in range(rows):
                lane.fallback()

    def look():
        while not stop.is_set():
            seen, block, _ = counters.snapshot()
            block = array("q", block)
            if any(sum(block[c.start : c.start + c.bins]) != seen for c in layout.columns):
                torn.append(seen)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        watcher = threading.Thread(target=look)
        workers = [threading.Thread(target=count) for _ in range(threads)]
        for thread in (watcher, *workers):
            thread.start()
        for thread in workers:
            thread.join()
        stop.set()
        watcher.join()
    finally:
        sys.setswitchinterval(interval)
    assert counters.rows == 2 * rows * turns * threads and torn == []
    column = next(column for column in layout.columns if column.kind == "tier")
    assert block_of(counters)[column.start : column.start + 3] == [0, counters.rows // 2, counters.rows // 2]


def test_two_hundred_features_take_less_than_a_megabyte():
    edges = [float(i) for i in range(33)]
    features = [{"name": f"n{i}", "kind": "number"} for i in range(68)]
    features += [{"name": f"c{i}", "kind": "category", "levels": [str(j) for j in range(500)]} for i in range(68)]
    features += [{"name": f"t{i}", "kind": "text"} for i in range(64)]
    words = {"vocabulary": b64encode(bytes(8192)).decode(), "counts": [0] * 12}
    category = {"kind": "category", "missing": 0, "unseen": 0, "other": 0}
    category |= {"levels": [str(j) for j in range(64)], "counts": [0] * 64}
    text = {"kind": "text", "missing": 0, "edges": [0, *(2**i for i in range(1, 17))], "counts": [0] * 17}
    seen = {"number": number(edges), "category": category, "text": text | {"words": words}}
    reference = {"format": 1, "rows": 0, "features": {each["name"]: seen[each["kind"]] for each in features}}
    counters = DriftMonitor(Layout.of(reference, {"features": features})).counters
    assert len(features) == 200
    assert 8 * counters.size + 64 * 8192 < sys.getsizeof(counters) < 2**20


# What does not fit


def counters_of(columns=(), *, edges=(), codes=b"", size=100, n_sums=1, **more):
    return DriftCounters(
        columns=array("i", [n for column in columns for n in column]),
        edges=array("d", edges),
        codes=codes,
        size=size,
        n_sums=n_sums,
        **{"label_values": array("q"), "rule_labels": array("i"), "fallback_label": -1} | more,
    )


def column(kind, slot=0, start=0, edge=0, n_edges=0, byte=0, n_bytes=0, sum_=0):
    return [KINDS.index(kind), slot, start, edge, n_edges, byte, n_bytes, sum_]


@pytest.mark.parametrize(
    ("given_", "more", "complaint"),
    [
        ([99] + [0] * 7, {}, "no kind 99"),
        (column("number", slot=-1), {}, "negative"),
        (column("number", slot=1 << 20), {}, "slot 1048576 is beyond"),
        (column("number", start=99), {}, "beyond the block"),
        (column("number", n_edges=2), {}, "edges beyond"),
        (column("number", n_edges=2), {"edges": [2.0, 1.0]}, "do not rise"),
        (column("number", n_edges=2), {"edges": [1.0, 1.0]}, "do not rise"),
        (column("number", n_edges=2), {"edges": [1.0, float("nan")]}, "not finite"),
        (column("number", n_edges=2), {"edges": [1.0, float("inf")]}, "not finite"),
        (column("number", n_edges=64), {"edges": [float(i) for i in range(64)]}, "more than 63"),
        (column("number", sum_=1), {}, "sum 1 is not the next"),
        (column("category", n_bytes=1), {}, "codes beyond"),
        (column("category", n_bytes=1, start=10), {"codes": b"\xff"}, "beyond the block"),
        (column("words", n_bytes=8), {"codes": bytes(8)}, "8192 bytes"),
        (column("text", start=83), {}, "beyond the block"),
        (column("tier", start=98), {}, "beyond the block"),
        (column("tier"), {}, "1 sums for 0 columns"),
        ([0] * 7, {}, f"{COLUMN_FIELDS} numbers"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(given_, more, complaint):
    with pytest.raises(ValueError, match=complaint):
        counters_of([given_], **more)


def test_arrays_that_do_not_fit_are_refused():
    counters = DriftMonitor(one_feature()).counters
    ones, rules = np.ones(1, np.uint8), np.full(1, -1, np.int32)
    for wrong in (
        {"tiers": np.ones(2, np.uint8)},
        {"tiers": np.full(1, 4, np.uint8)},
        {"rule_index": np.full(2, -1, np.int32)},
        {"label_index": np.zeros(2, np.int64)},
        {"scores": np.zeros((2, 2))},
        {"scores": np.zeros((1, 2), np.float16)},
        {"values": np.zeros((1, 1, 1))},
    ):
        with pytest.raises(ValueError):
            counters.observe(ONE_ROW.capsule, **{"tiers": ones, "rule_index": rules} | wrong)
    assert counters.rows == 0
    with pytest.raises(ValueError, match="fewer columns"):
        DriftMonitor(one_feature()).counters.observe(
            RecordReader(Schema.from_dict({"features": [{"name": "t", "kind": "text"}]})).new_frame().capsule,
            tiers=ones,
            rule_index=rules,
        )
    with pytest.raises(ValueError, match="one int64"):
        LaneCounters(counters, ONE_ROW.capsule, label=np.zeros(1))
    with pytest.raises(ValueError, match="no row"):
        LaneCounters(counters, RecordReader(SCHEMA).new_frame().capsule).model()


def test_counters_are_made_once_and_used_only_then():
    counters = DriftCounters.__new__(DriftCounters)
    for use in (counters.snapshot, lambda: counters.rows, lambda: LaneCounters(counters, ONE_ROW.capsule)):
        with pytest.raises(ValueError, match="not made"):
            use()
    made = counters_of(n_sums=0)
    with pytest.raises(TypeError, match="once"):
        made.__init__(
            columns=array("i"), edges=array("d"), codes=b"", size=1, n_sums=0, label_values=array("q"),
            rule_labels=array("i"), fallback_label=-1,
        )  # fmt: skip
    with pytest.raises(ValueError, match="no row"):
        LaneCounters.__new__(LaneCounters).model()
