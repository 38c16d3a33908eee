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
    xf_ahead a = xf_ahead_look(&s.gate, &s.queue, &enough);
    CHECK_EQ(a.covered, 2);
    CHECK_EQ(a.left[0], 1);
    CHECK_EQ(a.count, 2); /* 9 are not enough, 11 are */
    CHECK(a.is_full);
    CHECK_EQ(a.head[0], 9);
    CHECK_EQ(a.rest[0], 2);
    const int64_t much = 100;
    a = xf_ahead_look(&s.gate, &s.queue, &much);
    CHECK_EQ(a.count, 4);
    CHECK(!a.is_full);
    CHECK_EQ(a.rest[0], 12);
    const int64_t little = 1;
    a = xf_ahead_look(&s.gate, &s.queue, &little);
    CHECK_EQ(a.count, 1); /* a call that is dearer than a chunk is one */
    CHECK(a.is_full);
    CHECK_EQ(a.rest[0], 0);
    stop();
}

TEST(a_chunk_that_covers_all_calls_leaves_none_ahead)
{
    borrow(100, XF_UNLIMITED);
    (void)submit(2, 0, 0);
    CHECK(grant(50 * MS, 1, 5, 0));
    const int64_t enough = 10;
    xf_ahead a = xf_ahead_look(&s.gate, &s.queue, &enough);
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
