#include "core/line.h"

#include "core/sum.h"

/* A member that is about to look by itself is not poked. */
#define SLACK_NS INT64_C(1000000) /* 1 ms */

static void poke(xf_pokes *pokes, uint32_t seat)
{
    pokes->bits[seat / 64] |= (uint64_t)1 << seat % 64;
}

/* Slots that are not free. */
static uint64_t held(const xf_joint *a)
{
    uint64_t slots = 0;
    for (uint32_t i = 0; i < a->n_seats; i++) {
        slots += a->seats[i].held;
        slots += a->seats[i].state == XF_SEAT_GRANTED;
    }
    return slots;
}

/* Lateness is made good, but not more than that of one loop. */
static int64_t from(const xf_joint *a, const xf_seat *e, int64_t now)
{
    return xf_larger(xf_larger(e->from, a->anchor), now - XF_LINE_CATCH_UP_NS);
}

/* Units of limit `i` that calls of all members wait for, once the head at `place` has passed. Each
   call behind a head is expected to cost as much as that head. */
static double waiting(const xf_joint *a, uint32_t i, uint32_t place)
{
    double units = 0;
    for (uint32_t k = 0; k < a->n_line; k++) {
        const xf_seat *e = &a->seats[a->line[k]];
        bool waits = k > place && e->state == XF_SEAT_WAITING;
        units += ((double)e->waiting + waits) * (double)e->costs[i];
    }
    return units;
}

/* Has the head at `place` pass at `at`: it pays its costs, and the limits keep their pace. */
static void pass(xf_gate *g, const xf_joint *a, uint32_t place, int64_t at)
{
    const int64_t *costs = a->seats[a->line[place]].costs;
    xf_gate_pay(g, costs, at);
    for (uint32_t i = 0; i < g->n_limits; i++) {
        if (g->limits[i].pace.most > 0) {
            xf_limit_took(&g->limits[i], costs[i], waiting(a, i, place), at);
        }
    }
}

static void grant(xf_gate *g, xf_joint *a, uint32_t place, int64_t at)
{
    uint32_t seat = a->line[place];
    const int64_t *costs = a->seats[seat].costs;
    bool probes = g->outage.interval != 0 && g->outage.first == XF_UNTRIED;
    pass(g, a, place, at);
    g->outage.prober = probes ? seat : g->outage.prober;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        g->limits[i].used -= (uint64_t)costs[i];
        a->limits[i].used += (uint64_t)costs[i];
    }
}

static void unpay(xf_gate *g, xf_joint *a, const xf_seat *e, int64_t now)
{
    xf_gate_unpay(g, e->costs, e->resets, now);
    for (uint32_t i = 0; i < g->n_limits; i++) {
        g->limits[i].used += (uint64_t)e->costs[i];
        a->limits[i].used -= (uint64_t)e->costs[i];
    }
}

void xf_line_clear(xf_gate *g, xf_joint *a, uint32_t seat, int64_t now)
{
    xf_seat *e = &a->seats[seat];
    if (e->state == XF_SEAT_GRANTED) {
        unpay(g, a, e, now);
    }
    e->state = XF_SEAT_QUIET;
    xf_joint_leave(a, seat);
}

/* Grants that were not taken lapse, and those go back into the line that were paid for from other
   levels than these. */
static bool revise(xf_gate *g, xf_joint *a, uint32_t self, int64_t now)
{
    bool changed = false;
    for (uint32_t i = a->n_line; i-- > 0;) {
        uint32_t seat = a->line[i];
        xf_seat *e = &a->seats[seat];
        if (e->state != XF_SEAT_GRANTED) {
            continue;
        }
        if (e->resets != (uint16_t)g->resets) {
            unpay(g, a, e, now);
            e->state = XF_SEAT_WAITING;
            e->from = now;
            changed = true;
        } else if (seat != self && now - e->granted_at > XF_GRANT_NS) {
            xf_line_clear(g, a, seat, now);
            changed = true;
        }
    }
    return changed;
}

bool xf_line_play(xf_gate *g, xf_joint *a, uint32_t self, int64_t now, xf_pokes *pokes)
{
    bool changed = revise(g, a, self, now);
    uint64_t slots = held(a);
    for (uint32_t i = 0; i < a->n_line && slots < g->slots; i++) {
        xf_seat *e = &a->seats[a->line[i]];
        int held_by;
        if (e->state == XF_SEAT_GRANTED) {
            continue;
        }
        int64_t at = xf_gate_due(g, e->costs, from(a, e, now), &held_by);
        if (at <= now) {
            grant(g, a, i, at);
            e->state = XF_SEAT_GRANTED;
            e->at = at;
            e->granted_at = now;
            e->resets = (uint16_t)g->resets;
            slots++;
            changed = true;
        }
        int64_t wakes = xf_larger(at, now);
        if (a->line[i] != self && e->wakes - SLACK_NS > wakes) {
            e->wakes = wakes;
            poke(pokes, a->line[i]);
            changed = true;
        }
        if (at > now) {
            break;
        }
    }
    return changed;
}

int64_t xf_line_foresee(xf_gate *g, const xf_joint *a, uint32_t self, int64_t now, xf_limit *room,
                        int *held_by)
{
    const xf_outage outage = g->outage;
    uint64_t slots = held(a);
    int64_t at = now;
    bool is_first = true;
    xf_limits_copy(room, g->limits, g->n_limits);
    for (uint32_t i = 0; i < a->n_line; i++) {
        const xf_seat *e = &a->seats[a->line[i]];
        if (e->state == XF_SEAT_GRANTED) {
            continue;
        }
        if (slots++ >= g->slots) {
            *held_by = XF_BY_SLOTS;
            at = XF_NEVER;
            break;
        }
        at = xf_gate_due(g, e->costs, xf_larger(from(a, e, now), at), held_by);
        if (a->line[i] == self) {
            break;
        }
        is_first = false;
        pass(g, a, i, at);
    }
    if (!is_first) {
        xf_limits_copy(g->limits, room, g->n_limits);
        g->outage = outage;
        *held_by = *held_by == XF_BY_SLOTS ? XF_BY_SLOTS : XF_BY_SHARE;
    }
    return at;
}
