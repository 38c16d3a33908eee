#include "net/written.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool xf_take(xf_text *t, const char *expected)
{
    size_t size = strlen(expected);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, expected, size)) {
        return false;
    }
    t->at += size;
    return true;
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

/* Takes a row of digits and puts them behind those in `digits`. Returns how many there are. */
static size_t take_row(xf_text *t, uint64_t *digits)
{
    const char *p = t->at, *end = t->end;
    uint64_t all = *digits;
    for (; p < end && is_digit(*p); p++) {
        all = all * 10 + (uint64_t)(*p - '0'); /* of too many digits any number */
    }
    const size_t count = (size_t)(p - t->at);
    *digits = all;
    t->at = p;
    return count;
}

/* Digits, with at most one point among or beside them. */
static xf_reading take_decimal(xf_text *t, double *value, bool *is_whole)
{
    xf_text rest = *t;
    uint64_t digits = 0;
    const size_t before = take_row(&rest, &digits);
    const bool has_point = rest.at < rest.end && *rest.at == '.';
    rest.at += has_point;
    const size_t behind = has_point ? take_row(&rest, &digits) : 0;
    if (before + behind > MOST_DIGITS || behind > MOST_BEHIND) {
        return XF_ODD;
    }
    if (before + behind == 0) {
        return XF_NOTHING;
    }
    *value = decimal(digits, (int)behind);
    *is_whole = !has_point;
    *t = rest;
    return XF_FOUND;
}

xf_reading xf_read_number(xf_text t, double *value)
{
    bool is_whole, negative = t.at < t.end && *t.at == '-';
    xf_text plain = t;
    if (take_decimal(&plain, value, &is_whole) == XF_FOUND && plain.at == t.end) {
        return XF_FOUND; /* nearly always */
    }
    for (const char *p = t.at; p < t.end; p++) {
        if (!is_digit(*p) && strchr("+-._eE ", *p) == NULL) {
            return XF_NOTHING; /* also of infinities and NaN */
        }
    }
    t.at += negative;
    xf_reading reading = take_decimal(&t, value, &is_whole);
    if (reading == XF_FOUND && t.at == t.end) {
        return *value != 0 ? XF_NOTHING : XF_ODD; /* it is negative */
    }
    return t.at == t.end && !negative ? XF_NOTHING : XF_ODD; /* an empty text is no number */
}

/* ---- durations ---- */

static double take_unit(xf_text *t)
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

xf_reading xf_read_duration(xf_text t, double *seconds)
{
    double total = 0;
    bool is_exact = true;
    while (t.at < t.end) {
        double amount, unit;
        bool is_whole;
        xf_reading reading = take_decimal(&t, &amount, &is_whole);
        if (reading != XF_FOUND) {
            return reading;
        }
        if (!(unit = take_unit(&t))) {
            return XF_NOTHING;
        }
        if (!is_exact) {
            return XF_ODD; /* the order of rounding would matter */
        }
        total += amount * unit;
        is_exact = is_whole && unit >= 1 && amount < 1e9;
    }
    *seconds = total;
    return XF_FOUND;
}

/* ---- instants ---- */

static int take_digits(xf_text *t, int count)
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

static bool take_any(xf_text *t, const char *characters)
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
static int take_time(xf_text *t)
{
    int hours = take_digits(t, 2);
    if (hours < 0 || hours > 23 || !xf_take(t, ":")) {
        return -1;
    }
    int minutes = take_digits(t, 2);
    if (minutes < 0 || minutes > 59 || !xf_take(t, ":")) {
        return -1;
    }
    int seconds = take_digits(t, 2);
    return seconds < 0 || seconds > 59 ? -1 : hours * 3600 + minutes * 60 + seconds;
}

/* 2024-06-01T00:00:00.5Z (RFC 3339) */
static bool read_rfc3339(xf_text t, double *instant)
{
    int offset = 0;
    double fraction = 0;
    int year = take_digits(&t, 4);
    if (!xf_take(&t, "-")) {
        return false;
    }
    int month = take_digits(&t, 2);
    if (!xf_take(&t, "-")) {
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
        if (take_decimal(&t, &fraction, &is_whole) != XF_FOUND || t.at == start + 1) {
            return false;
        }
    }
    if (!take_any(&t, "Zz")) {
        bool west = t.at < t.end && *t.at == '-';
        if (!take_any(&t, "+-")) {
            return false;
        }
        int hours = take_digits(&t, 2);
        if (hours < 0 || hours > 23 || !xf_take(&t, ":")) {
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
static int take_name(xf_text *t, const char *names)
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
static bool read_http_date(xf_text t, double *instant)
{
    if (!take_name(&t, "MonTueWedThuFriSatSun") || !xf_take(&t, ", ")) {
        return false;
    }
    int day = take_digits(&t, 2);
    if (!xf_take(&t, " ")) {
        return false;
    }
    int month = take_name(&t, "JanFebMarAprMayJunJulAugSepOctNovDec");
    if (!xf_take(&t, " ")) {
        return false;
    }
    int64_t start = day_of(take_digits(&t, 4), month, day);
    if (start < 0 || !xf_take(&t, " ")) {
        return false;
    }
    int time = take_time(&t);
    *instant = (double)(start + time);
    return time >= 0 && xf_take(&t, " GMT") && t.at == t.end;
}

bool xf_read_instant(xf_text t, double *instant)
{
    return read_http_date(t, instant) || read_rfc3339(t, instant);
}
