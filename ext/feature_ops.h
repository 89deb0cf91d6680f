/* The feature program's inner loops.
 *
 * A block of m rows is worked on at a time. Register r holds m doubles at registers + r * m, so that with m = 1 a
 * vector of columns is contiguous, and with many rows a column is: one loop serves both. Everything in an operation
 * was checked when the program was made; only codes of categories are looked at again, because they come with a frame.
 */
#ifndef EDGEML_FEATURE_OPS_H
#define EDGEML_FEATURE_OPS_H

#include <stdint.h>
#include <string.h>

#include "feature_math.h"
#include "frame.h"

enum {
    EDGEML_OP_LOAD,      /* to[i] = number column index[i]                                 */
    EDGEML_OP_TABLE,     /* to = constants[code + 2]                                       */
    EDGEML_OP_CONSTANT,  /* to[i] = constants[i]                                           */
    EDGEML_OP_PICK,      /* to[i] = register index[i]                                      */
    EDGEML_OP_ADD, EDGEML_OP_SUBTRACT, EDGEML_OP_MULTIPLY, EDGEML_OP_DIVIDE, /* by constants[i] */
    EDGEML_OP_CLIP,      /* between constants[2i] and constants[2i + 1]                    */
    EDGEML_OP_FILL,      /* NaN becomes constants[i]                                       */
    EDGEML_OP_REPLACE,   /* constants[2i] becomes constants[2i + 1]                        */
    EDGEML_OP_IS_MISSING,
    EDGEML_OP_EQUALS,    /* 1 where equal to constants[i], else 0                          */
    EDGEML_OP_ABOVE,     /* 1 where above constants[i], else 0                             */
    EDGEML_OP_ROUND,     /* to the nearest float32                                         */
    EDGEML_OP_FUNCTION,  /* extra: which                                                   */
    EDGEML_OP_PRODUCT,   /* to[i] = register index[2i] * register index[2i + 1]            */
    EDGEML_OP_BIN,       /* constants: count offsets into them, then edges; see below      */
    EDGEML_OP_CATEGORIZE,/* code register `to` = position of `from` in extra constants     */
    EDGEML_OP_YEO_JOHNSON, EDGEML_OP_BOX_COX, /* by constants[i]                           */
    EDGEML_OP_QUANTILE,  /* constants: clip low, clip high, extra references, then extra quantiles for each column */
    EDGEML_OP_NORMALIZE, /* rows divided by their norm; extra: 1 = l1, 2 = l2, 0 = max     */
    EDGEML_OP_MATRIX,    /* to[j] = sum_i from[i] * constants[j * count + i]; extra columns */
    EDGEML_OP_EMIT,      /* output column extra + i = from[i]                              */
    EDGEML_OP_EMIT_TABLE,/* output column extra = constants[code + 2]                      */
    EDGEML_OP_EMIT_ONE,  /* output column index[code + 2] = 1, none where it is -1         */
    EDGEML_OP_REFUSE,    /* rows whose constants[code + 2] is not 0 are refused            */
    EDGEML_OP_COUNT
};

typedef struct {
    int32_t op, to, from, count, index, constant, extra, size; /* size: entries of a code's table */
} edgeml_operation;

typedef struct {
    int64_t n_operations, n_registers, n_codes, n_outputs, n_categories;
    const edgeml_operation *operations;
    const int32_t *index;
    const double *constants;
    int32_t is_double, sparse; /* sparse: some outputs are only written where they are not zero */
} edgeml_program;

#define EACH_COLUMN for (int64_t c = 0; c < n; c++)
#define EACH_ROW for (int64_t i = 0; i < m; i++)
#define ALONG(set, expression)                                                  \
    if (m == 1) {                                                               \
        EACH_COLUMN { set; const double x = from[c]; to[c] = (expression); }    \
        break;                                                                  \
    }                                                                           \
    EACH_COLUMN {                                                               \
        const double *in = from + c * m;                                        \
        double *out = to + c * m;                                               \
        set;                                                                    \
        EACH_ROW { const double x = in[i]; out[i] = (expression); }             \
    }                                                                           \
    break
