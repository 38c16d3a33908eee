#include "core/share.h"

#include <string.h>

#include "core/sum.h"

/* ---- reading and writing the state ---- */

/* Reads the state into `account`. False: there is none, or it is nonsense. */
static bool read_state(xf_share *s)
{
    size_t n;
    do {
        s->head = xf_snapshot_head(s->memory);
    } while (!xf_snapshot_read(s->memory, s->head, s->words, &n));
    return xf_joint_read(&s->joint, s->words, n);
}

/* The gate becomes what the state says. False: there was none, and it is what the gate was. */
static bool load(xf_gate *g)
{
    xf_share *s = g->share;
    xf_joint *a = &s->joint;
    bool known = read_state(s) && a->n_limits == g->n_limits;
    if (!known) {
        xf_joint_begin(a, g);
    }
    for (uint32_t i = a->n_seats; i <= s->seat; i++) {
        a->seats[i] = (xf_seat){0};
    }
    a->n_seats = a->n_seats > s->seat ? a->n_seats : s->seat + 1;
    a->seats[s->seat].taken = true;
    xf_joint_load(a, g);
    for (uint32_t i = 0; i < g->n_limits; i++) {
        g->limits[i].used = s->used[i];
    }
    s->found = (xf_pokes){{0}};
    return known;
}

void xf_share_load(xf_gate *g)
{
    (void)load(g);
}

/* Brings our cell up to date. */
static void tell(const xf_gate *g)
{
    const xf_share *s = g->share;
    xf_snapshot_tell(s->memory, s->seat, XF_TELLS_ADMITTED, g->admitted);
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_snapshot_tell(s->memory, s->seat, XF_TELLS_USED + i, g->limits[i].used);
    }
}

/* Makes the changed copy the state. False: another member was faster. */
static bool publish(xf_gate *g, int64_t now)
{
    xf_share *s = g->share;
    xf_joint *a = &s->joint;
    xf_joint_store(a, g);
    a->changed_at = xf_larger(a->changed_at, now);
    for (uint32_t i = 0; i < g->n_limits; i++) {
        a->limits[i].used += g->limits[i].used - s->used[i];
    }
    while (a->n_seats > 0 && !a->seats[a->n_seats - 1].taken) {
        a->n_seats--;
    }
    size_t n = xf_joint_write(a, s->words);
    if (!xf_snapshot_swing(s->memory, &s->head, s->seat, s->words, n)) {
        return false;
    }
    for (uint32_t i = 0; i < g->n_limits; i++) {
        s->used[i] = g->limits[i].used;
    }
    for (size_t i = 0; i < sizeof(s->pokes.bits) / sizeof(s->pokes.bits[0]); i++) {
        s->pokes.bits[i] |= s->found.bits[i];
    }
    tell(g);
    return true;
}

/* Whether a member waits. */
static bool is_waited_for(const xf_joint *a)
{
    for (uint32_t i = 0; i < a->n_line; i++) {
        if (a->seats[a->line[i]].state == XF_SEAT_WAITING) {
            return true;
        }
    }
    return false;
}

int64_t xf_share_begin(xf_gate *g, int64_t now)
{
    xf_share *s = g->share;
    xf_share_load(g);
    now = xf_larger(now, s->joint.changed_at);
    (void)xf_line_play(g, &s->joint, s->seat, now, &s->found);
    /* The change counts from now on, also for those that have waited until now. */
    if (now > s->joint.anchor && is_waited_for(&s->joint)) {
        s->joint.anchor = now;
    }
    return now;
}

bool xf_share_end(xf_gate *g, int64_t now)
{
    xf_share *s = g->share;
    s->joint.seats[s->seat].held = g->in_use;
    (void)xf_line_play(g, &s->joint, s->seat, now, &s->found);
    return publish(g, now);
}

/* ---- members ---- */

/* Joins as the first member, which brings the limits and slots that it has `given`. `known`: the
   account has levels, which stay. */
