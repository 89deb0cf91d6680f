"""A candidate bundle is tried where it can do no harm: in a throw-away process, with limits, before it may serve.

1. The child (``edgeml.serving.admission``) is only ever spoken to by one line in and one line out. What it says is
   taken for what a broken or hijacked process may say: bounded, checked, and worth nothing if the process then died.
2. A bundle that is at fault raises AdmissionError, and may be denied. A box that is at fault raises OSError, and
   nothing may be held against the bundle: no process could be made, it died before it looked at the bundle, the disk
   does not read, the keyring is damaged.
3. There is always an end: processor time is limited in the child, time on the wall here, by killing it.

The supervisor needs none of the runtime for this; it survives whatever the child dies of. ``admit`` must be called
from a thread that lives until it returns, as the kernel kills the child with the thread that made it.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from edgeml.bundles.box_settings import BoxSettings
from edgeml.errors import AdmissionError

CHILD = "edgeml.serving.admission"
ANSWER_MAX_BYTES = 64 * 1024
# What is kept of standard error, and what of it is shown.
ERRORS_KEPT_BYTES = 4096
ERRORS_SHOWN_CHARACTERS = 400
# Memory that must remain free beside two predictors: the page cache, requests, everybody else on the box.
RESERVE_BYTES = 32 * 1024 * 1024

_MIB = 1024 * 1024
# The child writes it when it is confined and begins to look at the bundle. To JSON it is nothing.
_LOOKED = b"\n"
_CODES = ("signature", "structure", "requirement", "scan", "model", "golden_rows", "memory")


@dataclass(frozen=True)
class Budget:
    """What a bundle may take of this box while it is tried.

    Attributes:
        memory_bytes: Memory beyond that of a process without a bundle, in bytes, at the highest point.
        cpu_seconds: Processor time of the trial.
        wall_seconds: Time of the trial on the wall; then the process is killed.
        open_files: Files open at a time.
        load_seconds: Longest time from the verified bundle to a model that can be asked.
    """

    memory_bytes: int = 512 * _MIB
    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    open_files: int = 64
    load_seconds: float = 30.0

    @classmethod
    def of(cls, settings: BoxSettings) -> Budget:
        """What the operator of a box grants."""
        return cls(
            memory_bytes=settings.admission_memory_bytes,
            cpu_seconds=settings.admission_cpu_seconds,
            wall_seconds=settings.admission_wall_seconds,
            load_seconds=settings.admission_load_seconds,
        )


@dataclass(frozen=True)
class Admission:
    """A bundle that may run on this box, and what it took.

    Attributes:
        name: The bundle's name.
        version: Its version label.
        digest: Its digest, ``sha256:...``.
        load_s: Seconds from the verified bundle to a model that can be asked.
        golden_rows: Number of golden rows that were answered as expected.
        golden_s: Seconds that they took.
        peak_bytes: Most memory while it was read, opened and asked, in bytes, beyond a process without a bundle;
            ONNX Runtime itself is in it where the bundle needs it.
        steady_bytes: Memory that stayed afterwards, in bytes.
        network: ``none``, or ``open`` where the kernel offers no way to close it.
        confined_by: What closed it: ``namespace``, ``seccomp``.
        onnxruntime: Version of ONNX Runtime on the box; None without one.
        backend: What runs the model: ``native``, ``c`` or ``python``.
    """

    name: str
    version: str
    digest: str
    load_s: float
    golden_rows: int
    golden_s: float
    peak_bytes: int
    steady_bytes: int
    network: str
    confined_by: tuple[str, ...]
    onnxruntime: str | None
    backend: str


def admit(
    bundle_spec: str | Path | Mapping[str, str], *, keyring_path: str | Path | None, budget: Budget | None = None
) -> Admission:
    """Tries a bundle in a process of its own.

    Args:
        bundle_spec: Path of an ``.edgeml`` file, or ``{"store": DIR, "digest": "sha256:..."}``.
        keyring_path: The keys to trust; None where the operator asks for no signatures.
        budget: What it may take; None for the defaults.

    Raises:
        AdmissionError: The bundle may not run on this box; ``code`` says why in a word, the message in a sentence.
        OSError: The box could not try it; try again when the box is well.
    """
    budget = budget or Budget()
    store = {key: str(value) for key, value in bundle_spec.items()} if isinstance(bundle_spec, Mapping) else None
    request = {
        "bundle": str(bundle_spec) if store is None else store,
        "keyring": None if keyring_path is None else str(keyring_path),
        "parent": os.getpid(),
        "limits": {
            "memory_bytes": budget.memory_bytes,
            "cpu_seconds": budget.cpu_seconds,
            "open_files": budget.open_files,
        },
    }
    admission = _judged(_run(request, budget), budget)
    if store is not None and admission.digest != store["digest"]:
        raise OSError(f"the store gave the bundle {admission.digest} for {store['digest']}")
    return admission


class _End(NamedTuple):
    """How a child ended: what it said, what it complained of, its status, and whether we ended it and why."""

    answer: bytes
    errors: bytes
    status: int
    killed_for: str


def _run(request: Mapping[str, Any], budget: Budget) -> _End:
    process = subprocess.Popen(
        # -P: no module is taken from where the supervisor happens to stand. -B: nothing is written.
        [sys.executable, "-P", "-B", "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        # One thread and one arena, so that address space is a measure of memory. A tty's Ctrl-C is for us.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        start_new_session=True,
    )
    deadline = time.monotonic() + budget.wall_seconds
    with process:
        try:
            answer, errors, killed_for = _spoken(process, json.dumps(request).encode() + b"\n", deadline)
            if not killed_for:
                try:
                    process.wait(timeout=max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    killed_for = "time"
        finally:
            process.kill()
        status = process.wait()
    return _End(answer, errors, status, killed_for)


def _spoken(process: subprocess.Popen[bytes], request: bytes, deadline: float) -> tuple[bytes, bytes, str]:
    """Sends the request and takes in what comes, bounded in bytes and time."""
    assert process.stdin and process.stdout and process.stderr
    answer, errors = bytearray(), bytearray()
    try:
        # Smaller than a pipe's buffer, so this does not wait for the child.
        process.stdin.write(request)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; its status says of what
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ, answer)
        waiting.register(process.stderr, selectors.EVENT_READ, errors)
        while waiting.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return bytes(answer), bytes(errors), "time"
            for key, _ in waiting.select(left):
                piece = os.read(key.fd, ANSWER_MAX_BYTES)
                if not piece:
                    waiting.unregister(key.fileobj)
                key.data.extend(piece)
            del errors[:-ERRORS_KEPT_BYTES]
            if len(answer) > ANSWER_MAX_BYTES:
                return bytes(answer), bytes(errors), "size"
    return bytes(answer), bytes(errors), ""


def _judged(end: _End, budget: Budget) -> Admission:
    if not end.answer:
        raise OSError(f"this box could not try the bundle: the process for it {_fate(end)}{_said(end)}")
    if end.killed_for == "time":
        raise AdmissionError(
            f"the bundle was not ready after {budget.wall_seconds:g} s, the time that the box grants{_said(end)}",
            code="time",
        )
    if end.killed_for == "size":
        raise AdmissionError(
            f"the process that tried the bundle wrote more than {ANSWER_MAX_BYTES} bytes{_said(end)}", code="crash"
        )
    if -end.status in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Nothing in a bundle sends these: somebody ended the process.
        raise OSError(f"this box could not try the bundle: the process for it {_fate(end)}{_said(end)}")
    if end.status < 0:
        raise _killed(-end.status, end, budget)
    document = _document(end) if end.status == 0 else None
    if document is None:
        raise AdmissionError(
            f"the process that tried the bundle ended with status {end.status} and no answer{_said(end)}", code="crash"
        )
    if not document["ok"]:
        if document["code"] == "box":
            raise OSError(f"this box could not try the bundle: {document['reason']}")
        raise AdmissionError(_with_budget(document["code"], document["reason"], budget), code=document["code"])
    admission = Admission(
        **{key: value for key, value in document.items() if key not in ("ok", "confined_by")},
        confined_by=tuple(document["confined_by"]),
    )
    if admission.peak_bytes > budget.memory_bytes:
        raise AdmissionError(
            f"the bundle took {_mib(admission.peak_bytes)} at its highest point, and the box grants "
            f"{_mib(budget.memory_bytes)}",
            code="memory",
        )
    if admission.load_s > budget.load_seconds:
        raise AdmissionError(
            f"the bundle took {admission.load_s:.1f} s to load, and the box grants {budget.load_seconds:g} s",
            code="time",
        )
    return admission


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _fate(end: _End) -> str:
    if end.killed_for:
        return "was not ready in time"
    return f"was killed by {_name(-end.status)}" if end.status < 0 else f"ended with status {end.status}"


def _killed(number: int, end: _End, budget: Budget) -> AdmissionError:
    name = _name(number)
    if number == signal.SIGXCPU:
        return AdmissionError(
            f"killed by {name}: the bundle needed more than {budget.cpu_seconds} s of processor time", code="time"
        )
    reason = f"killed by {name} while loading"
    if number == signal.SIGKILL:
        # Nobody here did it: it was the kernel, for want of memory or after SIGXCPU was held back, or an operator.
        reason += f"; most likely it needed more memory than the box has (granted: {_mib(budget.memory_bytes)})"
        return AdmissionError(reason + _said(end), code="memory")
    return AdmissionError(reason + _said(end), code="crash")


def _with_budget(code: str, reason: str, budget: Budget) -> str:
    return f"{reason} (memory granted: {_mib(budget.memory_bytes)})" if code == "memory" else reason


def _said(end: _End) -> str:
    """The end of what stood on standard error, on one line."""
    text = " ".join(end.errors.decode(errors="replace").split())
    return f"; it said: {text[-ERRORS_SHOWN_CHARACTERS:]}" if text else ""


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= cast(float, value) < math.inf


_FIGURES = {
    "name": _is_text,
    "version": _is_text,
    "digest": _is_text,
    "load_s": _is_time,
    "golden_rows": _is_count,
    "golden_s": _is_time,
    "peak_bytes": _is_count,
    "steady_bytes": _is_count,
    "network": lambda value: value in ("none", "open"),
    "confined_by": lambda value: type(value) is list and all(map(_is_text, value)),
    "onnxruntime": lambda value: value is None or _is_text(value),
    "backend": _is_text,
}


def _document(end: _End) -> dict[str, Any] | None:
    """The answer; None where it is not one that a sound child gives."""
    try:
        document = json.loads(end.answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if document.get("ok") is True:
        fits = document.keys() == {"ok", *_FIGURES} and all(test(document[key]) for key, test in _FIGURES.items())
        return document if fits else None
    if document.get("ok") is False:
        fits = document.get("code") in (*_CODES, "box") and _is_text(document.get("reason"))
        return document if fits else None
    return None
