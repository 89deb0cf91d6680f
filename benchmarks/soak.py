"""A long run of requests of random strings and sizes: whether memory stays where it was.

1. The bodies are made anew in each run, from a seed that is told: records whose categories are random strings, unknown
   fields of random names, values of wrong types, bodies cut short, long texts, batches. So the counters by field and
   reason, the tables of unknown names and the buffers meet what they were not made for.
2. What is refused is refused with 4xx, which the load generator counts; anything else is a failure.
3. Memory is the proportional set size, first after 150,000 requests, which fill every buffer, and then after the rest.
"""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

from benchmarks import contestants, http_load, workloads
from benchmarks.measurement import Findings, Measurement, Say
from benchmarks.servers import Server

REQUESTS = 1_000_000
# Bodies of so many kinds fill the last buffer late.
WARM = 150_000
BODIES = 4096
SEED = 1
STRETCH_S = 5.0
# Letters of one, two, three and four bytes, and what JSON has to escape.
LETTERS = string.ascii_letters + string.digits + ' "\\\n\täößéŁжは中🙂'


def bodies(seed: int = SEED, count: int = BODIES) -> list[bytes]:
    """Random bodies, one a line; a third of them are as they should be, but for their strings."""
    dice = random.Random(seed)
    good = workloads.records(workloads.asked_table())

    def word(most: int = 40) -> str:
        return "".join(dice.choices(LETTERS, k=int(most ** dice.random())))

    def record() -> dict[str, object]:
        made: dict[str, object] = dict(dice.choice(good))
        for name in workloads.CATEGORIES:
            if dice.random() < 0.5:
                made[name] = word()
        return made

    def spoilt() -> dict[str, object]:
        made = record()
        kind = dice.randrange(4)
        if kind == 0:
            made[word()] = word(400)
        elif kind == 1:
            made[dice.choice(workloads.NUMERIC)] = word(4000)
        elif kind == 2:
            made.pop(dice.choice(list(made)))
        else:
            made[dice.choice(list(made))] = [[word()] * dice.randrange(4)]
        return made

    out = []
    for number in range(count):
        kind = number % 6
        if kind < 2:
            document: object = {"records": [record()]}
        elif kind == 2:
            document = {"records": [record() for _ in range(dice.randrange(1, 60))], "id": word(200)}
        elif kind == 3:
            document = {"records": [spoilt() if dice.random() < 0.3 else record() for _ in range(8)], "partial": True}
        else:
            document = {"records": [spoilt()]}
        body = json.dumps(document, ensure_ascii=dice.random() < 0.5).encode()
        if kind == 5:
            body = body[: dice.randrange(1, len(body))]
        out.append(body.replace(b"\n", b" "))
    return out


def measure(
    findings: Findings,
    *,
    folder: Path,
    root: Path,
    server_core: int,
    load_core: int,
    wrk: str | None,
    expected: int,
    say: Say,
) -> None:
    """Measures it for the W1 bundle; ``expected`` is the label of its first record."""
    if wrk is None:
        findings.gaps["soak"] = "wrk is not here; the Python generator would need an hour"
        return
    path = folder / "soak.ndjson"
    path.write_bytes(b"\n".join(bodies()) + b"\n")
    recipe = contestants.edgeml_service("w4", folder)
    server = Server(recipe, core=server_core, log=folder / "soak_edgeml.log", root=root)
    try:
        server.wait_until_right(expected)
        before = 0.0
        sent = refused = 0
        while sent < WARM + REQUESTS:
            say(f"soak: {sent:,} of {WARM + REQUESTS:,} requests")
            load = http_load.press(
                server.url, path, seconds=STRETCH_S, connections=16, core=load_core, wrk=wrk, folder=folder
            )
            sent, refused = sent + load.requests + load.errors, refused + load.errors
            if not before and sent >= WARM:
                before = float(server.pss())
        after = float(server.pss())
    finally:
        server.stop()
    findings.add(Measurement("soak", "before", "bytes", [before]))
    findings.add(Measurement("soak", "after", "bytes", [after], facts={"requests": sent, "refused": refused}))
