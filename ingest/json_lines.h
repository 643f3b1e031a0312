/* Columns as the reader of JSON lines fills them and as `comments.c` goes on from them.
 *
 * Source: Arrow columnar format, "Variable-size Binary View Layout" and "Validity bitmaps".
 */

#ifndef LURKER_JSON_LINES_H
#define LURKER_JSON_LINES_H

#include <stdint.h>
#include <string.h>

enum kind { TEXT, WHOLE, REAL, FLAG, LOOSE, OBJECT }; /* LOOSE: text of a string, a number, true or false */

typedef struct {
    const char *name;
    int64_t length;
    int64_t kind;
    int64_t parent;  /* the column of kind OBJECT that the field stands in; -1: the line's own object */
    uint8_t *valid;  /* bitmap, zeros at first; NULL where every row has a value */
    uint8_t *values; /* views of 16 bytes, int64, double or bitmap; unused for OBJECT */
} column;

typedef struct {
    const uint8_t *p;
    int64_t length;
} text;

static inline void set_bit(uint8_t *bits, int64_t i) { bits[i >> 3] |= (uint8_t)(1 << (i & 7)); }
static inline void clear_bit(uint8_t *bits, int64_t i) { bits[i >> 3] &= (uint8_t)~(1 << (i & 7)); }
static inline int has_bit(const uint8_t *bits, int64_t i) { return bits[i >> 3] >> (i & 7) & 1; }

/* The text that a view shows; longer ones stand in `texts`. */
static inline text text_of(const uint8_t *view, const uint8_t *texts) {
    int32_t length, place;
    memcpy(&length, view, 4);
    memcpy(&place, view + 12, 4);
    return (text){length <= 12 ? view + 4 : texts + place, length};
}

/* A view of a text, which stands in `texts` if it is longer than 12 bytes. */
static inline void put_view(uint8_t *view, const uint8_t *p, int64_t length, const uint8_t *texts) {
    int32_t head = (int32_t)length, place[2] = {0, (int32_t)(p - texts)};
    if (length <= 12) {
        memset(view, 0, 16);
        memcpy(view + 4, p, (size_t)length);
    } else {
        memcpy(view + 4, p, 4);
        memcpy(view + 8, place, 8);
    }
    memcpy(view, &head, 4);
}

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

/* Of names that differ in case only it is the same. */
static inline uint32_t hash_of_name(text t) {
    uint64_t head = 0, tail = 0;
    if (t.length < 8) {
        memcpy(&head, t.p, (size_t)t.length);
    } else {
        memcpy(&head, t.p, 8);
        memcpy(&tail, t.p + t.length - 8, 8);
    }
    head = (head | 0x2020202020202020ULL) * 0x9e3779b97f4a7c15ULL;
    tail = (tail | 0x2020202020202020ULL) * 0xc2b2ae3d27d4eb4fULL;
    return (uint32_t)((head ^ tail >> 7 ^ (uint64_t)t.length) * 0x9e3779b97f4a7c15ULL >> 32);
}

/* BLAKE2b of 8 bytes (RFC 7693). */
typedef struct {
    uint64_t h[8];
} blake2b;

#define BLAKE2B_BLOCK 128
blake2b lurker_blake2b_keyed(const uint8_t *key, int64_t n_bytes); /* at most 64 */
uint64_t lurker_blake2b_of(const blake2b *keyed, const uint8_t *p, int64_t n_bytes); /* 1 to BLAKE2B_BLOCK */

#endif
