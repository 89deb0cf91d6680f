"""Tries a bundle in a process that may die of it: ``python -m edgeml.serving.admission``.

1. One line of JSON comes on standard input, and one goes to standard output; everything that a library prints goes to
   standard error, also where it writes to file descriptor 1.
2. The process confines itself (``confinement``) before it looks at the bundle, and says so with an empty line: if it
   dies before that, the box is sick; after it, the bundle is at fault.
3. The bundle is read, verified, looked through (``onnx_scan``), opened and asked as the worker will do it.
4. What is the bundle's fault is answered with a code and a reason. What is the box's (a disk that does not read, a
   keyring that is damaged) has the code ``box``: nobody may hold it against the bundle.

Request: ``{"bundle": "/path/x.edgeml" | {"store": DIR, "digest": "sha256:..."}, "keyring": PATH | null, "parent": PID,
"limits": {"memory_bytes", "cpu_seconds", "open_files"}}``.

Answer: ``{"ok": true, ...}`` with what was measured, or ``{"ok": false, "code": ..., "reason": ...}`` where
the code is ``signature``, ``structure``, ``requirement``, ``scan``, ``model``, ``golden_rows``, ``memory`` or ``box``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edgeml.bundles import Bundle, Keyring
from edgeml.errors import BundleError, DigestError, EdgemlError, ModelError, RequirementError, SignatureError
from edgeml.runtime.counting import drift_layout
from edgeml.runtime.load import predictor_of
from edgeml.runtime.onnx_scan import scan
from edgeml.runtime.predictor import Predictor
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.confinement import Confinement, confine
from edgeml.serving.faults import says_no_memory
from edgeml.serving.limits import Limits
from edgeml.serving.memory import give_back
from edgeml.serving.warm_up import check_golden_rows, warm

REQUEST_MAX_BYTES = 64 * 1024
REASON_MAX_CHARACTERS = 4000
# Address space that is mapped and hardly touched: ONNX Runtime's code, stacks of threads, what malloc holds ready.
# What is really used is measured, and judged by the parent.
ADDRESS_SLACK_BYTES = 192 * 1024 * 1024


class _Refusal(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def main() -> int:
    """Answers the one request that comes on standard input.

    Returns:
        The exit status: 0 where an answer was given, good or bad.
    """
    # Whoever interrupts it ends it by that signal, and the supervisor can tell. As an exception it would look like the
    # bundle's: confined, this process may not even raise the signal against itself, as Python would in the end.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        document = _tried(json.loads(sys.stdin.buffer.readline(REQUEST_MAX_BYTES)), answer)
    except _Refusal as refusal:
        document = {"ok": False, "code": refusal.code, "reason": str(refusal)[:REASON_MAX_CHARACTERS]}
    except MemoryError:
        document = {"ok": False, "code": "memory", "reason": "there is not enough memory to load the bundle"}
    os.write(answer, json.dumps(document).encode() + b"\n")
    return 0


def _tried(request: Mapping[str, Any], answer: int) -> dict[str, Any]:
    limits = request["limits"]
    before = _Memory.at_rest()
    try:
        confinement = confine(
            parent=request["parent"],
            memory_bytes=limits["memory_bytes"] + ADDRESS_SLACK_BYTES,
            cpu_seconds=limits["cpu_seconds"],
            open_files=limits["open_files"],
        )
        keyring = Keyring.read(request["keyring"]) if request["keyring"] is not None else None
    except (OSError, EdgemlError) as error:
        _refuse("box", error)
    os.write(answer, b"\n")
    bundle = _read(request["bundle"], keyring)
    needed = bundle.config["requires"].get("memory_bytes", 0)
    if needed > limits["memory_bytes"]:
        raise _Refusal(
            "memory", f"the bundle asks for {needed} bytes of memory, and the box grants {limits['memory_bytes']}"
        )
    _scan(bundle)
    started = time.monotonic()
    predictor = _opened(bundle)
    loaded = time.monotonic()
    rows = _asked(predictor)
    asked = time.monotonic()
    figures = _figures(bundle, predictor, confinement)
    peak = _Memory.now().peak - before.resident
    # What stays is the predictor; the worker lets go of the bundle too.
    del bundle
    give_back()
    steady = _Memory.now().private - before.private
    return figures | {
        "load_s": loaded - started,
        "golden_rows": rows,
        "golden_s": asked - loaded,
        "peak_bytes": max(0, peak, steady),
        "steady_bytes": max(0, steady),
    }


def _read(spec: str | Mapping[str, str], keyring: Keyring | None) -> Bundle:
    try:
        if isinstance(spec, str):
            return Bundle.read(spec, keyring=keyring)
        return _from_store(Path(spec["store"]), spec["digest"], keyring)
    except SignatureError as error:
        _refuse("signature", error)
    except RequirementError as error:
        _refuse("requirement", error)
    except DigestError as error:
        # The store verified every blob when it took it in: if one differs now, the disk has changed it.
        _refuse("structure" if isinstance(spec, str) else "box", error)
    except BundleError as error:
        _refuse("structure", error)
    except (OSError, EdgemlError) as error:
        _refuse("box", error)


def _from_store(root: Path, digest: str, keyring: Keyring | None) -> Bundle:
    from edgeml.bundles.store import read_bundle

    return read_bundle(root, digest, keyring=keyring)


def _scan(bundle: Bundle) -> None:
    """Looks through the model even where the native kernel runs: it is the bundle's, and may be run one day."""
    model = bundle.members.get("model.onnx")
    if model is None:
        return
    consent = {name: bundle.config.get("session", {}).get(name) is True for name in ("control_flow", "functions")}
    try:
        scan(model, **consent)
    except ModelError as error:
        _refuse("scan", error)


