/* libFuzzer target: a sound text is one line in braces, and no beginning of it is sound. */
#include "net/sound.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    if (!xf_is_sound(text, size)) {
        return 0;
    }
    if (text[0] != '{' || text[size - 1] != '}' || memchr(text, '\n', size) != NULL) {
        abort();
    }
    for (size_t shorter = 0; shorter < size; shorter++) {
        if (xf_is_sound(text, shorter)) {
            abort();
        }
    }
    return 0;
}
