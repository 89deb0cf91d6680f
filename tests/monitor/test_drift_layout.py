"""The layout: which columns a reference and a schema give, and what is refused."""

import copy
from base64 import b64encode

import pytest

from edgeml.errors import BundleError
from edgeml.monitor import drift_layout
from edgeml.monitor.drift_layout import Layout

SCHEMA = {
    "features": [
        {"name": "speed", "kind": "number"},
        {"name": "note", "kind": "text"},
        {"name": "colour", "kind": "category", "levels": ["red", "green", "blue"]},
        {"name": "on", "kind": "boolean"},
    ]
}
REFERENCE = {
    "format": 1,
    "rows": 10,
    "features": {
        "speed": {"kind": "number", "n": 10, "missing": 1, "edges": [0.0, 1.0, 2.5], "counts": [0, 4, 5, 0]},
        "note": {
            "kind": "text",
            "missing": 2,
            "edges": [0, *(2**i for i in range(1, 17))],
            "counts": [8] + [0] * 16,
            "words": {"vocabulary": b64encode(bytes(8192)).decode(), "counts": [2, 1, 7] + [0] * 9},
        },
        "colour": {
            "kind": "category",
            "missing": 0,
            "unseen": 0,
            "other": 1,
            "levels": ["blue", "red"],
            "counts": [6, 3],
        },
        "on": {"kind": "number", "missing": 10, "edges": [], "counts": []},
    },
    "answers": {
        "held_out": True,
        "tiers": {"rule": 2, "model": 8, "fallback": 0},
        "label_counts": {"labels": ["no", "yes"], "counts": [7, 3]},
        "confidence": {"edges": [0.0, 0.5, 1.0], "counts": [1, 7]},
    },
}


def layout(**answers):
    return Layout.of(REFERENCE | {"answers": REFERENCE["answers"] | answers}, SCHEMA)


def test_columns_stand_one_after_the_other():
    made = layout()
    seen = [(column.name, column.kind, column.slot, column.start, column.reference) for column in made.columns]
    assert seen == [
        ("speed", "number", 0, 0, (1, 0, 4, 5, 0)),
        ("note", "text", 0, 5, (2, 8, *[0] * 16)),
        ("note#words", "words", 0, 23, (2, 1, 7, *[0] * 9)),
        ("colour", "category", 0, 35, (0, 0, 1, 6, 3)),
        ("on", "number", 1, 40, (10, 0)),
        ("#tier", "tier", 0, 42, (2, 8, 0)),
        ("#label", "label", 0, 45, (0, 7, 3)),
        ("#confidence", "confidence", 0, 48, (0, 1, 7, 0)),
    ]
    assert (made.size, made.n_numbers, made.unwatched, made.rows) == (52, 2, 0, 10)
    assert [column.feature for column in made.columns] == ["speed", "note", "note", "colour", "on", None, None, None]
    assert all(len(column.bin_names) == column.bins == len(column.reference) for column in made.columns)
    assert all(column.watched for column in made.columns)


def test_bins_have_names_for_people():
    names = {column.name: column.bin_names for column in layout().columns}
    assert names["speed"] == ("missing", "below 0", "0 to 1", "1 to 2.5", "above 2.5")
    assert names["colour"] == ("missing", "unseen", "other", "blue", "red")
    assert names["on"] == ("missing", "any value")
    assert names["note"][1:4] == ("length below 2", "length 2 to 3", "length 4 to 7")
    assert names["note"][-1] == "length 65536 and above"
    assert names["note#words"][:3] == ("missing", "no words", "0 to 10 % unknown words")
    assert names["#label"] == ("other", "no", "yes") and names["#tier"] == ("rule", "model", "fallback")
    assert names["#confidence"] == ("below 0", "0 to 0.5", "0.5 to 1", "above 1")


def test_levels_know_their_bins():
    colour = next(column for column in layout().columns if column.name == "colour")
    assert list(colour.codes) == [4, 2, 3]  # red, green (other), blue


def test_answers_that_the_model_learnt_from_never_alarm():
    columns = layout(held_out=False).columns
    assert [column.watched for column in columns] == [True] * 5 + [False] * 3


def test_a_column_without_counts_never_alarms():
    columns = layout(confidence={"edges": [0.0, 0.5, 1.0], "counts": [0, 0]}).columns
    assert [column.name for column in columns if not column.watched] == ["#confidence"]


def test_a_document_of_an_older_builder_is_read():
    older = copy.deepcopy(REFERENCE)
    del older["features"]["note"]["words"], older["answers"]["held_out"], older["answers"]["label_counts"]
    made = Layout.of(older, SCHEMA)
    assert [column.name for column in made.columns if column.feature is None] == ["#tier", "#confidence"]
    assert not any(column.watched for column in made.columns if column.feature is None)
    assert "note#words" not in {column.name for column in made.columns}
    del older["answers"]
    assert all(column.feature for column in Layout.of(older, SCHEMA).columns)


