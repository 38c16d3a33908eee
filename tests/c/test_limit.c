/* The bucket's arithmetic: exact credits, exact instants, nothing lost and nothing overflowing. */
#include "harness.h"

#include <math.h>

#include "core/limit.h"

#define SECOND INT64_C(1000000000)

static xf_limit limit(double amount, double period, double capacity)
{
    xf_definition d;
    xf_limit l;
    CHECK(xf_define(&d, amount, period, capacity));
    xf_limit_init(&l, &d);
    return l;
}

/* Does a call of `cost` pass at `t`, reckoned anew in wider arithmetic? */
static bool passes(const xf_limit *l, int64_t cost, int64_t t)
{
    __int128 level = l->bucket.level, need = (__int128)cost * l->def.unit;
    if (t > l->bucket.at) {
        level += (__int128)(t - l->bucket.at) * l->def.gain;
    }
    return level >= (need < l->def.capacity ? need : l->def.capacity);
}

TEST(a_bucket_starts_full)
{
    xf_limit l = limit(600000, 60, 1000);
    CHECK_NEAR(xf_limit_level(&l, 0), 1000, 0);
    CHECK_NEAR(xf_limit_level(&l, 5 * SECOND), 1000, 0);
    CHECK_NEAR(xf_limit_rate(&l), 10000, 1e-9);
    CHECK_EQ(xf_limit_ready(&l, 1000, 7), 7);
}

TEST(a_bucket_refills_continuously)
{
    xf_limit l = limit(10, 1, 10);
    xf_limit_take(&l, 10, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), 0, 0);
    CHECK_NEAR(xf_limit_level(&l, SECOND / 4), 2.5, 1e-12);
    CHECK_EQ(xf_limit_ready(&l, 1, 0), SECOND / 10);
    CHECK_EQ(xf_limit_ready(&l, 10, 0), SECOND);
    CHECK_EQ(xf_limit_ready(&l, 1, SECOND / 2), SECOND / 2);
    CHECK_EQ(l.used, 10);
}

TEST(a_call_larger_than_the_capacity_passes_once_and_is_paid_for_afterwards)
{
    xf_limit l = limit(10, 1, 10);
    CHECK_EQ(xf_limit_ready(&l, 25, 0), 0);
    xf_limit_take(&l, 25, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), -15, 0);
    CHECK_EQ(xf_limit_ready(&l, 1, 0), 16 * SECOND / 10);
    CHECK_EQ(xf_limit_ready(&l, 25, 0), 25 * SECOND / 10);
}

TEST(a_limit_in_debt_lets_not_even_a_free_call_pass)
{
    xf_limit l = limit(10, 1, 10);
    CHECK_EQ(xf_limit_ready(&l, 0, 0), 0);
    xf_limit_take(&l, 25, 0);
    CHECK_EQ(xf_limit_ready(&l, 0, 0), 15 * SECOND / 10);
}

TEST(a_bucket_without_capacity_paces)
{
    xf_limit l = limit(10, 1, 0);
    int64_t t = 0;
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(t, i * SECOND / 10);
        xf_limit_take(&l, 1, t);
        t = xf_limit_ready(&l, 1, t);
    }
}

TEST(numbers_that_are_no_limit_are_refused)
{
    const double bad[] = {NAN, INFINITY, -INFINITY, -1};
    xf_definition d;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        CHECK(!xf_define(&d, bad[i], 1, 1));
        CHECK(!xf_define(&d, 1, bad[i], 1));
        CHECK(!xf_define(&d, 1, 1, bad[i]));
    }
    CHECK(!xf_define(&d, 0, 1, 1));
    CHECK(!xf_define(&d, 1, 0, 1));
    CHECK(!xf_define(&d, 1, 1, 1e300));
    CHECK(!xf_define(&d, 1e300, 1, 1));
    CHECK(!xf_define(&d, 1e-300, 1, 1));
    CHECK(!xf_define(&d, 1, 1e300, 1));
    CHECK(!xf_define(&d, 1, 1e-300, 1));
}

