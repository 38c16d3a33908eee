/* Levels corrected by what a provider says is left. */
#include "fixture.h"

#include <math.h>

#include "core/trail.h"

static double told(double units, double doubt, bool bounded, int64_t sent_at, int64_t answered_at,
                   int64_t now)
{
    const xf_remaining left = {units, doubt, bounded, sent_at, answered_at};
    return xf_told(&s, 0, &left, now);
}

static void follow(xf_definition only)
{
    start(&only, 1, XF_UNLIMITED);
    CHECK(xf_follow(&s, 0));
}

static double level(int64_t now)
{
    return xf_limit_level(&s.gate.limits[0], now);
}

TEST(a_level_that_the_answer_rules_out_is_lowered)
{
    follow(limit(100, 1, 6000));
    xf_call *c = dispatched(1000, 0, 0);
    CHECK_NEAR(level(0), 5000, 0);
    xf_finish(&s, c, XF_SUCCEEDED, SECOND);
    /* Somebody else has used 2000. When the call had arrived there were 3000, and since then 100
       have come in, or less. */
    CHECK_NEAR(told(3000, 0, true, 0, SECOND, SECOND), -2000, 0);
    CHECK_NEAR(level(SECOND), 3100, 0);
    stop();
}

TEST(an_answer_may_or_may_not_count_calls_dispatched_since)
{
    follow(limit(100, 1, 6000));
    (void)dispatched(1000, 0, 0);
    for (int i = 0; i < 40; i++) {
        (void)dispatched(100, 0, 500 * MS);
    }
    CHECK_NEAR(level(SECOND), 1100, 0);
    /* Made before those: 5000 then, and now what we thought. */
    CHECK_NEAR(told(5000, 0, true, 0, SECOND, SECOND), 0, 0);
    /* Made after those: 1050 then. */
    CHECK_NEAR(told(1050, 0, true, 0, SECOND, SECOND), 0, 0);
    /* Too little even if made before all. */
    CHECK_NEAR(told(900, 0, true, 0, SECOND, SECOND), -150, 0);
    /* Too much even then, also if the first call has been overtaken on its way. */
    CHECK_NEAR(told(7000, 0, false, 0, SECOND, SECOND), 0, 0);
    CHECK_NEAR(told(7000, 0, false, 0, 3 * SECOND, 3 * SECOND), 150, 0);
    stop();
}

/* An answer, at `now`, says that nothing is used. */
static double told_full(int64_t now)
{
    return told(1e18, 0, true, now, now, now);
}

TEST(a_bounded_limit_rises_by_withheld_units_at_once)
{
    follow(limit(100, 1, 6000));
    (void)dispatched(3000, 0, 0);
    xf_withhold(&s, 0, 1000);
    CHECK_NEAR(told_full(SECOND), 1000, 0);
    CHECK_NEAR(told_full(SECOND), 0, 0);
    CHECK_NEAR(told_full(3 * SECOND), 0, 0);
    CHECK_NEAR(level(3 * SECOND), 4300, 0);
    xf_withhold(&s, 0, INT64_MAX);
    xf_withhold(&s, 0, INT64_MAX);
    CHECK_NEAR(told_full(6 * SECOND), 1400, 0);
    CHECK_NEAR(level(6 * SECOND), 6000, 0);
    xf_withhold(&s, 0, 1000);
    (void)dispatched(3000, 0, 6 * SECOND); /* it was full: nothing is owed any more */
    CHECK_NEAR(told_full(6 * SECOND), 0, 0);
    CHECK_NEAR(told_full(9 * SECOND), 0, 0);
    stop();
}

TEST(withheld_units_do_not_hasten_the_rest)
{
    follow(limit(100, 1, 6000));
    xf_finish(&s, dispatched(5000, 0, 0), XF_SUCCEEDED, SECOND);
    CHECK_NEAR(told(3000, 0, false, SECOND, SECOND, SECOND), 0, 0);
    xf_withhold(&s, 0, 500);
    CHECK_NEAR(told(3100, 0, false, 2 * SECOND, 2 * SECOND, 2 * SECOND), 500, 0);
    CHECK_NEAR(told(3200, 0, false, 3 * SECOND, 3 * SECOND, 3 * SECOND), 1400, 0);
    CHECK_NEAR(level(3 * SECOND), 3200, 0);
    stop();
}

