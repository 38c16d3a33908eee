/* A member that dies or is stopped at its k-th atomic operation, for every k of a call's life: the
   others go on within 100 ms, and nothing is lost. */
#include "sharekit.h"

#include <setjmp.h>

#define HOUR 3600

static int64_t now;
static long left; /* atomic operations until something happens; 0: nothing will */
static void (*happens)(void);

void at_atomic(void)
{
    if (left > 0 && --left == 0) {
        happens();
    }
}

static bool is_dispatched(xf_scheduler *s, xf_call *c)
{
    while (xf_collect(s) != NULL) {
    }
    if (c->state == XF_CALL_ADMITTED && xf_dispatch(s, c)) {
        return true;
    }
    if (c->state == XF_CALL_ADMITTED) {
        xf_put_back(s, c, now);
    }
    return false;
}

/* Has a call of 2 units go, which costs 1 in the end. It waits at most 100 ms. */
static void live(uint32_t seat)
{
    xf_scheduler *s = &members[seat].s;
    int64_t waited = 0;
    xf_call *c = submit(seat, 2, now);
    while (!is_dispatched(s, c)) {
        CHECK(waited < XF_GRANT_NS);
        waited += MS;
        now += MS;
        xf_look(s, now);
    }
    xf_settle(s, c, 0, 1, now);
    xf_finish(s, c, XF_SUCCEEDED, now);
}

/* The books of the account, as a member reads them, after so many units. */
static void check_books(uint32_t seat, uint64_t used)
{
    double rest = level(seat, now);
    const xf_joint *a = &members[seat].share->joint;
    CHECK_EQ(a->limits[0].used, used);
    CHECK_NEAR(rest, 10 - (double)used, 0.01);
    CHECK_EQ(a->n_line, 0);
    for (uint32_t i = 0; i < a->n_seats; i++) {
        CHECK_EQ(a->seats[i].held, 0);
    }
}

static jmp_buf grave;

static void die(void)
{
    longjmp(grave, 1);
}

/* Whether a member dies at the k-th operation of a call's life, or else the life has fewer. */
static bool dies_at(uint32_t seat, long k)
{
    happens = die;
    left = k;
    if (setjmp(grave) != 0) {
        return true;
    }
    live(seat);
    left = 0;
    return false;
}

TEST(a_member_that_dies_at_any_atomic_operation_leaves_a_whole_account)
{
    long k = 1;
    bool dies = true;
    for (; dies; k++) {
        now = 0;
        gather(2, limit(1, HOUR, 10), 1);
        dies = dies_at(0, k);
        members[0].s.gate.share = NULL; /* so that it does not leave */
        xf_share_bury(&members[1].s.gate, 0, now);
        live(1);
        uint64_t used = members[1].share->joint.limits[0].used;
        CHECK(used >= 1 && used <= 3);
        check_books(1, used);
        part(2);
    }
    CHECK(k > 300);
}

static void wait_for_another(void)
{
    now += 2 * XF_GRANT_NS;
    live(1);
}

TEST(a_member_that_is_stopped_at_any_atomic_operation_holds_no_other_up)
{
    long k = 1;
    bool is_stopped = true;
    happens = wait_for_another;
    for (; is_stopped; k++) {
        now = 0;
        gather(2, limit(1, HOUR, 10), 2);
        left = k;
        live(0);
        is_stopped = left == 0;
        left = 0;
        check_books(0, is_stopped ? 2 : 1);
        part(2);
    }
    CHECK(k > 300);
}

TEST_MAIN
