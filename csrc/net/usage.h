/* Tokens in a provider's JSON: what an answer says it used, and what a request asks for at most.
 *
 * A scan, not a parser: a `"usage": {` outside of strings starts an object whose whole numbers
 * are read. In the text of a prompt or an answer the quotes are escaped, so it does not match.
 */
#ifndef XF_NET_USAGE_H
#define XF_NET_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -1: not said. */
struct xf_usage {
    int64_t input, output, total;
    int64_t cached;                    /* of the input, read from a cache */
    int64_t cache_written, cache_read; /* Anthropic counts them beside the input */
    int64_t thoughts;                  /* Gemini counts them beside the output */
};

void xf_usage_init(struct xf_usage *usage);
/* Reads all usage objects of the text; later numbers replace earlier ones. Whether one was found
 * that says anything. */
bool xf_usage_scan(struct xf_usage *usage, const char *text, size_t size);
/* The largest max_tokens (by any of its names) of a request, 0 if there is none. */
int64_t xf_max_tokens(const char *text, size_t size);

#endif
