"""The frame kernel's limits, its memory, and threads."""

import gc
import json
import math
import threading

import pytest
from oracles.frame_samples import MUTATED, columns, fresh

from edgeml.kernels.frame import Frame, FrameReader
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Feature, Schema


def test_violations_are_bounded_but_each_bad_record_has_one():
    schema = Schema(tuple(Feature(name=f"x{j}", kind="number") for j in range(4)))
    kernel = RecordReader(schema, max_violations=10)._kernel
    frame = kernel.new_frame()
    assert kernel.read_many(frame, [{}] * 50) == 200
    for read in (
        lambda: kernel.read_many(frame, [{}] * 50),
        lambda: kernel.read_json(frame, json.dumps({"records": [{}] * 50}).encode(), 50),
    ):
        read()
        assert frame.n_violations == 200
        assert {row for row, *_ in frame.violations} == set(range(50))
        assert len(frame.violations) < 70


def test_unknown_names_are_bounded():
    kernel, frame = fresh(Schema((Feature(name="a", kind="number", missing="allow"),), unknown_fields="count"))
    kernel.read_many(frame, [{f"n{i}": 1} for i in range(500)])
    body = json.dumps({"records": [{f"m{i}": 1, "n0": 2} for i in range(500)]}).encode()
    assert kernel.read_json(frame, body, 500) == 0
    counts = kernel.unknown_counts()
    assert len(counts) <= 65
    assert sum(counts.values()) == 1500
    assert counts["n0"] == 501


def test_a_view_holds_the_frame_still():
    kernel, frame = fresh(Schema((Feature(name="a", kind="number"),)))
    kernel.read(frame, {"a": 1.0})
    view = frame.number_column(0)
    with pytest.raises(BufferError):
        frame.reserve(1000)
    with pytest.raises(BufferError):
        kernel.read_json(frame, b'{"records":[{"a":1},{"a":2}]}', 9)
    view[0] = 7.0
    assert frame.n_rows == 0 or frame.number_column(0)[0] == 7.0
    del view
    frame.reserve(1000)
    assert frame.capacity == 1000
    assert kernel.read_json(frame, b'{"records":[{"a":1},{"a":2}]}', 9) == 0


def test_the_capsule_outlives_the_frame():
    kernel, frame = fresh(MUTATED)
    kernel.read(frame, {"a": 1.0})
    capsule, view = frame.capsule, frame.number_column(0)
    assert capsule is frame.capsule
    del frame
    gc.collect()
    assert view[0] == 1.0
    assert "edgeml.frame.v1" in repr(capsule)


def test_frames_of_other_schemas_are_refused():
    kernel, _ = fresh(MUTATED)
    with pytest.raises(ValueError, match="another schema"):
        kernel.read(Frame(1, 0, 0), {})
    with pytest.raises(TypeError):
        kernel.read(None, {})
    for arguments in ((-1, 0, 0), (0, 0, 1 << 40), (1, 1, 1, 0)):
        with pytest.raises(ValueError):
            Frame(*arguments)
    with pytest.raises(IndexError):
        Frame(1, 1, 1).number_column(1)
    with pytest.raises(IndexError):
        Frame(1, 1, 1).text(0, 0)


def test_a_reader_checks_its_fields():
    good = ("a", 0, -math.inf, math.inf, False, False, (), 0)
    with pytest.raises(ValueError, match="stands twice"):
        FrameReader((good, good))
    with pytest.raises(ValueError, match="unknown kind"):
        FrameReader((("a", 5, 0.0, 0.0, False, False, (), 0),))
    with pytest.raises(ValueError, match="stands twice"):
        FrameReader((("a", 3, 0.0, 0.0, False, False, ("x", "x"), 0),))


def test_many_levels_are_all_found():
    levels = tuple(f"level {i}" for i in range(20_000)) + ("", "\x00", "é" * 50)
    schema = Schema((Feature(name="a", kind="category", levels=levels),))
    kernel, frame = fresh(schema)
    assert columns(kernel, frame, list(levels)) == 0
    assert list(frame.code_column(0)) == list(range(len(levels)))
    assert kernel.read_json(frame, json.dumps({"records": [{"a": level} for level in levels]}).encode(), 1 << 20) == 0
    assert list(frame.code_column(0)) == list(range(len(levels)))


def test_a_record_that_changes_while_it_is_read():
    class Vanishing:
        __slots__ = ("record",)

        def __init__(self, record):
            self.record = record

        @property
        def __class__(self):
            self.record.clear()
            return float

    schema = Schema(tuple(Feature(name=name, kind="number", missing="allow") for name in "abc"))
    kernel, frame = fresh(schema)
    record = {}
    record |= {"a": Vanishing(record), "b": 1.0, "c": 2.0}
    kernel.read(frame, record)
    assert frame.n_violations >= 0


def test_threads_share_a_reader_but_not_a_frame():
    kernel, _ = fresh(MUTATED)
    body = json.dumps({"records": [{"a": i, "b": "x", "c": True, "t": "word"} for i in range(3000)]}).encode()
    answers = []

    def work():
        frame = kernel.new_frame()
        for _ in range(5):
            answers.append((kernel.read_json(frame, body, 3000), sum(frame.number_column(0))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(0, 2999 * 1500.0)] * 20
