#include "core/group.h"

#include "core/sum.h"

#define RENEW_NS INT64_C(10000000000) /* 10 s before a group is cold: time to be admitted */
enum { RENEW_PART = 33 };             /* or 3 % of its life, of one that is long */

/* ---- the table ---- */

void xf_groups_free(xf_groups *all, const xf_alloc *alloc)
{
    for (uint32_t i = 0; i < all->n_known; i++) {
        alloc->realloc(alloc->ctx, all->known[i], 0);
    }
    if (all->known != NULL) {
        alloc->realloc(alloc->ctx, all->known, 0);
    }
    *all = (xf_groups){0};
}

/* Adds a group that is not in use. False, and nothing is done, if there is no memory. */
static bool add(xf_groups *all, const xf_alloc *alloc)
{
    uint32_t n = all->n_known;
    if ((n & (n - 1)) == 0) { /* there is room up to the next power of two */
        size_t room = n > 0 ? 2 * (size_t)n : 1;
        xf_group **known = alloc->realloc(alloc->ctx, all->known, room * sizeof(xf_group *));
        if (known == NULL) {
            return false;
        }
        all->known = known;
    }
    xf_group *g = n < XF_NO_GROUP ? alloc->realloc(alloc->ctx, NULL, sizeof(*g)) : NULL;
    if (g == NULL) {
        return false;
    }
    *g = (xf_group){.index = n};
    all->known[n] = g;
    all->n_known++;
    all->spare = g;
    return true;
}

static void join(xf_group *g, xf_group *trunk)
{
    g->trunk = trunk;
    g->next = trunk->branches;
    if (g->next != NULL) {
        g->next->previous = g;
    }
    trunk->branches = g;
    trunk->live++;
}

static void part(xf_group *g)
{
    if (g->next != NULL) {
        g->next->previous = g->previous;
    }
    if (g->previous != NULL) {
        g->previous->next = g->next;
    } else {
        g->trunk->branches = g->next;
    }
    g->trunk->live--;
}

xf_group *xf_groups_open(xf_groups *all, int64_t ttl_ns, xf_group *trunk, const xf_alloc *alloc)
{
    if (all->spare == NULL && !add(all, alloc)) {
        return NULL;
    }
    xf_group *g = all->spare;
    all->spare = g->spare;
    all->n_open++;
    *g = (xf_group){.index = g->index, .ttl_ns = ttl_ns, .renew_at = XF_NEVER};
    if (trunk != NULL) {
        join(g, trunk);
    }
    return g;
}

void xf_groups_forget(xf_groups *all, xf_group *g)
{
    if (g->trunk != NULL) {
        part(g);
    }
    all->n_open--;
    g->spare = all->spare;
    all->spare = g;
}

xf_group *xf_group_next_below(const xf_group *top, xf_group *g)
{
    if (g->branches != NULL) {
        return g->branches;
    }
    while (g != top && g->next == NULL) {
        g = g->trunk;
    }
    return g != top ? g->next : NULL;
}

/* ---- one group ---- */

static void end_hold(xf_groups *all, xf_group *g, int64_t now)
{
    if (g->waiting > 0) {
        all->held_ns = xf_sum(all->held_ns, now - g->led_at);
    }
    g->leader = NULL;
}

/* It is warm until then, at least. */
static void warm(xf_group *g, int64_t until)
{
    if (g->warm_until < until) {
        g->warm_until = until;
    }
    g->spent_ns = 0;
}

/* `c` was admitted at `at`. True if it leads `g` from now on. */
static bool lead(xf_groups *all, xf_group *g, const xf_call *c, int64_t at)
{
    if (at < g->warm_until) {
        return false;
    }
    g->sure = false;
    if (g->spent_ns >= all->hold_ns) {
        warm(g, xf_sum(at, g->ttl_ns)); /* as far as anybody waits for it */
        return false;
    }
    g->leader = c;
    g->led_at = at;
    g->held_until = xf_sum(at, all->hold_ns - g->spent_ns);
    g->lapsed_until = xf_sum(g->held_until, g->ttl_ns);
    all->led++;
    return true;
}

/* When a group fades whose last call was admitted at `at`. */
static int64_t fades_at(const xf_group *g, int64_t at)
{
    int64_t before = g->ttl_ns / RENEW_PART;
    if (before < RENEW_NS) {
        before = g->ttl_ns / 2 < RENEW_NS ? g->ttl_ns / 2 : RENEW_NS;
    }
    return g->ttl_ns != XF_NEVER ? xf_sum(at, g->ttl_ns - before) : XF_NEVER;
}

xf_group *xf_group_admitted(xf_groups *all, xf_group *g, const xf_call *c, int64_t at)
{
    xf_group *last = NULL;
    bool leads = true;
    for (; g != NULL; g = g->trunk) {
        leads = leads && lead(all, g, c, at);
        last = leads || g->fades ? g : last;
        g->fades = false;
        g->renew_at = fades_at(g, at);
    }
    return last;
}

void xf_group_change(xf_groups *all, xf_group *g)
{
    if (xf_group_is_warming(g)) {
        xf_group_lapse(all, g);
    } else {
        g->fades = !g->fades;
        g->renew_at = XF_NEVER; /* once, until a call is admitted */
    }
}

void xf_group_lapse(xf_groups *all, xf_group *g)
{
    all->lapsed += g->waiting > 0;
    end_hold(all, g, g->held_until);
    warm(g, g->lapsed_until);
}

/* The answer to `c` has begun, whose prompt has the prefix of `g`. True if that ends a hold. */
static bool read(xf_groups *all, xf_group *g, const xf_call *c, int64_t now)
{
    bool held = g->leader != NULL, leads = held && g->leader == c;
    if (!leads && c->dispatched_at < g->missed_at) {
        return false;
    }
    if (held) {
        end_hold(all, g, now);
        g->sure = true;
    }
    warm(g, xf_sum(c->dispatched_at, g->ttl_ns));
    return held;
}

xf_group *xf_group_warmed(xf_groups *all, xf_group *g, const xf_call *c, int64_t now)
{
    xf_group *last = NULL;
    for (; g != NULL; g = g->trunk) {
        last = read(all, g, c, now) ? g : last;
    }
    return last;
}

xf_group *xf_group_lost(xf_groups *all, xf_group *g, const xf_call *c, bool spends, int64_t now)
{
    xf_group *last = NULL;
    for (; g != NULL; g = g->trunk) {
        if (g->leader != c) {
            continue;
        }
        end_hold(all, g, now);
        bool is_awaited = g->waiting > 0;
        g->spent_ns = spends && is_awaited ? xf_sum(g->spent_ns, now - g->led_at) : 0;
        last = g;
    }
    return last;
}

bool xf_group_looked_up(xf_groups *all, xf_group *g, bool found, bool is_free, int64_t now)
{
    all->reads_free = found && is_free;
    g->misses = found ? 0 : g->misses + 1;
    for (xf_group *each = g; each != NULL; each = each->trunk) {
        each->sure = found;
    }
    if (g->misses < XF_MISSES || g->leader != NULL) {
        return false;
    }
    g->warm_until = 0;
    g->spent_ns = 0;
    g->misses = 0;
    g->missed_at = now;
    g->fades = false;
    return true;
}

int64_t xf_group_saving(const xf_groups *all, const xf_group *g)
{
    return all->reads_free && g->sure && g->tokens <= UINT32_MAX ? g->tokens : 0;
}
