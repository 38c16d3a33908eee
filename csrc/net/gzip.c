#include "net/gzip.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* of zlib's stable ABI */
enum {
    Z_SYNC_FLUSH = 2,
    Z_STREAM_END = 1,
    Z_NEED_DICT = 2,
    Z_MEM_ERROR = -4,
    Z_BUF_ERROR = -5,
    GZIP_ONLY = 15 + 16, /* the largest window */
};
#define ABI "1" /* of the version, zlib looks at the first character */

typedef struct xf_gzip {
    const xf_zlib *zlib;
    xf_zstream stream;
    bool whole;
} xf_gzip;

bool xf_zlib_load(xf_zlib *zlib, void *library)
{
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"inflateInit2_", &zlib->init},
        {"inflate", &zlib->inflate},
        {"inflateReset", &zlib->reset},
        {"inflateEnd", &zlib->end},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (symbol == NULL) {
            return false;
        }
        memcpy(symbols[i].slot, &symbol, sizeof symbol);
    }
    xf_gzip *trial = xf_gzip_new(zlib);
    xf_gzip_free(trial);
    return trial != NULL;
}

xf_gzip *xf_gzip_new(const xf_zlib *zlib)
{
    xf_gzip *g = calloc(1, sizeof *g);
    if (g == NULL) {
        return NULL;
    }
    g->zlib = zlib;
    if (zlib->init == NULL || zlib->init(&g->stream, GZIP_ONLY, ABI, sizeof g->stream)) {
        free(g);
        return NULL;
    }
    return g;
}

int xf_gzip_push(xf_gzip *g, const char *bytes, size_t size, xf_buffer *out, size_t most)
{
    xf_zstream *s = &g->stream;
    unsigned char piece[16384];
    s->next_in = (const unsigned char *)bytes;
    s->avail_in = (unsigned)size;
    do {
        if (g->whole && s->avail_in) { /* another member follows: RFC 1952, 2.2 */
            g->zlib->reset(s);
            g->whole = false;
        }
        s->next_out = piece;
        s->avail_out = sizeof piece;
        int result = g->whole ? Z_BUF_ERROR : g->zlib->inflate(s, Z_SYNC_FLUSH);
        size_t made = sizeof piece - s->avail_out;
        if (result == Z_MEM_ERROR) {
            return XF_GZIP_MEMORY;
        }
        if ((result < 0 && result != Z_BUF_ERROR) || result == Z_NEED_DICT) {
            return XF_GZIP_BAD;
        }
        if (made > most - xf_buffer_size(out)) {
            return XF_GZIP_LARGE;
        }
        if (xf_buffer_add(out, (const char *)piece, made) < 0) {
            return XF_GZIP_MEMORY;
        }
        g->whole |= result == Z_STREAM_END;
    } while (s->avail_in || !s->avail_out);
    return 0;
}

bool xf_gzip_whole(const xf_gzip *g)
{
    return g->whole;
}

void xf_gzip_free(xf_gzip *g)
{
    if (g == NULL) {
        return;
    }
    g->zlib->end(&g->stream);
    free(g);
}