static void ascertain(int64_t withheld, int64_t due, int64_t doubtful)
{
    const xf_ascertained found = {withheld, due, doubtful};
    xf_ascertain(&s, 0, &found);
}

TEST(due_units_are_refunded_less_those_that_answers_refunded)
{
    follow(limit(100, 1, 6000));
    xf_finish(&s, dispatched(5000, 0, 0), XF_SUCCEEDED, SECOND);
    xf_withhold(&s, 0, 1500);
    CHECK_NEAR(told(1400, 0, true, SECOND, SECOND, SECOND), 300, 0);
    ascertain(1500, 700, 500);
    CHECK_NEAR(level(SECOND), 1800, 0);
    CHECK_NEAR(told(1800, 0, true, SECOND, SECOND, SECOND), 0, 0); /* known by then */
    ascertain(500, 400, 0);
    CHECK_NEAR(level(SECOND), 2200, 0);
    ascertain(500, 400, 0);
    CHECK_NEAR(level(SECOND), 2200, 0);
    CHECK_NEAR(told_full(SECOND), 0, 0);
    stop();
}

TEST(a_cooldown_forgets_withheld_units)
{
    follow(limit(100, 1, 6000));
    xf_call *c = dispatched(3000, 0, 0);
    xf_withhold(&s, 0, 1000);
    refuse(c, 2 * SECOND, SECOND);
    xf_withhold(&s, 0, 1000);
    ascertain(2000, 2000, 0);
    CHECK_NEAR(level(3 * SECOND), 3000, 0);
    ascertain(2000, 2000, 0);
    CHECK_NEAR(level(3 * SECOND), 3000, 0);
    stop();
}

TEST(a_bounded_limit_rises_only_as_far_as_it_was_lowered)
{
    follow(limit(100, 1, 6000));
    (void)dispatched(3000, 0, 0);
    CHECK_NEAR(told(1e18, 0, true, 0, SECOND, SECOND), 0, 0);
    CHECK_NEAR(told(2000, 0, true, SECOND, SECOND, SECOND), -1100, 100);
    CHECK_NEAR(told(1e18, 0, true, SECOND, SECOND, SECOND), 0, 0);
    for (int64_t now = 3 * SECOND; now <= 9 * SECOND; now += 2 * SECOND) {
        CHECK_NEAR(told(1e18, 0, true, now, now, now), now < 4 * SECOND ? 1100 : 0, 100);
    }
    CHECK_NEAR(level(9 * SECOND), 3900, 0);
    stop();
}

TEST(a_possible_refund_is_not_counted_twice)
{
    follow(limit(100, 1, 6000));
    xf_finish(&s, dispatched(3000, 0, 0), XF_SUCCEEDED, 0);
    CHECK_NEAR(told(3400, 300, false, SECOND, SECOND, SECOND), 0, 0);
    CHECK_NEAR(told(3500, 300, false, SECOND, SECOND, SECOND), 0, 0);
    CHECK_NEAR(told(3700, 300, false, 3 * SECOND, 3 * SECOND, 3 * SECOND), 100, 0);
    stop();
}

TEST(a_limit_that_is_shut_goes_on_refilling)
{
    follow(limit(100, 1, 1000));
    (void)dispatched(1000, 0, 0);
    xf_shut(&s, 0, 5 * SECOND, 0);
    xf_call *c = submit(100, 0, 2 * SECOND), *d = submit(500, 0, 2 * SECOND);
    CHECK_EQ(armed(), 5 * SECOND);
    CHECK_NEAR(level(3 * SECOND), 300, 0);
    xf_shut(&s, 0, 4 * SECOND, 3 * SECOND);
    CHECK_EQ(armed(), 4 * SECOND);
    xf_poll(&s, 4 * SECOND);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    CHECK_EQ(d->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 6 * SECOND);
    xf_poll(&s, 6 * SECOND);
    CHECK_EQ(d->state, XF_CALL_ADMITTED);
    stop();
}