#define WITH_CONSTANT(expression) ALONG(const double k = constants[c], expression)
#define ELEMENTWISE(expression) ALONG((void) 0, expression)

/* Entry of a table for the code of row i; a code that the table does not have counts as unseen. */
static inline int64_t edgeml_entry(const int32_t *codes, int64_t i, int32_t size) {
    int64_t entry = (int64_t) codes[i] + 2;
    return entry >= 0 && entry < size ? entry : 0;
}

static inline void edgeml_put(const edgeml_program *p, void *out, int64_t at, double value) {
    if (p->is_double) ((double *) out)[at] = value;
    else ((float *) out)[at] = (float) value;
}

static void edgeml_normalize(const double *from, double *to, int64_t n, int64_t m, int32_t kind) {
    EACH_ROW {
        double norm = 0;
        EACH_COLUMN {
            double x = from[c * m + i];
            if (kind == 1) norm += fabs(x);
            else if (kind == 2) norm += x * x;
            else if (!(fabs(x) <= norm)) norm = fabs(x);
        }
        if (kind == 2) norm = sqrt(norm);
        if (norm == 0) norm = 1;
        EACH_COLUMN to[c * m + i] = from[c * m + i] / norm;
    }
}

static void edgeml_matrix(const double *from, double *to, const double *weights, int64_t n, int64_t width, int64_t m) {
    for (int64_t j = 0; j < width; j++) {
        const double *w = weights + j * n;
        double *out = to + j * m;
        EACH_ROW out[i] = 0;
        EACH_COLUMN {
            const double *in = from + c * m;
            const double k = w[c];
            EACH_ROW out[i] += in[i] * k;
        }
    }
}

/* One block: rows[0..m) of the frame (row first + i where rows is NULL) -> m rows of output.
 * scratch holds m codes for each category column that is gathered and each code register.
 * Returns the number of refused rows; refused[i] is set for them where it is given. */
