/* Pictures of 8-bit levels: resampling, channels, statistics, and the way into a model's tensor.
 *
 * 1. Resampling is in whole numbers from the first to the last: the weights are fractions of integers, so the same
 *    picture gives the same levels on every processor and by every compiler.
 * 2. Columns first, then rows: the first loop runs along memory, and only what it gives is looked at again.
 * 3. What a level becomes in the tensor stands in a table of 256 numbers for each channel; no arithmetic is left.
 *
 * Weights add up to exactly 1 << shift: each is the difference of two rounded partial sums. So a picture of one level
 * keeps its level, and no result leaves 0 .. 255.
 */
#ifndef EDGEML_IMAGE_OPS_H
#define EDGEML_IMAGE_OPS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EDGEML_MAX_SIDE 65535       /* of a source; the products below stay within 64 bits */
#define EDGEML_MAX_TARGET_SIDE 4096 /* of what the model sees */
#define EDGEML_HISTOGRAM_BINS 4
#define EDGEML_STATISTICS 3 /* brightness, contrast, sharpness; then the bins of each channel */

enum { EDGEML_NEAREST = 0, EDGEML_BILINEAR = 1, EDGEML_AREA = 2, EDGEML_ANTIALIAS = 3, EDGEML_METHOD_COUNT = 4 };

/* Along one side: source pixels first[i] .. first[i] + count[i] - 1 make target pixel i, by weights[start[i] ..]. */
typedef struct {
    int32_t shift;
    int32_t *first, *count, *start;
    int16_t *weights;
} edgeml_taps;

static void edgeml_taps_free(edgeml_taps *t) {
    free(t->first);
    free(t->count);
    free(t->start);
    free(t->weights);
    memset(t, 0, sizeof(*t));
}

/* The share of source pixel x in target pixel i, unnormalised, as an integer. All positions are half-pixel centres. */
static inline int64_t edgeml_share(int method, int64_t source, int64_t target, int64_t i, int64_t x) {
    if (method == EDGEML_AREA) { /* overlap of [i, i + 1) * source / target with [x, x + 1), in units of 1 / target */
        int64_t low = i * source > x * target ? i * source : x * target;
        int64_t high = (i + 1) * source < (x + 1) * target ? (i + 1) * source : (x + 1) * target;
        return high > low ? high - low : 0;
    }
    /* A triangle around the centre, as wide as the target's pixels where the picture shrinks. */
    int64_t widest = 2 * (source > target ? source : target);
    int64_t away = (2 * x + 1) * target - (2 * i + 1) * source;
    if (away < 0) away = -away;
    return widest > away ? widest - away : 0;
}

