#include "net/usage.h"

#include <string.h>

struct cursor {
    const char *at, *end;
};

static void blanks(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t'))
        c->at++;
}

static bool take(struct cursor *c, char expected)
{
    blanks(c);
    if (c->at == c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

/* At the character behind an opening quote; afterwards behind the closing one. */
static bool string(struct cursor *c, const char **text, size_t *size)
{
    *text = c->at;
    for (; c->at < c->end; c->at++) {
        if (*c->at == '\\') {
            c->at++;
        } else if (*c->at == '"') {
            *size = (size_t)(c->at++ - *text);
            return true;
        }
    }
    c->at = c->end;
    return false;
}

/* A whole number >= 0 that ends as numbers do, or -1; the cursor is behind it. */
static int64_t whole(struct cursor *c)
{
    int64_t n = 0;
    int digits = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && digits < 16) {
        n = n * 10 + (*c->at++ - '0');
        digits++;
    }
    if (!digits || c->at == c->end || strchr(".eE0123456789", *c->at))
        return -1;
    return n;
}

/* Over the value of a key, up to the comma or the bracket behind it. */
static bool skip_value(struct cursor *c)
{
    int depth = 0;
    const char *text;
    size_t size;
    while (c->at < c->end) {
        char x = *c->at;
        if (!depth && (x == ',' || x == '}'))
            return true;
        c->at++;
        if (x == '"' && !string(c, &text, &size))
            return false;
        depth += x == '{' || x == '[';
        depth -= x == '}' || x == ']';
    }
    return false;
}

static bool is(const char *text, size_t size, const char *name)
{
    return strlen(name) == size && !memcmp(text, name, size);
}

static int64_t *slot(struct xf_usage *u, const char *name, size_t size)
{
    if (is(name, size, "prompt_tokens") || is(name, size, "input_tokens") ||
        is(name, size, "promptTokenCount"))
        return &u->input;
    if (is(name, size, "completion_tokens") || is(name, size, "output_tokens") ||
        is(name, size, "candidatesTokenCount"))
        return &u->output;
    if (is(name, size, "total_tokens") || is(name, size, "totalTokenCount"))
        return &u->total;
    if (is(name, size, "cache_creation_input_tokens"))
        return &u->cache_written;
    if (is(name, size, "cache_read_input_tokens"))
        return &u->cache_read;
    if (is(name, size, "prompt_cache_hit_tokens") || is(name, size, "cachedContentTokenCount"))
        return &u->cached;
    if (is(name, size, "thoughtsTokenCount"))
        return &u->thoughts;
    return NULL;
}

/* Whether that is OpenAI's name for an object with details of the input. */
static bool is_details(const char *name, size_t size)
{
    return is(name, size, "prompt_tokens_details") || is(name, size, "input_tokens_details");
}

static int64_t *detail(struct xf_usage *u, const char *name, size_t size)
{
    return is(name, size, "cached_tokens") ? &u->cached : NULL;
}

/* Behind the opening bracket of a usage object, or of the details in one. */
static bool read_object(struct cursor *c, struct xf_usage *u, bool details)
{
    bool found = false;
    const char *name;
    size_t size;
    while (take(c, '"') && string(c, &name, &size) && take(c, ':')) {
        blanks(c);
        if (!details && is_details(name, size) && take(c, '{')) {
            found |= read_object(c, u, true);
            if (!take(c, '}'))
                break;
        }
        int64_t *field = details ? detail(u, name, size) : slot(u, name, size);
        if (field) {
            int64_t n = whole(c);
            if (n >= 0) {
                *field = n;
                found = true;
            }
        }
        if (!skip_value(c) || *c->at == '}')
            break;
        c->at++;
    }
    return found;
}

void xf_usage_init(struct xf_usage *u)
{
    *u = (struct xf_usage){-1, -1, -1, -1, -1, -1, -1};
}

/* The next place of a quoted name that begins with `start`, behind that. */
static const char *find(const char *from, const char *end, const char *start)
{
    size_t size = strlen(start);
    while (from < end && (from = memchr(from, '"', (size_t)(end - from)))) {
        from++;
        if ((size_t)(end - from) >= size && !memcmp(from, start, size))
            return from;
    }
    return NULL;
}

bool xf_usage_scan(struct xf_usage *u, const char *text, size_t size)
{
    const char *end = text + size, *at = text;
    bool found = false;
    while ((at = find(at, end, "usage"))) {
        struct cursor c = {at, end};
        const char *name;
        size_t length;
        if (string(&c, &name, &length) &&
            (is(name, length, "usage") || is(name, length, "usageMetadata")) && take(&c, ':') &&
            take(&c, '{'))
            found |= read_object(&c, u, false);
    }
    return found;
}

int64_t xf_max_tokens(const char *text, size_t size)
{
    const char *end = text + size, *at = text;
    int64_t most = 0;
    while ((at = find(at, end, "max"))) {
        struct cursor c = {at, end};
        const char *name;
        size_t length;
        if (!string(&c, &name, &length) ||
            !(is(name, length, "max_tokens") || is(name, length, "max_completion_tokens") ||
              is(name, length, "max_output_tokens") || is(name, length, "maxOutputTokens")) ||
            !take(&c, ':'))
            continue;
        blanks(&c);
        int64_t n = whole(&c);
        if (n > most && n < 1000000000)
            most = n;
    }
    return most;
}
