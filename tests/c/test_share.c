/* Several members of one account: what they use together, whose turn it is, who dies. */
#include "sharekit.h"

#include "core/admission.h"

TEST(members_use_one_bucket)
{
    gather(3, limit(100, 1, 10), XF_UNLIMITED);
    (void)dispatched(0, 6, 0);
    CHECK_NEAR(level(1, 0), 4, 0);
    (void)dispatched(1, 4, 0);
    CHECK_EQ(submit(2, 1, 0)->state, XF_CALL_WAITING);
    CHECK_EQ(head_at(2), 10 * MS);
    part(3);
}

TEST(members_may_share_slots_alone)
{
    share_memory();
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(join(i, NULL, 0, 1, 0));
    }
    xf_call *first = dispatched(0, 0, 0), *second = submit(1, 0, 0);
    CHECK_EQ(second->state, XF_CALL_WAITING);
    xf_finish(&members[0].s, first, XF_SUCCEEDED, MS);
    xf_look(&members[1].s, MS);
    CHECK_EQ(second->state, XF_CALL_ADMITTED);
    part(2);
}

TEST(they_go_in_the_order_in_which_they_asked)
{
    gather(3, limit(100, 1, 0), XF_UNLIMITED);
    (void)dispatched(0, 1, 0);
    xf_call *first[2], *second[2];
    first[0] = submit(1, 1, 0);
    second[0] = submit(2, 1, 0);
    first[1] = submit(1, 1, 0);
    second[1] = submit(2, 1, 0);
    CHECK_EQ(head_at(1), 10 * MS);
    CHECK_EQ(head_at(2), 20 * MS);
    for (int i = 0; i < 2; i++) {
        int64_t now = (2 * i + 1) * 10 * MS;
        xf_poll(&members[1].s, now);
        CHECK_EQ(first[i]->state, XF_CALL_ADMITTED);
        CHECK_EQ(second[i]->state, XF_CALL_WAITING);
        xf_poll(&members[2].s, now + 10 * MS);
        CHECK_EQ(second[i]->state, XF_CALL_ADMITTED);
        CHECK_EQ(members[2].s.anchor, now + 10 * MS);
    }
    part(3);
}

TEST(who_is_late_gets_its_turn_and_holds_nobody_up)
{
    gather(3, limit(100, 1, 0), XF_UNLIMITED);
    (void)dispatched(0, 1, 0);
    xf_call *slow = submit(1, 1, 0), *quick = submit(2, 1, 0);
    xf_poll(&members[2].s, 20 * MS);
    CHECK_EQ(quick->state, XF_CALL_ADMITTED);
    CHECK_EQ(members[2].s.anchor, 20 * MS);
    xf_poll(&members[1].s, 25 * MS);
    CHECK_EQ(slow->state, XF_CALL_ADMITTED);
    CHECK_EQ(members[1].s.anchor, 10 * MS); /* its turn was then, and is paid for */
    CHECK_NEAR(level(0, 25 * MS), -0.5, 1e-6);
    part(3);
}

TEST(a_grant_that_nobody_takes_lapses)
{
    gather(3, limit(10, 1, 0), XF_UNLIMITED);
    (void)dispatched(0, 1, 0);
    (void)submit(1, 1, 0); /* its member is stopped */
    xf_call *other = submit(2, 1, 0), *next = submit(2, 1, 0);
    xf_look(&members[2].s, 100 * MS);
    CHECK_EQ(members[2].share->joint.seats[1].state, XF_SEAT_GRANTED);
    CHECK_EQ(head_at(2), 200 * MS);
    xf_poll(&members[2].s, 200 * MS);
    CHECK_EQ(other->state, XF_CALL_ADMITTED);
    CHECK_EQ(head_at(2), 300 * MS);
    xf_look(&members[2].s, 201 * MS); /* and what it had paid is given back */
    CHECK_EQ(next->state, XF_CALL_ADMITTED);
    CHECK_EQ(members[2].share->joint.n_line, 0);
    part(3);
}

