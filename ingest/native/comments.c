/* Rows of the table comments from what the reader found, for comments that are as dumps have them.
 *
 * A row that is anything else, and one whose fields hold what is not foreseen here, is left: `ingest.normalize` then
 * decides, and it gives the same for rows that are taken here. Texts of results are put behind those of the lines.
 */

#include "json_lines.h"

#define MAX_NAME 128
#define N_SEEN 4096 /* authors that are remembered: those of one thread come again and again */

typedef struct { /* a set of short texts: those of `texts`, the i-th from ends[i - 1] to ends[i], by their hash */
    const uint8_t *texts;
    const int64_t *ends;
    int32_t *slots; /* number of a text, -1: none */
    int64_t n_slots; /* a power of two, more than there are texts; 0: the set is empty */
} names;

typedef struct { /* as ingest.normalize.RowFilters */
    int64_t since_utc, until_utc, min_score; /* the least and largest integer where there is no limit */
    int64_t needs_score, keep_nsfw, keep_profiles, keep_mentions;
    names subreddits, bots; /* in lower case */
} filters;

enum fate { KEPT, LEFT, OTHER_SUBREDDIT, PROFILE, TOO_EARLY, TOO_LATE, LOW_SCORE, BOT, NSFW, N_FATES };

typedef struct {
    const column *id, *subreddit, *author, *created_utc, *score, *ups, *downs, *retrieved_on, *retrieved_utc;
    const column *retrieved_2nd_on, *was_deleted_later, *edited, *over_18, *stickied, *distinguished;
    const column *link_id, *parent_id, *body, *score_hidden, *is_submitter;
} fields;

typedef struct {
    column *comment_id, *post_id, *parent_id, *is_top_level, *subreddit, *body, *author_hash, *created_utc, *score;
    column *is_score_hidden, *is_edited, *is_deleted, *is_stickied, *is_distinguished, *is_by_op, *retrieved_utc;
} table;

typedef struct {
    fields in;
    table out;
    const filters *wanted;
    uint8_t *texts;
    int64_t n_text_bytes, n_text_room;
    blake2b salt;
    int32_t seen_row[N_SEEN], seen_out[N_SEEN]; /* where a name of that hash stood last, and its digest; -1: nowhere */
} normaliser;

static inline int has(const column *c, int64_t row) { return has_bit(c->valid, row); }
static inline int is_true(const column *c, int64_t row) { return has(c, row) && has_bit(c->values, row); }
static inline int64_t whole(const column *c, int64_t row) { return ((const int64_t *)(const void *)c->values)[row]; }
static inline double real(const column *c, int64_t row) { return ((const double *)(const void *)c->values)[row]; }
static inline text text_at(const normaliser *n, const column *c, int64_t row) {
    return text_of(c->values + 16 * row, n->texts);
}

static text name_at(const names *set, int64_t i) {
    int64_t start = i ? set->ends[i - 1] : 0;
    return (text){set->texts + start, set->ends[i] - start};
}

/* Put the n texts into the slots of a set. */
void lurker_fill_names(const names *set, int64_t n) {
    memset(set->slots, -1, (size_t)set->n_slots * sizeof *set->slots);
    for (int64_t i = 0; i < n; i++) {
        uint32_t slot = hash_of_name(name_at(set, i));
        while (set->slots[slot & (set->n_slots - 1)] >= 0) slot++;
        set->slots[slot & (set->n_slots - 1)] = (int32_t)i;
    }
}

/* Whether the set has the text, of ASCII, in lower case. */
static int is_among(const names *set, text t, uint32_t hash) {
    for (; set->n_slots; hash++) {
        int64_t i = set->slots[hash & (set->n_slots - 1)];
        if (i < 0) return 0;
        text name = name_at(set, i);
        int64_t n_same = 0;
        if (name.length != t.length) continue;
        while (n_same < t.length && lower(t.p[n_same]) == name.p[n_same]) n_same++;
        if (n_same == t.length) return 1;
    }
    return 0;
}

static int is_short_ascii(text t) {
    uint8_t all = 0;
    for (int64_t i = 0; i < t.length; i++) all |= t.p[i];
    return t.length <= MAX_NAME && all < 0x80;
}

static int is_subreddit(text t) {
    if (t.length < 1 || t.length > 64 || !is_word(t.p[0])) return 0;
    for (int64_t i = 1; i < t.length; i++) {
        if (!is_word(t.p[i]) && t.p[i] != '.' && t.p[i] != '-') return 0;
    }
    return 1;
}

/* The text as `normalize.clean_text` makes it: itself, or behind the other texts. */
static text cleaned(normaliser *n, text t) {
    if (!lurker_may_be_unclean(t)) return t;
    uint8_t *out = n->texts + n->n_text_bytes;
    int64_t length = lurker_clean(t, out, n->wanted->keep_mentions);
    n->n_text_bytes += length;
    return (text){out, length};
}

