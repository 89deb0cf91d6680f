"""Page-Hinkley: whether the mean of a stream of numbers has changed (Page 1954, doi 10.1093/biomet/41.1-2.100).

1. The deviations from the running mean, less a tolerance ``delta``, are summed with a fading factor ``alpha``. A change
   is where the sum is more than ``threshold`` above its smallest value, or likewise below its largest.
2. Rules and defaults are those of ``river.drift.PageHinkley`` (0.26), to the last bit: the value that is looked at is
   part of the mean already; the first ``min_instances - 1`` values never alarm; the value after an alarm begins anew.
3. The defaults are made for values whose spread is about 1: with a spread of 0.01 the sum would take thousands of
   values to reach 50. So ``scaled`` divides by the spread of one healthy value, and sets the threshold from how long a
   healthy stream should run. For shares (missing values, failures) ``share_spread`` knows the spread.
4. It is a rule for finding changes, not a bound on false alarms: run lengths hold on average, for values that do not
   depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_STATE = ("values", "mean", "rising", "falling", "lowest", "highest")
_HIGHEST = -1.0  # river's, where -inf would be expected


class PageHinkley:
    """One stream.

    Attributes:
        drift_detected: Whether the last value gave an alarm.
        drift_direction: ``up`` or ``down`` where it did, else ''.
    """

    __slots__ = (
        "_falling",
        "_highest",
        "_lowest",
        "_mean",
        "_rising",
        "_values",
        "alpha",
        "delta",
        "drift_detected",
        "drift_direction",
        "min_instances",
        "threshold",
        "unit",
    )

    def __init__(
        self,
        *,
        min_instances: int = 30,
        delta: float = 0.005,
        threshold: float = 50.0,
        alpha: float = 1 - 0.0001,
        unit: float = 1.0,
    ) -> None:
        """Makes a stream that has seen nothing.

        Args:
            min_instances: Number of values before the first alarm.
            delta: Deviation that is tolerated, in units.
            threshold: Sum of deviations that is a change, in units.
            alpha: Fading factor of the sums, above 0 and at most 1.
            unit: What values are divided by.

        Raises:
            ValueError: A setting is out of its range.
        """
        if not (min_instances >= 1 and delta >= 0 and threshold > 0 and 0 < alpha <= 1 and 0 < unit < math.inf):
            raise ValueError(
                "Page-Hinkley needs min_instances >= 1, delta >= 0, threshold > 0, 0 < alpha <= 1 and a positive unit;"
                f" got {min_instances}, {delta}, {threshold}, {alpha}, {unit}"
            )
        self.min_instances = min_instances
        self.delta = delta
        self.threshold = threshold
        self.alpha = alpha
        self.unit = unit
        self.drift_detected = False
        self.drift_direction = ""
        self._values = 0
        self._mean = self._rising = self._falling = 0.0
        self._lowest, self._highest = math.inf, _HIGHEST

    @classmethod
    def scaled(cls, spread: float, *, run_length: float, shift: float = 1.0) -> PageHinkley:
        """A stream for values of any spread, with a threshold from how long a healthy stream runs on average.

        Args:
            spread: Standard deviation of one healthy value.
            run_length: Number of healthy values between two false alarms, on average; 100 or more. The running mean is
                a little unsure at first, so that measured run lengths are some tens of percent off.
            shift: The shift to find fastest, in spreads; half of it is tolerated.

        Raises:
            ValueError: A setting is out of its range.
        """
        delta = shift / 2
        return cls(delta=delta, threshold=threshold_for(run_length, delta), alpha=1.0, unit=spread)

    def update(self, value: float) -> bool:
        """Takes the next value.

        Returns:
            Whether the mean has changed, as ``drift_detected``.

        Raises:
            ValueError: The value is not finite; the stream stays as it was.
        """
        if not math.isfinite(value):
            raise ValueError(f"a value of {value} has no place in a mean; leave it out and count it elsewhere")
        if self.drift_detected:
            self._reset()
        value /= self.unit
        self._values += 1
        self._mean += (1.0 / self._values) * (value - self._mean)
        deviation = value - self._mean
        self._rising = self.alpha * self._rising + deviation - self.delta
        self._falling = self.alpha * self._falling + deviation + self.delta
        self._lowest = min(self._lowest, self._rising)
        self._highest = max(self._highest, self._falling)
        if self._values >= self.min_instances:
            if self._rising - self._lowest > self.threshold:
                self.drift_direction = "up"
            elif self._highest - self._falling > self.threshold:
                self.drift_direction = "down"
            self.drift_detected = bool(self.drift_direction)
        return self.drift_detected

    def to_document(self) -> dict[str, Any]:
        """The state, JSON-ready; the settings are not part of it."""
        return {name: getattr(self, f"_{name}") for name in _STATE} | {
            "lowest": None if math.isinf(self._lowest) else self._lowest,
            "direction": self.drift_direction,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Takes up what ``to_document`` gave, instead of what is there.

        Raises:
            ValueError: It is not such a document; the stream stays as it was.
        """
        if not isinstance(document, Mapping) or set(document) != {*_STATE, "direction"}:
            raise ValueError(f"a Page-Hinkley state has the members {', '.join([*_STATE, 'direction'])}")
        values, direction = document["values"], document["direction"]
        numbers = {name: document[name] for name in _STATE[1:]}
        if type(values) is not int or values < 0:
            raise ValueError(f"member 'values' of a Page-Hinkley state is a count, not {values!r}")
        if numbers["lowest"] is None and not values:
            numbers["lowest"] = math.inf
        for name, number in numbers.items():
            if type(number) not in (int, float) or not (math.isfinite(number) or not values and name == "lowest"):
                raise ValueError(f"member '{name}' of a Page-Hinkley state is a finite number, not {number!r}")
        if direction not in ("", "up", "down"):
            raise ValueError(f"member 'direction' of a Page-Hinkley state is '', 'up' or 'down', not {direction!r}")
        self._values, self.drift_direction, self.drift_detected = values, direction, bool(direction)
        for name, number in numbers.items():
            setattr(self, f"_{name}", float(number))

    def _reset(self) -> None:
        self.drift_detected = False
        self.drift_direction = ""
        self._values = 0
        self._mean = 0.0
        self._rising = self._falling = 0.0
        self._lowest = math.inf
        self._highest = _HIGHEST


