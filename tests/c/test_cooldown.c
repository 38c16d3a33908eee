/* The pause after a 429: one episode for all, its length, and the first call after it. */
#include "fixture.h"

static const xf_backoff doubling = {XF_UNTOLD, 2 * SECOND, true, 60 * SECOND, false};

TEST(a_wait_that_turns_out_untrue_grows_until_a_call_passes)
{
    const xf_backoff zero = {.told_ns = 0, .base_ns = 2 * SECOND, .max_ns = 60 * SECOND};
    const int64_t waits[] = {0, 50, 100, 200, 400, 800, 1600, 2000, 2000};
    int64_t now = SECOND;
    start(NULL, 0, XF_UNLIMITED);
    for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
        xf_call *c = dispatched(0, 0, now), *late = dispatched(0, 0, now);
        CHECK_EQ(xf_refused(&s, c, &zero, now), now + waits[i] * MS);
        CHECK_EQ(xf_refused(&s, late, &zero, now), now + waits[i] * MS); /* the same episode */
        xf_finish(&s, c, XF_FAILED, now);
        xf_finish(&s, late, XF_FAILED, now);
        now += waits[i] * MS;
    }
    const xf_backoff longer = {.told_ns = 5 * SECOND, .base_ns = 2 * SECOND, .max_ns = 60 * SECOND};
    xf_call *c = dispatched(0, 0, now);
    CHECK_EQ(xf_refused(&s, c, &longer, now), now + 12800 * MS);
    now += 12800 * MS;
    xf_finish(&s, dispatched(0, 0, now), XF_SUCCEEDED, now);
    CHECK_EQ(xf_refused(&s, dispatched(0, 0, now), &zero, now), now);
    stop();
}

TEST(an_untrue_wait_grows_beyond_itself)
{
    const xf_backoff told = {.told_ns = SECOND, .base_ns = SECOND, .max_ns = 60 * SECOND};
    const int64_t waits[] = {1000, 1000, 1000, 1000, 1000, 1000, 1600, 3200, 6400, 8000, 8000};
    int64_t now = SECOND;
    start(NULL, 0, XF_UNLIMITED);
    for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
        xf_call *c = dispatched(0, 0, now);
        CHECK_EQ(xf_refused(&s, c, &told, now), now + waits[i] * MS);
        xf_finish(&s, c, XF_FAILED, now);
        now += waits[i] * MS;
    }
    stop();
}

TEST(no_call_is_admitted_before_the_end_and_one_at_it)
{
    start(NULL, 0, XF_UNLIMITED);
    xf_call *c = dispatched(0, 0, 0);
    CHECK_EQ(refuse(c, SECOND, 0), SECOND);
    CHECK_EQ(submit(0, 0, SECOND / 2)->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), SECOND);
    xf_poll(&s, SECOND - 1);
    CHECK_EQ(collect_all(), 0);
    xf_poll(&s, SECOND);
    CHECK_EQ(collect_all(), 1);
    stop();
}

TEST(a_hundred_refusals_of_calls_in_flight_together_are_one_episode)
{
    enum { N = 100 };
    xf_call *calls[N];
    start(NULL, 0, XF_UNLIMITED);
    for (int i = 0; i < N; i++) {
        calls[i] = dispatched(0, 0, 0);
    }
    for (int i = 0; i < N; i++) {
        CHECK_EQ(xf_refused(&s, calls[i], &doubling, i * MS), 2 * SECOND + i * MS);
    }
    CHECK_EQ(s.gate.cooldown.generation, 1);
    CHECK_EQ(s.gate.cooldown.step, 1);
    CHECK_EQ(s.gate.cooldown.total_ns, 2 * SECOND + (N - 1) * MS);
    CHECK_EQ(s.gate.refused, N);
    stop();
}

