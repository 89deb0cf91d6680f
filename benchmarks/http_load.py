"""Load over HTTP/1.1 with kept connections, from the load core.

1. ``wrk`` (C, one thread) where it is installed: it outruns every server here. As root on Debian it is installed.
2. Else our own asyncio generator, in Python: it saturates at some 10,000 requests a second, so that fast servers look
   slower than they are; the table then says so.
3. Both walk through all bodies, count every answer that is not 200 as an error, and measure a closed loop: their
   latencies are those of a saturated server, not of a paced client.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LUA = """
local bodies = {}
local turn = 0
init = function(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines("%(bodies)s") do
    bodies[#bodies + 1] = wrk.format(nil, nil, nil, line)
  end
end
request = function()
  turn = turn %% #bodies + 1
  return bodies[turn]
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%%d,"us":%%d,"errors":%%d,"p50":%%f,"p99":%%f}\\n', summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What a round of load saw.

    Attributes:
        requests: Answers with status 200.
        seconds: Wall time.
        errors: Answers with another status, and broken connections.
        p50_us: Median latency under saturation.
        p99_us: 99th percentile.
    """

    requests: int
    seconds: float
    errors: int
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def find_wrk(say: Callable[[str], None]) -> str | None:
    """Finds ``wrk``; installs Debian's when it is missing and may be installed."""
    found = shutil.which("wrk")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing wrk with apt-get (once)")
        quiet = {"check": False, "capture_output": True, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], **quiet)  # type: ignore[call-overload]
        found = shutil.which("wrk")
    if found is None:
        say(
            "wrk is not here (apt-get install wrk): using the Python generator, which saturates at some 10,000 "
            "requests/s; the figures of fast servers will be too low"
        )
    return found


def press(
    url: str, bodies: Path, *, seconds: float, connections: int, core: int, wrk: str | None, folder: Path
) -> Load:
    """Presses a server for some seconds.

    Args:
        url: Where to POST.
        bodies: File of bodies, one a line.
        seconds: How long.
        connections: How many kept connections, each with one request in flight.
        core: CPU core to load from.
        wrk: Path of wrk, or None for the Python generator.
        folder: Where wrk's script may be written.
    """
    if wrk is None:
        return asyncio.run(_press(url, read_bodies(bodies), connections, seconds=seconds, count=None))
    script = folder / "wrk.lua"
    script.write_text(LUA % {"bodies": bodies})
    # wrk takes whole seconds only.
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    found = json.loads(done.stdout.split("RESULT ")[1])
    errors = int(found["errors"])
    return Load(found["requests"] - errors, found["us"] / 1e6, errors, found["p50"], found["p99"])


def send(url: str, bodies: Path, *, count: int, connections: int) -> Load:
    """Sends exactly ``count`` requests with the Python generator."""
    return asyncio.run(_press(url, read_bodies(bodies), connections, seconds=None, count=count))


def read_bodies(path: Path) -> list[bytes]:
    """Reads a file of bodies, one a line."""
    return path.read_bytes().splitlines()


async def _press(
    url: str, bodies: Sequence[bytes], connections: int, *, seconds: float | None, count: int | None
) -> Load:
    address, path = url.removeprefix("http://").split("/", 1)
    host, port = address.split(":")
    head = f"POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [head.encode() + str(len(body)).encode() + b"\r\n\r\n" + body for body in bodies]
    taken = answered = errors = 0
    latencies: list[float] = []
    start = time.perf_counter()
    end = None if seconds is None else start + seconds

    async def connection() -> None:
        nonlocal taken, answered, errors
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            while (count is None or taken < count) and (end is None or time.perf_counter() < end):
                request = requests[taken % len(requests)]
                taken += 1
                sent = time.perf_counter()
                writer.write(request)
                header = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(content_length(header))
                latencies.append(time.perf_counter() - sent)
                if header.split(b" ", 2)[1] == b"200":
                    answered += 1
                else:
                    errors += 1
        finally:
            writer.close()

    for outcome in await asyncio.gather(*(connection() for _ in range(connections)), return_exceptions=True):
        if isinstance(outcome, (OSError, asyncio.IncompleteReadError)):
            errors += 1
        elif outcome is not None:
            raise outcome
    wall = time.perf_counter() - start
    latencies.sort()
    p50, p99 = (latencies[int(share * (len(latencies) - 1))] * 1e6 if latencies else 0.0 for share in (0.5, 0.99))
    return Load(answered, wall, errors, p50, p99)


def content_length(header: bytes) -> int:
    """Reads Content-Length out of a response's header."""
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("the server gave an answer without Content-Length")
