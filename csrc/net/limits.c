#include "net/limits.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "net/head.h"

/* The finding on a text. */
typedef enum found { NOTHING, FOUND, ODD /* left to the reader in Python */ } found;

typedef struct text {
    const char *at, *end;
} text;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- numbers ---- */

/* digits / 10**behind, rounded once, so that it is the double that Python reads. */
static double decimal(uint64_t digits, int behind)
{
    uint64_t power = 1;
    for (int i = 0; i < behind; i++) {
        power *= 10;
    }
    if (power == 1 || digits < UINT64_C(1) << 53) { /* both sides of the division are exact */
        return (double)digits / (double)power;
    }
    __extension__ typedef unsigned __int128 wide;
    wide shifted = (wide)digits << 64;
    wide quotient = shifted / power;
    quotient |= shifted % power != 0; /* far below the last bit that counts */
    return ldexp((double)quotient, -64);
}

enum { MOST_DIGITS = 19, MOST_BEHIND = 17 };

/* Digits, with at most one point among or beside them. */
static found take_decimal(text *t, double *value, bool *is_whole)
{
    const char *p = t->at;
    uint64_t digits = 0;
    int count = 0, behind = -1;
    for (; p < t->end && (is_digit(*p) || (*p == '.' && behind < 0)); p++) {
        if (*p == '.') {
            behind = 0;
            continue;
        }
        if (++count > MOST_DIGITS || behind == MOST_BEHIND) {
            return ODD;
        }
        digits = digits * 10 + (uint64_t)(*p - '0');
        behind += behind >= 0;
    }
    if (!count) {
        return NOTHING;
    }
    *value = decimal(digits, behind);
    *is_whole = behind < 0;
    t->at = p;
    return FOUND;
}

/* A number >= 0, as Python's float() reads it. */
static found read_number(text t, double *value)
{
    bool is_whole, negative = t.at < t.end && *t.at == '-';
    text plain = t;
    if (take_decimal(&plain, value, &is_whole) == FOUND && plain.at == t.end) {
        return FOUND; /* nearly always */
    }
    for (const char *p = t.at; p < t.end; p++) {
        if (!is_digit(*p) && strchr("+-._eE ", *p) == NULL) {
            return NOTHING; /* also of infinities and NaN */
        }
    }
    t.at += negative;
    found reading = take_decimal(&t, value, &is_whole);
    if (reading == FOUND && t.at == t.end) {
        return *value != 0 ? NOTHING : ODD; /* it is negative */
    }
    return t.at == t.end && !negative ? NOTHING : ODD; /* an empty text is no number */
}

/* ---- durations ---- */

static double take_unit(text *t)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"s", 1},
                 {"m", 60},    {"h", 3600},  {"d", 86400}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t size = strlen(units[i].name);
        if ((size_t)(t->end - t->at) >= size && !memcmp(t->at, units[i].name, size)) {
            t->at += size;
            return units[i].seconds;
        }
    }
    return 0;
}

/* Seconds, as Go writes them: 20ms, 6m0s, 2m52.8s. */
static found read_duration(text t, double *seconds)
{
    double total = 0;
    bool is_exact = true;
    while (t.at < t.end) {
        double amount, unit;
        bool is_whole;
        found reading = take_decimal(&t, &amount, &is_whole);
        if (reading != FOUND) {
            return reading;
        }
        if (!(unit = take_unit(&t))) {
            return NOTHING;
        }
        if (!is_exact) {
            return ODD; /* the order of rounding would matter */
        }
        total += amount * unit;
        is_exact = is_whole && unit >= 1 && amount < 1e9;
    }
    *seconds = total;
    return FOUND;
}

/* ---- instants ---- */

static int take_digits(text *t, int count)
{
    int value = 0;
    if (t->end - t->at < count) {
        return -1;
    }
    for (; count; count--, t->at++) {
        if (!is_digit(*t->at)) {
            return -1;
        }
        value = value * 10 + (*t->at - '0');
    }
    return value;
}

static bool take(text *t, const char *expected)
{
    size_t size = strlen(expected);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, expected, size)) {
        return false;
    }
    t->at += size;
    return true;
}

static bool take_any(text *t, const char *characters)
{
    if (t->at == t->end || !*t->at || strchr(characters, *t->at) == NULL) {
        return false;
    }
    t->at++;
    return true;
}

/* Seconds since the epoch of a day that exists, or -1. */
static int64_t day_of(int year, int month, int day)
{
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1970 || month < 1 || month > 12 || day < 1) {
        return -1;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > lengths[month - 1] + (leap && month == 2)) {
        return -1;
    }
    int64_t before = year - 1;
    int64_t days = before * 365 + before / 4 - before / 100 + before / 400 - 719162 + day - 1;
    for (int m = 1; m < month; m++) {
        days += lengths[m - 1] + (leap && m == 2);
    }
    return days * 86400;
}

/* 12:34:56, in seconds, or -1. */
static int take_time(text *t)
{
    int hours = take_digits(t, 2);
    if (hours < 0 || hours > 23 || !take(t, ":")) {
        return -1;
    }
    int minutes = take_digits(t, 2);
    if (minutes < 0 || minutes > 59 || !take(t, ":")) {
        return -1;
    }
    int seconds = take_digits(t, 2);
    return seconds < 0 || seconds > 59 ? -1 : hours * 3600 + minutes * 60 + seconds;
}