TEST(an_end_is_never_moved_to_an_earlier_instant)
{
    start(NULL, 0, XF_UNLIMITED);
    xf_call *a = dispatched(0, 0, 0), *b = dispatched(0, 0, 0);
    CHECK_EQ(refuse(a, 9 * SECOND, 0), 9 * SECOND);
    CHECK_EQ(refuse(b, SECOND, 0), 9 * SECOND);
    CHECK_EQ(refuse(NULL, 5 * SECOND, SECOND), 9 * SECOND);
    CHECK_EQ(refuse(NULL, 9 * SECOND, SECOND), 10 * SECOND);
    CHECK_EQ(s.gate.cooldown.generation, 1);
    stop();
}

TEST(the_exponential_steps_once_an_episode_up_to_the_cap_and_success_resets_it)
{
    const int64_t lengths[] = {2, 4, 8, 16, 32, 60, 60};
    int64_t now = 0;
    start(NULL, 0, XF_UNLIMITED);
    xf_call *c = dispatched(0, 0, now);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        CHECK_EQ(xf_refused(&s, c, &doubling, now), now + lengths[i] * SECOND);
        xf_retry(&s, c, now);
        now += lengths[i] * SECOND;
        xf_poll(&s, now);
        CHECK(xf_collect(&s) == c);
        CHECK(xf_dispatch(&s, c));
    }
    xf_finish(&s, c, XF_SUCCEEDED, now);
    CHECK_EQ(xf_refused(&s, dispatched(0, 0, now), &doubling, now), now + 2 * SECOND);
    stop();
}

TEST(a_late_refusal_neither_steps_the_exponential_nor_does_a_late_success_reset_it)
{
    start(NULL, 0, XF_UNLIMITED);
    xf_call *a = dispatched(0, 0, 0), *b = dispatched(0, 0, 0), *c = dispatched(0, 0, 0);
    CHECK_EQ(xf_refused(&s, a, &doubling, 0), 2 * SECOND);
    xf_finish(&s, c, XF_SUCCEEDED, SECOND); /* dispatched before the episode */
    CHECK_EQ(s.gate.cooldown.step, 1);
    CHECK_EQ(xf_refused(&s, b, &doubling, SECOND), 3 * SECOND);
    CHECK_EQ(s.gate.cooldown.step, 1);
    xf_call *d = submit(0, 0, 3 * SECOND);
    CHECK(xf_dispatch(&s, d));
    CHECK_EQ(xf_refused(&s, d, &doubling, 3 * SECOND), 7 * SECOND);
    stop();
}

TEST(without_the_exponential_the_guess_stays_the_base)
{
    const xf_backoff flat = {XF_UNTOLD, 2 * SECOND, false, 60 * SECOND, false};
    start(NULL, 0, XF_UNLIMITED);
    for (int64_t now = 0; now < 20 * SECOND; now += 2 * SECOND) {
        CHECK_EQ(xf_refused(&s, dispatched(0, 0, now), &flat, now), now + 2 * SECOND);
    }
    stop();
}

TEST(a_wait_of_zero_changes_nothing)
{
    const xf_definition tokens = limit(10, 1, 10);
    start(&tokens, 1, XF_UNLIMITED);
    CHECK_EQ(refuse(dispatched(1, 0, 0), 0, 5), 5);
    CHECK_EQ(s.gate.cooldown.generation, 0);
    CHECK_EQ(submit(9, 0, 5)->state, XF_CALL_ADMITTED);
    stop();
}

TEST(absurd_lengths_do_not_overflow)
{
    const xf_backoff huge = {XF_UNTOLD, INT64_MAX / 3, true, INT64_MAX, false};
    start(NULL, 0, XF_UNLIMITED);
    xf_call *c = dispatched(0, 0, SECOND);
    s.gate.cooldown.step = UINT32_MAX;
    CHECK_EQ(xf_refused(&s, c, &huge, SECOND), INT64_MAX);
    CHECK_EQ(refuse(NULL, INT64_MAX, SECOND), INT64_MAX);
    CHECK_EQ(submit(0, 0, SECOND)->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), XF_NEVER);
    stop();
}

