/* Who is next, who leaves, and what happens when there is no memory. */
#include "fixture.h"

TEST(an_idle_scheduler_admits_on_the_spot)
{
    start(NULL, 0, 1);
    xf_call *c = submit(0, 0, 5);
    CHECK_EQ(c->state, XF_CALL_ADMITTED);
    CHECK(xf_collect(&s) == NULL);
    CHECK_EQ(armed(), XF_NEVER);
    xf_call *next = submit(0, 0, 5);
    CHECK_EQ(next->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), XF_NEVER); /* later, but no time can be told */
    int64_t at;
    CHECK(xf_head(&s, &at) == next);
    stop();
}

TEST(first_come_first_served_within_a_priority)
{
    enum { N = 200 };
    xf_call *calls[N];
    start(NULL, 0, 1);
    xf_call *running = dispatched(0, 0, 0);
    for (int i = 0; i < N; i++) {
        calls[i] = call(0, 0);
        CHECK(xf_submit(&s, calls[i], i % 3 - 1, XF_NEVER, 0));
    }
    for (int priority = 1; priority >= -1; priority--) {
        for (int i = priority + 1; i < N; i += 3) {
            xf_finish(&s, running, XF_SUCCEEDED, 0);
            running = xf_collect(&s);
            CHECK(running == calls[i]);
            CHECK(xf_collect(&s) == NULL);
            CHECK(xf_dispatch(&s, running));
        }
    }
    stop();
}

TEST(the_waiting_calls_follow_each_other_as_they_will_go)
{
    enum { N = 30 };
    start(NULL, 0, 1);
    xf_call *running = dispatched(0, 0, 0);
    for (int i = 0; i < N; i++) {
        CHECK(xf_submit(&s, call(0, 0), i % 3 - 1, XF_NEVER, 0));
    }
    const xf_call *order[N];
    const xf_call *c = xf_queue_head(&s.queue);
    for (int i = 0; i < N; i++) {
        CHECK(c != NULL);
        order[i] = c;
        c = xf_queue_next(&s.queue, c);
    }
    CHECK(c == NULL);
    for (int i = 0; i < N; i++) {
        xf_finish(&s, running, XF_SUCCEEDED, 0);
        running = xf_collect(&s);
        CHECK(running == order[i]);
        CHECK(xf_dispatch(&s, running));
    }
    stop();
}

TEST(the_ends_of_the_priorities_are_usable)
{
    start(NULL, 0, 1);
    xf_call *running = dispatched(0, 0, 0), *low = call(0, 0), *high = call(0, 0);
    CHECK(xf_submit(&s, low, XF_MIN_PRIORITY, XF_NEVER, 0));
    xf_call *middle = submit(0, 0, 0);
    CHECK(xf_submit(&s, high, XF_MAX_PRIORITY, XF_NEVER, 0));
    xf_finish(&s, running, XF_FAILED, 0);
    CHECK(xf_collect(&s) == high);
    xf_finish(&s, high, XF_CANCELLED, 0);
    CHECK(xf_collect(&s) == middle);
    xf_finish(&s, middle, XF_CANCELLED, 0);
    CHECK(xf_collect(&s) == low);
    stop();
}

TEST(small_calls_do_not_overtake_a_large_one)
{
    const xf_definition tokens = limit(10, 1, 10);
    start(&tokens, 1, XF_UNLIMITED);
    submit(10, 0, 0);
    xf_call *large = submit(10, 0, 0), *small = submit(1, 0, 0);
    CHECK_EQ(armed(), SECOND);
    xf_poll(&s, SECOND / 2);
    CHECK(xf_collect(&s) == NULL);
    xf_poll(&s, SECOND);
    CHECK(xf_collect(&s) == large);
    CHECK_EQ(small->state, XF_CALL_WAITING);
    CHECK_EQ(armed(), SECOND + SECOND / 10);
    stop();
}