static int edgeml_taps_make(edgeml_taps *t, int method, int64_t source, int64_t target) {
    memset(t, 0, sizeof(*t));
    /* A triangle that the border cuts in half has a peak of twice the height. */
    t->shift = method == EDGEML_ANTIALIAS ? 13 : 14;
    if (method >= EDGEML_AREA)
        for (int64_t times = source / target; times > 1 && t->shift < 20; times >>= 1) t->shift++;
    int64_t widest = method == EDGEML_NEAREST ? 1 : method == EDGEML_BILINEAR ? 2 : 2 * (source / target + 2) + 1;
    t->first = malloc((size_t)target * sizeof(int32_t));
    t->count = malloc((size_t)target * sizeof(int32_t));
    t->start = malloc((size_t)target * sizeof(int32_t));
    t->weights = malloc((size_t)(target * widest) * sizeof(int16_t));
    if (t->first == NULL || t->count == NULL || t->start == NULL || t->weights == NULL) {
        edgeml_taps_free(t);
        return -1;
    }
    int64_t whole = (int64_t)1 << t->shift;
    int32_t used = 0;
    for (int64_t i = 0; i < target; i++) {
        t->start[i] = used;
        if (method == EDGEML_NEAREST) {
            t->first[i] = (int32_t)((2 * i + 1) * source / (2 * target));
            t->count[i] = 1;
            t->weights[used++] = (int16_t)whole;
            continue;
        }
        if (method == EDGEML_BILINEAR) {
            int64_t at = (2 * i + 1) * source - target, unit = 2 * target;
            int64_t low = at < 0 ? -1 : at / unit;
            int64_t right = ((at - low * unit) * whole + target) / unit;
            int64_t inside = low < 0 ? 0 : low;
            if (low < 0 || low >= source - 1) right = 0;
            t->first[i] = (int32_t)(inside < source ? inside : source - 1);
            t->count[i] = right > 0 ? 2 : 1;
            t->weights[used++] = (int16_t)(whole - right);
            if (right > 0) t->weights[used++] = (int16_t)right;
            continue;
        }
        /* Half a target pixel (area) or a whole one (triangle) to either side of the centre, and never more than one
         * source pixel too far; what has no share is left out below. */
        int64_t reach = method == EDGEML_AREA ? source : 2 * (source > target ? source : target);
        int64_t low = ((2 * i + 1) * source - reach) / (2 * target) - 1, high = ((2 * i + 1) * source + reach) / (2 * target);
        if (low < 0) low = 0;
        if (high > source - 1) high = source - 1;
        while (low < high && edgeml_share(method, source, target, i, low) == 0) low++;
        while (high > low && edgeml_share(method, source, target, i, high) == 0) high--;
        int64_t total = 0, sum = 0;
        for (int64_t x = low; x <= high; x++) total += edgeml_share(method, source, target, i, x);
        t->first[i] = (int32_t)low;
        t->count[i] = (int32_t)(high - low + 1);
        for (int64_t x = low; x <= high; x++) {
            int64_t before = (sum * whole + total / 2) / total;
            sum += edgeml_share(method, source, target, i, x);
            t->weights[used++] = (int16_t)((sum * whole + total / 2) / total - before);
        }
    }
    return 0;
}

/* One row of the target's height, over all source columns: levels times 128. */
static void edgeml_columns(const uint8_t *source, int64_t stride, int64_t n, const edgeml_taps *t, int64_t y,
                           int32_t *sums, int16_t *out) {
    const int16_t *w = t->weights + t->start[y];
    const uint8_t *a = source + t->first[y] * stride;
    const int shift = t->shift - 7;
    const int32_t half = (int32_t)1 << (shift - 1);
    if (t->count[y] == 1) {
        for (int64_t j = 0; j < n; j++) out[j] = (int16_t)(a[j] << 7);
        return;
    }
    if (t->count[y] == 2) {
        const uint8_t *b = a + stride;
        const int16_t w0 = w[0], w1 = w[1];
        for (int64_t j = 0; j < n; j++)
            out[j] = (int16_t)(((int32_t)w0 * (int16_t)a[j] + (int32_t)w1 * (int16_t)b[j] + half) >> shift);
        return;
    }
    for (int64_t j = 0; j < n; j++) sums[j] = half;
    for (int32_t k = 0; k < t->count[y]; k++, a += stride) {
        const int16_t by = w[k];
        for (int64_t j = 0; j < n; j++) sums[j] += (int32_t)by * (int16_t)a[j];
    }
    for (int64_t j = 0; j < n; j++) out[j] = (int16_t)(sums[j] >> shift);
}

/* One finished row of the target: n pixels of c channels. */
static inline void edgeml_row(const int16_t *row, int64_t n, const int c, const edgeml_taps *t, uint8_t *out) {
    const int shift = t->shift + 7;
    const int64_t half = (int64_t)1 << (shift - 1);
    for (int64_t x = 0; x < n; x++) {
        const int16_t *w = t->weights + t->start[x], *a = row + (int64_t)t->first[x] * c;
        if (t->count[x] == 2) {
            for (int j = 0; j < c; j++)
                out[x * c + j] = (uint8_t)(((int64_t)w[0] * a[j] + (int64_t)w[1] * a[c + j] + half) >> shift);
            continue;
        }
        int64_t sums[4] = {half, half, half, half};
        for (int32_t k = 0; k < t->count[x]; k++, a += c)
            for (int j = 0; j < c; j++) sums[j] += (int64_t)w[k] * a[j];
        for (int j = 0; j < c; j++) out[x * c + j] = (uint8_t)(sums[j] >> shift);
    }
}