TEST(after_the_end_calls_come_at_the_legal_rate)
{
    enum { N = 50 };
    const xf_definition limits[] = {limit(1000, 1, 1000), limit(100000, 1, 100000)};
    xf_call *calls[N];
    start(limits, 2, XF_UNLIMITED);
    for (int i = 0; i < N; i++) {
        calls[i] = dispatched(1, 1000, 0);
    }
    for (int i = 0; i < N; i++) {
        refuse(calls[i], SECOND, 0);
        xf_retry(&s, calls[i], 0);
    }
    CHECK_EQ(armed(), SECOND);
    for (int i = 0; i < N; i++) { /* 100000 tokens a second: 10 ms a call; the first at once, */
        int64_t margin = i > 0 ? XF_MARGIN_STEP : 0; /* and a margin after it */
        CHECK_EQ(armed(), SECOND + margin + i * 10 * MS);
        xf_poll(&s, armed());
        CHECK(xf_collect(&s) == calls[i]);
        CHECK(xf_collect(&s) == NULL);
    }
    stop();
}

TEST(the_first_call_waits_for_a_slot_without_losing_the_promise)
{
    const xf_definition requests = limit(1, 1, 10);
    start(&requests, 1, 1);
    xf_call *c = dispatched(1, 0, 0);
    refuse(c, 5 * SECOND, 0);
    xf_call *next = submit(1, 0, 0);
    xf_poll(&s, 5 * SECOND);
    CHECK_EQ(collect_all(), 0);
    xf_finish(&s, c, XF_FAILED, 5 * SECOND + 1);
    CHECK(xf_collect(&s) == next);
    CHECK_EQ(s.anchor, 5 * SECOND + 1);
    stop();
}

TEST(refunds_during_a_cooldown_let_no_herd_out_at_its_end)
{
    enum { N = 20 };
    const xf_definition tokens = limit(1000, 1, 20000);
    xf_call *calls[N];
    start(&tokens, 1, XF_UNLIMITED);
    for (int i = 0; i < N; i++) {
        calls[i] = submit(1000, 0, 0);
        CHECK(i >= N / 2 || xf_dispatch(&s, calls[i]));
    }
    refuse(calls[0], 10 * SECOND, 0);
    for (int i = 0; i < N; i++) {
        if (calls[i]->state == XF_CALL_IN_FLIGHT) {
            xf_settle(&s, calls[i], 0, 10, 0);
        } else {
            CHECK(!xf_dispatch(&s, calls[i])); /* a cooldown began */
            xf_put_back(&s, calls[i], 0);
        }
    }
    CHECK_EQ(s.gate.limits[0].used, N / 2 * 10);
    CHECK_EQ(armed(), 10 * SECOND + 90 * MS); /* nine calls have used what the refused one lacked */
    xf_poll(&s, armed());
    CHECK(xf_collect(&s) == calls[N / 2]); /* in its old place */
    CHECK_EQ(collect_all(), 0);
    CHECK_EQ(armed(), 11 * SECOND + 90 * MS);
    stop();
}

TEST(calls_under_way_when_one_is_refused_take_the_quota_meanwhile_unless_they_are_refused_too)
{
    const xf_definition tokens = limit(1000, 1, 20000);
    start(&tokens, 1, XF_UNLIMITED);
    dispatched(4000, 0, 0); /* before the refused one: the provider knew of it */
    xf_call *refused = dispatched(1000, 0, 0), *next = dispatched(500, 0, MS);
    xf_call *last = dispatched(300, 0, MS);
    refuse(refused, 10 * SECOND, 2 * MS);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 500 - 300, 0);
    refuse(next, SECOND, 3 * MS);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 300, 0);
    xf_retry(&s, next, 3 * MS);
    xf_settle(&s, last, 0, 200, 3 * MS);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 200, 0);
    xf_finish(&s, last, XF_SUCCEEDED, 4 * MS); /* what it has taken it has taken */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 200, 0);
    stop();
}

TEST(a_later_end_of_the_cooldown_is_the_word_that_counts)
{
    const xf_definition tokens = limit(1000, 1, 20000);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *a = dispatched(1000, 0, 0), *b = dispatched(2000, 0, 0);
    dispatched(300, 0, 0);
    refuse(a, 10 * SECOND, MS);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 2000 - 300, 0);
    refuse(b, 20 * SECOND, MS);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 2000 - 300, 0);
    refuse(a, 30 * SECOND, MS); /* told twice */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 300, 0);
    stop();
}

