/* The heap of calls: order, places, room, and a million items taken out anywhere. */
#include "harness.h"

#include "core/heap.h"

typedef struct item {
    uint64_t key;
    uint32_t place;
} item;

static struct test_heap memory;
static const xf_alloc alloc = {test_heap_realloc, &memory};

static xf_heap heap(void)
{
    xf_heap h;
    xf_heap_init(&h, offsetof(item, place));
    return h;
}

static item *pop(xf_heap *h)
{
    item *least = xf_heap_top(h)->item;
    xf_heap_remove(h, least);
    return least;
}

/* Every item knows where it lies, and none lies before its parent. */
static void check_sound(const xf_heap *h)
{
    CHECK(h->size <= h->capacity);
    for (uint32_t i = 0; i < h->size; i++) {
        const item *it = h->entries[i].item;
        CHECK_EQ(it->place, i + 1);
        CHECK(it->key == h->entries[i].key);
        CHECK(i == 0 || h->entries[(i - 1) / 4].key <= it->key);
    }
}

TEST(an_empty_heap_has_no_top)
{
    xf_heap h = heap();
    CHECK(xf_heap_top(&h) == NULL);
    xf_heap_shrink(&h, 0, &alloc);
    xf_heap_free(&h, &alloc);
    CHECK_EQ(memory.live, 0);
}

TEST(items_come_out_in_the_order_of_their_keys)
{
    enum { N = 5000 };
    static item items[N];
    xf_heap h = heap();
    CHECK(xf_heap_reserve(&h, N, &alloc));
    for (uint64_t i = 0; i < N; i++) {
        items[i].key = i * 7919 % N; /* each key once */
        xf_heap_push(&h, items[i].key, &items[i]);
    }
    check_sound(&h);
    for (uint64_t i = 0; i < N; i++) {
        item *least = pop(&h);
        CHECK(least->key == i);
        CHECK_EQ(least->place, 0);
    }
    CHECK(xf_heap_top(&h) == NULL);
    xf_heap_free(&h, &alloc);
    CHECK_EQ(memory.live, 0);
}

TEST(any_item_can_be_taken_out_or_get_another_key)
{
    enum { N = 300 };
    static item items[N];
    xf_heap h = heap();
    CHECK(xf_heap_reserve(&h, N, &alloc));
    for (int step = 0; step < 20000; step++) {
        item *it = &items[draw(N)];
        if (it->place != 0 && draw(2) == 0) {
            xf_heap_remove(&h, it);
            continue;
        }
        it->key = draw(50); /* with ties */
        if (it->place != 0) {
            xf_heap_rekey(&h, it->key, it);
        } else {
            xf_heap_push(&h, it->key, it);
        }
        if (step % 16 == 0) {
            check_sound(&h);
        }
    }
    xf_heap_free(&h, &alloc);
}

TEST(a_million_items_with_random_removals)
{
    enum { N = 1000000 };
    item *items = calloc(N, sizeof(*items));
    CHECK(items != NULL);
    xf_heap h = heap();
    for (uint32_t i = 0; i < N; i++) {
        CHECK(xf_heap_reserve(&h, i + 1, &alloc));
        items[i].key = draw(UINT64_MAX);
        xf_heap_push(&h, items[i].key, &items[i]);
    }
    uint32_t left = N;
    for (int i = 0; i < N / 2; i++) {
        item *it = &items[draw(N)];
        if (it->place != 0) {
            xf_heap_remove(&h, it);
            left--;
        }
    }
    CHECK_EQ(h.size, left);
    check_sound(&h);
    for (uint64_t last = 0; left > 0; left--) {
        item *least = pop(&h);
        CHECK(least->key >= last);
        last = least->key;
        xf_heap_shrink(&h, h.size, &alloc);
    }
    CHECK(h.capacity <= 128);
    xf_heap_free(&h, &alloc);
    free(items);
    CHECK_EQ(memory.live, 0);
}

TEST(room_is_kept_for_what_was_reserved)
{
    static item items[1000];
    xf_heap h = heap();
    for (uint32_t live = 1; live <= 1000; live++) {
        CHECK(xf_heap_reserve(&h, live, &alloc));
    }
    for (uint32_t live = 1000; live > 0; live--) {
        xf_heap_shrink(&h, live, &alloc);
        CHECK(h.capacity >= live);
    }
    CHECK(h.capacity < 1000);
    /* What is in it counts, too. */
    CHECK(xf_heap_reserve(&h, 1000, &alloc));
    for (int i = 0; i < 1000; i++) {
        items[i].key = (uint64_t)i;
        xf_heap_push(&h, items[i].key, &items[i]);
    }
    for (int i = 0; i < 10; i++) {
        xf_heap_shrink(&h, 1, &alloc);
    }
    CHECK(h.capacity >= 1000);
    check_sound(&h);
    xf_heap_free(&h, &alloc);
}

TEST(without_memory_a_heap_stays_as_it_is)
{
    static item items[64];
    xf_heap h = heap();
    CHECK(xf_heap_reserve(&h, 64, &alloc));
    for (int i = 0; i < 64; i++) {
        items[i].key = (uint64_t)(64 - i);
        xf_heap_push(&h, items[i].key, &items[i]);
    }
    xf_heap before = h;
    memory = (struct test_heap){.live = 1, .fail_at = 1};
    CHECK(!xf_heap_reserve(&h, 65, &alloc));
    CHECK(memcmp(&before, &h, sizeof(h)) == 0);
    check_sound(&h);
    CHECK(!xf_heap_reserve(&h, UINT32_MAX, &alloc));

    memory.fail_at = 0;
    CHECK(xf_heap_reserve(&h, 2000, &alloc));
    memory.fail_at = memory.calls + 1;
    xf_heap_shrink(&h, 64, &alloc); /* cannot fail: it only stays large */
    CHECK(memory.failed);
    check_sound(&h);
    xf_heap_free(&h, &alloc);
    CHECK_EQ(memory.live, 0);
}

TEST_MAIN