def _opened(bundle: Bundle) -> Predictor | TensorPredictor:
    try:
        # Nothing is counted here, but what the worker would refuse to count by is refused now.
        drift_layout(bundle)
        return predictor_of(bundle, max_rows=Limits().rows)
    except RequirementError as error:
        _refuse("requirement", error)
    except BundleError as error:
        _refuse("structure", error)
    except ModelError as error:
        _refuse("model", error)
    except (KeyError, TypeError, ValueError) as error:
        _refuse("structure", BundleError(f"the config does not fit its task: {type(error).__name__}: {error}"))


def _asked(predictor: Predictor | TensorPredictor) -> int:
    """Asks the golden rows and a few more; gives the number of golden rows."""
    try:
        rows = check_golden_rows(predictor)
        if rows:
            warm(predictor)
        else:
            # Nobody has said what the answer should be, but there must be one.
            _ask_zeros(predictor)
    except ModelError as error:
        _refuse("golden_rows" if predictor.golden else "model", error)
    except EdgemlError as error:
        _refuse("golden_rows", error)
    except (KeyError, TypeError, ValueError) as error:
        _refuse("golden_rows", BundleError(f"a golden row does not fit the schema: {type(error).__name__}: {error}"))
    return rows


def _ask_zeros(predictor: Predictor | TensorPredictor) -> None:
    feeds = {}
    for spec in predictor.session.inputs:
        shape = tuple(1 if size < 0 else size for size in spec.shape)
        feeds[spec.name] = np.full(shape, "", dtype=object) if spec.dtype == "object" else np.zeros(shape, spec.dtype)
    try:
        predictor.session.run(feeds)
    except ModelError as error:
        raise ModelError(
            f"the bundle has no golden rows, and the model fails on a record of zeros: {error}; build it with samples"
        ) from error


def _figures(bundle: Bundle, predictor: Predictor | TensorPredictor, confinement: Confinement) -> dict[str, Any]:
    return {
        "ok": True,
        "name": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "network": confinement.network,
        "confined_by": list(confinement.means),
        "onnxruntime": _onnxruntime(),
        "backend": predictor.session.backend,
    }


def _onnxruntime() -> str | None:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return None


class _Memory:
    """Memory of this process in bytes: resident, the most that ever was, and what no other process can share."""

    def __init__(self, resident: int, peak: int, private: int) -> None:
        self.resident = resident
        self.peak = peak
        self.private = private

    @classmethod
    def now(cls) -> _Memory:
        found = {}
        with open("/proc/self/status") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("VmRSS", "VmHWM", "RssAnon"):
                    found[name] = int(value.split()[0]) * 1024
        return cls(found["VmRSS"], found["VmHWM"], found["RssAnon"])

    @classmethod
    def at_rest(cls) -> _Memory:
        """What the process needs before there is a bundle; the peak is counted anew from here.

        Private memory is taken after the garbage of importing has gone, as it is taken in the end; resident memory
        before, as the code that goes with it comes back at once.
        """
        resident = cls.now().resident
        give_back()
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return cls(resident, resident, cls.now().private)


def _refuse(code: str, error: Exception) -> NoReturn:
    text = str(error) or type(error).__name__
    if code in ("model", "golden_rows") and says_no_memory(text):
        code = "memory"
    raise _Refusal(code, text) from error


if __name__ == "__main__":
    sys.exit(main())