TEST(a_retry_goes_before_newer_calls_of_its_priority)
{
    start(NULL, 0, 2);
    xf_call *first = dispatched(0, 0, 0), *second = dispatched(0, 0, 0);
    xf_call *third = submit(0, 0, 0), *urgent = call(0, 0);
    xf_retry(&s, second, 0); /* its own slot is the only free one, and it comes before `third` */
    CHECK(xf_collect(&s) == second);
    CHECK(xf_dispatch(&s, second));
    CHECK(xf_submit(&s, urgent, 1, XF_NEVER, 0));
    xf_retry(&s, second, 0);
    CHECK(xf_collect(&s) == urgent);
    xf_retry(&s, first, 0);
    CHECK(xf_collect(&s) == first);
    xf_finish(&s, urgent, XF_CANCELLED, 0);
    CHECK(xf_collect(&s) == second);
    xf_finish(&s, second, XF_CANCELLED, 0);
    CHECK(xf_collect(&s) == third);
    stop();
}

TEST(a_waiting_call_expires_at_its_deadline)
{
    start(NULL, 0, 1);
    xf_call *running = dispatched(0, 0, 0), *patient = call(0, 0), *hasty = call(0, 0);
    CHECK(xf_submit(&s, patient, 0, 9 * SECOND, 0));
    CHECK(xf_submit(&s, hasty, 0, 2 * SECOND, 0));
    CHECK_EQ(armed(), 2 * SECOND);
    xf_poll(&s, 2 * SECOND - 1);
    CHECK(xf_collect(&s) == NULL);
    xf_poll(&s, 2 * SECOND);
    CHECK(xf_collect(&s) == hasty);
    CHECK_EQ(hasty->state, XF_CALL_EXPIRED);
    CHECK_EQ(armed(), 9 * SECOND);
    xf_finish(&s, running, XF_SUCCEEDED, 3 * SECOND);
    CHECK(xf_collect(&s) == patient);
    CHECK_EQ(patient->state, XF_CALL_ADMITTED);
    CHECK_EQ(armed(), XF_NEVER);
    CHECK_EQ(s.counters.expired, 1);
    stop();
}

TEST(a_call_that_was_due_before_its_deadline_is_admitted_however_late_one_looks)
{
    const xf_definition requests = limit(1, 1, 1);
    start(&requests, 1, XF_UNLIMITED);
    submit(1, 0, 0);
    xf_call *in_time = call(1, 0), *too_late = call(1, 0);
    CHECK(xf_submit(&s, in_time, 0, SECOND, 0));
    CHECK(xf_submit(&s, too_late, 0, 2 * SECOND - 1, 0));
    xf_poll(&s, SECOND + 5 * MS);
    CHECK(xf_collect(&s) == in_time);
    CHECK_EQ(in_time->state, XF_CALL_ADMITTED);
    xf_poll(&s, 2 * SECOND + 5 * MS);
    CHECK(xf_collect(&s) == too_late);
    CHECK_EQ(too_late->state, XF_CALL_EXPIRED);
    stop();
}

TEST(a_call_whose_deadline_is_over_expires_though_it_could_be_admitted)
{
    start(NULL, 0, 1);
    xf_call *now_or_never = call(0, 0), *late = call(0, 0);
    CHECK(xf_submit(&s, late, 0, SECOND - 1, SECOND));
    CHECK(xf_collect(&s) == late);
    CHECK_EQ(late->state, XF_CALL_EXPIRED);
    CHECK(xf_submit(&s, now_or_never, 0, SECOND, SECOND));
    CHECK_EQ(now_or_never->state, XF_CALL_ADMITTED);
    stop();
}

