/* When a call is admitted: limits, slots, and what settlements and cancellations do. */
#include "fixture.h"

#include <sys/wait.h>
#include <unistd.h>

TEST(every_limit_must_allow_a_call)
{
    const xf_definition limits[] = {limit(10, 1, 10), limit(1000, 1, 1000)};
    start(limits, 2, XF_UNLIMITED);
    submit(1, 1000, 0);
    xf_call *c = submit(1, 500, 0);
    CHECK_EQ(c->state, XF_CALL_WAITING);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 9, 0); /* all or nothing */
    CHECK_EQ(armed(), SECOND / 2);
    xf_poll(&s, SECOND / 2 - 1);
    CHECK_EQ(collect_all(), 0);
    xf_poll(&s, SECOND / 2);
    CHECK_EQ(collect_all(), 1);
    stop();
}

TEST(fewer_slots_let_nobody_in_until_enough_calls_have_ended)
{
    xf_call *calls[4];
    start(NULL, 0, 4);
    for (int i = 0; i < 4; i++) {
        calls[i] = dispatched(0, 0, 0);
    }
    submit(0, 0, 0);
    submit(0, 0, 0);
    xf_set_slots(&s, 2, 0);
    xf_finish(&s, calls[0], XF_SUCCEEDED, 0);
    xf_finish(&s, calls[1], XF_SUCCEEDED, 0);
    CHECK_EQ(collect_all(), 0);
    xf_finish(&s, calls[2], XF_SUCCEEDED, 0);
    CHECK_EQ(collect_all(), 1);
    xf_set_slots(&s, XF_UNLIMITED, 0);
    CHECK_EQ(collect_all(), 1);
    stop();
}

TEST(a_settlement_replaces_what_the_call_holds)
{
    const xf_definition tokens = limit(1, 1000, 100);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *c = dispatched(60, 0, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 40, 0);
    xf_settle(&s, c, 0, 50, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 50, 0);
    xf_settle(&s, c, 0, 50, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 50, 0);
    xf_settle(&s, c, 0, 70, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 30, 0);
    xf_finish(&s, c, XF_FAILED, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 30, 0); /* what it held stays spent */
    xf_settle(&s, c, 0, 20, 0);                              /* a late report counts as well */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 80, 0);
    CHECK_EQ(s.gate.limits[0].used, 20);
    CHECK_EQ(s.gate.limits[0].refunded, 60);
    CHECK_EQ(s.gate.limits[0].charged, 20);
    stop();
}

TEST(a_refund_wakes_whom_it_frees_in_order)
{
    const xf_definition tokens = limit(1, 1000, 100);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *c = dispatched(100, 0, 0), *a = submit(30, 0, 0), *b = submit(30, 0, 0);
    submit(30, 0, 0);
    xf_settle(&s, c, 0, 25, 7);
    CHECK(xf_collect(&s) == a);
    CHECK(xf_collect(&s) == b);
    CHECK(xf_collect(&s) == NULL);
    stop();
}

TEST(a_call_that_was_never_dispatched_costs_nothing)
{
    const xf_definition tokens = limit(1, 1000, 100);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *admitted = submit(70, 0, 0), *waiting = submit(80, 0, 0), *last = submit(100, 0, 0);
    xf_finish(&s, waiting, XF_CANCELLED, 0);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 30, 0);
    xf_finish(&s, admitted, XF_CANCELLED, 0);
    CHECK(xf_collect(&s) == last); /* what was held went to the next */
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 0), 0, 0);
    CHECK_EQ(s.gate.limits[0].used, 100);
    CHECK_EQ(s.gate.admitted, 1);
    CHECK_EQ(s.counters.cancelled, 2);
    stop();
}

TEST(a_retry_pays_again)
{
    const xf_definition tokens = limit(10, 1, 100);
    start(&tokens, 1, XF_UNLIMITED);
    xf_call *c = dispatched(60, 0, 0);
    xf_retry(&s, c, 0);
    CHECK_EQ(c->state, XF_CALL_WAITING);
    CHECK_EQ(s.gate.in_use, 0);
    CHECK_EQ(armed(), 2 * SECOND);
    xf_poll(&s, 2 * SECOND);
    CHECK(xf_collect(&s) == c);
    CHECK_EQ(s.gate.limits[0].used, 120);
    stop();
}

