/* Unicode in JSON: UTF-8 and the escapes of strings.
 *
 * Source: RFC 8259 (JSON), section 7, RFC 3629 (UTF-8).
 */

#include "bytes.h"
#include "texts.h"

static int hex_of(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of four hexadecimal digits; -1 if they are not. */
int32_t lurker_code_unit(const uint8_t *p) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_of(p[i]);
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (uint8_t)c;
    } else if (c < 0x800) {
        *out++ = (uint8_t)(0xc0 | c >> 6);
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (uint8_t)(0xe0 | c >> 12);
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        *out++ = (uint8_t)(0xf0 | c >> 18);
        *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return out;
}

/* Decode the escape at *at, move *at behind it, and return the end of the output.
 *
 * Returns NULL if it is not valid or is half a surrogate pair, which has no UTF-8.
 */
uint8_t *lurker_decode_escape(const uint8_t **at, const uint8_t *end, uint8_t *out) {
    const uint8_t *p = *at;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p[1] == 'u') {
        int32_t unit = end - p < 6 ? -1 : lurker_code_unit(p + 2);
        if (unit < 0 || (unit >= 0xdc00 && unit < 0xe000)) return NULL;
        p += 6;
        if (unit >= 0xd800 && unit < 0xdc00) {
            int32_t low = end - p < 6 || p[0] != '\\' || p[1] != 'u' ? -1 : lurker_code_unit(p + 2);
            if (low < 0xdc00 || low >= 0xe000) return NULL;
            p += 6;
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
        *at = p;
        return put_utf8(out, (uint32_t)unit);
    }
    const char *match = p[1] ? strchr(from, p[1]) : NULL;
    if (!match) return NULL;
    *out = (uint8_t)to[match - from];
    *at = p + 2;
    return out + 1;
}

/* Whether all bytes from p to end are valid UTF-8. */
int lurker_is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        if (end - p >= N_TOGETHER && is_ascii(load(p))) {
            p += N_TOGETHER;
            continue;
        }
        uint8_t c = *p++;
        if (c < 0x80) continue;
        int n = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
        if (!n || end - p < n) return 0;
        if ((c == 0xe0 && p[0] < 0xa0) || (c == 0xed && p[0] > 0x9f)) return 0;
        if ((c == 0xf0 && p[0] < 0x90) || (c == 0xf4 && p[0] > 0x8f)) return 0;
        while (n--) {
            if ((*p++ & 0xc0) != 0x80) return 0;
        }
    }
    return 1;
}
