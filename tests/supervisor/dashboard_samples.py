"""Documents as the watching gives them: a healthy one with everything in it, and ways to make it large or hostile."""

from __future__ import annotations

import copy
import math
from typing import Any

NOW = 1_790_000_000.0
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&lt;\u202eexe.\x00\x1b[31m"


def column(name: str = "bill_length_mm", **changes: Any) -> dict[str, Any]:
    """One column of the drift."""
    reference = [0.01, 0.02, 0.2, 0.3, 0.27, 0.2, 0.0]
    return {
        "name": name,
        "kind": "number",
        "feature": name,
        "watched": True,
        "level": "drift",
        "latched": True,
        "acknowledged": False,
        "since": NOW - 600,
        "evidence": 7.25,
        "effect": 0.412,
        "psi": 0.42,
        "jensen_shannon": 0.31,
        "hellinger": 0.2,
        "l_infinity": 0.25,
        "ks": 0.3,
        "wasserstein": 0.7,
        "chi_square_p": 1e-12,
        "rows": 3210,
        "missing": 0.012,
        "bins": ["missing", "< 32", "32 to 38", "38 to 44", "44 to 50", "50 to 60", "> 60"],
        "reference": reference,
        "current": [0.012, 0.0, 0.02, 0.1, 0.3, 0.468, 0.1],
    } | changes


def report(*, now: float = NOW, **changes: Any) -> dict[str, Any]:
    """A whole document."""
    quantiles = {"mean_us": 90.0, "p50_us": 80.0, "p90_us": 120.0, "p99_us": 600.0, "p999_us": 2100.0, "max_us": 9000.0}
    figure = {"value": 0.941, "low": 0.921, "high": 0.957, "rows": 4321}
    minute = int(now // 60)
    document: dict[str, Any] = {
        "model": "door",
        "digest": "sha256:" + "ab" * 32,
        "version": "1",
        "since": now - 86_400,
        "now": now,
        "answered": 4321,
        "refused": 12,
        "rate": 17.5,
        "tiers": {"rule": 3000, "model": 1300, "fallback": 21},
        "traffic": [[minute - age, age % 3, 60 + 5 * (age % 7)] for age in range(60, -1, -1) if age % 11],
        "latency": {
            "rule": {"count": 3000} | quantiles,
            "model": {"count": 1300} | {k: 4 * v for k, v in quantiles.items()},
        },
        "objectives": [
            {
                "name": "p99_ms",
                "limit_ms": 5.0,
                "budget": 0.01,
                "late": 21,
                "answers": 4321,
                "share": 0.0049,
                "burn": {"300": 0.5, "1800": 0.4, "3600": 0.49, "21600": 0.3, "259200": 0.2},
                "level": "ok",
                "left": 0.8,
            },
            {
                "name": "deadline_ms",
                "limit_ms": 50.0,
                "budget": 0.001,
                "late": 90,
                "answers": 4321,
                "share": 0.0208,
                "burn": {"300": 20.8, "1800": 20.1, "3600": 20.8, "21600": 8.0, "259200": 1.0},
                "level": "fast",
                "left": -0.2,
            },
        ],
        "drift": {
            "rows": 3210,
            "budget_days": 30,
            "threshold": 6.1,
            "unwatched": 0,
            "design_effect": 1.1,
            "notes": [],
            "columns": [
                column(),
                column("island", kind="category", level="small", latched=True, acknowledged=True, evidence=2.0),
                column("sex", kind="category", level="none", latched=False, since=None, evidence=-3.0, effect=0.001),
                column("#confidence", kind="confidence", feature=None, watched=False, level="none", latched=False),
            ],
        },
        "quality": {
            "estimated": {"rows": 4321, "left_out": 0, "accuracy": figure, "macro": {"f1": 0.93, "recall": 0.92}},
            "realised": {"rows": 320, "accuracy": {"value": 0.85, "low": 0.79, "high": 0.9, "rows": 320}, "macro": {}},
            "agreement": {
                "rows": 320,
                "expected": 0.94,
                "realised": {"value": 0.85, "low": 0.79, "high": 0.9},
                "agrees": False,
            },
            "reference": {"rows": 104, "held_out": True},
            "notes": [],
        },
        "rules": {
            "count": 3,
            "tiers": {"rule": {"answers": 3000, "share": 0.69, "agreement": figure}, "model": {"agreement": None}},
            "audit": {"dropped": 3, "failed": 1},
            "disabled": ["big"],
            "rules": [
                {
                    "id": "big",
                    "answers": 2900,
                    "share": 0.67,
                    "promised": 0.99,
                    "precision": {"value": 0.85, "low": 0.79, "high": 0.9, "rows": 320},
                    "agreement": figure,
                    "findings": {"precision": "rule big: live precision is below its target"},
                    "disabled": True,
                },
                {"id": "small", "answers": 100, "share": 0.02, "promised": None, "precision": None, "agreement": None},
            ],
        },
        "validation": {
            "findings": [
                {
                    "field": "country",
                    "kind": "renamed",
                    "text": "field `country` now arrives as `Country`",
                    "remedy": "send it under its old name, or build the bundle again",
                    "records": 12,
                    "share": 0.0028,
                }
            ],
            "fields": {"country": {"missing": 12}, "amount": {"above_max": 3, "not_a_number": 1}},
            "requests": {"too_large": 2},
            "unknown": {"Country": 12},
        },
        "capture": {"kept": 440, "dropped": 1, "labels": 320, "failure": ""},
        "monitors": {"state_bytes": 76_000, "bytes_today": 12_345, "snapshot_at": now - 30, "failure": ""},
    }
    return document | changes


def hostile() -> dict[str, Any]:
    """The same with every text replaced by one that attacks, names of members included where they are data."""

    def attacked(value: Any) -> Any:
        if isinstance(value, str):
            return HOSTILE
        if isinstance(value, list):
            return [attacked(each) for each in value]
        if isinstance(value, dict):
            return {key: attacked(each) for key, each in value.items()}
        return value

    made = attacked(report())
    made["latency"][HOSTILE] = made["latency"].pop("rule")
    made["validation"]["fields"][HOSTILE] = {HOSTILE: 3}
    made["validation"]["requests"][HOSTILE] = 3
    made["validation"]["unknown"][HOSTILE] = 3
    return made


def broken() -> list[dict[str, Any]]:
    """Documents with numbers that are none, and members that are not there."""
    nothing, endless = copy.deepcopy(report()), copy.deepcopy(report())

    def changed(value: Any, number: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(each, number) for key, each in value.items()}
        if isinstance(value, list):
            return [changed(each, number) for each in value]
        return number if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    return [changed(nothing, math.nan), changed(endless, math.inf), changed(nothing, -1), changed(nothing, 0), {}]


def wide(columns: int) -> dict[str, Any]:
    """A document with so many columns."""
    made = report()
    made["drift"]["columns"] = [column(f"feature_{place:05}", latched=place < 3) for place in range(columns)]
    return made
