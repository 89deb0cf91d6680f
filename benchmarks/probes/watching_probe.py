"""edgeml in one process, watched and not: the same bundle loaded twice, asked in turn.

Arguments: the folder of artifacts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import workloads
from benchmarks.probes.probe import Work, serve, walk
from edgeml.bundles import Bundle
from edgeml.bundles.box_settings import FILE, BoxSettings
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.engine import Engine
from edgeml.runtime.predictor import Predictor
from edgeml.serving.capturing import Capturing
from edgeml.serving.limits import Limits
from edgeml.serving.warm_up import make_empty_plane


def work_of(call: Callable[[Any], Any], inputs: list[Any], *, predictions: int = 1) -> Work:
    """Walks through the inputs; there are no answers to compare, as both sides are the same bundle."""
    return Work(walk(call, inputs), lambda: [], predictions)


def in_the_service(bundle: Bundle, records: list[dict[str, Any]], *, drift: bool, root: Path | None) -> Work:
    """One record a request, from body to body as a worker answers it, without a server in front.

    Args:
        bundle: Who answers.
        records: What is asked.
        drift: Whether records and answers are counted.
        root: Where one record in a hundred is captured; None captures none.
    """
    predictor = Predictor.from_bundle(bundle)
    layout = drift_layout(bundle) if drift else None
    capturing = Capturing(root)
    capturing.begin()
    plane = make_empty_plane(Limits(), capturing)
    engine = Engine(predictor, drift=None if layout is None else drift_monitor(layout, predictor))
    plane.show({engine.name: engine}, {})
    bodies = [json.dumps({"records": [record]}).encode() for record in records]

    def ask(body: bytes) -> Any:
        status, _, answer = plane.answer(
            {
                "PATH_INFO": "/v1/predict",
                "REQUEST_METHOD": "POST",
                "CONTENT_TYPE": "application/json",
                "CONTENT_LENGTH": str(len(body)),
                "edgeml.body": body,
            }
        )
        assert status == 200
        return answer

    return work_of(ask, bodies)


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
    bundle = Bundle.read(folder / "w1-lr.edgeml")
    with TemporaryDirectory() as store:
        settings = BoxSettings(capture_share=0.01).to_dict()
        (Path(store) / FILE).write_text(json.dumps(settings))
        of = {"records": asked["w1-lr"], "bundle": bundle}
        works["w1-lr captured, unwatched"] = in_the_service(**of, drift=True, root=None)
        works["w1-lr captured, counted"] = in_the_service(**of, drift=True, root=Path(store))
        works["w1-lr in the service, unwatched"] = in_the_service(**of, drift=False, root=None)
        works["w1-lr in the service, counted"] = works["w1-lr captured, counted"]
        serve(works, {"edgeml": version("edgeml")})


if __name__ == "__main__":
    main()
