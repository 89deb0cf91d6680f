/* A model's own arithmetic on one row at a time: products, sums of trees, and what turns them into an answer.
 *
 * A row comes in as `width` numbers, is worked on in registers of float64, and leaves as output columns. Everything in
 * an operation was checked when the model was made, so the loops check nothing.
 */
#ifndef EDGEML_NATIVE_OPS_H
#define EDGEML_NATIVE_OPS_H

#include <math.h>
#include <stdint.h>

enum {
    EDGEML_N_PRODUCT,   /* to[j] = bias[j] + sum_i from[i] * weight[j][i]; count inputs, extra results; constants:
                           extra x count weights, then extra biases                                        */
    EDGEML_N_TREES,     /* to[t] = base[t] + leaves of ensemble `index`; extra results; constants: bases   */
    EDGEML_N_PICK,      /* to[i] = register index[i]                                                       */
    EDGEML_N_ROUND,     /* to the nearest float32                                                          */
    EDGEML_N_ADD, EDGEML_N_SUBTRACT, EDGEML_N_MULTIPLY, EDGEML_N_DIVIDE, EDGEML_N_POWER, /* by constants[i] */
    EDGEML_N_FROM,      /* constants[i] - from[i]                                                          */
    EDGEML_N_BASE,      /* constants[i] to the power of from[i]                                            */
    EDGEML_N_AT_LEAST,  /* 1 where from[i] >= constants[i], else 0                                         */
    EDGEML_N_ABOVE,     /* 1 where from[i] > constants[i], else 0                                          */
    EDGEML_N_SIGMOID, EDGEML_N_EXP,
    EDGEML_N_SOFTMAX,   /* over all of them                                                                */
    EDGEML_N_SUM,       /* one result                                                                      */
    EDGEML_N_LARGEST,   /* one result: position of the first largest                                       */
    EDGEML_N_MAXIMUM, EDGEML_N_MINIMUM, /* of from[i] and constants[i]; missing stays missing              */
    EDGEML_N_LOG, EDGEML_N_SQRT, EDGEML_N_ABS, EDGEML_N_TANH,
    EDGEML_N_LOWEST, EDGEML_N_HIGHEST,  /* one result: the smallest, the largest number                    */
    EDGEML_N_COUNT
};

/* Most rows that go through the trees of a large ensemble together. */
#define EDGEML_BLOCK 256

/* Flags in a node's feature. */
#define EDGEML_NODE_MISSING (1 << 30) /* a missing value goes left              */
#define EDGEML_NODE_EQUAL (1 << 29)   /* asks x == threshold and not x <= it    */
#define EDGEML_NODE_RANGES (1 << 28)  /* asks whether x lies in one of several ranges; the threshold says where in
                                         the values: their number of bounds, then the bounds, in order */
#define EDGEML_NODE_COLUMN (EDGEML_NODE_RANGES - 1)

/* The right child is behind the left one. A leaf is its own left child and sends everything there, so that several
 * trees can be walked side by side for as many steps as the deepest needs. */
typedef struct {
    double threshold;
    int32_t feature;
    int32_t left;
} edgeml_node;

typedef struct {
    int32_t root, depth, target, n_targets;
} edgeml_tree;

typedef struct {
    int64_t n_trees, n_nodes;
    int32_t has_special; /* a node that asks for equality or ranges */
    edgeml_node *nodes;
    int32_t *leaves; /* of each node: start of its numbers in values */
    edgeml_tree *trees;
    double *values;
} edgeml_ensemble;

typedef struct {
    int32_t op, to, from, count, index, constant, extra, opposite;
} edgeml_native_operation;

typedef struct {
    int64_t n_operations;
    const edgeml_native_operation *operations;
    const int32_t *index;
    const double *constants;
    const edgeml_ensemble *ensembles;
} edgeml_native;

/* Whether x lies in a range: an odd number of bounds is below it. Missing values lie in none. */
static inline int edgeml_in_ranges(const double *bounds, double x) {
    int64_t low = 0, high = (int64_t) bounds[0];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (bounds[1 + middle] < x) low = middle + 1;
        else high = middle;
    }
    return (int) (low & 1);
}

