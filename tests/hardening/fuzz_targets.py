"""What ``make fuzz`` throws bytes at: each kernel that reads bytes or arrays of somebody else.

A target takes bytes and comes back. It may refuse them with the error that it is documented to raise; where it takes
them, a slow oracle has to agree, as far as there is one. Everything else is a finding, and so is each byte outside of
its memory, which the sanitizer sees.

Run by ``fuzz.py`` as ``python fuzz_targets.py NAME [libFuzzer's arguments]``; as ``python fuzz_targets.py NAME FILE``
it asks one input again.
"""

from __future__ import annotations

import json
import struct
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import atheris
import numpy as np
from fuzz_models import native
from fuzz_numbers import far, floats, ints
from fuzz_pictures import picture_files, picture_program, picture_specs, seeds
from fuzz_rules import rule_documents
from oracles.frame_oracle import NotStrict, read_records, rows_of, strict_json
from oracles.rule_oracle import text_truth

from edgeml.errors import EdgemlError
from edgeml.kernels.drift_counters import DriftCounters
from edgeml.kernels.features import Program
from edgeml.kernels.frame import Frame, FrameReader
from edgeml.kernels.histogram import Histogram
from edgeml.kernels.http_front import decode_chunks, parse_head
from edgeml.kernels.quality_counters import QualityCounters
from edgeml.kernels.rules import KINDS, RuleProgram
from edgeml.kernels.texts import ACCENTS, ANALYZERS, BEYOND_ASCII, STEPS, UNICODE, TextEncoder, Vectorizers, normalized
from edgeml.runtime.onnx_scan import scan
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

Target = Callable[[bytes], None]
ANY = float("inf")
FIELDS = (
    ("x", 0, -ANY, ANY, True, False, (), 0),
    ("n", 1, -10.0, 10.0, True, False, (), 0),
    ("b", 2, -ANY, ANY, True, False, (), 0),
    ("c", 3, -ANY, ANY, True, True, ("red", "blue", "größe"), 0),
    ("t", 4, -ANY, ANY, True, False, (), 40),
)
SCHEMA = Schema.from_dict(
    {
        "features": [
            {"name": "x", "kind": "number", "missing": "allow"},
            {"name": "n", "kind": "integer", "min": -10, "max": 10, "missing": "allow"},
            {"name": "b", "kind": "boolean", "missing": "allow"},
            {"name": "c", "kind": "category", "levels": ["red", "größe"], "unseen": "allow", "missing": "allow"},
            {"name": "t", "kind": "text", "max_bytes": 40, "missing": "allow"},
        ]
    }
)
HEAD = b"POST /v1/predict?x=%20 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
RECORD = b'{"x":1.5e3,"n":-3,"b":true,"c":"blue","t":"a \\u00e9\\n word"}'


def _filled() -> Frame:
    reader = FrameReader(FIELDS)
    frame = reader.new_frame(2)
    records = [
        {"x": 1.0, "n": 2, "b": True, "c": "red", "t": "some words"},
        {"x": None, "n": None, "b": None, "c": "?", "t": None},
    ]
    assert reader.read_many(frame, records) == 0
    return frame


FRAME = _filled()


def json_records() -> Target:
    """The body of a records request; what is taken must mean what Python's reader says."""
    reader = RecordReader(SCHEMA, max_rows=50)

    def target(data: bytes) -> None:
        frame = reader.new_frame(1)
        try:
            envelope = reader.read_json(frame, data)
        except EdgemlError:
            return
        document = dict(strict_json(data, 64))
        rows, violations = read_records(SCHEMA, document["records"])
        assert bool(violations) == bool(envelope.violations) and rows == rows_of(SCHEMA, frame), (data, rows)

    return target


def json_record() -> Target:
    """One JSON object, as a line of NDJSON holds it."""
    reader = RecordReader(SCHEMA)

    def target(data: bytes) -> None:
        frame = reader.new_frame(1)
        try:
            reader.read_json_record(frame, data)
        except EdgemlError:
            return
        rows, violations = read_records(SCHEMA, [strict_json(data, 64)])
        assert not violations and rows == rows_of(SCHEMA, frame), (data, rows)

    return target


def json_numbers() -> Target:
    """A flat array of numbers, as a tensor's data."""
    reader = FrameReader(tuple((f"x{i}", 0, -ANY, ANY, True, False, (), 0) for i in range(3)))

    def target(data: bytes) -> None:
        frame = reader.new_frame(1)
        if not reader.read_json_numbers(frame, data, False):
            return
        try:
            expected = list(strict_json(data))
        except NotStrict as error:
            raise AssertionError(data) from error
        assert [frame.number_column(j)[0] for j in range(3)] == [float(x) for x in expected], data

    return target


