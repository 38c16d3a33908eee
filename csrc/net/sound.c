#include "net/sound.h"

#include "net/word.h"

#include <stdint.h>
#include <string.h>

typedef struct reader {
    const unsigned char *at, *end;
    size_t levels;
    uint64_t objects[(XF_SOUND_LEVELS + 63) / 64]; /* a bit for each open one: not an array */
} reader;

static bool take(reader *r, unsigned char c)
{
    bool is_there = r->at < r->end && *r->at == c;
    r->at += is_there;
    return is_there;
}

static bool take_word(reader *r, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(r->end - r->at) < size || memcmp(r->at, word, size) != 0) {
        return false;
    }
    r->at += size;
    return true;
}

static void pass_blanks(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) {
        r->at++;
    }
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool pass_digits(reader *r)
{
    const unsigned char *start = r->at;
    while (r->at < r->end && is_digit(*r->at)) {
        r->at++;
    }
    return r->at > start;
}

static bool pass_number(reader *r)
{
    const unsigned char *start = r->at;
    take(r, '-');
    if (!take(r, '0') && !pass_digits(r)) {
        return false;
    }
    if (take(r, '.') && !pass_digits(r)) {
        return false;
    }
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '-')) {
            take(r, '+');
        }
        if (!pass_digits(r)) {
            return false;
        }
    }
    return r->at - start <= XF_SOUND_DIGITS;
}

/* The four digits of an escape; -1: they are none. */
static int take_hex(reader *r)
{
    int value = 0;
    if (r->end - r->at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        unsigned char digit = *r->at++, folded = digit | 0x20;
        if (is_digit(digit)) {
            value = value * 16 + (digit - '0');
        } else if (folded >= 'a' && folded <= 'f') {
            value = value * 16 + (folded - 'a' + 10);
        } else {
            return -1;
        }
    }
    return value;
}

/* Of a surrogate pair both. */
static bool pass_escape(reader *r)
{
    static const char plain[] = "\"\\/bfnrt";
    if (!take(r, '\\') || r->at == r->end) {
        return false;
    }
    unsigned char c = *r->at++;
    if (c != 'u') {
        return memchr(plain, c, sizeof plain - 1) != NULL;
    }
    int first = take_hex(r);
    if (first < 0xd800 || first > 0xdfff) {
        return first >= 0;
    }
    return first <= 0xdbff && take_word(r, "\\u") && take_hex(r) >> 10 == 0xdc00 >> 10;
}

/* A character of several bytes, by the table 3-7 of the Unicode standard. */
static bool pass_sequence(reader *r)
{
    unsigned char lead = r->at[0];
    size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead < 0xc2 || lead > 0xf4 || (size_t)(r->end - r->at) < size) {
        return false;
    }
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (r->at[1] < low || r->at[1] > high) {
        return false;
    }
    for (size_t i = 2; i < size; i++) {
        if ((r->at[i] & 0xc0) != 0x80) {
            return false;
        }
    }
    r->at += size;
    return true;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static bool is_word_plain(uint64_t word)
{
    return (word & XF_EACH(0x80)) == 0 && !xf_word_has_below(word, 0x20) &&
           !xf_word_has(word, '"') && !xf_word_has(word, '\\');
}

/* Characters that stand for themselves: most of an answer. */
static void pass_plain(reader *r)
{
    const unsigned char *p = r->at;
    while (r->end - p >= 8 && is_word_plain(xf_word_at(p))) {
        p += 8;
    }
    while (p < r->end && is_plain(*p)) {
        p++;
    }
    r->at = p;
}

static bool pass_string(reader *r)
{
    if (!take(r, '"')) {
        return false;
    }
    pass_plain(r);
    while (r->at < r->end && *r->at != '"') {
        if (*r->at >= 0x80 ? !pass_sequence(r) : !pass_escape(r)) {
            return false;
        }
        pass_plain(r);
    }
    return take(r, '"');
}

static bool enter(reader *r, bool is_object)
{
    if (r->levels == XF_SOUND_LEVELS) {
        return false;
    }
    uint64_t *word = &r->objects[r->levels / 64], bit = UINT64_C(1) << (r->levels % 64);
    *word = is_object ? *word | bit : *word & ~bit;
    r->levels++;
    return true;
}

static bool is_in_object(const reader *r)
{
    size_t level = r->levels - 1;
    return (r->objects[level / 64] >> (level % 64)) & 1;
}

/* A key and its colon. Of the outermost object's, an error must be null, and none may hide in
 * escapes. */
static bool pass_key(reader *r)
{
    const unsigned char *name = r->at + 1;
    if (!pass_string(r)) {
        return false;
    }
    size_t size = (size_t)(r->at - 1 - name);
    pass_blanks(r);
    if (!take(r, ':')) {
        return false;
    }
    pass_blanks(r);
    if (r->levels > 1) {
        return true;
    }
    if (size == 5 && !memcmp(name, "error", 5)) {
        return r->end - r->at >= 4 && !memcmp(r->at, "null", 4);
    }
    return memchr(name, '\\', size) == NULL;
}

/* Up to the place of the first value in an array or an object, or behind the end of an empty
 * one. */
static bool begin_container(reader *r, bool is_object, bool *is_empty)
{
    r->at++;
    if (!enter(r, is_object)) {
        return false;
    }
    pass_blanks(r);
    *is_empty = take(r, is_object ? '}' : ']');
    r->levels -= *is_empty;
    return *is_empty || !is_object || pass_key(r);
}

/* A value; of a container only as far as its first value. */
static bool begin_value(reader *r, bool *is_whole)
{
    *is_whole = true;
    switch (r->at < r->end ? *r->at : 0) {
    case '{':
    case '[':
        return begin_container(r, *r->at == '{', is_whole);
    case '"':
        return pass_string(r);
    case 't':
        return take_word(r, "true");
    case 'f':
        return take_word(r, "false");
    case 'n':
        return take_word(r, "null");
    default:
        return pass_number(r);
    }
}

/* Passes the ends of containers behind a value, up to the place of the next value. */
static bool pass_ends(reader *r)
{
    while (r->levels > 0) {
        pass_blanks(r);
        bool is_object = is_in_object(r);
        if (take(r, ',')) {
            pass_blanks(r);
            return !is_object || pass_key(r);
        }
        if (!take(r, is_object ? '}' : ']')) {
            return false;
        }
        r->levels--;
    }
    return true;
}

bool xf_is_sound(const char *text, size_t size)
{
    const unsigned char *start = (const unsigned char *)text;
    reader r = {.at = start, .end = start + size};
    if (size == 0 || *start != '{') {
        return false;
    }
    do {
        bool is_whole;
        if (!begin_value(&r, &is_whole) || (is_whole && !pass_ends(&r))) {
            return false;
        }
    } while (r.levels > 0);
    return r.at == r.end;
}
