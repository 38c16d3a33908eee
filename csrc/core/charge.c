#include "core/charge.h"

#include "core/sum.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool xf_rule_is_known(const xf_rule *rule)
{
    return rule->admission >= 0 && rule->settles >= 0 && rule->cached_free >= 0;
}

static void take(int admission, int64_t input, int64_t most, int64_t *amounts)
{
    const int64_t wanted = admission >= XF_ADMIT_LARGER ? most : 0;
    const int64_t given = admission == XF_ADMIT_NOTHING ? 0 : input;
    amounts[XF_TOKENS] =
        admission == XF_ADMIT_LARGER ? larger(given, wanted) : xf_sum(given, wanted);
    amounts[XF_INPUT_TOKENS] = given;
    amounts[XF_OUTPUT_TOKENS] = wanted;
}

static void use(int64_t input, int64_t output, int64_t *amounts)
{
    amounts[XF_TOKENS] = xf_sum(input, output);
    amounts[XF_INPUT_TOKENS] = input;
    amounts[XF_OUTPUT_TOKENS] = output;
}

void xf_rule_reserve(const xf_rule *rule, int64_t input, int64_t output, int64_t most,
                     int64_t *amounts)
{
    int64_t used[XF_UNITS];
    take(rule->admission < 0 ? XF_ADMIT_SUM : rule->admission, input, most, amounts);
    use(input, output, used);
    for (int unit = 0; unit < XF_UNITS && rule->settles != 0; unit++) {
        amounts[unit] = larger(amounts[unit], used[unit]);
    }
}

void xf_rule_settle(const xf_rule *rule, const xf_used *used, bool is_least, int64_t *amounts)
{
    const bool is_free = is_least ? rule->cached_free != 0 : rule->cached_free == 1;
    const int64_t input = larger(0, used->input - (is_free ? used->cached : 0));
    const int unknown = is_least ? XF_ADMIT_LARGER : XF_ADMIT_SUM;
    int64_t kept[XF_UNITS];
    take(rule->admission < 0 ? unknown : rule->admission, input, used->most, kept);
    use(input, used->output, amounts);
    for (int unit = 0; unit < XF_UNITS && rule->settles != 1; unit++) {
        amounts[unit] = rule->settles == 0 ? kept[unit]
                        : is_least         ? xf_smaller(kept[unit], amounts[unit])
                                           : larger(kept[unit], amounts[unit]);
    }
}
