/* An incremental parser of server-sent events (WHATWG HTML, "Server-sent events").
 *
 * Bytes are pushed as they arrive, cut anywhere; whole events are pulled. Lines end in LF, CR or
 * CRLF, a byte order mark at the start is skipped, comments and unknown fields are ignored, and an
 * event that the end of the stream cuts off is not given out, as the standard says.
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
    size_t scanned;  /* bytes of input known to hold no line end */
    xf_buffer data, type, id;
    bool has_data;
    bool given;    /* data and type are those of an event given out */
    bool started;  /* past the place of a byte order mark */
    bool after_cr; /* a LF at the front belongs to the line end before it */
    int64_t retry;
    size_t limit;
} xf_sse;

/* Borrowed from the parser, until the next call of it. */
typedef struct xf_sse_event {
    const char *data, *type, *id;
    size_t data_size, type_size, id_size;
    int64_t retry; /* milliseconds, the last that was sent; -1: none */
} xf_sse_event;

/* limit: the largest event (and line), in bytes. */
void xf_sse_init(xf_sse *p, size_t limit);
/* 0 or XF_SSE_MEMORY. */
int xf_sse_push(xf_sse *p, const char *bytes, size_t size);
/* 1 and an event, 0 if none is whole, or XF_SSE_...: then the parser is of no more use. */
int xf_sse_next(xf_sse *p, xf_sse_event *event);
void xf_sse_free(xf_sse *p);

#endif
