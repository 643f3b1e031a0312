/* Columns, which the reader of JSON lines fills and `comments.c` reads and writes.
 *
 * Source: Arrow columnar format, "Validity bitmaps".
 */

#ifndef LURKER_JSON_LINES_H
#define LURKER_JSON_LINES_H

#include <stdint.h>

#include "texts.h"

#define KINDS(KIND) \
    KIND(TEXT)   /* a string */ \
    KIND(WHOLE)  /* an integer of at most 18 digits */ \
    KIND(REAL)   /* a number, which may be quoted */ \
    KIND(FLAG)   /* true or false */ \
    KIND(LOOSE)  /* a string, a number, true or false, as text */ \
    KIND(OBJECT) /* an object, whose fields have columns of their own */

#define NAME(name) name,
enum kind { KINDS(NAME) };

typedef struct {
    const char *name;
    int64_t length;
    int64_t kind;
    int64_t parent;  /* the column of the object that holds the field; -1: the line itself */
    uint8_t *valid;  /* bitmap; NULL if every row has a value */
    uint8_t *values; /* views of 16 bytes, int64, double or a bitmap; unused for OBJECT */
} column;

static inline void set_bit(uint8_t *bits, int64_t i) { bits[i >> 3] |= (uint8_t)(1 << (i & 7)); }
static inline void clear_bit(uint8_t *bits, int64_t i) { bits[i >> 3] &= (uint8_t)~(1 << (i & 7)); }
static inline int has_bit(const uint8_t *bits, int64_t i) { return bits[i >> 3] >> (i & 7) & 1; }

#endif
