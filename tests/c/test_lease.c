/* A member's part of an account on a server: chunks, what goes back, slots. */
#include "fixture.h"

#include "core/ahead.h"
#include "core/lease.h"

static xf_lease lease;

static void borrow(double rate, uint32_t slots)
{
    const xf_definition requests = limit(rate, 1, 1);
    start(&requests, 1, slots);
    xf_lease_begin(&s.gate, &lease);
}

static bool grant(int64_t from, double level, int64_t units, int64_t now)
{
    const xf_chunk chunk = {.from = from, .levels = {level}, .units = {units}};
    lease.asking = false;
    bool done = xf_lease_grant(&s.gate, &chunk, now);
    xf_look(&s, now);
    return done;
}

/* The instant at which the next call is admitted. */
static int64_t next(void)
{
    int64_t at = armed();
    xf_poll(&s, at);
    CHECK_EQ(collect_all(), 1);
    return at;
}

TEST(without_a_chunk_no_call_passes_and_the_holder_is_told_once)
{
    borrow(100, XF_UNLIMITED);
    xf_call *c = submit(1, 0, 0);
    CHECK_EQ(armed(), XF_NEVER);
    CHECK(lease.news);
    lease.news = false;
    lease.asking = true;
    xf_look(&s, SECOND);
    CHECK(!lease.news);
    xf_finish(&s, c, XF_CANCELLED, SECOND);
    stop();
}

TEST(a_chunk_is_used_from_its_begin_at_the_pace_of_the_limit)
{
    borrow(100, XF_UNLIMITED);
    for (int i = 0; i < 4; i++) {
        (void)submit(1, 0, 0);
    }
    CHECK(grant(50 * MS, 1, 3, 0));
    CHECK_EQ(next(), 50 * MS);
    CHECK_EQ(next(), 60 * MS);
    CHECK_EQ(next(), 70 * MS);
    CHECK_EQ(armed(), XF_NEVER);
    CHECK(grant(80 * MS, 1, 1, 75 * MS));
    CHECK_EQ(next(), 80 * MS);
    stop();
}

TEST(one_chunk_follows_another_and_no_third_is_taken)
{
    borrow(100, XF_UNLIMITED);
    for (int i = 0; i < 3; i++) {
        (void)submit(1, 0, 0);
    }
    CHECK(grant(10 * MS, 1, 1, 0));
    CHECK(grant(200 * MS, 1, 2, 0));
    CHECK(!grant(400 * MS, 1, 1, 0));
    CHECK_EQ(next(), 10 * MS);
    CHECK_EQ(next(), 200 * MS);
    CHECK_EQ(next(), 210 * MS);
    stop();
}

TEST(the_rest_of_a_chunk_lapses_and_goes_back)
{
    borrow(100, XF_UNLIMITED);
    CHECK(grant(0, 1, 3, 0));
    xf_lease_look(&s.gate, 20 * MS + XF_LEASE_LATE_NS);
    CHECK(lease.has_chunk);
    xf_lease_look(&s.gate, 20 * MS + XF_LEASE_LATE_NS + 1);
    CHECK(!lease.has_chunk);
    CHECK_EQ(lease.unused[0], 3);
    stop();
}

TEST(a_call_that_does_not_fit_returns_the_rest)
{
    borrow(100, XF_UNLIMITED);
    (void)submit(5, 0, 0);
    CHECK(grant(0, 1, 3, 0));
    CHECK_EQ(armed(), XF_NEVER);
    CHECK_EQ(lease.unused[0], 3);
    stop();
}

TEST(the_calls_ahead_cost_what_they_cost_and_not_the_mean)
{
    static const int64_t costs[] = {5, 1, 9, 2, 7, 3};
    borrow(100, XF_UNLIMITED);
    for (int i = 0; i < 6; i++) {
        (void)submit(costs[i], 0, 0);
    }
    CHECK(grant(50 * MS, 1, 7, 0)); /* 5 and 1, and not 9 */
    const int64_t enough = 10;
    xf_ahead a = xf_ahead_look(&s, &enough);
    CHECK_EQ(a.covered, 2);
    CHECK_EQ(a.left[0], 1);
    CHECK_EQ(a.count, 2); /* 9 are not enough, 11 are */
    CHECK(a.is_full);
    CHECK_EQ(a.head[0], 9);
    CHECK_EQ(a.rest[0], 2);
    const int64_t much = 100;
    a = xf_ahead_look(&s, &much);
    CHECK_EQ(a.count, 4);
    CHECK(!a.is_full);
    CHECK_EQ(a.rest[0], 12);
    const int64_t little = 1;
    a = xf_ahead_look(&s, &little);
    CHECK_EQ(a.count, 1); /* a call that is dearer than a chunk is one */
    CHECK(a.is_full);
    CHECK_EQ(a.rest[0], 0);
    stop();
}