TEST(a_call_passes_at_its_deadline_if_the_one_before_it_expires_then)
{
    const xf_definition requests = limit(1, 1, 1);
    start(&requests, 1, 1);
    xf_call *first = call(1, 0), *second = call(0, 0);
    CHECK(xf_submit(&s, first, 0, SECOND / 2, 0));
    xf_set_level(&s, 0, 0, 0); /* `first` has not paid from that, */
    CHECK(xf_submit(&s, second, 0, SECOND / 2, 0));
    xf_put_back(&s, first, 0); /* and enters the queue after `second` */
    xf_poll(&s, SECOND / 2);
    CHECK(xf_collect(&s) == first);
    CHECK_EQ(first->state, XF_CALL_EXPIRED);
    CHECK(xf_collect(&s) == second);
    CHECK_EQ(second->state, XF_CALL_ADMITTED);
    stop();
}

TEST(a_call_can_end_wherever_it_is_in_the_outbox)
{
    for (int leaving = 0; leaving < 4; leaving++) {
        xf_call *calls[4];
        start(NULL, 0, 4);
        xf_set_slots(&s, 1, 0);
        xf_call *running = dispatched(0, 0, 0);
        for (int i = 0; i < 4; i++) {
            calls[i] = submit(0, 0, 0);
        }
        xf_call *last = submit(0, 0, 0);
        xf_set_slots(&s, 5, 0);
        xf_finish(&s, calls[leaving], XF_CANCELLED, 0);
        for (int i = 0; i < 4; i++) {
            if (i != leaving) {
                CHECK(xf_collect(&s) == calls[i]);
            }
        }
        CHECK(xf_collect(&s) == last); /* the grant was passed on */
        CHECK(xf_collect(&s) == NULL);
        CHECK_EQ(s.gate.in_use, 5);
        xf_finish(&s, running, XF_SUCCEEDED, 0);
        CHECK_EQ(s.gate.in_use, 4);
        stop();
    }
}

TEST(ending_twice_is_ending_once)
{
    start(NULL, 0, 1);
    xf_call *c = dispatched(0, 0, 0), *timed = call(0, 0);
    CHECK(xf_submit(&s, timed, 0, 1, 0));
    xf_poll(&s, 1);
    xf_finish(&s, timed, XF_CANCELLED, 1); /* expired, not yet collected */
    CHECK(xf_collect(&s) == NULL);
    xf_finish(&s, timed, XF_CANCELLED, 1);
    xf_finish(&s, c, XF_SUCCEEDED, 1);
    xf_finish(&s, c, XF_FAILED, 1);
    CHECK_EQ(s.gate.in_use, 0);
    CHECK_EQ(s.live, 0);
    CHECK_EQ(s.counters.succeeded, 1);
    CHECK_EQ(s.counters.failed, 0);
    stop();
}

TEST(a_million_waiting_calls_with_random_cancellations)
{
    enum { N = 1000000 };
    start(NULL, 0, 1);
    const size_t size = xf_call_size(&s);
    char *calls = calloc(N, size);
    CHECK(calls != NULL);
    xf_call *running = dispatched(0, 0, 0);
    for (size_t i = 0; i < N; i++) {
        int64_t deadline = i % 2 ? XF_NEVER : 10 * SECOND + (int64_t)draw(SECOND);
        CHECK(xf_submit(&s, (xf_call *)(calls + i * size), 0, deadline, 0));
    }
    uint32_t left = N;
    for (int i = 0; i < N; i++) {
        xf_call *c = (xf_call *)(calls + draw(N) * size);
        left -= c->state == XF_CALL_WAITING;
        xf_finish(&s, c, XF_CANCELLED, 0);
        CHECK(c->state == XF_CALL_DONE);
    }
    CHECK_EQ(s.queue.size, left);
    CHECK_EQ(s.live, left + 1);
    CHECK(xf_collect(&s) == NULL);
    for (char *next = calls; left > 0; left--) {
        xf_finish(&s, running, XF_SUCCEEDED, 0);
        running = xf_collect(&s);
        CHECK(running != NULL && (char *)running >= next); /* in the order of their coming */
        next = (char *)running + size;
        CHECK(xf_dispatch(&s, running));
    }
    xf_finish(&s, running, XF_SUCCEEDED, 0);
    CHECK_EQ(s.live, 0);
    CHECK_EQ(s.queue.deadlines.size, 0);
    CHECK(s.queue.deadlines.capacity <= 128); /* the memory went back */
    free(calls);
    stop();
}

