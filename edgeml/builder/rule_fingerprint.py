"""By what a learned rule is known again.

1. A learned rule's id is its label and the first digits of its fingerprint, so that the same rule has the same id when
   it is learned again, and can be vetoed by it.
2. The fingerprint is that of the canonical condition and the outcome. A rule whose provenance says ``learned`` and
   whose fingerprint is no longer that of its condition was edited by somebody, and belongs to them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from edgeml.errors import RuleError
from edgeml.runtime.expression import format_expression
from edgeml.runtime.expression_parser import parse_expression
from edgeml.runtime.prediction import Label

_DIGITS = 8
_PROVENANCE = re.compile(r"learned: .*fingerprint ([0-9a-f]+)")


def fingerprint(when: str, then: Mapping[str, Any]) -> str:
    """Digits that change where the condition, or what is answered, does; not with spaces or a score."""
    outcome = "abstain" if then.get("abstain") else repr(then.get("label", then.get("value")))
    text = f"{format_expression(parse_expression(when))}\n{outcome}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def is_learned(rule: Mapping[str, Any]) -> bool:
    """Whether a written rule is as it was learned: nobody has edited or pinned it."""
    provenance, when, then = rule.get("provenance"), rule.get("when"), rule.get("then")
    if rule.get("pinned") or not isinstance(provenance, str) or not isinstance(when, str):
        return False
    said = _PROVENANCE.match(provenance)
    if said is None:
        return False
    try:
        return said[1] == fingerprint(when, {"abstain": True} if then == "abstain" else then or {})
    except RuleError:
        return False


def rule_id(when: str, label: Label) -> str:
    """The id of a learned rule.

    Args:
        when: Its condition.
        label: What it answers, were it proven.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", str(label).lower()).strip("-")[:60] or "label"
    return f"{slug}-{fingerprint(when, {'label': label})}"
