"""The rule kernel by itself: hand-written programs, and hostile ones, which are refused before they can run."""

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.kernels.frame import Frame, FrameReader
from edgeml.kernels.rules import FIELDS, INSTRUCTIONS, KINDS, NEXT_RULE, SCANS, STACK, RuleProgram

INF = float("inf")
FIELD_LIST = (
    ("x", 0, -INF, INF, True, False, (), 0),
    ("y", 0, -INF, INF, True, False, (), 0),
    ("c", 3, -INF, INF, True, True, tuple(f"l{i}" for i in range(80)), 0),
    ("t", 4, -INF, INF, True, False, (), 1000),
)
READER = FrameReader(FIELD_LIST, True, 10)
MISSING = {"x": None, "y": None, "c": None, "t": None}
STOP, FIRE = -1, -2


def frame_of(*records):
    frame = Frame(2, 1, 1, max(1, len(records)))
    READER.read_many(frame, [MISSING | record for record in records])
    assert frame.n_violations == 0
    return frame


def program(*steps, **members):
    """A program of (kind, flip, a, b, count, yes, no); a kind may be given by its name."""
    code = [[KINDS.index(kind) if isinstance(kind, str) else kind, *rest] for kind, *rest in steps]
    given = {
        "start": 0 if code else STOP,
        "code": np.array(code, dtype=np.int32).reshape(-1),
        "constants": np.array([1.0, 2.0, 3.0]),
        "codes": np.array([3, 5, 64, 70], dtype=np.int32),
        "strings": b"aabb",
        "offsets": np.array([0, 1, 2, 4], dtype=np.int64),
        "n_rules": 2,
        "n_numbers": 2,
        "n_categories": 1,
        "n_texts": 1,
    }
    return RuleProgram(**given | members)


def push(name, a=0, b=0):
    return (name, 0, a, b, 0, STOP, STOP)


@pytest.mark.parametrize(
    ("kind", "a", "b", "count", "record", "holds"),
    [
        ("less_constant", 0, 1, 0, {"x": 1.5}, True),
        ("less_constant", 0, 1, 0, {"x": 2.0}, False),
        ("at_most_constant", 1, 1, 0, {"y": 2.0}, True),
        ("equal_constant", 0, 2, 0, {"x": 3.0}, True),
        ("less_column", 0, 1, 0, {"x": 1.0, "y": 2.0}, True),
        ("less_column", 0, 1, 0, {"x": 1.0}, None),
        ("at_most_column", 0, 1, 0, {"x": 2.0, "y": 2.0}, True),
        ("equal_column", 0, 1, 0, {"x": 2.0, "y": 3.0}, False),
        ("within", 0, 0, 0, {"x": 2.0}, True),
        ("within", 0, 0, 0, {"x": 2.5}, False),
        ("number_in", 0, 0, 3, {"x": 2.0}, True),
        ("number_in", 0, 0, 2, {"x": 3.0}, False),
        ("number_missing", 0, 0, 0, {"x": 3.0}, False),
        ("code_equal", 0, 3, 0, {"c": "l3"}, True),
        ("code_equal", 0, 3, 0, {"c": "?"}, False),
        ("code_in", 0, 0, 2, {"c": "l5"}, True),
        ("code_in", 0, 0, 2, {"c": "l69"}, False),
        ("code_in", 0, 0, 4, {"c": "l70"}, True),
        ("code_in", 0, 0, 4, {"c": "l71"}, False),
        ("code_in", 0, 0, 4, {"c": "?"}, False),
        ("code_missing", 0, 0, 0, {"c": "?"}, False),
        ("text_equal", 0, 2, 0, {"t": "bb"}, True),
        ("text_in", 0, 1, 2, {"t": "bb"}, True),
        ("text_in", 0, 1, 2, {"t": "b"}, False),
        ("text_starts", 0, 0, 0, {"t": "ab"}, True),
        ("text_ends", 0, 2, 0, {"t": "abb"}, True),
        ("text_ends", 0, 2, 0, {"t": "b"}, False),
        ("text_contains", 0, 2, 0, {"t": "abba"}, True),
        ("text_contains", 0, 2, 0, {"t": "abab"}, False),
        ("text_missing", 0, 0, 0, {"t": ""}, False),
    ],
)
def test_each_test_and_its_opposite(kind, a, b, count, record, holds):
    answers = [
        program((kind, flip, a, b, count, FIRE, STOP)).match_one(frame_of(record).capsule) == 0 for flip in (0, 1)
    ]
    assert answers == [holds is True, holds is False]
    missing = [program((kind, flip, a, b, count, FIRE, STOP)).match_one(frame_of({}).capsule) == 0 for flip in (0, 1)]
    assert missing == [kind.endswith("missing"), False]


