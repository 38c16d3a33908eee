/* An incremental parser of server-sent events (WHATWG HTML, "Server-sent events",
 * https://html.spec.whatwg.org/multipage/server-sent-events.html).
 *
 * Bytes are pushed as they arrive, cut anywhere; whole events are pulled. Lines end in LF, CR or
 * CRLF. The parser skips a byte order mark at the start, and ignores comments and unknown fields.
 * It drops an event that the end of the stream cuts off, as the standard says.
 */
#ifndef XF_NET_SSE_H
#define XF_NET_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/buffer.h"

enum { XF_SSE_MEMORY = -1, XF_SSE_LARGE = -2 };

typedef struct xf_sse {
    xf_buffer input; /* not parsed yet */
    size_t scanned;  /* bytes of input that have no line end */
    xf_buffer data, type, id;
    bool has_data;
    bool given;    /* data and type are of an event that was returned */
    bool started;  /* past the place of a byte order mark */
    bool after_cr; /* a LF at the front belongs to the line end before it */
    int64_t retry;
    size_t limit;
} xf_sse;

/* An event. Borrowed from the parser until its next call. */
typedef struct xf_sse_event {
    const char *data, *type, *id;
    size_t data_size, type_size, id_size;
    int64_t retry; /* milliseconds, the last that was sent; -1: none */
} xf_sse_event;

/* Begins a stream. limit: the largest event (and line), in bytes. */
void xf_sse_init(xf_sse *p, size_t limit);
/* Adds bytes. 0 or XF_SSE_MEMORY. */
int xf_sse_push(xf_sse *p, const char *bytes, size_t size);
/* Stores the next event. 1, or 0 if none is whole, or XF_SSE_...; then the parser is of no more
 * use. */
int xf_sse_next(xf_sse *p, xf_sse_event *event);

/* Frees the memory. */
void xf_sse_free(xf_sse *p);

#endif
