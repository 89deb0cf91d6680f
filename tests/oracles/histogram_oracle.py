"""What a histogram should say, from the sorted list of everything that was recorded."""

import math

LOWEST = 1_000
HIGHEST = 60_000_000_000


class SortedValues:
    """Keeps every value."""

    def __init__(self):
        self.values = []

    def record_many(self, ns, count):
        self.values.extend([ns] * count)
        self.values.sort()

    def percentile(self, q):
        """The exact value that the histogram's answer must lie just above."""
        rank = min(max(math.ceil(q * len(self.values) / 100.0), 1), len(self.values))
        return self.values[rank - 1]

    @property
    def overflow(self):
        return sum(value > HIGHEST for value in self.values)

    @property
    def mean(self):
        return sum(self.values) / len(self.values)