static int64_t edgeml_run_block(const edgeml_program *p, const edgeml_frame *frame, const int64_t *rows, int64_t first,
                                int64_t m, double *registers, int32_t *scratch, void *block, uint8_t *refused) {
    int64_t n_refused = 0;
    if (p->sparse) memset(block, 0, (size_t) (m * p->n_outputs) * (p->is_double ? sizeof(double) : sizeof(float)));
    for (int64_t at = 0; at < p->n_operations; at++) {
        const edgeml_operation o = p->operations[at];
        const int64_t n = o.count;
        const double *constants = p->constants + o.constant;
        const int32_t *index = p->index + o.index;
        const double *from = registers + (int64_t) o.from * m;
        double *to = registers + (int64_t) o.to * m;
        const int32_t *codes = NULL;
        if (o.op == EDGEML_OP_TABLE || o.op >= EDGEML_OP_EMIT_TABLE) {
            /* Operations over codes: `from` is a category column, or behind them a code register. */
            if (o.from >= p->n_categories) codes = scratch + (o.from - p->n_categories + 1) * m;
            else {
                const int32_t *column = frame->codes + (int64_t) o.from * frame->capacity;
                if (rows == NULL) codes = column + first;
                else {
                    EACH_ROW scratch[i] = column[rows[i]];
                    codes = scratch;
                }
            }
        }
        switch (o.op) {
        case EDGEML_OP_LOAD:
            EACH_COLUMN {
                const double *column = frame->numbers + (int64_t) index[c] * frame->capacity;
                if (rows == NULL) EACH_ROW to[c * m + i] = column[first + i];
                else EACH_ROW to[c * m + i] = column[rows[i]];
            }
            break;
        case EDGEML_OP_TABLE: EACH_ROW to[i] = constants[edgeml_entry(codes, i, o.size)]; break;
        case EDGEML_OP_CONSTANT: EACH_COLUMN EACH_ROW to[c * m + i] = constants[c]; break;
        case EDGEML_OP_PICK:
            EACH_COLUMN memcpy(to + c * m, registers + (int64_t) index[c] * m, (size_t) m * sizeof(double));
            break;
        case EDGEML_OP_ADD: WITH_CONSTANT(x + k);
        case EDGEML_OP_SUBTRACT: WITH_CONSTANT(x - k);
        case EDGEML_OP_MULTIPLY: WITH_CONSTANT(x * k);
        case EDGEML_OP_DIVIDE: WITH_CONSTANT(x / k);
        case EDGEML_OP_CLIP:
            EACH_COLUMN {
                const double low = constants[2 * c], high = constants[2 * c + 1];
                EACH_ROW {
                    const double x = from[c * m + i];
                    to[c * m + i] = x < low ? low : x > high ? high : x;
                }
            }
            break;
        case EDGEML_OP_FILL: WITH_CONSTANT(x != x ? k : x);
        case EDGEML_OP_REPLACE:
            EACH_COLUMN EACH_ROW {
                const double x = from[c * m + i];
                to[c * m + i] = x == constants[2 * c] ? constants[2 * c + 1] : x;
            }
            break;
        case EDGEML_OP_IS_MISSING: ELEMENTWISE(x != x ? 1.0 : 0.0);
        case EDGEML_OP_EQUALS: WITH_CONSTANT(x == k ? 1.0 : 0.0);
        case EDGEML_OP_ABOVE: WITH_CONSTANT(x > k ? 1.0 : 0.0);
        case EDGEML_OP_ROUND: ELEMENTWISE((double) (float) x);
        case EDGEML_OP_FUNCTION: ELEMENTWISE(edgeml_unary(o.extra, x));
        case EDGEML_OP_PRODUCT:
            EACH_COLUMN {
                const double *a = registers + (int64_t) index[2 * c] * m, *b = registers + (int64_t) index[2 * c + 1] * m;
                EACH_ROW to[c * m + i] = a[i] * b[i];
            }
            break;
        case EDGEML_OP_BIN: EACH_ROW to[i] = (double) edgeml_edges_below(constants, o.extra, from[i]); break;
        case EDGEML_OP_CATEGORIZE: {
            int32_t *made = scratch + ((int64_t) o.to + 1) * m;
            EACH_ROW made[i] = edgeml_category_of(constants, o.extra, from[i]);
            break;
        }
        case EDGEML_OP_YEO_JOHNSON: WITH_CONSTANT(edgeml_yeo_johnson(x, k));
        case EDGEML_OP_BOX_COX: WITH_CONSTANT(edgeml_box_cox(x, k));
        case EDGEML_OP_QUANTILE: {
            const double *references = constants + 2;
            const int normal = constants[0] < constants[1];
            EACH_COLUMN EACH_ROW to[c * m + i] = edgeml_quantile(references + (c + 1) * o.extra, references, o.extra,
                                                                 from[c * m + i], normal, constants[0], constants[1]);
            break;
        }
        case EDGEML_OP_NORMALIZE: edgeml_normalize(from, to, n, m, o.extra); break;
        case EDGEML_OP_MATRIX: edgeml_matrix(from, to, constants, n, o.extra, m); break;
        case EDGEML_OP_EMIT:
            EACH_ROW {
                const int64_t start = i * p->n_outputs + o.extra;
                if (p->is_double) EACH_COLUMN ((double *) block)[start + c] = from[c * m + i];
                else EACH_COLUMN ((float *) block)[start + c] = (float) from[c * m + i];
            }
            break;
        case EDGEML_OP_EMIT_TABLE:
            EACH_ROW edgeml_put(p, block, i * p->n_outputs + o.extra, constants[edgeml_entry(codes, i, o.size)]);
            break;
        case EDGEML_OP_EMIT_ONE:
            EACH_ROW {
                const int32_t column = index[edgeml_entry(codes, i, o.size)];
                if (column >= 0) edgeml_put(p, block, i * p->n_outputs + column, 1.0);
            }
            break;
        case EDGEML_OP_REFUSE:
            EACH_ROW if (constants[edgeml_entry(codes, i, o.size)] != 0) {
                n_refused++;
                if (refused != NULL) refused[i] = 1;
            }
            break;
        default: break;
        }
    }
    return n_refused;
}

#undef EACH_COLUMN
#undef EACH_ROW
#undef ALONG
#undef WITH_CONSTANT
#undef ELEMENTWISE

#endif