def features() -> Target:
    """A feature program: what is made runs."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        operations = ints(given, 8 * given.ConsumeIntInRange(0, 6)).reshape(-1, 8)
        index, constants = ints(given, given.ConsumeIntInRange(0, 8)), floats(given, given.ConsumeIntInRange(0, 12))
        try:
            program = Program(
                operations, index, constants, n_numbers=3, n_categories=1,
                n_registers=given.ConsumeIntInRange(0, 8), n_codes=given.ConsumeIntInRange(0, 3),
                n_outputs=given.ConsumeIntInRange(0, 4), double_door=given.ConsumeBool(),
            )  # fmt: skip
        except ValueError:
            return
        from edgeml.kernels.features import Encoder

        encoder = Encoder(program)
        dtype = np.float64 if program.double_door else np.float32
        encoder.encode(FRAME.capsule, np.zeros((2, program.n_outputs), dtype=dtype))
        encoder.encode(FRAME.capsule, np.zeros((1, program.n_outputs), dtype=dtype), np.array([1], dtype=np.int64))

    return target


def rules() -> Target:
    """A compiled rule list: what is made ends, on every row."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        strings = given.ConsumeBytes(8)
        try:
            program = RuleProgram(
                start=given.ConsumeIntInRange(-3, 3),
                code=ints(given, 7 * given.ConsumeIntInRange(0, 8), -4, len(KINDS)),
                constants=floats(given, given.ConsumeIntInRange(0, 6)),
                codes=ints(given, given.ConsumeIntInRange(0, 4), -2, 70),
                strings=strings,
                offsets=np.sort(ints(given, given.ConsumeIntInRange(1, 4), 0, len(strings))).astype(np.int64),
                n_rules=given.ConsumeIntInRange(0, 3),
                n_numbers=3,
                n_categories=1,
                n_texts=1,
                scans=ints(given, 4 * given.ConsumeIntInRange(0, 3), -1, 7),
                patterns=ints(given, given.ConsumeIntInRange(0, 4), -1, 4),
                weights=floats(given, given.ConsumeIntInRange(0, 4)),
            )
        except ValueError:
            return
        program.match_one(FRAME.capsule)
        program.match(FRAME.capsule, np.zeros(2, dtype=np.int32))

    return target


def texts() -> Target:
    """Words and parts that a text is searched for all at once; each is found where a slow search finds it."""
    schema = Schema.from_dict({"features": [{"name": "t", "kind": "text"}]})
    reader = RecordReader(schema)
    hows = ("contains word", "contains word", "contains", "contains")

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        kind = given.ConsumeIntInRange(0, 3)
        patterns = [
            given.ConsumeUnicodeNoSurrogates(given.ConsumeIntInRange(1, 12))
            for _ in range(given.ConsumeIntInRange(1, 5))
        ]
        text = given.ConsumeUnicodeNoSurrogates(300)
        frame = reader.new_frame()
        if reader.read(frame, {"t": text}):
            return
        raw = [pattern.encode() for pattern in patterns]
        for number, pattern in enumerate(patterns):
            try:
                program = RuleProgram(
                    start=0,
                    code=np.array([KINDS.index("text_found"), 0, 0, number, 1, -2, -1], dtype=np.int32),
                    constants=np.zeros(0),
                    codes=np.zeros(0, dtype=np.int32),
                    strings=b"".join(raw),
                    offsets=np.cumsum([0, *map(len, raw)], dtype=np.int64),
                    n_rules=1,
                    n_numbers=0,
                    n_categories=0,
                    n_texts=1,
                    scans=np.array([kind, 0, 0, len(raw)], dtype=np.int32),
                    patterns=np.arange(len(raw), dtype=np.int32),
                )
            except ValueError:
                return
            found = program.match_one(frame.capsule) == 0
            assert found == text_truth(text, hows[kind], pattern, kind % 2 == 1), (kind, patterns, text)

    return target


