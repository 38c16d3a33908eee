#include "core/lease.h"

void xf_lease_begin(xf_gate *g, xf_lease *lease)
{
    *lease = (xf_lease){.fair = XF_UNLIMITED};
    g->lease = lease;
}

/* ---- chunks ---- */

/* The instant at which the last call of a chunk can have gone, and somewhat more. */
static int64_t lapses_at(const xf_gate *g, const xf_chunk *c)
{
    double longest = 0; /* ns */
    for (uint32_t i = 0; i < g->n_limits; i++) {
        const xf_definition *d = &g->limits[i].def;
        double behind = ((double)c->units[i] - c->levels[i]) * (double)d->unit / (double)d->gain;
        longest = behind > longest ? behind : longest;
    }
    bool is_endless = longest > 9e18 - (double)c->from - (double)XF_LEASE_LATE_NS;
    return is_endless ? XF_NEVER : c->from + (int64_t)longest + XF_LEASE_LATE_NS;
}

/* The chunk becomes the one that is used. What goes back goes to the buckets of a loan at once. */
static void begin(xf_gate *g, const xf_chunk *c)
{
    xf_lease *l = g->lease;
    l->chunk = *c;
    l->has_chunk = true;
    l->has_loan = c->is_loan;
    l->half = false;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        double level = c->levels[i];
        if (c->is_loan) {
            level += (double)l->refunds[i];
            l->refunds[i] = 0;
        }
        l->granted[i] = c->units[i];
        xf_limit_lend(&g->limits[i], level, c->from);
    }
}

/* Gives the rest of the chunk back, and begins the next one. */
static void end(xf_gate *g)
{
    xf_lease *l = g->lease;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        l->unused[i] += l->chunk.units[i];
        l->news |= l->chunk.units[i] > 0;
    }
    l->has_chunk = false;
    if (l->has_next) {
        l->has_next = false;
        begin(g, &l->next);
    }
}

bool xf_lease_grant(xf_gate *g, const xf_chunk *chunk, int64_t now)
{
    xf_lease *l = g->lease;
    xf_chunk c = *chunk;
    c.until = c.is_loan ? c.until : lapses_at(g, &c);
    xf_lease_look(g, now);
    if (l->has_next || l->refused) {
        return false;
    }
    if (l->has_chunk && l->has_loan && c.is_loan) {
        l->chunk.until = c.until; /* the levels are known here only */
    } else if (l->has_chunk && !l->has_loan) {
        l->next = c;
        l->has_next = true;
    } else {
        begin(g, &c);
    }
    return true;
}

void xf_lease_look(xf_gate *g, int64_t now)
{
    while (g->lease->has_chunk && now > g->lease->chunk.until) {
        end(g);
    }
}

bool xf_lease_return(xf_gate *g)
{
    xf_lease *l = g->lease;
    bool had_loan = l->has_loan;
    l->has_chunk &= !had_loan;
    l->has_next &= !l->next.is_loan;
    l->has_loan = false;
    return had_loan;
}

void xf_lease_void(xf_gate *g)
{
    xf_lease *l = g->lease;
    l->has_chunk = l->has_next = l->has_loan = false;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        l->unused[i] = l->refunds[i] = 0;
    }
    l->news = true;
}

void xf_lease_pause(xf_gate *g, int64_t until, bool is_new, int64_t now)
{
    xf_cooldown_extend(&g->cooldown, until, is_new, now);
    if (is_new) {
        g->cooldown.step++;
        g->resets++; /* calls that were admitted before must not be dispatched now */
        for (uint32_t i = 0; i < g->n_limits; i++) {
            g->limits[i].reset = g->resets;
        }
        xf_lease_void(g);
    }
}

void xf_lease_paused(xf_gate *g, bool promised)
{
    g->lease->news = true;
    if (promised) {
        g->lease->refused = true;
        xf_lease_void(g);
    }
}

/* ---- outages ---- */

void xf_lease_failed(xf_gate *g, const xf_outage_failure *f, int64_t interval)
{
    xf_tried *t = &g->lease->tried;
    t->sent = f->sent > t->sent ? f->sent : t->sent;
    if (xf_outage_counts(&g->outage, f)) {
        int64_t took = f->now - f->sent;
        t->failures++;
        t->took = took > t->took ? took : t->took;
        t->interval = interval;
    }
}

void xf_lease_answered(xf_gate *g, int64_t sent)
{
    xf_tried *t = &g->lease->tried;
    t->answered = sent > t->answered ? sent : t->answered;
    t->failures = 0;
    g->lease->news |= g->outage.interval != 0 && sent > g->outage.sent;
}

