/* Functions of one number, as the transformers that use them define them.
 *
 * NaN goes through every one of them, so a missing value stays missing until something fills it.
 */
#ifndef EDGEML_FEATURE_MATH_H
#define EDGEML_FEATURE_MATH_H

#include <float.h>
#include <math.h>
#include <stdint.h>

/* Position of the codes of edgeml_features_unary; the order is part of the kernel's contract. */
enum {
    EDGEML_F_LOG, EDGEML_F_LOG1P, EDGEML_F_LOG2, EDGEML_F_LOG10, EDGEML_F_EXP, EDGEML_F_EXPM1, EDGEML_F_EXP2,
    EDGEML_F_SQRT, EDGEML_F_CBRT, EDGEML_F_SQUARE, EDGEML_F_ABS, EDGEML_F_NEGATIVE, EDGEML_F_SIGN,
    EDGEML_F_RECIPROCAL, EDGEML_F_FLOOR, EDGEML_F_CEIL, EDGEML_F_TRUNC, EDGEML_F_RINT, EDGEML_F_SIN, EDGEML_F_COS,
    EDGEML_F_TAN, EDGEML_F_ARCSIN, EDGEML_F_ARCCOS, EDGEML_F_ARCTAN, EDGEML_F_SINH, EDGEML_F_COSH, EDGEML_F_TANH,
    EDGEML_F_ARCSINH, EDGEML_F_ARCCOSH, EDGEML_F_ARCTANH, EDGEML_F_COUNT
};

static inline double edgeml_unary(int32_t code, double x) {
    switch (code) {
    case EDGEML_F_LOG: return log(x);
    case EDGEML_F_LOG1P: return log1p(x);
    case EDGEML_F_LOG2: return log2(x);
    case EDGEML_F_LOG10: return log10(x);
    case EDGEML_F_EXP: return exp(x);
    case EDGEML_F_EXPM1: return expm1(x);
    case EDGEML_F_EXP2: return exp2(x);
    case EDGEML_F_SQRT: return sqrt(x);
    case EDGEML_F_CBRT: return cbrt(x);
    case EDGEML_F_SQUARE: return x * x;
    case EDGEML_F_ABS: return fabs(x);
    case EDGEML_F_NEGATIVE: return -x;
    case EDGEML_F_SIGN: return x > 0 ? 1.0 : x < 0 ? -1.0 : x;
    case EDGEML_F_RECIPROCAL: return 1.0 / x;
    case EDGEML_F_FLOOR: return floor(x);
    case EDGEML_F_CEIL: return ceil(x);
    case EDGEML_F_TRUNC: return trunc(x);
    case EDGEML_F_RINT: return nearbyint(x);
    case EDGEML_F_SIN: return sin(x);
    case EDGEML_F_COS: return cos(x);
    case EDGEML_F_TAN: return tan(x);
    case EDGEML_F_ARCSIN: return asin(x);
    case EDGEML_F_ARCCOS: return acos(x);
    case EDGEML_F_ARCTAN: return atan(x);
    case EDGEML_F_SINH: return sinh(x);
    case EDGEML_F_COSH: return cosh(x);
    case EDGEML_F_TANH: return tanh(x);
    case EDGEML_F_ARCSINH: return asinh(x);
    case EDGEML_F_ARCCOSH: return acosh(x);
    case EDGEML_F_ARCTANH: return atanh(x);
    default: return NAN;
    }
}

/* Yeo and Johnson (Biometrika 87, 2000), in the form of scipy.stats.yeojohnson. */
static inline double edgeml_yeo_johnson(double x, double lambda) {
    if (x >= 0) return fabs(lambda) < DBL_EPSILON ? log1p(x) : expm1(lambda * log1p(x)) / lambda;
    if (isnan(x)) return x;
    double rest = 2.0 - lambda;
    return fabs(lambda - 2.0) > DBL_EPSILON ? -expm1(rest * log1p(-x)) / rest : -log1p(-x);
}

/* Box and Cox (J. R. Stat. Soc. B 26, 1964), in the form of scipy.special.boxcox; x > 0. */
static inline double edgeml_box_cox(double x, double lambda) {
    if (fabs(lambda) < 1e-19) return log(x);
    double power = lambda * log(x);
    if (power < 709.78) return expm1(power) / lambda;
    return copysign(1.0, lambda) * exp(power - log(fabs(lambda))) - 1.0 / lambda;
}

