"""What an exchange of bundles costs those who are asking meanwhile: B12, B13, B14, and the time to go back.

1. A supervised box (``edgeml serve --store``) with three releases of the W1 bundle runs on the server core. Requests
   come from the load core on kept connections at a fixed rate; a latency counts from the moment at which the request
   was *due*, so that a server which stands still is not asked less (no coordinated omission).
2. A round is a stretch without swaps and a stretch with them; the figure is the ratio of their 99th percentiles. Swaps
   come in two kinds: *warm* (the release gone to is still loaded) and *cold* (it is read, verified, built and tried).
3. Failed requests are counted: another status than 200, a broken connection, or an answer whose digest is of no
   release.
4. Going back is timed twice. The *command*: from the start of the process ``edgeml rollback`` to the first answer of
   the bundle gone back to, while a client keeps asking. The *call*: the same from a program that runs already.
5. Memory is that of all processes of the box, before and after.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import http_load
from benchmarks.measurement import Findings, Measurement, Say
from benchmarks.servers import free_port
from edgeml.bundles import Bundle
from edgeml.bundles.store import Store
from edgeml.supervisor.channel import nudge

RATE = 400
CONNECTIONS = 8
STRETCH_S = 6.0
WARM_SWAPS = 1000
WARM_BACKS = 20
COLD_BACKS = 10
ASK_AGAIN_S = 0.001
BACK_S = 60.0
GROWTH_SWAPS = 100
GROWTH_REQUESTS = 1_000_000
START_S = 60.0


@dataclass
class Stretch:
    """What a paced load saw.

    Attributes:
        asked: Requests that were sent.
        latencies: Seconds from the moment a request was due to its whole answer.
        failures: Requests without a good answer.
        digests: Bundles that answered.
    """

    asked: int = 0
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)

    @property
    def p99(self) -> float:
        """99th percentile in seconds."""
        return sorted(self.latencies)[int(0.99 * (len(self.latencies) - 1))]


class Box:
    """A supervised box of its own, on one core.

    Args:
        folder: Where its store is made; an earlier one is removed.
        bundle: The bundle whose releases it gets.
        core: Where it runs.
        root: The repository.
    """

    def __init__(self, folder: Path, bundle: Path, *, core: int, root: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.root = folder
        self.store = Store.create(folder, keyring=None, allow_unsigned=True)
        first = Bundle.read(bundle)
        self.digests = [
            self.store.install(Bundle.create(first.config | {"version": str(number)}, first.members))
            for number in (1, 2, 3)
        ]
        for digest in self.digests[1:]:
            self.store.activate(digest, now=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1/models/{first.name}/predict"
        self.name = first.name
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeml", "serve", "--store", str(folder), "--port", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=root,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        self._wait()

    def show(self, digest: str) -> None:
        """Makes a release answer, as an operator's command does: the record first, then the worker."""
        self.store.activate(digest, now=True)
        self.follow()

    def go_back(self, to: str | None = None) -> str:
        """Goes back to the release before, or to a named one; gives the one gone back from, which is denied now."""
        left = self.store.state().models[self.name].active
        assert left is not None
        self.store.roll_back(self.name, to, reason="benchmark")
        return left

    def follow(self) -> None:
        """Waits until the worker follows the record."""
        said = nudge(self.root)
        assert said is not None and not said.get("reason"), said

    def processes(self) -> list[psutil.Process]:
        """Supervisor and worker."""
        mother = psutil.Process(self.process.pid)
        return [mother, *mother.children(recursive=True)]

    def pss(self) -> int:
        """Proportional set size of all processes, in bytes."""
        return sum(process.memory_full_info().pss for process in self.processes())

    def stop(self) -> None:
        """Ends the box."""
        self.process.terminate()
        self.process.wait(30)

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            said = nudge(self.root, timeout_s=5.0)
            if said and said.get("models", {}).get(self.name, {}).get("ready"):
                return
            time.sleep(0.05)
        raise RuntimeError((self.root / "log").read_text())


