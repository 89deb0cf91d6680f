"""How strongly counts say that one release fails more often than another, however often one looks.

Each question that a release answers is a trial that may fail: two Bernoulli streams, the candidate's with rate p and
the previous release's with rate q. The null hypothesis is that the candidate is no worse: p <= q, both unknown. ::

    E = mixture / best
    mixture = marginal(x, n) * marginal(y, m),  marginal(x, n) = B(x + 1/2, n - x + 1/2) / B(1/2, 1/2)
    best    = the largest p^x (1-p)^(n-x) q^y (1-q)^(m-y) with p <= q

with x failures in n answers of the candidate, y in m of the previous release, and B the beta function. Where
x/n > y/m, ``best`` has p = q = (x+y)/(n+m); elsewhere p = x/n and q = y/m, and then E <= 1.

Under each single p <= q the mixture over the true likelihood is a martingale that starts at 1, and E never exceeds it;
so the chance that E *ever* reaches c is at most 1/c (Ville's inequality). This is the universal-inference e-process
(Wasserman, Ramdas, Balakrishnan, PNAS 2020, doi 10.1073/pnas.1922664117; section 5.4 of Ramdas et al., arXiv
2210.01948) with the Krichevsky-Trofimov mixture. It holds for any interleaving of the streams, all of the previous
release's answers first included, and depends on four integers only, so on no batching. The test for canaries of Lindon
and Malek (arXiv 2011.03567) asks which arm an error came from, and so learns nothing while only the candidate serves.

What it assumes: within a stream, answers fail independently and at one rate. A cause outside the model that strikes
after the change (a sensor that breaks) looks like a worse candidate; errors that come in bursts overstate the evidence.
"""

from __future__ import annotations

import math

_LOG_PI = math.log(math.pi)


def log_error_evidence(failures: int, answers: int, previous_failures: int, previous_answers: int) -> float:
    """Natural logarithm of the evidence that the candidate's failure rate is higher than the previous release's.

    Args:
        failures: Answers of the candidate that failed.
        answers: All answers of the candidate.
        previous_failures: Answers of the previous release that failed.
        previous_answers: All answers of the previous release.

    Returns:
        log E; 0 where nothing is known, at most 0 where the candidate's rate is not higher. Its rounding error is
        below 1e-6 up to 10^9 answers.

    Raises:
        ValueError: A count is negative, or more answers failed than were given.
    """
    for bad, total, whose in (
        (failures, answers, "the candidate"),
        (previous_failures, previous_answers, "the previous release"),
    ):
        if not 0 <= bad <= total:
            raise ValueError(f"{whose}: {bad} failures in {total} answers")
    mixture = _log_marginal(failures, answers) + _log_marginal(previous_failures, previous_answers)
    # Cross-multiplied: integers compare exactly, and an empty stream needs no case of its own.
    if failures * previous_answers > previous_failures * answers:
        best = _log_likelihood(failures + previous_failures, answers + previous_answers)
    else:
        best = _log_likelihood(failures, answers) + _log_likelihood(previous_failures, previous_answers)
    return mixture - best


def error_evidence(failures: int, answers: int, previous_failures: int, previous_answers: int) -> float:
    """The evidence itself, E; infinite where it is beyond float64. See ``log_error_evidence``.

    Raises:
        ValueError: A count is negative, or more answers failed than were given.
    """
    log = log_error_evidence(failures, answers, previous_failures, previous_answers)
    return math.exp(log) if log < 709.0 else math.inf


def _log_marginal(bad: int, total: int) -> float:
    return math.lgamma(bad + 0.5) + math.lgamma(total - bad + 0.5) - math.lgamma(total + 1.0) - _LOG_PI


def _log_likelihood(bad: int, total: int) -> float:
    # At its own best rate; 0 log 0 is 0.
    good = total - bad
    return (bad * math.log(bad / total) if bad else 0.0) + (good * math.log(good / total) if good else 0.0)
