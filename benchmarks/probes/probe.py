"""One contestant in a process of its own, asked for one round at a time, so that rounds of contestants interleave.

1. The runner starts the probe pinned to the server core; the probe loads everything and says it is ready.
2. One JSON command a line on stdin, one JSON answer a line on stdout. A probe that is not asked sleeps in read().
3. A round repeats blocks of about 2 ms for the time asked and gives the median block, so that one interrupt of a
   shared machine does not move it; CPU seconds are counted over the whole round.

Standard library only: it runs in every contestant's environment.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

BLOCK_S = 0.002
MAX_BLOCK_CALLS = 20_000


@dataclass(frozen=True)
class Work:
    """Something that can be asked again and again.

    Attributes:
        run: Makes n calls, walking through the prepared inputs.
        answers: The labels of all prepared inputs, in order, to compare contestants.
        predictions: Predictions that one call gives.
    """

    run: Callable[[int], object]
    answers: Callable[[], list[int]]
    predictions: int = 1


def measure(work: Work, seconds: float) -> dict[str, Any]:
    """Measures one round.

    Args:
        work: What to call.
        seconds: Length of the round; at least three blocks are run.

    Returns:
        ``seconds`` (per call, median block), ``cpu`` (CPU seconds per call), ``calls``.
    """
    return measure_together({"": work}, seconds)[""]


def measure_together(works: Mapping[str, Work], seconds: float) -> dict[str, dict[str, Any]]:
    """Measures several works in one round, block by block in turn, so that the machine's moods strike all alike.

    Args:
        works: Name -> what to call.
        seconds: Length of the round for each work.

    Returns:
        For each work what ``measure`` gives, and ``blocks``: seconds per call of each block, in order; the k-th blocks
        of all works were taken one after the other.
    """
    calls = {name: _calls(work) for name, work in works.items()}
    blocks: dict[str, list[float]] = {name: [] for name in works}
    cpu = dict.fromkeys(works, 0.0)
    end = time.perf_counter() + seconds * len(works)
    turns = [list(works), list(reversed(works))]
    while min(map(len, blocks.values())) < 3 or time.perf_counter() < end:
        # There and back again: whoever comes second would have the cache of whoever came first.
        for name in turns[len(blocks[turns[0][0]]) % 2]:
            before, start = time.process_time(), time.perf_counter()
            works[name].run(calls[name])
            blocks[name].append(time.perf_counter() - start)
            cpu[name] += time.process_time() - before
    return {
        name: {
            "seconds": statistics.median(found) / calls[name],
            "cpu": cpu[name] / (calls[name] * len(found)),
            "calls": calls[name] * len(found),
            "blocks": [block / calls[name] for block in found],
        }
        for name, found in blocks.items()
    }


def _calls(work: Work) -> int:
    """How many calls make a block."""
    calls = 1
    while calls < MAX_BLOCK_CALLS:
        start = time.perf_counter()
        work.run(calls)
        if time.perf_counter() - start >= BLOCK_S:
            break
        calls *= 2
    return calls


def serve(works: Mapping[str, Work], about: Mapping[str, Any]) -> None:
    """Answers the runner until stdin closes.

    Args:
        works: Name -> work.
        about: Facts to report when ready, such as versions.
    """
    say({"ready": True, "works": list(works), "about": dict(about)})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "together":
            say(measure_together({name: works[name] for name in command["works"]}, command["seconds"]))
            continue
        work = works[command["work"]]
        if command["do"] == "answers":
            say({"answers": work.answers()})
        else:
            say(measure(work, command["seconds"]) | {"predictions": work.predictions})


def say(document: Mapping[str, Any]) -> None:
    """Writes one line to the runner."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def walk(call: Callable[[Any], object], inputs: list[Any]) -> Callable[[int], None]:
    """Makes a ``run`` that calls with one input after the other, round and round."""
    position = 0

    def run(n: int) -> None:
        nonlocal position
        while n > 0:
            part = inputs[position : position + n]
            for given in part:
                call(given)
            n -= len(part)
            position = (position + len(part)) % len(inputs)

    return run