@pytest.mark.parametrize(
    ("kind", "result"),
    [("add", 9.0), ("subtract", 3.0), ("multiply", 18.0), ("divide", 2.0), ("smaller", 3.0), ("larger", 6.0)],
)
def test_arithmetic_of_two(kind, result):
    made = program(
        push("push_column", 0),
        push("push_column", 1),
        push(kind),
        push("push_constant", 0, 0),
        ("top_equal", 0, 0, 0, 0, FIRE, STOP),
        constants=np.array([result]),
    )
    assert made.match_one(frame_of({"x": 6, "y": 3}).capsule) == 0
    assert made.match_one(frame_of({"x": 6}).capsule) == made.match_one(frame_of({"y": 6}).capsule) == -1


def test_arithmetic_of_one_and_what_is_not_finite():
    def truth(*steps, **record):
        made = program(*steps, ("top_missing", 0, 0, 0, 0, FIRE, STOP))
        return made.match_one(frame_of(record).capsule) == 0

    x, y = push("push_column", 0), push("push_column", 1)
    assert truth(x, y, push("divide"), x=1, y=0) and truth(x, y, push("divide"), x=0, y=0)
    assert truth(x, y, push("multiply"), x=1e300, y=1e300)
    assert truth(x, y, push("add"), x=1.7e308, y=1.7e308) and truth(x, y, push("subtract"), x=1.7e308, y=-1.7e308)
    assert not truth(x, y, push("add"), x=1, y=0)
    made = program(x, push("negate"), push("absolute"), ("top_in", 0, 0, 0, 3, FIRE, STOP))
    assert [made.match_one(frame_of({"x": value}).capsule) for value in (-2, 2, 4, None)] == [0, 0, -1, -1]


def test_a_card_stands_on_the_stack_while_its_conditions_are_asked():
    words = {
        "scans": np.array([SCANS.index("words"), 0, 0, 3], dtype=np.int32),
        "patterns": np.array([0, 1, 2], dtype=np.int32),
        "strings": b"aabbc",
        "offsets": np.array([0, 2, 4, 5], dtype=np.int64),
        "weights": np.array([4.0, 8.0, 16.0]),
        "constants": np.array([0.0, 1.0, 21.0, 25.0]),
    }
    made = program(
        push("push_constant", 0, 0),
        ("less_constant", 0, 0, 1, 0, 2, 3),
        ("add_points", 0, 0, 1, 0, 3, STOP),
        ("add_found", 0, 0, 0, 3, 4, STOP),
        push("push_constant", 0, 2),
        push("push_constant", 0, 3),
        ("top_within", 0, 0, 0, 0, FIRE, STOP),
        **words,
    )
    rows = [{"x": 0, "t": "c aa"}, {"x": 2, "t": "bb c aa"}, {"t": "c aa"}, {"x": 0}, {"x": 0, "t": "aa bb c"}]
    assert [made.match_one(frame_of(row).capsule) for row in rows] == [0, -1, -1, -1, -1]
    assert made.cost[:3] == (7, 7, 1)
    for weights, message in (
        (b"", "there are no weights"),
        (np.ones(2), "2 weights for 3"),
        ([np.nan] * 3, "weight 0"),
    ):
        with pytest.raises(ValueError, match=message):
            step = ("add_found", 0, 0, 0, 3, STOP, STOP)
            program(PUSH, step, **words | {"weights": np.array(weights) if len(weights) else b""})


