#include "net/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KEPT 65536 /* an emptied buffer gives back more than this */

int xf_buffer_add(xf_buffer *b, const char *bytes, size_t size)
{
    if (size > b->room - b->end) {
        size_t used = xf_buffer_size(b);
        if (size > SIZE_MAX / 4 - used) {
            return -1;
        }
        if (used + size <= b->room / 2) { /* half of it free: moving pays for itself */
            memmove(b->bytes, b->bytes + b->start, used);
        } else {
            size_t room = b->room ? b->room * 2 : 1024;
            while (room < used + size) {
                room *= 2;
            }
            if (b->start) {
                memmove(b->bytes, b->bytes + b->start, used);
            }
            b->start = 0;
            b->end = used;
            char *grown = realloc(b->bytes, room);
            if (grown == NULL) {
                return -1;
            }
            b->bytes = grown;
            b->room = room;
        }
        b->start = 0;
        b->end = used;
    }
    if (size) {
        memcpy(b->bytes + b->end, bytes, size);
    }
    b->end += size;
    return 0;
}

void xf_buffer_take(xf_buffer *b, size_t size)
{
    b->start += size;
    if (b->start == b->end) {
        b->start = b->end = 0;
        if (b->room > KEPT) {
            xf_buffer_free(b);
        }
    }
}

void xf_buffer_free(xf_buffer *b)
{
    free(b->bytes);
    *b = (xf_buffer){0};
}
