/* The order of rows by several columns: texts by their bytes, whole numbers by size.
 *
 * The first column is the subreddit in any case. What sorts are two numbers a row: the place of the subreddit among all
 * with the beginning of the second column, then the third where it is a time. Reddit's ids are whole in the first; only
 * rows alike in both are looked at again.
 *
 * Source: Knuth, The Art of Computer Programming 3, 5.2.4 (natural merge sort), 5.2.5 (radix list sort).
 */

#include "json_lines.h"

#include <stdlib.h>

#define MAX_SUBREDDITS 65536
#define PREFIX_BYTES 6
#define ID_CHARACTERS 8 /* of 6 bits each */
#define MANY_RUNS 64

typedef struct {
    const uint8_t *values;         /* views of 16 bytes, or int64 where there are no buffers */
    const uint8_t *const *buffers; /* where longer texts stand */
} key;

typedef struct {
    uint64_t prefix;
    uint32_t time; /* 0 where the third column is none */
    uint32_t row;
} entry;

typedef struct {
    const key *keys;
    int64_t n_keys;
    int64_t n_settled; /* so many keys are whole in an entry */
} order;

static inline text text_in(const key *k, int64_t row) {
    const uint8_t *view = k->values + 16 * row;
    int32_t length, place[2];
    memcpy(&length, view, 4);
    memcpy(place, view + 8, 8);
    return (text){length <= 12 ? view + 4 : k->buffers[place[0]] + place[1], length};
}

static int compared(text a, text b) {
    int64_t shorter = a.length < b.length ? a.length : b.length;
    int found = memcmp(a.p, b.p, (size_t)shorter);
    return found ? found : (a.length > b.length) - (a.length < b.length);
}

static inline int64_t whole_in(const key *k, int64_t row) {
    int64_t value;
    memcpy(&value, k->values + 8 * row, 8);
    return value;
}

/* Whether row a comes after row b, of which the entries are alike. */
static int is_behind(const order *o, int64_t a, int64_t b) {
    for (int64_t i = o->n_settled; i < o->n_keys; i++) {
        const key *k = o->keys + i;
        if (k->buffers) {
            int found = compared(text_in(k, a), text_in(k, b));
            if (found) return found > 0;
        } else {
            int64_t left = whole_in(k, a), right = whole_in(k, b);
            if (left != right) return left > right;
        }
    }
    return 0;
}

static inline int is_after(const order *o, entry a, entry b) {
    if (a.prefix != b.prefix) return a.prefix > b.prefix;
    return a.time != b.time ? a.time > b.time : is_behind(o, a.row, b.row);
}

/* Merge [start, middle) and [middle, end), each in order, into `out`. */
static void merge(const order *o, const entry *in, entry *out, int64_t start, int64_t middle, int64_t end) {
    int64_t i = start, j = middle, k = start;
    if (middle < end && is_after(o, in[middle - 1], in[middle])) {
        while (i < middle && j < end) out[k++] = is_after(o, in[i], in[j]) ? in[j++] : in[i++];
    }
    memcpy(out + k, in + i, (size_t)(middle - i) * sizeof *in);
    k += middle - i;
    memcpy(out + k, in + j, (size_t)(end - j) * sizeof *in);
}

/* Where runs in order end; their number. ends: room for one more than there are entries. */
static int64_t find_runs(const order *o, const entry *in, int64_t *ends, int64_t n) {
    int64_t n_runs = 0;
    for (int64_t i = 1; i <= n; i++) {
        if (i == n || is_after(o, in[i - 1], in[i])) ends[n_runs++] = i;
    }
    return n_runs;
}

