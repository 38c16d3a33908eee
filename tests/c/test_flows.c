/* The queue alone: flows, their order, and calls that come back to their old places. */
#include "harness.h"

#include "core/queue.h"

static struct test_heap memory;
static const xf_alloc alloc = {test_heap_realloc, &memory};
static xf_queue q;

enum { MANY = 250000 };
static xf_call calls[MANY];

static void start(void)
{
    memory = (struct test_heap){0};
    xf_queue_init(&q);
    memset(calls, 0, sizeof(calls));
}

static void stop(void)
{
    xf_queue_free(&q, &alloc);
    CHECK_EQ(memory.live, 0);
}

static void number(xf_call *c, int priority)
{
    CHECK(xf_queue_make_room(&q, c, priority, XF_NEVER, (uint32_t)q.next_number + 1, &alloc));
    xf_queue_number(&q, c);
}

static xf_flow *flow_of(const xf_call *c)
{
    return q.known[c->flow];
}

/* `n` calls of priority 0 have been admitted, and `more` behind them wait. */
static void admitted(size_t n, size_t more)
{
    for (size_t i = 0; i < n + more; i++) {
        number(&calls[i], 0);
        xf_queue_enter(&q, &calls[i]);
    }
    for (size_t i = 0; i < n; i++) {
        CHECK(xf_queue_head(&q) == &calls[i]);
        xf_queue_leave(&q, &calls[i]);
    }
}

/* The first `n` calls wait, in their order, and no others. */
static void check_order(size_t n)
{
    CHECK_EQ(q.size, n);
    for (size_t i = 0; i < n; i++) {
        CHECK(xf_queue_head(&q) == &calls[i]);
        xf_queue_leave(&q, &calls[i]);
    }
    CHECK(xf_queue_head(&q) == NULL);
    CHECK_EQ(q.size, 0);
}

TEST(a_waiting_call_costs_no_memory_of_the_queue)
{
    start();
    number(&calls[0], 0);
    size_t asked = memory.calls;
    CHECK(asked > 0);
    admitted(0, MANY);
    CHECK_EQ(memory.calls, asked);
    check_order(MANY);
    stop();
}

/* Each of the two would take minutes if a call were sought from one end only. */
TEST(calls_that_come_back_in_their_order_are_put_in_at_once)
{
    start();
    admitted(MANY - 1, 1);
    for (size_t i = 0; i < MANY - 1; i++) {
        xf_queue_return(&q, &calls[i]);
    }
    check_order(MANY);
    stop();
}

TEST(calls_that_come_back_in_reverse_are_put_in_at_once)
{
    start();
    admitted(MANY - 1, 1);
    for (size_t i = MANY - 1; i-- > 0;) {
        xf_queue_return(&q, &calls[i]);
    }
    check_order(MANY);
    stop();
}

/* As answers do: late by no more than some places. */
TEST(calls_that_come_back_nearly_in_order_are_put_in_at_once)
{
    enum { NEAR = 64 };
    start();
    admitted(MANY - MANY % NEAR, MANY % NEAR);
    for (size_t from = 0; from + NEAR <= MANY; from += NEAR) {
        for (size_t i = 0; i < NEAR; i++) {
            xf_queue_return(&q, &calls[from + i * 37 % NEAR]);
        }
    }
    check_order(MANY);
    stop();
}

static bool goes_before(const xf_call *c, const xf_call *other)
{
    int32_t priority = flow_of(c)->priority, others = flow_of(other)->priority;
    return priority != others ? priority > others : c->number < other->number;
}

