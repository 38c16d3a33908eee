/* Comes before each file of the core in the programs of test_*_stopped.c: each atomic operation
   first calls at_atomic(), which the test defines. */
#ifndef XF_TEST_STOPPING_H
#define XF_TEST_STOPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t stopping_word;

void at_atomic(void);

static inline uint64_t stopping_load(const stopping_word *from, memory_order order)
{
    at_atomic();
    return atomic_load_explicit(from, order);
}

static inline void stopping_store(stopping_word *to, uint64_t word, memory_order order)
{
    at_atomic();
    atomic_store_explicit(to, word, order);
}

static inline bool stopping_exchange(stopping_word *at, uint64_t *expected, uint64_t word,
                                     memory_order order, memory_order otherwise)
{
    at_atomic();
    return atomic_compare_exchange_strong_explicit(at, expected, word, order, otherwise);
}

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_compare_exchange_strong_explicit
#define atomic_load_explicit stopping_load
#define atomic_store_explicit stopping_store
#define atomic_compare_exchange_strong_explicit stopping_exchange

#endif
