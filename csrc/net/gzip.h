/* Decodes a gzip body as it arrives, and knows whether its end has come. (libcurl's own decoding
 * takes a stream that was cut off for a whole one.) It uses the zlib that libcurl brings along.
 */
#ifndef XF_NET_GZIP_H
#define XF_NET_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "net/buffer.h"

/* zlib's z_stream: its size, and the fields used here. zlib itself checks the size. */
typedef struct xf_zstream {
    const unsigned char *next_in;
    unsigned avail_in;
    unsigned long total_in;
    unsigned char *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *message;
    void *state, *allocate, *release, *opaque;
    int data_type;
    unsigned long checksum, reserved;
} xf_zstream;

typedef struct xf_zlib {
    int (*init)(xf_zstream *, int bits, const char *version, int size);
    int (*inflate)(xf_zstream *, int flush);
    int (*reset)(xf_zstream *);
    int (*end)(xf_zstream *);
} xf_zlib;

/* Loads zlib from a library, or from one that it is linked with. False if there is none. */
bool xf_zlib_load(xf_zlib *zlib, void *library);

typedef struct xf_gzip xf_gzip;

enum { XF_GZIP_MEMORY = -1, XF_GZIP_BAD = -2, XF_GZIP_LARGE = -3 };

/* Makes a decoder. NULL if there is no memory, or no zlib. */
xf_gzip *xf_gzip_new(const xf_zlib *zlib);
/* Decodes bytes and adds them to `out`. 0, or XF_GZIP_... for bad data, or for more than `most`
 * bytes in `out`. */
int xf_gzip_push(xf_gzip *, const char *bytes, size_t size, xf_buffer *out, size_t most);
/* Whether the bytes so far were a whole stream. */
bool xf_gzip_whole(const xf_gzip *);

/* Frees a decoder, or NULL. */
void xf_gzip_free(xf_gzip *);

#endif
