/*
 * What a C test of the core needs, and no more.
 *
 *     #include "harness.h"
 *     TEST(an_empty_queue_has_no_head) { CHECK(queue_head(&q) == NULL); }
 *     TEST_MAIN
 *
 * A failed check ends the program, so nothing runs on a broken state; run by pytest, each test is a
 * process of its own. By hand: `test_queue` runs all of its tests, `test_queue NAME` one.
 */
#ifndef XF_TEST_HARNESS_H
#define XF_TEST_HARNESS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first;
static struct test **test_last = &test_first;

/* Registers itself, so that no test can be written and then forgotten in a list. */
#define TEST(id)                                                                                   \
    static void id(void);                                                                          \
    __attribute__((constructor)) static void register_##id(void)                                   \
    {                                                                                              \
        static struct test self = {#id, id, NULL};                                                 \
        *test_last = &self;                                                                        \
        test_last = &self.next;                                                                    \
    }                                                                                              \
    static void id(void)

#define TEST_MAIN                                                                                  \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return test_main(argc > 1 ? argv[1] : NULL);                                               \
    }

/* A small generator, so that every run is the same. */
static inline uint64_t draw(uint64_t below)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static inline int test_main(const char *only)
{
    int ran = 0;
    for (struct test *t = test_first; t != NULL; t = t->next) {
        if (only == NULL || strcmp(only, t->name) == 0) {
            t->run();
            ran++;
        }
    }
    if (ran == 0) {
        fprintf(stderr, "no test is named %s\n", only != NULL ? only : "at all");
        return 2;
    }
    printf("%d passed\n", ran);
    return 0;
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: CHECK(%s)\n", __FILE__, __LINE__, __func__, #condition);   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* CHECK_EQ compares integers as int64_t, CHECK_NEAR doubles within `tolerance`; both show the
 * values. */
#define CHECK_EQ(actual, expected)                                                                 \
    do {                                                                                           \
        int64_t actual_ = (int64_t)(actual), expected_ = (int64_t)(expected);                      \
        if (actual_ != expected_) {                                                                \
            fprintf(stderr, "%s:%d: %s: %s is %" PRId64 ", not %s = %" PRId64 "\n", __FILE__,      \
                    __LINE__, __func__, #actual, actual_, #expected, expected_);                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_NEAR(actual, expected, tolerance)                                                    \
    do {                                                                                           \
        double actual_ = (actual), expected_ = (expected), off_ = actual_ - expected_;             \
        /* Written so that a NaN fails. */                                                         \
        if (!((off_ < 0 ? -off_ : off_) <= (tolerance))) {                                         \
            fprintf(stderr, "%s:%d: %s: %s is %.17g, not %s = %.17g within %g\n", __FILE__,        \
                    __LINE__, __func__, #actual, actual_, #expected, expected_,                    \
                    (double)(tolerance));                                                          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/*
 * An allocator that counts and fails on demand; test_heap_realloc is the core's allocator function,
 * a test_heap its context. To fail every allocation of a scenario once:
 *
 *     struct test_heap heap = {0};
 *     do {
 *         test_heap_fail_next(&heap);
 *         ... run the scenario; an error must leave the state intact ... free everything ...
 *         CHECK_EQ(heap.live, 0);
 *     } while (heap.failed);
 */
struct test_heap {
    size_t live;    /* blocks allocated and not yet freed */
    size_t calls;   /* allocations and growths asked for since fail_next */
    size_t fail_at; /* the call to refuse, from 1; 0 refuses none */
    bool failed;    /* that call came */
};

static inline void test_heap_fail_next(struct test_heap *heap)
{
    heap->fail_at++;
    heap->calls = 0;
    heap->failed = false;
}

static inline void *test_heap_realloc(void *context, void *block, size_t size)
{
    struct test_heap *heap = context;
    if (size == 0) {
        heap->live -= block != NULL;
        free(block);
        return NULL;
    }
    if (++heap->calls == heap->fail_at) {
        heap->failed = true;
        return NULL;
    }
    void *moved = realloc(block, size); /* the sanitizer's realloc always moves */
    CHECK(moved != NULL);
    heap->live += block == NULL;
    return moved;
}

#endif