TEST(a_cost_above_what_a_retuned_limit_can_tell_does_not_overflow)
{
    const xf_definition fast = limit(1e9, 1, 1), slow = limit(1e-3, 1, 1);
    start(&fast, 1, XF_UNLIMITED);
    submit(1000000000, 0, 0);
    xf_call *c = submit(1000000000, 0, 0);
    CHECK(c->held[0] > slow.max_cost);
    xf_retune(&s, 0, &slow, 0);
    CHECK(armed() > SECOND && armed() < XF_NEVER);
    xf_poll(&s, armed());
    CHECK(xf_collect(&s) == c);
    CHECK(armed() == XF_NEVER);
    stop();
}

TEST(a_clock_that_runs_backward_changes_nothing)
{
    const xf_definition requests = limit(1, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    submit(1, 0, 10 * SECOND);
    xf_call *c = submit(1, 0, 3 * SECOND);
    CHECK_EQ(c->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 11 * SECOND);
    xf_poll(&s, 0);
    CHECK_EQ(armed(), 11 * SECOND);
    xf_poll(&s, 11 * SECOND);
    CHECK(xf_collect(&s) == c);
    stop();
}

static int64_t time_told(void)
{
    int64_t told = s.counters.idle_ns + s.counters.concurrency_ns + s.counters.cooldown_ns;
    for (uint32_t i = 0; i < s.gate.n_limits; i++) {
        told += s.gate.limits[i].held_ns;
    }
    return told;
}

TEST(the_time_is_told_by_what_held_the_head_back)
{
    const xf_definition requests = limit(1, 1, 1);
    start(&requests, 1, 1);
    xf_call *c = dispatched(1, 0, 100 * SECOND);
    xf_account(&s, 101 * SECOND); /* a second of nothing to do */
    submit(1, 0, 101 * SECOND);
    xf_finish(&s, c, XF_SUCCEEDED, 104 * SECOND); /* three without a slot */
    c = xf_collect(&s);
    CHECK(xf_dispatch(&s, c));
    refuse(c, 5 * SECOND, 104 * SECOND); /* five of a cooldown */
    xf_retry(&s, c, 104 * SECOND);
    xf_poll(&s, 109 * SECOND);
    c = xf_collect(&s);
    CHECK(xf_dispatch(&s, c));
    xf_retry(&s, c, 109 * SECOND); /* and one for want of quota */
    xf_account(&s, 110 * SECOND);
    CHECK_EQ(s.counters.idle_ns, 1 * SECOND);
    CHECK_EQ(s.counters.concurrency_ns, 3 * SECOND);
    CHECK_EQ(s.counters.cooldown_ns, 5 * SECOND);
    CHECK_EQ(s.gate.limits[0].held_ns, 1 * SECOND);
    stop();
}

TEST(calls_are_let_in_as_fast_as_they_are_dispatched)
{
    enum { N = 100 };
    xf_call *calls[N];
    start(NULL, 0, N);
    xf_let_in(&s, 50, 0);
    for (int i = 0; i < N; i++) {
        calls[i] = submit(0, 0, 0);
    }
    CHECK_EQ(s.gate.in_use, 16);
    CHECK(xf_gate_is_ramping(&s.gate));
    for (int i = 0; i < 10; i++) {
        CHECK(xf_dispatch(&s, calls[i]));
    }
    xf_ramp_up(&s, 0);
    CHECK_EQ(s.gate.in_use, 10 + 16);
    xf_let_in(&s, 20, 0); /* fewer than are in: these stay */
    CHECK_EQ(s.gate.in_use, 10 + 16);
    CHECK(!xf_gate_is_ramping(&s.gate));
    xf_let_in(&s, XF_UNLIMITED, 0);
    for (int i = 10; i < N; i++) {
        CHECK(xf_dispatch(&s, calls[i]));
        if (xf_gate_is_ramping(&s.gate)) {
            xf_ramp_up(&s, 0);
        }
    }
    CHECK_EQ(s.gate.in_use, N);
    stop();
}

TEST(what_is_let_in_for_now_and_the_slots_hold_both)
{
    start(NULL, 0, 3);
    xf_let_in(&s, 2, 0);
    xf_call *first = dispatched(0, 0, 0), *second = dispatched(0, 0, 0), *third = submit(0, 0, 0);
    CHECK_EQ(third->state, XF_CALL_WAITING);
    xf_set_slots(&s, 1, 0);
    xf_let_in(&s, 3, 0);
    CHECK_EQ(third->state, XF_CALL_WAITING);
    xf_finish(&s, first, XF_SUCCEEDED, 0);
    CHECK_EQ(third->state, XF_CALL_WAITING);
    xf_finish(&s, second, XF_SUCCEEDED, 0);
    CHECK_EQ(third->state, XF_CALL_ADMITTED);
    stop();
}

/* A slot that comes free late is not made good: no call could have had it. */
TEST(what_is_let_in_later_is_let_in_from_then_on)
{
    const xf_definition requests = limit(1000, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    xf_let_in(&s, 1, 0);
    submit(1, 0, 0);
    submit(1, 0, 0);
    submit(1, 0, 0);
    xf_let_in(&s, 3, 10 * MS);
    CHECK_EQ(s.anchor, 10 * MS);
    CHECK_EQ(collect_all(), 1);
    CHECK_EQ(armed(), 11 * MS);
    stop();
}

TEST(a_limit_is_replaced_by_one_of_which_an_answer_told_the_level)
{
    const xf_definition old = limit(1, 1, 1000), new = limit(100, 1, 500);
    start(&old, 1, XF_UNLIMITED);
    dispatched(7, 0, 0);                                      /* long before: counted */
    dispatched(10, 0, SECOND + 1);                            /* may have been overtaken */
    xf_call *answered = dispatched(20, 0, 2 * SECOND);        /* counted */
    dispatched(40, 0, 3 * SECOND), submit(80, 0, 3 * SECOND); /* later; not even sent */
    const xf_remaining left = {.units = 300, .sent_at = 2 * SECOND};
    xf_replace(&s, 0, &new, &left, answered, 4 * SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 4 * SECOND), 300 - 10 - 40, 0);
    CHECK_NEAR(xf_limit_rate(&s.gate.limits[0]), 100, 1e-9);
    xf_replace(&s, 0, &new, &left, NULL, 4 * SECOND);
    CHECK_NEAR(xf_limit_level(&s.gate.limits[0], 4 * SECOND), 300 - 10 - 20 - 40, 0);
    stop();
}

TEST(nobody_passes_by_the_level_of_a_limit_that_is_replaced)
{
    const xf_definition old = limit(1, 1, 1000), new = limit(10, 1, 1000);
    start(&old, 1, XF_UNLIMITED);
    submit(1000, 0, 0);
    xf_call *waiting = submit(500, 0, 0);
    const xf_remaining left = {.units = 400};
    xf_replace(&s, 0, &new, &left, NULL, SECOND);
    CHECK_EQ(waiting->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), 11 * SECOND);
    stop();
}