TEST(stale_answers_are_not_listened_to)
{
    follow(limit(100, 1, 6000));
    (void)dispatched(1000, 0, 0);
    (void)dispatched(1000, 0, SECOND);
    CHECK(told(2000, 0, true, SECOND, 2 * SECOND, 2 * SECOND) < 0);
    double now = level(3 * SECOND);
    CHECK_NEAR(told(0, 0, true, 0, 3 * SECOND, 3 * SECOND), 0, 0); /* sent earlier */
    CHECK_NEAR(level(3 * SECOND), now, 0);
    CHECK_NEAR(told(0, 0, true, SECOND, 3 * SECOND, 90 * SECOND), 0, 0); /* long ago */
    stop();
}

TEST(a_refusal_overrules_answers_to_calls_sent_before)
{
    follow(limit(100, 1, 6000));
    xf_call *c = dispatched(1000, 0, 0);
    refuse(c, 10 * SECOND, SECOND);
    CHECK_NEAR(told(5000, 0, false, 0, 2 * SECOND, 2 * SECOND), 0, 0);
    CHECK_NEAR(told(5000, 0, false, 0, 11 * SECOND, 11 * SECOND), 0, 0);
    CHECK_NEAR(told(5000, 0, false, 11 * SECOND, 11 * SECOND, 11 * SECOND), 0, 0);
    /* By then it may be on its way again. */
    CHECK_NEAR(told(5000, 0, false, 13 * SECOND, 13 * SECOND, 13 * SECOND), 2700, 100);
    stop();
}

TEST(a_level_is_raised_by_the_least_that_all_answers_of_a_while_say)
{
    const double left[] = {5000, 4000, 4800, 5000};
    follow(limit(1, 1, 6000));
    xf_finish(&s, dispatched(3000, 0, 0), XF_SUCCEEDED, 0);
    for (int64_t i = 0; i < 4; i++) {
        int64_t now = (10 + i) * SECOND;
        CHECK_NEAR(told(left[i], 0, false, now, now, now), i == 2 ? 990 : 0, 2);
    }
    /* One that knows of nothing has it begin anew. */
    for (int64_t i = 14; i < 20; i++) {
        double said = i % 2 ? 5000 : level(i * SECOND);
        CHECK_NEAR(told(said, 0, false, i * SECOND, i * SECOND, i * SECOND), 0, 2);
    }
    stop();
}

TEST(no_answer_puts_anybody_into_debt_or_moves_the_level_above_the_capacity)
{
    const double words[] = {0, 1, 17, 5999, 6000, 1e18};
    follow(limit(100, 1, 6000));
    int64_t now = 0;
    for (int i = 0; i < 5000; i++) {
        xf_call *c = submit((int64_t)draw(900), 0, now);
        if (c->state == XF_CALL_ADMITTED) {
            CHECK(xf_dispatch(&s, c));
        } else {
            xf_finish(&s, c, XF_CANCELLED, now);
        }
        double before = level(now);
        int64_t sent = now - (int64_t)draw(3 * SECOND);
        (void)told(words[draw(6)], 0, draw(2), sent > 0 ? sent : 0, now, now);
        CHECK(level(now) >= (before < 0 ? before : 0) && level(now) <= 6000);
        now += (int64_t)draw(SECOND);
    }
    stop();
}

TEST(a_trail_spans_idle_times_and_forgets_after_a_minute)
{
    static xf_trail t;
    int64_t least, most;
    xf_trail_start(&t, 0, 100);
    xf_trail_note(&t, 10 * SECOND, 150, false);
    xf_trail_note(&t, 10 * SECOND, 20, false);
    CHECK(xf_trail_range(&t, 5 * SECOND, 10 * SECOND, &least, &most));
    CHECK_EQ(least, 20);
    CHECK_EQ(most, 150);
    xf_trail_note(&t, 500 * SECOND, 300, false);
    CHECK(!xf_trail_range(&t, 10 * SECOND, 500 * SECOND, &least, &most));
    CHECK(xf_trail_range(&t, 450 * SECOND, 500 * SECOND, &least, &most));
    CHECK_EQ(least, 20);
    CHECK_EQ(most, 300);
    stop();
}

TEST(the_quota_of_calls_sent_since_is_known)
{
    follow(limit(100, 1, 6000));
    (void)dispatched(1, 0, 0);
    xf_call *a = dispatched(2, 0, SECOND), *b = dispatched(4, 0, SECOND);
    (void)dispatched(8, 0, 2 * SECOND);
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, -1, NULL, s.now), 15);
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, 0, NULL, s.now), 14);
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, 0, a, s.now),
             12); /* the call that is answered is counted */
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, SECOND, NULL, s.now), 8);
    xf_finish(&s, a, XF_SUCCEEDED, 2 * SECOND);
    refuse(b, SECOND, 2 * SECOND);
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, 0, NULL, s.now), 8);
    xf_poll(&s, 3 * SECOND); /* now it goes on, or is sent anew */
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, 0, NULL, s.now), 12);
    stop();
}

