"""One record, or a thousand, without a server: B1 to B7.

1. Every contestant is a process of its own in its own environment, pinned to the server core; one runs, the others
   sleep.
2. Before the clock starts, all contestants of a task answer all prepared rows. edgeml must give scikit-learn's labels
   (in W3: the words that ``re`` finds; of a vectorizer: the same terms and weights), or nothing is measured; what
   another contestant answers differently is noted.
3. Rounds interleave: round k of all contestants, then round k + 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import contestants, environments, word_workload
from benchmarks.environments import PeerUnavailable
from benchmarks.measurement import Findings, Measurement, Say

# task -> contestants: (name in the table, probe, name of the work in the probe)
TASKS: dict[str, list[tuple[str, str, str]]] = {
    f"w1_{model}_{size}": [
        ("edgeml", "edgeml", f"w1_{model}_{size}"),
        ("onnxruntime, whole pipeline", "onnxruntime", f"w1_{model}_{size}/pipeline"),
        ("onnxruntime, model only", "onnxruntime", f"w1_{model}_{size}/model"),
        *([("onnxruntime, IO binding", "onnxruntime", f"w1_{model}_{size}/binding")] if size == "one" else []),
        ("scikit-learn", "scikit-learn", f"w1_{model}_{size}"),
    ]
    for size in ("one", "batch")
    for model in ("lr", "trees")
}
TASKS["w2_one"] = [
    ("edgeml", "edgeml", "w2_one"),
    ("onnxruntime, whole pipeline", "onnxruntime", "w2_one/pipeline"),
    ("scikit-learn", "scikit-learn", "w2_one"),
]
# The model alone, on rows that are encoded already: kernel beside kernel.
for _size in ("one", "batch"):
    TASKS[f"w1_trees_{_size}"] += [
        ("edgeml, model only", "edgeml", f"w1_trees_{_size}/model"),
        ("tl2cgen, model only", "tree compilers", f"w1_trees_{_size}"),
    ]
TASKS["w1_trees_one"].append(("tl2cgen, its C function", "tree compilers", "w1_trees_one/function"))
TASKS["w2_vectorizer"] = [
    ("edgeml, vectorizer alone", "edgeml", "w2_vectorizer"),
    ("tokenizers + numpy", "tokenizers", "w2_vectorizer"),
    ("scikit-learn", "scikit-learn", "w2_vectorizer"),
]
TASKS["w1_rule_one"] = [("edgeml", "edgeml", "w1_rule_one")]
for _count in word_workload.SIZES:
    TASKS[f"w1_rules_{_count}"] = [("edgeml", "edgeml", f"w1_rules_{_count}")]
    TASKS[f"w3_words_{_count}"] = [
        ("edgeml", "words", f"w3_words_{_count}"),
        ("google-re2 Set", "word finders", f"w3_words_{_count}/re2"),
    ]
TASKS["w3_words"] = [
    ("edgeml", "words", "w3_words"),
    ("google-re2 Set", "word finders", "w3_words/re2"),
    ("pyahocorasick", "word finders", "w3_words/pyahocorasick"),
    ("ahocorasick_rs", "word finders", "w3_words/ahocorasick_rs"),
    ("re", "word finders", "w3_words/re"),
]
TASKS["w3_words_folded"] = [
    ("edgeml", "words", "w3_words_folded"),
    ("google-re2 Set", "word finders", "w3_words_folded/re2"),
    ("re", "word finders", "w3_words_folded/re"),
]
# Whose answers are right: the first of these that takes part.
JUDGES = ("scikit-learn", "re")


class Probe:
    """A contestant's process, asked line by line."""

    def __init__(self, who: str, python: Path | str, *, folder: Path, core: int, root: Path) -> None:
        self.who = who
        self._log = folder / f"probe_{who}.log"
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen(
                contestants.probe_command(who, python, folder),
                cwd=root,
                env=os.environ
                | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                | ({"LOCPATH": str(folder / "locale")} if who == "onnxruntime" else {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        self.about: dict[str, Any] = self._read()["about"]

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            words = self._log.read_text(errors="replace").strip().splitlines()
            raise PeerUnavailable(f"{self.who} ended: {' / '.join(words[-3:])}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def start_probes(
    who: set[str], findings: Findings, *, folder: Path, core: int, root: Path, say: Say
) -> dict[str, Probe]:
    """Starts the probes that can be started; the others become gaps."""
    probes: dict[str, Probe] = {}
    for name in sorted(who):
        try:
            python: Path | str = sys.executable
            if name in contestants.PROBES:
                python = environments.ensure(contestants.PROBES[name], say)
            say(f"starting {name}")
            probes[name] = Probe(name, python, folder=folder, core=core, root=root)
        except PeerUnavailable as error:
            findings.gaps[name] = str(error)
            say(str(error))
    return probes


def measure(
    tasks: list[str],
    findings: Findings,
    *,
    folder: Path,
    core: int,
    root: Path,
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Measures the tasks.

    Args:
        tasks: Keys of ``TASKS``.
        findings: Where the measurements go.
        folder: Folder of artifacts.
        core: CPU core of the contestants.
        root: The repository.
        rounds: How many interleaved rounds.
        seconds: Length of one round of one contestant.
        say: Told what takes long.
    """
    probes = start_probes(
        {probe for task in tasks for _, probe, _ in TASKS[task]}, findings, folder=folder, core=core, root=root, say=say
    )
    try:
        entries: list[tuple[Measurement, Callable[[], dict[str, Any]]]] = []
        for task in tasks:
            field = [entry for entry in TASKS[task] if entry[1] in probes]
            for name, probe, work in TASKS[task]:
                reason = probes[probe].about.get("without", {}).get(work) if probe in probes else None
                if reason is not None:
                    findings.gaps[f"{task}/{name}"] = reason
                    field.remove((name, probe, work))
            answers = {name: probes[probe].ask(do="answers", work=work)["answers"] for name, probe, work in field}
            if not _agree(task, answers, findings, say):
                continue
            for name, probe, work in field:
                measurement = Measurement(task, name, "s/call", facts=dict(probes[probe].about))
                entries.append((measurement, _round(probes[probe], work, seconds)))
        for _, ask in entries:
            ask()  # warm-up, not counted
        for number in range(rounds):
            say(f"in process, round {number + 1} of {rounds}")
            for measurement, ask in entries:
                found = ask()
                measurement.rounds.append(found["seconds"])
                measurement.cpu.append(found["cpu"])
                measurement.predictions = int(found["predictions"])
        for measurement, _ in entries:
            findings.add(measurement)
    finally:
        for probe in probes.values():
            probe.close()


def _round(probe: Probe, work: str, seconds: float) -> Callable[[], dict[str, Any]]:
    return lambda: probe.ask(do="round", work=work, seconds=seconds)


def _agree(task: str, answers: dict[str, list[int]], findings: Findings, say: Say) -> bool:
    """Compares all contestants with the judge; gives whether edgeml may be measured."""
    judge = next((name for name in JUDGES if name in answers), "")
    truth = answers.get(judge)
    for name, labels in answers.items():
        different = sum(a != b for a, b in zip(labels, truth, strict=True)) if truth is not None else 0
        if different:
            findings.notes.append(f"{task}: {name} gives {different} of {len(labels)} answers unlike {judge}")
            say(findings.notes[-1])
            if name.split(",")[0] == "edgeml":
                findings.gaps[f"{task}/{name}"] = "wrong answers are not measured"
                return False
    return True
