/* Texts in memory, and Arrow's views of them.
 *
 * Up to N_TOGETHER bytes behind a text may be read, so there must be memory; their values do not matter.
 *
 * Source: Arrow columnar format, "Variable-size Binary View Layout".
 */

#ifndef LURKER_TEXTS_H
#define LURKER_TEXTS_H

#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *p;
    int64_t length;
} text;

/* The text of a view; texts of more than 12 bytes are stored in `texts`, shorter ones in the view. */
static inline text text_of(const uint8_t *view, const uint8_t *texts) {
    int32_t length, offset;
    memcpy(&length, view, 4);
    memcpy(&offset, view + 12, 4);
    return (text){length <= 12 ? view + 4 : texts + offset, length};
}

/* Write the view of a text, which is stored in `texts` if it is longer than 12 bytes. */
static inline void put_view(uint8_t *view, const uint8_t *p, int64_t length, const uint8_t *texts) {
    int32_t head = (int32_t)length, buffer_and_offset[2] = {0, (int32_t)(p - texts)};
    if (length <= 12) {
        memset(view, 0, 16);
        memcpy(view + 4, p, (size_t)length);
    } else {
        memcpy(view + 4, p, 4);
        memcpy(view + 8, buffer_and_offset, 8);
    }
    memcpy(view, &head, 4);
}

/* Whether n bytes are equal; faster than memcmp for names, ids and other short texts. */
static inline int is_same(const void *left, const void *right, int64_t n) {
    const uint8_t *a = left, *b = right;
    uint64_t x, y;
    for (; n > 8; n -= 8, a += 8, b += 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y) return 0;
    }
    if (n == 8) return !memcmp(a, b, 8);
    if (n >= 4) return !memcmp(a, b, 4) && !memcmp(a + n - 4, b + n - 4, 4);
    for (int64_t i = 0; i < n; i++) {
        if (a[i] != b[i]) return 0;
    }
    return 1;
}

static inline int is_equal(text a, text b) {
    return a.length == b.length && (a.p == b.p || is_same(a.p, b.p, a.length));
}

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

/* A hash that is the same for names that differ in case only. */
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

static inline int is_word(uint8_t c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}
static inline int begins(text t, const char *with, int64_t length) {
    return t.length >= length && is_same(t.p, with, length);
}
static inline int is(text t, const char *other) {
    int64_t length = (int64_t)strlen(other);
    return t.length == length && is_same(t.p, other, length);
}
static inline text without(text t, int64_t n_bytes) { return (text){t.p + n_bytes, t.length - n_bytes}; }

int lurker_is_utf8(const uint8_t *p, const uint8_t *end);
int32_t lurker_code_unit(const uint8_t *p);
uint8_t *lurker_decode_escape(const uint8_t **at, const uint8_t *end, uint8_t *out);

#endif
