"""The evidence of drift as it is defined: chances of sequences, one row after the other, in exact fractions."""

from fractions import Fraction
from itertools import product


def chance(sequence, parameters):
    """Of a sequence of bins whose shares come from a Dirichlet distribution: each row's chance after those before."""
    parameters = [Fraction(parameter) for parameter in parameters]
    value = Fraction(1)
    for bin_ in sequence:
        total = sum(parameters)
        value *= parameters[bin_] / total if total else 0
        parameters[bin_] += 1
    return value


def evidence(reference, sequence, rest, added):
    """E of a sequence of groups, the reference given by group; ``rest`` is the rest's number or None."""
    m, groups = sum(reference), len(reference)
    c = min(Fraction(10 * max(sum(1 for r in reference if r), 1)), Fraction(m, 2))
    wide = chance(sequence, [c * (r + Fraction(1, groups)) / (m + 1) for r in reference])
    if rest is None:
        return wide / chance(sequence, reference)
    in_rest = [int(group == rest) for group in sequence]
    others = [group - (group > rest) for group in sequence if group != rest]
    narrow = chance(others, [r for i, r in enumerate(reference) if i != rest])
    new = chance(in_rest, [Fraction(1, 2), Fraction(1, 2)]) * narrow
    null = max(chance(in_rest, [m - reference[rest], reference[rest] + s]) * narrow for s in added)
    return (wide + new) / 2 / null


def mean_evidence(evidence_of, rows, parameters):
    """The mean of E over all sequences of so many rows whose shares come from a Dirichlet distribution."""
    groups = range(len(parameters))
    return sum(chance(rows_, parameters) * evidence_of(rows_) for rows_ in product(groups, repeat=rows))


def chance_of_ever(evidence_of, rows, parameters, threshold):
    """The chance that E reaches a threshold at any of the rows."""
    total = Fraction(0)
    open_ = [()]
    for _ in range(rows):
        longer = [(*sequence, group) for sequence in open_ for group in range(len(parameters))]
        crossed = [sequence for sequence in longer if evidence_of(sequence) >= threshold]
        total += sum(chance(sequence, parameters) for sequence in crossed)
        open_ = [sequence for sequence in longer if evidence_of(sequence) < threshold]
    return total
