"""How often the drift alarms are wrong, and how late they are: ``python -m benchmarks.drift_alarms``.

1. False alarms: healthy streams of 20,000 rows, looked at every 100 rows; the share of streams that ever reach the
   threshold, with its upper 99 % bound (Clopper-Pearson), beside the bound that is promised.
2. Delay: rows from a change, misaligned with the sub-windows, to the alarm.
3. What rows that depend on each other do to the first table, and what counting fewer of them repairs.
4. Beside river's detectors on the same streams: synthetic ones, and a measured one with annotated changes.

Writes benchmarks/results/drift-alarms.md. Some minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import beta, norm

from benchmarks import drift_simulation as simulation
from benchmarks import environments
from edgeml.monitor.alarms import MIN_EFFECT, FalseAlarmBudget, judge, log_threshold
from edgeml.monitor.drift_evidence import DriftEvidence, design_effect
from edgeml.monitor.windows import ROWS, SubWindows

RESULTS = Path(__file__).resolve().parent / "results"
ROWS_HEALTHY = 20_000
STARTS = ROWS_HEALTHY / ROWS
COLUMNS = 20
CHUNK = 250
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# (references, true shares) for a number of streams and of reference rows
Column = Callable[[np.random.Generator, int, int], tuple[Ints, Floats]]


def number(rng: np.random.Generator, streams: int, m: int) -> tuple[Ints, Floats]:
    """32 bins between order statistics of the reference, none missing: missing, below, bins, above."""
    counts = np.diff(np.linspace(0, m, 33).round().astype(np.int64))
    reference = np.tile(np.concatenate([[0, 0], counts, [0]]), (streams, 1))
    shares = rng.dirichlet(np.concatenate([[1.0], counts, [1.0]]), size=streams)
    return reference, np.concatenate([np.zeros((streams, 1)), shares], axis=1)


def moved(shares: Floats, shift: float) -> Floats:
    """The bins' shares when normal numbers move by ``shift`` standard deviations."""
    edges = norm.ppf(np.clip(shares[:, 1:-1].cumsum(1), 0, 1))
    reached = norm.cdf(edges - shift)
    bins = np.diff(np.concatenate([np.zeros_like(reached[:, :1]), reached, np.ones_like(reached[:, :1])], axis=1))
    return np.concatenate([np.zeros((len(shares), 1)), bins], axis=1)


def levels(shares: Floats) -> Column:
    """A category: missing, unseen, then the levels that its reference has; others are unseen."""

    def make(rng: np.random.Generator, streams: int, m: int) -> tuple[Ints, Floats]:
        reference = rng.multinomial(m, shares, size=streams)
        true = np.where(reference > 0, shares, 0.0)
        outside = np.zeros((streams, 2))
        outside[:, 1] = 1 - true.sum(1)
        return np.concatenate([outside.astype(np.int64) * 0, reference], axis=1), np.concatenate(
            [outside, true], axis=1
        )

    return make


def fixed(shares: Floats) -> Column:
    """Bins that do not depend on the reference, such as those of a confidence or of a text's length."""

    def make(rng: np.random.Generator, streams: int, m: int) -> tuple[Ints, Floats]:
        return rng.multinomial(m, shares, size=streams), np.tile(shares, (streams, 1))

    return make


def _zipf(n: int, power: float) -> Floats:
    weights = 1 / np.arange(1, n + 1) ** power
    return np.asarray(weights / weights.sum())


HEALTHY: dict[str, Column] = {
    "number, 32 quantile bins": number,
    "category, 20 levels (Zipf)": levels(_zipf(20, 1.0)),
    "category, 64 levels (Zipf, power 2)": levels(_zipf(64, 2.0)),
    "category, 39 levels of 0.05 %": levels(np.array([1 - 39 * 0.0005, *[0.0005] * 39])),
    "confidence, 4 of 22 bins in use": fixed(np.array([0.6, 0.25, 0.1, 0.05, *[0.0] * 18])),
    "confidence, 22 bins, rare tail": fixed(_zipf(22, 3.0)),
}