TEST(a_slot_that_comes_free_is_handed_to_who_asked_first)
{
    gather(3, limit(1e6, 1, 1e6), 1);
    xf_call *holds = dispatched(0, 1, 0);
    xf_call *first = submit(1, 1, MS), *second = submit(2, 1, MS);
    CHECK_EQ(head_at(1), XF_NEVER);
    CHECK_EQ(head_at(2), XF_NEVER);
    xf_finish(&members[0].s, holds, XF_SUCCEEDED, 2 * MS);
    CHECK(pokes(0, 1));
    CHECK(!pokes(0, 2));
    xf_look(&members[2].s, 2 * MS);
    CHECK_EQ(second->state, XF_CALL_WAITING);
    xf_look(&members[1].s, 2 * MS);
    CHECK_EQ(first->state, XF_CALL_ADMITTED);
    CHECK(xf_dispatch(&members[1].s, first));
    xf_finish(&members[1].s, first, XF_SUCCEEDED, 3 * MS);
    CHECK(pokes(1, 2));
    part(3);
}

TEST(a_refund_lets_the_first_of_the_others_go)
{
    gather(2, limit(10, 1, 10), XF_UNLIMITED);
    xf_call *dear = dispatched(0, 10, 0), *waits = submit(1, 10, 0);
    CHECK_EQ(head_at(1), SECOND);
    xf_settle(&members[0].s, dear, 0, 5, 100 * MS);
    CHECK(pokes(0, 1));
    xf_look(&members[1].s, 100 * MS);
    CHECK_EQ(head_at(1), 500 * MS);
    xf_settle(&members[0].s, dear, 0, 0, 200 * MS);
    CHECK(pokes(0, 1));
    xf_look(&members[1].s, 200 * MS);
    CHECK_EQ(waits->state, XF_CALL_ADMITTED);
    part(2);
}

TEST(a_report_counts_though_another_member_was_later)
{
    gather(2, limit(1, 3600, 10), XF_UNLIMITED);
    xf_call *c[2] = {dispatched(0, 4, 0), dispatched(0, 4, 0)};
    (void)dispatched(1, 1, 10 * MS);
    xf_settle(&members[0].s, c[0], 0, 1, 5 * MS); /* its clock was read before */
    CHECK_NEAR(level(1, 10 * MS), 4, 0.01);
    xf_settle(&members[0].s, c[1], 0, 6, 5 * MS);
    CHECK_NEAR(level(1, 10 * MS), 2, 0.01);
    part(2);
}

TEST(a_cooldown_is_everybodys)
{
    gather(2, limit(1000, 1, 100), XF_UNLIMITED);
    xf_call *refused = dispatched(0, 1, 0), *admitted = submit(1, 1, 0), *late = submit(1, 1, 0);
    CHECK_EQ(admitted->state, XF_CALL_ADMITTED);
    CHECK_EQ(late->state, XF_CALL_ADMITTED);
    CHECK(xf_dispatch(&members[1].s, late));
    const xf_backoff told = {.told_ns = SECOND};
    CHECK_EQ(xf_refused(&members[0].s, refused, &told, MS), SECOND + MS);
    CHECK(!xf_dispatch(&members[1].s, admitted));
    xf_put_back(&members[1].s, admitted, 2 * MS);
    CHECK_EQ(head_at(1), SECOND + MS);
    /* A refusal of a call that was sent before is of the same episode. */
    CHECK_EQ(xf_refused(&members[1].s, late, &told, 3 * MS), SECOND + 3 * MS);
    CHECK_EQ(members[1].s.gate.cooldown.generation, 1);
    xf_share_refresh(&members[0].s.gate);
    CHECK_EQ(members[0].s.gate.cooldown.generation, 1);
    CHECK_EQ(members[0].s.gate.cooldown.until, SECOND + 3 * MS);
    part(2);
}

