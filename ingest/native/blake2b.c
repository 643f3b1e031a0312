/* Keyed BLAKE2b with a digest of 8 bytes, of messages of one block: names of authors.
 *
 * Source: RFC 7693, "The BLAKE2 Cryptographic Hash and Message Authentication Code".
 */

#include "json_lines.h"

#define DIGEST_BYTES 8

static const uint64_t iv[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static const uint8_t sigma[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

static inline uint64_t turned(uint64_t x, int n) { return x >> n | x << (64 - n); }

static inline void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
    v[a] += v[b] + x;
    v[d] = turned(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = turned(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 63);
}

/* F of the RFC: one block, `n_bytes` of the message so far. */
static void compress(uint64_t *h, const uint8_t *block, uint64_t n_bytes, int is_last) {
    uint64_t v[16], m[16];
    memcpy(m, block, BLAKE2B_BLOCK); /* words are little-endian, as all of Arrow's are */
    memcpy(v, h, 64);
    memcpy(v + 8, iv, 64);
    v[12] ^= n_bytes;
    if (is_last) v[14] = ~v[14];
    for (int round = 0; round < 12; round++) {
        const uint8_t *s = sigma[round];
        mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
        mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
        mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
        mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
        mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
        mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
        mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
        mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

/* The state after the key's block, the same for every message. */
blake2b lurker_blake2b_keyed(const uint8_t *key, int64_t n_bytes) {
    blake2b keyed;
    uint8_t block[BLAKE2B_BLOCK] = {0};
    memcpy(keyed.h, iv, sizeof iv);
    keyed.h[0] ^= 0x01010000 ^ (uint64_t)n_bytes << 8 ^ DIGEST_BYTES;
    memcpy(block, key, (size_t)n_bytes);
    compress(keyed.h, block, BLAKE2B_BLOCK, 0);
    return keyed;
}

/* The digest, its first byte in the lowest bits. */
uint64_t lurker_blake2b_of(const blake2b *keyed, const uint8_t *p, int64_t n_bytes) {
    blake2b state = *keyed;
    uint8_t block[BLAKE2B_BLOCK] = {0};
    memcpy(block, p, (size_t)n_bytes);
    compress(state.h, block, (uint64_t)(BLAKE2B_BLOCK + n_bytes), 1);
    return state.h[0];
}
