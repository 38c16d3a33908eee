#include "net/deadlines.h"

#include <stdlib.h>

static void put(xf_deadlines *d, size_t i, xf_deadline *entry)
{
    d->heap[i] = entry;
    entry->place = i + 1;
}

static void settle(xf_deadlines *d, size_t i, xf_deadline *entry)
{
    while (i && d->heap[(i - 1) / 2]->when > entry->when) {
        put(d, i, d->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (size_t child; (child = 2 * i + 1) < d->size; i = child) {
        if (child + 1 < d->size && d->heap[child + 1]->when < d->heap[child]->when) {
            child++;
        }
        if (d->heap[child]->when >= entry->when) {
            break;
        }
        put(d, i, d->heap[child]);
    }
    put(d, i, entry);
}

int xf_deadlines_add(xf_deadlines *d, xf_deadline *entry, int64_t when)
{
    if (d->size == d->room) {
        size_t room = d->room ? d->room * 2 : 64;
        xf_deadline **heap = realloc(d->heap, room * sizeof *heap);
        if (heap == NULL) {
            return -1;
        }
        d->heap = heap;
        d->room = room;
    }
    entry->when = when;
    settle(d, d->size++, entry);
    return 0;
}

void xf_deadlines_remove(xf_deadlines *d, xf_deadline *entry)
{
    if (!entry->place) {
        return;
    }
    size_t i = entry->place - 1;
    xf_deadline *last = d->heap[--d->size];
    entry->place = 0;
    if (last != entry) {
        settle(d, i, last);
    }
}

void xf_deadlines_move(xf_deadlines *d, xf_deadline *entry, int64_t when)
{
    entry->when = when;
    settle(d, entry->place - 1, entry);
}

void xf_deadlines_free(xf_deadlines *d)
{
    free(d->heap);
    *d = (xf_deadlines){0};
}
