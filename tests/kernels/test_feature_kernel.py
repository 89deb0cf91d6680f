"""The feature program's kernel: random programs against a slow oracle, hostile programs, shapes, threads."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.feature_oracle import run

from edgeml.errors import BundleError
from edgeml.kernels.features import OPERATIONS, Encoder, Program
from edgeml.kernels.frame import Frame
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

N_NUMBERS, N_CATEGORIES, LEVELS = 4, 2, ("a", "b", "c")
SCHEMA = Schema.from_dict(
    {
        "features": [{"name": f"n{j}", "kind": "number", "missing": "allow"} for j in range(N_NUMBERS)]
        + [{"name": f"c{j}", "kind": "category", "levels": list(LEVELS)} for j in range(N_CATEGORIES)]
    }
)
VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.0, math.nan, 0.5, 1e300, -0.0]), st.floats(-1e6, 1e6, allow_nan=False)
)
CODES = st.integers(-2, len(LEVELS) - 1)


def frame_with(numbers: list[list[float]], codes: list[list[int]]) -> Frame:
    """A frame of these values; codes may also be what no reading would give."""
    reader = RecordReader(SCHEMA)
    frame = reader.new_frame(len(numbers))
    record = {f"n{j}": 0.0 for j in range(N_NUMBERS)} | {f"c{j}": "a" for j in range(N_CATEGORIES)}
    reader.read_many(frame, [record] * len(numbers))
    for j in range(N_NUMBERS):
        np.asarray(frame.number_column(j))[:] = [row[j] for row in numbers]
    for j in range(N_CATEGORIES):
        np.asarray(frame.code_column(j))[:] = [row[j] for row in codes]
    return frame


@st.composite
def programs(draw):
    """A valid program; each operation writes new registers, or, column by column, those that it reads."""
    operations, index, constants = [], [], []

    def pool(values):
        constants.extend(values)
        return len(constants) - len(values)

    n_registers = 12
    coded = [draw(st.booleans()), draw(st.booleans())]
    operations.append({"op": "constant", "to": 0, "count": n_registers, "constant": pool([0.0] * n_registers)})
    operations.append({"op": "load", "to": 0, "count": N_NUMBERS, "index": 0})
    index += draw(st.lists(st.integers(0, N_NUMBERS - 1), min_size=N_NUMBERS, max_size=N_NUMBERS))
    for code, wanted in enumerate(coded):
        if wanted:
            known = sorted(draw(st.sets(st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5]), min_size=1)))
            operations.append(
                {"op": "categorize", "to": code, "from": code, "count": 1, "extra": len(known), "constant": pool(known)}
            )
    sources = [0, 1] + [N_CATEGORIES + code for code, wanted in enumerate(coded) if wanted]
    for _ in range(draw(st.integers(0, 8))):
        op = draw(
            st.sampled_from(
                "table constant pick add subtract multiply divide clip fill replace is_missing equals above "
                "product bin matrix refuse".split()
            )
        )
        count = draw(st.integers(1, 3))
        first = draw(st.integers(0, n_registers - count))
        o = {"op": op, "to": n_registers, "from": first, "count": count}
        if op in ("table", "refuse"):
            size = draw(st.integers(2, 6))
            values = draw(
                st.lists(st.sampled_from([0.0, 0.0, 1.0]) if op == "refuse" else VALUES, min_size=size, max_size=size)
            )
            o |= {"from": draw(st.sampled_from(sources)), "count": 1, "size": size, "constant": pool(values)}
        elif op in ("pick", "product"):
            need = count * (2 if op == "product" else 1)
            o["index"] = len(index)
            index += draw(st.lists(st.integers(0, n_registers - 1), min_size=need, max_size=need))
        elif op == "bin":
            edges = sorted(draw(st.lists(st.floats(-10, 10), max_size=5)))
            o |= {"count": 1, "extra": len(edges), "constant": pool(edges)}
        elif op == "matrix":
            width = draw(st.integers(1, 3))
            o["extra"] = width
            o["constant"] = pool(draw(st.lists(st.floats(-3, 3), min_size=count * width, max_size=count * width)))
        elif op != "is_missing":
            each = 2 if op in ("clip", "replace") else 1
            values = draw(st.lists(VALUES.filter(lambda x: x == x), min_size=count * each, max_size=count * each))
            if op == "clip":
                values = [bound for pair in zip(values[::2], values[1::2], strict=True) for bound in sorted(pair)]
            o["constant"] = pool(values)
            if draw(st.booleans()):
                o["to"] = first
        operations.append(o)
        n_registers += 3
        operations.append({"op": "constant", "to": n_registers - 3, "count": 3, "constant": pool([0.0] * 3)})
        operations[-2:] = [operations[-1], operations[-2]]
    size = len(LEVELS) + 2
    operations.append({"op": "emit", "from": 0, "count": n_registers, "extra": 0})
    operations.append(
        {
            "op": "emit_table",
            "from": 0,
            "count": 1,
            "extra": n_registers,
            "size": size,
            "constant": pool(draw(st.lists(VALUES, min_size=size, max_size=size))),
        }
    )
    ones = [n_registers + 1 + i for i in range(size)]
    operations.append({"op": "emit_one", "from": 1, "count": 1, "size": size, "index": len(index)})
    index += ones
    return operations, index, constants, n_registers, n_registers + 1 + size


def made(program) -> FeatureProgram:
    operations, index, constants, n_registers, n_outputs = program
    document = {
        "format": 1,
        "door": "float64",
        "registers": n_registers,
        "codes": 2,
        "outputs": [f"o{i}" for i in range(n_outputs)],
        "strings": [],
        "index": index,
        "operations": operations,
    }
    return FeatureProgram(document, np.array(constants, dtype=np.float64), SCHEMA)


ROWS = st.lists(
    st.tuples(
        st.lists(VALUES, min_size=N_NUMBERS, max_size=N_NUMBERS),
        st.lists(CODES, min_size=N_CATEGORIES, max_size=N_CATEGORIES),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(programs(), ROWS)
def test_random_programs_mean_what_the_oracle_says(program, rows):
    operations, index, constants, _, n_outputs = program
    frame = frame_with([numbers for numbers, _ in rows], [codes for _, codes in rows])
    encoder = made(program).encoder()
    out = np.empty((len(rows), n_outputs))
    encoder.encode(frame.capsule, out)
    one = np.empty((1, n_outputs))
    for i, (numbers, codes) in enumerate(rows):
        want, refused = run(
            operations, index=index, constants=constants, numbers=numbers, codes=codes, n_outputs=n_outputs
        )
        np.testing.assert_allclose(out[i], want, rtol=1e-12)
        assert (i in encoder.refused) == refused
        encoder.encode(frame.capsule, one, np.array([i], dtype=np.int64))
        np.testing.assert_array_equal(one[0], out[i])
        encoder.encode(frame.capsule, out)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(-3, 40), min_size=8, max_size=8), min_size=1, max_size=5),
    st.lists(st.integers(-3, 40), max_size=6),
    st.integers(0, 6),
)
def test_no_program_leaves_its_memory(operations, index, n_constants):
    """Either refused when it is made, or it runs; a sanitizer build would see every byte outside."""
    try:
        program = Program(
            np.array(operations, dtype=np.int32),
            np.array(index, dtype=np.int32),
            np.zeros(n_constants),
            n_numbers=N_NUMBERS, n_categories=N_CATEGORIES, n_registers=8, n_codes=2, n_outputs=2, double_door=True,
        )  # fmt: skip
    except ValueError:
        return
    frame = frame_with([[1.0] * N_NUMBERS] * 3, [[0, -2]] * 3)
    Encoder(program).encode(frame.capsule, np.zeros((3, 2)))


FILLED = {"op": "constant", "to": 0, "count": 2}


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([{"op": "explode"}], "no operation 'explode'"),
        ([{"op": "emit", "from": 0, "count": 2, "mood": 1}], "mood"),
        ([{"op": "emit", "from": 3, "count": 2}], "register beyond 4"),
        ([{"op": "load", "to": 0, "count": 2, "index": 0}], "number column 9"),
        ([FILLED, {"op": "add", "count": 2, "constant": 2}], "end of the constants"),
        ([{"op": "pick", "count": 2, "index": 1}], "end of the index"),
        ([{"op": "table", "from": 7, "size": 2}], "category column 7"),
        ([{"op": "table", "from": 0, "size": 1}], "missing and unseen"),
        ([{"op": "categorize", "to": 5, "count": 1}], "code register 5"),
        ([{"op": "function", "count": 1, "extra": 99}], "function 99"),
        ([{"op": "quantile", "count": 1, "extra": 1}], "two references"),
        ([FILLED, {"op": "emit", "count": 1, "extra": 7}], "output beyond 2"),
        ([{"op": "emit", "count": -1}], "negative"),
        ([FILLED, {"op": "emit", "count": 1}], "output 1 is never written"),
        ([{"op": "emit", "count": 2}], "register 0 is read before"),
        ([{"op": "pick", "count": 1}], "register 0 is read before"),
        ([FILLED, {"op": "pick", "count": 1}], "register 0 is read and written"),
        ([FILLED, {"op": "round", "to": 1, "count": 2}], "registers are read and written"),
        ([FILLED, {"op": "matrix", "count": 1, "extra": 1}], "registers are read and written"),
        ([{"op": "table", "from": 2, "size": 2}], "code register 0 is read before"),
        ([{"op": "emit", "count": 2**40}], "out of bounds|too large|Python int"),
    ],
)
def test_a_hostile_program_is_refused(operations, message):
    document = {"format": 1, "door": "float32", "registers": 4, "codes": 1, "outputs": ["a", "b"], "strings": []}
    document |= {"index": [0, 9], "operations": operations}
    with pytest.raises(BundleError, match=f"features.json.*({message})"):
        FeatureProgram(document, np.zeros(3), SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"door": "int8"}, "door 'int8'"),
        ({"strings": ["n0"]}, "'n0' is no category"),
        ({"strings": ["x"]}, "'x' is no category"),
        ({"registers": -1}, "out of range"),
        ({"registers": 10**12}, "out of range"),
        ({"index": ["a"]}, "index"),
        ({"more": 1}, "more"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(change, message):
    document = {"format": 1, "door": "float32", "registers": 4, "codes": 0, "outputs": ["a", "b"], "strings": []}
    document |= {"index": [], "operations": [FILLED, {"op": "emit", "count": 2}]}
    FeatureProgram(document, np.zeros(2), SCHEMA)
    with pytest.raises(BundleError, match=message):
        FeatureProgram(document | change, np.zeros(2), SCHEMA)


def test_outputs_of_another_shape_or_type_are_refused():
    document = {"format": 1, "door": "float32", "registers": 4, "codes": 0, "outputs": ["a", "b"], "strings": []}
    encoder = FeatureProgram(
        document | {"index": [], "operations": [FILLED, {"op": "emit", "count": 2}]}, np.zeros(2), SCHEMA
    ).encoder()
    frame = frame_with([[1.0] * N_NUMBERS] * 2, [[0, 0]] * 2)
    good = np.zeros((2, 2), dtype=np.float32)
    assert encoder.encode(frame.capsule, good) == 0
    for out in (np.zeros((2, 2)), np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), np.zeros(4, np.float32)):
        with pytest.raises(ValueError, match="out "):
            encoder.encode(frame.capsule, out)
    with pytest.raises(ValueError, match="row 2 of 2"):
        encoder.encode(frame.capsule, good, np.array([0, 2], dtype=np.int64))
    with pytest.raises(ValueError, match="one row"):
        encoder.bind(good)
    with pytest.raises(ValueError, match="bind an output"):
        encoder.encode_bound(frame.capsule)
    with pytest.raises(ValueError, match="capsule|Capsule"):
        encoder.encode(object(), good)
    with pytest.raises(ValueError, match="fewer columns"):
        encoder.encode(Frame(1, 0, 0).capsule, good)


def test_threads_with_their_own_encoders_agree():
    rng = np.random.default_rng(0)
    rows = 2000
    frame = frame_with(rng.normal(size=(rows, N_NUMBERS)).tolist(), [[0, 1]] * rows)
    document = {"format": 1, "door": "float64", "registers": 8, "codes": 0, "outputs": ["a", "b"], "strings": []}
    document |= {
        "index": [0, 1],
        "operations": [
            {"op": "load", "count": 2},
            {"op": "multiply", "from": 0, "to": 2, "count": 2},
            {"op": "emit", "from": 2, "count": 2},
        ],
    }
    program = FeatureProgram(document, np.array([2.0, 3.0]), SCHEMA)
    want = np.stack([np.asarray(frame.number_column(j)) * (2.0 + j) for j in range(2)], axis=1)
    wrong = []

    def encode():
        encoder, out = program.encoder(), np.empty((rows, 2))
        for _ in range(50):
            out[:] = 0
            encoder.encode(frame.capsule, out)
            if not np.array_equal(out, want):
                wrong.append(1)

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_members_and_back():
    document = {"format": 1, "door": "float32", "registers": 4, "codes": 0, "outputs": ["a", "b"], "strings": []}
    document |= {"index": [], "operations": [FILLED, {"op": "emit", "count": 2}]}
    program = FeatureProgram(document, np.array([1.5, 2.5]), SCHEMA)
    again = FeatureProgram.from_members(*program.to_members(), SCHEMA)
    assert again.to_members()[0] == document and again.output_names == ("a", "b") and again.dtype == np.float32


def test_every_operation_has_a_name():
    assert len(set(OPERATIONS)) == len(OPERATIONS) == 28
