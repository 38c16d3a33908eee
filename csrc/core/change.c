/* The operations that change the gate. The queue looks at its head again after each. */
#include "core/admission.h"
#include "core/operation.h"

void xf_settle(xf_scheduler *s, xf_call *c, uint32_t i, int64_t actual, int64_t now)
{
    if (c->held[i] == actual || c->repeated) {
        return;
    }
    xf_gate_settle(&s->gate, c, i, actual, xf_begin(s, now));
    xf_look_again(s);
}

void xf_retune(xf_scheduler *s, uint32_t i, const xf_definition *definition, int64_t now)
{
    xf_gate_retune(&s->gate, i, definition, xf_begin(s, now));
    xf_look_again(s);
}

void xf_set_slots(xf_scheduler *s, uint32_t slots, int64_t now)
{
    xf_begin(s, now);
    xf_slots_free(s);
    xf_gate_set_slots(&s->gate, slots, s->now);
    xf_look_again(s);
}

void xf_let_in(xf_scheduler *s, uint32_t n, int64_t now)
{
    xf_begin(s, now);
    xf_slots_free(s);
    xf_gate_let_in(&s->gate, n);
    xf_look_again(s);
}

void xf_ramp_up(xf_scheduler *s, int64_t now)
{
    xf_begin(s, now);
    xf_slots_free(s);
    xf_gate_ramp_up(&s->gate);
    xf_look_again(s);
}

/* ---- answers of the provider ---- */

int64_t xf_refused(xf_scheduler *s, xf_call *c, const xf_backoff *b, int64_t now)
{
    int64_t until = xf_gate_refused(&s->gate, c, b, xf_begin(s, now));
    xf_look_again(s);
    return until;
}

int64_t xf_failed(xf_scheduler *s, const xf_call *c, const xf_backoff *b, int64_t now)
{
    int64_t until = xf_gate_failed(&s->gate, c, b, xf_begin(s, now));
    xf_look_again(s);
    return until;
}

bool xf_follow(xf_scheduler *s, int64_t now)
{
    return xf_gate_follow(&s->gate, &s->alloc, xf_begin(s, now));
}

double xf_told(xf_scheduler *s, uint32_t i, const xf_remaining *left, int64_t now)
{
    double moved = xf_gate_told(&s->gate, i, left, xf_begin(s, now));
    xf_look_again(s);
    return moved;
}

double xf_doubt(const xf_scheduler *s, uint32_t i, const xf_call *c, bool late)
{
    return late ? (double)xf_gate_held_since(&s->gate, i, -1, NULL, s->now)
                : xf_gate_cost(&s->gate, c, i);
}

void xf_replace(xf_scheduler *s, uint32_t i, const xf_definition *definition,
                const xf_remaining *left, const xf_call *c, int64_t now)
{
    xf_gate_replace(&s->gate, i, definition, left, c, xf_begin(s, now));
    xf_look_again(s);
}

void xf_withhold(xf_scheduler *s, uint32_t i, int64_t units)
{
    xf_limit_withhold(&s->gate.limits[i], units, s->now);
}

void xf_ascertain(xf_scheduler *s, uint32_t i, const xf_ascertained *found)
{
    xf_limit_ascertain(&s->gate.limits[i], found, s->now);
    xf_look_again(s);
}

void xf_shut(xf_scheduler *s, uint32_t i, int64_t until, int64_t now)
{
    xf_gate_shut(&s->gate, i, until, xf_begin(s, now));
    xf_look_again(s);
}

void xf_set_pace(xf_scheduler *s, uint32_t i, const xf_pacing *pacing, int64_t now)
{
    xf_gate_pace(&s->gate, i, pacing, xf_begin(s, now));
    xf_look_again(s);
}

void xf_set_level(xf_scheduler *s, uint32_t i, double units, int64_t now)
{
    xf_gate_set_level(&s->gate, i, units, xf_begin(s, now));
    xf_look_again(s);
}