def test_a_value_is_surely_within_or_surely_not():
    def truths(x, low, high):
        steps = [push("push_constant", 0, 0) if end is None else push("push_constant", 0, end) for end in (low, high)]
        for at, end in enumerate((low, high)):
            if end is None:
                steps[at] = push("push_column", 1)  # y is missing
        return [
            program(push("push_column", 0), *steps, ("top_within", flip, 0, 0, 0, FIRE, STOP)).match_one(
                frame_of({"x": x}).capsule
            )
            == 0
            for flip in (0, 1)
        ]

    assert truths(2, 0, 2) == truths(1, 0, 2) == truths(3, 0, 2) == [True, False]  # from 1 to 3
    assert truths(4, 0, 2) == truths(0, 0, None) == truths(4, None, 2) == [False, True]
    assert truths(2, None, 2) == truths(2, 0, None) == truths(None, 0, 2) == [False, False]


def test_jumps_choose_the_rule():
    made = program(
        ("less_constant", 0, 0, 1, 0, 1, 2),
        ("text_missing", 0, 0, 0, 0, FIRE, STOP),
        ("code_missing", 0, 0, 0, 0, -3, STOP),
    )
    rows = [{"x": 1}, {"x": 1, "t": "a"}, {"x": 5}, {"x": 5, "c": "l1"}, {}]
    out = np.full(5, 99, dtype=np.int32)
    assert made.match(frame_of(*rows).capsule, out) == 3
    assert out.tolist() == [0, -1, 1, -1, 1]
    assert program(start=FIRE).match_one(frame_of({}).capsule) == 0


def test_a_program_keeps_its_own_copy():
    code = np.array([KINDS.index("less_constant"), 0, 0, 0, 0, FIRE, STOP], dtype=np.int32)
    made = program(code=code, start=0)
    code[:] = 10**6
    assert made.match_one(frame_of({"x": 0}).capsule) == 0
    made.__init__(start=5)  # only the first making counts
    assert made.match_one(frame_of({"x": 0}).capsule) == 0


