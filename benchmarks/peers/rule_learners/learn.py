"""Rules by other libraries: ``learn.py METHOD IN.npz OUT.json``.

In: ``matrix`` (rows x conditions, zeros and ones), ``truth`` (index of the label). Out: a list of rules in order, each
``[label, [[condition, whether it holds], ...]]``. A library that knows two classes only is asked once for each label
against all others, the most frequent label first.
"""

import json
import re
import sys
import warnings

import numpy as np
import pandas as pd


def ripper(matrix, truth, label):
    """RIPPER (Cohen, 1995) by wittgenstein."""
    import wittgenstein

    table = pd.DataFrame(matrix, columns=[f"c{at}" for at in range(matrix.shape[1])])
    model = wittgenstein.RIPPER(random_state=0, max_rules=12, max_rule_conds=4)
    model.fit(table, truth == label, pos_class=True)
    return [
        [[int(cond.feature[1:]), bool(int(float(cond.val)))] for cond in rule.conds] for rule in model.ruleset_.rules
    ]


def skope(matrix, truth, label):
    """SkopeRules by imodels: paths of a forest, chosen by precision and recall out of the bag."""
    import imodels

    model = imodels.SkopeRulesClassifier(
        n_estimators=30, max_depth=3, precision_min=0.9, recall_min=0.02, max_samples=0.8, random_state=0
    )
    names = [f"c{at}" for at in range(matrix.shape[1])]
    model.fit(matrix.astype(float), (truth == label).astype(int), feature_names=names)
    rules = []
    for rule in model.rules_:
        parts = re.findall(r"c(\d+) (<=|>) ([-\d.]+)", str(rule))
        rules.append([[int(at), sign == ">"] for at, sign, _ in parts])
    return rules


def greedy(matrix, truth, label):
    """A greedy rule list by imodels: one condition after the other, each on what the earlier ones leave."""
    import imodels

    model = imodels.GreedyRuleListClassifier(max_depth=15)
    names = [f"c{at}" for at in range(matrix.shape[1])]
    model.fit(matrix.astype(float), (truth == label).astype(int), feature_names=names)
    rules = []
    for rule in model.rules_:
        if rule.get("col") is not None and rule["val_right"] >= 0.5:
            rules.append([[int(re.sub(r"\D", "", str(rule["col"]))), not rule["flip"]]])
    return rules


def main() -> None:
    """Learns and writes."""
    method, source, target = sys.argv[1:]
    given = np.load(source)
    matrix, truth = given["matrix"], given["truth"]
    found = []
    warnings.simplefilter("ignore")
    for label in np.argsort(-np.bincount(truth), kind="stable").tolist():
        if (truth == label).sum() >= 20:
            found += [[label, rule] for rule in globals()[method](matrix, truth, label) if rule]
    with open(target, "w") as stream:
        json.dump(found, stream)


if __name__ == "__main__":
    main()