def measure(
    findings: Findings,
    *,
    folder: Path,
    root: Path,
    server_core: int,
    load_core: int,
    rounds: int,
    wrk: str | None,
    say: Say,
) -> None:
    """Measures all of it."""
    bodies = http_load.read_bodies(folder / "edgeml_records.ndjson")
    box = Box(folder / "box", folder / "w1-lr.edgeml", core=server_core, root=root)
    os.sched_setaffinity(0, {load_core})
    try:
        _swaps(box, bodies, findings, rounds=rounds, say=say)
        _going_back(box, bodies, findings, say=say)
        _growth(box, folder, findings, load_core=load_core, wrk=wrk, say=say)
    finally:
        box.stop()
        os.sched_setaffinity(0, {server_core, load_core})


def _swaps(box: Box, bodies: list[bytes], findings: Findings, *, rounds: int, say: Say) -> None:
    steady = Measurement("swap", "steady", "s")
    kinds = {"warm": Measurement("swap", "warm swaps", "s"), "cold": Measurement("swap", "cold swaps", "s")}
    orders = {"warm": box.digests[1:], "cold": box.digests}
    failures: list[str] = []

    def swap(kind: str, pause: float) -> Stretch:
        done = [0]
        act = _swapper(box, itertools.cycle(orders[kind]), pause, done)
        seen = asyncio.run(_paced(box, bodies, STRETCH_S, act))
        failures.extend(seen.failures)
        _count(kinds[kind], seen, swaps=done[0])
        return seen

    for number in range(rounds):
        say(f"swaps under load, round {number + 1} of {rounds}")
        quiet = asyncio.run(_paced(box, bodies, STRETCH_S, None))
        steady.rounds.append(quiet.p99)
        _count(steady, quiet)
        failures += quiet.failures
        for kind, measurement in kinds.items():
            pause = STRETCH_S * rounds / WARM_SWAPS if kind == "warm" else 0.2
            measurement.rounds.append(swap(kind, pause).p99)
    while sum(each.facts["swaps"] for each in kinds.values()) < WARM_SWAPS:
        swap("warm", 0.0)
    for measurement in (steady, *kinds.values()):
        findings.add(measurement)
    for failure in failures[:3]:
        findings.notes.append(f"swap: a request failed: {failure}")


def _count(measurement: Measurement, seen: Stretch, **more: int) -> None:
    """Adds up what was asked, what failed, and what else was done, over the rounds."""
    for key, number in ({"requests": seen.asked, "failed": len(seen.failures)} | more).items():
        measurement.facts[key] = measurement.facts.get(key, 0) + number


def _swapper(box: Box, turns: itertools.cycle[str], pause: float, done: list[int]) -> Callable[[], None]:
    def swap() -> None:
        box.show(next(turns))
        done[0] += 1
        time.sleep(pause)

    return swap


def _going_back(box: Box, bodies: list[bytes], findings: Findings, *, say: Say) -> None:
    """From the decision to the first answer of the old bundle."""
    for how, back in (("command", _time_command), ("call", _time_call)):
        say(f"going back by {how}: warm and cold")
        warm, cold = Measurement("roll back", f"{how}, warm", "s"), Measurement("roll back", f"{how}, cold", "s")
        for _ in range(WARM_BACKS):
            box.show(box.digests[2])
            warm.rounds.append(back(box, bodies[0], None))
        for _ in range(COLD_BACKS):
            # Three releases take turns, and two stay loaded: the first one has to be read again.
            for digest in box.digests:
                box.show(digest)
            cold.rounds.append(back(box, bodies[0], box.digests[0]))
        findings.add(warm)
        findings.add(cold)


def _time_command(box: Box, body: bytes, to: str | None) -> float:
    model = box.store.state().models[box.name]
    wanted, left = to or model.previous, model.active
    assert wanted is not None and left is not None
    command = [sys.executable, "-m", "edgeml", "rollback", box.name, "--store", str(box.root), "--reason", "benchmark"]
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, *([] if to is None else ["--to", to])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            asyncio.run(_until(box, body, wanted))
        except BaseException:
            process.kill()
            raise
        finally:
            elapsed = time.perf_counter() - start
            said = process.communicate()[0]
    assert process.returncode == 0 and "the worker serves it" in said, said
    box.store.allow(left)
    return elapsed


