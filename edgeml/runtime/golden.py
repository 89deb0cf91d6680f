"""Golden rows: records with the answers that were expected when the bundle was built, replayed on the box.

They catch what no signature can: another CPU, another ONNX Runtime, a converter's slip. Every tier and label must
be equal; scores and values may differ by the bundle's tolerance times max(1, |expected|).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeml.bundles import Bundle
from edgeml.errors import BundleError
from edgeml.runtime.members import NOT_JSON, read_json
from edgeml.runtime.prediction import Prediction

# Failed rows that a message shows.
SHOWN = 3


@dataclass(frozen=True)
class GoldenReport:
    """What came of replaying the golden rows.

    Attributes:
        rows: Number of rows replayed.
        failures: One sentence for each row that differs.
        max_difference: Largest difference of a score or value, in the measure of the tolerance.
    """

    rows: int
    failures: tuple[str, ...] = field(default=())
    max_difference: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no row differs."""
        return not self.failures

    def require(self, who: str) -> None:
        """Refuses a bundle that answers otherwise on this machine.

        Args:
            who: Name and version of the bundle.

        Raises:
            BundleError: Some row differs; names the first ones.
        """
        if not self.failures:
            return
        more = f" (and {len(self.failures) - SHOWN} more)" if len(self.failures) > SHOWN else ""
        raise BundleError(
            f"{who} answers otherwise here than when it was built: {len(self.failures)} of {self.rows} golden rows "
            f"differ: {'; '.join(self.failures[:SHOWN])}{more}. Build the bundle for this machine's ONNX Runtime and "
            "processor, or update ONNX Runtime"
        )


def golden_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """Reads ``golden.jsonl``: one ``{"record": {...}, "expected": {...}}`` a line.

    Raises:
        BundleError: A line is not such an object.
    """
    rows = []
    for number, line in enumerate(bundle.members.get("golden.jsonl", b"").splitlines()):
        try:
            row = read_json(line)
            if not isinstance(row["record"], dict) or not isinstance(row["expected"], dict):
                raise TypeError("record and expected must be objects")
        except (*NOT_JSON, KeyError, TypeError) as error:
            raise BundleError(f"bundle member golden.jsonl, line {number + 1}: {error}") from error
        rows.append(row)
    return rows


def replay(
    predict_many: Callable[[Sequence[Mapping[str, Any]]], Sequence[Prediction]],
    golden: Sequence[Mapping[str, Any]],
    *,
    keys: Sequence[str],
    tolerance: float,
) -> GoldenReport:
    """Asks the golden records again and compares.

    Args:
        predict_many: What answers on this machine.
        golden: Rows as ``golden_rows`` gives them.
        keys: Text of each label, in the order of the expected scores.
        tolerance: Largest difference allowed.
    """
    if not golden:
        return GoldenReport(rows=0)
    answers = predict_many([row["record"] for row in golden])
    failures: list[str] = []
    worst = 0.0
    for number, (row, answer) in enumerate(zip(golden, answers, strict=True)):
        difference, complaint = _compare(row["expected"], answer, keys)
        worst = max(worst, difference)
        if complaint or not difference <= tolerance:
            failures.append(f"golden row {number}: {complaint or f'differs by {difference:.3g}'}")
    return GoldenReport(rows=len(golden), failures=tuple(failures), max_difference=worst)


def _compare(expected: Mapping[str, Any], answer: Prediction, keys: Sequence[str]) -> tuple[float, str]:
    if answer.tier != expected["tier"]:
        return 0.0, f"expected tier {expected['tier']}, got {answer.tier} ({answer.reason})"
    if answer.label != expected.get("label"):
        return 0.0, f"expected label {expected.get('label')!r}, got {answer.label!r}"
    if expected.get("value") is not None:
        wanted, got = _as_list(expected["value"]), _as_list(answer.value)
        if len(got) != len(wanted):
            return 0.0, f"expected {len(wanted)} values, got {answer.value!r}"
        return max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(wanted, got, strict=True)), ""
    if expected.get("scores") is not None:
        got_scores = answer.scores or {}
        # Decision values have a scale of their own; for probabilities the measure is the plain difference.
        return max(
            abs(want - got_scores.get(key, 0.0)) / max(1.0, abs(want))
            for key, want in zip(keys, expected["scores"], strict=False)
        ), ""
    return 0.0, ""


def _as_list(value: Any) -> list[float]:
    if value is None:
        return []
    return [float(item) for item in value] if isinstance(value, list) else [float(value)]