/* 2024-06-01T00:00:00.5Z (RFC 3339) */
static bool read_rfc3339(text t, double *instant)
{
    int offset = 0;
    double fraction = 0;
    int year = take_digits(&t, 4);
    if (!take(&t, "-")) {
        return false;
    }
    int month = take_digits(&t, 2);
    if (!take(&t, "-")) {
        return false;
    }
    int64_t day = day_of(year, month, take_digits(&t, 2));
    if (day < 0 || !take_any(&t, "Tt ")) {
        return false;
    }
    int time = take_time(&t);
    if (time < 0) {
        return false;
    }
    if (t.at < t.end && *t.at == '.') {
        bool is_whole;
        const char *start = t.at;
        if (take_decimal(&t, &fraction, &is_whole) != FOUND || t.at == start + 1) {
            return false;
        }
    }
    if (!take_any(&t, "Zz")) {
        bool west = t.at < t.end && *t.at == '-';
        if (!take_any(&t, "+-")) {
            return false;
        }
        int hours = take_digits(&t, 2);
        if (hours < 0 || hours > 23 || !take(&t, ":")) {
            return false;
        }
        int minutes = take_digits(&t, 2);
        if (minutes < 0 || minutes > 59) {
            return false;
        }
        offset = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    }
    *instant = (double)(day + time - offset) + fraction;
    return t.at == t.end;
}

/* The number of a name of three letters, from 1 on; 0: it is none of them. */
static int take_name(text *t, const char *names)
{
    if (t->end - t->at < 3) {
        return 0;
    }
    for (int i = 1; *names; i++, names += 3) {
        if (!memcmp(t->at, names, 3)) {
            t->at += 3;
            return i;
        }
    }
    return 0;
}

/* Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110, 5.6.7) */
static bool read_http_date(text t, double *instant)
{
    if (!take_name(&t, "MonTueWedThuFriSatSun") || !take(&t, ", ")) {
        return false;
    }
    int day = take_digits(&t, 2);
    if (!take(&t, " ")) {
        return false;
    }
    int month = take_name(&t, "JanFebMarAprMayJunJulAugSepOctNovDec");
    if (!take(&t, " ")) {
        return false;
    }
    int64_t start = day_of(take_digits(&t, 4), month, day);
    if (start < 0 || !take(&t, " ")) {
        return false;
    }
    int time = take_time(&t);
    *instant = (double)(start + time);
    return time >= 0 && take(&t, " GMT") && t.at == t.end;
}

static bool read_instant(text t, double *instant)
{
    return read_http_date(t, instant) || read_rfc3339(t, instant);
}

/* ---- fields ---- */

#define LONGEST 1e9 /* s; a larger number is a time of day, not a delay */

/* Whether all is printable ASCII. Of other characters the two readers might see different ones as
 * blanks. */
static bool is_plain(text t)
{
    for (; t.at < t.end; t.at++) {
        if (*t.at < ' ' || *t.at > '~') {
            return false;
        }
    }
    return true;
}

static text trimmed(const char *value, size_t size)
{
    text t = {value, value + size};
    while (t.at < t.end && *t.at == ' ') {
        t.at++;
    }
    while (t.at < t.end && t.end[-1] == ' ') {
        t.end--;
    }
    return t;
}

/* `word` is in small letters. */
static bool take_word(text *t, const char *word)
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
static int take_word_of(text *t, const char *const *words, int count)
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
    text t = {f->name, f->name + f->name_size};
    int kind = -1, name = -1;
    q->per = 0;
    if (take_word(&t, "x-ratelimit-")) {
        kind = take_word_of(&t, kinds, COUNT(kinds));
        if (kind < 0 || !take(&t, "-")) {
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
        if (name < 0 || !take(&t, "-")) {
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

/* Finds the fields; the first of a name counts. */
static bool find_fields(xf_quotas *quotas, const char *head, size_t size, text *date)
{
    xf_field f;
    xf_quota like;
    size_t at = 0;
    bool matters = false; /* the field before */
    while (xf_head_next(head, size, &at, &f)) {
        if (!f.name_size) {
            if (matters) {
                return false;
            }
            continue;
        }
        text value = trimmed(f.value, f.value_size);
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
    text date; /* of the head, until it is read */
    double now, last;
    text said; /* as which `last` was written */
} instants;

/* False: it has a form that is not known here. */
static bool read_last(instants *at, text t)
{
    size_t size = (size_t)(t.end - t.at);
    bool is_first = at->said.at == NULL;
    if (!is_first && size == (size_t)(at->said.end - at->said.at) &&
        !memcmp(t.at, at->said.at, size)) {
        return true;
    }
    at->said = t;
    return read_instant(t, &at->last);
}

/* The same of the head's date. */
static bool read_date(instants *at)
{
    text date = at->date;
    at->date.at = date.end;
    return date.at == date.end || read_instant(date, &at->now);
}

/* When the limit is whole again, in seconds after the answer. */
static found read_reset(text t, instants *at, double *reset, bool *is_bare)
{
    found reading = read_duration(t, reset);
    if (reading == NOTHING || t.at == t.end) {
        reading = read_number(t, reset);
        *is_bare = reading == FOUND;
    }
    if (reading == FOUND) {
        return *reset < LONGEST ? FOUND : ODD;
    }
    if (reading == ODD || t.at == t.end) {
        return reading;
    }
    if (!read_last(at, t) || !read_date(at)) {
        return ODD; /* of the whole head */
    }
    *reset = at->last - at->now;
    return *reset >= 0 ? FOUND : NOTHING;
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
            text t = {q->of[kind].text, q->of[kind].text + q->of[kind].size};
            found reading = !is_plain(t) ? ODD
                            : kind == XF_QUOTA_RESET
                                ? read_reset(t, &at, &q->of[kind].value, &q->bare)
                                : read_number(t, &q->of[kind].value);
            if (reading == ODD) {
                return false;
            }
            q->of[kind].said = reading == FOUND;
        }
    }
    return true;
}
