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

TEST(what_waits_and_fits_goes_at_once)
{
    xf_pacing generous = LAW;
    generous.fits = 0.5;
    CHECK_NEAR((double)second_at(1300, &generous), 0, 0);
}

TEST(a_pace_ends)
{
    xf_pacing brief = LAW;
    brief.until = SECOND / 2;
    CHECK_NEAR((double)second_at(1300, &brief), SECOND / 2, 0);
}

TEST_MAIN
