/* Filter the comments among the rows that were read, and write them as rows of the table comments.
 *
 * A row that is not a comment, or whose fields hold unusual values, is left to `ingest.tables.normalize`, which gives the
 * same result for the rows that are taken here. Bodies and names of authors are copied as they are;
 * `ingest.tables.compiled_comments` cleans and hashes them. Only the lists below define the order of columns, filters and
 * outcomes: Python reads them from the library.
 */

#include "json_lines.h"

#define MAX_AUTHOR_BYTES 128
#define MAX_SUBREDDIT_BYTES 64
#define MAX_TIME 4102444800.0 /* the year 2100, as MAX_TIME of ingest.tables.normalize */

/* name, path of the field in the line, kind */
#define INPUTS(FIELD) \
    FIELD(id, "id", TEXT) \
    FIELD(subreddit, "subreddit", TEXT) \
    FIELD(author, "author", TEXT) \
    FIELD(created_utc, "created_utc", REAL) \
    FIELD(score, "score", WHOLE) \
    FIELD(ups, "ups", WHOLE) \
    FIELD(downs, "downs", WHOLE) \
    FIELD(retrieved_on, "retrieved_on", REAL) \
    FIELD(retrieved_utc, "retrieved_utc", REAL) \
    FIELD(updated_on, "updated_on", REAL) \
    FIELD(updated_utc, "updated_utc", REAL) \
    FIELD(retrieved_2nd_on, "_meta.retrieved_2nd_on", REAL) \
    FIELD(was_deleted_later, "_meta.was_deleted_later", FLAG) \
    FIELD(edited, "edited", LOOSE) \
    FIELD(controversiality, "controversiality", LOOSE) \
    FIELD(over_18, "over_18", FLAG) \
    FIELD(stickied, "stickied", FLAG) \
    FIELD(distinguished, "distinguished", TEXT) \
    FIELD(link_id, "link_id", TEXT) \
    FIELD(parent_id, "parent_id", TEXT) \
    FIELD(body, "body", TEXT) \
    FIELD(score_hidden, "score_hidden", FLAG) \
    FIELD(is_submitter, "is_submitter", FLAG)

/* column of the table (with the author's name instead of its hash), kind, whether it may be null */
#define OUTPUTS(COLUMN) \
    COLUMN(comment_id, TEXT, REQUIRED) \
    COLUMN(post_id, TEXT, REQUIRED) \
    COLUMN(parent_id, TEXT, REQUIRED) \
    COLUMN(is_top_level, FLAG, REQUIRED) \
    COLUMN(subreddit, TEXT, REQUIRED) \
    COLUMN(body, TEXT, REQUIRED) \
    COLUMN(author, TEXT, NULLABLE) \
    COLUMN(created_utc, WHOLE, REQUIRED) \
    COLUMN(score, WHOLE, NULLABLE) \
    COLUMN(is_score_hidden, FLAG, REQUIRED) \
    COLUMN(is_edited, FLAG, REQUIRED) \
    COLUMN(is_deleted, FLAG, REQUIRED) \
    COLUMN(is_stickied, FLAG, REQUIRED) \
    COLUMN(is_distinguished, FLAG, REQUIRED) \
    COLUMN(is_by_op, FLAG, NULLABLE) \
    COLUMN(retrieved_utc, WHOLE, NULLABLE) \
    COLUMN(is_controversial, FLAG, NULLABLE) \
    COLUMN(ups, WHOLE, NULLABLE) \
    COLUMN(downs, WHOLE, NULLABLE) \
    COLUMN(first_retrieved_utc, WHOLE, NULLABLE)

/* integers of ingest.tables.normalize.RowFilters; without a limit, the least or largest integer */
#define FILTERS(FILTER) \
    FILTER(since_utc) \
    FILTER(until_utc) \
    FILTER(min_score) \
    FILTER(needs_score) \
    FILTER(keep_nsfw) \
    FILTER(keep_profiles)

