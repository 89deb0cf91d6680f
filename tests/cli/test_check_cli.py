"""edgeml check: what is refused and where, what has probably happened, and how a file compares with the reference."""

import csv
import json
import tracemalloc

import pytest
from cli.invoices import bundle, records, write
from cli.shell import run

from edgeml.bundles import Bundle
from edgeml.runtime import predictor_of
from edgeml.runtime.file_check import FileCheck
from edgeml.runtime.record_file import Item


@pytest.fixture(scope="module")
def made():
    return bundle()


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    made.save(folder / "invoices.edgeml")
    return folder


def checked(folder, given, *options, status=0, stdin=None):
    done = run("check", given, "--bundle", "invoices.edgeml", *options, cwd=folder, stdin=stdin)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def report(folder, rows, status=0):
    write(folder / "given.ndjson", rows)
    return json.loads(checked(folder, "given.ndjson", "--json", status=status))


def test_a_file_like_the_reference_is_ok_in_every_format(folder):
    rows = records(1500, 7)
    write(folder / "r.ndjson", rows)
    (folder / "r.json").write_text(json.dumps(rows))
    with (folder / "r.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = [json.loads(checked(folder, name, "--json")) for name in ("r.ndjson", "r.json", "r.csv")]
    said.append(json.loads(checked(folder, "-", "--json", stdin=(folder / "r.ndjson").read_text())))
    assert [each.pop("file") for each in said] == ["r.ndjson", "r.json", "r.csv", "-"]
    assert all(each == said[0] for each in said)
    found = said[0]
    assert found["ok"] and found["records"] == {"read": 1500, "answered": 1500, "refused": 0}
    assert sum(found["tiers"].values()) == 1500 and found["tiers"]["rule"] > 0
    assert {each["level"] for each in found["drift"]["columns"]} == {"none"} and found["findings"] == []
    assert 0.7 < found["quality"]["estimated"]["accuracy"]["value"] < 0.9
    text = checked(folder, "r.csv")
    assert text.rstrip().endswith("\nok") and "1500 answered (rule " in text and "amount" in text


def test_a_shift_is_shown_first_and_is_no_alarm(folder):
    found = report(folder, records(1500, 8, mean=55.0))
    worst = found["drift"]["columns"][0]
    assert (worst["name"], worst["level"]) == ("amount", "drift") and worst["effect"] > 0.5
    assert found["ok"] and not {"latched", "acknowledged", "since"} & worst.keys()
    text = checked(folder, "given.ndjson")
    line = next(line for line in text.splitlines() if line.split()[:1] == ["amount"])
    assert "large" in line and "->" in line and "One look at a file is no alarm" in " ".join(text.split())


def test_what_is_refused_is_named_with_its_lines(folder):
    rows: list = records(200, 9)
    rows[10] = rows[10] | {"amount": "12,5"}
    rows[20] = "{not json"
    rows[30] = rows[30] | {"country": "XX"}
    rows[40] = rows[40] | {"country": "XX"}
    rows[50] = {"amount": None, "age": "x", "country": "DE"}
    found = report(folder, rows, status=1)
    assert not found["ok"] and found["records"] == {"read": 200, "answered": 195, "refused": 5}
    by_reason = {(each["field"], each["code"]): each for each in found["refused"]}
    assert by_reason["country", "unseen_level"]["places"] == ["line 31", "line 41"]
    assert by_reason["country", "unseen_level"]["share"] == pytest.approx(0.01)
    assert by_reason["amount", "wrong_type"]["places"] == ["line 11"]
    assert by_reason["amount", "wrong_type"]["got"] == '"12,5"'
    assert by_reason["amount", "missing"]["places"] == by_reason["age", "wrong_type"]["places"] == ["line 51"]
    assert by_reason["", "invalid_json"]["places"] == ["line 21"]
    assert found["refused"][0]["field"] == "country"
    text = checked(folder, "given.ndjson", status=1)
    assert "line 31, 41" in text and "not ok" in text and "5 refused (2.5%)" in text


def test_places_are_right_beyond_the_first_chunk_and_after_unreadable_lines(folder):
    rows: list = records(2500, 9)
    rows[3] = rows[1999] = "{"
    rows[2100] = rows[2100] | {"age": "x"}
    found = report(folder, rows, status=1)
    assert {each["code"]: each["places"] for each in found["refused"]} == {
        "invalid_json": ["line 4", "line 2000"],
        "wrong_type": ["line 2101"],
    }


def test_a_renamed_field_and_a_changed_unit_are_said(folder):
    rows = [{("Country" if key == "country" else key): value for key, value in row.items()} for row in records(60, 3)]
    found = report(folder, rows, status=1)
    assert found["records"]["refused"] == 60 and found["drift"]["rows"] == 0
    assert [each["text"] for each in found["findings"]] == ["field `country` now arrives as `Country`"]
    assert "no record was answered" in checked(folder, "given.ndjson", status=1)
    found = report(folder, [row | {"amount": row["amount"] * 100} for row in records(500, 3)], status=1)
    assert found["records"]["refused"] == 0 and not found["ok"]
    assert [each["kind"] for each in found["findings"]] == ["unit"] and "100 times" in found["findings"][0]["text"]


def test_an_unknown_field_that_is_passed_over_is_no_reason_to_stop(tmp_path):
    bundle(unknown_fields="count").save(tmp_path / "invoices.edgeml")
    found = report(tmp_path, [row | {"note": 1} for row in records(300, 4)])
    assert found["ok"] and found["unknown"] == {"note": 300}
    assert [each["kind"] for each in found["findings"]] == ["unknown"]


def test_a_bundle_without_a_reference_checks_the_schema_alone(made, tmp_path):
    members = {name: data for name, data in made.members.items() if name != "reference.json"}
    Bundle.create(made.config, members).save(tmp_path / "invoices.edgeml")
    found = report(tmp_path, records(100, 4))
    assert found["ok"] and found["drift"]["columns"] == [] and found["records"]["answered"] == 100
    assert "no drift reference" in checked(tmp_path, "given.ndjson")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing.csv", "nothing.csv cannot be read: No such file or directory"),
        ("r.parquet", "the format is not known by its ending"),
        ("whole.json", "not strict JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(folder, given, said):
    (folder / "r.parquet").write_text("")
    (folder / "whole.json").write_text("[{]")
    done = run("check", given, "--bundle", "invoices.edgeml", cwd=folder)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_an_empty_file_says_so(folder):
    (folder / "empty.ndjson").write_text("")
    assert "holds no record" in checked(folder, "empty.ndjson")


def test_healthy_files_show_no_difference(made):
    levels = []
    for seed in range(40):
        looked = FileCheck(made, predictor_of(made))
        items = iter([Item("record", at, row) for at, row in enumerate(records(1000, 100 + seed))])
        while looked.take(items):
            pass
        levels += [each["level"] for each in looked.report()["drift"]["columns"]]
    # At most one file in a hundred may have one.
    assert len(levels) >= 40 * 5 and sum(level != "none" for level in levels) <= 2


def test_memory_does_not_grow_with_the_file_whatever_names_come(made):
    looked = FileCheck(made, predictor_of(made))

    def items(count, first):
        for at in range(first, first + count):
            good = {"amount": 40.5, "age": 30, "country": "DE"}
            yield Item("record", at, good if at % 2 else good | {f"field {at}": at, "country": f"level {at}"})

    def take(count, first):
        given = items(count, first)
        while looked.take(given):
            pass

    take(10_000, 0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        take(30_000, 10_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Half a chunk's worth of violations alone is more than that.
    assert after - before < 100_000
    found = looked.report()
    assert found["records"] == {"read": 40_000, "answered": 20_000, "refused": 20_000}
    assert len(found["refused"]) <= 210
    assert sum(each["records"] for each in found["refused"] if each["code"] == "unknown_field") == 20_000