TEST(what_may_be_missing_in_an_answer_is_what_its_call_or_all_have_cost)
{
    const xf_definition tokens = limit(1, 1, 1000);
    start(&tokens, 1, XF_UNLIMITED);
    CHECK_NEAR(xf_doubt(&s, 0, NULL, false), 0, 0);
    xf_call *first = dispatched(10, 0, 0);
    dispatched(30, 0, 0);
    CHECK_NEAR(xf_doubt(&s, 0, first, false), 10, 0);
    CHECK_NEAR(xf_doubt(&s, 0, NULL, false), 20, 0);
    CHECK_NEAR(xf_doubt(&s, 0, first, true), 40, 0);
    stop();
}

/* Whether a debug build ends for that move. */
static bool aborts(xf_state from, xf_state to)
{
    xf_call c = {.state = from};
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        xf_call_become(&c, to);
        _exit(0);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

TEST(a_call_moves_only_to_the_states_that_may_follow)
{
    const char *legal[] = {/* to a new, waiting, admitted, in flight, resting, expired, done one */
                           [XF_CALL_NEW] = ".WA....",      [XF_CALL_WAITING] = "..A..ED",
                           [XF_CALL_ADMITTED] = ".W.F..D", [XF_CALL_IN_FLIGHT] = "....R.D",
                           [XF_CALL_RESTING] = ".W....D",  [XF_CALL_EXPIRED] = "......D",
                           [XF_CALL_DONE] = "......."};
    for (xf_state from = XF_CALL_NEW; from <= XF_CALL_DONE; from++) {
        for (xf_state to = XF_CALL_NEW; to <= XF_CALL_DONE; to++) {
            CHECK_EQ(aborts(from, to), legal[from][to] == '.');
        }
    }
}

/* Anything in any order, for the sanitizers and for what must hold always. */
TEST(a_long_random_life)
{
    enum { N = 64 };
    const xf_definition limits[] = {limit(1000, 1, 5), limit(7e9, 1, 100)};
    xf_call *calls[N] = {0};
    int64_t now = 0;
    start(limits, 2, 8);
    for (int step = 0; step < 200000; step++) {
        xf_call **c = &calls[draw(N)];
        uint32_t state = *c == NULL ? XF_CALL_DONE : (*c)->state;
        uint32_t in_use = s.gate.in_use, slots = s.gate.slots;
        now += (int64_t)draw(3) * (int64_t)draw(MS);
        switch (draw(8)) {
        case 0:
            if (state == XF_CALL_DONE) {
                free(*c);
                *c = calloc(1, xf_call_size(&s));
                CHECK(*c != NULL);
                (*c)->held[0] = (int64_t)draw(3);
                (*c)->held[1] = (int64_t)draw(200);
                int64_t deadline = draw(3) ? XF_NEVER : now + (int64_t)draw(20 * MS);
                CHECK(xf_submit(&s, *c, (int)draw(3) - 1, deadline, now));
            }
            break;
        case 1:
            if (state == XF_CALL_ADMITTED && !xf_dispatch(&s, *c)) {
                xf_put_back(&s, *c, now);
            }
            break;
        case 2:
            if (state != XF_CALL_DONE) {
                xf_finish(&s, *c, (xf_outcome)draw(3), now);
            }
            break;
        case 3:
            if (state == XF_CALL_IN_FLIGHT) {
                xf_retry(&s, *c, now);
            }
            break;
        case 4:
            if (state == XF_CALL_IN_FLIGHT) {
                xf_settle(&s, *c, (uint32_t)draw(2), (int64_t)draw(300), now);
            }
            break;
        case 5:
            if (state == XF_CALL_IN_FLIGHT && draw(10) == 0) {
                refuse(*c, (int64_t)draw(10 * MS), now);
            } else if (draw(100) == 0) {
                xf_set_slots(&s, 1 + (uint32_t)draw(12), now);
            }
            break;
        case 6:
            xf_poll(&s, now);
            break;
        case 7:
            if (draw(2)) {
                xf_collect(&s);
            }
            break;
        }
        uint32_t live = 0, holding = 0, waiting = 0;
        for (int i = 0; i < N; i++) {
            state = calls[i] == NULL ? XF_CALL_DONE : calls[i]->state;
            waiting += state == XF_CALL_WAITING;
            holding += state == XF_CALL_ADMITTED || state == XF_CALL_IN_FLIGHT;
            live +=
                state == XF_CALL_WAITING || state == XF_CALL_ADMITTED || state == XF_CALL_IN_FLIGHT;
        }
        CHECK_EQ(s.live, live);
        CHECK_EQ(s.gate.in_use, holding);
        CHECK_EQ(s.queue.size, waiting);
        /* Fewer slots count after what time has admitted with the old ones. */
        CHECK(s.gate.in_use <= s.gate.slots || s.gate.in_use <= slots || s.gate.in_use <= in_use);
        CHECK(waiting == 0 || armed() > s.now);
        CHECK(s.anchor <= s.now);
    }
    xf_account(&s, now);
    CHECK_EQ(time_told(), s.now - s.counters.first_ns);
    for (int i = 0; i < N; i++) {
        if (calls[i] != NULL) {
            xf_finish(&s, calls[i], XF_CANCELLED, now);
            free(calls[i]);
        }
    }
    CHECK_EQ(s.live, 0);
    CHECK_EQ(s.gate.in_use, 0);
    CHECK(s.outbox.first == NULL);
    stop();
}

TEST(a_call_that_waits_for_the_first_time_has_not_come_back)
{
    start(NULL, 0, 1);
    xf_call *first = dispatched(0, 0, 0);
    submit(0, 0, 0);
    submit(0, 0, 0);
    const xf_flow *flow = s.queue.known[first->flow];
    CHECK(flow->returned == NULL);
    xf_retry(&s, first, 0);
    CHECK_EQ(first->state, XF_CALL_ADMITTED); /* it is before the others */
    CHECK(flow->returned == NULL);
    stop();
}

TEST_MAIN
