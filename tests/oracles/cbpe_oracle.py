"""Confidence-based performance estimation by numpy, row by row, after NannyML's description of it."""

import numpy as np


def calibrated(scores, maps):
    """Probabilities [n, k] of scores [n, k]: each column through its steps, then rows that sum to 1."""
    scores = np.asarray(scores, dtype=np.float64)
    if maps is None:
        return np.clip(scores, 0.0, 1.0)
    made = np.empty_like(scores)
    for column, each in enumerate(maps):
        for row, score in enumerate(scores[:, column]):
            step = sum(score >= edge for edge in each["edges"])
            made[row, column] = each["values"][step] if each["values"] else min(max(score, 0.0), 1.0)
    total = made.sum(axis=1, keepdims=True)
    uniform = np.full_like(made, 1.0 / made.shape[1])
    return np.divide(made, total, out=uniform, where=total != 0)


def estimate(chances, predicted):
    """Expected accuracy, and expected precision, recall and F1 of each label, one against the rest."""
    n, k = chances.shape
    measures = {"accuracy": chances[np.arange(n), predicted].mean(), "labels": []}
    for label in range(k):
        is_given, chance = predicted == label, chances[:, label]
        tp = np.where(is_given, chance, 0).sum()
        fp = np.where(is_given, 1 - chance, 0).sum()
        fn = np.where(is_given, 0, chance).sum()
        measures["labels"].append(
            {"precision": tp / (tp + fp), "recall": tp / (tp + fn), "f1": 2 * tp / (2 * tp + fp + fn)}
        )
    return measures
