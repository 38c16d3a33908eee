/* Groups of calls that share a prefix: what they cost, and what happens without memory. */
#include "fixture.h"

#define MINUTES (300 * SECOND)

static xf_call *submit_to(xf_group *g, int priority, int64_t deadline, int64_t now)
{
    xf_call *c = call(0, 0);
    xf_join_group(c, g);
    CHECK(xf_submit(&s, c, priority, deadline, now));
    return c;
}

/* A scheduler whose holds have a bound, and no limit. */
static void start_to_hold(int64_t hold_ns, uint32_t slots)
{
    start(NULL, 0, slots);
    xf_set_hold(&s, hold_ns);
}

TEST(a_call_that_belongs_to_no_group_is_no_larger_for_them)
{
    CHECK_EQ(sizeof(xf_call), 48);
}

TEST(a_waiting_call_of_a_group_costs_no_memory_of_the_queue)
{
    start_to_hold(3 * SECOND, XF_UNLIMITED);
    xf_group *g = xf_open_group(&s, MINUTES, NULL);
    submit_to(g, 0, XF_NEVER, 0);
    submit_to(g, 0, XF_NEVER, 0);
    size_t asked = memory.calls;
    for (int i = 0; i < 10000; i++) {
        CHECK_EQ(submit_to(g, 0, XF_NEVER, 0)->state, XF_CALL_WAITING);
    }
    CHECK_EQ(memory.calls, asked);
    stop();
}

/* Minutes, if an operation looked at the calls or groups that wait. */
TEST(a_call_costs_the_same_however_many_groups_and_calls_wait)
{
    enum { GROUPS = 50000, EACH = 8 };
    static xf_group *groups[GROUPS];
    static xf_call *leaders[GROUPS];
    start_to_hold(3 * SECOND, XF_UNLIMITED);
    for (int i = 0; i < GROUPS; i++) {
        groups[i] = xf_open_group(&s, MINUTES, NULL);
        CHECK(groups[i] != NULL);
        leaders[i] = submit_to(groups[i], 0, XF_NEVER, i);
        CHECK_EQ(leaders[i]->state, XF_CALL_ADMITTED);
        CHECK(xf_dispatch(&s, leaders[i]));
    }
    for (int i = 0; i < GROUPS * (EACH - 1); i++) {
        submit_to(groups[i % GROUPS], 0, XF_NEVER, GROUPS);
    }
    CHECK_EQ(s.gate.in_use, GROUPS);
    CHECK_EQ(armed(), 3 * SECOND);
    for (int i = 0; i < GROUPS / 2; i++) {
        xf_warmed(&s, leaders[i], SECOND);
    }
    CHECK_EQ(s.gate.in_use, GROUPS + GROUPS / 2 * (EACH - 1));
    CHECK_EQ(armed(), 3 * SECOND + GROUPS / 2);
    xf_poll(&s, 4 * SECOND);
    CHECK_EQ(s.gate.in_use, GROUPS * EACH);
    CHECK_EQ(s.queue.groups.lapsed, GROUPS / 2);
    stop();
}

TEST(a_group_lives_until_it_is_closed_and_its_last_call_has_ended)
{
    start_to_hold(SECOND, XF_UNLIMITED);
    xf_group *g = xf_open_group(&s, MINUTES, NULL);
    xf_call *leader = submit_to(g, 0, XF_NEVER, 0), *held = submit_to(g, 3, 5, 0);
    xf_call *unsent = call(0, 0);
    xf_join_group(unsent, g);
    xf_close_group(&s, g);
    CHECK(xf_dispatch(&s, leader));
    xf_finish(&s, leader, XF_CANCELLED, 1);
    CHECK(xf_collect(&s) == held);
    CHECK(xf_group_of(&s, held) == g);
    xf_finish(&s, held, XF_CANCELLED, 1);
    CHECK_EQ(s.queue.groups.n_open, 1);
    xf_finish(&s, unsent, XF_CANCELLED, 1); /* it was never submitted */
    CHECK_EQ(s.queue.groups.n_open, 0);
    size_t asked = memory.calls;
    xf_group *next = xf_open_group(&s, MINUTES, NULL);
    CHECK(next == g); /* its memory is used again, and that of its flows */
    CHECK_EQ(submit_to(next, 1, XF_NEVER, 2)->state, XF_CALL_ADMITTED);
    CHECK_EQ(submit_to(next, 2, XF_NEVER, 2)->state, XF_CALL_WAITING);
    CHECK_EQ(memory.calls, asked);
    stop();
}

