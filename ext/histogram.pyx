"""Histogram. Documentation: edgeml/kernels/histogram.pyi.

1. The layout is that of HdrHistogram (G. Tene) with 256 sub-buckets and a unit of 4 ns: below 1,024 ns every bucket
   is 4 ns wide, and from there the width doubles with each power of two, so 128 buckets share an octave.
2. The buckets below that of 1 microsecond are left out; `FIRST` is the layout's index of the first that is kept.
3. The GIL is never released, so a method is atomic: no thread sees a value half recorded.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

import struct

cdef extern from *:
    int __builtin_clzll(unsigned long long) nogil

cdef enum:
    UNIT_BITS = 2        # a bucket of the lowest octaves is 4 ns wide
    HALF_BITS = 7        # 128 buckets an octave: at most 1/128 = 0.8 % wide, within 2 significant digits
    FIRST = 250          # _layout_index(1_000)
    N_BUCKETS = 3302     # _layout_index(60_000_000_000) - FIRST + 1

cdef int64_t LOWEST = 1_000
cdef int64_t HIGHEST = 60_000_000_000
cdef uint64_t SUM_LIMIT = <uint64_t> -1

# Magic, version, lowest, highest, sub-buckets an octave, buckets; count, overflow, min, max, sum, entries.
cdef object HEADER = struct.Struct("<4sHqqHIqqqqQI")
cdef object ENTRY = struct.Struct("<Iq")
cdef bytes MAGIC = b"ELHG"
cdef int VERSION = 1


cdef inline Py_ssize_t _layout_index(int64_t ns) noexcept nogil:
    cdef int octave = 64 - __builtin_clzll(<uint64_t> ns | ((2 << HALF_BITS) - 1) << UNIT_BITS) - (
        UNIT_BITS + HALF_BITS + 1)
    return (<Py_ssize_t> octave << HALF_BITS) + <Py_ssize_t> (ns >> (octave + UNIT_BITS))


cdef inline Py_ssize_t _bucket(int64_t ns) noexcept nogil:
    if ns < LOWEST:
        return 0
    if ns > HIGHEST:
        return N_BUCKETS - 1
    return _layout_index(ns) - FIRST


cdef int64_t _highest_of(Py_ssize_t bucket) noexcept nogil:
    # The last value of the bucket: one less than the first of the next.
    cdef Py_ssize_t place = bucket + FIRST
    cdef Py_ssize_t octave = (place >> HALF_BITS) - 1
    if octave < 0:
        octave = 0
    cdef int64_t sub = place - (octave << HALF_BITS)
    return ((sub + 1) << (octave + UNIT_BITS)) - 1


cdef inline uint64_t _sum_of(uint64_t left, uint64_t right) noexcept nogil:
    # Saturates, so that sums agree in whatever order they were added.
    return SUM_LIMIT if right > SUM_LIMIT - left else left + right


@cython.final
cdef class Histogram:
    cdef int64_t counts[N_BUCKETS]
    cdef int64_t total
    cdef int64_t above
    cdef int64_t least
    cdef int64_t most
    cdef uint64_t sum

    def record(self, int64_t ns):
        self._add(ns, 1)

    def record_many(self, int64_t ns, int64_t count):
        if count < 0:
            raise ValueError(f"a count is not negative, as {count} is")
        if count:
            self._add(ns, count)

    cdef int _add(self, int64_t ns, int64_t count) except -1:
        cdef uint64_t product
        if ns < 0:
            raise ValueError(f"a duration is not negative, as {ns} ns is")
        if count > (<int64_t> 1 << 62) - self.total:
            raise OverflowError("a histogram counts up to 2**62 values")
        product = SUM_LIMIT if ns and <uint64_t> count > SUM_LIMIT / <uint64_t> ns else <uint64_t> ns * count
        self.counts[_bucket(ns)] += count
        if ns > HIGHEST:
            self.above += count
        if self.total == 0 or ns < self.least:
            self.least = ns
        if ns > self.most:
            self.most = ns
        self.total += count
        self.sum = _sum_of(self.sum, product)
        return 0

    def merge(self, Histogram other not None):
        cdef Py_ssize_t place
        if other.total > (<int64_t> 1 << 62) - self.total:
            raise OverflowError("a histogram counts up to 2**62 values")
        if other.total == 0:
            return
        for place in range(N_BUCKETS):
            self.counts[place] += other.counts[place]
        if self.total == 0 or other.least < self.least:
            self.least = other.least
        if other.most > self.most:
            self.most = other.most
        self.sum = _sum_of(self.sum, other.sum)
        self.above += other.above
        self.total += other.total

    def reset(self):
        memset(self.counts, 0, sizeof(self.counts))
        self.total = self.above = self.least = self.most = 0
        self.sum = 0

    def percentile(self, q):
        cdef double share = q
        cdef int64_t rank, seen = 0
        cdef Py_ssize_t place
        if not 0.0 <= share <= 100.0:
            raise ValueError(f"a percentile is between 0 and 100, as {q} is not")
        if self.total == 0:
            return 0
        # The smallest rank with at least that share of all values, and at least the first value.
        share = share * <double> self.total / 100.0
        rank = <int64_t> share
        if rank < share:
            rank += 1
        rank = min(max(rank, 1), self.total)
        for place in range(N_BUCKETS):
            seen += self.counts[place]
            if seen >= rank:
                return _highest_of(place)
        raise AssertionError("the counts add up to the total")

    def count_above(self, int64_t ns):
        cdef int64_t seen = 0
        cdef Py_ssize_t place
        if ns < 0:
            raise ValueError(f"a duration is not negative, as {ns} ns is")
        for place in range(_bucket(ns) + 1, N_BUCKETS):
            seen += self.counts[place]
        return seen

    @property
    def count(self):
        return self.total

    @property
    def overflow(self):
        return self.above

    @property
    def min(self):
        return self.least

    @property
    def max(self):
        return self.most

    @property
    def mean(self):
        return <double> self.sum / <double> self.total if self.total else 0.0

    def to_bytes(self):
        entries = [(place, self.counts[place]) for place in range(N_BUCKETS) if self.counts[place]]
        header = HEADER.pack(MAGIC, VERSION, LOWEST, HIGHEST, 1 << HALF_BITS, N_BUCKETS, self.total, self.above,
                             self.least, self.most, self.sum, len(entries))
        return header + b"".join([ENTRY.pack(place, count) for place, count in entries])

    @staticmethod
    def from_bytes(bytes data not None):
        cdef Histogram made = Histogram.__new__(Histogram)
        cdef Py_ssize_t last = -1
        cdef Py_ssize_t place
        cdef int64_t count
        if len(data) < HEADER.size or data[:4] != MAGIC:
            raise ValueError("these bytes are not a histogram")
        _, version, *layout, total, above, least, most, made.sum, entries = HEADER.unpack_from(data)
        if version != VERSION:
            raise ValueError(f"a histogram of version {version}; only {VERSION} can be read")
        if layout != [LOWEST, HIGHEST, 1 << HALF_BITS, N_BUCKETS]:
            raise ValueError(f"a histogram of another layout: {layout}")
        if len(data) != HEADER.size + entries * ENTRY.size:
            raise ValueError(f"a histogram of {entries} buckets has not {len(data)} bytes")
        for place, count in ENTRY.iter_unpack(data[HEADER.size:]):
            if place <= last or place >= N_BUCKETS or not 0 < count <= (<int64_t> 1 << 62) - made.total:
                raise ValueError(f"bucket {place} of the histogram is out of order or range")
            made.counts[place] = count
            made.total += count
            if last < 0 and _bucket(max(least, 0)) != place:
                raise ValueError("the least value of the histogram is not in its first bucket")
            last = place
        made.above, made.least, made.most = above, least, most
        if made.total != total or least < 0 or most < least or not (0 <= above <= (made.counts[N_BUCKETS - 1])):
            raise ValueError("the counts of the histogram contradict each other")
        if total == 0 and (most or made.sum) or total and _bucket(most) != last or (most > HIGHEST) != (above > 0):
            raise ValueError("the largest value of the histogram is not in its last bucket")
        if not min(least * total, SUM_LIMIT) <= made.sum <= most * total:
            raise ValueError("the sum of the histogram is not between its extremes")
        return made

    def __reduce__(self):
        return Histogram.from_bytes, (self.to_bytes(),)