TEST(a_call_put_back_keeps_its_deadline_and_a_retry_has_none)
{
    start(NULL, 0, XF_UNLIMITED);
    xf_call *running = dispatched(0, 0, 0), *back = call(0, 0), *again = call(0, 0);
    CHECK(xf_submit(&s, again, 0, SECOND, 0));
    CHECK(xf_dispatch(&s, again));
    CHECK(xf_submit(&s, back, 0, SECOND, 0));
    refuse(running, 5 * SECOND, 0);
    xf_retry(&s, again, 0);
    CHECK(!xf_dispatch(&s, back));
    xf_put_back(&s, back, 0);
    CHECK_EQ(armed(), SECOND);
    xf_poll(&s, 3 * SECOND);
    CHECK(xf_collect(&s) == back);
    CHECK_EQ(back->state, XF_CALL_EXPIRED);
    CHECK_EQ(armed(), 5 * SECOND);
    stop();
}

TEST(a_call_admitted_before_a_cooldown_does_not_start_after_it_either)
{
    const xf_definition requests = limit(1, 1, 10);
    start(&requests, 1, XF_UNLIMITED);
    xf_call *c = submit(1, 0, 0);
    refuse(dispatched(1, 0, 0), SECOND, 0);
    xf_poll(&s, 2 * SECOND);    /* nobody looked in between */
    CHECK(!xf_dispatch(&s, c)); /* its admission was reckoned with levels that were wrong */
    xf_put_back(&s, c, 2 * SECOND);
    CHECK(xf_collect(&s) == c);
    CHECK(xf_dispatch(&s, c));
    stop();
}

TEST(a_call_admitted_before_a_late_extension_does_not_start_in_it)
{
    start(NULL, 0, XF_UNLIMITED);
    xf_call *a = dispatched(0, 0, 0), *late = dispatched(0, 0, 0);
    refuse(a, SECOND, 0);
    xf_call *c = submit(0, 0, SECOND);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    refuse(late, SECOND, SECOND);
    CHECK_EQ(s.gate.cooldown.generation, 1);
    CHECK(!xf_dispatch(&s, c));
    xf_put_back(&s, c, SECOND);
    CHECK_EQ(armed(), 2 * SECOND);
    stop();
}

TEST(a_call_put_back_after_a_cooldown_gets_nothing_of_the_new_level)
{
    const xf_definition limits[] = {limit(1000, 1, 1000), limit(10000, 86400, 10000)};
    start(limits, 2, XF_UNLIMITED);
    xf_call *refused = dispatched(100, 1, 0), *c = submit(800, 5, 0);
    refuse(refused, 10 * MS, 0);
    xf_finish(&s, refused, XF_FAILED, 0);
    CHECK(!xf_dispatch(&s, c));
    xf_put_back(&s, c, 50 * MS);
    CHECK_EQ(c->state, XF_CALL_WAITING); /* 100 were promised, and 40 have come since */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 50 * MS), 140, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[1], 50 * MS), 9999, 0.1);
    CHECK_EQ(s.gate.limits[0].used, 100);
    CHECK_EQ(armed(), 710 * MS);
    stop();
}

TEST(a_call_admitted_before_a_late_extension_does_not_start_after_it_either)
{
    const xf_definition tokens = limit(1000, 1, 1000);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *a = dispatched(100, 0, 0), *late = dispatched(100, 0, 0);
    refuse(a, 10 * MS, 0);
    xf_finish(&s, a, XF_FAILED, 0);
    xf_call *c = submit(500, 0, 600 * MS);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    refuse(late, 5 * MS, 601 * MS);
    CHECK_EQ(s.gate.cooldown.generation, 1);
    xf_poll(&s, 607 * MS);
    CHECK(!xf_dispatch(&s, c)); /* the level of 606 ms has not paid for it */
    xf_put_back(&s, c, 607 * MS);
    CHECK_EQ(c->state, XF_CALL_WAITING);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 607 * MS), 101, 0);
    stop();
}

