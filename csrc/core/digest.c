#include "core/digest.h"

#include <string.h>

enum { WORD = sizeof(uint64_t) };

/* A step of the finalizer of MurmurHash3: https://github.com/aappleby/smhasher */
static uint64_t mixed(uint64_t digest, uint64_t word)
{
    digest = (digest ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return digest ^ digest >> 33;
}

uint64_t xf_digest(uint64_t before, const char *at, size_t size)
{
    uint64_t digest = mixed(before, size);
    for (uint64_t word = 0; size > 0; word = 0) {
        size_t taken = size < WORD ? size : WORD;
        memcpy(&word, at, taken);
        digest = mixed(digest, word);
        at += taken;
        size -= taken;
    }
    return digest;
}
