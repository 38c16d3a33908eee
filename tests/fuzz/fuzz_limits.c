/* libFuzzer target: what heads tell of limits lies within them, and is a number or is not said. The
 * corpus is read by tests/http/test_limits.py, too, where the reader in Python has to agree. */
#include "net/limits.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *head = (const char *)data;
    xf_quotas quotas;
    if (!xf_quotas_read(&quotas, head, size, 1750000000.5)) {
        return 0;
    }
    if (quotas.count > XF_QUOTAS) {
        abort();
    }
    for (size_t i = 0; i < quotas.count; i++) {
        for (int kind = 0; kind < XF_QUOTA_KINDS; kind++) {
            const char *text = quotas.of[i].of[kind].text;
            double value = quotas.of[i].of[kind].value;
            if (text != NULL && (text < head || text + quotas.of[i].of[kind].size > head + size)) {
                abort();
            }
            if (quotas.of[i].of[kind].said && (text == NULL || !(value >= 0) || !isfinite(value))) {
                abort();
            }
        }
    }
    return 0;
}
