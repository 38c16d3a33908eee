/* What is kept in reserve for a way whose length varies. */
#include "fixture.h"

static int64_t widened(int64_t ns, int64_t wait)
{
    xf_margin m = {.ns = ns};
    (void)xf_margin_widen(&m, wait, 0);
    return m.ns;
}

TEST(it_grows_by_more_than_the_wait_but_for_a_rounded_one_not_much_above_its_double)
{
    CHECK_EQ(widened(0, 3 * MS), 6 * MS);
    CHECK_EQ(widened(0, 45 * MS), 50 * MS);
    CHECK_EQ(widened(0, SECOND), 5 * MS);
    CHECK_EQ(widened(0, 2 * SECOND), 5 * MS);
    CHECK_EQ(widened(40 * MS, 10 * MS), 55 * MS);
    CHECK_EQ(widened(40 * MS, SECOND), 85 * MS);
    CHECK_EQ(widened(1999 * MS, 100 * MS), XF_MARGIN_MOST);
}

TEST(a_long_wait_or_none_says_nothing_of_the_way)
{
    CHECK_EQ(widened(7 * MS, XF_MARGIN_MOST + 1), 7 * MS);
    CHECK_EQ(widened(7 * MS, 0), 7 * MS);
    CHECK_EQ(widened(7 * MS, XF_UNTOLD), 7 * MS);
}

TEST(it_shrinks_by_a_part_each_quiet_minute_down_to_nothing)
{
    xf_margin m = {.ns = 160 * MS, .changed_at = 0};
    CHECK(!xf_margin_shrink(&m, XF_MARGIN_KEPT - 1));
    CHECK(xf_margin_shrink(&m, XF_MARGIN_KEPT));
    CHECK_EQ(m.ns, 150 * MS);
    CHECK(!xf_margin_shrink(&m, XF_MARGIN_KEPT + 1));
    for (int minute = 2; m.ns > 0 && minute < 1000; minute++) {
        CHECK(xf_margin_shrink(&m, minute * XF_MARGIN_KEPT));
    }
    CHECK_EQ(m.ns, 0);
    CHECK(!xf_margin_shrink(&m, 2000 * XF_MARGIN_KEPT));
}

TEST(it_costs_burst_and_nothing_of_the_rate)
{
    const xf_definition requests = limit(100, 1, 20);
    start(&requests, 1, XF_UNLIMITED);
    xf_call *c = dispatched(1, 0, 0);
    refuse(c, 5 * MS, 0); /* margin: a request */
    CHECK_EQ(s.gate.margin.ns, 10 * MS);
    xf_finish(&s, c, XF_FAILED, 0);
    xf_poll(&s, 10 * SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 10 * SECOND), 19, 0);
    for (int i = 0; i < 219; i++) {
        (void)submit(1, 0, 10 * SECOND);
    }
    int64_t last = armed();
    while (armed() != XF_NEVER) {
        last = armed();
        xf_poll(&s, last);
        (void)collect_all();
    }
    /* (219 - 19) / 100 s, and the reserve once more, as it was due after the cooldown. */
    CHECK_EQ(last, 10 * SECOND + 2000 * MS + 10 * MS);
    stop();
}

TEST(a_limit_with_less_room_than_that_paces)
{
    const xf_definition requests = limit(1, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    s.gate.limits[0].reserve = 0;
    xf_limit_reserve(&s.gate.limits[0], 5 * SECOND, 0);
    CHECK_EQ(s.gate.limits[0].reserve, s.gate.limits[0].def.capacity);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 10 * SECOND), 0, 0);
    CHECK_EQ(xf_limit_ready(&s.gate.limits[0], 1, SECOND), SECOND);
    stop();
}

TEST(successes_narrow_it_again)
{
    const xf_definition requests = limit(100, 1, 20);
    start(&requests, 1, XF_UNLIMITED);
    xf_call *c = dispatched(1, 0, 0);
    refuse(c, 4 * MS, 0);
    int64_t wide = s.gate.limits[0].reserve;
    xf_retry(&s, c, 0);
    xf_poll(&s, 100 * SECOND);
    CHECK(xf_collect(&s) == c && xf_dispatch(&s, c));
    xf_finish(&s, c, XF_SUCCEEDED, 100 * SECOND);
    CHECK_EQ(s.gate.margin.ns, 7500000);
    CHECK(s.gate.limits[0].reserve < wide);
    stop();
}

TEST(a_limit_that_is_retuned_keeps_it_too)
{
    const xf_definition requests = limit(100, 1, 20), more = limit(200, 1, 50);
    const xf_remaining left = {.units = 50};
    start(&requests, 1, XF_UNLIMITED);
    xf_call *c = dispatched(1, 0, 0);
    refuse(c, 5 * MS, 0);
    CHECK_EQ(s.gate.margin.ns, 10 * MS); /* a request, of the next one two */
    xf_retune(&s, 0, &more, SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 10 * SECOND), 48, 0);
    xf_replace(&s, 0, &requests, &left, NULL, 10 * SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 10 * SECOND), 19, 0);
    stop();
}

TEST_MAIN