/* Distribute by one byte of the prefix after another, the last first; where the result is. */
static entry *sort_by_prefix(entry *in, entry *out, int64_t n) {
    int64_t counts[sizeof in->prefix][256] = {{0}};
    for (int64_t i = 0; i < n; i++) {
        for (size_t byte = 0; byte < sizeof in->prefix; byte++) counts[byte][in[i].prefix >> 8 * byte & 255]++;
    }
    for (size_t byte = 0; byte < sizeof in->prefix; byte++) {
        int64_t *places = counts[byte], place = 0;
        if (places[in[0].prefix >> 8 * byte & 255] == n) continue; /* alike in all */
        for (int value = 0; value < 256; value++) {
            int64_t count = places[value];
            places[value] = place;
            place += count;
        }
        for (int64_t i = 0; i < n; i++) out[places[in[i].prefix >> 8 * byte & 255]++] = in[i];
        entry *free_now = in;
        in = out;
        out = free_now;
    }
    return in;
}

/* Sort by merging runs that are there, of which there are few once the prefixes are in order; where the result is. */
static entry *sort(const order *o, entry *in, entry *out, int64_t *ends, int64_t n, int *was_sorted) {
    int64_t n_runs = find_runs(o, in, ends, n);
    *was_sorted = n_runs < 2;
    if (n_runs > MANY_RUNS) {
        entry *sorted = sort_by_prefix(in, out, n);
        out = sorted == in ? out : in;
        in = sorted;
        n_runs = find_runs(o, in, ends, n);
    }
    while (n_runs > 1) {
        int64_t n_longer = 0, start = 0;
        for (int64_t run = 0; run < n_runs; run += 2) {
            int64_t end = ends[run + 1 < n_runs ? run + 1 : run];
            merge(o, in, out, start, ends[run], end);
            ends[n_longer++] = start = end; /* in place of a run that is read already */
        }
        n_runs = n_longer;
        entry *free_now = in;
        in = out;
        out = free_now;
    }
    return in;
}

typedef struct {
    text name;
    int64_t number;
} subreddit;

static int by_name(const void *left, const void *right) {
    const text a = ((const subreddit *)left)->name, b = ((const subreddit *)right)->name;
    for (int64_t i = 0; i < a.length && i < b.length; i++) {
        if (lower(a.p[i]) != lower(b.p[i])) return lower(a.p[i]) > lower(b.p[i]) ? 1 : -1;
    }
    return (a.length > b.length) - (a.length < b.length);
}

/* The subreddit of each row as a number in the order of the names; -1: there are too many, or one is not of ASCII. */
static int number_subreddits(const key *k, int64_t n_rows, uint16_t *numbers, subreddit *found, int32_t *slots) {
    int32_t n_found = 0, last = -1, place_of;
    text before = {NULL, -1};
    memset(slots, -1, 2 * MAX_SUBREDDITS * sizeof *slots);
    for (int64_t row = 0; row < n_rows; row++) {
        subreddit one = {text_in(k, row), 0};
        if (!is_equal(one.name, before)) {
            for (int64_t i = 0; i < one.name.length; i++) {
                if (one.name.p[i] >= 0x80) return -1;
            }
            uint32_t slot = hash_of_name(one.name);
            while ((place_of = slots[slot % (2 * MAX_SUBREDDITS)]) >= 0 && by_name(&found[place_of], &one)) slot++;
            if (place_of < 0) {
                if (n_found == MAX_SUBREDDITS) return -1;
                one.number = slots[slot % (2 * MAX_SUBREDDITS)] = place_of = n_found++;
                found[place_of] = one;
            }
            last = place_of;
            before = one.name;
        }
        numbers[row] = (uint16_t)last;
    }
    qsort(found, (size_t)n_found, sizeof *found, by_name);
    for (int32_t i = 0; i < n_found; i++) slots[found[i].number] = i;
    for (int64_t row = 0; row < n_rows; row++) numbers[row] = (uint16_t)slots[numbers[row]];
    return 0;
}

/* An id of Reddit's, of digits and small letters, as a number in the order of such texts; -1: it is something else. */
static int64_t number_of_id(text t) {
    int64_t number = 0;
    if (t.length > ID_CHARACTERS) return -1;
    for (int64_t i = 0; i < t.length; i++) {
        uint8_t c = t.p[i];
        if (c >= '0' && c <= '9') number = number << 6 | (c - '0' + 1);
        else if (c >= 'a' && c <= 'z') number = number << 6 | (c - 'a' + 11);
        else return -1;
    }
    return number << 6 * (ID_CHARACTERS - t.length);
}