TEST(rates_from_a_thousandth_to_a_trillion_per_second_are_kept)
{
    const double periods[] = {0.1, 1, 10, 60, 3600};
    for (int decade = -3; decade <= 12; decade++) {
        for (int i = 0; i < 200; i++) {
            double factor = decade == 12 ? 1 : 1 + (double)draw(9000) / 1000;
            double rate = pow(10, decade) * factor;
            double period = periods[draw(sizeof(periods) / sizeof(*periods))];
            double seconds = (double)draw(4) / 2; /* the burst, down to none */
            xf_limit l = limit(rate * period, period, rate * seconds);
            CHECK_NEAR(xf_limit_rate(&l), rate, 1e-9 * rate);
            CHECK_NEAR(xf_limit_level(&l, 0), rate * seconds, 1e-9 * rate * seconds + 1e-9);
            CHECK(l.def.max_cost >= 1000000);
        }
    }
}

TEST(whole_numbers_are_kept_exactly)
{
    const double of[][2] = {{1, 1e-3}, {90e6, 60}, {1e12, 1}, {1, 1000}, {100, 60}, {7, 0.3}};
    for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++) {
        xf_limit l = limit(of[i][0], of[i][1], of[i][0]);
        CHECK((__int128)l.def.gain * llround(of[i][1] * 1e9) ==
              (__int128)l.def.unit * llround(of[i][0]));
    }
}

TEST(denied_until_exactly_the_promised_instant)
{
    const double rates[] = {1e-3, 0.7, 3, 333.333, 1.5e6, 1e9, 3e9, 1e12};
    for (size_t r = 0; r < sizeof(rates) / sizeof(*rates); r++) {
        xf_limit l = limit(rates[r], 1, fmax(5, rates[r] / 100));
        int64_t now = 0;
        for (int i = 0; i < 20000; i++) {
            int64_t cost = (int64_t)draw(8);
            int64_t ready = xf_limit_ready(&l, cost, now);
            CHECK(ready >= now);
            CHECK(passes(&l, cost, ready));
            CHECK(ready == now || !passes(&l, cost, ready - 1));
            now = ready + (draw(4) == 0 ? (int64_t)draw(3) : 0);
            xf_limit_take(&l, cost, now);
        }
    }
}

/* Admits calls at the earliest instants until `units` units have passed, and compares the total
   with rate x time, in wide integers: exactly, and with the figures asked for, within 1e-9. */
static void check_drift(double amount, double period, double capacity, int64_t cost, int64_t units)
{
    xf_limit l = limit(amount, period, capacity);
    int64_t t = 0, admitted = 0;
    while (admitted < units) {
        t = xf_limit_ready(&l, cost, t);
        xf_limit_take(&l, cost, t);
        admitted += cost;
    }
    CHECK((__int128)admitted * l.def.unit ==
          l.def.capacity + (__int128)t * l.def.gain - l.bucket.level);
    CHECK_EQ(l.used, admitted);
    long double ideal = (long double)amount / ((long double)period * 1e9L) * (long double)t;
    long double credit = (long double)cost + (long double)amount / ((long double)period * 1e9L);
    long double drift = fabsl((long double)admitted - (long double)capacity - ideal);
    CHECK(drift <= 1e-9L * ideal + credit);
}

TEST(a_billion_admitted_units_do_not_drift)
{
    check_drift(90e6, 60, 1000, 1000, 1000000000);
    check_drift(90e6, 60, 1, 1, 3000000);
    check_drift(333.333, 60, 0, 1000, 1000000000);
    check_drift(1e9 / 3, 1, 0, 1, 3000000);
    check_drift(1e-3, 1, 1, 1, 9000000);
    check_drift(0.7, 1, 5, 500, 1000000000);
    check_drift(1e12, 1, 1e6, 12345, 1000000000);
    check_drift(123456789.123, 1, 777, 999, 1000000000);
}

