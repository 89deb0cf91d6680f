"""RecentNumbers. Documentation: edgeml/kernels/recent_numbers.pyi.

A ring of the numbers in the order of their coming, and a table of their places in the ring by open addressing (linear
probing, deletion by shifting back; Knuth, The Art of Computer Programming 3, section 6.4, algorithm R).
"""

cimport cython
from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport calloc, free


@cython.final
cdef class RecentNumbers:
    cdef Py_ssize_t most
    cdef Py_ssize_t mask
    cdef Py_ssize_t count
    cdef Py_ssize_t oldest
    cdef uint64_t* ring
    cdef int32_t* table      # place in the ring, plus 1; 0 is free

    def __cinit__(self, Py_ssize_t most):
        cdef Py_ssize_t size = 4
        if not 1 <= most <= 1 << 24:
            raise ValueError(f"from 1 to 2**24 numbers can be kept, not {most}")
        while size < 2 * most:
            size *= 2
        self.most, self.mask = most, size - 1
        self.ring = <uint64_t*> calloc(most, sizeof(uint64_t))
        self.table = <int32_t*> calloc(size, sizeof(int32_t))
        if self.ring == NULL or self.table == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.ring)
        free(self.table)

    cdef inline Py_ssize_t _home(self, uint64_t number) noexcept nogil:
        # Fibonacci hashing: ids of one life differ in their last bits only.
        return <Py_ssize_t> ((number * <uint64_t> 0x9E3779B97F4A7C15) >> 32) & self.mask

    cdef Py_ssize_t _slot(self, uint64_t number) noexcept nogil:
        """Where the number is, or the free slot where it would go."""
        cdef Py_ssize_t slot = self._home(number)
        while self.table[slot] != 0 and self.ring[self.table[slot] - 1] != number:
            slot = (slot + 1) & self.mask
        return slot

    cdef void _delete(self, uint64_t number) noexcept nogil:
        cdef Py_ssize_t hole = self._slot(number)
        cdef Py_ssize_t slot = hole, home
        while True:
            self.table[hole] = 0
            while True:
                slot = (slot + 1) & self.mask
                if self.table[slot] == 0:
                    return
                home = self._home(self.ring[self.table[slot] - 1])
                # What began its search after the hole stays where it is.
                if ((slot - home) & self.mask) >= ((slot - hole) & self.mask):
                    break
            self.table[hole] = self.table[slot]
            hole = slot

    def add(self, uint64_t number):
        cdef Py_ssize_t place
        if self.table[self._slot(number)] != 0:
            return False
        if self.count == self.most:
            self._delete(self.ring[self.oldest])
            place = self.oldest
            self.oldest = (self.oldest + 1) % self.most
        else:
            place = self.count
            self.count += 1
        self.ring[place] = number
        self.table[self._slot(number)] = <int32_t> (place + 1)
        return True

    def __contains__(self, uint64_t number):
        return self.table[self._slot(number)] != 0

    def __len__(self):
        return self.count
