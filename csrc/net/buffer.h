/* A byte queue: bytes are added at the end and taken from the front. */
#ifndef XF_NET_BUFFER_H
#define XF_NET_BUFFER_H

#include <stddef.h>

struct xf_buffer {
    char *bytes;
    size_t start, end, room; /* bytes[start:end] is the content, of room allocated */
};

static inline size_t xf_buffer_size(const struct xf_buffer *b)
{
    return b->end - b->start;
}
static inline const char *xf_buffer_data(const struct xf_buffer *b)
{
    return b->bytes ? b->bytes + b->start : "";
}

/* 0, or -1 for want of memory: then nothing has changed. */
int xf_buffer_add(struct xf_buffer *b, const char *bytes, size_t size);
void xf_buffer_take(struct xf_buffer *b, size_t size);
void xf_buffer_free(struct xf_buffer *b);

#endif