/* name, and the reason that ingest.tables.normalize.drop_reason gives */
#define OUTCOMES(OUTCOME) \
    OUTCOME(KEPT, "kept") \
    OUTCOME(LEFT, "left") \
    OUTCOME(OTHER_SUBREDDIT, "other subreddit") \
    OUTCOME(PROFILE, "a user's profile") \
    OUTCOME(TOO_EARLY, "before --since") \
    OUTCOME(TOO_LATE, "not before --until") \
    OUTCOME(LOW_SCORE, "below --min-score") \
    OUTCOME(BOT, "written by a bot") \
    OUTCOME(NSFW, "nsfw")

#define INPUT_LINE(name, path, kind) path " " #kind "\n"
#define OUTPUT_LINE(name, kind, null) #name " " #kind " " #null "\n"
#define FILTER_LINE(name) #name "\n"
#define OUTCOME_LINE(name, reason) reason "\n"
const char *const lurker_comment_inputs = INPUTS(INPUT_LINE);
const char *const lurker_comment_outputs = OUTPUTS(OUTPUT_LINE);
const char *const lurker_comment_filters = FILTERS(FILTER_LINE);
const char *const lurker_comment_outcomes = OUTCOMES(OUTCOME_LINE);

typedef struct { /* a set of short texts in lower case: the i-th is from ends[i - 1] to ends[i] in `texts` */
    const uint8_t *texts;
    const int64_t *ends;
    int32_t *slots;  /* an open hash table of their numbers; -1: empty */
    int64_t n_slots; /* a power of two, larger than the number of texts; 0: the set is empty */
} name_set;

#define INPUT_MEMBER(name, path, kind) const column *name;
#define OUTPUT_MEMBER(name, kind, null) column *name;
#define FILTER_MEMBER(name) int64_t name;
#define OUTCOME_NAME(name, reason) name,
typedef struct { INPUTS(INPUT_MEMBER) } inputs;
typedef struct { OUTPUTS(OUTPUT_MEMBER) } outputs;
typedef struct { FILTERS(FILTER_MEMBER) } filters;
enum outcome { OUTCOMES(OUTCOME_NAME) N_OUTCOMES };

typedef struct {
    inputs in;
    outputs out;
    const filters *wanted;
    const name_set *subreddits, *bots;
    const uint8_t *texts;
} normaliser;

static inline int has(const column *c, int64_t row) { return has_bit(c->valid, row); }
static inline int is_true(const column *c, int64_t row) { return has(c, row) && has_bit(c->values, row); }
static inline int64_t whole(const column *c, int64_t row) { return ((const int64_t *)(const void *)c->values)[row]; }
static inline double real(const column *c, int64_t row) { return ((const double *)(const void *)c->values)[row]; }
static inline text text_at(const normaliser *n, const column *c, int64_t row) {
    return text_of(c->values + 16 * row, n->texts);
}

static text name_at(const name_set *set, int64_t i) {
    int64_t start = i ? set->ends[i - 1] : 0;
    return (text){set->texts + start, set->ends[i] - start};
}

/* Fill the hash table of a set of n texts. */
void lurker_fill_names(const name_set *set, int64_t n) {
    memset(set->slots, -1, (size_t)set->n_slots * sizeof *set->slots);
    for (int64_t i = 0; i < n; i++) {
        uint32_t slot = hash_of_name(name_at(set, i));
        while (set->slots[slot & (set->n_slots - 1)] >= 0) slot++;
        set->slots[slot & (set->n_slots - 1)] = (int32_t)i;
    }
}

/* Whether the set has an ASCII text, in any case. */
static int is_among(const name_set *set, text t, uint32_t hash) {
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
    return t.length <= MAX_AUTHOR_BYTES && all < 0x80;
}

static int is_subreddit(text t) {
    if (t.length < 1 || t.length > MAX_SUBREDDIT_BYTES || !is_word(t.p[0])) return 0;
    for (int64_t i = 1; i < t.length; i++) {
        if (!is_word(t.p[i]) && t.p[i] != '.' && t.p[i] != '-') return 0;
    }
    return 1;
}

typedef struct {
    int64_t first, last; /* when the text and when the score was seen, seconds since 1970; -1: not known */
    int is_twice;        /* whether the row tells that the item was retrieved again later */
} looks;