TEST = ("less_constant", 0, 0, 0, 0, FIRE, STOP)
PUSH = push("push_constant")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(-1, 0, 0, 0, 0, -1, -1)], "unknown kind -1"),
        ([(len(KINDS), 0, 0, 0, 0, -1, -1)], "unknown kind"),
        ([("code_missing", 2, 0, 0, 0, -1, -1)], "flip 2"),
        ([("less_constant", 0, 2, 0, 0, -1, -1)], "column 2 of 2"),
        ([("less_constant", 0, -1, 0, 0, -1, -1)], "column -1 of 2"),
        ([("less_constant", 0, 0, 3, 0, -1, -1)], "operand 3"),
        ([("less_constant", 0, 0, -1, 0, -1, -1)], "operand -1"),
        ([("less_column", 0, 0, 2, 0, -1, -1)], "operand 2"),
        ([("within", 0, 0, 2, 0, -1, -1)], "operand 2 and 2 values of 3"),
        ([("number_in", 0, 0, 1, 3, -1, -1)], "operand 1 and 3 values of 3"),
        ([("number_in", 0, 0, 0, 0, -1, -1)], "an empty set"),
        ([("number_in", 0, 0, 0, 2**31 - 1, -1, -1)], "operand 0"),
        ([("number_in", 0, 0, -(2**31), 2**31 - 1, -1, -1)], "operand"),
        ([("number_missing", 0, 2, 0, 0, -1, -1)], "column 2"),
        ([("code_equal", 0, 1, 0, 0, -1, -1)], "column 1 of 1"),
        ([("code_equal", 0, 0, -2, 0, -1, -1)], "code -2 is negative"),
        ([("code_in", 0, 0, 0, 5, -1, -1)], "operand 0 and 5 values of 4"),
        ([("code_missing", 0, -1, 0, 0, -1, -1)], "column -1 of 1"),
        ([("text_equal", 0, 0, 3, 0, -1, -1)], "operand 3"),
        ([("text_contains", 0, 1, 0, 0, -1, -1)], "column 1 of 1"),
        ([("text_in", 0, 0, 2, 2, -1, -1)], "operand 2 and 2 values of 3"),
        ([("text_in", 0, 0, 0, 2, -1, -1)], "not sorted"),
        ([("less_constant", 0, 0, 0, 0, 0, -1)], "target 0 leads backward"),
        ([TEST, ("less_constant", 0, 0, 0, 0, -1, 0)], "target 0 leads backward"),
        ([("less_constant", 0, 0, 0, 0, 1, -1)], "target 1 leads"),
        ([("less_constant", 0, 0, 0, 0, -4, -1)], "target -4"),
        ([("less_constant", 0, 0, 0, 0, -1, -(2**31))], "target -2147483648"),
        ([PUSH], "the last instruction must be a test"),
        ([PUSH, PUSH, ("top_within", 0, 0, 0, 0, -1, -1)], "the stack would hold -1"),
        ([("add_points", 0, 0, 0, 0, -1, -1)], "the stack would hold 0"),
        ([PUSH, ("add_points", 0, 0, 3, 0, -1, -1)], "operand 3"),
        ([PUSH, ("add_points", 0, 0, 0, 0, 1, -1)], "target 1 leads"),
        ([PUSH, ("add_found", 0, 0, 0, 1, -1, -1)], "scan 0 of 0"),
        (
            [PUSH, TEST[:5] + (2, 3), ("add_points", 0, 0, 0, 0, 4, -1), PUSH, ("top_missing", 0, 0, 0, 0, -1, -1)],
            "target 4 is reached with 2 and with 1 values",
        ),
        ([PUSH, ("top_less", 0, 0, 0, 0, -1, -1)], "the stack would hold -1"),
        ([("top_missing", 0, 0, 0, 0, -1, -1)], "the stack would hold -1"),
        ([PUSH, push("add")], "the stack would hold 0"),
        ([push("negate")], "the stack would hold 0"),
        ([PUSH] * (STACK + 1), "the stack would hold 257"),
        ([push("push_column", 2)], "column 2"),
        ([push("push_constant", 0, 3)], "operand 3"),
        ([TEST[:5] + (2, -1), PUSH, ("top_missing", 0, 0, 0, 0, -1, -1)], "instruction 2: the stack would hold -1"),
        ([TEST[:5] + (1, 2), PUSH, ("top_missing", 0, 0, 0, 0, -1, -1)], "target 2 is reached with 1 and with 0"),
    ],
)
def test_hostile_code_is_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        program(*steps)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"start": 1}, "start 1 is no target"),
        ({"start": -4}, "start -4 is no target"),
        ({"n_rules": -1}, "out of range"),
        ({"n_rules": INSTRUCTIONS + 1}, "out of range"),
        ({"n_texts": -1}, "out of range"),
        ({"constants": np.array([np.nan])}, "constant 0 is not finite"),
        ({"constants": np.array([0.0, np.inf])}, "constant 1 is not finite"),
        ({"constants": np.zeros(3, dtype=np.float32)}, "expected a flat array of 8-byte"),
        ({"constants": np.zeros((3, 1))}, "expected a flat array"),
        ({"code": np.zeros(FIELDS, dtype=np.uint32)}, "expected a flat array of 4-byte"),
        ({"code": np.zeros(FIELDS + 1, dtype=np.int32)}, "not 7 for each instruction"),
        ({"offsets": np.array([], dtype=np.int64)}, "offsets must go"),
        ({"offsets": np.array([0, 3], dtype=np.int64)}, "offsets must go"),
        ({"offsets": np.array([1, 4], dtype=np.int64)}, "offsets must go"),
        ({"offsets": np.array([0, 5, 4], dtype=np.int64)}, "string 1 ends before"),
        ({"offsets": np.array([0, -3, 4], dtype=np.int64)}, "string 0 ends before"),
    ],
)
def test_hostile_pools_are_refused(members, message):
    with pytest.raises(ValueError, match=message):
        program(TEST, **members)