/* Number of edges that are <= x: numpy.searchsorted(edges, x, side="right"). NaN sorts behind all edges. */
static inline int64_t edgeml_edges_below(const double *edges, int64_t n, double x) {
    if (isnan(x)) return n;
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (edges[middle] <= x) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* Position of x in sorted, distinct categories; -2 where it is none of them, -1 for NaN. */
static inline int32_t edgeml_category_of(const double *categories, int64_t n, double x) {
    if (isnan(x)) return -1;
    int64_t at = edgeml_edges_below(categories, n, x) - 1;
    return at >= 0 && categories[at] == x ? (int32_t) at : -2;
}

/* Piecewise linear interpolation through (knots[i], heights[i]), constant outside: numpy.interp for one number.
 * With step -1 the arrays are read from their end and negated, as QuantileTransformer's second pass wants it. */
static inline double edgeml_interpolate(const double *knots, const double *heights, int64_t n, double x, int step) {
    int64_t origin = step > 0 ? 0 : n - 1;
    double sign = step > 0 ? 1.0 : -1.0;
#define KNOT(i) (sign * knots[origin + step * (i)])
#define HEIGHT(i) (sign * heights[origin + step * (i)])
    if (x > KNOT(n - 1)) return HEIGHT(n - 1);
    if (x < KNOT(0)) return HEIGHT(0);
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (KNOT(middle) <= x) low = middle + 1;
        else high = middle;
    }
    int64_t j = low - 1;
    if (j >= n - 1) return HEIGHT(n - 1);
    if (KNOT(j) == x) return HEIGHT(j);
    double slope = (HEIGHT(j + 1) - HEIGHT(j)) / (KNOT(j + 1) - KNOT(j));
    return slope * (x - KNOT(j)) + HEIGHT(j);
#undef KNOT
#undef HEIGHT
}

static inline double edgeml_polynomial(const double *c, int n, double x) {
    double sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--) sum = sum * x + c[i];
    return sum;
}

/* Quantile of the standard normal distribution: Wichura's PPND16 (Algorithm AS 241, Appl. Statist. 37, 1988),
 * relative accuracy about 1e-16. */
static inline double edgeml_normal_quantile(double p) {
    static const double a[] = {3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427,
                               13731.693765509461125, 45921.953931549871457, 67265.770927008700853,
                               33430.575583588128105, 2509.0809287301226727};
    static const double b[] = {1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
                               21213.794301586595867, 39307.895800092710610, 28729.085735721942674,
                               5226.4952788528545610};
    static const double c[] = {1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
                               3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
                               0.0227238449892691845833, 7.74545014278341407640e-4};
    static const double d[] = {1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
                               0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
    static const double e[] = {6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
                               0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[] = {1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
                               7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
                               2.04426310338993978564e-15};
    if (isnan(p) || p < 0 || p > 1) return NAN;
    if (p == 0) return -INFINITY;
    if (p == 1) return INFINITY;
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * edgeml_polynomial(a, 8, r) / edgeml_polynomial(b, 8, r);
    }
    double r = sqrt(-log(q < 0 ? p : 1.0 - p));
    double x = r <= 5.0 ? edgeml_polynomial(c, 8, r - 1.6) / edgeml_polynomial(d, 8, r - 1.6)
                        : edgeml_polynomial(e, 8, r - 5.0) / edgeml_polynomial(f, 8, r - 5.0);
    return q < 0 ? -x : x;
}

/* sklearn.preprocessing.QuantileTransformer for one number. */
static inline double edgeml_quantile(const double *quantiles, const double *references, int64_t n, double x,
                                     int normal, double clip_low, double clip_high) {
    const double threshold = 1e-7; /* BOUNDS_THRESHOLD there */
    double low = quantiles[0], high = quantiles[n - 1], y;
    if (isnan(x)) return x;
    if (normal ? x - threshold < low : x == low) y = 0.0;
    else if (normal ? x + threshold > high : x == high) y = 1.0;
    else
        y = 0.5 * (edgeml_interpolate(quantiles, references, n, x, 1) -
                   edgeml_interpolate(quantiles, references, n, -x, -1));
    if (!normal) return y;
    y = edgeml_normal_quantile(y);
    return y < clip_low ? clip_low : y > clip_high ? clip_high : y;
}

#endif
