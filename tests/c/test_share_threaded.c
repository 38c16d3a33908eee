/* Members that change the account at the same time: threads, as the sanitizer of threads knows only
   these. */
#include "sharekit.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 1500 };

typedef struct work {
    uint32_t seat;
    uint64_t used;
    pthread_t thread;
} work;

static bool is_dispatched(xf_scheduler *s, xf_call *c, int64_t now)
{
    while (xf_collect(s) != NULL) {
    }
    if (c->state != XF_CALL_ADMITTED) {
        return false;
    }
    if (!xf_dispatch(s, c)) {
        xf_put_back(s, c, now);
        return false;
    }
    return true;
}

/* Its calls, one after the other, each refunded a half; some are cancelled, some are refused. */
static void *run(void *argument)
{
    work *w = argument;
    xf_scheduler *s = &members[w->seat].s;
    xf_call *c = malloc(xf_call_size(s));
    CHECK(c != NULL);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t now = (int64_t)i * MS;
        memset(c, 0, xf_call_size(s));
        c->held[0] = 4;
        c->priced = true;
        CHECK(xf_submit(s, c, 0, XF_NEVER, now));
        for (int looks = 0; !is_dispatched(s, c, now) && looks < 50; looks++) {
            xf_look(s, now + looks * MS);
        }
        if (c->state == XF_CALL_IN_FLIGHT) {
            xf_settle(s, c, 0, 2, now);
            w->used += 2;
            if (i % 100 == 0) {
                const xf_backoff told = {.told_ns = MS};
                (void)xf_refused(s, c, &told, now);
            }
        }
        xf_finish(s, c, XF_SUCCEEDED, now);
        while (xf_collect(s) != NULL) {
        }
    }
    free(c);
    return NULL;
}

TEST(nothing_is_lost_between_members_that_change_the_account_together)
{
    static work all[THREADS];
    gather(THREADS, limit(100000, 1, 1000), 3);
    for (uint32_t i = 0; i < THREADS; i++) {
        all[i].seat = i;
        CHECK(pthread_create(&all[i].thread, NULL, run, &all[i]) == 0);
    }
    uint64_t used = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(all[i].thread, NULL) == 0);
        used += all[i].used;
    }
    CHECK(used > 0);
    xf_share_refresh(&members[0].s.gate);
    const xf_joint *a = &members[0].share->joint;
    CHECK_EQ(a->limits[0].used, used);
    CHECK_EQ(a->n_line, 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        CHECK_EQ(a->seats[i].held, 0);
        CHECK_EQ(members[i].s.gate.limits[0].used, all[i].used);
    }
    part(THREADS);
}

TEST_MAIN
