"""Ways of learning rules, side by side: ``python -m benchmarks.rule_learning`` writes ``results/rule_learning.json``.

1. All learn from the same growing rows over the same conditions (the ``CONDITIONS`` that tell most about a label), and
   are proven alike on the same proving rows, by the exact test of ``edgeml.builder.rule_proof``. What counts is how
   many test rows the proven rules answer, and how many of these rightly.
2. What a library gives is an ordered list of conjunctions. A rule whose precision on the growing rows is below what is
   aimed for, or which answers too few of them to be proven, is left out before the proof, for all alike.
3. The peers live in an environment of their own (``benchmarks/peers/rule_learners``). One that takes more than
   ``SECONDS`` is given up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from benchmarks import environments, learning_data
from benchmarks.rule_tier import OPTIONS, schema_of
from edgeml.builder.rule_learning import LearnOptions, learn_rules, split_rows
from edgeml.builder.rule_literals import literals_of
from edgeml.builder.rule_proof import TESTED, p_value, proven, rows_needed
from edgeml.runtime.reader import RecordReader

RESULTS = Path(__file__).resolve().parent / "results" / "rule_learning.json"
CONDITIONS = 200
SECONDS = 300
Rules = list[tuple[int, list[tuple[int, bool]]]]


def tree_leaves(matrix: NDArray[np.uint8], truth: NDArray[np.int64], fewest: int) -> Rules:
    """Leaves of one tree."""
    tree = DecisionTreeClassifier(min_samples_leaf=fewest, random_state=0).fit(matrix, truth)
    return _paths(tree, 99)


def forest_paths(matrix: NDArray[np.uint8], truth: NDArray[np.int64], fewest: int) -> Rules:
    """Leaves of a forest, taken greedily: whichever answers most rows that are left."""
    forest = RandomForestClassifier(60, max_depth=4, min_samples_leaf=fewest, random_state=0).fit(matrix, truth)
    pool = [rule for tree in forest.estimators_ for rule in _paths(tree, 4)]
    masks = [_mask(matrix, parts) for _, parts in pool]
    left = np.ones(len(matrix), dtype=bool)
    chosen: Rules = []
    for _ in range(40):
        worth = [
            int((mask & left & (truth == rule[0])).sum()) - 20 * int((mask & left & (truth != rule[0])).sum())
            for mask, rule in zip(masks, pool, strict=True)
        ]
        best = int(np.argmax(worth))
        if worth[best] < fewest:
            break
        chosen.append(pool[best])
        left &= ~masks[best]
    return chosen


def _paths(tree: Any, longest: int) -> Rules:
    found: Rules = []

    def walk(node: int, parts: list[tuple[int, bool]]) -> None:
        column = int(tree.tree_.feature[node])
        if column < 0:
            label = int(np.argmax(tree.tree_.value[node][0]))
            if parts and len(parts) <= longest:
                found.append((int(tree.classes_[label]), parts))
            return
        walk(int(tree.tree_.children_left[node]), [*parts, (column, False)])
        walk(int(tree.tree_.children_right[node]), [*parts, (column, True)])

    walk(0, [])
    return found


def _mask(matrix: NDArray[np.uint8], parts: list[tuple[int, bool]]) -> NDArray[np.bool_]:
    mask = np.ones(len(matrix), dtype=bool)
    for column, holds in parts:
        mask &= matrix[:, column] == holds
    return mask


def peer(method: str) -> Callable[[NDArray[np.uint8], NDArray[np.int64], int], Rules]:
    """A method of another library, in its own process."""

    def learn(matrix: NDArray[np.uint8], truth: NDArray[np.int64], fewest: int) -> Rules:
        python = environments.ensure("rule_learners", print)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.npz", Path(folder) / "out.json"
            np.savez(source, matrix=matrix, truth=truth)
            script = environments.PEERS / "rule_learners" / "learn.py"
            command = [str(python), str(script), method, str(source), str(target)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            return [
                (label, [(at, bool(holds)) for at, holds in parts]) for label, parts in json.loads(target.read_text())
            ]

    return learn


METHODS: dict[str, Callable[[NDArray[np.uint8], NDArray[np.int64], int], Rules]] = {
    "leaves of a tree": tree_leaves,
    "paths of a forest, greedily": forest_paths,
    "RIPPER (wittgenstein)": peer("ripper"),
    "SkopeRules (imodels)": peer("skope"),
    "greedy rule list (imodels)": peer("greedy"),
}
OURS = {
    "conjunctions": {"max_points": 0},
    "scorecards": {"max_conditions": 0},
    "conjunctions, then scorecards": {},
}


def survey(data: learning_data.Data) -> list[dict[str, Any]]:
    """All methods on one data set."""
    given = OPTIONS[data.name]
    options = LearnOptions(**given)
    schema = schema_of(data)
    table = pd.concat([data.train, data.test], ignore_index=True)
    reader = RecordReader(schema, max_rows=10**9)
    frame = reader.new_frame(len(table))
    reader.read_columns(frame, {column: table[column].to_numpy() for column in table})
    labels = sorted(set(data.y_train))
    codes = np.array([labels.index(each) if each in labels else -1 for each in [*data.y_train, *data.y_test]])
    n = len(data.train)
    growing, proving = split_rows(codes[:n], options.proving, options.seed)
    test = np.arange(n, len(table))
    literals = literals_of(schema, frame, growing)
    strength = np.zeros(len(literals.items))
    csr = literals.matrix.tocsr()
    seen = np.asarray(csr[growing].sum(axis=0)).ravel() / len(growing)
    for label in range(len(labels)):
        mine = growing[codes[growing] == label]
        share = np.asarray(csr[mine].mean(axis=0)).ravel()
        strength = np.maximum(strength, np.abs(share - seen) * np.sqrt(len(mine) / (seen * (1 - seen))))
    columns = np.sort(np.argsort(-strength, kind="stable")[:CONDITIONS])
    matrix = csr[:, columns].toarray().astype(np.uint8)
    fewest = rows_needed(options.target, options.alpha)
    assert fewest is not None
    fewest = int(fewest * (1 - options.proving) / options.proving)
    found = []
    for name, learn in METHODS.items():
        start = time.process_time(), time.perf_counter()
        try:
            rules = learn(matrix[growing], codes[growing], fewest)
        except (subprocess.TimeoutExpired, RuntimeError, environments.PeerUnavailable) as error:
            found.append({"method": name, "gap": str(error)[-200:]})
            print(data.name, name, str(error)[-200:], flush=True)
            continue
        regions, kept = [], []
        left = np.ones(len(table), dtype=bool)
        for label, parts in rules:
            region = _mask(matrix, parts) & left
            here = growing[region[growing]]
            if len(here) >= fewest and (codes[here] == label).mean() >= options.grown_for:
                regions.append(region)
                kept.append((label, len(parts)))
                left &= ~region
        found.append(
            {"method": name, "seconds": time.perf_counter() - start[1]}
            | _judged(regions, kept, codes, proving, test, options)
        )
        print(data.name, found[-1], flush=True)
    for name, other in OURS.items():
        begun = time.perf_counter()
        # The learner splits what it is given: only the training rows, and the candidates are then asked of all.
        learned = learn_rules(
            schema, frame, codes, labels, options=LearnOptions(**(given | other)), split=(growing, proving)
        )
        left = np.ones(len(table), dtype=bool)
        regions = []
        for candidate in learned.candidates:
            regions.append(candidate.rows & left)
            left &= ~candidate.rows
        kept = [(candidate.label, candidate.conditions) for candidate in learned.candidates]
        found.append(
            {"method": name, "seconds": time.perf_counter() - begun}
            | _judged(regions, kept, codes, proving, test, options)
        )
        print(data.name, found[-1], flush=True)
    return found


def _judged(
    regions: list[NDArray[np.bool_]],
    kept: list[tuple[int, int]],
    codes: NDArray[np.int64],
    proving: NDArray[np.int64],
    test: NDArray[np.int64],
    options: LearnOptions,
) -> dict[str, Any]:
    p_values = []
    for region, (label, _) in zip(regions, kept, strict=True):
        here = proving[region[proving]]
        p_values.append(p_value(len(here), int((codes[here] == label).sum()), options.target))
    passed = proven(p_values, options.alpha * TESTED)
    rows = right = conditions = 0
    for region, (label, count), good in zip(regions, kept, passed, strict=True):
        if good:
            here = test[region[test]]
            rows, right, conditions = rows + len(here), right + int((codes[here] == label).sum()), conditions + count
    return {
        "tried": len(kept),
        "proven": sum(passed),
        "conditions": conditions,
        "coverage": rows / len(test),
        "precision": right / rows if rows else None,
    }


def main() -> None:
    """Compares and stores."""
    parser = argparse.ArgumentParser(description="Ways of learning rules, side by side.")
    parser.add_argument("--data", nargs="*", choices=learning_data.NAMES, default=["r8", "churn", "breast_cancer"])
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in parser.parse_args().data:
        found[name] = survey(learning_data.load(name))
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
