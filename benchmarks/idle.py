"""What a box costs that nobody asks: B14, beside a bare thread that wakes as often and does nothing.

CPU time is the scheduler's, in nanoseconds (``/proc/PID/task/*/schedstat``): the usual clock ticks every 10 ms, and the
whole of a minute here is a few of them. The floor is what the machine itself takes for waking a thread so often, which
differs more between machines than the service does. Rounds of both alternate, and while one is measured the other is
not there, because a machine that is awake wakes more cheaply.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measurement import BARE_THREAD, SHARE, Findings, Measurement, Say
from benchmarks.swaps import Box

SETTLE_S = 3.0
IDLE_S = 20.0
_SLEEPER = "import sys, time\nwhile True: time.sleep(float(sys.argv[1]))"


def measure(findings: Findings, *, folder: Path, root: Path, core: int, rounds: int, say: Say) -> None:
    """Measures both, in turn.

    Args:
        findings: Where the measurements go, as shares of a core; how often the service woke is among its facts.
        folder: Folder of artifacts.
        root: The repository.
        core: CPU core of both.
        rounds: How many rounds.
        say: Told what takes long.
    """
    ours, floor = Measurement("idle", "edgeml", SHARE), Measurement("idle", BARE_THREAD, SHARE)
    wakes: list[float] = []
    for number in range(rounds):
        say(f"idle, round {number + 1} of {rounds}")
        box = Box(folder / "idle-box", folder / "w1-lr.edgeml", core=core, root=root)
        try:
            share, woken = _idle([each.pid for each in box.processes()])
        finally:
            box.stop()
        ours.rounds.append(share)
        wakes.append(woken)
        sleeper = subprocess.Popen(
            [sys.executable, "-S", "-c", _SLEEPER, str(1 / max(woken, 0.1))],
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            floor.rounds.append(_idle([sleeper.pid])[0])
        finally:
            sleeper.kill()
            sleeper.wait()
    ours.facts["wakes per second"] = wakes
    findings.add(ours)
    findings.add(floor)


def _idle(pids: list[int]) -> tuple[float, float]:
    """Share of a core, and how often a thread woke in a second."""
    time.sleep(SETTLE_S)
    begin, before = time.monotonic(), _spent(pids)
    time.sleep(IDLE_S)
    seconds, after = time.monotonic() - begin, _spent(pids)
    nanoseconds, switches = (sum(after[task][at] - before[task][at] for task in before.keys() & after) for at in (0, 1))
    return nanoseconds / 1e9 / seconds, switches / seconds


def _spent(pids: list[int]) -> dict[Path, tuple[int, int]]:
    """Nanoseconds on a processor, and how often it was given one, by thread."""
    spent = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            running, _, slices = (task / "schedstat").read_text().split()
            spent[task] = int(running), int(slices)
    return spent