TEST(calls_ahead_whose_prefix_is_warm_cost_what_the_provider_counts)
{
    const xf_definition tokens = limit(1000, 1, 1000);
    const int64_t enough = 26, minute = 60 * SECOND;
    start(&tokens, 1, XF_UNLIMITED);
    xf_lease_begin(&s.gate, &lease);
    s.gate.limits[0].counts_input = true;
    xf_group *g = xf_open_group(&s, minute, NULL);
    xf_set_tokens(&s, g, 90);
    xf_call *first = call(100, 0);
    xf_join_group(first, g);
    CHECK(xf_submit(&s, first, 0, XF_NEVER, 0));
    CHECK(grant(0, 1000, 100, 0));
    CHECK_EQ(collect_all(), 1);
    CHECK(xf_dispatch(&s, first));
    xf_looked_up(&s, first, true, true, 0);
    for (int i = 0; i < 5; i++) {
        xf_call *c = call(100 + i, 0);
        xf_join_group(c, g);
        CHECK(xf_submit(&s, c, 0, XF_NEVER, SECOND));
    }
    CHECK(grant(2 * SECOND, 21, 21, SECOND));
    xf_ahead a = xf_ahead_look(&s, &enough);
    CHECK_EQ(a.covered, 2); /* 10 and 11 */
    CHECK_EQ(a.count, 3);
    CHECK_EQ(a.head[0], 12);
    CHECK_EQ(a.rest[0], 13 + 14);
    xf_poll(&s, 2 * minute); /* the prefix is cold again */
    a = xf_ahead_look(&s, &enough);
    CHECK_EQ(a.head[0], 100);
    CHECK_EQ(a.count, 1);
    stop();
}

TEST(a_chunk_that_covers_all_calls_leaves_none_ahead)
{
    borrow(100, XF_UNLIMITED);
    (void)submit(2, 0, 0);
    CHECK(grant(50 * MS, 1, 5, 0));
    const int64_t enough = 10;
    xf_ahead a = xf_ahead_look(&s, &enough);
    CHECK_EQ(a.covered, 1);
    CHECK_EQ(a.left[0], 3);
    CHECK_EQ(a.count, 0);
    CHECK(!a.is_full);
    stop();
}

TEST(refunds_are_spent_first_and_debts_go_to_the_server)
{
    borrow(100, XF_UNLIMITED);
    xf_call *c = submit(3, 0, 0);
    CHECK(grant(0, 1, 3, 0));
    CHECK_EQ(collect_all(), 1);
    CHECK(xf_dispatch(&s, c));
    xf_settle(&s, c, 0, 1, 0);
    CHECK_EQ(lease.refunds[0], 2);
    (void)submit(2, 0, 40 * MS);
    CHECK_EQ(lease.refunds[0], 0);
    xf_settle(&s, c, 0, 4, 40 * MS);
    CHECK_EQ(lease.refunds[0], -3);
    xf_finish(&s, c, XF_SUCCEEDED, 40 * MS);
    stop();
}

TEST(a_call_that_is_not_dispatched_returns_its_cost)
{
    borrow(100, XF_UNLIMITED);
    xf_call *c = submit(2, 0, 0);
    CHECK(grant(0, 1, 2, 0));
    CHECK_EQ(collect_all(), 1);
    CHECK_EQ(lease.chunk.units[0], 0);
    xf_finish(&s, c, XF_CANCELLED, 0);
    CHECK_EQ(lease.chunk.units[0], 2);
    stop();
}

TEST(an_episode_voids_all_chunks_and_what_was_to_go_back)
{
    borrow(100, XF_UNLIMITED);
    xf_call *c = submit(1, 0, 0);
    CHECK(grant(0, 1, 2, 0));
    CHECK_EQ(collect_all(), 1);
    CHECK(xf_dispatch(&s, c));
    CHECK(grant(100 * MS, 1, 2, 0));
    refuse(c, 5 * MS, 0);
    CHECK(!lease.has_chunk && !lease.has_next);
    CHECK(lease.news && lease.refused);
    CHECK_EQ(lease.unused[0], 0);
    CHECK(!grant(100 * MS, 1, 2, 0)); /* asked for before the holder could know */
    lease.refused = false;
    CHECK(grant(100 * MS, 1, 2, 0));
    xf_finish(&s, c, XF_FAILED, 0);
    stop();
}

