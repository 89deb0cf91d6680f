"""Batches in the native kernel: rows that go through large ensembles together, and rows that are divided among threads.

Whatever the order and the number of threads, each row gets to the last bit what it gets alone.
"""

import os

import numpy as np
import pytest

from edgeml.errors import ModelError
from edgeml.kernels.native_model import NODE_NUMBERS
from edgeml.runtime import native_session
from edgeml.runtime.native_session import NativeSession

WIDTH, DEPTH = 5, 6


def forest(n_trees, *, specials=False, door="float64", seed=0):
    """A document of full trees of one depth, with a product in front and a softmax behind; and its constants."""
    draw = np.random.default_rng(seed)
    numbers, index, values = [], [], []
    for tree in range(n_trees):
        root = len(numbers) // NODE_NUMBERS
        inner, leaves = 2**DEPTH - 1, 2**DEPTH
        for node in range(inner):
            flags = draw.choice([0, 1, 2, 3] if specials else [0, 1])
            numbers += [round(draw.normal(), 1), draw.integers(WIDTH), root + 2 * node + 1, flags]
        for _ in range(leaves):
            numbers += [0, -1, len(values), 0]
            values.append(draw.normal() * 10.0 ** draw.integers(-8, 8))
        index += [root, root + inner + leaves, tree % 3, 1]
    sizes = (0, n_trees, 0, len(numbers) // NODE_NUMBERS, len(values))
    weights = draw.normal(size=(3 * 3 + 3)).tolist()
    bases = draw.normal(size=3).tolist()
    at = len(numbers) + len(values)
    return {
        "format": 1,
        "door": door,
        "width": WIDTH,
        "registers": WIDTH + 6,
        "index": [int(each) for each in index],
        "operations": [
            {"op": "trees", "to": WIDTH, "count": WIDTH, "extra": 3, "constant": at + 12},
            {"op": "product", "to": WIDTH + 3, "from": WIDTH, "count": 3, "extra": 3, "constant": at},
        ],
        "ensembles": [sizes],
        "outputs": [
            {"name": "sums", "start": WIDTH, "columns": 3, "dtype": "float64"},
            {"name": "scores", "start": WIDTH + 3, "columns": 3, "dtype": "float64"},
        ],
    }, np.array(numbers + values + weights + bases, dtype=np.float64)


def rows_of(n, *, missing, door="float64"):
    draw = np.random.default_rng(n)
    rows = np.round(draw.normal(size=(n, WIDTH)), 1)
    if missing:
        rows[draw.random(rows.shape) < 0.1] = np.nan
    return rows.astype(door)


def alone(session, rows):
    """Each row as a request of its own."""
    parts = [session.run({"dense": row[None]}) for row in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def same(given, wanted):
    assert given.keys() == wanted.keys()
    for name in given:
        assert given[name].tobytes() == wanted[name].tobytes(), name


# 100 trees of depth 6 are 200 KiB of nodes, 7 are far below the limit from which rows go together.
@pytest.mark.parametrize("n_trees", [1, 7, 100, 103])
@pytest.mark.parametrize("specials", [False, True])
@pytest.mark.parametrize("door", ["float32", "float64"])
def test_a_batch_is_answered_as_its_rows_are_alone(n_trees, specials, door):
    session = NativeSession(*forest(n_trees, specials=specials, door=door))
    for n in (1, 2, 255, 256, 257, 600):
        for missing in (False, True):
            rows = rows_of(n, missing=missing, door=door)
            same(session.run({"dense": rows}), alone(session, rows))


def streamed(session, rows):
    def fill(block, start):
        block[:] = rows[start : start + len(block)]

    return session.stream(len(rows), outputs=["sums", "scores"], fill=fill)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 5, 1_000, 20_000])
def test_threads_divide_the_rows_and_change_nothing(threads, n, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(native_session, "THREAD_NS", 10_000)
    monkeypatch.setattr(native_session, "BLOCK_BYTES", 40_000)  # so that the last block has fewer rows than the others
    rows = rows_of(n, missing=True)
    made = forest(20)
    same(streamed(NativeSession(*made, threads=threads), rows), NativeSession(*made).run({"dense": rows}))


def test_a_batch_of_no_rows():
    made = streamed(NativeSession(*forest(3), threads=4), rows_of(0, missing=False))
    assert all(len(array) == 0 for array in made.values())


def threads_of(session):
    """The threads that a session has started; those of other sessions may be ending at any time."""
    return 0 if session._pool is None else len(session._pool._threads)


def test_a_small_batch_wakes_no_thread(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    session = NativeSession(*forest(20), threads=4)
    # 20 trees of depth 6 take about 0.2 us a row.
    streamed(session, rows_of(700, missing=False))
    assert threads_of(session) == 0
    streamed(session, rows_of(20_000, missing=False))
    assert 1 <= threads_of(session) <= 3


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1))
    session = NativeSession(*forest(20), threads=64)
    streamed(session, rows_of(20_000, missing=False))
    assert threads_of(session) == 0


@pytest.mark.parametrize("threads", [0, 65, True, "2", 1.0, None])
def test_a_wrong_number_of_threads_is_refused(threads):
    with pytest.raises(ModelError, match="intra_op_threads must be an integer from 1 to 64"):
        NativeSession(*forest(1), threads=threads)
