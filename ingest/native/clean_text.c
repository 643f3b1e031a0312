/* Texts as `normalize.clean_text` makes them: without NUL, escapes put back, users' names hidden.
 *
 * Plain bytes, nearly all, are looked for and copied together.
 */

#include "bytes.h"
#include "texts.h"

static inline int is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* How many bytes a space has at the start of a text, or at its end, the wide ones of Unicode among them; 0: none.
 *
 * Source: Unicode, property White_Space. */
static int64_t space_length(text t, int is_at_end) {
    const uint8_t *p = is_at_end ? t.p + t.length : t.p;
    if (t.length >= 1 && is_space(is_at_end ? p[-1] : p[0])) return 1;
    if (is_at_end) p -= 2;
    if (t.length >= 2 && p[0] == 0xc2 && (p[1] == 0x85 || p[1] == 0xa0)) return 2;
    if (is_at_end) p -= 1;
    if (t.length < 3) return 0;
    int is_wide = (p[0] == 0xe1 && p[1] == 0x9a && p[2] == 0x80) || (p[0] == 0xe3 && p[1] == 0x80 && p[2] == 0x80) ||
                  (p[0] == 0xe2 && p[1] == 0x81 && p[2] == 0x9f) ||
                  (p[0] == 0xe2 && p[1] == 0x80 && (p[2] <= 0x8a || p[2] == 0xa8 || p[2] == 0xa9 || p[2] == 0xaf));
    return is_wide ? 3 : 0;
}

/* Whether Reddit put the text in place of a removed one. */
int lurker_is_removed(text t) {
    static const char *const removed[] = {
        "[deleted]", "[removed]", "[deleted by user]", "[ Removed by Reddit ]", "[removed by reddit]"};
    for (int64_t n; (n = space_length(t, 0));) t = without(t, n);
    if (!t.length || t.p[0] != '[') return 0;
    for (int64_t n; (n = space_length(t, 1));) t.length -= n;
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        if (is(t, removed[i])) return 1;
    }
    return 0;
}

/* The next slash, ampersand or NUL; the end: there is none. Some bytes behind a text may be read, they do not count. */
static const uint8_t *next_suspect(const uint8_t *p, const uint8_t *end) {
    for (; p < end; p += N_TOGETHER) {
        bytes x = load(p), found = either(either(equal(x, '/'), equal(x, '&')), equal(x, 0));
        if (is_any(found)) return end - p > first(found) ? p + first(found) : end;
    }
    return end;
}

/* Copy the bytes from `p` up to `end`; where the copy ends. */
static uint8_t *put_bytes(uint8_t *out, const uint8_t *p, const uint8_t *end) {
    memcpy(out, p, (size_t)(end - p));
    return out + (end - p);
}

/* Whether a text may hold something to clean: NUL, an ampersand, or a slash after u or ser. */
int lurker_may_be_unclean(text t) {
    const uint8_t *end = t.p + t.length;
    for (const uint8_t *p = next_suspect(t.p, end); p < end; p = next_suspect(p + 1, end)) {
        if (*p != '/') return 1;
        if (p > t.p && (p[-1] | 0x20) == 'u') return 1;
        if (p - t.p >= 3 && !memcmp(p - 3, "ser", 3)) return 1;
    }
    return 0;
}

/* Without NUL, with the three escaped characters put back; the length. No longer than before. */
static int64_t unescape(text t, uint8_t *out) {
    const uint8_t *start = out, *p = t.p, *end = t.p + t.length;
    while (p < end) {
        const uint8_t *plain = p;
        while ((p = next_suspect(p, end)) < end && *p == '/') p++;
        out = put_bytes(out, plain, p);
        if (p == end) break;
        text rest = {p, end - p};
        p++;
        if (!rest.p[0]) continue;
        if (begins(rest, "&amp;", 5)) *out++ = '&', p += 4;
        else if (begins(rest, "&lt;", 4)) *out++ = '<', p += 3;
        else if (begins(rest, "&gt;", 4)) *out++ = '>', p += 3;
        else *out++ = '&';
    }
    return out - start;
}

/* How long the mention (u/name, user/name) is that begins here, at the start of a word; 0: there is none. */
static int64_t mention_length(text t) {
    if (t.length < 1 || (t.p[0] | 0x20) != 'u') return 0;
    int64_t n = begins(without(t, 1), "ser/", 4) ? 5 : begins(without(t, 1), "/", 1) ? 2 : 0;
    if (!n) return 0;
    int64_t n_name = 0;
    while (n + n_name < t.length && n_name < 30 && (is_word(t.p[n + n_name]) || t.p[n + n_name] == '-')) n_name++;
    return n_name >= 2 ? n + n_name : 0;
}

/* With u/[name] for every mention; the length, at most twice what it was. */
static int64_t hide_mentions(text t, uint8_t *out) {
    static const uint8_t hidden[] = {'u', '/', '[', 'n', 'a', 'm', 'e', ']'};
    const uint8_t *start = out, *p = t.p, *end = t.p + t.length;
    for (const uint8_t *slash = t.p; (slash = memchr(slash, '/', (size_t)(end - slash))); slash++) {
        int64_t n_before = slash > p && (slash[-1] | 0x20) == 'u' ? 1 : 4; /* else it may be that of "user" */
        if (slash - p < n_before) continue;
        const uint8_t *from = slash - n_before;
        int64_t n_bytes = from > t.p && is_word(from[-1]) ? 0 : mention_length((text){from, end - from});
        if (!n_bytes) continue;
        out = put_bytes(out, p, from);
        out = put_bytes(out, hidden, hidden + sizeof hidden);
        p = from + n_bytes;
        slash = p - 1;
    }
    return put_bytes(out, p, end) - start;
}

/* The cleaned text, at `out`, which has room for three times the text; its length. */
int64_t lurker_clean(text t, uint8_t *out, int64_t keep_mentions) {
    int64_t length = unescape(t, out);
    if (keep_mentions) return length;
    uint8_t *hidden = out + length;
    int64_t n_hidden = hide_mentions((text){out, length}, hidden);
    memmove(out, hidden, (size_t)n_hidden);
    return n_hidden;
}
