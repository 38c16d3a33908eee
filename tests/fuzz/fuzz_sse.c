/* libFuzzer target: the event parser gives the same events however its input is cut.
 *
 * The first byte chooses the pieces' size. */
#include "net/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hash(uint64_t *h, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        *h = (*h ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    }
    *h = (*h ^ 0x100) * UINT64_C(1099511628211);
}

static uint64_t parse(const char *text, size_t size, size_t piece, size_t limit)
{
    xf_sse parser;
    xf_sse_event event;
    uint64_t h = UINT64_C(14695981039346656037);
    xf_sse_init(&parser, limit);
    for (size_t at = 0; at < size; at += piece) {
        if (xf_sse_push(&parser, text + at, size - at < piece ? size - at : piece) < 0) {
            abort();
        }
        int found;
        while ((found = xf_sse_next(&parser, &event)) == 1) {
            hash(&h, event.data, event.data_size);
            hash(&h, event.type, event.type_size);
            hash(&h, event.id, event.id_size);
            h ^= (uint64_t)event.retry;
        }
        if (found < 0) {
            h = 0;
            break;
        }
    }
    xf_sse_free(&parser);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t piece = 1 + data[0] % 32;
    const char *text = (const char *)data + 1;
    size--;
    if (parse(text, size, size, 1 << 20) != parse(text, size, piece, 1 << 20)) {
        abort();
    }
    parse(text, size, piece, 16);
    return 0;
}