TEST(who_takes_the_place_of_the_first_after_a_cooldown_waits_no_longer)
{
    const xf_definition tokens = limit(1000, 1, 1000);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *refused = dispatched(100, 0, 0);
    refuse(refused, SECOND, 0);
    CHECK_EQ(s.gate.margin.ns, XF_MARGIN_STEP);
    xf_finish(&s, refused, XF_FAILED, 0);
    xf_call *first = submit(100, 0, 0), *second = submit(100, 0, 0), *third = submit(100, 0, 0);
    xf_poll(&s, SECOND);
    CHECK(xf_collect(&s) == first && xf_collect(&s) == NULL);
    xf_finish(&s, first, XF_CANCELLED, SECOND);
    CHECK(xf_collect(&s) == second && xf_collect(&s) == NULL);
    CHECK_EQ(armed(), SECOND + 100 * MS + XF_MARGIN_STEP);
    xf_poll(&s, armed());
    CHECK(xf_collect(&s) == third);
    xf_finish(&s, second, XF_CANCELLED, s.now); /* the margin is there by now */
    CHECK_EQ(s.gate.limits[0].bucket.due, 0);
    stop();
}

TEST(a_refusal_of_a_call_that_is_not_in_flight_leaves_the_others_as_they_are)
{
    const xf_definition tokens = limit(1000, 1, 20000);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *c = dispatched(1000, 0, 0), *next = dispatched(500, 0, 0);
    refuse(c, 10 * SECOND, 0);
    xf_retry(&s, c, 0);
    refuse(c, 11 * SECOND, 0); /* another request of the same call */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 1000 - 500, 0);
    refuse(NULL, 12 * SECOND, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 750 - 500, 0); /* of the mean */
    xf_settle(&s, next, 0, 100, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 750 - 100, 0);
    xf_poll(&s, 13 * SECOND);
    CHECK(xf_collect(&s) == c && xf_dispatch(&s, c));
    CHECK_EQ(xf_gate_held_since(&s.gate, 0, -1, NULL, s.now),
             1000 + 100);              /* it flies again, not refused */
    refuse(NULL, SECOND, 13 * SECOND); /* of another cooldown */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), (1000 + 1000 + 100) / 3, 0);
    stop();
}

TEST(a_late_report_does_not_move_the_level_at_the_end_of_a_later_cooldown)
{
    const xf_definition tokens = limit(100, 1, 10000);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *a = dispatched(1000, 0, 0), *next = dispatched(5000, 0, 0);
    refuse(a, SECOND, 0);
    xf_finish(&s, next, XF_SUCCEEDED, 0);
    xf_call *b = submit(1000, 0, 60 * SECOND);
    CHECK(xf_dispatch(&s, b));
    refuse(b, 10 * SECOND, 60 * SECOND);
    xf_settle(&s, next, 0, 0, 61 * SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 61 * SECOND), 1000, 0);
    stop();
}

TEST(a_report_for_a_call_that_is_to_be_repeated_moves_nothing)
{
    const xf_definition tokens = limit(1000, 1, 1000);
    start(&tokens, 1, 1);
    xf_call *c = dispatched(300, 0, 0);
    xf_settle(&s, c, 0, 200, 0);
    c->held[0] = 300;
    xf_retry(&s, c, 0);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    xf_settle(&s, c, 0, 10, 0);
    CHECK_EQ(s.gate.limits[0].used, 500);
    xf_finish(&s, c, XF_CANCELLED, 0);
    xf_settle(&s, c, 0, 10, 0);
    CHECK_EQ(s.gate.limits[0].used, 200);
    stop();
}

TEST(a_bucket_of_which_the_refused_call_costs_nothing_is_left_alone)
{
    const xf_definition limits[] = {limit(1000, 1, 10000), limit(1, 1, 60)};
    start(limits, 2, XF_UNLIMITED);
    xf_finish(&s, dispatched(0, 50, 0), XF_SUCCEEDED, 0);
    xf_call *c = dispatched(10, 0, 0);
    refuse(c, 2 * SECOND, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 2 * SECOND), 10, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[1], 2 * SECOND), 12, 0);
    stop();
}

