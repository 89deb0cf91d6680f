"""What watching costs: the same bundle asked with it and without it, in one process, in turn.

1. A round asks both sides in blocks of about 2 ms, in turn; the figure of a round is the ratio of their fast blocks
   (the tenth percentile). The difference is some hundredths, and on a shared machine most blocks are disturbed by more.
2. ``one``: the Predictor alone (B1 and, with the rule, B5); ``in the engine``: what a worker asks, with its clock, its
   latency histograms and the tally on both sides; ``batch``: 1,000 records by column (B4); ``captured``: a request of
   one record from body to body, without a server in front, with one record in a hundred captured and with none;
   ``in the service``: the same with all watching, and with neither drift counters nor capture.
3. A watched record's scores are read and counted in one call, which is faster than numpy's ``tolist`` on the side that
   is not watched: a ratio below 1 says so, and not that counting takes no time.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.in_process import Probe
from benchmarks.measurement import Findings, Measurement, Say

PROBE = "watching"
# The whole watching may add a tenth to B1; counting records and answers, a part of it, half as much. What it adds to
# the others is shown: their own budgets, against the peers, hold with watching.
BUDGETS = dict.fromkeys(("w1-lr one", "w1-lr one in the engine", "w1-lr in the service"), "<= 1.1x | <= 1.05x")
CASES = {
    "w1-lr one": "one record, the model answers (B1)",
    "w1-rules one": "one record, a rule answers (B5)",
    "w1-lr one in the engine": "the same as B1, asked as a worker asks",
    "w1-lr captured": "capture at 1 % instead, one record from body to body",
    "w1-lr in the service": "both, one record from body to body",
    "w1-lr batch": "1,000 records, the model answers (B4)",
}


def measure(findings: Findings, *, folder: Path, root: Path, core: int, rounds: int, seconds: float, say: Say) -> None:
    """Measures both sides of all cases.

    Args:
        findings: Where the measurements go; that of the watched side has its ratio to the other in each round among
            its facts.
        folder: Folder of artifacts.
        root: The repository.
        core: CPU core.
        rounds: How many rounds.
        seconds: Length of a round for each side.
        say: Told what takes long.
    """
    probe = Probe(PROBE, "", folder=folder, core=core, root=root)
    try:
        for case in CASES:
            sides = {how: f"{case}, {how}" for how in ("unwatched", "counted")}
            found = {how: Measurement(case, how, "s/call") for how in sides}
            ratios = []
            for number in range(rounds):
                say(f"watching, {case}, round {number + 1} of {rounds}")
                got = probe.ask(do="together", works=list(sides.values()), seconds=seconds)
                for how, work in sides.items():
                    found[how].rounds.append(got[work]["seconds"])
                    found[how].cpu.append(got[work]["cpu"])
                off, on = (sorted(got[work]["blocks"]) for work in sides.values())
                ratios.append(on[len(on) // 10] / off[len(off) // 10])
            found["counted"].facts["ratios"] = ratios
            for measurement in found.values():
                measurement.predictions = 1_000 if "batch" in case else 1
                findings.add(measurement)
    finally:
        probe.close()


def table(findings: Findings) -> str:
    """The cases in Markdown; empty where they were not measured."""
    rows = [
        "| watching (the drift counters) | without | with | ratio | must | goal |",
        "|---|---|---|---|---|---|",
    ]
    for case, what in CASES.items():
        off, on = findings.measurements.get(f"{case}/unwatched"), findings.measurements.get(f"{case}/counted")
        if off is None or on is None:
            return ""
        ratios = sorted(on.facts["ratios"])
        rows.append(
            f"| {what} | {off.median * 1e6:,.2f} us | {on.median * 1e6:,.2f} us | {statistics.median(ratios):.3f}x "
            f"({ratios[0]:.3f}-{ratios[-1]:.3f}) | {BUDGETS.get(case, '|')} |"
        )
    return "\n".join(rows) + "\n"