TEST(an_outage_is_everybodys)
{
    gather(2, limit(1000, 1, 100), XF_UNLIMITED);
    const xf_backoff b = {.told_ns = XF_UNTOLD, .base_ns = SECOND, .max_ns = SECOND};
    int64_t now = 0;
    for (int i = 0; i < XF_OUTAGE_AFTER; i++) {
        xf_call *fails = dispatched(i % 2, 1, now);
        now = xf_failed(&members[i % 2].s, fails, &b, now + MS);
    }
    CHECK_EQ(submit(0, 1, now)->state, XF_CALL_ADMITTED); /* a single one */
    CHECK_EQ(submit(1, 1, now)->state, XF_CALL_WAITING);
    CHECK_EQ(head_at(1), now + SECOND);
    part(2);
}

TEST(the_single_call_of_a_prober_that_dies_is_the_next_members)
{
    gather(2, limit(1000, 1, 100), XF_UNLIMITED);
    const xf_backoff b = {.told_ns = XF_UNTOLD, .base_ns = SECOND, .max_ns = SECOND};
    int64_t now = 0;
    for (int i = 0; i < XF_OUTAGE_AFTER; i++) {
        now = xf_failed(&members[1].s, dispatched(1, 1, now), &b, now + MS);
    }
    (void)dispatched(0, 1, now);
    CHECK_EQ(members[0].share->joint.outage.prober, 0);
    xf_call *waits = submit(1, 1, now);
    xf_share_bury(&members[1].s.gate, 0, now + 10 * MS);
    xf_look(&members[1].s, now + 10 * MS);
    CHECK_EQ(waits->state, XF_CALL_ADMITTED); /* at once, and not at the end of the interval */
    CHECK_EQ(members[1].share->joint.outage.prober, 1);
    xf_call *next = submit(1, 1, now + 20 * MS);
    xf_look(&members[1].s, now + SECOND); /* the dead one's call has lived for an interval by now */
    CHECK_EQ(next->state, XF_CALL_WAITING);
    part(2);
}

TEST(a_limit_set_by_one_is_everybodys)
{
    gather(2, limit(1, 1, 0), 1);
    (void)dispatched(0, 1, 0);
    xf_call *waits = submit(1, 1, 0);
    CHECK_EQ(head_at(1), XF_NEVER);
    xf_set_slots(&members[0].s, 5, MS);
    CHECK(pokes(0, 1));
    xf_look(&members[1].s, MS);
    CHECK_EQ(head_at(1), SECOND);
    const xf_definition faster = limit(100, 1, 0);
    xf_retune(&members[0].s, 0, &faster, 2 * MS);
    CHECK(pokes(0, 1));
    xf_look(&members[1].s, 12 * MS);
    CHECK_EQ(waits->state, XF_CALL_ADMITTED);
    part(2);
}

TEST(a_pace_is_kept_by_all_together)
{
    const xf_pacing pacing = {.most = 400, .until = XF_NEVER};
    gather(3, limit(100, 1, 6000), XF_UNLIMITED);
    xf_set_pace(&members[0].s, 0, &pacing, 0);
    (void)dispatched(1, 100, 0);
    (void)submit(2, 200, 0);
    (void)submit(0, 100, 0);
    CHECK_EQ(head_at(2), 250 * MS);
    CHECK_EQ(head_at(0), 750 * MS);
    xf_look(&members[2].s, 250 * MS);
    CHECK_EQ(members[2].s.gate.in_use, 1);
    CHECK_EQ(head_at(0), 750 * MS);
    part(3);
}

