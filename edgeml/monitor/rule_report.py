"""What is known of the rules of one bundle that is watched: shares, precision by labels, agreement by audits.

The order is that of concern: what was found out or disabled first, then what answers most. Of thousands of rules the
first ``MOST`` are shown, and of the others only how many answers they gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeml.monitor.counted import Answered
from edgeml.monitor.rule_watch import AGREEMENT, PRECISION, RuleWatch

MOST = 100


def audited_rules(answered: Answered) -> dict[int, list[int]]:
    """Index of a rule -> answers that were audited, those to which the model agreed."""
    counts = answered.audit.get("rules", {})
    return {int(index): pair for index, pair in counts.items() if index.isdecimal() and len(pair) == 2}


def labelled_rules(answered: Answered) -> dict[int, list[int]]:
    """Index of a rule -> labels that came, answers that were right."""
    return {} if answered.quality is None else answered.quality.labelled_rules


def rule_report(
    watch: RuleWatch, answered: Answered, switched: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """What is known of rules and of early tiers.

    Args:
        watch: The rules.
        answered: What was counted of the bundle's answers.
        switched: What was decided of rules, by id; see ``supervisor.rule_switches``.

    Returns:
        JSON types; docs/rules-live.md describes them.
    """
    switched = switched or {}
    total = sum(answered.answers.values())
    given: Sequence[int] = [] if answered.quality is None else answered.quality.rules
    labelled, audited = labelled_rules(answered), audited_rules(answered)
    findings: dict[int, dict[str, str]] = {}
    for (index, kind), finding in watch.findings.items():
        findings.setdefault(index, {})[kind] = finding.text
    disabled = [each.id for each in watch.promises if switched.get(each.id, {}).get("disabled")]

    def answers(index: int) -> int:
        return given[index] if index < len(given) else 0

    def concern(index: int) -> tuple[bool, bool, int, int]:
        name = watch.promises[index].id
        return index not in findings, name not in switched, -answers(index), index

    places = [index for index, each in enumerate(watch.promises) if each.answers]
    shown = sorted(places, key=concern)[:MOST]
    listed = []
    for index in shown:
        promise = watch.promises[index]
        known = switched.get(promise.id, {})
        listed.append(
            {
                "id": promise.id,
                "answers": answers(index),
                "share": answers(index) / total if total else 0.0,
                "promised": promise.precision,
                "promised_by": promise.source,
                "promised_agreement": promise.agreement,
                PRECISION: watch.interval(*labelled.get(index, (0, 0))),
                AGREEMENT: watch.interval(*audited.get(index, (0, 0))),
                "findings": findings.get(index, {}),
                "disabled": bool(known.get("disabled")),
                "decided": dict(known) if known else None,
            }
        )
    return {
        "count": len(places),
        "alpha": watch.alpha,
        "tiers": {
            tier: {"answers": count, "share": count / total if total else 0.0}
            | {AGREEMENT: watch.interval(*answered.audit.get("tiers", {}).get(tier, (0, 0)))}
            for tier, count in answered.answers.items()
        },
        "audit": {name: answered.audit.get(name, 0) for name in ("dropped", "failed")},
        "below": {kind: sum(kind in each for each in findings.values()) for kind in (PRECISION, AGREEMENT)},
        "disabled": disabled,
        "rules": listed,
        "others": {"rules": len(places) - len(shown), "answers": sum(map(answers, set(places) - set(shown)))},
    }