/* Careful: where a value may be missing or a node may ask for more than x <= threshold. */
static inline int32_t edgeml_step(const edgeml_ensemble *e, int32_t at, const double *row, int careful) {
    const edgeml_node *node = e->nodes + at;
    if (!careful) return node->left + !(row[node->feature & EDGEML_NODE_COLUMN] <= node->threshold);
    const double x = row[node->feature & EDGEML_NODE_COLUMN];
    int right;
    if (node->feature & EDGEML_NODE_RANGES) right = !edgeml_in_ranges(e->values + (int64_t) node->threshold, x);
    else if (node->feature & EDGEML_NODE_EQUAL) right = !(x == node->threshold);
    else right = !(x <= node->threshold);
    right &= !((node->feature & EDGEML_NODE_MISSING) != 0 && x != x);
    return node->left + right;
}

static inline int edgeml_any_missing(const double *row, int64_t n) {
    int any = 0;
    for (int64_t i = 0; i < n; i++) any |= row[i] != row[i];
    return any;
}

static inline void edgeml_add_leaf(const edgeml_ensemble *e, const edgeml_tree *tree, int32_t at, double *sums) {
    const double *values = e->values + e->leaves[at];
    for (int32_t t = 0; t < tree->n_targets; t++) sums[tree->target + t] += values[t];
}

/* Trees t to t + 3, or those of them that there are, and one row. Four side by side: each step waits for memory, and
 * four can wait together. */
static inline void edgeml_walk_some(
    const edgeml_ensemble *e, int64_t t, const double *row, double *sums, int careful) {
    if (t + 4 <= e->n_trees) {
        const edgeml_tree *tree = e->trees + t;
        int32_t a = tree[0].root, b = tree[1].root, c = tree[2].root, d = tree[3].root, depth = 0;
        for (int i = 0; i < 4; i++) depth = tree[i].depth > depth ? tree[i].depth : depth;
        for (int32_t i = 0; i < depth; i++) {
            a = edgeml_step(e, a, row, careful);
            b = edgeml_step(e, b, row, careful);
            c = edgeml_step(e, c, row, careful);
            d = edgeml_step(e, d, row, careful);
        }
        edgeml_add_leaf(e, tree, a, sums);
        edgeml_add_leaf(e, tree + 1, b, sums);
        edgeml_add_leaf(e, tree + 2, c, sums);
        edgeml_add_leaf(e, tree + 3, d, sums);
        return;
    }
    for (; t < e->n_trees; t++) {
        int32_t at = e->trees[t].root;
        for (int32_t i = 0; i < e->trees[t].depth; i++) at = edgeml_step(e, at, row, careful);
        edgeml_add_leaf(e, e->trees + t, at, sums);
    }
}

static inline void edgeml_walk(const edgeml_ensemble *e, const double *row, double *sums, int careful) {
    for (int64_t t = 0; t < e->n_trees; t += 4) edgeml_walk_some(e, t, row, sums, careful);
}

/* Four numbers side by side; a processor that has no room for four takes them as two pairs. */
typedef double edgeml_pack __attribute__((vector_size(32), aligned(8), may_alias));

/* The same code once more for processors with wider registers, chosen when the program is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(EDGEML_ONE_CLONE)
#define EDGEML_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define EDGEML_WIDE
#endif

/* One row times one or two columns of weights. Several running sums, because one would wait for itself; two columns,
 * because the row is then loaded once for both. */
EDGEML_WIDE static void edgeml_dots(const double *row, const double *w, const double *v, int64_t n, double *both) {
    edgeml_pack s0 = {0, 0, 0, 0}, s1 = s0, t0 = s0, t1 = s0;
    double s = 0, t = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const edgeml_pack x0 = *(const edgeml_pack *) (row + i), x1 = *(const edgeml_pack *) (row + i + 4);
        s0 += x0 * *(const edgeml_pack *) (w + i);
        s1 += x1 * *(const edgeml_pack *) (w + i + 4);
        t0 += x0 * *(const edgeml_pack *) (v + i);
        t1 += x1 * *(const edgeml_pack *) (v + i + 4);
    }
    for (; i < n; i++) {
        s += row[i] * w[i];
        t += row[i] * v[i];
    }
    s0 += s1;
    t0 += t1;
    both[0] = ((s0[0] + s0[1]) + (s0[2] + s0[3])) + s;
    both[1] = ((t0[0] + t0[1]) + (t0[2] + t0[3])) + t;
}

