/* The one way the core gets memory, so that a test can make any allocation fail. */
#ifndef XF_ALLOC_H
#define XF_ALLOC_H

#include <stddef.h>

typedef struct xf_alloc {
    /* Like realloc(); size 0 frees `p` and returns NULL. `ctx` is passed through. */
    void *(*realloc)(void *ctx, void *p, size_t size);
    void *ctx;
} xf_alloc;

#endif