def _time_call(box: Box, body: bytes, to: str | None) -> float:
    wanted = to or box.store.state().models[box.name].previous
    start = time.perf_counter()
    left = box.go_back(to)
    box.follow()
    answer = asyncio.run(_one(box, body))
    elapsed = time.perf_counter() - start
    assert answer["bundle"] == f"sha256:{wanted}", answer
    box.store.allow(left)
    return elapsed


def _growth(box: Box, folder: Path, findings: Findings, *, load_core: int, wrk: str | None, say: Say) -> None:
    turns = itertools.cycle(box.digests)

    def swap(count: int) -> None:
        for _ in range(count):
            box.show(next(turns))

    say(f"memory over {GROWTH_SWAPS} swaps")
    swap(30)
    before = Measurement("swap memory", "before", "bytes", [float(box.pss())])
    swap(GROWTH_SWAPS)
    findings.add(before)
    findings.add(Measurement("swap memory", "after", "bytes", [float(box.pss())]))
    if wrk is None:
        findings.gaps["request memory"] = "wrk is not here; the Python generator would need an hour"
        return
    say(f"memory over {GROWTH_REQUESTS:,} requests")
    sent, first = 0, 0.0
    while sent < GROWTH_REQUESTS + 50_000:
        load = http_load.press(
            box.url,
            folder / "edgeml_records.ndjson",
            seconds=3,
            connections=16,
            core=load_core,
            wrk=wrk,
            folder=folder,
        )
        sent += load.requests
        if not first and sent >= 50_000:
            first, sent = float(box.pss()), 0
    findings.add(Measurement("request memory", "before", "bytes", [first]))
    findings.add(Measurement("request memory", "after", "bytes", [float(box.pss())], facts={"requests": sent}))


async def _paced(box: Box, bodies: list[bytes], seconds: float, act: Callable[[], None] | None) -> Stretch:
    """Asks at a fixed rate for some seconds, while ``act`` is called again and again on a thread."""
    known = {f"sha256:{digest}" for digest in box.digests}
    stretch = Stretch()
    begin = time.perf_counter() + 0.05
    due = (begin + number / RATE for number in range(int(RATE * seconds)))
    requests = itertools.cycle([_request(box, body) for body in bodies])
    ended = asyncio.Event()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
        try:
            for moment in due:
                await asyncio.sleep(max(0.0, moment - time.perf_counter()))
                writer.write(next(requests))
                stretch.asked += 1
                try:
                    header = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(http_load.content_length(header))
                except (OSError, asyncio.IncompleteReadError) as error:
                    stretch.failures.append(repr(error))
                    reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
                    continue
                stretch.latencies.append(time.perf_counter() - moment)
                digest = json.loads(body).get("bundle")
                stretch.digests.add(digest)
                if header.split(b" ", 2)[1] != b"200" or digest not in known:
                    stretch.failures.append(body[:200].decode())
        finally:
            writer.close()

    async def acting() -> None:
        while act is not None and not ended.is_set():
            await asyncio.to_thread(act)

    actor = asyncio.create_task(acting())
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    ended.set()
    await actor
    return stretch


def _request(box: Box, body: bytes) -> bytes:
    path = box.url.split(str(box.port), 1)[1]
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _one(box: Box, body: bytes) -> dict[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
    answer = await _ask(box, body, reader, writer)
    writer.close()
    return answer


async def _until(box: Box, body: bytes, digest: str) -> None:
    """Asks on one connection until a bundle answers.

    Raises:
        TimeoutError: It does not.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
    async with asyncio.timeout(BACK_S):
        while (await _ask(box, body, reader, writer))["bundle"] != f"sha256:{digest}":
            await asyncio.sleep(ASK_AGAIN_S)
    writer.close()


async def _ask(box: Box, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str]:
    writer.write(_request(box, body))
    header = await reader.readuntil(b"\r\n\r\n")
    answer = json.loads(await reader.readexactly(http_load.content_length(header)))
    assert isinstance(answer, dict)
    return answer
