/* An answer as it arrives: its status, the fields that say where its body ends, and the body. */
#include "net/internal.h"

#include <string.h>
#include <strings.h>

/* The status in "HTTP/1.1 200 OK" or "HTTP/2 200"; 0 in other lines, -1 if it has more than three
 * digits. */
static int status_of(const char *line, size_t size, int *version)
{
    static const char start[] = "HTTP/";
    const char *end = line + size, *p = line + sizeof start - 1;
    int v = 0, status = 0;
    *version = 0;
    if (size < sizeof start || memcmp(line, start, sizeof start - 1)) {
        return 0;
    }
    for (; p < end && *p != ' '; p++) {
        if (*p >= '0' && *p <= '9' && v < 10) {
            v = v * 10 + *p - '0';
        }
    }
    while (p < end && *p == ' ') {
        p++;
    }
    for (; p < end && *p >= '0' && *p <= '9' && status < 100; p++) {
        status = status * 10 + *p - '0';
    }
    *version = v < 10 ? v * 10 : v;
    return p < end && *p >= '0' && *p <= '9' ? -1 : status;
}

/* The length that a Content-Length line gives, also if it says it twice ("5, 5"), or -1. */
static int64_t length_of(const char *p, const char *end)
{
    for (int64_t length = -1;;) {
        int64_t one = 0;
        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }
        if (p == end || *p < '0' || *p > '9') {
            return -1;
        }
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            if (one > (INT64_MAX - 9) / 10) {
                return -1;
            }
            one = one * 10 + *p - '0';
        }
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) {
            p++;
        }
        if (length >= 0 && one != length) {
            return -1;
        }
        length = one;
        if (p == end) {
            return length;
        }
        if (*p++ != ',') {
            return -1;
        }
    }
}

static bool is_coding(const char *p, const char *end, const char *name)
{
    size_t size = strlen(name);
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    while (p < end && (unsigned char)end[-1] <= ' ') {
        end--;
    }
    return (size_t)(end - p) == size && !strncasecmp(p, name, size);
}

/* Looks at the fields that say where the body ends and how it is coded. 0, or XF_E_... */
static int see_field(xf_transfer *t, const char *line, size_t size)
{
    static const char length_name[] = "content-length:", coding_name[] = "content-encoding:";
    const char *end = line + size;
    if ((line[0] | 0x20) != 'c') {
        return 0;
    }
    if (size >= sizeof length_name && !strncasecmp(line, length_name, sizeof length_name - 1)) {
        int64_t length = length_of(line + sizeof length_name - 1, end);
        if (length < 0 || (t->length >= 0 && t->length != length)) {
            return XF_E_LENGTH;
        }
        t->length = length;
    }
    if (t->engine->options.compressed && size >= sizeof coding_name &&
        !strncasecmp(line, coding_name, sizeof coding_name - 1)) {
        const char *coding = line + sizeof coding_name - 1;
        bool gzip = is_coding(coding, end, "gzip") || is_coding(coding, end, "x-gzip");
        if (gzip && t->coding == XF_PLAIN) {
            t->coding = XF_GZIPPED;
        } else if (!is_coding(coding, end, "identity") && !is_coding(coding, end, "")) {
            t->coding = XF_FOREIGN;
        }
    }
    return 0;
}

size_t xf_answer_head(char *line, size_t one, size_t size, void *userdata)
{
    (void)one;
    xf_transfer *t = ((xf_easy *)userdata)->transfer;
    xf_engine *e = t->engine;
    t->last_io = e->now;
    if (t->head_done) {
        return size; /* trailers */
    }
    bool blank = line[0] == '\r' || line[0] == '\n';
    if (!t->head_open && !blank) {
        xf_buffer_take(&t->head, xf_buffer_size(&t->head)); /* after an interim answer */
        t->head_open = true;
        t->status = status_of(line, size, &t->http_version);
        t->length = -1;
        t->coding = XF_PLAIN;
    }
    t->error = t->status == 101  ? XF_E_SWITCH
               : t->status == -1 ? XF_E_STATUS /* some versions of libcurl cut it to three digits */
                                 : see_field(t, line, size);
    if (t->error) {
        return 0;
    }
    if (size > e->options.max_head - xf_buffer_size(&t->head)) {
        t->error = XF_E_HEAD;
        return 0;
    }
    if (!blank && xf_buffer_add(&t->head, line, size) < 0) {
        t->error = XF_E_MEMORY;
        return 0;
    }
    if (blank) {
        t->head_open = false;
    }
    if (blank && t->status >= 200) {
        t->head_done = true;
        if (t->request.stream) {
            xf_engine_note(e, t, XF_HEAD);
        }
    }
    return size;
}

#define GZIP_MAGIC '\x1f' /* the first byte of a gzip stream */

/* Adds to the body what was received of it. 0, or XF_E_... The body of an error that cannot be
 * decoded is taken as it came, since its status and head matter more. */
static int add_body(xf_transfer *t, const char *bytes, size_t size, size_t most)
{
    if (!size) {
        return 0;
    }
    bool begins = t->gzip == NULL && !xf_buffer_size(&t->body);
    if (t->status >= 400 && (t->coding == XF_FOREIGN || (begins && bytes[0] != GZIP_MAGIC))) {
        t->coding = XF_PLAIN;
    }
    if (t->coding == XF_FOREIGN) {
        return XF_E_ENCODING;
    }
    if (t->coding == XF_PLAIN) {
        return size > most - xf_buffer_size(&t->body)     ? XF_E_BODY
               : xf_buffer_add(&t->body, bytes, size) < 0 ? XF_E_MEMORY
                                                          : 0;
    }
    const xf_zlib *zlib = &t->engine->curl->zlib;
    if (zlib->init == NULL) {
        return XF_E_ENCODING;
    }
    if (t->gzip == NULL && (t->gzip = xf_gzip_new(zlib)) == NULL) {
        return XF_E_MEMORY;
    }
    int bad = xf_gzip_push(t->gzip, bytes, size, &t->body, most);
    return !bad                   ? 0
           : bad == XF_GZIP_BAD   ? XF_E_GZIP
           : bad == XF_GZIP_LARGE ? XF_E_BODY
                                  : XF_E_MEMORY;
}

size_t xf_answer_body(char *bytes, size_t one, size_t size, void *userdata)
{
    (void)one;
    xf_transfer *t = ((xf_easy *)userdata)->transfer;
    xf_engine *e = t->engine;
    t->last_io = e->now;
    bool stream = t->request.stream;
    if (stream && xf_buffer_size(&t->body) >= e->options.high_water) {
        t->receive_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    t->error = add_body(t, bytes, size, stream ? SIZE_MAX : e->options.max_body);
    if (t->error) {
        return 0;
    }
    if (stream) {
        xf_engine_note(e, t, XF_BODY);
    }
    return size;
}