TEST(calls_as_large_as_the_capacity_lose_nothing_at_the_brim)
{
    /* 7 credits a ns and a brim that no whole ns meets: clipped at the capacity itself, each
       admission would lose up to a ns of refill. */
    xf_limit l = limit(7e9, 1, 11);
    int64_t t = 0;
    for (int64_t i = 0; i < 1000; i++) {
        t = xf_limit_ready(&l, 11, t);
        CHECK_EQ(t, (11 * i + 6) / 7);
        xf_limit_take(&l, 11, t);
    }
}

TEST(a_clock_that_runs_backward_stands_still)
{
    xf_limit l = limit(10, 1, 10);
    xf_limit_take(&l, 10, SECOND);
    xf_limit once = l;
    CHECK_NEAR(xf_limit_level(&l, 0), 0, 0);
    CHECK_EQ(xf_limit_ready(&l, 5, 0), SECOND + SECOND / 2);
    xf_limit_adjust(&l, 3, 0);
    xf_limit_adjust(&l, -3, SECOND / 2);
    CHECK_EQ(l.bucket.at, once.bucket.at);
    CHECK_EQ(l.bucket.level, once.bucket.level);
}

TEST(a_refund_stops_at_the_brim)
{
    xf_limit l = limit(10, 1, 10);
    xf_limit_take(&l, 4, 0);
    xf_limit_adjust(&l, 3, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), 9, 0);
    xf_limit_adjust(&l, 3, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), 10, 0);
    CHECK(l.bucket.level < l.def.capacity + l.def.gain);
    xf_limit_adjust(&l, -30, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), -20, 0);
}

TEST(extremes_do_not_overflow)
{
    const double rates[] = {1e-3, 1, 1e9, 1e12};
    for (size_t r = 0; r < sizeof(rates) / sizeof(*rates); r++) {
        xf_limit l = limit(rates[r], 1, 1);
        xf_limit_take(&l, l.def.max_cost, 0);
        CHECK(xf_limit_ready(&l, l.def.max_cost, 0) > 0);
        CHECK_NEAR(xf_limit_level(&l, INT64_MAX), 1, 0);
        xf_limit_adjust(&l, -l.def.max_cost, 0);
        for (int i = 0; i < 20; i++) {
            xf_limit_adjust(&l, INT64_MIN, 1);
            xf_limit_adjust(&l, -l.def.max_cost, 1);
        }
        CHECK(xf_limit_level(&l, 1) < -1e6);
        CHECK(xf_limit_ready(&l, l.def.max_cost, 0) > 1);
        for (int i = 0; i < 20; i++) {
            xf_limit_adjust(&l, INT64_MAX, 1);
            xf_limit_adjust(&l, l.def.max_cost, 1);
        }
        CHECK_NEAR(xf_limit_level(&l, 1), 1, 0);
        xf_limit_take(&l, 1, INT64_MAX);
        CHECK_EQ(xf_limit_ready(&l, 0, 0), INT64_MAX);
    }
}

TEST(a_new_definition_keeps_the_level_in_units)
{
    xf_limit l = limit(10, 1, 10), wider = limit(7000, 60, 100), narrow = limit(3, 60, 2);
    xf_limit_take(&l, 8, 0);
    xf_limit_retune(&l, &wider.def, SECOND / 10);
    CHECK_NEAR(xf_limit_level(&l, SECOND / 10), 3, 1e-9);
    CHECK_NEAR(xf_limit_rate(&l), 7000.0 / 60, 1e-9);
    CHECK_EQ(l.used, 8);
    xf_limit_retune(&l, &narrow.def, SECOND / 10);
    CHECK_NEAR(xf_limit_level(&l, SECOND / 10), 2, 0);
    xf_limit_take(&l, 12, SECOND / 10);
    xf_limit_retune(&l, &wider.def, SECOND / 10);
    CHECK_NEAR(xf_limit_level(&l, SECOND / 10), -10, 1e-9);
}

