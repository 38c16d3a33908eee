/*
 * A 4-ary min-heap of calls. Keys lie in the array beside the pointers, so that the four
 * children compared in one step share a cache line; equal keys do not occur (the queue's keys
 * hold a sequence number) or need no order (deadlines). Every item stores its own place, for
 * removal in O(log n).
 */
#ifndef XF_HEAP_H
#define XF_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/alloc.h"

typedef struct xf_heap_entry {
    uint64_t key;
    void *item;
} xf_heap_entry;

typedef struct xf_heap {
    xf_heap_entry *entries;
    uint32_t size;
    uint32_t capacity;
    size_t place_offset; /* where in an item its uint32_t place lies; 0 there = not in the heap */
} xf_heap;

/* Makes `h` an empty heap that owns no memory. */
void xf_heap_init(xf_heap *h, size_t place_offset);

/* Frees the memory. Does not touch the items. */
void xf_heap_free(xf_heap *h, const xf_alloc *alloc);

/* Makes room for `n` items in all. False, and the heap stays as it is, if there is no memory. The
   heap grows by doubling; then this is O(n). */
bool xf_heap_reserve(xf_heap *h, uint32_t n, const xf_alloc *alloc);

/* Frees memory if `n` items would fill less than a quarter of it. Never fails. */
void xf_heap_shrink(xf_heap *h, uint32_t n, const xf_alloc *alloc);

/* Adds `item`; its room must have been reserved. O(log n), O(1) for the largest key. */
void xf_heap_push(xf_heap *h, uint64_t key, void *item);

/* Gives `item`, which is in the heap, another key. O(log n); O(1) for an only item. */
void xf_heap_rekey(xf_heap *h, uint64_t key, void *item);

/* The entry with the smallest key, or NULL. */
static inline const xf_heap_entry *xf_heap_top(const xf_heap *h)
{
    return h->size ? &h->entries[0] : NULL;
}

/* Whether the first entry has the smaller key, or the second one is NULL. */
static inline bool xf_heap_comes_before(const xf_heap_entry *a, const xf_heap_entry *b)
{
    return b == NULL || a->key < b->key;
}

/* Takes `item` out, wherever it lies. It must be in the heap. O(log n). */
void xf_heap_remove(xf_heap *h, void *item);

#endif
