/* Reads numbers and texts out of JSON by their place in it, while its bytes pass.
 *
 * A table lists the keys to find. The reader skips everything else: strings as a whole, containers
 * by counting brackets. So memory and time are bounded whatever the nesting. It reads structure and
 * checks no more than it needs for that. From the place on where a text is not JSON, it finds
 * nothing.
 */
#ifndef XF_NET_JSON_H
#define XF_NET_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    XF_JSON_NUMBERS = 24, /* places for numbers */
    XF_JSON_LEVELS = 4,   /* nested objects that are read */
    XF_JSON_KEY = 32,     /* above the longest name of a table */
};

typedef enum xf_json_kind {
    XF_JSON_OBJECT,
    XF_JSON_ALL_ANEW,
    XF_JSON_WHOLE,
    XF_JSON_TEXT
} xf_json_kind;

/* A key to find. */
typedef struct xf_json_key {
    const char *name;
    uint8_t size; /* of the name */
    uint8_t in;   /* the number of its object; 0: the document */
    uint8_t kind; /* the value: an object to read; one that replaces all numbers before it; a whole
                     number; a text */
    uint8_t to;   /* the object's number, above 0; or the place of the number */
} xf_json_key;

#define XF_JSON_KEY_OF(in, name, kind, to) {name, sizeof(name) - 1, in, kind, to}

/* Ordered by `in`. */
typedef struct xf_json_keys {
    const xf_json_key *keys;
    size_t count;
} xf_json_keys;

typedef struct xf_json {
    /* The document's whole numbers by their place; -1: not given; capped a little above 10^17. The
     * last value of a repeated key counts, as with other readers. */
    int64_t numbers[XF_JSON_NUMBERS];
    /* The text to find (one a table), as it stands, with its escapes; NULL: not given, or cut by
     * the end of a push. Borrowed from the pushed bytes. */
    const char *text;
    size_t text_size;

    /* private */
    const xf_json_keys *looked_for;
    const xf_json_key *found; /* the key whose value is being read, or NULL */
    uint64_t skipped;         /* open brackets of the skipped value */
    int64_t number;
    const char *text_start;
    uint8_t state, levels, key_size;
    uint8_t objects[XF_JSON_LEVELS]; /* the open ones, outermost first */
    bool in_array;                   /* of documents */
    bool escaped;                    /* the next character of the string */
    bool negative, digits, strange;  /* of the number */
    char key[XF_JSON_KEY];
} xf_json;

typedef enum xf_json_result {
    XF_JSON_MORE,     /* all bytes are read */
    XF_JSON_DOCUMENT, /* one has ended; its numbers hold until the next push */
    XF_JSON_OVER,     /* behind the end of the text: push no more */
    XF_JSON_BROKEN,   /* the text is not JSON: push no more */
} xf_json_result;

/* Begins a text: one document (an object), or an array of documents. */
void xf_json_begin(xf_json *j, const xf_json_keys *looked_for);
/* Reads from *at to `end`, and moves *at to the first byte not read. */
xf_json_result xf_json_push(xf_json *j, const char **at, const char *end);

#endif
