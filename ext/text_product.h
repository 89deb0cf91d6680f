/* A sparse row times dense weights: the weights of a column stand side by side. */
#ifndef EDGEML_TEXT_PRODUCT_H
#define EDGEML_TEXT_PRODUCT_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(EDGEML_ONE_CLONE)
#define EDGEML_WIDE_ROW __attribute__((target_clones("avx2", "default")))
#else
#define EDGEML_WIDE_ROW
#endif

EDGEML_WIDE_ROW static void edgeml_add_scaled(
    double *restrict sums, const double *restrict weights, double by, int64_t n) {
    for (int64_t i = 0; i < n; i++) sums[i] += by * weights[i];
}

#endif
