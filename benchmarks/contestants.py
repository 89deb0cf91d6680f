"""Who is asked, and how each is started: one place for all command lines, with the settings that suit one core."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurement import UNWATCHED
from benchmarks.servers import Recipe, free_port

# Name in the table -> folder under benchmarks/peers
PROBES = {
    "onnxruntime": "onnxruntime",
    "scikit-learn": "scikit_learn",
    "word finders": "word_finders",
    "tree compilers": "tree_compilers",
    "tokenizers": "tokenizers",
}
PEER_SERVICES = {
    "w4": {
        "FastAPI": "fastapi",
        "FastAPI hand-made": "fastapi",
        "Flask + waitress": "flask",
        "MLServer": "mlserver",
    },
    "w5": {"FastAPI hand-made": "fastapi", "MLServer": "mlserver"},
}


def probe_command(who: str, python: str | Path, folder: Path) -> list[str]:
    """The command line of an in-process contestant."""
    if who == "edgeml":
        return [str(python), "-m", "benchmarks.probes.edgeml_probe", str(folder)]
    if who == "words":
        return [str(python), "-m", "benchmarks.probes.words_probe"]
    if who == "watching":
        return [sys.executable, "-m", "benchmarks.probes.watching_probe", str(folder)]
    peer = PROBES[who]
    return [str(python), "-m", f"benchmarks.peers.{peer}.{peer}_probe", str(folder)]


def edgeml_service(task: str, folder: Path, *, watched: bool = True) -> Recipe:
    """edgeml as its users start it; or with nothing watched, to see what watching costs."""
    module = "edgeml" if watched else "benchmarks.probes.unwatched_service"
    bundle = folder / ("w1-lr.edgeml" if task == "w4" else "w5.edgeml")
    path = "/v1/models/w1-lr/predict" if task == "w4" else "/v2/models/w5/infer"
    return Recipe(
        who="edgeml" if watched else UNWATCHED,
        command=lambda port: [sys.executable, "-m", module, "serve", str(bundle), "--port", str(port)],
        path=path,
        bodies=folder / ("edgeml_records.ndjson" if task == "w4" else "oip_tensors.ndjson"),
        label=(lambda answer: int(answer["predictions"][0]["label"])) if task == "w4" else _oip_label,
    )


def peer_service(task: str, who: str, python: str | Path, folder: Path) -> Recipe:
    """A peer with the settings that are best on one core.

    Args:
        task: ``w4`` (records) or ``w5`` (tensors).
        who: Key of ``PEER_SERVICES[task]``.
        python: Python of the peer's environment.
        folder: Folder of artifacts.
    """
    kind = "records" if task == "w4" else "tensors"
    model = folder / ("w1_lr_pipeline.onnx" if task == "w4" else "w5_model.onnx")
    env = {"BENCH_MODEL": str(model), "BENCH_KIND": kind}
    if who == "MLServer":
        return _mlserver(task, kind, str(python), model, folder)
    if who == "Flask + waitress":
        command = _flask(str(python))
    else:
        app = "fastapi_records" if who == "FastAPI" else "fastapi_handmade"
        command = _uvicorn(str(python), f"benchmarks.peers.fastapi.{app}:app")
    return Recipe(
        who=who,
        command=command,
        path="/predict" if task == "w4" else "/v2/models/w5/infer",
        bodies=folder / ("records.ndjson" if task == "w4" else "oip_tensors.ndjson"),
        label=(lambda answer: int(answer["label"])) if task == "w4" else _oip_label,
        env=env,
    )


def _uvicorn(python: str, app: str) -> Callable[[int], Sequence[str]]:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return lambda port: [python, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), *options]


def _flask(python: str) -> Callable[[int], Sequence[str]]:
    return lambda port: [python, "-m", "benchmarks.peers.flask.flask_records", str(port)]


def _mlserver(task: str, kind: str, python: str, model: Path, folder: Path) -> Recipe:
    """MLServer in one process: no worker pool, no metrics server, no compression, no access log."""
    home = folder / f"mlserver_{kind}"
    home.mkdir(exist_ok=True)
    logging = {"version": 1, "disable_existing_loggers": True, "root": {"level": "ERROR"}}
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "parallel_workers": 0,
        "metrics_endpoint": None,
        "gzip_enabled": False,
        "logging_settings": logging,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    model_settings = {
        "name": task,
        "implementation": "benchmarks.peers.mlserver.mlserver_onnx.OnnxRuntime",
        "parameters": {"uri": str(model), "extra": {"kind": kind}},
    }
    (home / "model-settings.json").write_text(json.dumps(model_settings))

    def command(port: int) -> Sequence[str]:
        variables = [f"MLSERVER_HTTP_PORT={port}", f"MLSERVER_GRPC_PORT={free_port()}"]
        return ["env", *variables, python, "-m", "mlserver.cli.main", "start", str(home)]

    return Recipe(
        who="MLServer",
        command=command,
        path=f"/v2/models/{task}/infer",
        bodies=folder / f"oip_{'records' if task == 'w4' else 'tensors'}.ndjson",
        label=_oip_label,
        folder=home,
    )


def _oip_label(answer: Any) -> int:
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    return int(outputs["label"][0])
