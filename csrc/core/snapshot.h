/*
 * A state that several processes read and replace, in memory that they share: by atomics alone.
 *
 * Whoever changes it copies it, changes the copy, writes that into a block of its own, and makes it
 * the state by one compare-and-swap. If somebody was faster it begins again. Nobody waits for
 * anybody: a process that is stopped or killed, at whatever instruction, holds nobody up, and the
 * state is always a whole one.
 *
 * Each member has two blocks and writes into the one that is not the state. A reader may find that
 * a block has been written anew while it was copied; then the state is another one, and it is told.
 *
 * Memory that is all zeros has no state yet. What is in it is not believed: see xf_snapshot_read().
 */
#ifndef XF_SNAPSHOT_H
#define XF_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    XF_SNAPSHOT_MEMBERS = 256,
    XF_SNAPSHOT_WORDS = 6144, /* of a block: a multiple of a page */
    XF_SNAPSHOT_CELL = 512,   /* words of a member beside its blocks, only it writes these */
};

/* Bytes of the memory; it is to begin on a page. */
size_t xf_snapshot_size(void);

/* Where what `member` writes lies in it, bytes: the first one, and how many. */
size_t xf_snapshot_offset(uint32_t member);
size_t xf_snapshot_stride(void);

/* Which state is the current one; 0: there is none yet. */
uint64_t xf_snapshot_head(const void *memory);

/* Copies the state `head` into `words`, which has room for XF_SNAPSHOT_WORDS, and says how many
   these are, in `n`: none where there is no state, or it cannot be one. False: it is not the
   current one any more, and what was copied is nothing. */
bool xf_snapshot_read(const void *memory, uint64_t head, uint64_t *words, size_t *n);

/* Replaces the state `*head` by these `n` <= XF_SNAPSHOT_WORDS - 1 words, as `member`; `*head` is
   the new one. False: somebody was faster, and nothing has changed. */
bool xf_snapshot_swing(void *memory, uint64_t *head, uint32_t member, const uint64_t *words,
                       size_t n);

/* Whether all who use the memory say `what`, which is not 0, as the first who was asked did. */
bool xf_snapshot_agree(void *memory, uint64_t what);

/* Word `i` < XF_SNAPSHOT_CELL of what `member` tells of itself. */
uint64_t xf_snapshot_told(const void *memory, uint32_t member, size_t i);
void xf_snapshot_tell(void *memory, uint32_t member, size_t i, uint64_t word);

#endif