/* Whether the row is a comment of which all is sure; when it was seen (-1: unknown) comes along. */
static int is_ordinary(const normaliser *n, int64_t row, int64_t *retrieved) {
    const fields *in = &n->in;
    if (!has(in->body, row) || !has(in->link_id, row) || !has(in->parent_id, row) || !has(in->id, row)) return 0;
    if (!has(in->subreddit, row) || !has(in->created_utc, row)) return 0;
    text id = text_at(n, in->id, row), link = text_at(n, in->link_id, row), parent = text_at(n, in->parent_id, row);
    if (!id.length || begins(id, "t1_", 3) || begins(id, "t3_", 3)) return 0;
    if (!begins(link, "t3_", 3) || begins(link, "t3_t1_", 6) || begins(link, "t3_t3_", 6)) return 0;
    if (!begins(parent, "t1_", 3) && !begins(parent, "t3_", 3)) return 0;
    if (!is_subreddit(text_at(n, in->subreddit, row))) return 0;
    if (has(in->author, row) && !is_short_ascii(text_at(n, in->author, row))) return 0;
    double created = real(in->created_utc, row);
    if (!(created >= 0 && created <= (double)(1LL << 40))) return 0;
    *retrieved = -1;
    const column *times[] = {in->retrieved_on, in->retrieved_utc, in->retrieved_2nd_on};
    for (int i = 0; i < 3; i++) {
        if (!has(times[i], row)) continue;
        double time = real(times[i], row);
        if (!(time >= 0 && time <= (double)(1LL << 40))) return 0;
        if ((int64_t)time > *retrieved) *retrieved = (int64_t)time;
    }
    return 3 * text_at(n, in->body, row).length + 32 <= n->n_text_room - n->n_text_bytes;
}

static int has_score(const fields *in, int64_t row) { return has(in->score, row) || has(in->ups, row); }

static int64_t score_of(const fields *in, int64_t row) {
    if (has(in->score, row)) return whole(in->score, row);
    return whole(in->ups, row) - (has(in->downs, row) ? whole(in->downs, row) : 0);
}

/* Why an ordinary row is dropped, the first reason that applies, as `normalize.drop_reason`. */
static enum fate fate_of(const normaliser *n, int64_t row) {
    const filters *wanted = n->wanted;
    const fields *in = &n->in;
    text subreddit = text_at(n, in->subreddit, row);
    int64_t created = (int64_t)real(in->created_utc, row);
    if (wanted->subreddits.n_slots) {
        if (!is_among(&wanted->subreddits, subreddit, hash_of_name(subreddit))) return OTHER_SUBREDDIT;
    } else if (!wanted->keep_profiles && subreddit.length > 1 && lower(subreddit.p[0]) == 'u' &&
               subreddit.p[1] == '_') {
        return PROFILE;
    }
    if (created < wanted->since_utc) return TOO_EARLY;
    if (created >= wanted->until_utc) return TOO_LATE;
    if (wanted->needs_score && !(has_score(in, row) && score_of(in, row) >= wanted->min_score)) return LOW_SCORE;
    text author = has(in->author, row) ? text_at(n, in->author, row) : (text){NULL, 0};
    if (author.length && is_among(&wanted->bots, author, hash_of_name(author))) return BOT;
    return !wanted->keep_nsfw && is_true(in->over_18, row) ? NSFW : KEPT;
}

static void put_text(const normaliser *n, const column *c, int64_t i, text t) {
    put_view(c->values + 16 * i, t.p, t.length, n->texts);
}

static void put_whole(const column *c, int64_t i, int64_t value, int is_known) {
    ((int64_t *)(void *)c->values)[i] = is_known ? value : 0;
    if (c->valid && is_known) set_bit(c->valid, i);
}

static void put_flag(const column *c, int64_t i, int is_set) {
    if (is_set) set_bit(c->values, i);
}

/* The subreddit's name; of rows that follow each other it stands in one place. */
static void put_subreddit(const normaliser *n, int64_t row, int64_t i) {
    uint8_t *view = n->out.subreddit->values + 16 * i;
    text name = text_at(n, n->in.subreddit, row);
    if (i && is_equal(name, text_of(view - 16, n->texts))) memcpy(view, view - 16, 16);
    else put_view(view, name.p, name.length, n->texts);
}

