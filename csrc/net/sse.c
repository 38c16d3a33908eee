#include "net/sse.h"

#include <string.h>

void xf_sse_init(xf_sse *p, size_t limit)
{
    *p = (xf_sse){.retry = -1, .limit = limit};
}

void xf_sse_free(xf_sse *p)
{
    xf_buffer_free(&p->input);
    xf_buffer_free(&p->data);
    xf_buffer_free(&p->type);
    xf_buffer_free(&p->id);
}

int xf_sse_push(xf_sse *p, const char *bytes, size_t size)
{
    return xf_buffer_add(&p->input, bytes, size) < 0 ? XF_SSE_MEMORY : 0;
}

static void clear(xf_buffer *b)
{
    xf_buffer_take(b, xf_buffer_size(b));
}

static int set(xf_buffer *b, const char *value, size_t size)
{
    clear(b);
    return xf_buffer_add(b, value, size) < 0 ? XF_SSE_MEMORY : 0;
}

static int add_data(xf_sse *p, const char *value, size_t size)
{
    if (xf_buffer_size(&p->data) + size + 1 > p->limit) {
        return XF_SSE_LARGE;
    }
    if (p->has_data && xf_buffer_add(&p->data, "\n", 1) < 0) {
        return XF_SSE_MEMORY;
    }
    p->has_data = true;
    return xf_buffer_add(&p->data, value, size) < 0 ? XF_SSE_MEMORY : 0;
}

static void set_retry(xf_sse *p, const char *value, size_t size)
{
    int64_t ms = 0;
    if (!size || size > 15) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return;
        }
        ms = ms * 10 + (value[i] - '0');
    }
    p->retry = ms;
}

static int field(xf_sse *p, const char *line, size_t size)
{
    const char *colon = memchr(line, ':', size);
    size_t name = colon != NULL ? (size_t)(colon - line) : size;
    const char *value = colon != NULL ? colon + 1 : line + size;
    size_t value_size = size - (size_t)(value - line);
    if (value_size && *value == ' ') {
        value++;
        value_size--;
    }
    if (name == 4 && !memcmp(line, "data", 4)) {
        return add_data(p, value, value_size);
    }
    if (name == 5 && !memcmp(line, "event", 5)) {
        return set(&p->type, value, value_size);
    }
    if (name == 2 && !memcmp(line, "id", 2) && memchr(value, 0, value_size) == NULL) {
        return set(&p->id, value, value_size);
    }
    if (name == 5 && !memcmp(line, "retry", 5)) {
        set_retry(p, value, value_size);
    }
    return 0;
}

/* The first line end, or NULL. Both kinds are searched in pieces, so that a text of many LF lines
 * is not searched to its end for a CR with every line. */
static const char *line_end(const char *from, const char *end)
{
    while (from < end) {
        size_t piece = (size_t)(end - from) < 256 ? (size_t)(end - from) : 256;
        const char *lf = memchr(from, '\n', piece);
        const char *cr = memchr(from, '\r', lf != NULL ? (size_t)(lf - from) : piece);
        if (cr != NULL || lf != NULL) {
            return cr != NULL ? cr : lf;
        }
        from += piece;
    }
    return NULL;
}

/* Skips a byte order mark, and the LF of a CRLF whose CR was read. False if more bytes must come
 * first. */
static bool skip(xf_sse *p)
{
    static const char mark[] = "\xEF\xBB\xBF";
    const char *bytes = xf_buffer_data(&p->input);
    size_t size = xf_buffer_size(&p->input);
    if (!p->started) {
        if (size < 3 && !memcmp(bytes, mark, size)) {
            return false;
        }
        if (size >= 3 && !memcmp(bytes, mark, 3)) {
            xf_buffer_take(&p->input, 3);
        }
        p->started = true;
    }
    if (p->after_cr && xf_buffer_size(&p->input)) {
        if (*xf_buffer_data(&p->input) == '\n') {
            xf_buffer_take(&p->input, 1);
        }
        p->after_cr = false;
    }
    return xf_buffer_size(&p->input) > 0;
}

int xf_sse_next(xf_sse *p, xf_sse_event *event)
{
    if (p->given) {
        clear(&p->data);
        clear(&p->type);
        p->has_data = p->given = false;
    }
    while (xf_buffer_size(&p->input) && skip(p)) {
        const char *line = xf_buffer_data(&p->input);
        const char *end = line + xf_buffer_size(&p->input);
        const char *stop = line_end(line + p->scanned, end);
        if (stop == NULL) {
            p->scanned = (size_t)(end - line);
            return p->scanned > p->limit ? XF_SSE_LARGE : 0;
        }
        size_t size = (size_t)(stop - line);
        p->scanned = 0;
        p->after_cr = *stop == '\r';
        if (size) {
            int bad = size > p->limit ? XF_SSE_LARGE : *line == ':' ? 0 : field(p, line, size);
            if (bad) {
                return bad;
            }
            xf_buffer_take(&p->input, size + 1);
            continue;
        }
        xf_buffer_take(&p->input, 1);
        if (!p->has_data) {
            clear(&p->type);
            continue;
        }
        p->given = true;
        event->type = xf_buffer_data(&p->type);
        event->type_size = xf_buffer_size(&p->type);
        event->data = xf_buffer_data(&p->data);
        event->data_size = xf_buffer_size(&p->data);
        event->id = xf_buffer_data(&p->id);
        event->id_size = xf_buffer_size(&p->id);
        event->retry = p->retry;
        return 1;
    }
    return 0;
}