typedef struct {
    int64_t width, height; /* of what the model sees */
    int32_t channels;      /* 1, 3 or 4 */
    int32_t reversed;      /* the first three are blue, green, red */
    int32_t method;
    uint8_t pad[4];
} edgeml_target;

typedef struct {
    int64_t x, y, width, height;
} edgeml_box;

/* ITU-R BT.601, in 1 / 65536. */
static inline uint8_t edgeml_luma(uint8_t red, uint8_t green, uint8_t blue) {
    return (uint8_t)((19595 * (int32_t)red + 38470 * (int32_t)green + 7471 * (int32_t)blue + 32768) >> 16);
}

/* One row of n pixels from c channels (grey, red-green-blue, with alpha) to the target's. */
static void edgeml_recolour(const uint8_t *row, int64_t n, int c, const edgeml_target *t, uint8_t *out) {
    const int red = t->reversed ? 2 : 0, blue = 2 - red, d = t->channels;
    for (int64_t x = 0; x < n; x++, row += c, out += d) {
        if (d == 1) {
            out[0] = c == 1 ? row[0] : edgeml_luma(row[0], row[1], row[2]);
            continue;
        }
        out[red] = row[0];
        out[1] = c == 1 ? row[0] : row[1];
        out[blue] = c == 1 ? row[0] : row[2];
        if (d == 4) out[3] = c == 4 ? row[3] : 255;
    }
}

/* A region of a picture to a box of the target; the rest of the target is padded. 0, or -1 without memory.
 *
 * source: the region's first pixel; stride: bytes from row to row; c: 1, 3 or 4 channels, next to each other.
 * The caller has seen to it that the region lies in the source and the box in the target. */
static int edgeml_picture(const uint8_t *source, int64_t stride, int64_t width, int64_t height, int c,
                          const edgeml_target *t, const edgeml_box *box, uint8_t *out) {
    edgeml_taps down = {0}, across = {0};
    int64_t n = width * c;
    int16_t *row = malloc((size_t)n * sizeof(int16_t));
    int32_t *sums = malloc((size_t)n * sizeof(int32_t));
    uint8_t *made = malloc((size_t)(box->width * c));
    int status = -1;
    if (row == NULL || sums == NULL || made == NULL) goto done;
    if (edgeml_taps_make(&down, t->method, height, box->height) != 0) goto done;
    if (edgeml_taps_make(&across, t->method, width, box->width) != 0) goto done;
    if (box->width < t->width || box->height < t->height)
        for (int64_t i = 0; i < t->width * t->height; i++) memcpy(out + i * t->channels, t->pad, (size_t)t->channels);
    for (int64_t y = 0; y < box->height; y++) {
        uint8_t *to = out + ((box->y + y) * t->width + box->x) * t->channels;
        const int as_it_is = c == t->channels && !(t->reversed && c >= 3);
        uint8_t *finished = as_it_is ? to : made;
        if (width == box->width && height == box->height) {
            memcpy(finished, source + y * stride, (size_t)n);
        } else {
            edgeml_columns(source, stride, n, &down, y, sums, row);
            if (c == 1) edgeml_row(row, box->width, 1, &across, finished);
            else if (c == 3) edgeml_row(row, box->width, 3, &across, finished);
            else edgeml_row(row, box->width, 4, &across, finished);
        }
        if (!as_it_is) edgeml_recolour(made, box->width, c, t, to);
    }
    status = 0;
done:
    edgeml_taps_free(&down);
    edgeml_taps_free(&across);
    free(row);
    free(sums);
    free(made);
    return status;
}

/* Statistics of a box of a finished picture; luma: scratch of box->width * box->height bytes.
 * out: mean and standard deviation of luma, variance of its Laplacian (4 neighbours, inside the box), and for each
 * channel but alpha the share of its levels in each quarter of 0 .. 255. */
