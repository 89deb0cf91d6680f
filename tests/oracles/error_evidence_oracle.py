"""The evidence as a bet on one answer after the other, in exact fractions, and the chance that it ever misleads."""

from fractions import Fraction


def evidence(answers):
    """E after a sequence of (arm, failed); arm 0 is the candidate, 1 the previous release.

    The numerator is a prediction of each answer from those before it (Krichevsky-Trofimov); the denominator is the
    largest likelihood with a candidate that is no worse.
    """
    bad, total = [0, 0], [0, 0]
    mixture = Fraction(1)
    for arm, failed in answers:
        predicted = (bad[arm] + Fraction(1, 2)) / (total[arm] + 1)
        mixture *= predicted if failed else 1 - predicted
        bad[arm] += failed
        total[arm] += 1
    return mixture / likelihood(bad, total, best_rates(bad, total))


def best_rates(bad, total):
    """The failure rates that explain the counts best among those with a candidate that is no worse."""
    rates = [Fraction(x, n) if n else None for x, n in zip(bad, total, strict=True)]
    if None not in rates and rates[0] > rates[1]:
        rates = [Fraction(sum(bad), sum(total))] * 2
    return rates


def likelihood(bad, total, rates):
    """Chance of one sequence with these counts."""
    product = Fraction(1)
    for x, n, rate in zip(bad, total, rates, strict=True):
        if n:
            product *= rate**x * (1 - rate) ** (n - x)
    return product


def chance_of_ever(reaches, arms, rates):
    """The exact chance (up to rounding) that a test ever says yes, looking after every answer.

    Args:
        reaches: (failures, answers, previous failures, previous answers) -> bool.
        arms: Which arm answers, one after the other.
        rates: True failure rate of each arm.
    """
    states, crossed = {(0, 0): 1.0}, 0.0
    total = [0, 0]
    for arm in arms:
        total[arm] += 1
        after = {}
        for bad, chance in states.items():
            for failed, part in ((1, rates[arm]), (0, 1 - rates[arm])):
                state = (bad[0] + failed, bad[1]) if arm == 0 else (bad[0], bad[1] + failed)
                after[state] = after.get(state, 0.0) + chance * part
        states = {}
        for (x, y), chance in after.items():
            if reaches(x, total[0], y, total[1]):
                crossed += chance
            else:
                states[x, y] = chance
    return crossed
