/* The harness itself: a test that cannot fail proves nothing. */
#include "harness.h"

TEST(the_heap_counts_live_blocks)
{
    struct test_heap heap = {0};
    char *block = test_heap_realloc(&heap, NULL, 2);
    memcpy(block, "ab", 2);
    CHECK_EQ(heap.live, 1);
    block = test_heap_realloc(&heap, block, 100);
    CHECK(memcmp(block, "ab", 2) == 0);
    CHECK_EQ(heap.live, 1);
    test_heap_realloc(&heap, block, 0);
    test_heap_realloc(&heap, NULL, 0);
    CHECK_EQ(heap.live, 0);
}

TEST(the_heap_fails_each_allocation_once)
{
    struct test_heap heap = {0};
    int rounds = 0;
    do {
        test_heap_fail_next(&heap);
        void *first = test_heap_realloc(&heap, NULL, 8);
        void *second = test_heap_realloc(&heap, NULL, 8);
        CHECK_EQ(first == NULL, rounds == 0);
        CHECK_EQ(second == NULL, rounds == 1);
        test_heap_realloc(&heap, first, 0);
        test_heap_realloc(&heap, second, 0);
        CHECK_EQ(heap.live, 0);
        rounds++;
    } while (heap.failed);
    CHECK_EQ(rounds, 3);
}

TEST(near_takes_the_tolerance_on_both_sides)
{
    CHECK_NEAR(1.0, 1.5, 0.5);
    CHECK_NEAR(1.5, 1.0, 0.5);
}

TEST_MAIN
