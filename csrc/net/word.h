/* Eight bytes of a text at once, since most bytes of an answer mean nothing. */
#ifndef XF_NET_WORD_H
#define XF_NET_WORD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define XF_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

static inline uint64_t xf_word_at(const void *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Whether a byte of the word is below `bound`, which is 0x80 at most. */
static inline bool xf_word_has_below(uint64_t word, unsigned char bound)
{
    return ((word - XF_EACH(bound)) & ~word & XF_EACH(0x80)) != 0;
}

static inline bool xf_word_has(uint64_t word, unsigned char byte)
{
    return xf_word_has_below(word ^ XF_EACH(byte), 1);
}

#endif