/* The digest of the author's name as 16 hexadecimal digits; a name that was hashed just now is not hashed again. */
static void put_author(normaliser *n, int64_t row, int64_t i) {
    const column *author = n->in.author, *out = n->out.author_hash;
    uint8_t *view = out->values + 16 * i;
    text name = has(author, row) ? text_at(n, author, row) : (text){NULL, 0};
    if (!name.length || is(name, "[deleted]") || is(name, "[removed]")) {
        memset(view, 0, 16);
        return;
    }
    set_bit(out->valid, i);
    uint32_t slot = hash_of_name(name) & (N_SEEN - 1);
    if (n->seen_row[slot] >= 0) {
        text seen = text_at(n, author, n->seen_row[slot]);
        if (is_equal(seen, name)) {
            memcpy(view, out->values + 16 * (int64_t)n->seen_out[slot], 16);
            return;
        }
    }
    uint64_t digest = lurker_blake2b_of(&n->salt, name.p, name.length);
    uint8_t *hex = n->texts + n->n_text_bytes;
    for (int k = 0; k < 16; k++) hex[k] = (uint8_t)"0123456789abcdef"[digest >> (8 * (k >> 1) + (k & 1 ? 0 : 4)) & 15];
    n->n_text_bytes += 16;
    put_view(view, hex, 16, n->texts);
    n->seen_row[slot] = (int32_t)row;
    n->seen_out[slot] = (int32_t)i;
}

/* The raw row becomes row i of the table. */
static void put_comment(normaliser *n, int64_t row, int64_t i, int64_t retrieved) {
    const fields *in = &n->in;
    const table *out = &n->out;
    text post = without(text_at(n, in->link_id, row), 3), parent = text_at(n, in->parent_id, row);
    text body = text_at(n, in->body, row), above = without(parent, 3);
    put_text(n, out->comment_id, i, text_at(n, in->id, row));
    put_text(n, out->post_id, i, post);
    put_text(n, out->parent_id, i, above);
    put_flag(out->is_top_level, i, begins(parent, "t3_", 3) && is_equal(above, post));
    put_subreddit(n, row, i);
    int is_gone = lurker_is_removed(body) || !body.length || is_true(in->was_deleted_later, row);
    put_text(n, out->body, i, cleaned(n, body));
    put_author(n, row, i);
    put_whole(out->created_utc, i, (int64_t)real(in->created_utc, row), 1);
    int is_scored = has_score(in, row);
    put_whole(out->score, i, is_scored ? score_of(in, row) : 0, is_scored);
    put_flag(out->is_score_hidden, i, is_true(in->score_hidden, row));
    text edited = has(in->edited, row) ? text_at(n, in->edited, row) : (text){NULL, 0};
    put_flag(out->is_edited, i, edited.length && !is(edited, "false") && !is(edited, "0") && !is(edited, "0.0"));
    put_flag(out->is_deleted, i, is_gone);
    put_flag(out->is_stickied, i, is_true(in->stickied, row));
    text as = has(in->distinguished, row) ? text_at(n, in->distinguished, row) : (text){NULL, 0};
    put_flag(out->is_distinguished, i, as.length && (is(as, "moderator") || is(as, "admin") || is(as, "special")));
    if (has(in->is_submitter, row)) {
        set_bit(out->is_by_op->valid, i);
        put_flag(out->is_by_op, i, is_true(in->is_submitter, row));
    }
    put_whole(out->retrieved_utc, i, retrieved, retrieved >= 0);
}

/* Go through the raw rows; the number of comments that were put into the table.
 *
 * in, out: pointers to columns in the order of `fields` and `table`. n_text_bytes: how many of the n_text_room bytes of
 * `texts` are taken. left: the numbers of the rows that are left to the caller. counts: rows of each fate.
 */
int64_t lurker_comments(
    const fields *in, const table *out, const filters *wanted, int64_t n_rows, uint8_t *texts, int64_t n_text_room,
    int64_t *n_text_bytes, const uint8_t *salt, int64_t n_salt_bytes, int64_t *left, int64_t *counts) {
    normaliser n = {.in = *in, .out = *out, .wanted = wanted, .texts = texts};
    n.n_text_bytes = *n_text_bytes;
    n.n_text_room = n_text_room;
    n.salt = lurker_blake2b_keyed(salt, n_salt_bytes);
    memset(n.seen_row, -1, sizeof n.seen_row);
    memset(counts, 0, N_FATES * sizeof *counts);
    for (int64_t row = 0; row < n_rows; row++) {
        int64_t retrieved;
        enum fate fate = is_ordinary(&n, row, &retrieved) ? fate_of(&n, row) : LEFT;
        if (fate == KEPT) put_comment(&n, row, counts[KEPT], retrieved);
        if (fate == LEFT) left[counts[LEFT]] = row;
        counts[fate]++;
    }
    *n_text_bytes = n.n_text_bytes;
    return counts[KEPT];
}
