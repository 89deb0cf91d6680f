"""QualityCounters. Documentation: edgeml/kernels/quality_counters.pyi.

1. A sum of probabilities is kept in units of 2**-30, as a whole part and a rest below 1: integers, so that sums agree
   in whatever order they were added, and so wide that no box fills them.
2. One record is counted under the GIL. A batch is summed up without it, into sums of its own, which are added under
   it: no thread sees a record half counted.
3. An id is 20 bytes in base64url without padding, which are 27 letters; monitor/prediction_id.py reads it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_CheckExact, PyDict_GetItemWithError, PyDict_Next
from cpython.object cimport PyObject
from libc.math cimport isfinite, llrint
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import os
import struct

cdef enum:
    MOST_LABELS = 64
    MOST_STEPS = 64
    PART_BITS = 30
    ID_BYTES = 20
    ID_LETTERS = 27
    HEAD_BYTES = 36       # {"id":" + 27 letters + ",
    FORMAT = 1
    MODEL = 1             # as in edgeml.runtime.prediction
    MIDDLE = 3

cdef int64_t PART = <int64_t> 1 << PART_BITS
cdef const char* LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


cdef struct Sums:
    int64_t rows
    int64_t predicted[MOST_LABELS]
    int64_t right[MOST_LABELS]      # sum of the label's probability over rows that were given the label
    int64_t missed[MOST_LABELS]     # the same over rows that were given another


cdef inline uint32_t _mixed(uint32_t state, const uint8_t* data, int count) noexcept nogil:
    # FNV-1a
    cdef int place
    for place in range(count):
        state = (state ^ data[place]) * <uint32_t> 16777619
    return state


@cython.final
cdef class QualityCounters:
    cdef int n_labels
    cdef int n_rules
    cdef bint scored
    cdef bint normalised
    cdef dict label_of
    cdef dict rule_of
    cdef int[MOST_LABELS] first
    cdef int[MOST_LABELS] steps
    cdef double* edges          # steps - 1 of each label; lowest score that belongs to the next step
    cdef double* values
    cdef Sums sums
    cdef int64_t[MOST_LABELS] right_whole
    cdef int64_t[MOST_LABELS] missed_whole
    cdef int64_t* by_rule
    cdef int64_t* by_label
    cdef int64_t* by_middle
    cdef int64_t by_fallback
    cdef int64_t unscored
    cdef uint8_t[4] bundle
    cdef uint32_t life
    cdef uint32_t counter

    def __cinit__(self, labels, rules, bytes bundle not None, *, bint scored=False, calibration=None):
        cdef int place, label, count, total = 0
        self.label_of = {name: index for index, name in enumerate(labels)}
        self.rule_of = {name: index for index, name in enumerate(rules)}
        self.n_labels, self.n_rules = len(labels), len(rules)
        if len(bundle) != 4:
            raise ValueError(f"a bundle is named by 4 bytes, not by {len(bundle)}")
        if self.n_labels > 65_536 or self.n_rules > 65_536:
            raise ValueError("an id has room for 65,536 labels and as many rules")
        memcpy(self.bundle, PyBytes_AS_STRING(bundle), 4)
        self.scored = scored and 0 < self.n_labels <= MOST_LABELS
        self.normalised = calibration is not None
        self.by_rule = <int64_t*> calloc(max(1, self.n_rules), sizeof(int64_t))
        self.by_label = <int64_t*> calloc(max(1, self.n_labels), sizeof(int64_t))
        self.by_middle = <int64_t*> calloc(max(1, self.n_labels), sizeof(int64_t))
        if self.by_rule == NULL or self.by_label == NULL or self.by_middle == NULL:
            raise MemoryError()
        if self.scored and calibration is not None:
            if len(calibration) != self.n_labels:
                raise ValueError(f"a calibration of {len(calibration)} labels, where there are {self.n_labels}")
            for edges, values in calibration:
                if len(values) > MOST_STEPS or len(edges) != max(0, len(values) - 1):
                    raise ValueError(f"a map of {len(values)} steps (at most {MOST_STEPS}) and {len(edges)} edges")
                if list(edges) != sorted(edges) or not all(0 <= value <= 1 for value in values):
                    raise ValueError("the edges of a map rise, and its values are probabilities")
                total += len(values)
            self.edges = <double*> calloc(max(1, total), sizeof(double))
            self.values = <double*> calloc(max(1, total), sizeof(double))
            if self.edges == NULL or self.values == NULL:
                raise MemoryError()
            total = 0
            for label, (edges, values) in enumerate(calibration):
                self.first[label], self.steps[label] = total, len(values)
                for place, number in enumerate(edges):
                    self.edges[total + place] = number
                for place, number in enumerate(values):
                    self.values[total + place] = number
                total += len(values)
        self._begin_life()

    def __dealloc__(self):
        free(self.edges)
        free(self.values)
        free(self.by_rule)
        free(self.by_label)
        free(self.by_middle)

    cdef int _begin_life(self) except -1:
        self.life, = struct.unpack("=I", os.urandom(4))
        self.counter = 0
        return 0

    # Probabilities

    cdef inline double _calibrated(self, int label, double score) noexcept nogil:
        cdef int low = 0, high, middle, count = self.steps[label]
        cdef double* edges
        if count == 0:
            return 0.0 if score < 0.0 else (1.0 if score > 1.0 else score)
        edges = self.edges + self.first[label]
        high = count - 1
        while low < high:
            middle = (low + high) >> 1
            if score >= edges[middle]:
                low = middle + 1
            else:
                high = middle
        return self.values[self.first[label] + low]

    # Never by 0: the total is tested, and there is a label.
    @cython.cdivision(True)
    cdef bint _probabilities(self, double* scores) noexcept nogil:
        """Calibrates in place; False where a score is not finite."""
        cdef int label
        cdef double total = 0.0
        for label in range(self.n_labels):
            if not isfinite(scores[label]):
                return False
            scores[label] = self._calibrated(label, scores[label])
            total += scores[label]
        if self.normalised:
            for label in range(self.n_labels):
                scores[label] = scores[label] / total if total > 0.0 else 1.0 / self.n_labels
        return True

    cdef int _taken(self, object scores, double* taken) except -2:
        """The numbers of a dict in its order; how many, -1 where there are too many."""
        cdef PyObject* key
        cdef PyObject* value
        cdef Py_ssize_t place = 0
        cdef int count = 0
        if not PyDict_CheckExact(scores):
            return -1
        while PyDict_Next(scores, &place, &key, &value):
            if count == self.n_labels:
                return -1
            taken[count] = <double> <object> value
            count += 1
        return count

    # Counting

    cdef inline void _add(self, Sums* sums, int label, const double* chances) noexcept nogil:
        cdef int other
        sums.rows += 1
        sums.predicted[label] += 1
        for other in range(self.n_labels):
            if other == label:
                sums.right[other] += llrint(chances[other] * PART)
            else:
                sums.missed[other] += llrint(chances[other] * PART)

    cdef void _carry(self) noexcept nogil:
        cdef int label
        if not self.scored:
            return  # nothing was added, and there may be more labels than sums
        for label in range(self.n_labels):
            self.right_whole[label] += self.sums.right[label] >> PART_BITS
            self.sums.right[label] &= PART - 1
            self.missed_whole[label] += self.sums.missed[label] >> PART_BITS
            self.sums.missed[label] &= PART - 1

    def count(self, answer):
        cdef object tier = answer.tier
        if tier == "model":
            self._count_model(answer.label, answer.scores)
        elif tier == "rule":
            self._count_rule(answer.rule)
        elif tier == "middle":
            self._count_middle(answer.label)
        else:
            self.by_fallback += 1

    def count_model(self, label, scores):
        self._count_model(label, scores)

    def count_rule(self, rule):
        self._count_rule(rule)

    cdef int _count_middle(self, label) except -1:
        cdef PyObject* index = PyDict_GetItemWithError(self.label_of, label)
        if index != NULL:
            self.by_middle[<int> <object> index] += 1
        return 0

    def count_middles(self, const uint8_t[:] tiers not None, const int64_t[:] label_index not None):
        cdef Py_ssize_t row
        if label_index.shape[0] != tiers.shape[0]:
            raise ValueError("tiers and labels are of as many rows")
        for row in range(tiers.shape[0]):
            if tiers[row] == MIDDLE and 0 <= label_index[row] < self.n_labels:
                self.by_middle[label_index[row]] += 1

    cdef int _count_model(self, label, scores) except -1:
        cdef double[MOST_LABELS] chances
        cdef PyObject* index = PyDict_GetItemWithError(self.label_of, label)
        if index != NULL:
            self.by_label[<int> <object> index] += 1
            if (self.scored and scores is not None and self._taken(scores, chances) == self.n_labels
                    and self._probabilities(chances)):
                self._add(&self.sums, <int> <object> index, chances)
                if self.sums.rows & 0xfffff == 0:
                    self._carry()
                return 0
        self.unscored += 1
        return 0

    cdef int _count_rule(self, rule) except -1:
        cdef PyObject* index = PyDict_GetItemWithError(self.rule_of, rule)
        if index != NULL:
            self.by_rule[<int> <object> index] += 1
        return 0

    def count_fallback(self, int64_t count=1):
        self.by_fallback += count

    def count_rules(self, const int32_t[:] rule_index not None):
        cdef Py_ssize_t row
        for row in range(rule_index.shape[0]):
            if 0 <= rule_index[row] < self.n_rules:
                self.by_rule[rule_index[row]] += 1

    def count_labels(self, const int64_t[:] given not None):
        cdef Py_ssize_t label
        if given.shape[0] != self.n_labels:
            raise ValueError(f"counts of {given.shape[0]} labels, where there are {self.n_labels}")
        for label in range(self.n_labels):
            self.by_label[label] += given[label]

    def labels(self):
        cdef int label
        return [self.by_label[label] for label in range(self.n_labels)]

    def count_unscored(self, int64_t count):
        self.unscored += count

    def count_models(
        self,
        const uint8_t[:] tiers not None,
        const int64_t[:] label_index not None,
        const cython.floating[:, :] scores not None,
    ):
        cdef Py_ssize_t row, count = tiers.shape[0]
        cdef int label
        cdef int64_t unscored = 0
        cdef double[MOST_LABELS] chances
        cdef Sums* sums
        if label_index.shape[0] != count or scores.shape[0] != count:
            raise ValueError("tiers, labels and scores are of as many rows")
        if not self.scored or scores.shape[1] != self.n_labels:
            for row in range(count):
                unscored += tiers[row] == MODEL
            self.unscored += unscored
            return
        sums = <Sums*> calloc(1, sizeof(Sums))
        if sums == NULL:
            raise MemoryError()
        try:
            with nogil:
                for row in range(count):
                    if tiers[row] != MODEL:
                        continue
                    for label in range(self.n_labels):
                        chances[label] = scores[row, label]
                    if 0 <= label_index[row] < self.n_labels and self._probabilities(chances):
                        self._add(sums, <int> label_index[row], chances)
                    else:
                        unscored += 1
            self.unscored += unscored
            self.sums.rows += sums.rows
            for label in range(self.n_labels):
                self.sums.predicted[label] += sums.predicted[label]
                self.sums.right[label] += sums.right[label]
                self.sums.missed[label] += sums.missed[label]
            self._carry()
        finally:
            free(sums)

    def counts(self):
        cdef int place
        self._carry()
        return {
            "labels": [
                [
                    self.sums.predicted[place],
                    (<object> self.right_whole[place] << PART_BITS) + self.sums.right[place],
                    (<object> self.missed_whole[place] << PART_BITS) + self.sums.missed[place],
                ]
                for place in range(self.n_labels if self.scored else 0)
            ],
            "unscored": self.unscored,
            "rules": [self.by_rule[place] for place in range(self.n_rules)],
            "fallback": self.by_fallback,
            "middle": {str(place): self.by_middle[place] for place in range(self.n_labels) if self.by_middle[place]},
        }

    # Ids

    def id_of_model(self, label, scores):
        cdef double[MOST_LABELS] chances
        cdef PyObject* index = PyDict_GetItemWithError(self.label_of, label)
        cdef uint32_t place
        cdef uint32_t chance = 0
        if index == NULL:
            raise ValueError(f"{label!r} is not one of the labels")
        place = <uint32_t> <int> <object> index
        if (self.scored and scores is not None and self._taken(scores, chances) == self.n_labels
                and self._probabilities(chances)):
            chance = 1 + <uint32_t> llrint(chances[place] * 65534.0)
        return self._id(MODEL, False, place << 16 | chance)

    def id_of_middle(self, label):
        cdef PyObject* index = PyDict_GetItemWithError(self.label_of, label)
        if index == NULL:
            raise ValueError(f"{label!r} is not one of the labels")
        return self._id(MIDDLE, False, <uint32_t> <int> <object> index << 16)

    def id_of_rule(self, rule):
        cdef PyObject* index = PyDict_GetItemWithError(self.rule_of, rule)
        if index == NULL:
            raise ValueError(f"{rule!r} is not one of the rules")
        return self._id(0, False, <uint32_t> <int> <object> index << 16)

    def id_of_fallback(self):
        return self._id(2, False, 0)

    def id_of_value(self, double value):
        cdef float single = <float> value
        cdef uint32_t bits
        memcpy(&bits, &single, 4)
        return self._id(MODEL, True, bits)

    cdef bytes _id(self, int tier, bint is_value, uint32_t payload):
        cdef uint8_t[ID_BYTES + 1] raw
        cdef bytes made = PyBytes_FromStringAndSize(NULL, HEAD_BYTES)
        cdef char* out = PyBytes_AS_STRING(made)
        cdef int place
        cdef uint32_t check, group
        self.counter += 1
        if self.counter == 0:
            self._begin_life()
        raw[0] = FORMAT << 4 | is_value << 2 | tier
        memcpy(raw + 1, self.bundle, 4)
        for place in range(4):
            raw[5 + place] = payload >> (24 - 8 * place) & 0xff
            raw[9 + place] = self.life >> (24 - 8 * place) & 0xff
            raw[13 + place] = self.counter >> (24 - 8 * place) & 0xff
        check = _mixed(<uint32_t> 2166136261, raw, 17)
        check ^= check >> 24
        for place in range(3):
            raw[17 + place] = check >> (16 - 8 * place) & 0xff
        raw[ID_BYTES] = 0
        memcpy(out, b'{"id":"', 7)
        out += 7
        for place in range(0, ID_BYTES, 3):
            group = <uint32_t> raw[place] << 16 | <uint32_t> raw[place + 1] << 8
            if place + 2 < ID_BYTES + 1:
                group |= raw[place + 2]
            out[0] = LETTERS[group >> 18 & 63]
            out[1] = LETTERS[group >> 12 & 63]
            out[2] = LETTERS[group >> 6 & 63]
            if place < 18:
                out[3] = LETTERS[group & 63]
            out += 4
        memcpy(PyBytes_AS_STRING(made) + 7 + ID_LETTERS, b'",', 2)
        return made
