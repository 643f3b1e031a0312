/* Columns as the reader of JSON lines fills them and as `comments.c` goes on from them.
 *
 * Source: Arrow columnar format, "Validity bitmaps".
 */

#ifndef LURKER_JSON_LINES_H
#define LURKER_JSON_LINES_H

#include <stdint.h>

#include "texts.h"

enum kind { TEXT, WHOLE, REAL, FLAG, LOOSE, OBJECT }; /* LOOSE: text of a string, a number, true or false */

typedef struct {
    const char *name;
    int64_t length;
    int64_t kind;
    int64_t parent;  /* the column of kind OBJECT that the field stands in; -1: the line's own object */
    uint8_t *valid;  /* bitmap, zeros at first; NULL where every row has a value */
    uint8_t *values; /* views of 16 bytes, int64, double or bitmap; unused for OBJECT */
} column;

static inline void set_bit(uint8_t *bits, int64_t i) { bits[i >> 3] |= (uint8_t)(1 << (i & 7)); }
static inline void clear_bit(uint8_t *bits, int64_t i) { bits[i >> 3] &= (uint8_t)~(1 << (i & 7)); }
static inline int has_bit(const uint8_t *bits, int64_t i) { return bits[i >> 3] >> (i & 7) & 1; }

/* BLAKE2b of 8 bytes (RFC 7693). */
typedef struct {
    uint64_t h[8];
} blake2b;

#define BLAKE2B_BLOCK 128
blake2b lurker_blake2b_keyed(const uint8_t *key, int64_t n_bytes); /* at most 64 */
uint64_t lurker_blake2b_of(const blake2b *keyed, const uint8_t *p, int64_t n_bytes); /* 1 to BLAKE2B_BLOCK */

#endif