TEST(a_trunk_lives_until_its_last_branch_is_gone)
{
    start_to_hold(SECOND, XF_UNLIMITED);
    xf_group *trunk = xf_open_group(&s, MINUTES, NULL);
    xf_group *first = xf_open_group(&s, MINUTES, trunk);
    xf_group *second = xf_open_group(&s, MINUTES, trunk);
    xf_group *third = xf_open_group(&s, MINUTES, first);
    xf_call *c = submit_to(third, 0, XF_NEVER, 0);
    xf_close_group(&s, trunk);
    xf_close_group(&s, first);
    xf_close_group(&s, second);
    CHECK_EQ(s.queue.groups.n_open, 3);
    xf_close_group(&s, third);
    CHECK_EQ(s.queue.groups.n_open, 3);
    xf_finish(&s, c, XF_SUCCEEDED, 0);
    CHECK_EQ(s.queue.groups.n_open, 0);
    stop();
}

/* Hours, if a call looked at all branches. */
TEST(a_call_costs_the_same_however_many_branches_wait)
{
    enum { BRANCHES = 50000 };
    static xf_call *leaders[BRANCHES];
    start_to_hold(SECOND, XF_UNLIMITED);
    xf_group *trunk = xf_open_group(&s, MINUTES, NULL);
    for (int i = 0; i < BRANCHES; i++) {
        xf_group *g = xf_open_group(&s, MINUTES, trunk);
        leaders[i] = submit_to(g, 0, XF_NEVER, 0);
        submit_to(g, 0, XF_NEVER, 0);
    }
    CHECK_EQ(s.gate.in_use, 1);
    CHECK(xf_dispatch(&s, leaders[0]));
    xf_warmed(&s, leaders[0], 1);
    CHECK_EQ(s.gate.in_use, BRANCHES + 1);
    for (int i = 1; i < BRANCHES; i++) {
        CHECK(xf_dispatch(&s, leaders[i]));
        xf_warmed(&s, leaders[i], 2);
    }
    CHECK_EQ(s.gate.in_use, 2 * BRANCHES);
    stop();
}

/* Minutes, if an operation looked at the groups that fade. */
TEST(a_call_costs_the_same_however_many_groups_fade)
{
    enum { GROUPS = 50000 };
    static xf_group *groups[GROUPS];
    static xf_call *leaders[GROUPS];
    start_to_hold(3 * SECOND, GROUPS);
    for (int i = 0; i < GROUPS; i++) {
        groups[i] = xf_open_group(&s, MINUTES, NULL);
        leaders[i] = submit_to(groups[i], 0, XF_NEVER, 0);
        CHECK(xf_dispatch(&s, leaders[i]));
        xf_warmed(&s, leaders[i], 0);
    }
    for (int i = 0; i < GROUPS; i++) {
        submit_to(groups[i], 0, XF_NEVER, 0);
    }
    CHECK_EQ(armed(), MINUTES - 10 * SECOND);
    xf_poll(&s, armed());
    CHECK_EQ(s.queue.fading.size, GROUPS);
    CHECK_EQ(armed(), MINUTES);
    for (int i = 0; i < GROUPS / 2; i++) {
        xf_finish(&s, leaders[i], XF_SUCCEEDED, 295 * SECOND);
    }
    CHECK_EQ(s.queue.fading.size, GROUPS / 2);
    xf_poll(&s, MINUTES);
    CHECK_EQ(s.queue.fading.size, 0);
    CHECK_EQ(armed(), XF_NEVER); /* those that wait are cold, and wait for slots */
    stop();
}

TEST(a_group_is_held_in_all_its_priorities)
{
    start_to_hold(3 * SECOND, XF_UNLIMITED);
    xf_group *g = xf_open_group(&s, MINUTES, NULL);
    xf_call *leader = submit_to(g, 0, XF_NEVER, 0);
    xf_call *low = submit_to(g, -1, XF_NEVER, 0), *high = submit_to(g, 1, XF_NEVER, 0);
    CHECK(xf_collect(&s) == NULL);
    CHECK(xf_dispatch(&s, leader));
    xf_warmed(&s, leader, SECOND);
    CHECK(xf_collect(&s) == high);
    CHECK(xf_collect(&s) == low);
    stop();
}