static void be_first(xf_gate *g, const xf_gate *given, const xf_joining *joining, bool known,
                     int64_t now)
{
    const xf_limit *own = g->share->room;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_limit *l = &g->limits[i];
        if (memcmp(&l->def, &own[i].def, sizeof(l->def)) != 0) {
            xf_limit_retune(l, &own[i].def, now);
            xf_limit_reserve(l, g->margin.ns, now);
        } else if (!known && joining->empty) {
            (void)xf_limit_set_level(l, 0, now);
        }
    }
    g->slots = given->slots;
    g->share->joint.version++;
    g->share->joint.n_belief = 0; /* that was of the members before */
}

/* Empties a seat, whose member is gone. */
static void vacate(xf_gate *g, uint32_t seat, int64_t now)
{
    xf_joint *a = &g->share->joint;
    xf_line_clear(g, a, seat, now);
    xf_outage_left(&g->outage, seat, now);
    a->seats[seat] = (xf_seat){0};
}

bool xf_share_join(xf_gate *g, xf_share *share, void *memory, const xf_joining *joining,
                   int64_t now)
{
    xf_joint *a = &share->joint;
    share->memory = memory;
    share->seat = joining->seat;
    share->in_line = false;
    share->pokes = (xf_pokes){{0}};
    memset(share->used, 0, sizeof(share->used));
    if (g->n_limits > XF_JOINT_LIMITS || joining->seat >= XF_JOINT_SEATS ||
        (read_state(share) && a->n_limits != g->n_limits && !joining->alone)) {
        return false;
    }
    xf_limits_copy(share->room, g->limits, g->n_limits);
    g->share = share;
    const xf_gate given = *g;
    do {
        *g = given;
        xf_limits_copy(g->limits, share->room, g->n_limits);
        bool known = load(g);
        if (!joining->alone) { /* else the clock may have begun anew */
            now = xf_larger(now, a->changed_at);
        }
        a->changed_at = now;
        for (uint32_t i = 0; i < a->n_seats; i++) {
            if (joining->alone || i == joining->seat) {
                vacate(g, i, now);
                a->seats[i].taken = i == joining->seat;
            }
        }
        if (joining->alone || !known) {
            be_first(g, &given, joining, known, now);
        }
        (void)xf_line_play(g, a, share->seat, now, &share->found);
    } while (!publish(g, now));
    return true;
}

/* Takes a member out who is gone. */
static void bury(xf_gate *g, uint32_t seat, int64_t now)
{
    xf_share *s = g->share;
    do {
        now = xf_share_begin(g, now);
        s->joint.seats[s->seat].held = g->in_use;
        if (seat < s->joint.n_seats) {
            vacate(g, seat, now);
        }
        (void)xf_line_play(g, &s->joint, s->seat, now, &s->found);
    } while (!publish(g, now));
}

void xf_share_leave(xf_gate *g, int64_t now)
{
    bury(g, g->share->seat, now);
    g->share = NULL;
}

void xf_share_bury(xf_gate *g, uint32_t seat, int64_t now)
{
    if (seat != g->share->seat) {
        bury(g, seat, now);
    }
}

/* ---- what is learned ---- */

static void apply(xf_gate *g, const xf_lesson *lesson, int64_t now)
{
    xf_limit *l = &g->limits[lesson->limit];
    xf_limit_retune(l, &lesson->def, now);
    xf_limit_reserve(l, g->margin.ns, now);
    if (lesson->sets_level && xf_limit_set_level(l, lesson->level, now)) {
        l->reset = ++g->resets;
    }
}

bool xf_share_learn(xf_gate *g, uint64_t version, const xf_lesson *lessons, size_t n,
                    const char *belief, size_t n_belief, int64_t now)
{
    xf_joint *a = &g->share->joint;
    do {
        now = xf_share_begin(g, now);
        if (a->version != version) {
            xf_share_load(g);
            return false;
        }
        for (size_t i = 0; i < n; i++) {
            apply(g, &lessons[i], now);
        }
        a->version++;
        a->n_belief = n_belief;
        memcpy(a->belief, belief, n_belief);
    } while (!xf_share_end(g, now));
    return true;
}

int64_t xf_share_used(const xf_gate *g, uint32_t i)
{
    const xf_share *s = g->share;
    return (int64_t)(s->joint.limits[i].used + g->limits[i].used - s->used[i]);
}

