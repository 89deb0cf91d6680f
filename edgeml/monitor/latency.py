"""How long answers take, one histogram for each tier that can give one."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from edgeml.kernels.histogram import Histogram

TIERS = ("rule", "middle", "model", "fallback")
PERCENTILES = {"p50_us": 50.0, "p90_us": 90.0, "p99_us": 99.0, "p999_us": 99.9}
# Upper ends, in microseconds, of the coarser buckets of ``distribution``. Fixed: only like buckets add up over boxes.
BUCKETS_US = (
    *(50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000),
    *(25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000),
)


class LatencyMonitor:
    """Histograms of answering times. Any thread may call any method.

    The tiers are fixed, so that an observation is one look-up in a dict that never changes and one step of a kernel.

    Attributes:
        record: What ``observe`` does, by tier, for those who count each request.
    """

    __slots__ = ("_histograms", "_record_many", "record")

    def __init__(self) -> None:
        self._histograms = {tier: Histogram() for tier in TIERS}
        self.record = {tier: histogram.record for tier, histogram in self._histograms.items()}
        self._record_many = {tier: histogram.record_many for tier, histogram in self._histograms.items()}

    def observe(self, tier: str, ns: int) -> None:
        """Counts one answer.

        Args:
            tier: ``rule``, ``middle``, ``model`` or ``fallback``.
            ns: How long it took, in nanoseconds.

        Raises:
            KeyError: There is no such tier.
            ValueError: ``ns`` is negative.
        """
        self.record[tier](ns)

    def observe_many(self, tier: str, ns: int, count: int) -> None:
        """Counts ``count`` answers that took ``ns`` nanoseconds each.

        Raises:
            KeyError: There is no such tier.
            ValueError: ``ns`` or ``count`` is negative.
        """
        self._record_many[tier](ns, count)

    def histogram(self, tier: str) -> Histogram:
        """The live histogram of a tier.

        Raises:
            KeyError: There is no such tier.
        """
        return self._histograms[tier]

    def document(self) -> dict[str, str]:
        """The histograms of the tiers that answered, as base64 of ``Histogram.to_bytes``."""
        taken = {tier: histogram.to_bytes() for tier, histogram in self._histograms.items() if histogram.count}
        return {tier: b64encode(data).decode() for tier, data in taken.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """Count, mean, percentiles and maximum of each tier; times in microseconds, 0 where there was no answer.

        A percentile is the upper end of its bucket, so it may exceed the truth by up to 1 %; it never exceeds the
        exact maximum given beside it.
        """
        return {tier: figures(histogram) for tier, histogram in self._histograms.items()}


def figures(live: Histogram) -> dict[str, float]:
    """Count, mean, percentiles and maximum of a histogram; see ``LatencyMonitor.summary``."""
    # All figures of one moment: other threads go on recording into the live one.
    histogram = Histogram()
    histogram.merge(live)
    figures: dict[str, float] = {"count": histogram.count, "mean_us": histogram.mean / 1e3}
    for name, share in PERCENTILES.items():
        figures[name] = min(histogram.percentile(share), histogram.max) / 1e3
    figures["max_us"] = histogram.max / 1e3
    return figures


def distribution(live: Histogram) -> dict[str, Any]:
    """The sum of a histogram in microseconds, and how many values are within each of ``BUCKETS_US``, JSON-ready.

    A value that is up to 0.8 % longer than the end of a bucket may count as within it.

    Args:
        live: The histogram.

    Returns:
        ``sum_us``, and ``buckets``: pairs of an end and how many values are not above it.
    """
    histogram = Histogram()
    histogram.merge(live)
    count = histogram.count
    return {
        "sum_us": histogram.mean * count / 1e3,
        "buckets": [[end, count - histogram.count_above(end * 1000)] for end in BUCKETS_US],
    }
