"""edgeml predict, as the shell runs it: the same answers from every format, and bad records by name."""

import csv
import json

import pytest
from cli.shell import run

import edgeml
from edgeml.cli.explained import in_words
from edgeml.runtime.record_file import Item

GOOD = '{"a":1,"b":1,"c":1,"d":1}'
WRONG = '{"a":1,"b":"x","c":1,"d":1}'
TWICE = '{"a":1,"b":1,"c":1,"d":1,"a":2}'


def predicted(folder, text, ending, *options):
    """Status, the lines that came out, and what was said on standard error."""
    (folder / f"given.{ending}").write_text(text)
    done = run("predict", "iris.edgeml", f"given.{ending}", *options, cwd=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_records_from_ndjson_csv_and_json_get_the_same_answers(built):
    rows = [{"a": 5.1, "b": 3.5, "c": 1.4, "d": 0.2}, {"a": 6.1, "b": 2.8, "c": 4.7, "d": 1.2}]
    (built / "r.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (built / "r.json").write_text(json.dumps(rows))
    with (built / "r.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    outputs = set()
    for name in ("r.ndjson", "r.json", "r.csv"):
        done = run("predict", "iris.edgeml", name, cwd=built)
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    (answers,) = outputs
    first, second = map(json.loads, answers.splitlines())
    assert (first["label"], second["label"]) == (0, 1) and first["tier"] == "model" and first["version"] == "7"
    piped = run("predict", "iris.edgeml", "-", cwd=built, stdin=(built / "r.ndjson").read_text())
    assert piped.stdout == answers
    assert run("predict", "iris.edgeml", "r.csv", "-o", "out.ndjson", cwd=built).stdout == ""
    assert (built / "out.ndjson").read_text() == answers


@pytest.mark.parametrize(
    ("text", "ending", "place", "number"),
    [
        (f"{GOOD}\n\n{GOOD}\n{WRONG}\n{GOOD}\n", "ndjson", "line", 4),
        (f"[{GOOD}, {GOOD}, {WRONG}, {GOOD}]", "json", "record", 2),
        ("a,b,c,d\n1,1,1,1\n1,1,1,1\n1,x,1,1\n1,1,1,1\n", "csv", "record", 2),
        ("a,b,c,d\n1,1,1,1\n1,1,1,1\n1,4_0,1,1\n1,1,1,1\n", "csv", "record", 2),
    ],
)
def test_a_record_that_breaks_the_schema_stops_or_is_marked(built, text, ending, place, number):
    status, lines, said = predicted(built, text, ending)
    assert status == 1 and f"{place} {number}, field 'b': wrong_type" in said
    assert [line["tier"] for line in lines] == ["model", "model"]  # the good ones before it
    status, lines, said = predicted(built, text, ending, "--keep-going")
    assert status == 1 and "1 records could not be answered" in said
    assert [line.get("tier") for line in lines] == ["model", "model", None, "model"]
    assert lines[2]["code"] == "schema_violation" and lines[2]["field"] == "b" and lines[2][place] == number
    assert lines[2]["error"].startswith(f"{place} {number}, field 'b'")


@pytest.mark.parametrize(
    ("text", "ending", "place", "number", "code"),
    [
        (f"{GOOD}\n\n{{oops\n{GOOD}\n", "ndjson", "line", 3, "invalid_json"),
        (f"{GOOD}\n{TWICE}\n{GOOD}\n", "ndjson", "line", 2, "invalid_json"),
        ("a,b,c,d\n1,1,1,1\n1,1,1\n1,1,1,1\n", "csv", "record", 1, "bad_format"),
    ],
)
def test_a_record_that_cannot_be_read_stops_or_is_marked(built, text, ending, place, number, code):
    status, lines, said = predicted(built, text, ending)
    assert status == 1 and f"{place} {number}" in said and len(lines) == 1
    status, lines, _ = predicted(built, text, ending, "--keep-going")
    assert status == 1 and [line.get("tier") for line in lines] == ["model", None, "model"]
    assert lines[1]["code"] == code and lines[1][place] == number and "field" not in lines[1]


def test_numbers_go_on_beyond_the_first_chunk(built):
    status, lines, _ = predicted(built, f"{GOOD}\n" * 1500 + f"{WRONG}\n{GOOD}\n{{\n", "ndjson", "--keep-going")
    assert status == 1 and len(lines) == 1503
    assert (lines[1500]["line"], lines[1502]["line"]) == (1501, 1503)
    status, lines, said = predicted(built, f"{GOOD}\n" * 1500 + f"{WRONG}\n{GOOD}\n{{\n", "ndjson")
    assert status == 1 and len(lines) == 1500 and "line 1501" in said


def test_a_header_that_names_a_column_twice_is_refused(built):
    status, lines, said = predicted(built, "a,b,c,d,a\n1,1,1,1,2\n", "csv", "--keep-going")
    assert status == 1 and lines == [] and "names 'a' twice" in said


def test_nothing_is_answered_before_the_golden_rows(penguins_bundle, tmp_path):
    golden = [json.loads(line) for line in penguins_bundle.members["golden.jsonl"].splitlines()]
    for row in golden:
        row["expected"]["tier"] = "fallback"
    wrong = "".join(json.dumps(row) + "\n" for row in golden).encode()
    edgeml.Bundle.create(penguins_bundle.config, penguins_bundle.members | {"golden.jsonl": wrong}).save(
        tmp_path / "iris.edgeml"
    )
    status, lines, said = predicted(tmp_path, json.dumps(golden[0]["record"]), "json")
    assert status == 1 and lines == []
    assert "answers otherwise here" in said and "expected tier fallback" in said


def test_an_unchecked_bundle_is_called_so(built, tmp_path):
    (tmp_path / "given.ndjson").write_text(GOOD)
    done = run("predict", built / "iris.edgeml", "given.ndjson", cwd=tmp_path)
    assert done.stderr == "signatures not checked: no --keyring\n"
    run("keygen", "--out", "key.pem", "--keyring", "keyring.json", cwd=tmp_path)
    run("sign", built / "iris.edgeml", "--key", "key.pem", "--out", "signed.edgeml", cwd=tmp_path)
    done = run("predict", "signed.edgeml", "given.ndjson", "--keyring", "keyring.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and json.loads(done.stdout)["tier"] == "model"


def test_explained_answers_are_read_by_people_or_as_json(built):
    (built / "e.ndjson").write_text(f"{GOOD}\n{WRONG}\n{GOOD}\n")
    read = run("predict", "iris.edgeml", "e.ndjson", "--explain", "--keep-going", cwd=built)
    first, *rest = read.stdout.splitlines()
    assert read.returncode == 1 and first.startswith("line 1: ") and "by the model" in first
    assert "the log of the label's score, less the mean over all labels" in rest[0]
    assert any(line.endswith("  baseline") for line in rest) and any(line.endswith("  a is 1.0") for line in rest)
    assert sum(line.startswith("line 2: ") and "wrong_type" in line for line in rest) == 1
    as_json = run("predict", "iris.edgeml", "e.ndjson", "--explain", "--json", "--keep-going", cwd=built)
    to_file = run("predict", "iris.edgeml", "e.ndjson", "--explain", "-o", "e.out", "--keep-going", cwd=built)
    assert to_file.stdout == "" and (built / "e.out").read_text() == as_json.stdout
    one, two, three = map(json.loads, as_json.stdout.splitlines())
    assert one == three and one["explanation"]["of"] == one["label"] and "explanation" not in two
    plain = run("predict", "iris.edgeml", "e.ndjson", "--keep-going", cwd=built)
    one.pop("explanation")
    assert json.loads(plain.stdout.splitlines()[0]) == one
    refused = run("predict", "iris.edgeml", "e.ndjson", "--json", cwd=built)
    assert refused.returncode == 2 and "--explain" in refused.stderr


def test_an_explained_rule_is_read_by_people(penguins_path, tmp_path):
    gentoo = '{"bill_length_mm":47,"bill_depth_mm":15,"flipper_length_mm":217,"body_mass_g":3700,"island":"Biscoe"}'
    (tmp_path / "g.ndjson").write_text(gentoo + "\n")
    read = run("predict", str(penguins_path), "g.ndjson", "--explain", cwd=tmp_path)
    assert read.returncode == 0 and read.stdout.splitlines() == [
        "line 1: Gentoo, by the rule gentoo-shallow-bill",
        "  bill_depth_mm < 17 and flipper_length_mm > 206",
        "  bill_depth_mm is 15.0",
        "  flipper_length_mm is 217.0",
        "  Gentoos are large and their bills are shallow; no other species comes near both.",
    ]


def test_what_an_explanation_says_in_words():
    said = {
        "rule": "r", "when": "points(3 if p) >= 3 and large", "where": {"large": "x > 2"},
        "values": {"x": None, "island": {"unseen": True}, "t": "ünï"}, "found": {"t": ["ünï"]},
        "cards": [{"terms": [{"points": 3, "if": "p"}], "more": 2, "sum": 5, "needs": ">= 3"}], "reason": "used up",
    }  # fmt: skip
    answer = {"label": "a", "tier": "rule", "scores": {"a": 0.9}, "explanation": said}
    assert in_words(Item("record", 4), answer).splitlines() == [
        "record 4: a (0.9), by the rule r",
        "  points(3 if p) >= 3 and large",
        "  large: x > 2",
        "  x is missing",
        "  island is a level that training has not seen",
        "  t is 'ünï'",
        "  in t: 'ünï'",
        "          +3  p",
        "              and 2 terms more",
        "          +5  points; needed: >= 3",
        "  used up",
    ]
    fallback = {"value": 2.5, "tier": "fallback", "explanation": {"reason": "no_model"}}
    assert in_words(Item("line", 1), fallback) == "line 1: 2.5, by the fallback\n  no_model\n"
