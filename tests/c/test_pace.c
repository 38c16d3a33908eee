/* How fast calls follow each other while their bucket would let them pass at once. */
#include "fixture.h"

#include <math.h>

static const xf_pacing LAW = {.most = 400, .kept = 1200, .scale = 500, .until = XF_NEVER};

/* When the second of two calls passes that are submitted at once, the bucket at `level`. */
static int64_t second_at(double level, const xf_pacing *pacing)
{
    const xf_definition l = limit(100, 1, 6000);
    start(&l, 1, XF_UNLIMITED);
    xf_set_level(&s, 0, level, 0);
    xf_set_pace(&s, 0, pacing, 0);
    (void)dispatched(100, 0, 0);
    int64_t at = submit(100, 0, 0)->state == XF_CALL_ADMITTED ? 0 : armed();
    stop();
    return at;
}

TEST(the_pace_is_the_rate_at_the_level_that_is_kept)
{
    CHECK_NEAR((double)second_at(1300, &LAW), 1e9, 1e6); /* 1200 are left: 100 a second */
}

TEST(the_pace_follows_the_level)
{
    CHECK_NEAR((double)second_at(800, &LAW), exp(1) * 1e9, 1e6); /* 500 less: e times slower */
    CHECK_NEAR((double)second_at(6000, &LAW), 0.25e9, 1e6);      /* four times the rate at most */
}

TEST(waiting_calls_that_fit_go_at_once)
{
    xf_pacing generous = LAW;
    generous.fits = 0.5;
    CHECK_NEAR((double)second_at(1300, &generous), 0, 0);
}

/* How many of `n` calls of 100 units pass at once, if one more comes for each that passes. */
static int stream(int n, double fits, double level)
{
    const xf_definition l = limit(100, 1, 6000);
    xf_pacing law = LAW;
    law.fits = fits;
    start(&l, 1, XF_UNLIMITED);
    xf_set_level(&s, 0, level, 0);
    xf_set_pace(&s, 0, &law, 0);
    int passed = 0;
    while (passed < n && submit(100, 0, 0)->state == XF_CALL_ADMITTED) {
        passed++;
    }
    stop();
    return passed;
}

TEST(a_stream_of_calls_passes_at_once_only_up_to_that_part)
{
    CHECK_EQ(stream(60, 0.5, 6000), 31); /* the last of them waits for its turn no more */
    CHECK_EQ(stream(60, 0.25, 6000), 16);
    CHECK_EQ(stream(60, 0.25, 2000), 6);
}

TEST(a_pace_ends)
{
    xf_pacing brief = LAW;
    brief.until = SECOND / 2;
    CHECK_NEAR((double)second_at(1300, &brief), SECOND / 2, 0);
}

TEST(a_call_waits_for_a_minute_at_most)
{
    const xf_pacing steep = {.most = 400, .kept = 6000, .scale = 1, .until = XF_NEVER};
    CHECK_NEAR((double)second_at(600, &steep), 60e9, 0); /* e^-5400 is nothing */
}

TEST(a_free_call_waits_for_none_and_holds_none_up)
{
    const xf_pacing steep = {.most = 400, .kept = 6000, .scale = 1, .until = XF_NEVER};
    const xf_definition limits[] = {limit(100, 1, 6000), limit(100, 1, 6000)};
    start(limits, 2, XF_UNLIMITED);
    xf_set_level(&s, 0, 600, 0);
    xf_set_pace(&s, 0, &steep, 0);
    CHECK_EQ(submit(0, 1, 0)->state, XF_CALL_ADMITTED);
    CHECK_EQ(submit(1, 1, 0)->state, XF_CALL_ADMITTED); /* the pace is of those that cost */
    CHECK_EQ(submit(0, 1, 0)->state, XF_CALL_ADMITTED);
    CHECK_EQ(submit(1, 1, 0)->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 60 * SECOND);
    stop();
}

TEST(waiting_calls_fit_up_to_their_part_of_the_level)
{
    const xf_definition l = limit(100, 1, 6000);
    xf_pacing law = LAW;
    for (int more = 0; more < 2; more++) {
        start(&l, 1, 1);
        (void)dispatched(100, 0, 0);
        for (int i = 0; i < 5; i++) { /* when one is taken there are four, of 100 each */
            submit(100, 0, 0);
        }
        xf_set_level(&s, 0, 1100, 0);
        law.fits = more ? 0.455 : 0.454; /* they cost 500 of 1,100 together */
        xf_set_pace(&s, 0, &law, 0);
        xf_set_slots(&s, XF_UNLIMITED, 0);
        CHECK_EQ(collect_all(), more ? 5 : 1);
        stop();
    }
}

/* A call has been admitted, and the next may come after a second. */
static void paced(void)
{
    const xf_definition l = limit(100, 1, 6000);
    start(&l, 1, XF_UNLIMITED);
    xf_set_level(&s, 0, 1300, 0);
    xf_set_pace(&s, 0, &LAW, 0);
    (void)dispatched(100, 0, 0);
    submit(100, 0, 0);
    CHECK_NEAR((double)armed(), 1e9, 1e6);
}

TEST(another_pace_or_definition_does_not_hasten_the_next_call)
{
    const xf_definition other = limit(100, 1, 5000);
    const xf_pacing faster = {.most = 1000, .until = XF_NEVER};
    paced();
    xf_set_pace(&s, 0, &faster, 0);
    CHECK_NEAR((double)armed(), 1e9, 1e6);
    submit(100, 0, 0);
    xf_poll(&s, armed());
    CHECK_EQ(collect_all(), 1);
    CHECK_NEAR((double)armed(), 1.1e9, 1e6);
    xf_retune(&s, 0, &other, armed() - 1);
    CHECK_NEAR((double)armed(), 1.1e9, 1e6);
    submit(100, 0, armed() - 1);
    xf_poll(&s, armed());
    CHECK_EQ(collect_all(), 2); /* the definition is another one, so the pace is gone */
    stop();
}

TEST(after_a_refusal_the_provider_says_when_the_next_call_comes)
{
    paced();
    refuse(NULL, SECOND / 2, 0);
    CHECK_EQ(armed(), SECOND / 2);
    stop();
}

TEST_MAIN
