/* Lines of JSON objects -> Arrow columns of chosen fields, for lines that are as lines of dumps are.
 *
 * Every line is checked whole against RFC 8259 and RFC 3629. A line is left to the caller, by its place, when it is no
 * JSON object or when a chosen field holds what its column does not foresee: what such a line means is decided
 * elsewhere, once. Nothing here calls Python, so threads read blocks side by side.
 *
 * Source: RFC 8259 (JSON), RFC 3629 (UTF-8).
 */

#include "json_lines.h"

#include <stdlib.h>

#include "bytes.h"

typedef struct {
    const column *columns;
    int64_t n_columns;
    const uint8_t *p, *end; /* the place in the line; its newline, which no string may hold */
    int64_t row;
    uint8_t *texts; /* room for as many bytes as there are of lines: no text is longer than its JSON */
    int64_t n_text_bytes;
    int8_t slots[256]; /* hash of a field's name -> a column, -1: none */
    int8_t next[64];   /* the next column of the same hash */
} reader;

#define MAX_DEPTH 64
#define N_COUNTS 64

static inline uint8_t hash_of(const uint8_t *name, int64_t length) {
    return (uint8_t)(length * 131 + name[0] * 7 + name[length - 1] * 31 + name[length / 2]);
}

static inline void skip_spaces(reader *r) {
    while (*r->p == ' ' || *r->p == '\t' || *r->p == '\r') r->p++;
}

static inline int is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* After the opening quote: past the plain characters, to a quote, a backslash or a control character. */
static inline const uint8_t *past_plain(const uint8_t *p, const uint8_t *end) {
    for (; p + N_TOGETHER <= end; p += N_TOGETHER) {
        bytes x = load(p), found = either(either(equal(x, '"'), equal(x, '\\')), controls(x));
        if (is_any(found)) return p + first(found);
    }
    while (*p != '"' && *p != '\\' && *p >= 0x20) p++;
    return p;
}

/* Past a string whose text nobody wants; its escapes are checked. 0: it is none. */
static int skip_string(reader *r) {
    const uint8_t *p = r->p + 1;
    for (;;) {
        p = past_plain(p, r->end);
        if (*p == '"') break;
        if (*p != '\\') return 0;
        if (p[1] == 'u') {
            if (r->end - p < 6 || lurker_code_unit(p + 2) < 0) return 0;
            p += 6;
        } else if (p[1] && strchr("\"\\/bfnrt", p[1])) {
            p += 2;
        } else {
            return 0;
        }
    }
    r->p = p + 1;
    return 1;
}

/* The row has no value in the column; a view of a text that is gone must not stay. */
static void forget(const column *c, int64_t row) {
    if (c->kind == TEXT || c->kind == LOOSE) memset(c->values + 16 * row, 0, 16);
    clear_bit(c->valid, row);
}

/* `length` bytes that stand at the end of the texts become the row's value. */
static void keep_text(reader *r, const column *c, int64_t length) {
    put_view(c->values + 16 * r->row, r->texts + r->n_text_bytes, length, r->texts);
    if (length > 12) r->n_text_bytes += length;
    set_bit(c->valid, r->row);
}

static int read_text(reader *r, const column *c) {
    const uint8_t *p = r->p + 1;
    uint8_t *start = r->texts + r->n_text_bytes, *out = start;
    for (;;) {
        const uint8_t *stop = past_plain(p, r->end);
        memcpy(out, p, (size_t)(stop - p));
        out += stop - p;
        p = stop;
        if (*p == '"') break;
        if (*p != '\\' || !(out = lurker_put_escaped(&p, r->end, out))) return 0;
    }
    r->p = p + 1;
    keep_text(r, c, out - start);
    return 1;
}

/* Past a number; is_whole: it has neither point nor exponent. 0: it is none. */
static int skip_number(reader *r, int *is_whole) {
    const uint8_t *p = r->p;
    *is_whole = 1;
    if (*p == '-') p++;
    if (*p == '0') {
        p++;
    } else if (is_digit(*p)) {
        while (is_digit(*p)) p++;
    } else {
        return 0;
    }
    if (*p == '.') {
        *is_whole = 0;
        if (!is_digit(*++p)) return 0;
        while (is_digit(*p)) p++;
    }
    if (*p == 'e' || *p == 'E') {
        *is_whole = 0;
        if (*++p == '+' || *p == '-') p++;
        if (!is_digit(*p)) return 0;
        while (is_digit(*p)) p++;
    }
    r->p = p;
    return 1;
}