/* Whether the row is a comment whose fields all have usual values; seen: when it was retrieved. */
static int is_usual(const normaliser *n, int64_t row, looks *seen) {
    const inputs *in = &n->in;
    if (!has(in->body, row) || !has(in->link_id, row) || !has(in->parent_id, row) || !has(in->id, row)) return 0;
    if (!has(in->subreddit, row) || !has(in->created_utc, row)) return 0;
    text id = text_at(n, in->id, row), link = text_at(n, in->link_id, row), parent = text_at(n, in->parent_id, row);
    if (!id.length || begins(id, "t1_", 3) || begins(id, "t3_", 3)) return 0;
    if (!begins(link, "t3_", 3) || begins(link, "t3_t1_", 6) || begins(link, "t3_t3_", 6)) return 0;
    if (link.length == 3 || parent.length == 3) return 0;
    if (!begins(parent, "t1_", 3) && !begins(parent, "t3_", 3)) return 0;
    if (!is_subreddit(text_at(n, in->subreddit, row))) return 0;
    if (has(in->author, row) && !is_short_ascii(text_at(n, in->author, row))) return 0;
    double created = real(in->created_utc, row);
    if (!(created >= 0 && created <= MAX_TIME)) return 0;
    *seen = (looks){-1, -1, 0};
    const column *times[] = {
        in->retrieved_on, in->retrieved_utc, in->updated_on, in->updated_utc, in->retrieved_2nd_on};
    for (int i = 0; i < 5; i++) {
        if (!has(times[i], row)) continue;
        double time = real(times[i], row);
        if (!(time >= 0 && time <= MAX_TIME)) return 0;
        int64_t seconds = (int64_t)time;
        if (seconds > seen->last) seen->last = seconds;
        if (i < 2 && (seen->first < 0 || seconds < seen->first)) seen->first = seconds;
        if (i >= 2 && seen->first >= 0 && seconds > seen->first) seen->is_twice = 1;
    }
    return 1;
}

static int has_score(const inputs *in, int64_t row) { return has(in->score, row) || has(in->ups, row); }

static int64_t score_of(const inputs *in, int64_t row) {
    if (has(in->score, row)) return whole(in->score, row);
    return whole(in->ups, row) - (has(in->downs, row) ? whole(in->downs, row) : 0);
}

/* Whether a usual row is kept, or the first reason to drop it, as `normalize.drop_reason`. */
static enum outcome outcome_of(const normaliser *n, int64_t row) {
    const filters *wanted = n->wanted;
    const inputs *in = &n->in;
    text subreddit = text_at(n, in->subreddit, row);
    int64_t created = (int64_t)real(in->created_utc, row);
    if (n->subreddits->n_slots) {
        if (!is_among(n->subreddits, subreddit, hash_of_name(subreddit))) return OTHER_SUBREDDIT;
    } else if (!wanted->keep_profiles && subreddit.length > 1 && lower(subreddit.p[0]) == 'u' &&
               subreddit.p[1] == '_') {
        return PROFILE;
    }
    if (created < wanted->since_utc) return TOO_EARLY;
    if (created >= wanted->until_utc) return TOO_LATE;
    if (wanted->needs_score && !(has_score(in, row) && score_of(in, row) >= wanted->min_score)) return LOW_SCORE;
    text author = has(in->author, row) ? text_at(n, in->author, row) : (text){NULL, 0};
    if (author.length && is_among(n->bots, author, hash_of_name(author))) return BOT;
    return !wanted->keep_nsfw && is_true(in->over_18, row) ? NSFW : KEPT;
}

static void put_text(const normaliser *n, const column *c, int64_t i, text t) {
    put_view(c->values + 16 * i, t.p, t.length, n->texts);
}

static void put_whole(const column *c, int64_t i, int64_t value, int is_known) {
    if (!is_known) return; /* memory that nothing is written to costs nothing */
    ((int64_t *)(void *)c->values)[i] = value;
    if (c->valid) set_bit(c->valid, i);
}

static void put_flag(const column *c, int64_t i, int is_set) {
    if (is_set) set_bit(c->values, i);
}

