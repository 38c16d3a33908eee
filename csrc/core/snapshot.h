/*
 * A state that several processes read and replace in memory that they share, by atomics alone.
 *
 * A member changes it by a copy: it changes the copy, writes that into a block of its own, and
 * makes it the state by one compare-and-swap. If another member was faster it begins again. No
 * member waits for another. A process that is stopped or killed, at whatever instruction, holds up
 * no other, and the state is always a whole one.
 *
 * Each member has two blocks and writes into the one that is not the state. A block may be
 * rewritten while a reader copies it. Then the state is another one, and the reader is told.
 *
 * Memory of zeros has no state yet. Its content is not trusted: see xf_snapshot_read().
 */
#ifndef XF_SNAPSHOT_H
#define XF_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    XF_SNAPSHOT_MEMBERS = 256,
    XF_SNAPSHOT_WORDS = 7168, /* of a block: a multiple of a page */
    XF_SNAPSHOT_CELL = 512,   /* words of a member beside its blocks, which only it writes */
};

/* Bytes of the memory, which must begin on a page. */
size_t xf_snapshot_size(void);

/* The part of the memory that `member` writes: its offset and its size, in bytes. */
size_t xf_snapshot_offset(uint32_t member);
size_t xf_snapshot_stride(void);

/* The number of the current state; 0 if there is none yet. */
uint64_t xf_snapshot_head(const void *memory);

/* Copies the state `head` into `words`, which has room for XF_SNAPSHOT_WORDS, and stores their
   number in `n`: 0 if there is no state, or it cannot be one. False, and the copy is of no use, if
   it is no longer the current state. */
bool xf_snapshot_read(const void *memory, uint64_t head, uint64_t *words, size_t *n);

/* Replaces the state `*head` by these `n` <= XF_SNAPSHOT_WORDS - 1 words, as `member`, and stores
   the new number in `*head`. False, and nothing changes, if another member was faster. */
bool xf_snapshot_swing(void *memory, uint64_t *head, uint32_t member, const uint64_t *words,
                       size_t n);

/* Whether `what`, which is not 0, is the value that the first caller has given. */
bool xf_snapshot_agree(void *memory, uint64_t what);

/* Reads or writes word `i` < XF_SNAPSHOT_CELL of a member's cell. */
uint64_t xf_snapshot_told(const void *memory, uint32_t member, size_t i);
void xf_snapshot_tell(void *memory, uint32_t member, size_t i, uint64_t word);

#endif