TEST(calls_of_all_queues_go_at_once_if_they_fit)
{
    const xf_pacing pacing = {.most = 400, .fits = 0.5, .until = XF_NEVER};
    gather(2, limit(100, 1, 1000), XF_UNLIMITED);
    xf_set_pace(&members[0].s, 0, &pacing, 0);
    (void)dispatched(0, 100, 0);
    xf_gate_shut(&members[0].s.gate, 0, 10 * MS, 0); /* so that calls gather behind two heads */
    for (int i = 0; i < 2; i++) {
        (void)submit(0, 100, 0);
        (void)submit(1, 100, 0);
    }
    xf_look(&members[0].s, 10 * MS); /* 400 and the burst of 100 fit into the half of 1000 */
    xf_look(&members[1].s, 10 * MS);
    CHECK_EQ(members[0].s.gate.in_use, 3);
    CHECK_EQ(members[1].s.gate.in_use, 2);
    part(2);
}

TEST(the_limits_are_the_firsts)
{
    const xf_definition first = limit(100, 1, 10), other = limit(1, 1, 1);
    share_memory();
    CHECK(join(0, &first, 1, 5, 0));
    CHECK(join(1, &other, 1, 7, 0));
    CHECK_NEAR(xf_limit_rate(&members[1].s.gate.limits[0]), 100, 0);
    CHECK_EQ(members[1].s.gate.slots, 5);
    const xf_definition two[] = {first, other};
    CHECK(!join(2, two, 2, 5, 0));
    CHECK(members[2].s.gate.share == NULL);
    part(3);
}

TEST(what_the_dead_held_is_free_again)
{
    gather(3, limit(1e6, 1, 1e6), 2);
    (void)dispatched(0, 1, 0);
    (void)dispatched(0, 1, 0);
    xf_call *waits = submit(1, 1, 0);
    CHECK_EQ(head_at(1), XF_NEVER);
    CHECK(xf_share_is_held(members[1].share, 0));
    CHECK(!xf_share_is_held(members[1].share, 2));
    xf_share_bury(&members[1].s.gate, 0, MS);
    xf_look(&members[1].s, MS);
    CHECK_EQ(waits->state, XF_CALL_ADMITTED);
    members[0].s.gate.share = NULL; /* it is dead */
    part(3);
}

TEST(who_takes_a_dead_members_seat_begins_anew)
{
    const xf_definition d = limit(10, 1, 0);
    gather(2, d, 2);
    (void)dispatched(0, 1, 0);
    (void)submit(0, 5, 0);
    xf_scheduler_free(&members[0].s);
    CHECK(join(0, &d, 1, 2, 50 * MS));
    CHECK_EQ(members[0].share->joint.n_line, 0);
    CHECK_EQ(members[0].share->joint.seats[0].held, 0);
    CHECK_NEAR(level(0, 50 * MS), -0.5, 1e-6); /* what was used stays used */
    part(2);
}

TEST(who_leaves_gives_back_what_it_holds)
{
    gather(2, limit(10, 1, 0), 1);
    (void)dispatched(0, 1, 0);
    xf_call *waits = submit(1, 1, 0);
    xf_share_leave(&members[0].s.gate, MS);
    CHECK(members[0].s.gate.share == NULL);
    CHECK((members[0].share->pokes.bits[0] & 2) != 0);
    xf_look(&members[1].s, 100 * MS);
    CHECK_EQ(waits->state, XF_CALL_ADMITTED);
    part(2);
}

TEST(a_cancelled_head_gives_way)
{
    gather(3, limit(10, 1, 0), XF_UNLIMITED);
    (void)dispatched(0, 1, 0);
    xf_call *first = submit(1, 5, 0), *second = submit(2, 1, 0);
    CHECK_EQ(head_at(1), 100 * MS);
    CHECK_EQ(head_at(2), 600 * MS);
    xf_finish(&members[1].s, first, XF_CANCELLED, 10 * MS);
    CHECK(pokes(1, 2));
    xf_look(&members[2].s, 10 * MS);
    CHECK_EQ(head_at(2), 100 * MS);
    CHECK_EQ(second->state, XF_CALL_WAITING);
    part(3);
}

