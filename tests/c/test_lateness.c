/* Lateness is not lost, and nothing is dated back that was not late. */
#include "fixture.h"

TEST(lateness_is_not_lost)
{
    const xf_definition requests = limit(1000, 1, 1);
    enum { N = 5000 };
    start(&requests, 1, XF_UNLIMITED);
    for (int i = 0; i < N; i++) {
        submit(1, 0, 0);
    }
    int admitted = 1;
    int64_t now = 0;
    while (admitted < N) {
        now = armed() + (int64_t)draw(8 * MS); /* every wake is late */
        xf_poll(&s, now);
        admitted += collect_all();
        /* The i-th, from 0, is due at i ms: none earlier, and none is left behind. */
        CHECK_EQ(admitted, now / MS + 1 < N ? now / MS + 1 : N);
    }
    stop();
}

TEST(a_long_stall_is_not_answered_with_a_burst)
{
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    for (int i = 0; i < 1000; i++) {
        submit(1, 0, 0);
    }
    xf_poll(&s, SECOND / 2);
    CHECK_EQ(collect_all(), 1 + XF_CATCH_UP_NS / MS);
    CHECK_EQ(armed(), SECOND / 2 + MS);
    stop();
}

TEST(a_producer_that_asks_after_each_admission_keeps_the_schedule)
{
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    submit(1, 0, 0);
    for (int i = 1; i < 100; i++) {
        int64_t asked = (i - 1) * MS + MS / 2;
        xf_call *c = submit(1, 0, asked);
        CHECK_EQ(c->state, XF_CALL_WAITING);
        CHECK_EQ(armed(), i * MS);
        xf_poll(&s, i * MS + MS / 4); /* a little late */
        CHECK(xf_collect(&s) == c);
    }
    stop();
}

TEST(an_arrival_after_a_pause_starts_a_new_schedule)
{
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    submit(1, 0, 0);
    CHECK_EQ(submit(1, 0, 5 * MS)->state, XF_CALL_ADMITTED);
    CHECK_EQ(submit(1, 0, 5 * MS)->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 6 * MS);
    stop();
}

/* Only the passing of time is played back. Here nothing is late, so not even a bucket of one call
   may be exceeded, whatever unblocks the queue. */
TEST(the_end_of_an_obstacle_is_not_dated_back)
{
    enum { CANCELLED_HEAD, EXPIRED_HEAD, HIGHER_PRIORITY, REFUND, MORE_QUOTA, CASES };
    const xf_definition limits[] = {limit(1000, 1, 1), limit(1, 1000, 1)};
    for (int what = 0; what < CASES; what++) {
        start(limits, 2, XF_UNLIMITED);
        xf_call *first = dispatched(1, 1, 0), *head = call(1, 1);
        CHECK(xf_submit(&s, head, 0, what == EXPIRED_HEAD ? 5 * SECOND : XF_NEVER, 0));
        for (int i = 0; i < 20; i++) {
            submit(1, 0, 0);
        }
        const xf_definition more = limit(1000, 1, 1);
        switch (what) {
        case CANCELLED_HEAD:
            xf_finish(&s, head, XF_CANCELLED, 5 * SECOND);
            break;
        case EXPIRED_HEAD:
            xf_poll(&s, 5 * SECOND);
            CHECK(xf_collect(&s) == head);
            break;
        case HIGHER_PRIORITY:
            for (int i = 0; i < 20; i++) {
                CHECK(xf_submit(&s, call(1, 0), 1, XF_NEVER, 5 * SECOND));
            }
            break;
        case REFUND:
            xf_settle(&s, first, 1, 0, 5 * SECOND);
            break;
        case MORE_QUOTA:
            xf_settle(&s, first, 1, 0, 5 * SECOND);
            xf_retune(&s, 1, &more, 5 * SECOND);
            break;
        }
        CHECK_EQ(collect_all(), 1);
        CHECK_EQ(armed(), 5 * SECOND + MS);
        stop();
    }
}

TEST(retries_after_a_pause_are_not_dated_back)
{
    const xf_definition requests = limit(1000, 1, 1);
    xf_call *calls[20];
    start(&requests, 1, XF_UNLIMITED);
    for (int i = 0; i < 20; i++) {
        calls[i] = dispatched(1, 0, i * SECOND);
    }
    for (int i = 0; i < 20; i++) {
        xf_retry(&s, calls[i], 60 * SECOND);
    }
    CHECK_EQ(collect_all(), 1);
    CHECK_EQ(armed(), 60 * SECOND + MS);
    stop();
}

TEST(a_slot_is_free_from_the_end_of_the_call_that_held_it)
{
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, 1);
    xf_call *c = dispatched(1, 0, 0);
    for (int i = 0; i < 5; i++) {
        submit(1, 0, 0);
    }
    CHECK_EQ(armed(), XF_NEVER);
    xf_finish(&s, c, XF_SUCCEEDED, SECOND);
    CHECK_EQ(collect_all(), 1);
    CHECK_EQ(s.anchor, SECOND);
    stop();
}

TEST(a_call_that_ends_where_slots_are_free_moves_no_schedule)
{
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, 3);
    xf_call *first = dispatched(1, 0, 0), *second = submit(1, 0, 0);
    xf_poll(&s, MS + MS / 4);
    CHECK(xf_collect(&s) == second);
    xf_finish(&s, first, XF_SUCCEEDED, 2 * MS + MS / 4);
    CHECK_EQ(submit(1, 0, 2 * MS + MS / 2)->state, XF_CALL_ADMITTED); /* was due at 2 ms */
    CHECK_EQ(submit(1, 0, 2 * MS + MS / 2)->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 3 * MS);
    stop();
}

TEST(calls_let_in_later_were_not_let_in_before)
{
    enum { A_TURN = 16 };
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    xf_let_in(&s, 100, 0);
    for (int i = 0; i < A_TURN; i++) {
        submit(1, 0, 0);
    }
    xf_poll(&s, (A_TURN - 1) * MS);
    for (xf_call *c; (c = xf_collect(&s)) != NULL;) {
        CHECK(xf_dispatch(&s, c));
    }
    CHECK(xf_gate_is_full(&s.gate));
    xf_ramp_up(&s, 30 * MS);
    for (int i = 0; i < 3; i++) { /* three would have been due by now */
        CHECK_EQ(submit(1, 0, 30 * MS)->state, i == 0 ? XF_CALL_ADMITTED : XF_CALL_WAITING);
    }
    CHECK_EQ(armed(), 31 * MS);
    stop();
}

TEST_MAIN
