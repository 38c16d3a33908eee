#include "core/joint.h"

#include <math.h>
#include <string.h>

/* Instants beyond this are nonsense; they and what is added to them are no overflow. */
#define LATEST (INT64_MAX / 4)

enum {
    LINE_IN_WORD = sizeof(uint64_t) / sizeof(uint16_t),
    HEAD_WORDS = offsetof(xf_joint, limits) / sizeof(uint64_t),
    LIMIT_WORDS = sizeof(xf_joint_limit) / sizeof(uint64_t),
    SEAT_WORDS = offsetof(xf_seat, costs) / sizeof(uint64_t),
};

_Static_assert(offsetof(xf_joint, limits) % sizeof(uint64_t) == 0, "a head of whole words");
_Static_assert(sizeof(xf_joint_limit) % sizeof(uint64_t) == 0, "a limit of whole words");
_Static_assert(offsetof(xf_seat, costs) % sizeof(uint64_t) == 0, "a seat of whole words");
_Static_assert(HEAD_WORDS + XF_JOINT_LIMITS * LIMIT_WORDS + XF_JOINT_SEATS / LINE_IN_WORD +
                       XF_JOINT_SEATS * (SEAT_WORDS + XF_JOINT_LIMITS) +
                       XF_JOINT_BELIEF / sizeof(uint64_t) <
                   XF_SNAPSHOT_WORDS,
               "an account fits into a block");

void xf_joint_begin(xf_joint *a, const xf_gate *g)
{
    *a = (xf_joint){.n_limits = g->n_limits};
    xf_joint_store(a, g);
}

/* ---- words ---- */

static size_t line_words(const xf_joint *a)
{
    return (a->n_line + LINE_IN_WORD - 1) / LINE_IN_WORD;
}