bool xf_lease_outage(xf_gate *g, const xf_outage *told)
{
    xf_outage *o = &g->outage;
    bool is_held = o->interval == XF_NEVER, is_new = told->interval != 0 && o->interval == 0;
    if (told->interval == 0) {
        *o = is_held ? (xf_outage){0} : *o; /* else it was found here, and is not told yet */
        return false;
    }
    bool tries = !is_new && o->first > told->sent;
    g->cooldown.generation += is_new; /* calls dispatched before are no single calls, */
    g->resets += is_new;              /* and those admitted before must not be dispatched now */
    *o = (xf_outage){
        .interval = told->interval,
        .first = tries ? o->first : XF_UNTRIED,
        .next = is_held && told->next == XF_NEVER ? o->next : told->next,
        .longest = told->longest,
        .sent = told->sent,
        .failures = XF_OUTAGE_AFTER,
    };
    return is_new;
}

/* ---- calls ---- */

/* The refunds that calls may spend. */
static int64_t spare(const xf_lease *l, uint32_t i)
{
    return l->refunds[i] > 0 ? l->refunds[i] : 0;
}

static bool is_free(const xf_gate *g, const int64_t *costs)
{
    bool any = false;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        any |= costs[i] > 0;
    }
    return !any;
}

static bool fits(const xf_gate *g, const int64_t *costs)
{
    const xf_lease *l = g->lease;
    bool all = l->has_chunk;
    for (uint32_t i = 0; all && !l->has_loan && i < g->n_limits; i++) {
        all = costs[i] <= l->chunk.units[i] || costs[i] - l->chunk.units[i] <= spare(l, i) ||
              xf_lease_is_place(&g->limits[i]);
    }
    return all;
}

int64_t xf_lease_due(xf_gate *g, const int64_t *costs, const xf_turn *turn, int *held_by)
{
    xf_lease *l = g->lease;
    if (is_free(g, costs) && g->outage.interval != XF_NEVER) {
        return xf_gate_due(g, costs, turn->from, held_by);
    }
    xf_lease_look(g, turn->now);
    if (g->outage.interval != XF_NEVER && xf_outage_ready(&g->outage, turn->now) > turn->now) {
        *held_by = XF_BY_COOLDOWN; /* found here: a chunk would lapse until then */
        return xf_outage_ready(&g->outage, turn->now);
    }
    while (l->has_chunk) {
        if (fits(g, costs)) {
            int64_t from = turn->from > l->chunk.from ? turn->from : l->chunk.from;
            int64_t at = xf_gate_due(g, costs, from, held_by);
            if (at <= l->chunk.until) {
                *held_by = l->chunk.from > turn->now ? XF_BY_SHARE : *held_by;
                return at;
            }
            if (l->has_loan) {
                return XF_NEVER; /* until the loan is prolonged */
            }
        }
        end(g);
    }
    l->news |= !l->asking;
    *held_by = XF_BY_SHARE;
    return XF_NEVER;
}

void xf_lease_take(xf_gate *g, const int64_t *costs)
{
    xf_lease *l = g->lease;
    if (!l->has_chunk || l->has_loan) {
        return; /* the call is free, or the buckets have paid for it */
    }
    bool first = true, half = false;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        int64_t *units = &l->chunk.units[i], lack = costs[i] - *units;
        first &= *units == l->granted[i];
        *units = lack > 0 ? 0 : *units - costs[i];
        l->refunds[i] -= lack > 0 ? lack : 0;
        half |= costs[i] > 0 && *units < l->granted[i] / 2;
    }
    /* Time to ask for the next chunk, or to think of it again. */
    l->news |= !l->has_next && !l->asking && (first || (half && !l->half));
    l->half |= half;
}

void xf_lease_untake(xf_gate *g, const int64_t *costs, uint16_t resets)
{
    xf_lease *l = g->lease;
    if (l->has_loan) {
        return;
    }
    for (uint32_t i = 0; i < g->n_limits; i++) {
        if (!xf_gate_has_paid(g, i, resets)) {
            continue;
        }
        if (l->has_chunk) {
            l->chunk.units[i] += costs[i];
        } else {
            l->unused[i] += costs[i];
            l->news |= costs[i] > 0;
        }
    }
}

void xf_lease_settle(xf_gate *g, uint32_t i, int64_t units)
{
    int64_t sum;
    if (!g->lease->has_loan && !__builtin_add_overflow(g->lease->refunds[i], units, &sum)) {
        g->lease->refunds[i] = sum;
    }
}

/* ---- slots ---- */

void xf_lease_landed(xf_gate *g)
{
    xf_lease *l = g->lease;
    if (l->fair != XF_UNLIMITED && g->slots != XF_UNLIMITED && g->slots > l->fair) {
        g->slots--;
        l->returned++;
        l->news = true;
    }
}

void xf_lease_is_full(xf_gate *g)
{
    xf_lease *l = g->lease;
    l->news |= g->in_use >= g->slots && l->want <= g->slots;
}
