"""From findings to the table of budgets: each line a ratio against a peer, round by round, in one run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measurement import BARE_THREAD, SHARE, UNWATCHED, Findings, Measurement
from benchmarks.word_workload import SIZES

START = "<!-- figures: start -->"
END = "<!-- figures: end -->"


@dataclass(frozen=True)
class Budget:
    """One budget: how edgeml is to stand beside a peer.

    Attributes:
        id: Such as ``B1``.
        what: In words.
        ours: Key of edgeml's measurement.
        theirs: Key of the peer's.
        must: The ratio that has to be reached.
        goal: The ratio we are going for.
        at_most: Whether the ratio is ours / theirs and has to stay below; else it says how many times better we are.
        alone: Whether ``must`` and ``goal`` bound edgeml's own figure; the peer's is the floor beside it.
    """

    id: str
    what: str
    ours: str
    theirs: str
    must: float
    goal: float
    at_most: bool = False
    alone: bool = False


PIPELINE = "onnxruntime, whole pipeline"
BUDGETS = (
    Budget("B1", "one record, logistic regression", "w1_lr_one/edgeml", f"w1_lr_one/{PIPELINE}", 3, 6),
    Budget("B2", "one record, logistic regression", "w1_lr_one/edgeml", "w1_lr_one/scikit-learn", 600, 1500),
    Budget("B3", "one record, 100 trees", "w1_trees_one/edgeml", f"w1_trees_one/{PIPELINE}", 3, 6),
    Budget("B4", "1,000 records, logistic regression", "w1_lr_batch/edgeml", f"w1_lr_batch/{PIPELINE}", 3, 6),
    Budget("B4", "1,000 records, 100 trees", "w1_trees_batch/edgeml", f"w1_trees_batch/{PIPELINE}", 1.2, 2),
    Budget("B5", "one record answered by a rule", "w1_rule_one/edgeml", "w1_lr_one/edgeml", 2, 5),
    Budget("B6", "one document, 20,000 terms", "w2_one/edgeml", "w2_one/scikit-learn", 50, 100),
    Budget("B6", "one document, 20,000 terms", "w2_one/edgeml", f"w2_one/{PIPELINE}", 10, 25),
    Budget("B7", "200 words looked for in a text", "w3_words/edgeml", "w3_words/google-re2 Set", 1, 1.5),
    Budget("B8", "records over HTTP, req/s", "w4/edgeml", "w4/FastAPI", 8, 12),
    Budget("B8", "the same, watched", "w4/edgeml", f"w4/{UNWATCHED}", 0.95, 0.98),
    Budget("B9", "tensors over HTTP, req/s", "w5/edgeml", "w5/MLServer", 12, 20),
    Budget("B9", "tensors over HTTP, req/s", "w5/edgeml", "w5/FastAPI hand-made", 6, 10),
    Budget("B10", "memory after 10,000 requests", "memory/edgeml", "memory/MLServer", 0.6, 0.4, at_most=True),
    Budget(
        "B11", "from exec to the first answer", "start/edgeml", "start/imports and session load alone", 5, 2.5, True
    ),
    Budget("B12", "memory after 100 swaps", "swap memory/after", "swap memory/before", 1.02, 1.0, at_most=True),
    Budget("B12", "memory after 1,000,000 requests", "request memory/after", "request memory/before", 1.02, 1.0, True),
    Budget("B12", "the same, of random strings and sizes", "soak/after", "soak/before", 1.02, 1.0, at_most=True),
    Budget("B13", "p99 while warm bundles are swapped", "swap/warm swaps", "swap/steady", 2, 1.2, at_most=True),
    Budget("B13", "p99 while cold bundles are swapped", "swap/cold swaps", "swap/steady", 2, 1.2, at_most=True),
    Budget("B14", "CPU while nobody asks", "idle/edgeml", f"idle/{BARE_THREAD}", 0.005, 0.001, True, alone=True),
)

# The same with fewer and with many rules: how the time grows.
MANY_RULES = tuple(
    Budget(number, what.format(count), ours.format(count), theirs.format(count), must, goal)
    for count in SIZES
    for number, what, ours, theirs, must, goal in (
        ("B5", "one record answered by one of {:,} rules", "w1_rules_{}/edgeml", "w1_lr_one/edgeml", 2, 5),
        ("B7", "{:,} words looked for in a text", "w3_words_{}/edgeml", "w3_words_{}/google-re2 Set", 1, 1.5),
    )
)

SWAPS = ("swap/warm swaps", "swap/cold swaps")
BACKS = {
    "from the start of `edgeml rollback` to the first answer of the old bundle": "roll back/command",
    "the same from a program that runs already": "roll back/call",
}


@dataclass(frozen=True)
class Line:
    """A budget with what was measured.

    Attributes:
        budget: The budget.
        ratio: Median over the rounds; None where something is missing.
        low: Smallest ratio of a round.
        high: Largest ratio of a round.
        ours: edgeml's median.
        theirs: The peer's median.
        unit: Their unit.
    """

    budget: Budget
    ratio: float | None = None
    low: float = 0.0
    high: float = 0.0
    ours: float = 0.0
    theirs: float = 0.0
    unit: str = ""

    @property
    def verdict(self) -> str:
        """``goal``, ``must``, ``missed`` or ``not measured``."""
        if self.ratio is None:
            return "not measured"
        figure = self.ours if self.budget.alone else self.ratio
        for word, bound in (("goal", self.budget.goal), ("must", self.budget.must)):
            if figure <= bound if self.budget.at_most else figure >= bound:
                return word
        return "missed"


def lines(findings: Findings, budgets: Sequence[Budget] = BUDGETS) -> list[Line]:
    """All budgets beside what was found."""
    return [_line(budget, findings) for budget in budgets]


def _line(budget: Budget, findings: Findings) -> Line:
    ours, theirs = findings.measurements.get(budget.ours), findings.measurements.get(budget.theirs)
    if ours is None or theirs is None or not ours.rounds or not theirs.rounds:
        return Line(budget)
    better_is_more = ours.unit == "req/s" or budget.at_most
    ratios = sorted(a / b if better_is_more else b / a for a, b in zip(ours.rounds, theirs.rounds, strict=False))
    return Line(budget, statistics.median(ratios), ratios[0], ratios[-1], ours.median, theirs.median, ours.unit)


def table(findings: Findings, about: dict[str, Any]) -> str:
    """The table in Markdown, with the date, the machine and the versions."""
    rows = [
        f"Measured {about['date']} on {about['cpu']} ({about['cores']} cores), Python {about['python']}, "
        f"edgeml {about['edgeml']}, onnxruntime {about['onnxruntime']}, scikit-learn {about['scikit-learn']}; "
        f"`{about['command']}`. Ratios are medians over {about['rounds']} interleaved rounds, in brackets the smallest "
        "and the largest; absolute times are those of a small shared machine.",
        "",
        *_rows(lines(findings)),
    ]
    return "\n".join([*rows, *_releases(findings)]) + "\n"


def many_rules(findings: Findings) -> str:
    """What few and many rules cost, in Markdown."""
    return "\n".join(_rows(lines(findings, MANY_RULES))) + "\n"


def _rows(found: Sequence[Line]) -> list[str]:
    """The rows of a table of budgets."""
    rows = [
        "| | what | peer | edgeml | peer's | ratio | must | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in found:
        budget = line.budget
        peer = "B1's own time" if budget.id == "B5" else budget.theirs.split("/", 1)[1]
        sign = "<=" if budget.at_most else ">="
        end = f"{sign} {budget.must:g}x | {sign} {budget.goal:g}x |"
        if budget.alone:
            end = f"{sign} {shown(budget.must, SHARE)} | {sign} {shown(budget.goal, SHARE)} |"
        if line.ratio is None:
            rows.append(f"| {budget.id} | {budget.what} | {peer} | | | not measured | {end}")
            continue
        mark = {"goal": "**", "must": "", "missed": "_"}[line.verdict]
        ratio = f"{mark}{_ratio(line.ratio)}x{mark} ({_ratio(line.low)}-{_ratio(line.high)})"
        if line.verdict == "missed":
            ratio += " missed"
        rows.append(
            f"| {budget.id} | {budget.what} | {peer} | {shown(line.ours, line.unit)} | "
            f"{shown(line.theirs, line.unit)} | {ratio} | {end}"
        )
    return rows


def _releases(findings: Findings) -> list[str]:
    """Rows of a second table: what exchanging bundles costs, and how long going back takes; none where not measured."""
    rows = []
    swapped = [each for key in SWAPS if (each := findings.measurements.get(key)) and "failed" in each.facts]
    if swapped:
        swaps, failed, requests = (sum(each.facts[key] for each in swapped) for key in ("swaps", "failed", "requests"))
        rows.append(
            f"| requests failed while bundles were swapped | **{failed}** of {requests:,}, in {swaps:,} swaps |"
        )
    for what, key in BACKS.items():
        warm, cold = (findings.measurements.get(f"{key}, {kind}") for kind in ("warm", "cold"))
        if warm and cold:
            times = f"{shown(warm.median, warm.unit)} warm, {shown(cold.median, cold.unit)} cold"
            rows.append(f"| {what} | {times} |")
    return ["", "| bundles | edgeml |", "|---|---|", *rows] if rows else []


def others(findings: Findings) -> str:
    """Everything else that was measured, in Markdown: CPU time, further peers, gaps and notes."""
    rows = ["| task | who | median | CPU for each prediction |", "|---|---|---|---|"]
    for measurement in findings.measurements.values():
        cpu = measurement.cpu_per_prediction
        rows.append(
            f"| {measurement.task} | {measurement.who} | {shown(measurement.median, measurement.unit)} | "
            f"{'' if cpu is None else shown(cpu, 's')} |"
        )
    rows += [f"\nNot measured: {key}: {reason}" for key, reason in findings.gaps.items()]
    rows += [f"\nNote: {note}" for note in findings.notes]
    return "\n".join(rows) + "\n"


def shown(value: float, unit: str) -> str:
    """A figure with a unit that people read."""
    if unit == "req/s":
        return f"{value:,.0f}/s"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MB"
    if unit == SHARE:
        return f"{value:.2%} of a core"
    return f"{value * 1e6:,.2f} us" if value < 1e-4 else f"{value * 1e3:,.2f} ms" if value < 1 else f"{value:.2f} s"


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def put_into(text: str, figures: str, *, marks: tuple[str, str] = (START, END)) -> str:
    """A document with the figures between its marks replaced.

    Raises:
        ValueError: The marks are missing.
    """
    first, last = marks
    start, end = text.find(first), text.find(last)
    if start < 0 or end < start:
        raise ValueError(f"the document has no {first} ... {last}")
    return text[: start + len(first)] + "\n" + figures + text[end:]


def missed(found: Sequence[Line]) -> list[str]:
    """Budgets that were measured and missed."""
    return [line.budget.id for line in found if line.verdict == "missed"]


__all__ = [
    "BUDGETS",
    "Budget",
    "Line",
    "Measurement",
    "lines",
    "many_rules",
    "missed",
    "others",
    "put_into",
    "shown",
    "table",
]
