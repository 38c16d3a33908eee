/* libFuzzer target: the fields of a head lie within it, in order, without line ends. */
#include "net/head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *head = (const char *)data, *last = head;
    xf_field f;
    size_t at = 0, before = 0;
    while (xf_head_next(head, size, &at, &f)) {
        if (at <= before || at > size || f.name < last || f.value < f.name ||
            f.value + f.value_size > head + size || f.name + f.name_size > head + size) {
            abort();
        }
        if (memchr(f.name, '\n', f.name_size) != NULL ||
            memchr(f.value, '\n', f.value_size) != NULL) {
            abort();
        }
        last = f.name;
        before = at;
    }
    xf_name_ok(head, size);
    xf_value_ok(head, size);
    xf_url_ok(head, size);
    return 0;
}