TEST(an_episode_of_others_revokes_admissions)
{
    borrow(100, XF_UNLIMITED);
    xf_call *c = submit(1, 0, 0);
    CHECK(grant(0, 1, 1, 0));
    CHECK_EQ(collect_all(), 1);
    xf_lease_pause(&s.gate, SECOND, true, 0);
    CHECK(!xf_dispatch(&s, c));
    xf_put_back(&s, c, 0);
    CHECK_EQ(lease.unused[0], 0);
    CHECK(grant(SECOND, 1, 1, 0));
    CHECK_EQ(next(), SECOND);
    xf_finish(&s, c, XF_CANCELLED, SECOND);
    stop();
}

/* The account tells of an outage. A single call may go from `at` on; XF_NEVER: no other one may. */
static bool hear_outage(int64_t at, int64_t sent, int64_t now)
{
    const xf_outage told = {.interval = XF_NEVER, .next = at, .longest = MS, .sent = sent};
    bool is_new = xf_lease_outage(&s.gate, &told);
    xf_look(&s, now);
    return is_new;
}

TEST(an_outage_of_all_members_lets_one_call_go_for_each_that_the_account_lets_in)
{
    borrow(100, XF_UNLIMITED);
    for (int i = 0; i < 3; i++) {
        (void)submit(1, 0, MS);
    }
    CHECK(hear_outage(XF_NEVER, MS, 10 * MS));
    CHECK(grant(20 * MS, 2, 2, 10 * MS)); /* units alone are not enough */
    CHECK_EQ(armed(), XF_NEVER);
    CHECK(!hear_outage(SECOND, MS, 30 * MS));
    CHECK(grant(SECOND, 2, 2, 30 * MS));
    CHECK_EQ(next(), SECOND);
    CHECK_EQ(armed(), XF_NEVER);
    CHECK(!hear_outage(XF_NEVER, MS, 2 * SECOND));
    CHECK_EQ(armed(), XF_NEVER);
    xf_lease_outage(&s.gate, &(xf_outage){0});
    CHECK(grant(3 * SECOND, 2, 2, 2 * SECOND));
    CHECK_EQ(next(), 3 * SECOND);
    stop();
}

TEST(in_an_outage_of_all_members_a_call_that_costs_nothing_waits_too)
{
    borrow(100, XF_UNLIMITED);
    CHECK(hear_outage(XF_NEVER, MS, 10 * MS));
    (void)submit(0, 0, 20 * MS);
    CHECK_EQ(armed(), XF_NEVER);
    CHECK(lease.news);
    CHECK(!hear_outage(SECOND, MS, 30 * MS));
    CHECK(grant(SECOND, 0, 0, 30 * MS));
    CHECK_EQ(next(), SECOND);
    stop();
}

TEST(an_outage_that_others_have_found_revokes_admissions)
{
    borrow(100, XF_UNLIMITED);
    xf_call *c = submit(1, 0, 0);
    CHECK(grant(0, 1, 1, 0));
    CHECK_EQ(collect_all(), 1);
    CHECK(hear_outage(XF_NEVER, 0, MS));
    CHECK(!xf_dispatch(&s, c));
    xf_put_back(&s, c, MS);
    CHECK_EQ(armed(), XF_NEVER);
    xf_finish(&s, c, XF_CANCELLED, MS);
    stop();
}

TEST(in_an_outage_that_only_this_member_knows_it_asks_for_no_chunk_before_its_next_call)
{
    const xf_outage own = {.interval = SECOND, .next = 2 * SECOND};
    borrow(100, XF_UNLIMITED);
    (void)xf_lease_outage(&s.gate, &own);
    (void)submit(1, 0, MS);
    CHECK_EQ(armed(), 2 * SECOND);
    CHECK(!lease.news);
    xf_poll(&s, 2 * SECOND);
    CHECK(lease.news);
    stop();
}

static bool borrow_account(int64_t from, double level, int64_t until, int64_t now)
{
    const xf_chunk loan = {.from = from, .levels = {level}, .until = until, .is_loan = true};
    bool done = xf_lease_grant(&s.gate, &loan, now);
    xf_look(&s, now);
    return done;
}

TEST(a_loan_is_used_as_a_bucket_of_its_own_until_it_is_returned)
{
    borrow(100, XF_UNLIMITED);
    for (int i = 0; i < 6; i++) {
        (void)submit(1, 0, 0);
    }
    CHECK(borrow_account(0, 1, 25 * MS, 0));
    CHECK_EQ(collect_all(), 1);
    CHECK_EQ(next(), 10 * MS);
    CHECK_EQ(next(), 20 * MS);
    lease.news = false;
    xf_look(&s, 21 * MS);
    CHECK_EQ(armed(), XF_NEVER); /* the next one would be too late, */
    CHECK(!lease.news);
    CHECK(borrow_account(0, 1, SECOND, 22 * MS)); /* and the level stays that of here */
    CHECK_EQ(next(), 30 * MS);
    CHECK(xf_lease_return(&s.gate));
    CHECK(!xf_lease_return(&s.gate));
    CHECK(xf_limit_level(&s.gate.limits[0], 35 * MS) == 0.5);
    xf_look(&s, 35 * MS);
    CHECK_EQ(armed(), XF_NEVER);
    stop();
}

