"""Records from files: the same records whatever the format, clear errors with the line."""

import io

import pytest

from edgeml.errors import RequestError
from edgeml.runtime.record_file import format_of, read_chunks
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


def read(data: bytes, form: str, size: int = 1000):
    return list(read_chunks(io.BytesIO(data), form, SCHEMA, size=size))


@pytest.mark.parametrize(
    ("data", "form"), [(CSV, "csv"), (NDJSON, "ndjson"), (JSON, "json"), (b'{"records":' + JSON + b"}", "json")]
)
def test_formats_agree(data, form):
    assert [record for _, chunk in read(data, form) for record in chunk] == RECORDS


def test_chunks_name_their_first_line():
    assert [(first, len(chunk)) for first, chunk in read(NDJSON, "ndjson", size=1)] == [(1, 1), (3, 1)]
    assert [first for first, _ in read(CSV, "csv", size=1)] == [2, 3]


def test_what_is_no_number_is_left_to_the_schema():
    assert read(b"amount,count\nmany,2.5\n", "csv")[0][1] == [{"amount": "many", "count": 2.5}]


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (b'{"amount": 1}\n{"amount": \n', "ndjson", "line 2 is not JSON"),
        (b"[1, 2", "json", "not JSON"),
        (b"3", "json", "array of records"),
        (b"amount,count\n1\n", "csv", "line 2 has 1 cells, the header has 2"),
        (b"amount\n\xff\n", "csv", "UTF-8"),
    ],
)
def test_bad_files_name_the_line(data, form, message):
    with pytest.raises(RequestError, match=message):
        read(data, form)


def test_empty_files_hold_no_records():
    assert read(b"", "csv") == read(b"", "ndjson") == read(b"[]", "json") == []


def test_format_by_ending():
    assert [format_of(name) for name in ("a.json", "a.JSONL", "a.ndjson", "b.csv")] == [
        "json",
        "ndjson",
        "ndjson",
        "csv",
    ]
    with pytest.raises(RequestError, match="one of json, ndjson, csv"):
        format_of("a.xlsx")