TEST(a_refused_call_passes_at_the_promised_instant_and_leaves_nothing)
{
    xf_limit l = limit(10, 1, 10);
    CHECK(xf_limit_refuse(&l, 4, 0, 0, SECOND));
    CHECK_EQ(xf_limit_ready(&l, 4, 0), SECOND);
    CHECK(xf_limit_ready(&l, 5, 0) > SECOND);
    xf_limit_take(&l, 4, SECOND);
    CHECK_NEAR(xf_limit_level(&l, SECOND), 0, 0);
    CHECK_EQ(xf_limit_ready(&l, 4, 0), SECOND + 4 * SECOND / 10);
}

TEST(a_refused_call_larger_than_the_capacity_leaves_its_debt)
{
    xf_limit l = limit(10, 1, 10);
    CHECK(xf_limit_refuse(&l, 25, 0, 0, SECOND));
    CHECK_EQ(xf_limit_ready(&l, 25, 0), SECOND);
    xf_limit_take(&l, 25, SECOND);
    CHECK_NEAR(xf_limit_level(&l, SECOND), -15, 0);
}

TEST(a_short_wait_says_nothing_of_a_bucket_of_hours)
{
    xf_limit day = limit(1000, 86400, 1000), minute = limit(600, 60, 600);
    CHECK(!xf_limit_refuse(&day, 1, 0, 0, SECOND));
    CHECK_NEAR(xf_limit_level(&day, SECOND), 1000, 0);
    CHECK(xf_limit_refuse(&day, 1, 0, 0, 1000 * SECOND));
    CHECK(!xf_limit_refuse(&minute, 0, 0, 0, SECOND)); /* costs nothing of it */
    CHECK(xf_limit_refuse(&minute, 20, 0, 0, SECOND));
}

TEST(a_bucket_of_hours_is_told_by_how_long_it_takes_to_fill)
{
    xf_limit day = limit(10000, 86400, 10000);
    CHECK(!xf_limit_refuse(&day, 1, 0, 0, 863 * SECOND)); /* not a hundredth of it */
    CHECK(xf_limit_refuse(&day, 1, 0, 0, 864 * SECOND));
    xf_limit minutes = limit(600, 60, 1200), more = limit(600, 60, 1201);
    CHECK(xf_limit_refuse(&minutes, 1, 0, 0, SECOND));
    CHECK(!xf_limit_refuse(&more, 1, 0, 0, SECOND));
}

TEST(a_new_definition_does_not_forgive_the_largest_debt)
{
    xf_limit l = limit(1e9, 1, 1), finer = limit(1, 1, 1);
    xf_limit_adjust(&l, INT64_MIN, 0);
    xf_limit_retune(&l, &finer.def, 0);
    CHECK(xf_limit_level(&l, 0) < -1e9);
    CHECK(xf_limit_ready(&l, 0, 0) > INT64_MAX / 4);
}

TEST(what_a_limit_owes_and_keeps_in_reserve_ends_with_its_definition)
{
    xf_limit l = limit(10, 1, 100), narrow = limit(10, 1, 50);
    xf_limit_reserve(&l, SECOND, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), 90, 0);
    CHECK(xf_limit_refuse(&l, 5, 0, 0, SECOND));
    CHECK(l.bucket.due > 0);
    xf_limit_retune(&l, &narrow.def, 60 * SECOND);
    CHECK_EQ(l.bucket.due, 0);
    CHECK_NEAR(xf_limit_level(&l, 60 * SECOND), 50, 0);
    l.bucket.paid = 1;
    xf_limit_retune(&l, &narrow.def, 60 * SECOND);
    CHECK_EQ(l.bucket.paid, 0);
}

TEST(a_level_that_is_meant_for_a_later_instant_is_not_reckoned_back)
{
    xf_limit l = limit(10, 1, 100);
    CHECK(xf_limit_refuse(&l, 5, 0, 0, SECOND));
    CHECK_NEAR(xf_limit_level(&l, SECOND - 1), 5, 0);
    CHECK_NEAR(xf_limit_level(&l, 0), 5, 0);
    CHECK_NEAR(xf_limit_level(&l, SECOND + SECOND / 10), 6, 0);
}

TEST_MAIN
