"""The series of rules and audits.

A report has the first hundred rules of a bundle, so the number of series is bounded. What the others answer is what
is missing to ``edgeml_answers_total{tier="rule"}``: a counter of all others would fall whenever one of them comes among
the hundred, and a counter that falls looks like a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def rule_series(found: Mapping[str, Any]) -> Iterator[tuple[str, float | None, tuple[str, ...]]]:
    """Name, value and labels (behind model and version) of each series; None for what is not known.

    Args:
        found: The member ``rules`` of a report.
    """
    for tier, each in found["tiers"].items():
        agreement = each["agreement"]
        if agreement:
            agreed = round(agreement["value"] * agreement["rows"])
            yield "edgeml_audited_answers_total", agreed, (tier, "agrees")
            yield "edgeml_audited_answers_total", agreement["rows"] - agreed, (tier, "differs")
    yield "edgeml_audits_dropped_total", found["audit"]["dropped"], ()
    yield "edgeml_audits_failed_total", found["audit"]["failed"], ()
    yield "edgeml_rules", found["count"], ()
    yield "edgeml_rules_disabled", len(found["disabled"]), ()
    for kind, count in found["below"].items():
        yield "edgeml_rules_found_out", count, (kind,)
    for each in found["rules"]:
        rule = (each["id"],)
        yield "edgeml_rule_answers_total", each["answers"], rule
        yield "edgeml_rule_promised_ratio", each["promised"], rule
        yield "edgeml_rule_disabled", each["disabled"], rule
        for metric, member in (("right", "precision"), ("agreement", "agreement")):
            for suffix, end in _ENDS if each[member] else ():
                yield f"edgeml_rule_{metric}{suffix}_ratio", each[member][end], rule
        for kind in each["findings"]:
            yield "edgeml_rule_found_out", 1, (*rule, kind)
