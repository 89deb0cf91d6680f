"""Trials that wait for a person: something is wrong, and the bundle on trial may not be the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def held(live: Mapping[str, Any]) -> dict[str, str]:
    """What holds trials, by model; none of them is confirmed or gone back from by itself while that lasts.

    Args:
        live: What a supervisor says of itself, of this edgeml or another.
    """
    found = {}
    trials = live.get("trials") or {}
    for model in sorted(trials):
        warnings = trials[model].get("warnings") or []
        if (trials[model].get("verdict"), trials[model].get("signal")) == ("hold", "ambiguous"):
            found[model] = "; ".join(f"{each.get('signal')}: {each.get('reason')}" for each in warnings)
    return found
