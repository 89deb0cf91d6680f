/* How much each player adds to the sum of an ensemble's trees, for one row: Shapley values.
 *
 * The game is that of path-dependent TreeSHAP (Lundberg, Erion and Lee, arXiv 1802.03888): where a player is absent, a
 * question about its columns sends a share of the answer to both sides, as the training rows were divided there. A
 * player is a set of columns, so that the columns which stand for one feature are present or absent together.
 *
 * A leaf adds value * prod_i f_i to the game's multilinear extension on the diagonal, where f_i(t) = z_i (1 - t) + o_i t,
 * z_i the share that the questions of player i let through while it is absent, o_i 1 where the row follows all of them,
 * else 0. A Shapley value is the integral over t from 0 to 1 of the derivative in one player's direction (Owen 1972,
 * Multilinear extensions of games, Management Science 18), here of (o_j - z_j) prod_{i != j} f_i: a polynomial, which
 * Gauss-Legendre quadrature with half as many points as there are players on the path gives exactly. All factors are
 * positive, so nothing cancels, however deep a tree is. One walk over a tree does it for all players, as in Linear
 * TreeSHAP (Yu et al., arXiv 2209.08192): what a question adds is worked out of the sum of the leaves below it, and
 * a deeper question of the same player takes back what the earlier one had added for them.
 */
#ifndef EDGEML_TREE_SHARES_H
#define EDGEML_TREE_SHARES_H

#include <stdint.h>

#include "native_ops.h"

/* A share below it counts as none: its reciprocal would leave the doubles. */
#define EDGEML_NO_SHARE 1e-290

typedef struct {
    const edgeml_ensemble *ensemble;
    const double *row;
    const double *left;     /* of each node: share of the training rows that went left   */
    const int32_t *players; /* of each column                                            */
    const double *points, *weights; /* of the quadrature; points between 0 and 1         */
    int64_t n_points;
    double *products, *sums; /* [deepest tree + 2][n_points]                             */
    double *kept;            /* of each player: z                                        */
    double *followed;        /* of each player: o                                        */
    double *added;           /* of each player: the result                               */
    double expected;         /* what the trees give where all players are absent         */
    int64_t first;           /* of the tree's numbers in a leaf: which is asked for      */
} edgeml_shares;

/* Fills sums[depth] with the sum over the leaves below a node. The depth is bounded when the shares are made. */
static void edgeml_share_node(edgeml_shares *s, int32_t at, int64_t depth, double reached) {
    const edgeml_ensemble *e = s->ensemble;
    const edgeml_node *node = e->nodes + at;
    const int64_t n = s->n_points;
    const double *points = s->points;
    double *product = s->products + depth * n, *sum = s->sums + depth * n;
    if (node->left == at) {
        const double value = e->values[e->leaves[at] + s->first];
        s->expected += reached * value;
        for (int64_t q = 0; q < n; q++) sum[q] = product[q] * value;
        return;
    }
    const int32_t player = s->players[node->feature & EDGEML_NODE_COLUMN], taken = edgeml_step(e, at, s->row, 1);
    const double kept = s->kept[player], followed = s->followed[player];
    for (int64_t q = 0; q < n; q++) sum[q] = 0;
    for (int32_t side = 0; side < 2; side++) {
        const double share = side ? 1 - s->left[at] : s->left[at];
        const double still = node->left + side == taken ? followed : 0, now = kept * share;
        if (still == 0 && now < EDGEML_NO_SHARE) continue; /* no set of players comes here */
        double *next = product + n, *below = sum + n, added = 0;
        for (int64_t q = 0; q < n; q++) {
            const double before = kept + (followed - kept) * points[q], after = now + (still - now) * points[q];
            next[q] = product[q] * (after / before);
        }
        s->kept[player] = now;
        s->followed[player] = still;
        edgeml_share_node(s, node->left + side, depth + 1, reached * share);
        s->kept[player] = kept;
        s->followed[player] = followed;
        for (int64_t q = 0; q < n; q++) {
            const double before = kept + (followed - kept) * points[q], after = now + (still - now) * points[q];
            added += s->weights[q] * below[q] * ((still - now) / after - (followed - kept) / before);
            sum[q] += below[q];
        }
        s->added[player] += added;
    }
}

/* All trees that give a target. Players begin as present everywhere: the factor of one that was not asked is 1. */
static inline void edgeml_share_trees(edgeml_shares *s, int64_t target, int64_t n_players) {
    const edgeml_ensemble *e = s->ensemble;
    for (int64_t i = 0; i < n_players; i++) {
        s->kept[i] = s->followed[i] = 1;
        s->added[i] = 0;
    }
    s->expected = 0;
    for (int64_t t = 0; t < e->n_trees; t++) {
        const edgeml_tree *tree = e->trees + t;
        s->first = target - tree->target;
        if (s->first < 0 || s->first >= tree->n_targets) continue;
        for (int64_t q = 0; q < s->n_points; q++) s->products[q] = 1;
        edgeml_share_node(s, tree->root, 0, 1);
    }
}

#endif