void xf_share_lower(xf_gate *g, uint32_t i, int64_t left, int64_t used, int64_t at, int64_t now)
{
    do {
        now = xf_share_begin(g, now);
        xf_limit_lower(&g->limits[i], left, xf_share_used(g, i) - used, at, now);
    } while (!xf_share_end(g, now));
}

/* ---- the head ---- */

static bool costs_as_much(const xf_gate *g, const xf_seat *e, const int64_t *costs)
{
    return memcmp(e->costs, costs, g->n_limits * sizeof(*costs)) == 0;
}

/* Our head stands in the line, with these costs. True: that is new. */
static bool ask(xf_gate *g, const int64_t *costs, const xf_turn *turn)
{
    xf_joint *a = &g->share->joint;
    xf_seat *e = &a->seats[g->share->seat];
    if (e->state != XF_SEAT_QUIET && costs_as_much(g, e, costs)) {
        return false;
    }
    if (e->state == XF_SEAT_GRANTED) { /* to another call, which has left */
        xf_line_clear(g, a, g->share->seat, turn->now);
    }
    if (e->state == XF_SEAT_QUIET) {
        e->from = turn->from;
        e->wakes = turn->now;
        xf_joint_enter(a, g->share->seat);
    }
    e->state = XF_SEAT_WAITING;
    e->waiting = turn->waiting;
    memcpy(e->costs, costs, g->n_limits * sizeof(*costs));
    return true;
}

/* Our head has passed, and leaves the line: it goes, unless that comes too late for it. */
static int64_t take(xf_gate *g, const xf_turn *turn, uint32_t *resets)
{
    xf_joint *a = &g->share->joint;
    xf_seat *e = &a->seats[g->share->seat];
    int64_t at = e->at;
    *resets = e->resets;
    if (at <= turn->until) {
        e->held = g->in_use + 1;
        e->state = XF_SEAT_QUIET;
        xf_joint_leave(a, g->share->seat);
    } else {
        xf_line_clear(g, a, g->share->seat, turn->now);
    }
    return at;
}

int64_t xf_share_pass(xf_gate *g, const int64_t *costs, const xf_turn *turn, uint32_t *resets,
                      int *held_by)
{
    xf_share *s = g->share;
    xf_joint *a = &s->joint;
    xf_seat *e = &a->seats[s->seat];
    if (g->in_use >= g->ramp) {
        xf_share_withdraw(g, turn->now);
        *held_by = XF_BY_SLOTS;
        return XF_NEVER;
    }
    int64_t at;
    bool changed;
    do {
        xf_share_load(g);
        changed = ask(g, costs, turn);
        changed |= xf_line_play(g, a, s->seat, turn->now, &s->found);
        s->in_line = e->state != XF_SEAT_GRANTED;
        if (s->in_line) {
            at = xf_line_foresee(g, a, s->seat, turn->now, s->room, held_by);
            changed |= e->wakes != at;
            e->wakes = at;
        } else {
            at = take(g, turn, resets);
            changed = true;
        }
    } while (changed && !publish(g, turn->now));
    if (at <= turn->until) {
        for (uint32_t i = 0; i < g->n_limits; i++) { /* paid in the line: see there */
            g->limits[i].used += (uint64_t)costs[i];
            s->used[i] = g->limits[i].used;
        }
    }
    return at;
}

void xf_share_withdraw(xf_gate *g, int64_t now)
{
    xf_share *s = g->share;
    if (s->in_line) {
        s->in_line = false;
        do {
            now = xf_share_begin(g, now);
            xf_line_clear(g, &s->joint, s->seat, now);
        } while (!xf_share_end(g, now));
    }
}

bool xf_share_is_held(const xf_share *share, uint32_t seat)
{
    const xf_joint *a = &share->joint;
    return seat < a->n_seats && seat != share->seat && a->seats[seat].taken &&
           (a->seats[seat].held > 0 || a->seats[seat].state != XF_SEAT_QUIET);
}

bool xf_share_look(xf_share *share, void *memory)
{
    share->memory = memory;
    return read_state(share);
}
