/* libFuzzer target: the scan for tokens stays within its text and gives whole numbers or -1. */
#include "net/usage.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xf_usage u;
    xf_usage_init(&u);
    bool found = xf_usage_scan(&u, (const char *)data, size);
    int64_t numbers[] = {u.input,         u.output,     u.total,   u.cached,
                         u.cache_written, u.cache_read, u.thoughts},
            most = -1;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        most = numbers[i] > most ? numbers[i] : most;
    if (found != (most >= 0) || xf_max_tokens((const char *)data, size) < 0)
        abort();
    return 0;
}
