/* The order of rows by several columns: texts by their bytes, whole numbers by size.
 *
 * The first column is the subreddit in any case. What sorts is a number of 8 bytes a row, the place of the subreddit
 * among all and the first bytes of the second column; only rows alike in it are looked at again.
 *
 * Source: Knuth, The Art of Computer Programming 3, 5.2.4 (natural merge sort).
 */

#include "json_lines.h"

#include <stdlib.h>

#define MAX_SUBREDDITS 65536
#define PREFIX_BYTES 6

typedef struct {
    const uint8_t *values;         /* views of 16 bytes, or int64 where there are no buffers */
    const uint8_t *const *buffers; /* where longer texts stand */
} key;

typedef struct {
    uint64_t prefix;
    uint64_t row;
} entry;

typedef struct {
    const key *keys;
    int64_t n_keys;
} order;

static inline text text_in(const key *k, uint64_t row) {
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

/* Whether row a comes after row b, of which the prefixes are alike. */
static int is_behind(const order *o, uint64_t a, uint64_t b) {
    for (int64_t i = 1; i < o->n_keys; i++) {
        const key *k = o->keys + i;
        if (k->buffers) {
            int found = compared(text_in(k, a), text_in(k, b));
            if (found) return found > 0;
        } else {
            int64_t left, right;
            memcpy(&left, k->values + 8 * a, 8);
            memcpy(&right, k->values + 8 * b, 8);
            if (left != right) return left > right;
        }
    }
    return 0;
}

static inline int is_after(const order *o, entry a, entry b) {
    return a.prefix != b.prefix ? a.prefix > b.prefix : is_behind(o, a.row, b.row);
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

/* Sort by merging runs that are there; ends: room for one more than there are entries. Where the result is. */
static entry *sort(const order *o, entry *in, entry *out, int64_t *ends, int64_t n, int *was_sorted) {
    int64_t n_runs = 0;
    for (int64_t i = 1; i <= n; i++) {
        if (i == n || is_after(o, in[i - 1], in[i])) ends[n_runs++] = i;
    }
    *was_sorted = n_runs < 2;
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
        subreddit one = {text_in(k, (uint64_t)row), 0};
        if (one.name.length != before.length || memcmp(one.name.p, before.p, (size_t)before.length)) {
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

/* The numbers of the rows in their order; the keys are the subreddit, a text, and others.
 *
 * 0: they were sorted, 1: they are in order as they are, -1: another way must be found, see `number_subreddits`, or there is no memory.
 */
int64_t lurker_order(const key *keys, int64_t n_keys, int64_t n_rows, uint32_t *rows) {
    order o = {keys, n_keys};
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
        for (int64_t row = 0; row < n_rows; row++) {
            text t = text_in(keys + 1, (uint64_t)row);
            uint64_t prefix = numbers[row];
            for (int64_t i = 0; i < PREFIX_BYTES; i++) prefix = prefix << 8 | (i < t.length ? t.p[i] : 0);
            in[row] = (entry){prefix, (uint64_t)row};
        }
        const entry *sorted = sort(&o, in, out, ends, n_rows, &was_sorted);
        for (int64_t row = 0; row < n_rows; row++) rows[row] = (uint32_t)sorted[row].row;
    }
    free(in);
    free(out);
    free(ends);
    free(numbers);
    free(found);
    free(slots);
    return is_done ? was_sorted : -1;
}