TEST(holds_that_end_together_let_go_in_the_order_of_the_calls)
{
    start_to_hold(SECOND, XF_UNLIMITED);
    xf_group *one = xf_open_group(&s, MINUTES, NULL), *other = xf_open_group(&s, MINUTES, NULL);
    submit_to(one, 0, XF_NEVER, 0);
    submit_to(other, 0, XF_NEVER, 0);
    xf_call *first = submit_to(other, 0, XF_NEVER, 0), *second = submit_to(one, 0, XF_NEVER, 0);
    xf_call *urgent = submit_to(one, 7, XF_NEVER, 0);
    xf_poll(&s, SECOND);
    CHECK(xf_collect(&s) == urgent);
    CHECK(xf_collect(&s) == first);
    CHECK(xf_collect(&s) == second);
    stop();
}

TEST(time_in_which_all_calls_are_held_is_blamed_on_their_prefixes)
{
    start_to_hold(3 * SECOND, XF_UNLIMITED);
    xf_group *g = xf_open_group(&s, MINUTES, NULL);
    xf_call *leader = submit_to(g, 0, XF_NEVER, 0);
    CHECK(xf_dispatch(&s, leader));
    submit_to(g, 0, XF_NEVER, SECOND);
    xf_warmed(&s, leader, 2 * SECOND);
    xf_account(&s, 5 * SECOND);
    CHECK_EQ(s.counters.prefix_ns, SECOND);
    CHECK_EQ(s.counters.idle_ns, 4 * SECOND);
    CHECK_EQ(s.queue.groups.held_ns, 2 * SECOND);
    stop();
}

TEST(what_a_call_saves_is_put_back_with_it_or_gone_with_its_dispatch)
{
    xf_definition d = limit(100, 60, 1000);
    start(&d, 1, XF_UNLIMITED);
    s.gate.limits[0].counts_input = true;
    xf_group *g = xf_open_group(&s, MINUTES, NULL);
    xf_set_tokens(&s, g, 90);
    xf_call *first = call(100, 0), *second = call(100, 0);
    xf_join_group(first, g);
    xf_join_group(second, g);
    CHECK(xf_submit(&s, first, 0, XF_NEVER, 0));
    CHECK(xf_dispatch(&s, first));
    xf_looked_up(&s, first, true, true, 0);
    CHECK(xf_submit(&s, second, 0, SECOND, 0));
    CHECK_EQ(second->held[0], 10);
    xf_put_back(&s, second, 0); /* and admitted again, at once */
    CHECK_EQ(second->held[0], 10);
    CHECK_EQ(second->saved, 90);
    CHECK(xf_dispatch(&s, second));
    CHECK_EQ(second->crowd, 2);
    CHECK_EQ(second->held[0], 10);
    CHECK_EQ(s.gate.limits[0].used, 110);
    stop();
}

TEST(without_memory_no_group_is_opened_and_no_call_is_lost)
{
    enum { N = 200 };
    const xf_alloc alloc = {test_heap_realloc, &memory};
    int failures = 0;
    do {
        test_heap_fail_next(&memory);
        CHECK(xf_scheduler_init(&s, NULL, 0, 1, &alloc));
        xf_set_hold(&s, SECOND);
        for (int i = 0; i < N; i++) {
            xf_group *g = xf_open_group(&s, MINUTES, NULL);
            if (g == NULL) {
                failures++;
                CHECK_EQ(s.queue.groups.n_open, i);
                g = xf_open_group(&s, MINUTES, NULL);
                CHECK(g != NULL);
            }
            xf_call *c = call(0, 0);
            xf_join_group(c, g);
            uint32_t live = s.live;
            if (!xf_submit(&s, c, i % 3, i % 2 ? XF_NEVER : SECOND, 0)) {
                failures++;
                CHECK_EQ(s.live, live);
                CHECK_EQ(c->state, XF_CALL_NEW);
                CHECK_EQ(g->live, 1);
                CHECK(xf_submit(&s, c, i % 3, i % 2 ? XF_NEVER : SECOND, 0));
            }
            CHECK(xf_group_of(&s, c) == g);
        }
        CHECK_EQ(s.live, N);
        stop();
    } while (memory.failed);
    CHECK(failures > 2 * N); /* each group, and each flow */
}

TEST_MAIN
