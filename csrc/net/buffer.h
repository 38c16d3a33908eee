/* A byte queue: bytes are added at the end and taken from the front. */
#ifndef XF_NET_BUFFER_H
#define XF_NET_BUFFER_H

#include <stddef.h>

typedef struct xf_buffer {
    char *bytes;
    size_t start, end, room; /* bytes[start:end] is the content, of room allocated */
} xf_buffer;

static inline size_t xf_buffer_size(const xf_buffer *b)
{
    return b->end - b->start;
}
static inline const char *xf_buffer_data(const xf_buffer *b)
{
    return b->bytes != NULL ? b->bytes + b->start : "";
}

/* Adds bytes at the end. 0, or -1 if there is no memory; then nothing has changed. */
int xf_buffer_add(xf_buffer *b, const char *bytes, size_t size);

/* Takes `size` bytes from the front. */
void xf_buffer_take(xf_buffer *b, size_t size);

/* Frees the memory. */
void xf_buffer_free(xf_buffer *b);

#endif
