/* Header lines: reads an answer's head, and checks names, values and URLs before they are sent. */
#ifndef XF_NET_HEAD_H
#define XF_NET_HEAD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct xf_field {
    const char *name, *value;
    size_t name_size, value_size;
} xf_field;

/* Stores the next header field of `head` from `*at` on. False at the end. Skips the status line and
 * lines without a name. Whitespace around a value is not part of it. A folded line (RFC 9112, 5.2),
 * which continues the field before it, becomes a field without a name. */
bool xf_head_next(const char *head, size_t size, size_t *at, xf_field *field);

/* Whether the field has that name, in whatever case. */
bool xf_field_is(const xf_field *field, const char *name);

/* Whether a name is a token (RFC 9110, 5.6.2). */
bool xf_name_ok(const char *name, size_t size);
/* Whether a value has no CR, LF or NUL, and no control character but TAB. */
bool xf_value_ok(const char *value, size_t size);
/* The bytes that a request's URL and header fields may have together. libcurl builds a head of
 * 1 MiB at most, its own fields included (its DYN_HTTP_REQUEST), and calls more "out of memory". */
enum { XF_LARGEST_REQUEST_HEAD = 1000000 };

/* Whether a URL is printable and without spaces. Other characters must be percent-encoded. */
bool xf_url_ok(const char *url, size_t size);

#endif