static size_t belief_words(const xf_joint *a)
{
    return ((size_t)a->n_belief + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

static size_t seat_words(const xf_joint *a)
{
    return SEAT_WORDS + a->n_limits;
}

static size_t words_of(const xf_joint *a)
{
    return HEAD_WORDS + a->n_limits * (size_t)LIMIT_WORDS + belief_words(a) + line_words(a) +
           a->n_seats * seat_words(a);
}

size_t xf_joint_write(const xf_joint *a, uint64_t *words)
{
    uint64_t *to = words;
    memcpy(to, a, HEAD_WORDS * sizeof(*to));
    to += HEAD_WORDS;
    memcpy(to, a->limits, a->n_limits * sizeof(a->limits[0]));
    to += a->n_limits * (size_t)LIMIT_WORDS;
    memcpy(to, a->belief, belief_words(a) * sizeof(*to));
    to += belief_words(a);
    memcpy(to, a->line, line_words(a) * sizeof(*to));
    to += line_words(a);
    for (uint32_t i = 0; i < a->n_seats; i++, to += seat_words(a)) {
        memcpy(to, &a->seats[i], seat_words(a) * sizeof(*to));
    }
    return (size_t)(to - words);
}

/* ---- what others wrote ---- */

static int64_t between(int64_t least, int64_t x, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

static void mend_instant(int64_t *at)
{
    *at = *at == XF_NEVER ? XF_NEVER : between(0, *at, LATEST);
}

static void mend_number(double *x)
{
    *x = isfinite(*x) && *x > 0 ? fmin(*x, (double)XF_MAX_CREDITS) : 0;
}

static void mend_limit(xf_joint_limit *l)
{
    xf_definition *d = &l->def;
    d->gain = between(1, d->gain, XF_MAX_CREDITS >> 10);
    d->unit = between(1, d->unit, XF_MAX_CREDITS);
    d->capacity = between(0, d->capacity, XF_MAX_CREDITS);
    d->max_cost = XF_MAX_CREDITS / d->unit;
    l->reserve = between(0, l->reserve, d->capacity);
    l->bucket.level = between(XF_MAX_DEBT, l->bucket.level, XF_MAX_CREDITS);
    l->bucket.due = between(0, l->bucket.due, XF_MAX_CREDITS);
    l->bucket.paid = between(0, l->bucket.paid, XF_MAX_CREDITS);
    l->bucket.at = between(0, l->bucket.at, LATEST);
    l->bucket.shut = between(0, l->bucket.shut, LATEST);
    l->bucket.full = between(0, l->bucket.full, LATEST);
    l->pace.next = between(0, l->pace.next, LATEST);
    mend_instant(&l->pace.until);
    mend_number(&l->lowered);
    mend_number(&l->pace.most);
    mend_number(&l->pace.rate);
    mend_number(&l->pace.scale);
    mend_number(&l->pace.fits);
    mend_number(&l->pace.full);
    mend_number(&l->pace.burst);
    mend_instant(&l->pace.faded);
    l->pace.kept = isfinite(l->pace.kept) ? l->pace.kept : 0;
}

static void mend_head(xf_joint *a)
{
    a->changed_at = between(0, a->changed_at, LATEST);
    a->anchor = between(0, a->anchor, LATEST);
    a->cooldown.until = between(0, a->cooldown.until, LATEST);
    a->cooldown.total_ns = between(0, a->cooldown.total_ns, LATEST);
    a->outage.interval = between(0, a->outage.interval, LATEST);
    a->outage.first = between(XF_UNTRIED, a->outage.first, LATEST);
    a->outage.next = between(0, a->outage.next, LATEST);
    a->outage.longest = between(0, a->outage.longest, LATEST);
    a->outage.sent = between(0, a->outage.sent, LATEST);
    a->margin.ns = between(0, a->margin.ns, XF_MARGIN_MOST);
    a->margin.changed_at = between(0, a->margin.changed_at, LATEST);
    a->slots = a->slots > 0 ? a->slots : 1;
}

/* Each seat stands in the line once, if its head is there. */
static void mend_line(xf_joint *a)
{
    bool stands[XF_JOINT_SEATS] = {false};
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_line; i++) {
        uint16_t seat = a->line[i];
        if (seat < a->n_seats && !stands[seat] && a->seats[seat].state != XF_SEAT_QUIET) {
            stands[seat] = true;
            a->line[n++] = seat;
        }
    }
    a->n_line = n;
    for (uint32_t i = 0; i < a->n_seats; i++) {
        a->seats[i].state = stands[i] ? a->seats[i].state : XF_SEAT_QUIET;
    }
}

static void mend_seat(const xf_joint *a, xf_seat *e)
{
    e->from = between(0, e->from, LATEST);
    e->at = between(0, e->at, LATEST);
    e->granted_at = between(0, e->granted_at, LATEST);
    mend_instant(&e->wakes);
    e->state = e->taken && e->state <= XF_SEAT_GRANTED ? e->state : XF_SEAT_QUIET;
    e->held = e->taken ? e->held : 0;
    for (uint32_t i = 0; i < a->n_limits; i++) {
        e->costs[i] = between(0, e->costs[i], a->limits[i].def.max_cost);
    }
}

bool xf_joint_read(xf_joint *a, const uint64_t *words, size_t n)
{
    if (n < HEAD_WORDS) {
        return false;
    }
    memcpy(a, words, HEAD_WORDS * sizeof(*words));
    if (a->n_limits > XF_JOINT_LIMITS || a->n_seats > XF_JOINT_SEATS || a->n_line > a->n_seats ||
        a->n_belief > XF_JOINT_BELIEF || words_of(a) != n) {
        return false;
    }
    words += HEAD_WORDS;
    memcpy(a->limits, words, a->n_limits * sizeof(a->limits[0]));
    words += a->n_limits * (size_t)LIMIT_WORDS;
    memcpy(a->belief, words, belief_words(a) * sizeof(*words));
    words += belief_words(a);
    memcpy(a->line, words, line_words(a) * sizeof(*words));
    words += line_words(a);
    for (uint32_t i = 0; i < a->n_seats; i++, words += seat_words(a)) {
        memcpy(&a->seats[i], words, seat_words(a) * sizeof(*words));
    }
    mend_head(a);
    for (uint32_t i = 0; i < a->n_limits; i++) {
        mend_limit(&a->limits[i]);
    }
    for (uint32_t i = 0; i < a->n_seats; i++) {
        mend_seat(a, &a->seats[i]);
    }
    mend_line(a);
    return true;
}

/* ---- the gate ---- */

void xf_joint_load(const xf_joint *a, xf_gate *g)
{
    g->slots = a->slots;
    g->resets = (uint32_t)a->resets;
    g->cooldown = a->cooldown;
    g->outage = a->outage;
    g->margin = a->margin;
    for (uint32_t i = 0; i < a->n_limits; i++) {
        const xf_joint_limit *from = &a->limits[i];
        xf_limit *l = &g->limits[i];
        l->def = from->def;
        l->reserve = from->reserve;
        l->bucket = from->bucket;
        l->pace = from->pace;
        l->reset = (uint32_t)from->reset;
        l->lowered = from->lowered;
    }
}

void xf_joint_store(xf_joint *a, const xf_gate *g)
{
    a->slots = g->slots;
    a->resets = g->resets;
    a->cooldown = g->cooldown;
    a->outage = g->outage;
    a->margin = g->margin;
    for (uint32_t i = 0; i < a->n_limits; i++) {
        const xf_limit *l = &g->limits[i];
        xf_joint_limit *to = &a->limits[i];
        to->def = l->def;
        to->reserve = l->reserve;
        to->bucket = l->bucket;
        to->pace = l->pace;
        to->reset = l->reset;
        to->lowered = l->lowered;
    }
}

/* ---- the line ---- */

void xf_joint_enter(xf_joint *a, uint32_t seat)
{
    a->line[a->n_line++] = (uint16_t)seat;
}

void xf_joint_leave(xf_joint *a, uint32_t seat)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_line; i++) {
        if (a->line[i] != seat) {
            a->line[n++] = a->line[i];
        }
    }
    a->n_line = n;
}
