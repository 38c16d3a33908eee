#include "net/limits.h"

#include <string.h>
#include <strings.h>

#include "net/head.h"
#include "net/written.h"

/* ---- fields ---- */

#define LONGEST 1e9 /* s; a larger number is a time of day, not a delay */

/* Whether all is printable ASCII. Of other characters the two readers might see different ones as
 * blanks. */
static bool is_plain(xf_text t)
{
    for (; t.at < t.end; t.at++) {
        if (*t.at < ' ' || *t.at > '~') {
            return false;
        }
    }
    return true;
}

static xf_text trimmed(const char *value, size_t size)
{
    xf_text t = {value, value + size};
    while (t.at < t.end && *t.at == ' ') {
        t.at++;
    }
    while (t.at < t.end && t.end[-1] == ' ') {
        t.end--;
    }
    return t;
}

/* `word` is in small letters. */
static bool take_word(xf_text *t, const char *word)
{
    if (t->at == t->end || (*t->at | 0x20) != *word) {
        return false;
    }
    size_t size = strlen(word);
    if ((size_t)(t->end - t->at) < size || strncasecmp(t->at, word, size) != 0) {
        return false;
    }
    t->at += size;
    return true;
}

/* The index of the word that comes next, or -1. If one word begins another, the longer one must
 * stand first. */
static int take_word_of(xf_text *t, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (take_word(t, words[i])) {
            return i;
        }
    }
    return -1;
}

static const char *const kinds[] = {"limit", "remaining", "reset"};
static const char *const names[] = {"requests", "tokens", "input-tokens", "output-tokens", "req"};
static const char *const periods[] = {"-second", "-minute", "-hour", "-day", "-month"};
static const double seconds[] = {1, 60, 3600, 86400, 30 * 86400.0};
#define COUNT(words) ((int)(sizeof(words) / sizeof *(words)))

/* Stores the limit that a field of this name tells of. Returns what it tells, or -1 for nothing. */
static int meaning_of(const xf_field *f, xf_quota *q)
{
    xf_text t = {f->name, f->name + f->name_size};
    int kind = -1, name = -1;
    q->per = 0;
    if (take_word(&t, "x-ratelimit-")) {
        kind = take_word_of(&t, kinds, COUNT(kinds));
        if (kind < 0 || !xf_take(&t, "-")) {
            return -1;
        }
        name = take_word_of(&t, names, COUNT(names));
        if (name == XF_QUOTA_INPUT_TOKENS || name == XF_QUOTA_OUTPUT_TOKENS) {
            return -1;
        }
        q->style = XF_QUOTA_PLAIN;
        int period = t.at < t.end ? take_word_of(&t, periods, COUNT(periods)) : -1;
        if (period >= 0) {
            q->style = XF_QUOTA_PERIOD;
            q->per = seconds[period];
        }
    } else if (take_word(&t, "anthropic-ratelimit-")) {
        name = take_word_of(&t, names, XF_QUOTA_REQ);
        if (name < 0 || !xf_take(&t, "-")) {
            return -1;
        }
        kind = take_word_of(&t, kinds, COUNT(kinds));
        q->style = XF_QUOTA_ANTHROPIC;
        q->per = 60;
    }
    if (name < 0 || t.at != t.end) {
        return -1;
    }
    q->name = (uint8_t)name;
    return kind;
}

static xf_quota *place_of(xf_quotas *quotas, const xf_quota *like)
{
    for (size_t i = 0; i < quotas->count; i++) {
        xf_quota *q = &quotas->of[i];
        if (q->style == like->style && q->name == like->name && q->per == like->per) {
            return q;
        }
    }
    if (quotas->count == XF_QUOTAS) {
        return NULL;
    }
    xf_quota *q = &quotas->of[quotas->count++];
    *q = (xf_quota){.style = like->style, .name = like->name, .per = like->per};
    return q;
}

/* Whether a line may be one of these fields, or the date, or go on with the field before it. */
static bool may_matter(const char *line)
{
    const char first = *line | 0x20;
    return first == 'x' || first == 'a' || first == 'd' || first == ' ' || *line == '\t';
}