TEST(the_day_is_not_thrown_away_by_the_refusal_of_a_minute)
{
    const xf_definition limits[] = {limit(600, 60, 600), limit(10000, 86400, 10000)};
    start(limits, 2, XF_UNLIMITED);
    xf_call *c = dispatched(1, 1, 0);
    refuse(c, 20 * SECOND, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 20 * SECOND), 1, 0);
    CHECK(xf_limit_level(&s.gate.limits[1], 20 * SECOND) >= 9999);
    stop();
}

TEST(where_the_cost_is_not_known_the_mean_stands_for_it)
{
    const xf_definition tokens = limit(100, 1, 10000);
    start(&tokens, 1, XF_UNLIMITED);
    dispatched(1000, 0, 0);
    dispatched(2000, 0, 0);
    refuse(NULL, 14 * SECOND, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 14 * SECOND), 1500, 0);
    xf_call *unknown = submit(0, 0, 14 * SECOND);
    CHECK(xf_dispatch(&s, unknown));
    refuse(unknown, 11 * SECOND, 14 * SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 25 * SECOND), 1000, 0);
    stop();
}

TEST(an_admitted_call_does_not_start_in_a_cooldown_that_only_was_extended)
{
    const xf_backoff short_wait = {.told_ns = SECOND, .base_ns = SECOND, .max_ns = 60 * SECOND};
    start(NULL, 0, XF_UNLIMITED);
    xf_call *first = dispatched(0, 0, 0), *late = dispatched(0, 0, 0);
    CHECK_EQ(xf_failed(&s, first, &short_wait, 0), SECOND);
    xf_call *next = submit(0, 0, 0);
    xf_poll(&s, SECOND);
    CHECK_EQ(next->state, XF_CALL_ADMITTED);
    CHECK_EQ(xf_failed(&s, late, &short_wait, SECOND), 2 * SECOND);
    CHECK(!xf_dispatch(&s, next));
    xf_put_back(&s, next, SECOND);
    CHECK_EQ(armed(), 2 * SECOND);
    stop();
}

TEST(what_a_call_that_failed_reports_is_not_what_it_needs)
{
    const xf_definition tokens = limit(100, 1, 10000);
    start(&tokens, 1, XF_UNLIMITED);
    dispatched(1000, 0, 0);
    dispatched(1000, 0, 0);
    xf_call *c = dispatched(3000, 0, 0);
    xf_settle(&s, c, 0, 0, 0); /* it used nothing */
    refuse(c, 14 * SECOND, 0);
    /* Its estimate is gone: the mean of all three, of which two have cost anything. */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 14 * SECOND), 666, 0);
    stop();
}

TEST(a_call_refused_in_a_cooldown_that_is_over_was_sent_again)
{
    const xf_definition tokens = limit(100, 1, 10000);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *before = dispatched(10, 0, 0), *other = dispatched(200, 0, 0);
    refuse(before, SECOND, 0);
    CHECK_EQ(xf_gate_held(&s.gate, 0, 0, MS).all, 200); /* it waits for the end */
    refuse(other, SECOND, 3 * SECOND);
    CHECK_EQ(xf_gate_held(&s.gate, 0, 0, 3 * SECOND).all, 10); /* its attempt goes on */
    refuse(NULL, 2 * SECOND, 3 * SECOND); /* the same cooldown, which only lasts longer */
    CHECK_EQ(xf_gate_held(&s.gate, 0, 0, 3 * SECOND).all, 10);
    stop();
}

TEST(a_late_refusal_does_not_lengthen_the_told_wait_of_its_episode)
{
    xf_cooldown c = {.step = 5};
    const xf_backoff b = {.told_ns = 0, .base_ns = SECOND, .max_ns = 60 * SECOND};
    CHECK_EQ(xf_cooldown_open(&c, &b, false, 100), 100);
    CHECK(xf_cooldown_open(&c, &b, true, 100) > 100);
}

TEST_MAIN
