/*
 * The charge: how many tokens a provider counts for a call, by its rule of charging.
 *
 * xtremeflow/values/charges.py is the reference: it says what the parts of a rule mean, and has the
 * same functions. A test compares both.
 */
#ifndef XF_CHARGE_H
#define XF_CHARGE_H

#include <stdbool.h>
#include <stdint.h>

/* The units that are charged, in the order of UNITS in the reference. */
enum { XF_TOKENS, XF_INPUT_TOKENS, XF_OUTPUT_TOKENS, XF_UNITS };

/* The charge at admission, in the order of ADMISSIONS in the reference. */
typedef enum xf_admission {
    XF_ADMIT_UNKNOWN = -1,
    XF_ADMIT_NOTHING,
    XF_ADMIT_INPUT,
    XF_ADMIT_LARGER,
    XF_ADMIT_SUM,
} xf_admission;

/* A provider's rule. -1: that part is not known. */
typedef struct xf_rule {
    int admission;   /* xf_admission */
    int settles;     /* whether the usage replaces the charge at admission */
    int cached_free; /* whether input from a cache costs nothing */
} xf_rule;

/* Tokens of a call. */
typedef struct xf_used {
    int64_t input, output, cached; /* its usage; `cached` is a part of `input` */
    int64_t most;                  /* that its answer could have had; 0: not stated */
} xf_used;

/* Whether all parts of the rule are known. */
bool xf_rule_is_known(const xf_rule *rule);

/* Writes to amounts[XF_UNITS] the reservation of a call that is expected to use `input` and
   `output` tokens, and whose answer may have `most` (0: not stated). */
void xf_rule_reserve(const xf_rule *rule, int64_t input, int64_t output, int64_t most,
                     int64_t *amounts);

/* Writes to amounts[XF_UNITS] the final cost of a call: the most that it may be, as far as the rule
   is known, or the least. */
void xf_rule_settle(const xf_rule *rule, const xf_used *used, bool is_least, int64_t *amounts);

#endif
