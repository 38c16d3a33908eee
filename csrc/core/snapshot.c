#include "core/snapshot.h"

#include <stdatomic.h>

typedef _Atomic uint64_t xf_word;

/* The head is alone on its half of a page; then come the members, each with its blocks and its
 * cell. */
enum { PAGE_WORDS = 512, BLOCKS = 2, BLOCK_BITS = 16 };

#define STRIDE_WORDS (BLOCKS * (size_t)XF_SNAPSHOT_WORDS + XF_SNAPSHOT_CELL)
#define BLOCK_MASK (((uint64_t)1 << BLOCK_BITS) - 1)

size_t xf_snapshot_offset(uint32_t member)
{
    return (PAGE_WORDS + member * STRIDE_WORDS) * sizeof(xf_word);
}

size_t xf_snapshot_stride(void)
{
    return STRIDE_WORDS * sizeof(xf_word);
}

size_t xf_snapshot_size(void)
{
    return xf_snapshot_offset(XF_SNAPSHOT_MEMBERS);
}

static size_t place_of(uint64_t block)
{
    return PAGE_WORDS + block / BLOCKS * STRIDE_WORDS + block % BLOCKS * XF_SNAPSHOT_WORDS;
}

uint64_t xf_snapshot_head(const void *memory)
{
    return atomic_load_explicit((const xf_word *)memory, memory_order_acquire);
}

bool xf_snapshot_read(const void *memory, uint64_t head, uint64_t *words, size_t *n)
{
    const xf_word *all = memory;
    uint64_t block = head & BLOCK_MASK;
    *n = 0;
    if (head != 0 && block < BLOCKS * (uint64_t)XF_SNAPSHOT_MEMBERS) {
        const xf_word *from = all + place_of(block);
        uint64_t told = atomic_load_explicit(&from[0], memory_order_acquire);
        *n = told < XF_SNAPSHOT_WORDS ? (size_t)told : 0;
        for (size_t i = 0; i < *n; i++) {
            words[i] = atomic_load_explicit(&from[i + 1], memory_order_acquire);
        }
    }
    /* Its owner writes into a block only after it has seen another head, so whoever has read a word
       of that sees it, too: each word is released, and acquired. */
    return atomic_load_explicit(all, memory_order_relaxed) == head;
}

bool xf_snapshot_swing(void *memory, uint64_t *head, uint32_t member, const uint64_t *words,
                       size_t n)
{
    xf_word *all = memory;
    uint64_t block = BLOCKS * (uint64_t)member;
    if (xf_snapshot_head(memory) != *head) {
        return false;
    }
    block += (*head & BLOCK_MASK) == block;
    xf_word *to = all + place_of(block);
    atomic_store_explicit(&to[0], n, memory_order_release);
    for (size_t i = 0; i < n; i++) {
        atomic_store_explicit(&to[i + 1], words[i], memory_order_release);
    }
    uint64_t next = ((*head >> BLOCK_BITS) + 1) << BLOCK_BITS | block, expected = *head;
    if (!atomic_compare_exchange_strong_explicit(all, &expected, next, memory_order_release,
                                                 memory_order_relaxed)) {
        return false;
    }
    *head = next;
    return true;
}

bool xf_snapshot_agree(void *memory, uint64_t what)
{
    xf_word *said = (xf_word *)memory + PAGE_WORDS / 2;
    uint64_t before = 0;
    return atomic_compare_exchange_strong(said, &before, what) || before == what;
}

static size_t cell_of(uint32_t member)
{
    return PAGE_WORDS + member * STRIDE_WORDS + BLOCKS * (size_t)XF_SNAPSHOT_WORDS;
}

uint64_t xf_snapshot_told(const void *memory, uint32_t member, size_t i)
{
    return atomic_load_explicit((const xf_word *)memory + cell_of(member) + i,
                                memory_order_relaxed);
}

void xf_snapshot_tell(void *memory, uint32_t member, size_t i, uint64_t word)
{
    atomic_store_explicit((xf_word *)memory + cell_of(member) + i, word, memory_order_relaxed);
}
