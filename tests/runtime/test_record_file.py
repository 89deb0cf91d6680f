"""Records from files: the same records whatever the format, and each error under the name of its record."""

import io
import re

import pytest

from edgeml.errors import RequestError
from edgeml.runtime.record_file import RecordFile, format_of
from edgeml.runtime.schema import Schema

SCHEMA = Schema.from_dict(
    {
        "features": [
            {"name": "amount", "kind": "number", "missing": "allow"},
            {"name": "count", "kind": "integer", "missing": "allow"},
            {"name": "new", "kind": "boolean", "missing": "allow"},
            {"name": "country", "kind": "category", "levels": ["NO", "SE"], "missing": "allow"},
        ],
        "unknown_fields": "reject",
        "layout": "record",
    }
)
RECORDS = [
    {"amount": 1.5, "count": 3, "new": True, "country": "NO"},
    {"amount": None, "count": None, "new": None, "country": None},
]
CSV = b"amount,count,new,country\n1.5,3,true,NO\n,,,\n"
NDJSON = (
    b'{"amount":1.5,"count":3,"new":true,"country":"NO"}\n\n{"amount":null,"count":null,"new":null,"country":null}\n'
)
JSON = b"[" + NDJSON.replace(b"\n\n", b",").strip() + b"]"


def read(data: bytes, form: str):
    return list(RecordFile(io.BytesIO(data), form, SCHEMA))


@pytest.mark.parametrize(
    ("data", "form"), [(CSV, "csv"), (NDJSON, "ndjson"), (JSON, "json"), (b'{"records":' + JSON + b"}", "json")]
)
def test_formats_agree(data, form):
    assert [item.record for item in read(data, form)] == RECORDS


def test_a_record_is_called_by_its_line_or_its_index():
    assert [item.place for item in read(NDJSON, "ndjson")] == ["line 1", "line 3"]
    assert [item.place for item in read(CSV, "csv")] == ["record 0", "record 1"]
    assert [item.place for item in read(b"amount\n\n1\n\n2\n", "csv")] == ["record 0", "record 1"]
    assert [item.place for item in read(JSON, "json")] == ["record 0", "record 1"]


@pytest.mark.parametrize("text", ["many", "4_0", "nan", "NaN", "inf", "-Infinity", "+1", ".5", "5.", " 1", "01"])
def test_what_json_does_not_call_a_number_is_left_to_the_schema(text):
    assert read(f"amount,count\n{text},{text}\n".encode(), "csv")[0].record == {"amount": text, "count": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.5", 2.5), ("-0", 0), ("40", 40), ("-1.5E-2", -0.015), ("9" * 5000, "9" * 5000)],
)
def test_numbers_as_json_writes_them(text, value):
    assert read(f"amount\n{text}\n".encode(), "csv")[0].record == {"amount": value}


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (b'{"amount": 1}\n\n{"amount": \n{"amount": 2}\n', "ndjson", "line 3 is not strict JSON"),
        (b'{"amount": 1}\n{"amount": 2, "amount": 3}\n{"amount": 2}\n', "ndjson", "line 2 .*amount"),
        (b'{"amount": 1}\n{"amount": NaN}\n{"amount": 2}\n', "ndjson", "line 2 .*NaN"),
        (b'{"amount": 1}\n' + b"[" * 100 + b"\n{}\n", "ndjson", "line 2 is nested deeper"),
        (b"amount,count\n1,2\n1\n2,3\n", "csv", "record 1 has 1 cells, the header has 2"),
        (b"amount,country\n1,NO\n2,\xff\n2,SE\n", "csv", "record 1 is not UTF-8"),
        (b'amount,country\n1,NO\n2,"a"b\n2,SE\n', "csv", "record 1 is not CSV"),
    ],
)
def test_a_bad_record_is_named_and_the_next_one_follows(data, form, message):
    first, bad, last = read(data, form)
    assert first.error is None and last.error is None and isinstance(last.record, dict)
    assert re.match(message, str(bad.error)) and bad.record is None


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (b"[1, 2", "json", "the file is not strict JSON"),
        (b'[{"amount": 1, "amount": 2}]', "json", "amount"),
        (b"3", "json", "array of records"),
        (b"amount,count,amount\n1,2,3\n", "csv", "the header names 'amount' twice"),
        (b'"amount\n', "csv", "the header is not CSV"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_refused(data, form, message):
    with pytest.raises(RequestError, match=message):
        read(data, form)


def test_empty_files_hold_no_records():
    assert read(b"", "csv") == read(b"", "ndjson") == read(b"[]", "json") == []


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    assert read(b"\xef\xbb\xbfamount\n1\n", "csv")[0].record == {"amount": 1}


@pytest.mark.parametrize(("data", "form"), [(CSV, "csv"), (NDJSON, "ndjson"), (JSON, "json")])
def test_bytes_are_counted_as_they_are_read(data, form):
    file = RecordFile(io.BytesIO(data), form, SCHEMA)
    counted = [file.bytes_read for _ in file]
    assert counted == sorted(counted) and counted[0] > 0 and file.bytes_read == len(data)
    if form != "json":
        assert counted[0] < counted[-1]


def test_format_by_ending():
    assert [format_of(name) for name in ("a.json", "a.JSONL", "a.ndjson", "b.csv")] == [
        "json",
        "ndjson",
        "ndjson",
        "csv",
    ]
    with pytest.raises(RequestError, match="one of json, ndjson, csv"):
        format_of("a.xlsx")