def test_hostile_sets_are_refused():
    for constants in ([1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="not sorted"):
            program(("number_in", 0, 0, 0, 2, -1, -1), constants=np.array(constants))
    for codes, message in (([3, 3], "not sorted"), ([4, 3], "not sorted"), ([-1, 3], "code -1 is negative")):
        with pytest.raises(ValueError, match=message):
            program(("code_in", 0, 0, 0, 2, -1, -1), codes=np.array(codes, dtype=np.int32))
    with pytest.raises((TypeError, BufferError)):
        program(TEST, constants=[1.0])
    with pytest.raises((BufferError, ValueError)):
        program(TEST, constants=np.zeros(6)[::2])


def test_as_deep_a_stack_as_allowed():
    made = program(*[PUSH] * STACK, *[push("add")] * (STACK - 2), ("top_less", 0, 0, 0, 0, FIRE, STOP))
    assert made.match_one(frame_of({}).capsule) == 0  # 1 < 255


SMALL = st.integers(-4, 6)
# Two words in the text column, and the number of its words.
SCANNED = np.array([SCANS.index("words"), 0, 0, 2, SCANS.index("count_words"), 0, 0, 0], dtype=np.int32)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, 1), SMALL, SMALL, SMALL, SMALL, SMALL), min_size=1, max_size=8
    ),
    SMALL,
)
def test_any_program_is_refused_or_ends(steps, start):
    try:
        made = program(
            *steps, start=start, scans=SCANNED, patterns=np.array([0, 2], dtype=np.int32), weights=np.array([0.5, -2.0])
        )
    except ValueError:
        return
    rows = [{}, {"x": 1, "y": 2, "c": "l3", "t": "aabb"}, {"x": 2.5, "c": "l79", "t": ""}, {"c": "?"}]
    out = np.full(len(rows), 99, dtype=np.int32)
    hits = made.match(frame_of(*rows).capsule, out)
    assert hits == (out >= 0).sum() and (-1 <= out).all() and (out < 2).all()


def test_what_match_refuses():
    made, frame = program(TEST), frame_of({"x": 0}, {"x": 5})
    with pytest.raises(ValueError, match="2 rows"):
        made.match(frame.capsule, np.zeros(3, dtype=np.int32))
    for out in (np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.float32), np.zeros((2, 1), dtype=np.int32)):
        with pytest.raises(ValueError, match="flat array of int32"):
            made.match(frame.capsule, out)
    read_only = np.zeros(2, dtype=np.int32)
    read_only.flags.writeable = False
    for out in (read_only, np.zeros(4, dtype=np.int32)[::2], bytes(8)):
        with pytest.raises((ValueError, BufferError)):
            made.match(frame.capsule, out)
    for other in (None, object(), frame):
        with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
            made.match_one(other)
    with pytest.raises(ValueError, match="no row"):
        made.match_one(Frame(2, 1, 1, 4).capsule)
    assert made.match(Frame(2, 1, 1, 4).capsule, np.zeros(0, dtype=np.int32)) == 0
    for counts in ((1, 1, 1), (2, 0, 1), (2, 1, 0)):
        with pytest.raises(ValueError, match="fewer columns"):
            made.match_one(Frame(*counts, 1).capsule)


def test_a_batch_lets_other_threads_run():
    """While a batch is matched another thread counts on; both end with the right answers."""
    tests = [("within", 1, 0, 0, 0, STOP, i + 1) for i in range(60)]
    made = program(*tests, ("number_missing", 0, 0, 0, 0, STOP, FIRE))
    random.seed(5)
    frame = frame_of(*[{"x": 1 + random.random()} for _ in range(20_000)])
    results, done, counted = [], threading.Event(), []

    def count():
        number = 0
        while not done.is_set():
            number += 1
        counted.append(number)

    def match():
        out = np.full(20_000, 99, dtype=np.int32)
        results.append((made.match(frame.capsule, out), set(out.tolist())))

    counter = threading.Thread(target=count)
    counter.start()
    workers = [threading.Thread(target=match) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.set()
    counter.join()
    assert results == [(20_000, {0})] * 4 and counted[0] > 0


def test_what_stands_behind_a_selector_asks_for_the_next_rule_in_vain():
    """It ends: a selector whose rules were all asked leads on once, and not again to where it led."""
    made = program(
        ("select", 0, 0, 0, 0, 1, 1),
        ("number_missing", 0, 0, 0, 0, NEXT_RULE, NEXT_RULE),
        selectors=np.array([0, 0, 0, 1], dtype=np.int64),
        filters=np.array([], dtype=np.int64),
        entries=np.array([1], dtype=np.int32),
        masks=np.array([], dtype=np.uint64),
    )
    assert made.match_one(frame_of({"x": 1.0}).capsule) == -1