static int64_t whole_of(const uint8_t *p, const uint8_t *end) {
    int is_negative = *p == '-';
    int64_t value = 0;
    for (p += is_negative; p < end; p++) value = value * 10 + (*p - '0');
    return is_negative ? -value : value;
}

static int skip_word(reader *r, const char *word, int64_t length) {
    if (r->end - r->p < length || memcmp(r->p, word, (size_t)length)) return 0;
    r->p += length;
    return 1;
}

/* A number, quoted or not, as the column wants it. Digits beyond 18, and others than of dumps, are left to others. */
static int read_number(reader *r, const column *c) {
    int is_quoted = *r->p == '"', is_whole;
    if (is_quoted && c->kind != REAL) return 0;
    r->p += is_quoted;
    const uint8_t *start = r->p;
    if (!skip_number(r, &is_whole)) return 0;
    int64_t n_digits = r->p - start;
    if (is_quoted && *r->p++ != '"') return 0;
    const uint8_t *stop = start + n_digits;
    if (c->kind == LOOSE) {
        memcpy(r->texts + r->n_text_bytes, start, (size_t)n_digits);
        keep_text(r, c, n_digits);
        return 1;
    }
    if (c->kind == WHOLE) {
        if (!is_whole || n_digits > 18) return 0;
        ((int64_t *)(void *)c->values)[r->row] = whole_of(start, stop);
    } else if (is_whole) {
        if (n_digits > 15) return 0;
        ((double *)(void *)c->values)[r->row] = (double)whole_of(start, stop);
    } else {
        char digits[40], *stopped;
        if (n_digits >= (int64_t)sizeof digits) return 0;
        memcpy(digits, start, (size_t)n_digits);
        digits[n_digits] = 0;
        ((double *)(void *)c->values)[r->row] = strtod(digits, &stopped);
        if (stopped != digits + n_digits) return 0; /* a locale with another decimal point */
    }
    set_bit(c->valid, r->row);
    return 1;
}

static int read_flag(reader *r, const column *c) {
    const uint8_t *start = r->p;
    int is_true = *start == 't';
    if (!(is_true ? skip_word(r, "true", 4) : skip_word(r, "false", 5))) return 0;
    if (c->kind == LOOSE) {
        memcpy(r->texts + r->n_text_bytes, start, (size_t)(r->p - start));
        keep_text(r, c, r->p - start);
        return 1;
    }
    if (c->kind != FLAG) return 0;
    if (is_true) set_bit(c->values, r->row);
    else clear_bit(c->values, r->row);
    set_bit(c->valid, r->row);
    return 1;
}

static int read_object(reader *r, int parent, int depth);

static int skip_value(reader *r, int depth) {
    int is_whole;
    switch (*r->p) {
    case '"': return skip_string(r);
    case '{': return read_object(r, -2, depth + 1);
    case '[':
        if (depth >= MAX_DEPTH) return 0;
        r->p++;
        skip_spaces(r);
        if (*r->p == ']') {
            r->p++;
            return 1;
        }
        for (;;) {
            skip_spaces(r);
            if (!skip_value(r, depth + 1)) return 0;
            skip_spaces(r);
            if (*r->p == ']') break;
            if (*r->p++ != ',') return 0;
        }
        r->p++;
        return 1;
    case 't': return skip_word(r, "true", 4);
    case 'f': return skip_word(r, "false", 5);
    case 'n': return skip_word(r, "null", 4);
    default: return skip_number(r, &is_whole);
    }
}

static int read_value(reader *r, int64_t index, int depth) {
    const column *c = r->columns + index;
    if (*r->p == 'n') {
        forget(c, r->row); /* of a field that comes twice, the last counts */
        return c->kind == OBJECT ? 0 : skip_word(r, "null", 4);
    }
    switch (c->kind) {
    case OBJECT: return *r->p == '{' && read_object(r, (int)index, depth + 1);
    case TEXT: return *r->p == '"' && read_text(r, c);
    case FLAG: return read_flag(r, c);
    case LOOSE:
        if (*r->p == '"') return read_text(r, c);
        if (*r->p == 't' || *r->p == 'f') return read_flag(r, c);
        return read_number(r, c);
    default: return read_number(r, c);
    }
}

