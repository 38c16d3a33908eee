/* Header lines: reading an answer's head, and the rules for what may be sent. */
#ifndef XF_NET_HEAD_H
#define XF_NET_HEAD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct xf_field {
    const char *name, *value;
    size_t name_size, value_size;
} xf_field;

/* The next header field of `head` from `*at` on; false at the end. The status line and lines
 * without a name are passed over; whitespace around a value is not part of it. A folded line
 * (RFC 9112, 5.2) is given as a field of no name: it continues the one before. */
bool xf_head_next(const char *head, size_t size, size_t *at, xf_field *field);

/* A token (RFC 9110, 5.6.2). */
bool xf_name_ok(const char *name, size_t size);
/* No CR, LF or NUL, and no control character but TAB. */
bool xf_value_ok(const char *value, size_t size);
/* Printable, without spaces: anything else belongs percent-encoded. */
bool xf_url_ok(const char *url, size_t size);

#endif
