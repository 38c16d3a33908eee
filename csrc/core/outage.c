#include "core/outage.h"

#include "core/sum.h"

/* The instant at which the first single call has lived longer than failures do. */
static int64_t convinced_at(const xf_outage *o)
{
    int64_t twice = xf_sum(o->longest, o->longest);
    return xf_sum(o->first, twice > o->interval ? twice : o->interval);
}

void xf_outage_failed(xf_outage *o, const xf_outage_failure *f, int64_t interval, int64_t then)
{
    bool begun = o->interval != 0;
    int64_t took = f->now - f->sent;
    o->sent = f->sent > o->sent ? f->sent : o->sent;
    if (!xf_outage_counts(o, f)) {
        return;
    }
    o->failures += o->failures < UINT32_MAX;
    o->longest = begun ? o->longest / 2 : o->longest;
    o->longest = took > o->longest ? took : o->longest;
    if (o->failures >= XF_OUTAGE_AFTER) {
        o->interval = interval;
        o->first = XF_UNTRIED;
        o->next = then;
    }
}

void xf_outage_answered(xf_outage *o, int64_t sent)
{
    if (sent > o->sent || o->interval == 0) {
        *o = (xf_outage){0};
    }
}

int64_t xf_outage_ready(const xf_outage *o, int64_t at)
{
    if (o->interval == 0) {
        return at;
    }
    int64_t ready = o->next;
    if (o->first != XF_UNTRIED && convinced_at(o) < ready) {
        ready = convinced_at(o);
    }
    return ready > at ? ready : at;
}

void xf_outage_admitted(xf_outage *o, int64_t at)
{
    if (o->interval == 0) {
        return;
    }
    if (o->first == XF_UNTRIED) {
        o->first = at;
    } else if (at >= convinced_at(o)) {
        *o = (xf_outage){0};
        return;
    }
    o->next = xf_sum(at, o->interval);
}

void xf_outage_revoked(xf_outage *o, int64_t now)
{
    if (o->interval != 0) {
        o->first = XF_UNTRIED;
        o->next = now;
    }
}

void xf_outage_left(xf_outage *o, uint32_t seat, int64_t now)
{
    if (o->first != XF_UNTRIED && o->prober == seat) {
        xf_outage_revoked(o, now);
    }
}
