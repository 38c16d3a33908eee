#include "net/head.h"

#include <string.h>
#include <strings.h>

bool xf_field_is(const xf_field *field, const char *name)
{
    return field->name_size == strlen(name) && !strncasecmp(field->name, name, field->name_size);
}

bool xf_name_ok(const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c <= ' ' || c >= 127 || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL) {
            return false;
        }
    }
    return size > 0;
}

bool xf_value_ok(const char *value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < ' ' && c != '\t') || c == 127) {
            return false;
        }
    }
    return true;
}

bool xf_url_ok(const char *url, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)url[i];
        if (c <= ' ' || c == 127) {
            return false;
        }
    }
    return size > 0;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

bool xf_head_next(const char *head, size_t size, size_t *at, xf_field *field)
{
    while (*at < size) {
        const char *line = head + *at;
        const char *lf = memchr(line, '\n', size - *at);
        const char *end = lf != NULL ? lf : head + size;
        bool first = *at == 0;
        *at = (size_t)(end - head) + (lf != NULL ? 1 : 0);
        while (end > line && (end[-1] == '\r' || blank(end[-1]))) {
            end--;
        }
        if (end == line || (first && end - line >= 5 && !memcmp(line, "HTTP/", 5))) {
            continue;
        }
        const char *value = line, *name_end = line;
        if (!blank(*line)) {
            const char *colon = memchr(line, ':', (size_t)(end - line));
            if (colon == NULL) {
                continue;
            }
            name_end = colon;
            while (name_end > line && blank(name_end[-1])) {
                name_end--;
            }
            if (name_end == line) {
                continue;
            }
            value = colon + 1;
        }
        while (value < end && blank(*value)) {
            value++;
        }
        *field = (xf_field){line, value, (size_t)(name_end - line), (size_t)(end - value)};
        return true;
    }
    return false;
}
