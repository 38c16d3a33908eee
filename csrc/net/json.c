#include "net/json.h"

#include "net/word.h"

#include <string.h>

typedef enum state {
    TEXT_START,
    ELEMENT, /* of the array of documents, or its end */
    KEY_OR_END,
    IN_KEY,
    COLON,
    VALUE,
    IN_STRING,
    IN_LITERAL,
    AFTER_VALUE,
    SKIPPING,
    IN_SKIPPED_STRING,
    AT_END,
    NOT_JSON,
} state;

#define CAP INT64_C(100000000000000000)

void xf_json_begin(xf_json *j, const xf_json_keys *looked_for)
{
    j->looked_for = looked_for;
    j->state = TEXT_START;
    j->levels = 0;
    j->in_array = false;
    j->escaped = false;
}

static void forget_numbers(xf_json *j)
{
    for (size_t i = 0; i < XF_JSON_NUMBERS; i++) {
        j->numbers[i] = -1;
    }
}

static void begin_document(xf_json *j)
{
    forget_numbers(j);
    j->text = NULL;
    j->text_size = 0;
    j->objects[0] = 0;
    j->levels = 1;
    j->state = KEY_OR_END;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *past_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p)) {
        p++;
    }
    return p;
}

/* To behind the closing quote; false: it is not there yet. */
static bool pass_string(xf_json *j, const char **at, const char *end)
{
    const char *p = *at;
    if (j->escaped && p < end) {
        j->escaped = false;
        p++;
    }
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        const char *stop = quote != NULL ? quote : end, *back = stop;
        while (back > p && back[-1] == '\\') {
            back--;
        }
        bool escaped = (stop - back) & 1;
        if (quote != NULL && !escaped) {
            *at = quote + 1;
            return true;
        }
        j->escaped = quote == NULL && escaped;
        p = quote != NULL ? quote + 1 : end;
    }
    *at = end;
    return false;
}

static bool is_mark(char c)
{
    return c == '"' || (c | 0x20) == '{' || (c | 0x20) == '}'; /* [ and ] differ by that bit */
}

/* The next quote or bracket, or the end. Vectors of numbers are long, so eight bytes at a time. */
static const char *next_mark(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t word = xf_word_at(p), folded = word | XF_EACH(0x20);
        if (xf_word_has(word, '"') || xf_word_has(folded, '{') || xf_word_has(folded, '}')) {
            break;
        }
    }
    while (p < end && !is_mark(*p)) {
        p++;
    }
    return p;
}

/* Up to the bracket that closes what is skipped, or to a string in it. */
static void skip(xf_json *j, const char **at, const char *end)
{
    const char *p = next_mark(*at, end);
    if (p == end) {
        *at = end;
        return;
    }
    if (*p == '"') {
        j->state = IN_SKIPPED_STRING;
    } else if ((*p | 0x20) == '{') {
        j->skipped++;
    } else if (!--j->skipped) {
        j->state = AFTER_VALUE;
    }
    *at = p + 1;
}

static void read_key(xf_json *j, const char **at, const char *end)
{
    const char *start = *at;
    bool closed = pass_string(j, at, end);
    size_t size = (size_t)(*at - start) - closed, room = (size_t)(XF_JSON_KEY - j->key_size);
    memcpy(j->key + j->key_size, start, size < room ? size : room);
    j->key_size += (uint8_t)(size < room ? size : room);
    if (closed) {
        j->state = COLON;
    }
}

static const xf_json_key *looked_for(const xf_json *j)
{
    const xf_json_keys *all = j->looked_for;
    uint8_t in = j->objects[j->levels - 1];
    for (size_t i = 0; i < all->count && all->keys[i].in <= in; i++) {
        const xf_json_key *key = &all->keys[i];
        if (key->in == in && key->size == j->key_size && !memcmp(key->name, j->key, key->size)) {
            return key;
        }
    }
    return NULL;
}