def test_regressions_have_a_column_for_each_number():
    value = REFERENCE["features"]["speed"]
    answers = {"held_out": True, "tiers": REFERENCE["answers"]["tiers"]}
    for answer, names in (
        ({"score": value}, ["#score"]),
        ({"values": [value]}, ["#value"]),
        ({"values": [value, value]}, ["#value[0]", "#value[1]"]),
    ):
        made = Layout.of(REFERENCE | {"answers": answers | answer}, SCHEMA)
        own = [column for column in made.columns if column.kind == "value"]
        assert [column.name for column in own] == names and made.n_numbers == 2 + len(names)
        assert [(column.slot, column.sums) for column in own] == [(i, 2 + i) for i in range(len(names))]


def test_many_labels_keep_the_commonest():
    labels = [f"label {i:03}" for i in range(100)]
    counts = list(range(100))
    label = next(
        column
        for column in layout(label_counts={"labels": labels, "counts": counts}).columns
        if column.name == "#label"
    )
    assert label.bins == 65 and label.reference[0] == sum(range(36)) and label.reference[1:] == tuple(range(36, 100))
    assert list(label.codes) == [0] * 36 + list(range(1, 65)) and label.levels[0] == "label 036"


def test_no_two_columns_have_one_name():
    taken = {
        "features": [*SCHEMA["features"], {"name": "note#words", "kind": "number"}, {"name": "#tier", "kind": "number"}]
    }
    speed = REFERENCE["features"]["speed"]
    more = REFERENCE | {"features": REFERENCE["features"] | {"note#words": speed, "#tier": speed}}
    names = [column.name for column in Layout.of(more, taken).columns]
    assert len(set(names)) == len(names) and {"note#words", "note#words#", "#tier", "#tier#"} <= set(names)


def test_features_beyond_the_bound_are_counted_and_left_out(monkeypatch):
    monkeypatch.setattr(drift_layout, "MAX_COLUMNS", 2)
    made = layout()
    # The text has two columns, and where it has no room those behind it are left out too: the order is the schema's.
    assert made.unwatched == 3 and [column.name for column in made.columns if column.feature] == ["speed"]


def changed(path, value):
    document = copy.deepcopy(REFERENCE)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["format"], 2, "format"),
        (["rows"], -1, "rows"),
        (["rows"], True, "rows"),
        (["features"], [], "features"),
        (["features", "speed"], ..., "'speed'"),
        (["features", "speed", "kind"], "category", "'speed', kind"),
        (["features", "speed", "edges"], [0.0], "'speed', edges"),
        (["features", "speed", "edges"], [0.0, 1.0, 1.0], "'speed', edges"),
        (["features", "speed", "edges"], [0.0, 1.0, None], "'speed', edges"),
        (["features", "speed", "edges"], [0.0, 1.0, float("nan")], "'speed', edges"),
        (["features", "speed", "edges"], [0, 1, 10**400], "'speed', edges"),
        (["features", "speed", "edges"], list(range(64)), "'speed', edges"),
        (["features", "speed", "counts"], [0, 4, 5], "'speed', counts"),
        (["features", "speed", "counts"], [0, 4, 5, 0.5], "'speed', counts"),
        (["features", "speed", "counts"], [0, 4, 5, 2**60], "'speed', counts"),
        (["features", "speed", "missing"], ..., "'speed', missing"),
        (["features", "colour", "levels"], ["blue", "pink"], "'colour', levels"),
        (["features", "colour", "levels"], ["blue", "blue"], "'colour', levels"),
        (["features", "colour", "levels"], ["blue", ["red"]], "'colour', levels"),
        (["features", "colour", "levels"], "blue", "'colour', levels"),
        (["features", "colour", "counts"], [1], "'colour', counts"),
        (["features", "colour", "other"], ..., "'colour', other"),
        (["features", "note", "edges"], [0, 1, 2], "'note', edges"),
        (["features", "note", "counts"], [1], "'note', counts"),
        (["features", "note", "words"], 3, "'note', words"),
        (["features", "note", "words", "counts"], [1], "'note', words, counts"),
        (["features", "note", "words", "vocabulary"], "AAAA", "'note', words, vocabulary"),
        (["features", "note", "words", "vocabulary"], "?", "'note', words, vocabulary"),
        (["features", "note", "words", "vocabulary"], 7, "'note', words, vocabulary"),
        (["answers"], 1, "answers"),
        (["answers", "held_out"], 1, "answers, held_out"),
        (["answers", "tiers"], ..., "answers, tiers"),
        (["answers", "tiers", "rule"], None, "answers, tiers, rule"),
        (["answers", "label_counts", "labels"], [1, 2], "answers, label_counts, labels"),
        (["answers", "label_counts", "counts"], [1], "answers, label_counts, counts"),
        (["answers", "confidence", "edges"], ["0", "1", "2"], "answers, confidence, edges"),
        (["answers", "confidence", "counts"], [1, 2, 3], "answers, confidence, counts"),
        (["answers", "score"], [], "answers, score"),
        (["answers", "score"], {"kind": "text"}, "answers, score, kind"),
        (["answers", "values"], {}, "answers, values"),
        (["answers", "values"], [{"kind": "number", "edges": [], "counts": [1], "missing": 0}], "answers, values, 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(path, value, named):
    with pytest.raises(BundleError, match="reference.json") as caught:
        Layout.of(changed(path, value), SCHEMA)
    assert named in str(caught.value)