def share_spread(share: float, rows: int) -> float:
    """Standard deviation of a share that is counted on a number of rows, were they independent.

    Args:
        share: The healthy share; 0 and 1 are read as half an observation away from it.
        rows: Rows that each value of the stream is counted on.

    Raises:
        ValueError: The share is none, or there are no rows.
    """
    if not 0 <= share <= 1 or rows < 1:
        raise ValueError(f"a share of {share} on {rows} rows has no spread")
    inside = min(max(share, 0.5 / rows), 1 - 0.5 / rows)
    return math.sqrt(inside * (1 - inside) / rows)


def threshold_for(run_length: float, delta: float) -> float:
    """The threshold at which two-sided sums of normal values of spread 1 run so long on average.

    Siegmund's approximation for one side, (exp(2 d b) - 2 d b - 1) / (2 d^2) with b = threshold + 1.166 (Sequential
    Analysis, 1985, section II.6); either side gives as many alarms.

    Args:
        run_length: Number of values between two false alarms, 100 or more.
        delta: What is tolerated, in spreads, above 0.

    Raises:
        ValueError: A setting is out of its range.
    """
    if not (100 <= run_length < math.inf and 0 < delta < 10):
        raise ValueError(f"no threshold for a run length of {run_length} (at least 100) and delta {delta} (above 0)")

    def runs(threshold: float) -> float:
        reach = 2 * delta * (threshold + 1.166)
        return (math.expm1(reach) - reach) / (2 * delta * delta) / 2

    low, high = 0.0, 1.0
    while runs(high) < run_length:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if runs(middle) < run_length else (low, middle)
    return high
