/* The one contract between the kernels: the typed raw values of n records in flat buffers.
 *
 * A Frame (edgeml.kernels.frame) owns the memory and hands out a PyCapsule named
 * EDGEML_FRAME_CAPSULE whose pointer is an edgeml_frame. The struct's address stays the same for the
 * capsule's life; its fields may change whenever the frame is filled again, so readers take them
 * anew at every call.
 *
 * Columns are contiguous ("struct of arrays"): value of row i in number column j is
 * numbers[j * capacity + i]; likewise codes and texts.
 */
#ifndef EDGEML_FRAME_H
#define EDGEML_FRAME_H

#include <stdint.h>

#define EDGEML_FRAME_CAPSULE "edgeml.frame.v1"

#define EDGEML_MISSING (-1) /* category code: no value given   */
#define EDGEML_UNSEEN (-2)  /* category code: not a known level */

typedef struct {
    int64_t offset; /* into arena, bytes */
    int64_t length; /* bytes; EDGEML_MISSING where no value was given */
} edgeml_text;

typedef struct {
    int64_t n_rows;   /* rows filled */
    int64_t capacity; /* rows that fit: the column stride */
    int64_t n_numbers;
    int64_t n_categories;
    int64_t n_texts;
    double *numbers;    /* number, integer and boolean features; NaN = missing; booleans are 0 or 1 */
    int32_t *codes;     /* category features; index into the feature's levels, or a code above */
    edgeml_text *texts; /* text features, UTF-8, not NUL-terminated */
    const char *arena;  /* bytes of all texts */
    int64_t n_pictures;      /* pictures that stand ready: as many as rows, or none */
    int64_t picture_bytes;   /* of each of them */
    const uint8_t *pictures; /* finished pictures, one after the other */
} edgeml_frame;

#endif
