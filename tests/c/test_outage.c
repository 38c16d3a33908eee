/* Failures in a row: single calls at an interval, then all at once. */
#include "fixture.h"

#define BASE (2 * SECOND)

static const xf_backoff backoff = {.told_ns = XF_UNTOLD, .base_ns = BASE, .max_ns = 60 * SECOND};

/* `c` fails and waits for its next attempt. Returns the end of the cooldown. */
static int64_t fail(xf_call *c, int64_t now)
{
    int64_t until = xf_failed(&s, c, &backoff, now);
    xf_retry(&s, c, now);
    return until;
}

/* Dispatches what may go now and returns how many that were; `last` is the last of them. */
static int go(int64_t now, xf_call **last)
{
    int n = 0;
    xf_poll(&s, now);
    for (xf_call *c; (c = xf_collect(&s)) != NULL; n++) {
        CHECK(xf_dispatch(&s, c));
        *last = c;
    }
    return n;
}

/* An outage that begins at 0, with so many calls. */
static void break_down(int calls)
{
    xf_call *flying[100];
    for (int i = 0; i < calls; i++) {
        flying[i] = dispatched(1, 0, 0);
    }
    for (int i = 0; i < calls; i++) {
        CHECK_EQ(fail(flying[i], MS), BASE + MS);
    }
}

TEST(one_failure_is_bad_luck_and_its_pause_is_short_for_all)
{
    const xf_definition tokens = limit(100, 1, 100);
    xf_call *last;
    start(&tokens, 1, XF_UNLIMITED);
    break_down(2);
    for (int i = 0; i < 10; i++) {
        submit(1, 0, SECOND);
    }
    CHECK_EQ(go(BASE + MS - 1, &last), 0);
    CHECK_EQ(go(BASE + MS, &last), 12);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], BASE + MS), 88, 0.01); /* no rate is to blame */
    stop();
}

TEST(a_single_failure_pauses_no_other_call)
{
    static const xf_backoff alone = {
        .told_ns = XF_UNTOLD, .base_ns = BASE, .max_ns = 60 * SECOND, .alone = true};
    xf_call *last;
    start(NULL, 0, XF_UNLIMITED);
    for (int64_t now = MS; now < 5 * MS; now += 2 * MS) {
        xf_call *c = dispatched(1, 0, now);
        CHECK_EQ(xf_failed(&s, c, &alone, now), now);
        xf_rest(&s, c, now);
        CHECK_EQ(c->state, XF_CALL_RESTING);
        CHECK_EQ(s.gate.in_use, 0);
        xf_finish(&s, dispatched(1, 0, now), XF_CANCELLED, now);
        xf_retry(&s, c, now + MS);
        CHECK_EQ(go(now + MS, &last), 1);
        CHECK(last == c);
        xf_finish(&s, c, XF_FAILED, now + MS);
    }
    /* The third in a row is an outage. */
    xf_call *c = dispatched(1, 0, 5 * MS);
    CHECK_EQ(xf_failed(&s, c, &alone, 6 * MS), BASE + 6 * MS);
    xf_rest(&s, c, 6 * MS);
    CHECK_EQ(submit(1, 0, 6 * MS)->state, XF_CALL_WAITING);
    xf_finish(&s, c, XF_CANCELLED, 6 * MS); /* while it rests */
    CHECK_EQ(c->state, XF_CALL_DONE);
    stop();
}

TEST(in_an_outage_single_calls_go_at_an_interval_and_the_wait_does_not_grow)
{
    xf_call *last = NULL;
    int64_t now = MS;
    start(NULL, 0, XF_UNLIMITED);
    break_down(50);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(armed(), now + BASE);
        CHECK_EQ(go(now + BASE - 1, &last), 0);
        CHECK_EQ(go(now + BASE, &last), 1);
        now += BASE + MS;
        CHECK_EQ(fail(last, now), now + BASE);
    }
    CHECK_EQ(s.gate.cooldown.step, 0);
    stop();
}

TEST(an_answer_lets_all_go_at_once)
{
    xf_call *last = NULL;
    start(NULL, 0, XF_UNLIMITED);
    break_down(50);
    CHECK_EQ(go(BASE + MS, &last), 1);
    xf_finish(&s, last, XF_SUCCEEDED, BASE + 2 * MS);
    CHECK_EQ(go(BASE + 2 * MS, &last), 49);
    stop();
}

TEST(a_call_that_lives_longer_than_failures_take_lets_all_go)
{
    xf_call *last = NULL;
    start(NULL, 0, XF_UNLIMITED);
    break_down(50);
    CHECK_EQ(go(BASE + MS, &last), 1);
    CHECK_EQ(go(2 * BASE + MS - 1, &last), 0);
    CHECK_EQ(go(2 * BASE + MS, &last), 49);
    stop();
}

TEST(where_failures_take_long_single_calls_go_on)
{
    xf_call *last = NULL, *first = NULL;
    start(NULL, 0, XF_UNLIMITED);
    for (int i = 0; i < 3; i++) {
        xf_call *c = dispatched(0, 0, 10 * i * SECOND);
        CHECK_EQ(fail(c, 10 * (i + 1) * SECOND), 10 * (i + 1) * SECOND + BASE);
        CHECK_EQ(go(10 * (i + 1) * SECOND + BASE, &last), 1);
        if (i < 2) {
            xf_finish(&s, last, XF_CANCELLED, 10 * (i + 1) * SECOND + BASE);
        }
    }
    first = last;
    for (int i = 0; i < 20; i++) {
        submit(0, 0, 33 * SECOND);
    }
    for (int i = 1; i < 10; i++) {
        CHECK_EQ(go(32 * SECOND + i * BASE, &last), 1);
    }
    /* The first was sent before the others: that it fails says nothing of them. */
    fail(first, 51 * SECOND);
    xf_finish(&s, last, XF_SUCCEEDED, 52 * SECOND);
    CHECK_EQ(go(53 * SECOND, &last), 12);
    stop();
}