def pieces(rng: np.random.Generator, shares: Floats, n: int, rows: int) -> Ints:
    """n pieces of so many rows for each stream."""
    # float rounding may leave a sum a hair above 1, which numpy refuses
    safe = shares / shares.sum(1, keepdims=True)
    return np.stack([rng.multinomial(rows, safe) for _ in range(n)], axis=1)


def upper_bound(events: int, trials: int) -> float:
    """Clopper and Pearson's upper 99 % bound of a rate."""
    return 1.0 if events == trials else float(beta.ppf(0.99, events + 1, trials - events))


def false_alarms(rng: np.random.Generator, streams: int, others: int, say: Callable[[str], None]) -> list[str]:
    """The first table."""
    promised = {800: STARTS / 800, 4_000: STARTS / 4_000}
    lines = [
        "| column | reference rows | streams | reach t = 800: promised 5 % | upper 99 % |"
        " reach t = 4,000: promised 1 % | upper 99 % | with effect >= 0.1, t = 800 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, make in HEALTHY.items():
        for m in (200, 1_000, 5_000, 20_000):
            wanted = streams if make is number and m > 200 else others
            tops, drifts = [], 0
            for done in range(0, wanted, CHUNK):
                size = min(CHUNK, wanted - done)
                reference, shares = make(rng, size, m)
                looks = simulation.watch(
                    simulation.References.of(reference, ordered=not name.startswith("category")),
                    pieces(rng, shares, ROWS_HEALTHY // 100, 100),
                    100,
                )
                tops.append(looks.log_evidence.max(1))
                drifts += int(((looks.log_evidence >= np.log(800)) & (looks.effect >= MIN_EFFECT)).any(1).sum())
            top = np.concatenate(tops)
            cells = []
            for threshold in promised:
                events = int((top >= np.log(threshold)).sum())
                cells += [_percent(events / wanted), _percent(upper_bound(events, wanted))]
            lines.append(f"| {name} | {m:,} | {wanted:,} | {' | '.join(cells)} | {_percent(drifts / wanted)} |")
            say(lines[-1])
    return lines


def delays(rng: np.random.Generator, streams: int, say: Callable[[str], None]) -> list[str]:
    """The second table."""
    starts = FalseAlarmBudget(days=30).starts()
    thresholds = {"t = 800": np.log(800), f"30 days, {COLUMNS} columns": log_threshold(COLUMNS, starts)}
    lines = [
        "| reference rows | what changes | size (PSI) | "
        + " | ".join(f"evidence, {name}" for name in thresholds)
        + " | "
        f"alarm, 30 days, {COLUMNS} columns |",
        "|---|---|---|---|---|---|",
    ]
    piece, before, after = 50, 3_250, 6_000

    def missing(share: float) -> Callable[[Floats], Floats]:
        def change(shares: Floats) -> Floats:
            return np.concatenate([np.full((len(shares), 1), share), shares[:, 1:] * (1 - share)], axis=1)

        return change

    changes: dict[str, Callable[[Floats], Floats]] = {
        f"mean by {shift} sd": lambda shares, shift=shift: moved(shares, shift)  # type: ignore[misc]
        for shift in (0.2, 0.3, 0.5, 1.0)
    } | {f"{share:.0%} missing, where none was": missing(share) for share in (0.01, 0.05)}
    for m in (1_000, 5_000, 1_000_000):
        for what, change in changes.items():
            reference, shares = number(rng, streams, m)
            stream = np.concatenate(
                [
                    pieces(rng, shares, before // piece, piece),
                    pieces(rng, change(shares), after // piece, piece),
                ],
                axis=1,
            )
            looks = simulation.watch(simulation.References.of(reference, ordered=True), stream, piece)
            late = slice(before // piece, None)
            cells = [_delay(looks.log_evidence[:, late] >= t, piece) for t in thresholds.values()]
            long = list(thresholds.values())[1]
            alarm = (looks.log_evidence[:, late] >= long) & (looks.effect[:, late] >= MIN_EFFECT)
            large = simulation.debiased(reference, np.rint(change(shares) * 10**9).astype(np.int64))
            lines.append(f"| {m:,} | {what} | {np.median(large):.2f} | {' | '.join(cells)} | {_delay(alarm, piece)} |")
            say(lines[-1])
    return lines


def _delay(reached: NDArray[np.bool_], piece: int) -> str:
    found = reached.any(1)
    if not found.any():
        return "none"
    # The median over all streams, those that found nothing counting as later than any.
    rows = np.where(found, (reached.argmax(1) + 1) * piece, 10**9)
    middle = float(np.median(rows))
    share = f"{found.mean():.0%}"
    return share if middle >= 10**9 else f"{middle:,.0f} ({share})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def dependence(rng: np.random.Generator, streams: int, say: Callable[[str], None]) -> list[str]:
    """What rows that depend on each other do: a first-order autoregression with the reference's own distribution."""
    lines = [
        "| autocorrelation | every k-th row counted | design effect (median) | healthy streams that reach t = 800 |",
        "|---|---|---|---|",
    ]
    for correlation in (0.0, 0.5, 0.9, 0.99):
        thinning = 1
        while True:
            effects, events = [], 0
            reference, shares = number(rng, streams, 5_000)
            edges = norm.ppf(np.clip(shares[:, 1:-1].cumsum(1), 0, 1))
            for i in range(streams):
                noise = rng.normal(size=ROWS_HEALTHY * thinning) * np.sqrt(1 - correlation**2)
                noise[0] /= np.sqrt(1 - correlation**2)
                values = lfilter([1.0], [1.0, -correlation], noise)[::thinning]
                bins = 1 + np.searchsorted(edges[i], values, side="right")
                counted = np.stack([np.bincount(part, minlength=35) for part in np.split(bins, ROWS_HEALTHY // 100)])
                windows = counted[:40].reshape(8, 5, 35).sum(1)
                effects.append(design_effect(windows.tolist(), ordered=True) or np.nan)
                one = simulation.References.of(reference[i : i + 1], ordered=True)
                top = simulation.watch(one, counted[None], 100).log_evidence.max()
                events += bool(top >= np.log(800))
            lines.append(f"| {correlation} | {thinning} | {np.median(effects):.1f} | {_percent(events / streams)} |")
            say(lines[-1])
            wanted = int(np.ceil(np.median(effects)))
            if thinning > 1 or np.median(effects) < 1.2:
                break
            thinning = wanted
    return lines


def beside_river(seeds: int, say: Callable[[str], None]) -> list[str]:
    """The third table: the code that boxes run, on the streams on which river's detectors ran."""
    python = environments.ensure("river", say)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "streams.json"
        script = environments.PEERS / "river" / "river_detectors.py"
        say("river's detectors run")
        subprocess.run([str(python), str(script), str(out), str(seeds)], check=True)
        streams = json.loads(out.read_text())
    for stream in streams:
        stream["alarms"] |= ours(stream)
    kinds = list(dict.fromkeys(stream["kind"] for stream in streams))
    lines = [
        "| stream | design effect | detector | false alarms in 10,000 healthy rows | changes found | median delay |",
        "|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        of_kind = [stream for stream in streams if stream["kind"] == kind]
        effect = np.median([stream["design_effect"] for stream in of_kind])
        for detector in of_kind[0]["alarms"]:
            false = sum(sum(row < s["change"] for row in s["alarms"][detector]) for s in of_kind)
            healthy = sum(s["change"] - s["reference"] for s in of_kind)
            late = [
                min((row - s["change"] + 1 for row in s["alarms"][detector] if row >= s["change"]), default=None)
                for s in of_kind
            ]
            found = [delay for delay in late if delay is not None]
            middle = f"{np.median(found):,.0f}" if found else "-"
            lines.append(
                f"| {kind} | {effect:.1f} | {detector} | {false / healthy * 10_000:.2f} |"
                f" {len(found)} of {len(of_kind)} | {middle} |"
            )
            say(lines[-1])
    return lines


def ours(stream: dict[str, Any]) -> dict[str, list[int]]:
    """Rows at which the evidence reached the threshold anew, and at which it was an alarm; one false in 1,000,000 rows.

    The design effect of its healthy rows is put into ``stream``.
    """
    values, m = np.array(stream["values"]), stream["reference"]
    few = np.unique(values[:m])
    if len(few) > 32:
        edges = np.unique(np.quantile(values[:m], np.linspace(0, 1, 33)))
        bins = np.searchsorted(edges, values, side="right")
        bins = np.where(values == edges[-1], len(edges) - 1, bins)
        size = len(edges) + 1
    else:
        bins, size = np.searchsorted(few, values), len(few) + 1
    reference = np.bincount(bins[:m], minlength=size).tolist()
    cut = np.array_split(bins[m : stream["change"]], 8)
    windows = [np.bincount(part, minlength=size).tolist() for part in cut]
    stream["design_effect"] = design_effect(windows, ordered=len(few) > 32) or np.nan
    evidence = DriftEvidence(reference, ordered=len(few) > 32)
    threshold = log_threshold(1, FalseAlarmBudget(days=None, rows=1e6).starts())
    found: dict[str, list[int]] = {"edgeml, evidence": [], "edgeml, alarm": []}
    ring = SubWindows(size, seconds=0)
    on = dict.fromkeys(found, False)
    totals = np.zeros(size, dtype=np.int64)
    for at in range(m, len(values), 50):
        piece = bins[at : at + 50]
        totals += np.bincount(piece, minlength=size)
        ring.read(totals.tolist(), int(totals.sum()), float(at))
        finding = judge(reference, evidence, ring.suffixes(), threshold=threshold)
        for name, now in (("edgeml, evidence", finding.level != "none"), ("edgeml, alarm", finding.level == "drift")):
            # Latched: it counts again only after the calm.
            if now and not on[name]:
                found[name].append(at + len(piece) - 1)
                on[name] = True
            elif finding.calm:
                on[name] = False
    return found


def main() -> None:
    """Measures and writes the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_alarms", description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="healthy streams of number columns")
    parser.add_argument("--others", type=int, default=1_000, help="healthy streams of other columns (default 1,000)")
    parser.add_argument("--seeds", type=int, default=6, help="streams of each kind for river (default 6)")
    given = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    rng = np.random.default_rng(20260101)
    worst = simulation.check(rng)
    say(f"the simulation is edgeml.monitor's formula: differs by {worst:.1e} at most")
    text = [
        "# Drift alarms, measured",
        "",
        "Made by `python -m benchmarks.drift_alarms`; what it measures is said there and in docs/drift.md.",
        "",
        f"## False alarms in {ROWS_HEALTHY:,} healthy rows",
        "",
        *false_alarms(rng, given.streams, given.others, say),
        "",
        "## Rows from the change to the evidence, and to the alarm",
        "",
        "Median of 400 streams, looked at every 50 rows; in brackets the share found within 6,000 rows.",
        "",
        *delays(rng, 400, say),
        "",
        "## Rows that depend on each other",
        "",
        "Healthy streams as above, reference 5,000 rows; counted again with every k-th row, k the design effect found.",
        "",
        *dependence(rng, 100, say),
        "",
        "## Beside river 0.26",
        "",
        "river with its defaults; edgeml at one false alarm in 1,000,000 rows, looked at every 50 rows. The series",
        "ElectricDevices (sktime) is measured and its changes are annotated; its rows depend on each other.",
        "",
        *beside_river(given.seeds, say),
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "drift-alarms.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
