"""edgeml in one process, watched and not: the same bundle loaded twice, asked in turn.

Arguments: the folder of artifacts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.probes.probe import Work, serve, walk
from edgeml.bundles import Bundle
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.engine import Engine
from edgeml.runtime.predictor import Predictor


def work_of(call: Callable[[Any], Any], inputs: list[Any], *, predictions: int = 1) -> Work:
    """Walks through the inputs; there are no answers to compare, as both sides are the same bundle."""
    return Work(walk(call, inputs), lambda: [], predictions)


def main() -> None:
    """Loads the bundles and answers the runner."""
    folder = Path(sys.argv[1])
    works: dict[str, Work] = {}
    table = workloads.batch_table()
    columns = {str(name): table[name].to_numpy() for name in table.columns}
    asked = {"w1-lr": workloads.records(workloads.asked_table()), "w1-rules": workloads.rule_records()}
    for name, records in asked.items():
        bundle = Bundle.read(folder / f"{name}.edgeml")
        for how in ("unwatched", "counted"):
            predictor, in_engine = Predictor.from_bundle(bundle), Predictor.from_bundle(bundle)
            drift = None
            if how == "counted":
                layout = drift_layout(bundle)
                assert layout is not None
                predictor.watch(drift_monitor(layout, predictor).counters)
                drift = drift_monitor(layout, in_engine)
            engine = Engine(in_engine, drift=drift)
            works[f"{name} one, {how}"] = work_of(predictor.predict, records)
            works[f"{name} one in the engine, {how}"] = work_of(engine.predict, records)
            works[f"{name} batch, {how}"] = work_of(predictor.predict_columns, [columns], predictions=len(table))
    serve(works, {"edgeml": version("edgeml")})


if __name__ == "__main__":
    main()
