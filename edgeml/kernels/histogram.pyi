"""Histogram of durations: fixed size, mergeable, within 1 % of the truth.

1. The buckets are those of HdrHistogram (Gil Tene, hdrhistogram.org): powers of two, each cut into 128 equal parts.
   A bucket is at most 1/128 of its lowest value wide, so a percentile has two significant digits.
2. Durations are nanoseconds. The range is 1 microsecond to 60 seconds; what lies below counts in the first bucket,
   what lies above in the last and in ``overflow``. ``min``, ``max`` and ``mean`` are exact everywhere.
3. Any thread may call any method: each is one step under the GIL.
"""

class Histogram:
    """Counts of durations; starts empty; pickles as its bytes."""

    def __init__(self) -> None: ...
    def record(self, ns: int) -> None:
        """Counts one duration.

        Raises:
            ValueError: ``ns`` is negative.
            OverflowError: ``ns`` does not fit 63 bits, or 2**62 values have been counted.
        """

    def record_many(self, ns: int, count: int) -> None:
        """Counts one duration ``count`` times.

        Raises:
            ValueError: ``ns`` or ``count`` is negative.
            OverflowError: As in ``record``.
        """

    def merge(self, other: Histogram) -> None:
        """Adds what another histogram counted, as if it had been recorded here.

        Raises:
            OverflowError: More than 2**62 values together.
        """

    def reset(self) -> None:
        """Forgets everything."""

    def percentile(self, q: float) -> int:
        """The duration that a share of all values does not exceed.

        Args:
            q: Share in percent, 0 to 100.

        Returns:
            The highest value, in ns, of the bucket that holds the value of rank ``ceil(q / 100 * count)`` (at least
            the first); 0 where nothing was recorded.

        Raises:
            ValueError: ``q`` is out of range or not a number.
        """

    def count_above(self, ns: int) -> int:
        """How many values are longer than ``ns``, but for those that share its bucket: up to 0.8 % longer ones.

        Raises:
            ValueError: ``ns`` is negative.
        """

    @property
    def count(self) -> int:
        """Values recorded."""

    @property
    def overflow(self) -> int:
        """Values above 60 seconds."""

    @property
    def min(self) -> int:
        """Least value in ns, exact; 0 where nothing was recorded."""

    @property
    def max(self) -> int:
        """Largest value in ns, exact; 0 where nothing was recorded."""

    @property
    def mean(self) -> float:
        """Mean in ns, of the exact values (up to a sum of 2**64 ns); 0 where nothing was recorded."""

    def to_bytes(self) -> bytes:
        """The histogram as bytes: a header and the buckets that are not empty; the same on every machine."""

    @staticmethod
    def from_bytes(data: bytes) -> Histogram:
        """Reads what ``to_bytes`` wrote.

        Raises:
            ValueError: The bytes are no histogram, of another version or layout, or contradict themselves.
        """
