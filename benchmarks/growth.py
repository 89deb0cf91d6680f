"""How an answer's cost grows with features, rows, trees, vocabulary, connections: ``python -m benchmarks.growth``.

1. Each curve is measured in this process on the server's core, the median of blocks of calls; connections over HTTP.
2. A curve is held against a straight line: the cost of one unit (a feature, a row, a tree) at the end of the curve must
   not be more than at its start. A knee, where a level of cache is left, is named beside the figure.
3. The outcome is ``benchmarks/results/growth.json`` and a plot, ``growth.svg``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml
from benchmarks import artifacts, contestants, http_load, run, workloads
from benchmarks.measurement import Say
from benchmarks.servers import Server
from edgeml.runtime.predictor import Predictor

RESULTS = Path(__file__).resolve().parent / "results"
BLOCKS = 15
BLOCK_S = 0.02
FEATURES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
ROWS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
TREES = (10, 30, 100, 300, 1_000, 3_000, 5_000)
VOCABULARY = (1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LOAD_S = 3.0


@dataclass(frozen=True)
class Curve:
    """One figure over a growing size.

    Attributes:
        name: Such as ``features``.
        unit: What ``costs`` are in: ``us`` for one call, or ``req/s``.
        sizes: What grows.
        costs: The figure at each size.
    """

    name: str
    unit: str
    sizes: tuple[int, ...]
    costs: tuple[float, ...]

    @property
    def each(self) -> tuple[float, ...]:
        """Cost of one more unit, between each size and the one before: what must not rise."""
        steps = zip(self.sizes, self.sizes[1:], self.costs, self.costs[1:], strict=False)
        return tuple((cost - before) / (size - last) for last, size, before, cost in steps)


def timed(call: Callable[[], Any]) -> float:
    """Seconds for one call: the median of blocks."""
    call()
    start = time.perf_counter()
    call()
    calls = max(1, int(BLOCK_S / max(1e-9, time.perf_counter() - start)))
    blocks = []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        blocks.append((time.perf_counter() - start) / calls)
    return statistics.median(blocks)


def features(say: Say) -> list[Curve]:
    """One record of d numbers, as a dict and as a JSON body: scaled, then a logistic regression."""
    by_dict, by_body = [], []
    for d in FEATURES:
        say(f"features: {d}")
        dice = np.random.default_rng(d)
        X = dice.normal(size=(400, d))
        y = (X[:, 0] + X[:, d // 2] > 0).astype(int)
        # An array: building asks scikit-learn thousands of times, whose checks are slow on wide DataFrames.
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)).fit(X, y)
        predictor = Predictor.from_bundle(edgeml.build(model, X, y, name="growth", version="1"))
        record = dict(zip(predictor.schema.names, X[0].round(4).tolist(), strict=True))
        body = json.dumps({"records": [record]}).encode()
        by_dict.append(timed(lambda p=predictor, r=record: p.predict(r)) * 1e6)
        by_body.append(timed(lambda p=predictor, b=body: p.predict_json(b)) * 1e6)
    return [
        Curve("features, one dict", "us", FEATURES, tuple(by_dict)),
        Curve("features, one JSON body", "us", FEATURES, tuple(by_body)),
    ]


def _table(X: np.ndarray[Any, Any], names: Sequence[str]) -> Any:
    import pandas as pd

    return pd.DataFrame(X, columns=list(names))


def rows(say: Say) -> list[Curve]:
    """A batch of n rows of W1, given by columns."""
    pipeline, table, label = workloads.w1_fitted("lr")
    predictor = Predictor.from_bundle(edgeml.build(pipeline, table, label, name="growth", version="1"))
    batch = workloads.batch_table()
    columns = {str(name): batch[name].to_numpy() for name in batch.columns}
    costs = []
    for n in ROWS:
        say(f"rows: {n}")
        given = {name: np.resize(column, n) for name, column in columns.items()}
        costs.append(timed(lambda g=given: predictor.predict_columns(g)) * 1e6)
        gc.collect()
    return [Curve("rows of a batch", "us", ROWS, tuple(costs))]


def trees(say: Say) -> list[Curve]:
    """One record through a growing number of trees of depth 4."""
    dice = np.random.default_rng(1)
    X = dice.normal(size=(2_000, 20))
    y = (X[:, 0] * X[:, 1] + X[:, 2] + dice.normal(size=len(X)) > 0).astype(int)
    table = _table(X, [f"f{i}" for i in range(X.shape[1])])
    costs = []
    for count in TREES:
        say(f"trees: {count}")
        model = GradientBoostingClassifier(n_estimators=count, max_depth=4, learning_rate=0.02).fit(table, y)
        predictor = Predictor.from_bundle(edgeml.build(model, table, y, name="growth", version="1"))
        record = dict(zip(table.columns, X[0].tolist(), strict=True))
        costs.append(timed(lambda p=predictor, r=record: p.predict(r)) * 1e6)
    return [Curve("trees", "us", TREES, tuple(costs))]


def vocabulary(say: Say) -> list[Curve]:
    """One document of about 440 characters through a growing vocabulary: tf-idf, then a logistic regression."""
    costs = []
    for count in VOCABULARY:
        say(f"vocabulary: {count}")
        dice = np.random.default_rng(count)
        words = [f"w{i:x}" for i in range(count)]
        texts = [" ".join(words[i] for i in dice.integers(0, count, 80)) for _ in range(400)]
        y = np.arange(len(texts)) % 2
        model = make_pipeline(TfidfVectorizer(vocabulary=words), LogisticRegression(max_iter=20)).fit(texts, y)
        predictor = Predictor.from_bundle(edgeml.build(model, texts, y, name="growth", version="1"))
        record = {predictor.schema.names[0]: texts[0]}
        costs.append(timed(lambda p=predictor, r=record: p.predict(r)) * 1e6)
    return [Curve("vocabulary, one document", "us", VOCABULARY, tuple(costs))]


def connections(say: Say, *, server_core: int, load_core: int) -> list[Curve]:
    """Requests per second of W4 over a growing number of kept connections."""
    wrk = http_load.find_wrk(say)
    folder = artifacts.FOLDER
    artifacts.make_peers(folder, say)
    artifacts.make_bundles(folder, say)
    recipe = contestants.edgeml_service("w4", folder)
    server = Server(recipe, core=server_core, log=folder / "growth.log", root=run.ROOT)
    rates = []
    try:
        server.wait_until_right(run.expected_labels()["w4"][0])
        for count in CONNECTIONS:
            say(f"connections: {count}")
            load = http_load.press(
                server.url, recipe.bodies, seconds=LOAD_S, connections=count, core=load_core, wrk=wrk, folder=folder
            )
            rates.append(load.rate)
    finally:
        server.stop()
    return [Curve("connections, W4", "req/s", CONNECTIONS, tuple(rates))]


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Draws all curves, each on logarithmic axes of its own, with the straight line of its last point."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    columns = min(3, len(curves))
    rows_needed = -(-len(curves) // columns)
    figure, axes = pyplot.subplots(
        rows_needed, columns, figsize=(4 * columns, 3.2 * rows_needed), layout="constrained", squeeze=False
    )
    for axis, curve in zip(axes.flat, curves, strict=False):
        axis.loglog(curve.sizes, curve.costs, "o-")
        if curve.unit == "us":
            axis.loglog(curve.sizes, [curve.costs[-1] * size / curve.sizes[-1] for size in curve.sizes], ":")
        axis.set_title(curve.name, fontsize=10)
        axis.set_ylabel("microseconds" if curve.unit == "us" else "requests a second")
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures the curves that are named, or all; writes the JSON and the plot."""
    kinds = ("features", "rows", "trees", "vocabulary", "connections")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", action="append", choices=kinds)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    measures: dict[str, Callable[[], list[Curve]]] = {
        "features": lambda: features(say),
        "rows": lambda: rows(say),
        "trees": lambda: trees(say),
        "vocabulary": lambda: vocabulary(say),
        "connections": lambda: connections(say, server_core=cores[0], load_core=cores[-1]),
    }
    curves = [curve for kind in given.only or kinds for curve in measures[kind]()]
    for curve in curves:
        print(curve.name)
        for size, cost in zip(curve.sizes, curve.costs, strict=True):
            print(f"  {size:>9,} {cost:>14,.2f} {curve.unit}")
    if given.only is None:
        about = {name: value for name, value in run.about(BLOCKS).items() if name in ("date", "cpu", "cores", "python")}
        document = {"about": about, "curves": [asdict(curve) for curve in curves]}
        RESULTS.joinpath("growth.json").write_text(json.dumps(document, indent=1) + "\n")
        plot(curves, RESULTS / "growth.svg")


if __name__ == "__main__":
    main()