/* Passes over other lines, which are most of a head. */
static void pass_over(const char *head, size_t size, size_t *at)
{
    while (*at < size && !may_matter(head + *at)) {
        const char *lf = memchr(head + *at, '\n', size - *at);
        *at = lf != NULL ? (size_t)(lf - head) + 1 : size;
    }
}

/* Finds the fields; the first of a name counts. */
static bool find_fields(xf_quotas *quotas, const char *head, size_t size, xf_text *date)
{
    xf_field f;
    xf_quota like;
    size_t at = 0;
    bool matters = false; /* the field before, or one before those passed over */
    for (pass_over(head, size, &at); xf_head_next(head, size, &at, &f);
         pass_over(head, size, &at)) {
        if (!f.name_size) {
            if (matters) {
                return false;
            }
            continue;
        }
        xf_text value = trimmed(f.value, f.value_size);
        matters = true;
        if (xf_field_is(&f, "date")) {
            if (date->at == NULL) {
                *date = value;
            }
            continue;
        }
        int kind = meaning_of(&f, &like);
        matters = kind >= 0;
        if (!matters) {
            continue;
        }
        xf_quota *q = place_of(quotas, &like);
        if (q == NULL) {
            return false;
        }
        if (q->of[kind].text != NULL) {
            continue;
        }
        q->of[kind].text = value.at;
        q->of[kind].size = (size_t)(value.end - value.at);
    }
    return true;
}

/* The time of day of an answer, and the instant that was read last: fields of one head mostly say
 * the same. */
typedef struct instants {
    xf_text date; /* of the head, until it is read */
    double now, last;
    xf_text said; /* as which `last` was written */
} instants;

/* Whether it is written as the instant that was read last. */
static bool is_last(const instants *at, xf_text t)
{
    const size_t size = (size_t)(t.end - t.at);
    return at->said.at != NULL && size == (size_t)(at->said.end - at->said.at) &&
           !memcmp(t.at, at->said.at, size);
}

/* False: it has a form that is not known here. */
static bool read_last(instants *at, xf_text t)
{
    at->said = t;
    return xf_read_instant(t, &at->last);
}

/* The same of the head's date. */
static bool read_date(instants *at)
{
    xf_text date = at->date;
    at->date.at = date.end;
    return date.at == date.end || xf_read_instant(date, &at->now);
}

/* When the limit is whole again, in seconds after the answer. */
static xf_reading read_reset(xf_text t, instants *at, double *reset, bool *is_bare)
{
    if (!is_last(at, t)) {
        xf_reading reading = xf_read_duration(t, reset);
        if (reading == XF_NOTHING || t.at == t.end) {
            reading = xf_read_number(t, reset);
            *is_bare = reading == XF_FOUND;
        }
        if (reading == XF_FOUND) {
            return *reset < LONGEST ? XF_FOUND : XF_ODD;
        }
        if (reading == XF_ODD || t.at == t.end) {
            return reading;
        }
        if (!read_last(at, t) || !read_date(at)) {
            return XF_ODD; /* of the whole head */
        }
    }
    *reset = at->last - at->now;
    return *reset >= 0 ? XF_FOUND : XF_NOTHING;
}

bool xf_quotas_read(xf_quotas *quotas, const char *head, size_t size, double now)
{
    instants at = {.now = now};
    quotas->count = 0;
    if (!find_fields(quotas, head, size, &at.date)) {
        return false;
    }
    for (size_t i = 0; i < quotas->count; i++) {
        for (int kind = 0; kind < XF_QUOTA_KINDS; kind++) {
            xf_quota *q = &quotas->of[i];
            if (q->of[kind].text == NULL) {
                continue;
            }
            xf_text t = {q->of[kind].text, q->of[kind].text + q->of[kind].size};
            xf_reading reading = kind == XF_QUOTA_RESET
                                     ? read_reset(t, &at, &q->of[kind].value, &q->bare)
                                     : xf_read_number(t, &q->of[kind].value);
            if (reading == XF_ODD || (reading == XF_NOTHING && !is_plain(t))) {
                return false; /* all that is found is plain */
            }
            q->of[kind].said = reading == XF_FOUND;
        }
    }
    return true;
}