TEST(answers_to_calls_sent_before_a_failed_one_end_nothing)
{
    xf_call *last = NULL;
    start(NULL, 0, XF_UNLIMITED);
    xf_call *early = dispatched(0, 0, 0);
    break_down(50);
    CHECK_EQ(go(BASE + MS, &last), 1);
    fail(last, BASE + 2 * MS);
    xf_finish(&s, early, XF_SUCCEEDED, BASE + 3 * MS);
    CHECK_EQ(armed(), 2 * BASE + 2 * MS);
    CHECK_EQ(go(2 * BASE + 2 * MS, &last), 1);
    stop();
}

TEST(a_single_call_that_is_taken_back_makes_room_for_another)
{
    start(NULL, 0, XF_UNLIMITED);
    break_down(50);
    xf_poll(&s, BASE + MS);
    xf_call *c = xf_collect(&s);
    xf_finish(&s, c, XF_CANCELLED, BASE + MS);
    CHECK_EQ(collect_all(), 1);
    stop();
}

TEST(a_told_wait_counts_whenever_it_is_told)
{
    const xf_backoff told = {.told_ns = 9 * SECOND, .base_ns = BASE, .max_ns = 60 * SECOND};
    xf_call *last = NULL;
    start(NULL, 0, XF_UNLIMITED);
    xf_call *late = dispatched(0, 0, 0);
    break_down(50);
    CHECK_EQ(xf_failed(&s, late, &told, SECOND), 10 * SECOND);
    CHECK_EQ(go(10 * SECOND - 1, &last), 0);
    CHECK_EQ(go(10 * SECOND, &last), 1);
    stop();
}

TEST(without_a_base_there_is_no_pause)
{
    const xf_backoff none = {.told_ns = XF_UNTOLD, .base_ns = 0, .max_ns = 60 * SECOND};
    start(NULL, 0, XF_UNLIMITED);
    for (int i = 0; i < 9; i++) {
        xf_call *c = dispatched(0, 0, 0);
        CHECK_EQ(xf_failed(&s, c, &none, 0), 0);
        xf_finish(&s, c, XF_FAILED, 0);
    }
    CHECK_EQ(submit(0, 0, 0)->state, XF_CALL_ADMITTED);
    stop();
}

TEST(a_single_call_that_is_put_back_was_no_try_unless_levels_were_set_meanwhile)
{
    const xf_definition tokens = limit(100, 1, 100);
    start(&tokens, 1, XF_UNLIMITED);
    break_down(5);
    xf_poll(&s, BASE + MS);
    xf_call *single = xf_collect(&s);
    xf_put_back(&s, single, BASE + 2 * MS);
    CHECK(xf_collect(&s) == single); /* at once: nothing was tried */
    xf_set_level(&s, 0, 50, BASE + 3 * MS);
    CHECK(!xf_dispatch(&s, single));
    xf_put_back(&s, single, BASE + 3 * MS);
    CHECK_EQ(single->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 2 * BASE + 2 * MS);
    stop();
}

TEST(a_call_admitted_before_a_failure_does_not_go_after_its_pause)
{
    const xf_backoff pause = {.told_ns = XF_UNTOLD, .base_ns = SECOND, .max_ns = 60 * SECOND};
    start(NULL, 0, XF_UNLIMITED);
    xf_call *first = dispatched(0, 0, 0), *late = dispatched(0, 0, 0), *next = submit(0, 0, 0);
    CHECK_EQ(next->state, XF_CALL_ADMITTED);
    CHECK_EQ(xf_failed(&s, first, &pause, 0), SECOND);
    xf_poll(&s, 2 * SECOND);
    CHECK(!xf_dispatch(&s, next));
    xf_put_back(&s, next, 2 * SECOND);
    CHECK_EQ(next->state, XF_CALL_ADMITTED);
    CHECK_EQ(xf_failed(&s, late, &pause, 2 * SECOND), 2 * SECOND); /* sent before: no news */
    CHECK(xf_dispatch(&s, next));
    stop();
}

TEST(an_answer_to_a_call_that_was_sent_with_a_failed_one_does_not_end_an_outage)
{
    xf_outage o = {0};
    const xf_outage_failure f = {.sent = 10, .now = 50, .fresh = true};
    for (int i = 0; i < XF_OUTAGE_AFTER; i++) {
        xf_outage_failed(&o, &f, 100, 150);
    }
    xf_outage_answered(&o, 10);
    CHECK_EQ(o.interval, 100);
    xf_outage_answered(&o, 11);
    CHECK_EQ(o.interval, 0);
}

TEST(single_calls_that_fail_faster_halve_the_time_that_convinces)
{
    xf_outage o = {0};
    const xf_outage_failure slow = {.sent = 10, .now = 50, .fresh = true};
    const xf_outage_failure fast = {.sent = 60, .now = 61, .fresh = true};
    for (int i = 0; i < XF_OUTAGE_AFTER; i++) {
        xf_outage_failed(&o, &slow, 100, 150);
    }
    CHECK_EQ(o.longest, 40);
    xf_outage_failed(&o, &fast, 100, 150);
    CHECK_EQ(o.longest, 20);
}

TEST_MAIN