/* One column alone; the same sums in the same order as beside another one. */
EDGEML_WIDE static double edgeml_dot(const double *row, const double *w, int64_t n) {
    edgeml_pack s0 = {0, 0, 0, 0}, s1 = s0;
    double s = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        s0 += *(const edgeml_pack *) (row + i) * *(const edgeml_pack *) (w + i);
        s1 += *(const edgeml_pack *) (row + i + 4) * *(const edgeml_pack *) (w + i + 4);
    }
    for (; i < n; i++) s += row[i] * w[i];
    s0 += s1;
    return ((s0[0] + s0[1]) + (s0[2] + s0[3])) + s;
}

/* Whether the second of two columns of weights is the first with the other sign, as binary classifiers are exported:
 * then so is its product, to the last bit, and need not be worked out. */
static inline int edgeml_opposite(const double *weights, int64_t n) {
    for (int64_t i = 0; i < n; i++) if (!(weights[n + i] == -weights[i])) return 0;
    return 1;
}

static inline void edgeml_product(
    const double *row, double *to, const double *constants, int64_t n, int64_t results, int opposite) {
    const double *bias = constants + results * n;
    if (opposite) {
        const double dot = edgeml_dot(row, constants, n);
        to[0] = dot + bias[0];
        to[1] = -dot + bias[1];
        return;
    }
    for (int64_t j = 0; j < results; j += 2) {
        const int two = j + 1 < results;
        const double *w = constants + j * n;
        double both[2];
        edgeml_dots(row, w, two ? w + n : w, n, both);
        to[j] = both[0] + bias[j];
        if (two) to[j + 1] = both[1] + bias[j + 1];
    }
}

static inline void edgeml_softmax(const double *from, double *to, int64_t n) {
    double largest = from[0], sum = 0;
    for (int64_t i = 1; i < n; i++) largest = from[i] > largest ? from[i] : largest;
    for (int64_t i = 0; i < n; i++) {
        const double below = from[i] - largest;
        sum += (to[i] = below == 0 ? 1 : exp(below)); /* the largest needs no exp */
    }
    for (int64_t i = 0; i < n; i++) to[i] /= sum;
}

/* Operations [at, end) for one row, where it lies: registers [0, width) stand for it, results are left in the registers
 * behind. */
