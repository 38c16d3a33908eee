/* libFuzzer target: what is read of tokens is the same wherever the text is cut, and stays within
 * it and within its bounds. */
#include "net/usage.h"

#include <stdlib.h>

static bool scan(const uint8_t *data, size_t size, size_t piece, xf_usage *u)
{
    xf_usage_scan s;
    xf_usage_begin(&s);
    for (size_t at = 0; at < size; at += piece) {
        xf_usage_push(&s, (const char *)data + at, size - at < piece ? size - at : piece);
    }
    return xf_usage_read(&s, u);
}

static bool in_bounds(int64_t tokens)
{
    return tokens >= 0 && tokens <= 3 * XF_MOST_TOKENS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    xf_usage whole = {0}, cut = {0};
    bool found = scan(data, size, size + 1, &whole);
    for (size_t piece = 1; piece <= 7; piece += 3) {
        if (scan(data, size, piece, &cut) != found || cut.input != whole.input ||
            cut.output != whole.output || cut.cached != whole.cached || cut.kept != whole.kept) {
            abort();
        }
    }
    if (!in_bounds(whole.input) || !in_bounds(whole.output) || !in_bounds(whole.cached) ||
        !in_bounds(whole.kept)) {
        abort();
    }

    const char *text = (const char *)data;
    xf_usage_scan event;
    xf_usage_begin(&event);
    xf_usage_event(&event, text, size);

    xf_asked asked;
    xf_asked_read(&asked, text, size);
    if (asked.model != NULL &&
        (asked.model < text || asked.model + asked.model_size > text + size)) {
        abort();
    }
    if (asked.most < -1 || asked.most > XF_MOST_TOKENS) {
        abort();
    }
    return 0;
}
