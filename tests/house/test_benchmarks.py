"""The benchmark's own arithmetic, its workloads, and that the README shows what was measured."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report, word_workload, workloads
from benchmarks.measurement import Findings, Measurement
from benchmarks.text_rows import mark

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {
    "date": "2026-01-01", "cpu": "a processor", "cores": 2, "python": "3.11", "edgeml": "0.1.0", "onnxruntime": "1",
    "scikit-learn": "1", "command": "make bench", "rounds": 3,
}  # fmt: skip


def found(**rounds: tuple[str, list[float]]) -> Findings:
    findings = Findings()
    for key, (unit, values) in rounds.items():
        task, who = key.split("/", 1)
        findings.add(Measurement(task, who, unit, list(values)))
    return findings


def line(findings: Findings, budget_id: str) -> report.Line:
    return next(line for line in report.lines(findings) if line.budget.id == budget_id)


def test_ratios_are_taken_round_by_round():
    peer = f"w1_lr_one/{report.PIPELINE}"
    findings = found(**{"w1_lr_one/edgeml": ("s/call", [1e-6, 2e-6, 4e-6]), peer: ("s/call", [6e-6, 8e-6, 40e-6])})
    got = line(findings, "B1")
    assert (got.low, got.ratio, got.high) == pytest.approx((4, 6, 10))
    assert got.verdict == "goal" and line(findings, "B3").verdict == "not measured"


def test_rates_and_memory_look_the_other_way():
    findings = found(
        **{
            "w4/edgeml": ("req/s", [900.0]),
            "w4/FastAPI": ("req/s", [100.0]),
            "memory/edgeml": ("bytes", [70.0]),
            "memory/MLServer": ("bytes", [100.0]),
            "start/edgeml": ("s", [0.4]),
            "start/imports and session load alone": ("s", [0.1]),
        }
    )
    assert line(findings, "B8").ratio == 9 and line(findings, "B8").verdict == "must"
    assert line(findings, "B10").ratio == 0.7 and line(findings, "B10").verdict == "missed"
    assert line(findings, "B11").ratio == 4 and line(findings, "B11").verdict == "must"
    table = report.table(findings, ABOUT)
    assert "missed" in table and "9.00x" in table and "not measured" in table
    assert report.missed(report.lines(findings)) == ["B10"]


def test_swaps_and_going_back_are_shown_where_they_were_measured():
    findings = found(**{f"roll back/{how}, {kind}": ("s", [value, value]) for how, kind, value in (
        ("command", "warm", 0.3), ("command", "cold", 0.4), ("call", "warm", 0.007),
    )})  # fmt: skip
    for kind, failed in (("warm", 0), ("cold", 2)):
        swaps = Measurement("swap", f"{kind} swaps", "s", [0.1])
        swaps.facts = {"swaps": 1000, "requests": 2400, "failed": failed}
        findings.add(swaps)
    table = report.table(findings, ABOUT)
    assert "| requests failed while bundles were swapped | **2** of 4,800, in 2,000 swaps |" in table
    assert "`edgeml rollback` to the first answer of the old bundle | 300.00 ms warm, 400.00 ms cold |" in table
    assert "from a program" not in table, "a figure that is half there is none"
    assert "| bundles |" not in report.table(Findings(), ABOUT)


def test_figures_are_put_between_their_marks():
    text = f"before\n{report.START}\nold\n{report.END}\nafter\n"
    assert report.put_into(text, "new\n") == f"before\n{report.START}\nnew\n{report.END}\nafter\n"
    with pytest.raises(ValueError, match="figures"):
        report.put_into("no marks", "new\n")


def test_workloads_are_the_same_every_time():
    first, second = workloads.w1_table(50), workloads.w1_table(50)
    assert first.equals(second) and len(workloads.COLUMNS) == 14 and workloads.N_FEATURES == 158
    assert workloads.edgeml_record_bodies() == workloads.edgeml_record_bodies()
    share = np.isnan(workloads.w1_table(4000)[list(workloads.NUMERIC)].to_numpy()).mean()
    assert 0.04 < share < 0.06
    for record in workloads.rule_records():
        assert record[workloads.RULE_FIELD] > workloads.RULE_BOUND


def test_the_documents_of_w3_are_what_their_file_says():
    documents, words = word_workload.documents(), word_workload.words()
    assert len(set(words)) == 200 and not set(words[10:]) & set(word_workload.language()[:4_000])
    assert 400 < np.mean([len(text) for text in documents]) <= 440
    hits = [{words.index(word) for word in re.findall(r"\w+", text) if word in words} for text in documents]
    assert 0.3 < np.mean([bool(found) for found in hits]) < 0.7 and max(max(found, default=0) for found in hits) < 10
    assert word_workload.documents.__wrapped__() == documents


def test_rows_of_documents_are_told_apart_by_terms_and_weights():
    columns, values = np.array([7, 19_999, 30]), np.array([0.5, 0.25, 0.125])
    whole = mark(columns, values)
    assert whole == mark(columns[::-1].astype(np.int32), values[::-1] * (1 + 1e-15)), "order and last bits are free"
    assert whole != mark(columns + 1, values) and whole != mark(columns, values + [0, 1e-5, 0])
    assert whole != mark(columns[:2], values[:2]) and mark(columns[:0], values[:0]) != mark(columns[:1], values[:1])


def test_peers_are_pinned_and_the_compiled_trees_are_the_judges_own():
    pins = {}
    for path in (ROOT / "benchmarks" / "peers").glob("*/requirements.txt"):
        lines = path.read_text().splitlines()
        assert lines and all(re.fullmatch(r"[\w.\[\],-]+==[\w.]+", each) for each in lines), path
        pins[path.parent.name] = set(lines)
    assert pins["scikit_learn"] < pins["tree_compilers"], "another scikit-learn may fit other trees"


def test_the_readme_shows_the_last_whole_run():
    document = json.loads((ROOT / "benchmarks" / "results" / "latest.json").read_text())
    findings = Findings(gaps=document["gaps"], notes=document["notes"])
    for each in document["measurements"]:
        wanted = {name: each[name] for name in ("task", "who", "unit", "rounds", "cpu", "predictions", "facts")}
        findings.add(Measurement(**wanted))
    assert report.table(findings, document["about"]) in (ROOT / "README.md").read_text()