/* At the first character of a value, which is left to the next state where it is part of it. */
static void begin_value(xf_json *j, const char **at)
{
    const xf_json_key *key = j->levels ? looked_for(j) : NULL;
    j->found = key;
    if (key != NULL && key->kind == XF_JSON_WHOLE) {
        j->numbers[key->to] = -1;
    } else if (key != NULL && key->kind == XF_JSON_TEXT) {
        j->text = NULL;
    }
    char c = **at;
    bool enter = key != NULL && (key->kind == XF_JSON_OBJECT || key->kind == XF_JSON_ALL_ANEW);
    if (c == '"') {
        ++*at;
        j->text_start = *at;
        j->state = IN_STRING;
    } else if (c == '{' && enter && j->levels < XF_JSON_LEVELS) {
        ++*at;
        if (key->kind == XF_JSON_ALL_ANEW) {
            forget_numbers(j);
        }
        j->objects[j->levels++] = key->to;
        j->state = KEY_OR_END;
    } else if (c == '{' || c == '[') {
        ++*at;
        j->skipped = 1;
        j->state = SKIPPING;
    } else {
        j->number = 0;
        j->negative = j->digits = j->strange = false;
        j->state = IN_LITERAL;
    }
}

/* A number, or a word; what ends it is left to the next state. */
static void read_literal(xf_json *j, const char **at, const char *end)
{
    const char *p = *at;
    for (; p < end; p++) {
        if (*p >= '0' && *p <= '9') {
            j->digits = true;
            if (j->number < CAP) {
                j->number = j->number * 10 + (*p - '0');
            }
        } else if (is_blank(*p) || *p == ',' || is_mark(*p) || *p == ':') {
            break;
        } else if (*p == '-' && !j->digits && !j->negative) {
            j->negative = true;
        } else {
            j->strange = true;
        }
    }
    *at = p;
    if (p == end) {
        return;
    }
    const xf_json_key *key = j->found;
    bool is_whole = j->digits && !j->strange && (!j->negative || !j->number);
    if (key != NULL && key->kind == XF_JSON_WHOLE && is_whole) {
        j->numbers[key->to] = j->number;
    }
    j->state = AFTER_VALUE;
}

static void read_string(xf_json *j, const char **at, const char *end)
{
    if (!pass_string(j, at, end)) {
        return;
    }
    if (j->found != NULL && j->found->kind == XF_JSON_TEXT && j->text_start != NULL) {
        j->text = j->text_start;
        j->text_size = (size_t)(*at - 1 - j->text_start);
    }
    j->state = AFTER_VALUE;
}

/* A character between values, no blank. Whether a document has ended with it. */
static bool step(xf_json *j, const char **at)
{
    char c = **at;
    state next = NOT_JSON;
    bool ended = false;
    switch (j->state) {
    case TEXT_START:
    case ELEMENT:
        if (c == '{') {
            begin_document(j);
            next = KEY_OR_END;
        } else if (j->state == TEXT_START && c == '[') {
            j->in_array = true;
            next = ELEMENT;
        } else if (j->state == ELEMENT && c == ']') {
            next = AT_END;
        } else if (j->state == ELEMENT) {
            begin_value(j, at);
            return false;
        }
        break;
    case KEY_OR_END:
        if (c == '"') {
            j->key_size = 0;
            next = IN_KEY;
            break;
        }
        /* fall through */
    case AFTER_VALUE:
        if (c == ',' && j->state == AFTER_VALUE) {
            next = j->levels ? KEY_OR_END : ELEMENT;
        } else if (c == '}' && j->levels) {
            ended = !--j->levels;
            next = !ended || j->in_array ? AFTER_VALUE : AT_END;
        } else if (c == ']' && !j->levels) {
            next = AT_END;
        }
        break;
    case COLON:
        if (c == ':') {
            next = VALUE;
        }
        break;
    default: /* VALUE */
        begin_value(j, at);
        return false;
    }
    j->state = (uint8_t)next;
    ++*at;
    return ended;
}

xf_json_result xf_json_push(xf_json *j, const char **at, const char *end)
{
    while (*at < end && j->state != AT_END && j->state != NOT_JSON) {
        switch (j->state) {
        case IN_KEY:
            read_key(j, at, end);
            break;
        case IN_STRING:
            read_string(j, at, end);
            break;
        case IN_LITERAL:
            read_literal(j, at, end);
            break;
        case SKIPPING:
            skip(j, at, end);
            break;
        case IN_SKIPPED_STRING:
            if (pass_string(j, at, end)) {
                j->state = SKIPPING;
            }
            break;
        default:
            *at = past_blanks(*at, end);
            if (*at < end && step(j, at)) {
                return XF_JSON_DOCUMENT;
            }
        }
    }
    if (j->state == IN_STRING) {
        j->text_start = NULL; /* what was pushed is borrowed no longer */
    }
    return j->state == AT_END ? XF_JSON_OVER : j->state == NOT_JSON ? XF_JSON_BROKEN : XF_JSON_MORE;
}
