/* Read lines of JSON objects into Arrow columns of chosen fields.
 *
 * Every line is checked in full against RFC 8259 and RFC 3629. A line is left to the caller if it is not a JSON object,
 * if a chosen field holds a value that its column does not expect, or if it holds a chosen field twice: DuckDB decides
 * what such a line means. Nothing here calls Python, so threads read blocks in parallel.
 *
 * Source: RFC 8259 (JSON), RFC 3629 (UTF-8).
 */

#include "json_lines.h"

#include <stdlib.h>

#include "bytes.h"

#ifndef LURKER_SOURCE_HASH
#error "build with `python -m ingest.native.build`, which defines LURKER_SOURCE_HASH"
#endif

#define MAX_COLUMNS 64
#define MAX_DEPTH 64
#define N_COUNTS 64
#define IGNORED (-2) /* the parent of fields that no column holds */

#define LINE(name) #name "\n"
const char *const lurker_source_hash = LURKER_SOURCE_HASH;
const char *const lurker_kinds = KINDS(LINE);
const int64_t lurker_column_bytes = sizeof(column);

typedef struct {
    const column *columns;
    int64_t n_columns;
    const uint8_t *p, *end; /* the current position, and the newline of this line */
    int64_t row;
    uint64_t seen;  /* one bit per column: whether this line has had a value for it */
    uint8_t *texts; /* as many bytes as all lines have: no text is longer than its JSON */
    int64_t n_text_bytes;
    int8_t slots[256];        /* hash of a field's name -> a column, -1: none */
    int8_t next[MAX_COLUMNS]; /* the next column with the same hash */
} reader;

static inline uint8_t hash_of(const uint8_t *name, int64_t length) {
    return (uint8_t)(length * 131 + name[0] * 7 + name[length - 1] * 31 + name[length / 2]);
}

static inline void skip_spaces(reader *r) {
    while (*r->p == ' ' || *r->p == '\t' || *r->p == '\r') r->p++;
}

static inline int is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* The next quote, backslash or control character. The newline at `end` stops the search. */
static inline const uint8_t *past_plain(const uint8_t *p, const uint8_t *end) {
    for (; p + N_TOGETHER <= end; p += N_TOGETHER) {
        bytes x = load(p), stops = either(either(equal(x, '"'), equal(x, '\\')), controls(x));
        if (is_any(stops)) return p + first(stops);
    }
    while (*p != '"' && *p != '\\' && *p >= 0x20) p++;
    return p;
}

/* Skip a string and check its escapes. Returns 0 if it is not valid. */
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

/* Make the value null. The view is cleared too, since its text may be overwritten. */
static void set_null(const column *c, int64_t row) {
    if (c->kind == TEXT || c->kind == LOOSE) memset(c->values + 16 * row, 0, 16);
    clear_bit(c->valid, row);
}

/* Make the `length` bytes at the end of the texts the row's value. */
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
        if (*p != '\\' || !(out = lurker_decode_escape(&p, r->end, out))) return 0;
    }
    r->p = p + 1;
    keep_text(r, c, out - start);
    return 1;
}

/* Skip a number; is_whole: it has neither a fraction nor an exponent. Returns 0 if it is not valid. */
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

static int64_t parse_whole(const uint8_t *p, const uint8_t *end) {
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

/* Whether DuckDB writes the number as a text in the same characters: digits, or digits and ".0". */
static int is_plain(const uint8_t *start, int64_t n_digits, int is_whole) {
    if (*start == '-') return 0;
    if (is_whole) return n_digits <= 18;
    n_digits -= 2;
    if (n_digits < 1 || n_digits > 15 || start[n_digits] != '.' || start[n_digits + 1] != '0') return 0;
    return 1;
}

/* Read a number as the column's type. Returns 0 for numbers that may be read differently by other parsers. */
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
        if (!is_plain(start, n_digits, is_whole)) return 0;
        memcpy(r->texts + r->n_text_bytes, start, (size_t)n_digits);
        keep_text(r, c, n_digits);
        return 1;
    }
    if (c->kind == WHOLE) {
        if (!is_whole || n_digits > 18) return 0;
        ((int64_t *)(void *)c->values)[r->row] = parse_whole(start, stop);
    } else if (is_whole) {
        if (n_digits > 15) return 0;
        ((double *)(void *)c->values)[r->row] = (double)parse_whole(start, stop);
    } else {
        char digits[40], *stopped;
        if (n_digits >= (int64_t)sizeof digits) return 0;
        memcpy(digits, start, (size_t)n_digits);
        digits[n_digits] = 0;
        ((double *)(void *)c->values)[r->row] = strtod(digits, &stopped);
        if (stopped != digits + n_digits) return 0; /* this locale has another decimal point */
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
    case '{': return read_object(r, IGNORED, depth + 1);
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
    if (r->seen >> index & 1) return 0;
    r->seen |= 1ULL << index;
    if (*r->p == 'n') return c->kind == OBJECT ? 0 : skip_word(r, "null", 4);
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
    if (length <= 0 || parent == IGNORED) return -1;
    for (int64_t i = r->slots[hash_of(name, length)]; i >= 0; i = r->next[i]) {
        const column *c = r->columns + i;
        if (c->length == length && c->parent == parent && is_same(c->name, name, length)) return i;
    }
    return -1;
}

/* Read an object. parent: the column it belongs to, -1 for the line itself, or IGNORED. Returns 0 if it is not valid. */
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
        else if (parent != IGNORED || !skip_string(r)) return 0; /* a chosen name may be written with escapes */
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
    while (n_bytes > 0) { /* at most 255 rounds at a time, so that each count fits into a byte */
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

/* Read complete lines, each ending in a newline. Returns the number of rows, or -1 if there are too many columns.
 *
 * Blank lines are skipped. Columns and `odd` have room for all lines; bitmaps of `columns` are zero.
 * n_text_bytes: set to the number of bytes written to `texts`.
 * odd: start, end and number (from 0) of each line that is left to the caller, three integers per line.
 * n_odd: set to the number of such lines.
 */
int64_t lurker_read_lines(
    const uint8_t *data, int64_t n_bytes, const column *columns, int64_t n_columns, uint8_t *texts,
    int64_t *n_text_bytes, int64_t *odd, int64_t *n_odd) {
    reader r = {.columns = columns, .n_columns = n_columns, .texts = texts};
    if (n_columns > MAX_COLUMNS) return -1;
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
        r.seen = 0;
        int is_read = *r.p == '{' && lurker_is_utf8(r.p, r.end) && read_object(&r, -1, 0);
        if (is_read) skip_spaces(&r);
        if (is_read && r.p == r.end) {
            r.row++;
            continue;
        }
        for (int64_t i = 0; i < n_columns; i++) set_null(columns + i, r.row);
        r.n_text_bytes = n_before;
        int64_t *one = odd + 3 * (*n_odd)++;
        one[0] = line - data;
        one[1] = r.end - data;
        one[2] = number;
    }
    *n_text_bytes = r.n_text_bytes;
    return r.row;
}