TEST(a_grant_to_a_call_that_has_left_is_given_back)
{
    gather(2, limit(10, 1, 0), XF_UNLIMITED);
    xf_call *ends = dispatched(0, 1, 0), *leaves = submit(1, 5, 0), *stays = submit(1, 2, 0);
    xf_finish(&members[0].s, ends, XF_SUCCEEDED, 101 * MS);
    CHECK_EQ(members[0].share->joint.seats[1].state, XF_SEAT_GRANTED);
    xf_finish(&members[1].s, leaves, XF_CANCELLED, 102 * MS);
    CHECK_EQ(stays->state, XF_CALL_ADMITTED);
    CHECK_NEAR(level(0, 102 * MS), -2, 1e-6);
    part(2);
}

/* Many calls of random cost by random members, none of which is ever late: what they dispatch is
   what one scheduler would, to the nanosecond. */
TEST(together_they_are_as_fast_as_one)
{
    enum { CALLS = 400 };
    gather(MEMBERS, limit(1000, 1, 0), XF_UNLIMITED);
    int64_t total = 0, last = 0, now = 0;
    uint32_t waiting = 0;
    for (int i = 0; i < CALLS; i++) {
        (void)submit((uint32_t)draw(MEMBERS), 1 + (int64_t)draw(50), 0);
    }
    for (uint32_t m = 0; m < MEMBERS; m++) {
        waiting += members[m].s.queue.size;
        total += (int64_t)members[m].s.gate.limits[0].used;
    }
    while (waiting > 0) {
        uint32_t next = MEMBERS;
        for (uint32_t m = 0; m < MEMBERS; m++) {
            int64_t at;
            if (xf_head(&members[m].s, &at) != NULL && (next == MEMBERS || at < head_at(next))) {
                next = m;
            }
        }
        now = head_at(next) > now ? head_at(next) : now;
        xf_look(&members[next].s, now);
        for (xf_call *c; (c = xf_collect(&members[next].s)) != NULL;) {
            CHECK(xf_dispatch(&members[next].s, c));
            CHECK_EQ(now, total * MS);
            total += c->held[0];
            last = c->held[0];
            waiting--;
        }
    }
    CHECK_EQ(now, (total - last) * MS);
    part(MEMBERS);
}

TEST(garbage_in_the_memory_crashes_nobody)
{
    const xf_definition d[] = {limit(100, 1, 10), limit(7, 3, 0)};
    share_memory();
    CHECK(join(0, d, 2, 3, 0));
    CHECK(join(1, d, 2, 3, 0));
    for (int round = 0; round < 3000; round++) {
        uint64_t *words = shared, head = words[0] & 0xffff;
        size_t block = (xf_snapshot_offset((uint32_t)head / 2) +
                        head % 2 * XF_SNAPSHOT_WORDS * sizeof(uint64_t)) /
                       sizeof(uint64_t);
        for (int i = 0; i < 4; i++) {
            uint64_t noise = draw(UINT64_MAX) << draw(64);
            words[block + 1 + draw(words[block] < 200 ? words[block] + 1 : 200)] = noise;
        }
        if (draw(50) == 0) {
            words[draw(2) ? 0 : block] = draw(UINT64_MAX) << draw(64);
        }
        int64_t now = (int64_t)round * MS;
        for (uint32_t m = 0; m < 2; m++) {
            xf_look(&members[m].s, now);
            xf_call *c = submit(m, (int64_t)draw(20), now);
            for (xf_call *a; (a = xf_collect(&members[m].s)) != NULL;) {
                if (!xf_dispatch(&members[m].s, a)) {
                    xf_put_back(&members[m].s, a, now);
                }
            }
            if (c->state == XF_CALL_IN_FLIGHT) {
                xf_settle(&members[m].s, c, 0, (int64_t)draw(20), now);
                const xf_backoff told = {.told_ns = (int64_t)draw(3) * MS};
                (void)xf_refused(&members[m].s, c, &told, now);
            }
            xf_finish(&members[m].s, c, XF_SUCCEEDED, now);
        }
    }
    part(2);
}

TEST_MAIN
