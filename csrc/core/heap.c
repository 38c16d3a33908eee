#include "core/heap.h"

#include <string.h>

enum { ARITY = 4, FIRST_CAPACITY = 64 };

static void put(xf_heap *h, uint32_t i, xf_heap_entry e)
{
    uint32_t place = i + 1;
    h->entries[i] = e;
    memcpy((char *)e.item + h->place_offset, &place, sizeof(place));
}

static void sift_up(xf_heap *h, uint32_t i, xf_heap_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (h->entries[parent].key <= e.key) {
            break;
        }
        put(h, i, h->entries[parent]);
        i = parent;
    }
    put(h, i, e);
}

static void sift_down(xf_heap *h, uint32_t i, xf_heap_entry e)
{
    for (;;) {
        uint64_t first = (uint64_t)i * ARITY + 1;
        if (first >= h->size) {
            break;
        }
        uint32_t least = (uint32_t)first;
        uint32_t end = first + ARITY < h->size ? (uint32_t)first + ARITY : h->size;
        for (uint32_t c = least + 1; c < end; c++) {
            if (h->entries[c].key < h->entries[least].key) {
                least = c;
            }
        }
        if (h->entries[least].key >= e.key) {
            break;
        }
        put(h, i, h->entries[least]);
        i = least;
    }
    put(h, i, e);
}

void xf_heap_init(xf_heap *h, size_t place_offset)
{
    *h = (xf_heap){.place_offset = place_offset};
}

void xf_heap_free(xf_heap *h, const xf_alloc *alloc)
{
    if (h->entries != NULL) {
        alloc->realloc(alloc->ctx, h->entries, 0);
    }
    xf_heap_init(h, h->place_offset);
}

static bool resize(xf_heap *h, uint32_t capacity, const xf_alloc *alloc)
{
    xf_heap_entry *entries =
        alloc->realloc(alloc->ctx, h->entries, (size_t)capacity * sizeof(xf_heap_entry));
    if (entries == NULL) {
        return false;
    }
    h->entries = entries;
    h->capacity = capacity;
    return true;
}

bool xf_heap_reserve(xf_heap *h, uint32_t n, const xf_alloc *alloc)
{
    if (n <= h->capacity) {
        return true;
    }
    uint32_t capacity = h->capacity ? h->capacity : FIRST_CAPACITY;
    while (capacity < n) {
        if (capacity > UINT32_MAX / 2) {
            return false;
        }
        capacity *= 2;
    }
    return resize(h, capacity, alloc);
}

void xf_heap_shrink(xf_heap *h, uint32_t n, const xf_alloc *alloc)
{
    if (h->capacity > FIRST_CAPACITY && n < h->capacity / 4 && h->size <= h->capacity / 2) {
        (void)resize(h, h->capacity / 2, alloc);
    }
}

void xf_heap_push(xf_heap *h, uint64_t key, void *item)
{
    xf_heap_entry e = {key, item};
    h->size++;
    sift_up(h, h->size - 1, e);
}

/* Puts `e` in the place `i`, which is free, or where the order wants it from there. */
static void settle(xf_heap *h, uint32_t i, xf_heap_entry e)
{
    if (i > 0 && h->entries[(i - 1) / ARITY].key > e.key) {
        sift_up(h, i, e);
    } else {
        sift_down(h, i, e);
    }
}

static uint32_t place_of(const xf_heap *h, const void *item)
{
    uint32_t place;
    memcpy(&place, (const char *)item + h->place_offset, sizeof(place));
    return place;
}

void xf_heap_rekey(xf_heap *h, uint64_t key, void *item)
{
    settle(h, place_of(h, item) - 1, (xf_heap_entry){key, item});
}

void xf_heap_remove(xf_heap *h, void *item)
{
    uint32_t i = place_of(h, item) - 1;
    memset((char *)item + h->place_offset, 0, sizeof(uint32_t));
    xf_heap_entry last = h->entries[--h->size];
    if (i != h->size) {
        settle(h, i, last);
    }
}