static inline void edgeml_native_part(
    const edgeml_native *m, int64_t at, int64_t end, const double *row, int64_t width, double *r) {
    for (; at < end; at++) {
        const edgeml_native_operation o = m->operations[at];
        const double *constants = m->constants + o.constant, *from = o.from < width ? row + o.from : r + o.from;
        double *to = r + o.to;
        const int64_t n = o.count;
        switch (o.op) {
        case EDGEML_N_PRODUCT: edgeml_product(from, to, constants, n, o.extra, o.opposite); break;
        case EDGEML_N_TREES: {
            const edgeml_ensemble *e = m->ensembles + o.index;
            for (int64_t j = 0; j < o.extra; j++) to[j] = constants[j];
            if (e->has_special || edgeml_any_missing(from, n)) edgeml_walk(e, from, to, 1);
            else edgeml_walk(e, from, to, 0);
            break;
        }
        case EDGEML_N_PICK:
            for (int64_t i = 0; i < n; i++) {
                const int32_t at = m->index[o.index + i];
                to[i] = at < width ? row[at] : r[at];
            }
            break;
        case EDGEML_N_ROUND: for (int64_t i = 0; i < n; i++) to[i] = (double) (float) from[i]; break;
        case EDGEML_N_ADD: for (int64_t i = 0; i < n; i++) to[i] = from[i] + constants[i]; break;
        case EDGEML_N_SUBTRACT: for (int64_t i = 0; i < n; i++) to[i] = from[i] - constants[i]; break;
        case EDGEML_N_MULTIPLY: for (int64_t i = 0; i < n; i++) to[i] = from[i] * constants[i]; break;
        case EDGEML_N_DIVIDE: for (int64_t i = 0; i < n; i++) to[i] = from[i] / constants[i]; break;
        case EDGEML_N_POWER: for (int64_t i = 0; i < n; i++) to[i] = pow(from[i], constants[i]); break;
        case EDGEML_N_FROM: for (int64_t i = 0; i < n; i++) to[i] = constants[i] - from[i]; break;
        case EDGEML_N_BASE: for (int64_t i = 0; i < n; i++) to[i] = pow(constants[i], from[i]); break;
        case EDGEML_N_AT_LEAST: for (int64_t i = 0; i < n; i++) to[i] = from[i] >= constants[i]; break;
        case EDGEML_N_ABOVE: for (int64_t i = 0; i < n; i++) to[i] = from[i] > constants[i]; break;
        case EDGEML_N_SIGMOID: for (int64_t i = 0; i < n; i++) to[i] = 1.0 / (1.0 + exp(-from[i])); break;
        case EDGEML_N_EXP: for (int64_t i = 0; i < n; i++) to[i] = exp(from[i]); break;
        case EDGEML_N_SOFTMAX: edgeml_softmax(from, to, n); break;
        case EDGEML_N_SUM: {
            double sum = 0;
            for (int64_t i = 0; i < n; i++) sum += from[i];
            to[0] = sum;
            break;
        }
        case EDGEML_N_LARGEST: {
            int64_t best = 0;
            for (int64_t i = 1; i < n; i++) best = from[i] > from[best] ? i : best;
            to[0] = (double) best;
            break;
        }
        case EDGEML_N_MAXIMUM: for (int64_t i = 0; i < n; i++) to[i] = from[i] < constants[i] ? constants[i] : from[i]; break;
        case EDGEML_N_MINIMUM: for (int64_t i = 0; i < n; i++) to[i] = from[i] > constants[i] ? constants[i] : from[i]; break;
        case EDGEML_N_LOG: for (int64_t i = 0; i < n; i++) to[i] = log(from[i]); break;
        case EDGEML_N_SQRT: for (int64_t i = 0; i < n; i++) to[i] = sqrt(from[i]); break;
        case EDGEML_N_ABS: for (int64_t i = 0; i < n; i++) to[i] = fabs(from[i]); break;
        case EDGEML_N_TANH: for (int64_t i = 0; i < n; i++) to[i] = tanh(from[i]); break;
        case EDGEML_N_LOWEST:
        case EDGEML_N_HIGHEST: {
            double best = from[0];
            for (int64_t i = 1; i < n; i++) {
                if (o.op == EDGEML_N_LOWEST ? from[i] < best : from[i] > best) best = from[i];
            }
            to[0] = best;
            break;
        }
        default: break;
        }
    }
}

static inline void edgeml_native_row(const edgeml_native *m, const double *row, int64_t width, double *r) {
    edgeml_native_part(m, 0, m->n_operations, row, width, r);
}

/* Rows of a block, each with n_registers of its own behind those of the row before. Large ensembles are walked tree by
 * tree and not row by row: four trees stay in the nearest cache while all rows go through them. Each row adds the same
 * numbers in the same order as alone. */
static inline void edgeml_native_rows(
    const edgeml_native *m, const double *const *rows, int64_t n, int64_t width, double *registers, int64_t n_registers) {
    int64_t done = 0;
    for (int64_t at = 0; at <= m->n_operations; at++) {
        if (at < m->n_operations && m->operations[at].op != EDGEML_N_TREES) continue;
        for (int64_t k = 0; k < n; k++) edgeml_native_part(m, done, at, rows[k], width, registers + k * n_registers);
        done = at + 1;
        if (at == m->n_operations) break;
        const edgeml_native_operation o = m->operations[at];
        const edgeml_ensemble *e = m->ensembles + o.index;
        const double *bases = m->constants + o.constant;
        uint8_t careful[EDGEML_BLOCK];
        for (int64_t k = 0; k < n; k++) {
            double *r = registers + k * n_registers;
            const double *from = o.from < width ? rows[k] + o.from : r + o.from;
            careful[k] = e->has_special || edgeml_any_missing(from, o.count);
            for (int64_t j = 0; j < o.extra; j++) r[o.to + j] = bases[j];
        }
        for (int64_t t = 0; t < e->n_trees; t += 4) {
            for (int64_t k = 0; k < n; k++) {
                double *r = registers + k * n_registers;
                const double *from = o.from < width ? rows[k] + o.from : r + o.from;
                if (careful[k]) edgeml_walk_some(e, t, from, r + o.to, 1);
                else edgeml_walk_some(e, t, from, r + o.to, 0);
            }
        }
    }
}

#endif
