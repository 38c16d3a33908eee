#include "core/margin.h"

bool xf_margin_widen(xf_margin *m, int64_t wait, int64_t now)
{
    if (wait <= 0 || wait > XF_MARGIN_MOST) {
        return false;
    }
    bool is_vague = wait >= XF_MARGIN_VAGUE;
    int64_t most = m->ns + XF_MARGIN_STEP, before = m->ns;
    int64_t early = wait + (is_vague ? 0 : wait < XF_MARGIN_STEP ? wait : XF_MARGIN_STEP);
    m->ns += is_vague && early > most ? most : early;
    m->ns = m->ns < XF_MARGIN_MOST ? m->ns : XF_MARGIN_MOST;
    m->changed_at = now;
    return m->ns != before;
}

bool xf_margin_shrink(xf_margin *m, int64_t now)
{
    if (m->ns == 0 || now - m->changed_at < XF_MARGIN_KEPT) {
        return false;
    }
    m->ns -= m->ns < XF_MARGIN_STEP / XF_MARGIN_PART ? m->ns : m->ns / XF_MARGIN_PART;
    m->changed_at = now;
    return true;
}
