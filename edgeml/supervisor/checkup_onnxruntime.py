"""Check-up of ONNX Runtime and of edgeml's own compiled code: whether they load and live on this processor.

Both are tried in a process that may die of it: a wheel built for a newer processor ends with SIGILL at import.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from edgeml.bundles.config import check_requirements
from edgeml.errors import RequirementError
from edgeml.supervisor.finding import Finding, Patient, answering

PROBE_S = 60.0

# Two steps, each told before the next is tried: what kills the process is the step that was not told.
_PROBE = """
import importlib.metadata, json
def tell(**what): print(json.dumps(what), flush=True)
import edgeml.runtime
tell(kernels=True)
import onnxruntime
from edgeml.runtime.onnx_session import find_library
tell(onnxruntime=importlib.metadata.version("onnxruntime"), library=find_library())
"""


def check_onnxruntime(patient: Patient, *, python: str = sys.executable) -> Iterator[Finding]:
    """ONNX Runtime, tried in a process that may die of it.

    Args:
        patient: Whose bundles may need it.
        python: The interpreter to try it with.
    """
    try:
        done = subprocess.run(
            [python, "-P", "-c", _PROBE], stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S
        )
        status, output, errors = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        status, output, errors = 1, late.stdout or b"", f"no answer within {PROBE_S:g} s".encode()
    told = _told(output)
    if "kernels" not in told:
        yield Finding(
            "kernels",
            "danger",
            f"edgeml's own code cannot be loaded: {_ended(status, errors)}",
            "nothing can answer on this box",
            "install the wheel for this processor, or build it here",
        )
        return
    yield Finding("kernels", "ok", "edgeml's compiled code loads")
    needing = [each.name for each in answering(patient) if not each.native]
    if "onnxruntime" not in told:
        yield Finding(
            "onnxruntime",
            "danger" if needing else "warning",
            _ended(status, errors),
            f"{', '.join(needing)} cannot answer" if needing else "only bundles with a native kernel can run here",
            "install a wheel of onnxruntime that fits this processor, or build bundles with a native kernel",
        )
        return
    version = str(told["onnxruntime"])
    if told.get("library") is None:
        yield Finding(
            "onnxruntime",
            "warning",
            f"{version}, without its C library",
            "models run by the Python binding, which takes three times as long for one record",
            "install the wheel, or name the library in EDGEML_ORT_LIBRARY",
        )
    else:
        yield Finding("onnxruntime", "ok", version)
    yield from _old(patient, version)


def _old(patient: Patient, version: str) -> Iterator[Finding]:
    for each in answering(patient):
        if not each.native and "onnxruntime" in each.config["requires"]:
            wanted = {"requires": {"onnxruntime": each.config["requires"]["onnxruntime"]}}
            try:
                check_requirements(wanted, edgeml_version="0", onnxruntime_version=version)
            except RequirementError as error:
                yield Finding(
                    "onnxruntime", "danger", f"{each.name}: {error}", "it cannot answer", "update onnxruntime"
                )


def _told(output: bytes) -> dict[str, object]:
    told: dict[str, object] = {}
    for line in output.splitlines():
        # Libraries print, too.
        with suppress(ValueError, TypeError):
            told |= json.loads(line)
    return told


def _ended(status: int, errors: bytes) -> str:
    if status == -signal.SIGILL:
        return "it dies by SIGILL: it was built for another processor"
    if status < 0:
        return f"it dies by signal {-status}"
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"it ends with status {status}"
