/* One scheduler on a counting allocator, and calls for it. */
#ifndef XF_TEST_FIXTURE_H
#define XF_TEST_FIXTURE_H

#include "harness.h"

#include "core/scheduler.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

static struct test_heap memory;
static xf_scheduler s;

static inline xf_definition limit(double amount, double period, double capacity)
{
    xf_definition d;
    CHECK(xf_define(&d, amount, period, capacity));
    return d;
}

static inline void start(const xf_definition *limits, uint32_t n, uint32_t slots)
{
    const xf_alloc alloc = {test_heap_realloc, &memory};
    memory = (struct test_heap){0};
    CHECK(xf_scheduler_init(&s, limits, n, slots, &alloc));
}

static inline void stop(void)
{
    xf_scheduler_free(&s);
    CHECK_EQ(memory.live, 0);
}

/* A new call; with fewer than two limits the costs that have none are ignored. Never freed: a test
   is short, and the leak checker knows reachable memory. */
static inline xf_call *call(int64_t cost, int64_t second_cost)
{
    static struct kept {
        struct kept *next;
        xf_call *call;
    } *kept;
    const int64_t costs[] = {cost, second_cost};
    xf_call *c = calloc(1, xf_call_size(&s));
    struct kept *k = malloc(sizeof(*k));
    CHECK(c != NULL && k != NULL);
    *k = (struct kept){kept, c};
    kept = k;
    for (uint32_t i = 0; i < s.gate.n_limits && i < 2; i++) {
        c->held[i] = costs[i];
        c->priced |= costs[i] > 0;
    }
    return c;
}

static inline xf_call *submit(int64_t cost, int64_t second_cost, int64_t now)
{
    xf_call *c = call(cost, second_cost);
    CHECK(xf_submit(&s, c, 0, XF_NEVER, now));
    return c;
}

/* A call that is in flight. */
static inline xf_call *dispatched(int64_t cost, int64_t second_cost, int64_t now)
{
    xf_call *c = submit(cost, second_cost, now);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    CHECK(xf_dispatch(&s, c));
    return c;
}

/* How many calls are in the outbox; takes them out. */
static inline int collect_all(void)
{
    int n = 0;
    while (xf_collect(&s) != NULL) {
        n++;
    }
    return n;
}

/* The instant at which time alone does something next. */
static inline int64_t armed(void)
{
    int64_t at, deadline, change;
    xf_head(&s, &at);
    xf_first_deadline(&s, &deadline);
    xf_first_change(&s, &change);
    at = at < deadline ? at : deadline;
    return at < change ? at : change;
}

/* Refuses `c` (or no call) until `length` ns from now. */
static inline int64_t refuse(xf_call *c, int64_t length, int64_t now)
{
    const xf_backoff told = {.told_ns = length};
    return xf_refused(&s, c, &told, now);
}

#endif
