/* Look at several bytes at once: 16 with SSE2, which every x86-64 processor has, otherwise 8. */

#ifndef LURKER_BYTES_H
#define LURKER_BYTES_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

#define N_TOGETHER 16
typedef __m128i bytes; /* the bytes themselves, or a mask: 0xff for each byte that matches */

static inline bytes load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
static inline bytes either(bytes a, bytes b) { return _mm_or_si128(a, b); }
static inline bytes equal(bytes x, uint8_t c) { return _mm_cmpeq_epi8(x, _mm_set1_epi8((char)c)); }
static inline bytes controls(bytes x) { return _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x); }
static inline int is_any(bytes mask) { return _mm_movemask_epi8(mask) != 0; }
static inline int first(bytes mask) { return __builtin_ctz((unsigned)_mm_movemask_epi8(mask)); }
static inline int is_ascii(bytes x) { return !_mm_movemask_epi8(x); }

#else

#define N_TOGETHER 8
typedef uint64_t bytes; /* the bytes themselves, or a mask: the highest bit of each match, exact up to the first */

#define EACH(n) (0x0101010101010101ULL * (n))
static inline bytes load(const uint8_t *p) {
    bytes x;
    memcpy(&x, p, 8);
    return x;
}
static inline bytes below(bytes x, uint8_t n) { return (x - EACH(n)) & ~x & EACH(0x80); }
static inline bytes either(bytes a, bytes b) { return a | b; }
static inline bytes equal(bytes x, uint8_t c) { return below(x ^ EACH(c), 1); }
static inline bytes controls(bytes x) { return below(x, 0x20); }
static inline int is_any(bytes mask) { return mask != 0; }
static inline int first(bytes mask) { return __builtin_ctzll(mask) >> 3; }
static inline int is_ascii(bytes x) { return !(x & EACH(0x80)); }

#endif
#endif
