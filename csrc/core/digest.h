/*
 * Rolling digests of a text: each stands for all of the text before its end. They are the same in
 * every process, but not on machines of another byte order. A text may be made up to have the
 * digests of another one, so nothing that has to be true may depend on them.
 */
#ifndef XF_DIGEST_H
#define XF_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* Returns the digest of the text that `before` stands for, followed by `size` bytes from `at`. */
uint64_t xf_digest(uint64_t before, const char *at, size_t size);

#endif