static int64_t column_of(const reader *r, const uint8_t *name, int64_t length, int parent) {
    if (length <= 0 || parent == -2) return -1;
    for (int64_t i = r->slots[hash_of(name, length)]; i >= 0; i = r->next[i]) {
        const column *c = r->columns + i;
        if (c->length == length && c->parent == parent && is_same(c->name, name, length)) return i;
    }
    return -1;
}

/* parent: the column that the object is, -1: the line's own, -2: one that nobody wants. 0: it is no object. */
static int read_object(reader *r, int parent, int depth) {
    if (depth >= MAX_DEPTH) return 0;
    r->p++;
    skip_spaces(r);
    if (*r->p == '}') {
        r->p++;
        return 1;
    }
    for (;;) {
        skip_spaces(r);
        if (*r->p != '"') return 0;
        const uint8_t *name = r->p + 1, *end = past_plain(name, r->end);
        if (*end == '"') r->p = end + 1;
        else if (parent != -2 || !skip_string(r)) return 0; /* a wanted name may be written with escapes */
        int64_t length = end - name;
        int64_t index = column_of(r, name, length, parent);
        skip_spaces(r);
        if (*r->p++ != ':') return 0;
        skip_spaces(r);
        if (!(index < 0 ? skip_value(r, depth) : read_value(r, index, depth))) return 0;
        skip_spaces(r);
        if (*r->p == '}') break;
        if (*r->p++ != ',') return 0;
    }
    r->p++;
    return 1;
}

int64_t lurker_count_lines(const uint8_t *data, int64_t n_bytes) {
    int64_t n = 0;
    while (n_bytes > 0) { /* at most 255 of each place at a time, so that counts of a byte do: a loop for vectors */
        uint8_t counts[N_COUNTS] = {0};
        int64_t n_rounds = n_bytes / N_COUNTS < 255 ? n_bytes / N_COUNTS : 255;
        for (int64_t round = 0; round < n_rounds; round++, data += N_COUNTS) {
            for (int i = 0; i < N_COUNTS; i++) counts[i] = (uint8_t)(counts[i] + (data[i] == '\n'));
        }
        for (int i = 0; i < N_COUNTS; i++) n += counts[i];
        n_bytes -= n_rounds * N_COUNTS;
        for (; n_bytes > 0 && n_bytes < N_COUNTS; n_bytes--) n += *data++ == '\n';
    }
    return n;
}

/* Read whole lines, each ending in a newline; the number of rows.
 *
 * odd: start, end and number (from 0) of each line that is left to the caller, three integers; n_odd: how many.
 * Blank lines are passed over. Columns, `odd` and `texts` have room for all lines.
 */
int64_t lurker_read_lines(
    const uint8_t *data, int64_t n_bytes, const column *columns, int64_t n_columns, uint8_t *texts,
    int64_t *n_text_bytes, int64_t *odd, int64_t *n_odd) {
    reader r = {.columns = columns, .n_columns = n_columns, .texts = texts};
    memset(r.slots, -1, sizeof r.slots);
    for (int64_t i = 0; i < n_columns; i++) {
        uint8_t slot = hash_of((const uint8_t *)columns[i].name, columns[i].length);
        r.next[i] = r.slots[slot];
        r.slots[slot] = (int8_t)i;
    }
    *n_odd = 0;
    int64_t number = 0;
    for (const uint8_t *line = data; line < data + n_bytes; line = r.end + 1, number++) {
        r.end = memchr(line, '\n', (size_t)(data + n_bytes - line));
        if (!r.end) break;
        r.p = line;
        skip_spaces(&r);
        if (r.p == r.end) continue;
        int64_t n_before = r.n_text_bytes;
        int is_read = *r.p == '{' && lurker_is_utf8(r.p, r.end) && read_object(&r, -1, 0);
        if (is_read) skip_spaces(&r);
        if (is_read && r.p == r.end) {
            r.row++;
            continue;
        }
        for (int64_t i = 0; i < n_columns; i++) forget(columns + i, r.row);
        r.n_text_bytes = n_before;
        int64_t *place = odd + 3 * (*n_odd)++;
        place[0] = line - data;
        place[1] = r.end - data;
        place[2] = number;
    }
    *n_text_bytes = r.n_text_bytes;
    return r.row;
}