/* Write what `controversiality` says, as `_FLAGS` of ingest.tables.normalize. */
static void put_controversial(const normaliser *n, const column *from, int64_t row, const column *to, int64_t i) {
    if (!has(from, row)) return;
    text t = text_at(n, from, row);
    int is_set = is(t, "1") || is(t, "1.0") || is(t, "true") || is(t, "True");
    if (!is_set && !is(t, "0") && !is(t, "0.0") && !is(t, "false") && !is(t, "False")) return;
    set_bit(to->valid, i);
    put_flag(to, i, is_set);
}

static void copy_text(const column *from, int64_t row, const column *to, int64_t i) {
    memcpy(to->values + 16 * i, from->values + 16 * row, 16);
}

/* Write an input row as row i of the table. */
static void put_comment(const normaliser *n, int64_t row, int64_t i, looks seen) {
    const inputs *in = &n->in;
    const outputs *out = &n->out;
    text post = without(text_at(n, in->link_id, row), 3), parent = text_at(n, in->parent_id, row);
    text above = without(parent, 3);
    copy_text(in->id, row, out->comment_id, i);
    put_text(n, out->post_id, i, post);
    put_text(n, out->parent_id, i, above);
    put_flag(out->is_top_level, i, begins(parent, "t3_", 3) && is_equal(above, post));
    copy_text(in->subreddit, row, out->subreddit, i);
    copy_text(in->body, row, out->body, i);
    if (has(in->author, row)) {
        set_bit(out->author->valid, i);
        copy_text(in->author, row, out->author, i);
    }
    put_whole(out->created_utc, i, (int64_t)real(in->created_utc, row), 1);
    int is_scored = has_score(in, row);
    put_whole(out->score, i, is_scored ? score_of(in, row) : 0, is_scored);
    put_flag(out->is_score_hidden, i, is_true(in->score_hidden, row));
    text edited = has(in->edited, row) ? text_at(n, in->edited, row) : (text){NULL, 0};
    put_flag(out->is_edited, i, edited.length && !is(edited, "false") && !is(edited, "0") && !is(edited, "0.0"));
    put_flag(out->is_deleted, i, !text_at(n, in->body, row).length || is_true(in->was_deleted_later, row));
    put_flag(out->is_stickied, i, is_true(in->stickied, row));
    text role = has(in->distinguished, row) ? text_at(n, in->distinguished, row) : (text){NULL, 0};
    put_flag(out->is_distinguished, i, is(role, "moderator") || is(role, "admin") || is(role, "special"));
    if (has(in->is_submitter, row)) {
        set_bit(out->is_by_op->valid, i);
        put_flag(out->is_by_op, i, is_true(in->is_submitter, row));
    }
    put_whole(out->retrieved_utc, i, seen.last, seen.last >= 0);
    put_whole(out->first_retrieved_utc, i, seen.first, seen.is_twice);
    put_controversial(n, in->controversiality, row, out->is_controversial, i);
    int are_told = has(in->ups, row) && has(in->downs, row) && whole(in->downs, row) > 0 && whole(in->ups, row) >= 0;
    put_whole(out->ups, i, are_told ? whole(in->ups, row) : 0, are_told);
    put_whole(out->downs, i, are_told ? whole(in->downs, row) : 0, are_told);
}

/* Filter the input rows and write the comments among them. Returns the number of comments.
 *
 * texts: the texts of the input, which those of the output share. Bitmaps of `out` are zero, and so are texts and
 * integers of the output that may be null. left: set to the numbers of the rows that are left to the caller. counts: set to the number
 * of rows per outcome.
 */
int64_t lurker_comments(
    const inputs *in, const outputs *out, const filters *wanted, const name_set *subreddits, const name_set *bots,
    int64_t n_rows, const uint8_t *texts, int64_t *left, int64_t *counts) {
    normaliser n = {.in = *in, .out = *out, .wanted = wanted, .subreddits = subreddits, .bots = bots, .texts = texts};
    memset(counts, 0, N_OUTCOMES * sizeof *counts);
    for (int64_t row = 0; row < n_rows; row++) {
        looks seen;
        enum outcome outcome = is_usual(&n, row, &seen) ? outcome_of(&n, row) : LEFT;
        if (outcome == KEPT) put_comment(&n, row, counts[KEPT], seen);
        if (outcome == LEFT) left[counts[LEFT]] = row;
        counts[outcome]++;
    }
    return counts[KEPT];
}