static void edgeml_statistics(const uint8_t *picture, const edgeml_target *t, const edgeml_box *box, uint8_t *luma,
                              double *out) {
    const int d = t->channels, red = t->reversed ? 2 : 0, colours = d == 1 ? 1 : 3;
    const int64_t w = box->width, h = box->height, n = w * h;
    int64_t counts[3][EDGEML_HISTOGRAM_BINS] = {{0}}, sum = 0, squares = 0;
    for (int64_t y = 0; y < h; y++) {
        const uint8_t *p = picture + ((box->y + y) * t->width + box->x) * d;
        uint8_t *l = luma + y * w;
        /* The four bins of a channel are four fields of 16 bits of one number: a row has at most 4096 pixels. */
        uint64_t bins[3] = {0, 0, 0};
        if (d == 1) {
            memcpy(l, p, (size_t)w);
            for (int64_t x = 0; x < w; x++) bins[0] += (uint64_t)1 << ((p[x] >> 6) * 16);
        } else {
            for (int64_t x = 0; x < w; x++, p += d) {
                l[x] = edgeml_luma(p[red], p[1], p[2 - red]);
                bins[0] += (uint64_t)1 << ((p[red] >> 6) * 16);
                bins[1] += (uint64_t)1 << ((p[1] >> 6) * 16);
                bins[2] += (uint64_t)1 << ((p[2 - red] >> 6) * 16);
            }
        }
        for (int j = 0; j < colours; j++)
            for (int b = 0; b < EDGEML_HISTOGRAM_BINS; b++) counts[j][b] += (int64_t)(bins[j] >> (16 * b) & 0xffff);
        uint32_t of_row = 0, row_squares = 0; /* at most 255 * 255 * 4096 */
        for (int64_t x = 0; x < w; x++) {
            of_row += l[x];
            row_squares += (uint32_t)l[x] * l[x];
        }
        sum += of_row;
        squares += row_squares;
    }
    double mean = (double)sum / (double)n, spread = (double)squares / (double)n - mean * mean;
    out[0] = mean;
    out[1] = sqrt(spread > 0.0 ? spread : 0.0);
    int64_t edges = 0, edge_squares = 0, inner = w > 2 && h > 2 ? (w - 2) * (h - 2) : 0;
    for (int64_t y = 1; y + 1 < h && inner > 0; y++) {
        const uint8_t *l = luma + y * w;
        int32_t of_row = 0;
        uint32_t row_squares = 0; /* at most 1020 * 1020 * 4094, which fits */
        for (int64_t x = 1; x + 1 < w; x++) {
            int32_t bend = (int32_t)l[x - 1] + l[x + 1] + l[x - w] + l[x + w] - 4 * (int32_t)l[x];
            of_row += bend;
            row_squares += (uint32_t)(bend * bend);
        }
        edges += of_row;
        edge_squares += row_squares;
    }
    double middle = inner > 0 ? (double)edges / (double)inner : 0.0;
    double variance = inner > 0 ? (double)edge_squares / (double)inner - middle * middle : 0.0;
    out[2] = variance > 0.0 ? variance : 0.0;
    for (int j = 0; j < colours; j++)
        for (int b = 0; b < EDGEML_HISTOGRAM_BINS; b++)
            out[EDGEML_STATISTICS + j * EDGEML_HISTOGRAM_BINS + b] = (double)counts[j][b] / (double)n;
}

/* A finished picture of n pixels to a row of the model's tensor; table: 256 numbers of the tensor's type a channel. */
#define EDGEML_LEVELS(NAME, TYPE)                                                                           \
    static inline void NAME(const uint8_t *picture, int64_t n, int channels, int planar, const TYPE *table, \
                            TYPE *out) {                                                                    \
        for (int j = 0; j < channels; j++) {                                                                \
            const TYPE *of = table + 256 * j;                                                               \
            TYPE *to = out + (planar ? j * n : j);                                                          \
            const int64_t step = planar ? 1 : channels;                                                     \
            const uint8_t *p = picture + j;                                                                 \
            for (int64_t i = 0; i < n; i++) to[i * step] = of[p[i * channels]];                             \
        }                                                                                                   \
    }

EDGEML_LEVELS(edgeml_levels_float, float)
EDGEML_LEVELS(edgeml_levels_double, double)

#endif