/* Against a plain array: whatever the order in which calls come, leave and come back. */
TEST(calls_keep_their_places_whatever_comes)
{
    enum { N = 48, STEPS = 200000 };
    enum { OUT, WAITS, WAS_ADMITTED } state[N] = {OUT};
    start();
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)draw(N), first = N;
        xf_call *c = &calls[i];
        for (size_t k = 0; k < N; k++) {
            if (state[k] == WAITS && (first == N || goes_before(&calls[k], &calls[first]))) {
                first = k;
            }
        }
        CHECK(xf_queue_head(&q) == (first < N ? &calls[first] : NULL));
        if (state[i] == OUT) {
            *c = (xf_call){0};
            number(c, (int)draw(3) - 1);
            xf_queue_enter(&q, c);
            state[i] = WAITS;
        } else if (state[i] == WAS_ADMITTED) {
            xf_queue_return(&q, c);
            state[i] = WAITS;
        } else if (draw(4) == 0) {
            xf_queue_leave(&q, c); /* cancelled */
            state[i] = OUT;
        } else {
            xf_queue_leave(&q, &calls[first]);
            state[first] = draw(4) == 0 ? OUT : WAS_ADMITTED;
        }
        for (const xf_call *each = flow_of(c)->calls.first; each != NULL; each = each->next) {
            CHECK(each->next == NULL
                      ? flow_of(c)->calls.last == each
                      : each->next->previous == each && each->number < each->next->number);
        }
    }
    xf_queue_free(&q, &alloc);
    CHECK_EQ(memory.live, 0);
}

TEST(every_priority_has_a_flow_and_the_highest_goes_first)
{
    enum { ALL = XF_MAX_PRIORITY - XF_MIN_PRIORITY + 1 };
    start();
    for (int i = 0; i < ALL; i++) {
        int priority = (int)(INT64_C(40503) * i % ALL) + XF_MIN_PRIORITY; /* each once */
        number(&calls[i], priority);
        xf_queue_enter(&q, &calls[i]);
        CHECK_EQ(flow_of(&calls[i])->priority, priority);
    }
    CHECK_EQ(q.n_known, ALL);
    for (int priority = XF_MAX_PRIORITY; priority >= XF_MIN_PRIORITY; priority--) {
        xf_call *head = xf_queue_head(&q);
        CHECK_EQ(flow_of(head)->priority, priority);
        xf_queue_leave(&q, head);
    }
    CHECK(xf_queue_head(&q) == NULL);
    number(&calls[ALL], 7); /* its flow is there still */
    CHECK_EQ(q.n_known, ALL);
    stop();
}

TEST(the_earliest_deadline_is_known_and_leaves_with_its_call)
{
    int64_t at;
    start();
    CHECK(xf_queue_first_deadline(&q, &at) == NULL);
    CHECK_EQ(at, XF_NEVER);
    const int64_t deadlines[] = {30, XF_NEVER, 10, 20};
    for (int i = 0; i < 4; i++) {
        CHECK(xf_queue_make_room(&q, &calls[i], 0, deadlines[i], 4, &alloc));
        xf_queue_number(&q, &calls[i]);
        xf_queue_enter(&q, &calls[i]);
    }
    CHECK(xf_queue_first_deadline(&q, &at) == &calls[2]);
    CHECK_EQ(at, 10);
    xf_queue_leave(&q, &calls[2]);
    CHECK(xf_queue_first_deadline(&q, &at) == &calls[3]);
    xf_queue_leave(&q, &calls[3]);
    xf_queue_leave(&q, &calls[0]);
    CHECK(xf_queue_first_deadline(&q, &at) == NULL);
    CHECK(xf_queue_head(&q) == &calls[1]);
    stop();
}

TEST(without_memory_for_its_flow_a_call_gets_no_room)
{
    int failures = 0;
    do {
        test_heap_fail_next(&memory);
        xf_queue_init(&q);
        memset(calls, 0, 100 * sizeof(*calls));
        for (int i = 0; i < 100; i++) {
            const xf_call untouched = calls[i];
            int64_t deadline = i % 2 ? XF_NEVER : i;
            if (!xf_queue_make_room(&q, &calls[i], i, deadline, 100, &alloc)) {
                failures++;
                CHECK(memcmp(&calls[i], &untouched, sizeof(untouched)) == 0);
                CHECK(xf_queue_make_room(&q, &calls[i], i, deadline, 100, &alloc));
            }
            xf_queue_number(&q, &calls[i]);
            xf_queue_enter(&q, &calls[i]);
        }
        for (int i = 100; i-- > 0;) {
            CHECK(xf_queue_head(&q) == &calls[i]);
            xf_queue_leave(&q, &calls[i]);
        }
        xf_queue_free(&q, &alloc);
        CHECK_EQ(memory.live, 0);
    } while (memory.failed);
    CHECK(failures > 100); /* each flow, the heaps, the table */
}

TEST_MAIN
