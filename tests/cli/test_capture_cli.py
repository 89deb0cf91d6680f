"""``edgeml capture`` and its settings: what is exported in which form, what is shown, and what is refused."""

import csv
import io
import json
import time

import pandas
import pytest
from cli.boxes import Box

from edgeml.monitor.capture_file import Captured, CaptureFile

NOW = time.time()


def captured(number, *, model="door", label=None, age=0.0, **record):
    kept = Captured(
        f"id{number}",
        NOW - age,
        model,
        "sha256:" + "a" * 64,
        "1",
        record or {"a": number, "word": 'x,"y"'},
        {"label": "open", "scores": {"open": 0.9, "shut": 0.1}},
        "model",
        0.1,
    )
    return kept, label


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path)
    box.with_releases("1")
    rows = [
        captured(1, age=3 * 86_400),
        captured(2, label="shut", age=7200),
        captured(3, flag=True),
        captured(4, model="gate"),
    ]
    labels = [(row.id, label, NOW) for row, label in rows if label is not None]
    file = CaptureFile(tmp_path / "store" / "capture.db")
    file.write([row for row, _ in rows], labels, day=int(NOW // 86_400))
    return box


def ids(box, *words):
    return [json.loads(line)["id"] for line in box.run("capture", "export", *words).stdout.splitlines()]


def test_records_are_chosen(box):
    assert ids(box) == ["id1", "id2", "id3", "id4"]
    assert ids(box, "--model", "gate") == ["id4"]
    assert ids(box, "--labelled") == ["id2"]
    assert ids(box, "--since", "1d") == ["id2", "id3", "id4"]
    assert ids(box, "--since", "100m", "--model", "door") == ["id3"]
    assert ids(box, "--since", "2020-01-01") == ["id1", "id2", "id3", "id4"]
    assert ids(box, "--since", "2999-01-01T00:00+02:00") == []


def test_a_line_holds_everything(box):
    second = json.loads(box.run("capture", "export").stdout.splitlines()[1])
    assert second == captured(2, age=7200)[0].to_dict() | {"label": "shut", "labelled_at": NOW, "number": 2}


def test_columns_make_a_table(box, tmp_path):
    told = box.json("capture", "export", "--format", "columns", "-o", str(tmp_path / "out.json"))
    assert told == {"records": 4, "file": str(tmp_path / "out.json")}
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o600
    table = pandas.DataFrame(json.loads((tmp_path / "out.json").read_text()))
    assert list(table["record.a"].fillna(-1)) == [1, 2, -1, 4]
    assert list(table["record.flag"].fillna("")) == ["", "", True, ""]
    assert list(table["label"].fillna("")) == ["", "shut", "", ""] and set(table["predicted"]) == {"open"}


def test_columns_are_what_arrow_takes(box):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(json.loads(box.run("capture", "export", "--format", "columns").stdout))
    assert table.num_rows == 4 and table["record.a"].to_pylist() == [1, 2, None, 4]


def test_a_table_of_text(box):
    rows = list(csv.DictReader(io.StringIO(box.run("capture", "export", "--format", "csv").stdout)))
    assert [row["record.word"] for row in rows] == ['x,"y"', 'x,"y"', "", 'x,"y"']
    assert [row["record.flag"] for row in rows] == ["", "", "true", ""]
    assert [(row["id"], row["label"], row["predicted"]) for row in rows][1] == ("id2", "shut", "open")


@pytest.mark.parametrize("form", ["ndjson", "columns", "csv"])
def test_nothing_is_exported_where_nothing_is(tmp_path, form):
    box = Box(tmp_path)
    box.with_releases("1")
    said = box.run("capture", "export", "--format", form).stdout
    assert not said if form == "ndjson" else "id" in said


def test_status_says_what_there_is(box, tmp_path):
    box.run("settings", "--capture", "0.02", "--capture-hash", "word")
    found = box.json("capture", "status")
    assert (found["rows"], found["labelled"], found["capture_share"], found["damaged"]) == (4, 1, 0.02, None)
    assert found["capture_hash"] == ["word"] and found["written_today"] > 0 and found["bytes"] > 0
    assert "4, 1 with their truth" in box.run("capture", "status").stdout
    assert "2.000% of the records" in box.run("settings").stdout


def test_clear_asks_for_yes_and_is_written_down(box, tmp_path):
    assert "--yes" in box.run("capture", "clear", status=2).output
    assert box.json("capture", "clear", "--yes") == {"removed": 4}
    assert ids(box) == [] and box.json("capture", "status")["rows"] == 0
    assert b"open" not in (tmp_path / "store" / "capture.db").read_bytes()
    assert box.store.journal.entries()[0].event.reason == "4 captured records were removed"


def test_a_private_field_that_no_bundle_has_is_told(box):
    said = box.run("settings", "--capture", "0.1", "--capture-exclude", "streeet")
    assert "'streeet'" in said.stderr and "4 records were captured before" in " ".join(said.stderr.split())
    assert "'streeet'" in box.run("capture", "status").stderr
    features = [each["name"] for each in box_features(box)]
    said = box.run("settings", "--capture-open", "streeet", "--capture-exclude", features[0])
    assert "no active bundle" not in said.stderr
    assert box.json("settings")["capture_exclude"] == [features[0]]


def box_features(box):
    from data.generate_bundles import CONFIG

    return CONFIG["schema"]["features"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("settings", "--capture", "1.5"), "capture_share must be a number from 0 to 1"),
        (("settings", "--capture-rows", "0"), "capture_rows"),
        (("settings", "--capture-exclude", "a", "--capture-hash", "a"), "choose one"),
        (("settings", "--capture-open", "a"), "stands in neither"),
        (("settings", "--false-alarm-days", "0"), "false_alarm_days"),
        (("capture", "export", "--since", "yesterday"), "'yesterday' is no moment"),
        (("capture", "export", "--json"), "-o FILE"),
    ],
)
def test_what_is_wrong_is_named(box, words, told):
    assert told in " ".join(box.run(*words, status=2).output.split())


def test_a_damaged_file_is_told_with_what_to_do(box, tmp_path):
    (tmp_path / "store" / "capture.db").write_bytes(b"\xff" * 9000)
    out = tmp_path / "out"
    assert "edgeml capture clear --yes" in box.run("capture", "export", "-o", str(out), status=1).output
    box.run("capture", "clear", "--yes")
    assert ids(box) == []


def test_there_must_be_a_store(tmp_path):
    out = tmp_path / "out"
    out.write_text("mine")
    Box(tmp_path).run("capture", "export", "-o", str(out), status=1)
    assert out.read_text() == "mine"
