/* Several schedulers that share an account, and calls for them. */
#ifndef XF_TEST_SHAREKIT_H
#define XF_TEST_SHAREKIT_H

#include "harness.h"

#include "core/scheduler.h"
#include "core/share.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

enum { MEMBERS = 8 };

typedef struct member {
    xf_scheduler s;
    xf_share *share;
} member;

static void *shared; /* the memory */
static member members[MEMBERS];

static void *plain_realloc(void *context, void *block, size_t size)
{
    (void)context;
    if (size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, size);
}

static inline xf_definition limit(double amount, double period, double capacity)
{
    xf_definition d;
    CHECK(xf_define(&d, amount, period, capacity));
    return d;
}

static inline void share_memory(void)
{
    shared = calloc(1, xf_snapshot_size());
    CHECK(shared != NULL);
}

static inline bool join(uint32_t seat, const xf_definition *limits, uint32_t n, uint32_t slots,
                        int64_t now)
{
    const xf_alloc alloc = {plain_realloc, NULL};
    member *m = &members[seat];
    const xf_joining joining = {.seat = seat};
    m->share = m->share != NULL ? m->share : malloc(sizeof(*m->share));
    CHECK(m->share != NULL);
    CHECK(xf_scheduler_init(&m->s, limits, n, slots, &alloc));
    return xf_share_join(&m->s.gate, m->share, shared, &joining, now);
}

/* `n` members that share one limit and slots. */
static inline void gather(uint32_t n, xf_definition d, uint32_t slots)
{
    share_memory();
    for (uint32_t i = 0; i < n; i++) {
        CHECK(join(i, &d, 1, slots, 0));
    }
}

static inline void part(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (members[i].s.gate.share != NULL) {
            xf_share_leave(&members[i].s.gate, members[i].s.now);
        }
        xf_scheduler_free(&members[i].s);
        free(members[i].share);
        members[i].share = NULL;
    }
    free(shared);
}

/* A call of that cost. Never freed: a test is short, and the leak checker knows reachable memory.
 */
static inline xf_call *call(uint32_t seat, int64_t cost)
{
    static struct kept {
        struct kept *next;
        xf_call *call;
    } *kept;
    xf_call *c = calloc(1, xf_call_size(&members[seat].s));
    struct kept *k = malloc(sizeof(*k));
    CHECK(c != NULL && k != NULL);
    *k = (struct kept){kept, c};
    kept = k;
    for (uint32_t i = 0; i < members[seat].s.gate.n_limits; i++) {
        c->held[i] = cost;
    }
    c->priced = cost > 0;
    return c;
}

static inline xf_call *submit(uint32_t seat, int64_t cost, int64_t now)
{
    xf_call *c = call(seat, cost);
    CHECK(xf_submit(&members[seat].s, c, 0, XF_NEVER, now));
    return c;
}

static inline xf_call *dispatched(uint32_t seat, int64_t cost, int64_t now)
{
    xf_call *c = submit(seat, cost, now);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    CHECK(xf_dispatch(&members[seat].s, c));
    return c;
}

/* When the head of that member passes, as far as it knows. */
static inline int64_t head_at(uint32_t seat)
{
    int64_t at;
    CHECK(xf_head(&members[seat].s, &at) != NULL);
    return at;
}

/* Whether `by` has found that `seat` is to be poked; it is then. */
static inline bool pokes(uint32_t by, uint32_t seat)
{
    uint64_t bit = (uint64_t)1 << seat % 64, *bits = &members[by].share->pokes.bits[seat / 64];
    bool is = (*bits & bit) != 0;
    *bits &= ~bit;
    return is;
}

static inline double level(uint32_t seat, int64_t now)
{
    xf_share_refresh(&members[seat].s.gate);
    return xf_limit_level(&members[seat].s.gate.limits[0], now);
}

#endif