def drift() -> Target:
    """A drift layout: what is made counts."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        try:
            counters = DriftCounters(
                columns=ints(given, 8 * given.ConsumeIntInRange(0, 4), -1, 20),
                edges=floats(given, given.ConsumeIntInRange(0, 10)),
                codes=given.ConsumeBytes(given.ConsumeIntInRange(0, 20)),
                size=given.ConsumeIntInRange(0, 60),
                n_sums=given.ConsumeIntInRange(0, 3),
                label_values=np.arange(given.ConsumeIntInRange(0, 3), dtype=np.int64),
                rule_labels=ints(given, given.ConsumeIntInRange(0, 3), -1, 4),
                fallback_label=given.ConsumeIntInRange(-1, 3),
            )
        except (ValueError, OverflowError):
            return
        tiers = np.array([given.ConsumeIntInRange(0, 3), 0], dtype=np.uint8)
        rule_index = np.array([-1, 0], dtype=np.int32)
        labels, scores = np.array([0, -1], dtype=np.int64), np.array([[0.2, 0.8], [np.nan, np.nan]])
        try:
            counters.observe(FRAME.capsule, tiers=tiers, rule_index=rule_index, label_index=labels, scores=scores)
        except ValueError:
            return
        counters.snapshot()

    return target


def histogram() -> Target:
    """A histogram as another process sends it; what is taken is written as it came."""

    def target(data: bytes) -> None:
        try:
            made = Histogram.from_bytes(data)
        except ValueError:
            return
        assert made.to_bytes() == data
        made.percentile(99.0)
        Histogram().merge(made)

    return target


def quality() -> Target:
    """Labels, rules and calibration of a bundle's quality reference, however many there are."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        labels = [f"l{i}" for i in range(given.ConsumeIntInRange(0, 300))]
        maps = [
            (
                sorted(floats(given, given.ConsumeIntInRange(0, 4)).tolist()),
                np.abs(floats(given, given.ConsumeIntInRange(0, 5))).tolist(),
            )
            for _ in range(given.ConsumeIntInRange(0, 4))
        ]
        try:
            counters = QualityCounters(
                labels, ["r"], given.ConsumeBytes(4), scored=given.ConsumeBool(), calibration=maps or None
            )
        except ValueError:
            return
        if labels:
            scores = dict(zip(labels, floats(given, len(labels)).tolist(), strict=True))
            counters.count_model(labels[-1], scores)
            counters.id_of_model(labels[0], scores)
        counters.count_rule("r")
        counters.counts()

    return target


def onnx_model() -> Target:
    """The bytes of a model, looked through before ONNX Runtime sees them."""

    def target(data: bytes) -> None:
        try:
            scan(data)
        except EdgemlError:
            return

    return target