TEST(a_call_that_has_not_started_when_a_level_is_set_pays_from_that)
{
    follow(limit(100, 1, 6000));
    xf_call *c = submit(1000, 0, 0);
    xf_set_level(&s, 0, 1500, SECOND);
    CHECK(!xf_dispatch(&s, c));
    xf_put_back(&s, c, SECOND);
    CHECK(xf_collect(&s) == c && xf_dispatch(&s, c));
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], SECOND), 500, 0);
    CHECK_EQ(s.gate.limits[0].used, 1000);
    stop();
}

TEST(an_answer_moves_the_past_by_no_more_than_the_level)
{
    follow(limit(10, 1, 1000));
    xf_call *a = dispatched(500, 0, 0);
    CHECK_NEAR(told(200, 0, true, 0, SECOND / 10, SECOND / 10), -300, 2);
    xf_finish(&s, a, XF_SUCCEEDED, SECOND / 10);
    int64_t now = 60 * SECOND;
    for (int i = 0; i < 2; i++, now += SECOND) {
        CHECK_NEAR(told(5000, 0, true, now, now, now), 0, 0);
    }
    double before = xf_limit_level(&s.gate.limits[0], now);
    double moved = told(5000, 0, true, now, now, now);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], now), 1000, 1e-6);
    CHECK_NEAR(moved, 1000 - before, 1e-6);
    stop();
}

TEST(an_answer_that_contradicts_itself_or_is_not_followed_does_nothing)
{
    const xf_definition tokens = limit(1000, 1, 5000);
    start(&tokens, 1, XF_UNLIMITED);
    CHECK_NEAR(told(0, 0, true, 0, 0, 0), 0, 0); /* there is no trail */
    xf_withhold(&s, 0, 10);
    const xf_ascertained found = {10, 10, 0};
    xf_ascertain(&s, 0, &found);
    CHECK(xf_follow(&s, 0));
    CHECK_NEAR(told(-1, 0, true, 0, SECOND, SECOND), 0, 0);
    CHECK_NEAR(told(NAN, 0, true, 0, SECOND, SECOND), 0, 0);
    CHECK_NEAR(told(0, 0, true, SECOND, 0, SECOND), 0, 0);
    CHECK_NEAR(told(3000, 0, true, 0, 9 * SECOND, SECOND), -2000, 0); /* answered by now */
    CHECK_NEAR(level(SECOND), 3000, 0);
    stop();
}

/* A call that costs 1 of a small and 1000 of a large limit is refused for 1 s, and its answer says
   that so much is left of each. */
static void refused_with(double small_left, double large_left)
{
    const xf_definition both[] = {limit(10, 1, 10), limit(100, 1, 6000)};
    start(both, 2, XF_UNLIMITED);
    CHECK(xf_follow(&s, 0));
    xf_call *c = dispatched(1, 1000, 0);
    const xf_remaining small = {small_left, 0, true, 0, 100 * MS};
    const xf_remaining large = {large_left, 0, true, 0, 100 * MS};
    (void)xf_told(&s, 0, &small, 100 * MS);
    (void)xf_told(&s, 1, &large, 100 * MS);
    CHECK_EQ(refuse(c, SECOND, 100 * MS), 1100 * MS);
}

TEST(a_refusal_leaves_the_level_of_a_limit_with_enough_left)
{
    refused_with(0, 5000);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 1100 * MS), 1, 1e-6);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[1], 1100 * MS), 5110, 1e-6);
    stop();
    refused_with(590, 5000); /* of a larger bucket than the small one */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 1100 * MS), 1, 1e-6);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[1], 1100 * MS), 5110, 1e-6);
    stop();
}

TEST(a_refusal_that_no_limit_explains_empties_all)
{
    refused_with(9, 5000);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 1100 * MS), 1, 1e-6);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[1], 1100 * MS), 1000, 1e-6);
    stop();
}

TEST_MAIN
