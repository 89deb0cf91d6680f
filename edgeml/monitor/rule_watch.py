"""Whether the rules of a bundle keep what they promise, by the labels that came and by audits.

1. A rule is found out where the upper end of its confidence sequence lies below what it promises (``rule_promises``).
   The sequence holds however often one looks, so a rule is looked at whenever something was counted of it, from
   ``LEAST`` on.
2. Labels and audits are two lists of looks. Each may find out a rule by mistake, in all the life of a bundle and over
   all of its rules together, with a chance of at most ``ALPHA / 2``: each rule has its part of that.
3. A finding stays: all that was counted of the bundle stays too.
4. Labels are the truth, and the model is not. Where labels speak for a rule, that the model contradicts it is no reason
   to disable it (``wrong``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeml.monitor.confidence_sequence import ALPHA, confidence_sequence, log_mixture_martingale
from edgeml.monitor.rule_promises import RulePromise, answering

PRECISION, AGREEMENT = "precision", "agreement"
# Fewer find out no rule: they may well be of one client, who asks the same again.
LEAST = 20
# So many labels speak for a rule where the share of right ones is what it promises.
ENOUGH_LABELS = 30


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """A rule that does not keep what it promises.

    Attributes:
        rule: Its id.
        kind: ``precision`` (by labels) or ``agreement`` (with the model, by audits).
        since: When it was found out, in seconds since 1970.
        text: A sentence.
    """

    rule: str
    kind: str
    since: float
    text: str


class RuleWatch:
    """The rules of one bundle.

    Args:
        promises: What they promise, in their order.

    Attributes:
        promises: The same.
        findings: Those that do not keep it, by index and kind.
    """

    def __init__(self, promises: Sequence[RulePromise] = ()) -> None:
        self.promises = tuple(promises)
        self.findings: dict[tuple[int, str], RuleFinding] = {}
        # What was looked at last, by kind: index -> [of how many, how many good].
        self._seen: dict[str, dict[int, list[int]]] = {PRECISION: {}, AGREEMENT: {}}

    @property
    def alpha(self) -> float:
        """The chance that one rule's labels, or its audits, ever find it out by mistake."""
        return ALPHA / 2 / max(1, answering(self.promises))

    def look(
        self, labelled: Mapping[int, Sequence[int]], audited: Mapping[int, Sequence[int]], now: float
    ) -> list[RuleFinding]:
        """Looks at what was counted.

        Args:
            labelled: Index of a rule -> labels that came, answers that were right.
            audited: Index of a rule -> answers that were audited, those to which the model agreed.
            now: Seconds since 1970.

        Returns:
            What was found out with that.
        """
        found = []
        for kind, counted in ((PRECISION, labelled), (AGREEMENT, audited)):
            seen = self._seen[kind]
            for index, pair in counted.items():
                if index >= len(self.promises) or (index, kind) in self.findings or seen.get(index) == pair:
                    continue
                seen[index] = list(pair)
                finding = self._judged(index, kind, pair[0], pair[1], now)
                if finding is not None:
                    self.findings[index, kind] = finding
                    found.append(finding)
        return found

    def wrong(self, labelled: Mapping[int, Sequence[int]]) -> dict[str, RuleFinding]:
        """Rules that should not answer any more, by id.

        Args:
            labelled: As of ``look``.
        """
        found: dict[str, RuleFinding] = {}
        for (index, kind), finding in sorted(self.findings.items()):
            if kind == AGREEMENT and self._labels_speak_for(index, labelled.get(index, (0, 0))):
                continue
            # By labels where both are there: "precision" comes after "agreement".
            found[finding.rule] = finding
        return found

    def interval(self, trials: int, good: int) -> dict[str, float] | None:
        """A share with its interval, as it is shown for one of these rules; None where nothing was counted."""
        if not trials:
            return None
        low, high = confidence_sequence(good, trials, alpha=self.alpha)
        return {"value": good / trials, "low": low, "high": high, "rows": trials}

    def to_document(self) -> list[dict[str, Any]]:
        """The findings, JSON-ready."""
        return [
            {"rule": each.rule, "kind": each.kind, "since": each.since, "text": each.text}
            for each in self.findings.values()
        ]

    def restore(self, document: Any) -> None:
        """Takes up what ``to_document`` gave; of rules that the bundle does not have, nothing.

        Raises:
            ValueError: It is no such document.
        """
        index_of = {each.id: index for index, each in enumerate(self.promises)}
        findings = {}
        try:
            for each in document:
                finding = RuleFinding(str(each["rule"]), str(each["kind"]), float(each["since"]), str(each["text"]))
                if finding.kind not in self._seen or not 0 <= finding.since < math.inf:
                    raise ValueError(f"{finding.kind!r} at {finding.since} is no finding")
                if finding.rule in index_of:
                    findings[index_of[finding.rule], finding.kind] = finding
        except (KeyError, TypeError) as error:
            raise ValueError(f"rules: {error!r} is missing or of another type") from error
        self.findings = findings

    def _judged(self, index: int, kind: str, trials: int, good: int, now: float) -> RuleFinding | None:
        promise = self.promises[index]
        least = promise.precision if kind == PRECISION else promise.agreement
        if least is None or not promise.answers or trials < LEAST or not 0 <= good <= trials or good >= least * trials:
            return None
        # The upper end is below where the martingale says so; the end itself costs a hundred times as much.
        if log_mixture_martingale(good, trials, least) < -math.log(self.alpha):
            return None
        known = self.interval(trials, good)
        assert known is not None
        return RuleFinding(promise.id, kind, now, _sentence(promise, kind, least, known))

    def _labels_speak_for(self, index: int, pair: Sequence[int]) -> bool:
        least, (trials, right) = self.promises[index].precision, pair
        return least is not None and trials >= ENOUGH_LABELS and right >= least * trials


def _sentence(promise: RulePromise, kind: str, least: float, known: Mapping[str, float]) -> str:
    seen = f"{known['value']:.1%} of {known['rows']:.0f} (at most {known['high']:.1%})"
    if kind == PRECISION:
        what = "its target is" if promise.source == "target" else "when the bundle was built it was at least"
        told = f"live precision is below its target: {seen} labelled answers were right, {what} {least:.1%}"
    else:
        told = (
            f"the model contradicts it: {seen} audited answers were the model's too, {least:.1%} at least were expected"
        )
    return f"rule {promise.id}: {told}"