def _pieces(given: Any, data: bytes) -> list[bytes]:
    """The same bytes, as a network may cut them."""
    cuts = sorted(given.ConsumeIntInRange(0, len(data)) for _ in range(given.ConsumeIntInRange(0, 4)))
    return [data[low:high] for low, high in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def http_head() -> Target:
    """The head of a request: however it is cut, it means the same, and a good one keeps what it promises."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data[:16])
        head = data[16:]
        whole, cut = parse_head([head]), parse_head(_pieces(given, head))
        assert whole == cut, (head, whole, cut)
        size, environ = whole
        if size > 0:
            assert head[:size].endswith(b"\r\n\r\n") and not (environ["chunked"] and environ["length"] >= 0), head
            # What stands percent-encoded in a path may be anything.
            values = [each for key, each in environ.items() if isinstance(each, str) and key != "PATH_INFO"]
            assert not any(set(value) & set("\r\n\0") for value in values), head

    return target


def http_chunks() -> Target:
    """A chunked body: however it is cut it has the same bytes."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data[:16])
        body = data[16:]
        whole, cut = decode_chunks([body], 1000), decode_chunks(_pieces(given, body), 1000)
        assert whole[0] == cut[0] and (whole[0] < 0 or whole[1] == cut[1]), (body, whole, cut)
        if whole[0] == 1:
            assert whole[2] == cut[2] and len(whole[1]) + len(whole[2]) < len(body)

    return target


_RANGES = {
    "text": (-1, 1), "slots": (-1, 6), "stops": (-1, 3), "shortest_token": (0, 3), "first": (-1, 3), "index": (-1, 3),
    "shortest": (0, 3),
}  # fmt: skip
_FLAGS = ("lowercase", "bounded", "binary", "hashed", "alternate")


def _vectorizer(given: Any) -> dict[str, Any]:
    steps = [
        (given.PickValueInList(list(STEPS)), int(ints(given, 1)[0]), far(given, -1, 8))
        for _ in range(given.ConsumeIntInRange(0, 3))
    ]
    spec = {name: far(given, *ends) for name, ends in _RANGES.items()} | {name: given.ConsumeBool() for name in _FLAGS}
    return spec | {
        "steps": steps,
        "analyzer": given.PickValueInList(list(ANALYZERS)),
        "accents": given.PickValueInList(list(ACCENTS)),
        "ascii": given.PickValueInList(["0" * 128, "1" * 128, "0" * 48 + "1" * 75 + "0" * 5]),
        "beyond_ascii": given.PickValueInList(list(BEYOND_ASCII)),
        "longest": given.PickValueInList([1, 1, 2, 3, 4, 40, 1024]),
    }


def vectorizers() -> Target:
    """Vectorizers of hostile settings over any text; lower case and accents are held to Python's own."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        # Several of them share the index, the constants and the columns.
        specs = [_vectorizer(given) for _ in range(given.ConsumeIntInRange(1, 3))]
        index, constants = ints(given, given.ConsumeIntInRange(0, 6)), floats(given, given.ConsumeIntInRange(0, 8))
        places, width = ints(given, given.ConsumeIntInRange(0, 2)), given.ConsumeIntInRange(0, 9)
        terms = np.frombuffer(given.ConsumeBytes(given.ConsumeIntInRange(0, 24)), dtype=np.uint8)
        text = given.ConsumeUnicodeNoSurrogates(200)
        lower = normalized(text.encode(), lowercase=True)
        # A newer Python may know letters that the tables do not.
        if unicodedata.unidata_version == UNICODE:
            assert lower.decode() == text.lower(), text
        try:
            made = Vectorizers(specs, terms, constants, index, places, n_texts=1, width=width)
        except (ValueError, OverflowError):
            return
        encoder = TextEncoder(
            made,
            dense_encoder=_Nothing(),
            make_dense=lambda rows: np.zeros((rows, made.n_dense)),
        )
        frame = Frame(0, 0, 1, 1)
        reader = FrameReader((("t", 4, -ANY, ANY, True, False, (), 10_000),))
        assert reader.read_many(frame, [{"t": text}]) == 0
        out, bound = np.zeros((1, encoder.n_outputs)), np.zeros((1, encoder.n_outputs))
        encoder.encode(frame.capsule, out)
        encoder.bind(bound)
        for _ in range(2):
            encoder.encode_bound(frame.capsule)
            np.testing.assert_array_equal(bound, out)

    return target


class _Nothing:
    """An encoder of no columns."""

    refused: list[int] = []

    def bind(self, _out: object) -> None:
        pass

    def encode(self, _capsule: object, _out: object = None, _rows: object = None) -> int:
        return 0

    encode_bound = encode


# Name -> target, and inputs to begin with.
TARGETS: dict[str, tuple[Callable[[], Target], list[bytes]]] = {
    "json_records": (json_records, [b'{"records":[' + RECORD + b'],"id":"a","partial":true}', b'{"records":[{}]}']),
    "json_record": (json_record, [RECORD, b"{}", b'{"x":null,"c":"gr\xc3\xb6\xc3\x9fe"}']),
    "json_numbers": (json_numbers, [b"[1.5, -2, 3e-7]", b"[0,null,1]"]),
    "features": (features, [bytes(range(256))]),
    "native": (native, [bytes(range(256))]),
    "rules": (rules, [bytes(range(256))]),
    "rule_documents": (lambda: rule_documents(SCHEMA), [bytes(range(256))]),
    "texts": (texts, [bytes(range(256)), "Größe, free money ΣΊΣΥΦΟΣ".encode()]),
    "drift": (drift, [bytes(range(256))]),
    "histogram": (histogram, [Histogram().to_bytes()]),
    "quality": (quality, [struct.pack("<16d", *range(16))]),
    "http_head": (
        http_head,
        [bytes(16) + HEAD, bytes(16) + HEAD.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")],
    ),
    "http_chunks": (http_chunks, [bytes(16) + b"5 ;a=b\r\nhello\r\n0\t\r\nx: y\r\n\r\nrest"]),
    "vectorizers": (vectorizers, [bytes(range(256)), "ΣΊΣΥΦΟΣ Ångström".encode() * 8]),
    "picture_files": (picture_files, seeds()),
    "picture_specs": (picture_specs, [bytes(range(256))]),
    "picture_program": (picture_program, [bytes(range(256))]),
    "onnx_model": (onnx_model, [b"\x08\x08:\x10\n\x06\x12\x01y\x22\x01A"]),
}


def main() -> None:
    """Fuzzes one target, or asks it one input."""
    name = sys.argv[1]
    make, _ = TARGETS[name]
    target = make()
    if len(sys.argv) == 3 and Path(sys.argv[2]).is_file():
        target(Path(sys.argv[2]).read_bytes())
        print(json.dumps({"target": name, "input": sys.argv[2], "outcome": "came back"}))
        return
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