/* Fill the entries with numbers of subreddits and ids, and with times; 0: there is something else among them. */
static int fill_with_ids(order *o, const uint16_t *subreddits, entry *out, int64_t n_rows) {
    const key *time = o->n_keys > 2 && !o->keys[2].buffers ? o->keys + 2 : NULL;
    for (int64_t row = 0; row < n_rows; row++) {
        int64_t id = number_of_id(text_in(o->keys + 1, row)), seconds = time ? whole_in(time, row) : 0;
        if (id < 0 || seconds < 0 || seconds > UINT32_MAX) return 0;
        out[row] = (entry){(uint64_t)subreddits[row] << 48 | (uint64_t)id, (uint32_t)seconds, (uint32_t)row};
    }
    o->n_settled = time ? 3 : 2;
    return 1;
}

/* The same of any texts: their first bytes. */
static void fill_with_prefixes(order *o, const uint16_t *subreddits, entry *out, int64_t n_rows) {
    for (int64_t row = 0; row < n_rows; row++) {
        text t = text_in(o->keys + 1, row);
        uint64_t prefix = subreddits[row];
        for (int64_t i = 0; i < PREFIX_BYTES; i++) prefix = prefix << 8 | (i < t.length ? t.p[i] : 0);
        out[row] = (entry){prefix, 0, (uint32_t)row};
    }
    o->n_settled = 1;
}

/* How often a column has each text: of the i-th, the row it is first in and the number of its rows.
 *
 * rows, counts: room for `room` texts, a power of two; slots: for twice as many. The number of texts, -1: there are
 * more.
 */
int64_t lurker_count_texts(const key *k, int64_t n_rows, int64_t room, int64_t *rows, int64_t *counts, int32_t *slots) {
    int64_t n_found = 0, last = -1;
    text before = {NULL, -1};
    memset(slots, -1, 2 * (size_t)room * sizeof *slots);
    for (int64_t row = 0; row < n_rows; row++) {
        text t = text_in(k, row);
        if (!is_equal(t, before)) {
            int64_t slot = hash_of_name(t) & (2 * room - 1);
            while (slots[slot] >= 0 && !is_equal(t, text_in(k, rows[slots[slot]]))) slot = (slot + 1) & (2 * room - 1);
            if (slots[slot] < 0) {
                if (n_found == room) return -1;
                rows[n_found] = row;
                counts[n_found] = 0;
                slots[slot] = (int32_t)n_found++;
            }
            last = slots[slot];
            before = t;
        }
        counts[last]++;
    }
    return n_found;
}

/* The numbers of the rows in their order; the keys are the subreddit, a text, and others.
 *
 * 0: they were sorted, 1: they are in order as they are, -1: another way must be found, see `number_subreddits`, or
 * there is no memory.
 */
int64_t lurker_order(const key *keys, int64_t n_keys, int64_t n_rows, uint32_t *rows) {
    order o = {keys, n_keys, 1};
    size_t n = (size_t)n_rows + 1;
    entry *in = malloc(n * sizeof *in), *out = malloc(n * sizeof *out);
    int64_t *ends = malloc(n * sizeof *ends);
    uint16_t *numbers = malloc(n * sizeof *numbers);
    subreddit *found = malloc(MAX_SUBREDDITS * sizeof *found);
    int32_t *slots = malloc(2 * MAX_SUBREDDITS * sizeof *slots);
    int was_sorted = 0;
    int is_done = in && out && ends && numbers && found && slots &&
                  !number_subreddits(keys, n_rows, numbers, found, slots);
    if (is_done) {
        if (!fill_with_ids(&o, numbers, in, n_rows)) fill_with_prefixes(&o, numbers, in, n_rows);
        const entry *sorted = sort(&o, in, out, ends, n_rows, &was_sorted);
        for (int64_t row = 0; row < n_rows; row++) rows[row] = sorted[row].row;
    }
    free(in);
    free(out);
    free(ends);
    free(numbers);
    free(found);
    free(slots);
    return is_done ? was_sorted : -1;
}