TEST(a_loan_that_lapses_keeps_its_levels_and_settles_in_them)
{
    borrow(100, XF_UNLIMITED);
    xf_lease_settle(&s.gate, 0, -2);
    CHECK(borrow_account(0, 1, 25 * MS, 0));
    CHECK_EQ(lease.refunds[0], 0); /* the debt is the loan's, */
    CHECK(xf_limit_level(&s.gate.limits[0], 0) == -1);
    xf_lease_look(&s.gate, 30 * MS);
    CHECK(lease.has_loan);
    CHECK(!lease.has_chunk);
    xf_lease_settle(&s.gate, 0, 5);
    CHECK_EQ(lease.refunds[0], 0); /* and so are refunds */
    CHECK(xf_lease_return(&s.gate));
    xf_lease_settle(&s.gate, 0, 5);
    CHECK_EQ(lease.refunds[0], 5);
    stop();
}

TEST(a_chunk_of_the_account_ends_the_loan)
{
    borrow(100, XF_UNLIMITED);
    CHECK(borrow_account(0, 1, SECOND, 0));
    CHECK(grant(50 * MS, 1, 1, 20 * MS));
    CHECK(!lease.has_loan);
    (void)submit(1, 0, 20 * MS);
    CHECK_EQ(next(), 50 * MS);
    stop();
}

TEST(a_member_counts_failures_and_answers_for_the_account)
{
    const xf_backoff b = {.told_ns = XF_UNTOLD, .base_ns = SECOND, .max_ns = SECOND, .alone = true};
    xf_call *c[3];
    borrow(100, XF_UNLIMITED);
    const xf_chunk chunk = {.levels = {3}, .units = {3}};
    CHECK(xf_lease_grant(&s.gate, &chunk, 0));
    for (int i = 0; i < 3; i++) {
        c[i] = dispatched(1, 0, (1 + 10 * i) * MS);
    }
    xf_failed(&s, c[0], &b, 25 * MS);
    xf_failed(&s, c[2], &b, 29 * MS);
    CHECK_EQ(lease.tried.failures, 2);
    CHECK_EQ(lease.tried.sent, 21 * MS);
    CHECK_EQ(lease.tried.took, 24 * MS);
    CHECK_EQ(lease.tried.interval, SECOND);
    xf_finish(&s, c[1], XF_SUCCEEDED, 30 * MS);
    CHECK_EQ(lease.tried.failures, 0);
    CHECK_EQ(lease.tried.answered, 11 * MS);
    stop();
}

TEST(only_an_answer_to_a_later_call_ends_an_outage_of_all_members)
{
    xf_call *c[2];
    borrow(100, XF_UNLIMITED);
    const xf_chunk chunk = {.levels = {3}, .units = {3}};
    CHECK(xf_lease_grant(&s.gate, &chunk, 0));
    c[0] = dispatched(1, 0, MS);
    c[1] = dispatched(1, 0, 11 * MS);
    CHECK(hear_outage(XF_NEVER, 5 * MS, 20 * MS));
    lease.news = false;
    xf_finish(&s, c[0], XF_SUCCEEDED, 21 * MS);
    CHECK(!lease.news);
    CHECK(s.gate.outage.interval != 0);
    xf_finish(&s, c[1], XF_SUCCEEDED, 22 * MS);
    CHECK(lease.news);
    CHECK_EQ(s.gate.outage.interval, 0);
    stop();
}

TEST(slots_come_back_one_by_one_while_others_wait)
{
    const xf_definition requests = limit(1000, 1, 100);
    start(&requests, 1, 3);
    xf_lease_begin(&s.gate, &lease);
    CHECK(grant(0, 100, 100, 0));
    xf_call *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = submit(1, 0, 0);
        CHECK(xf_dispatch(&s, c[i]));
    }
    lease.fair = 1;
    for (int i = 0; i < 3; i++) {
        xf_finish(&s, c[i], XF_SUCCEEDED, MS);
    }
    CHECK_EQ(s.gate.slots, 1);
    CHECK_EQ(lease.returned, 2);
    stop();
}

TEST_MAIN
