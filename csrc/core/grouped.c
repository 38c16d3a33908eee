#include "core/grouped.h"

#include "core/admission.h"
#include "core/operation.h"
#include "core/saving.h"

/* ---- what other operations do to a group ---- */

/* Ends the hold of a group, from now on. */
static void release(xf_scheduler *s, xf_group *g)
{
    if (g->waiting > 0 && xf_queue_head(&s->queue) == NULL) {
        s->anchor = s->now; /* none of them could have gone earlier */
    }
    xf_queue_regroup(&s->queue, g);
    s->changed = true;
}

/* The group of `c`, or NULL. Holds of it and its trunks that no call has waited for lapse here, if
   it is time. */
static xf_group *group_of(xf_scheduler *s, const xf_call *c)
{
    xf_group *group = xf_queue_group(&s->queue, c);
    for (xf_group *g = group; g != NULL; g = g->trunk) {
        if (xf_group_is_due(g, s->now)) {
            xf_group_lapse(&s->queue.groups, g);
        }
    }
    return group;
}

void xf_grouped_lost(xf_scheduler *s, const xf_call *c, bool spends)
{
    xf_group *led = xf_group_lost(&s->queue.groups, group_of(s, c), c, spends, s->now);
    if (led != NULL) {
        release(s, led);
    }
}

void xf_grouped_warmed(xf_scheduler *s, const xf_call *c)
{
    xf_group *g = group_of(s, c), *held = xf_group_warmed(&s->queue.groups, g, c, s->now);
    if (held != NULL) {
        release(s, held);
    }
    xf_queue_relive(&s->queue, g);
}

bool xf_grouped_is_held(xf_scheduler *s, const xf_call *c)
{
    return xf_group_is_held(group_of(s, c));
}

int64_t xf_grouped_pass(xf_scheduler *s, xf_call *c, const xf_turn *turn, uint32_t *saved,
                        int *held_by)
{
    for (const xf_group *g = xf_queue_group(&s->queue, c); g != NULL; g = g->trunk) {
        int64_t saving = xf_saving_of(&s->gate, &s->queue.groups, g, c, turn->from);
        if (saving == 0) {
            continue;
        }
        xf_turn while_warm = *turn;
        xf_saving_take(&s->gate, c, saving);
        if (while_warm.until >= g->warm_until) {
            while_warm.until = g->warm_until - 1;
        }
        int64_t at = xf_gate_pass(&s->gate, c, &while_warm, held_by);
        if (c->state == XF_CALL_ADMITTED) {
            *saved = (uint32_t)saving;
            return at;
        }
        xf_saving_return(&s->gate, c, saving);
        if (at < g->warm_until || at == XF_NEVER) {
            return at;
        }
    }
    return xf_gate_pass(&s->gate, c, turn, held_by);
}

void xf_grouped_leave(xf_scheduler *s, xf_call *c, xf_group *g)
{
    c->grouped = false;
    g->live--;
    xf_queue_forget(&s->queue, g);
}

void xf_grouped_change(xf_scheduler *s, int64_t at)
{
    int64_t next = at;
    if (s->anchor < at) {
        s->anchor = at;
    }
    for (xf_group *g; (g = xf_queue_first_change(&s->queue, &next)) != NULL && next == at;) {
        xf_group_change(&s->queue.groups, g);
        xf_queue_regroup(&s->queue, g);
    }
}

/* ---- operations ---- */

void xf_set_hold(xf_scheduler *s, int64_t hold_ns)
{
    s->queue.groups.hold_ns = hold_ns;
}

xf_group *xf_open_group(xf_scheduler *s, int64_t ttl_ns, xf_group *trunk)
{
    return xf_queue_open(&s->queue, ttl_ns, trunk, &s->alloc);
}

void xf_set_tokens(xf_scheduler *s, xf_group *g, int64_t tokens)
{
    s->changed |= g->tokens != tokens; /* its calls may be the head */
    g->tokens = tokens;
}

void xf_give_way(xf_scheduler *s, bool gives_way, int64_t now)
{
    if (gives_way != s->queue.gives_way) {
        xf_begin(s, now);
        if (xf_queue_head(&s->queue) == NULL) {
            s->anchor = s->now; /* none of those that gave way could have gone earlier */
        }
        xf_queue_give_way(&s->queue, gives_way);
        xf_look_again(s);
    }
}

void xf_close_group(xf_scheduler *s, xf_group *g)
{
    g->closed = true;
    xf_queue_forget(&s->queue, g);
}

void xf_join_group(xf_call *c, xf_group *g)
{
    c->grouped = true;
    c->flow = g->index;
    g->live++;
}

xf_group *xf_group_of(const xf_scheduler *s, const xf_call *c)
{
    return xf_queue_group(&s->queue, c);
}

void xf_warmed(xf_scheduler *s, const xf_call *c, int64_t now)
{
    xf_begin(s, now);
    xf_grouped_warmed(s, c);
    xf_look_again(s);
}

void xf_looked_up(xf_scheduler *s, const xf_call *c, bool found, bool is_free, int64_t now)
{
    xf_begin(s, now);
    xf_group *g = group_of(s, c);
    if (g != NULL && (found || !c->led)) {
        if (xf_group_looked_up(&s->queue.groups, g, found, is_free, s->now)) {
            xf_queue_regroup(&s->queue, g);
        }
        xf_look_again(s); /* the head may cost less now, or more */
    }
}

xf_call *xf_first_change(const xf_scheduler *s, int64_t *at)
{
    (void)xf_queue_first_change(&s->queue, at);
    const xf_heap_entry *held = xf_heap_top(&s->queue.held);
    return held != NULL ? ((const xf_flow *)held->item)->calls.first : xf_queue_head(&s->queue);
}