/* What a caller can tell of the state, bytes of the calls included. */
static void check_same(const xf_scheduler *before, const xf_limit *limits)
{
    CHECK_EQ(s.live, before->live);
    CHECK_EQ(s.gate.in_use, before->gate.in_use);
    CHECK_EQ(s.anchor, before->anchor);
    CHECK_EQ(s.head_at, before->head_at);
    CHECK_EQ(s.queue.size, before->queue.size);
    CHECK_EQ(s.queue.deadlines.size, before->queue.deadlines.size);
    CHECK_EQ(s.queue.next_number, before->queue.next_number);
    CHECK(s.outbox.first == before->outbox.first && s.outbox.last == before->outbox.last);
    CHECK(memcmp(&s.counters, &before->counters, sizeof(s.counters)) == 0);
    CHECK(memcmp(&s.gate.cooldown, &before->gate.cooldown, sizeof(s.gate.cooldown)) == 0);
    CHECK(memcmp(s.gate.limits, limits, s.gate.n_limits * sizeof(*limits)) == 0);
}

TEST(any_failing_allocation_leaves_the_state_intact)
{
    enum { N = 500 };
    const xf_definition tokens = limit(10, 1, 10);
    const xf_alloc alloc = {test_heap_realloc, &memory};
    int failures = 0;
    do {
        test_heap_fail_next(&memory);
        if (!xf_scheduler_init(&s, &tokens, 1, 3, &alloc)) {
            CHECK_EQ(memory.live, 0);
            failures++;
            continue;
        }
        for (int i = 0; i < N; i++) {
            xf_call *c = call(1, 0), untouched = *c;
            int64_t deadline = i % 3 ? XF_NEVER : (N + i) * SECOND;
            xf_scheduler before = s;
            xf_limit level = s.gate.limits[0];
            if (!xf_submit(&s, c, 0, deadline, i * MS)) {
                failures++;
                check_same(&before, &level);
                CHECK(memcmp(c, &untouched, sizeof(untouched)) == 0);
                CHECK(xf_submit(&s, c, 0, deadline, i * MS)); /* and it works again */
            }
        }
        CHECK_EQ(s.live, N);
        CHECK_EQ(s.queue.size, N - 3);
        stop();
    } while (memory.failed);
    CHECK(failures > 7); /* the limits, a flow, and a heap that doubled several times */
}

TEST(a_retry_and_a_call_put_back_need_no_memory)
{
    enum { N = 1000 };
    static xf_call *calls[N];
    start(NULL, 0, N);
    for (int i = 0; i < N; i++) {
        calls[i] = call(0, 0);
        CHECK(xf_submit(&s, calls[i], 0, 99 * SECOND, 0));
        CHECK_EQ(calls[i]->state, XF_CALL_ADMITTED);
    }
    for (int i = 0; i < N / 2; i++) {
        CHECK(xf_dispatch(&s, calls[i]));
    }
    CHECK_EQ(refuse(NULL, SECOND, 0), SECOND);
    memory.fail_at = memory.calls + 1;
    for (int i = 0; i < N / 2; i++) {
        xf_retry(&s, calls[i], 0);
    }
    for (int i = N / 2; i < N; i++) {
        CHECK(!xf_dispatch(&s, calls[i]));
        xf_put_back(&s, calls[i], 0);
    }
    CHECK(!memory.failed);
    CHECK_EQ(s.queue.size, N);
    xf_poll(&s, SECOND);
    for (int i = 0; i < N; i++) {
        CHECK(xf_collect(&s) == calls[i]);
    }
    stop();
}

TEST_MAIN
