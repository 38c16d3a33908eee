#include "net/usage.h"

#include <string.h>

/* ---- what an answer has used ---- */

/* The places of numbers. Each name of a number has one, and names that mean the same are a group.
 */
enum {
    INPUT,
    OUTPUT = INPUT + 4,
    TOTAL = OUTPUT + 4,
    THOUGHTS = TOTAL + 3,
    CACHED = THOUGHTS + 2,   /* part of the input that the provider tells */
    CACHE_READ = CACHED + 4, /* not part of it */
    CACHE_WRITTEN,           /* nor this */
    KEPT,                    /* written to a cache, and part of it */
    USAGE_NUMBERS,
};
_Static_assert((int)USAGE_NUMBERS <= (int)XF_JSON_NUMBERS, "a place for each");

enum { DOCUMENT, WRAPPER, USAGE, DETAILS };

static const xf_json_key usage_keys[] = {
    XF_JSON_KEY_OF(DOCUMENT, "usage", XF_JSON_ALL_ANEW, USAGE),
    XF_JSON_KEY_OF(DOCUMENT, "usageMetadata", XF_JSON_ALL_ANEW, USAGE),
    XF_JSON_KEY_OF(DOCUMENT, "usage_metadata", XF_JSON_ALL_ANEW, USAGE),
    XF_JSON_KEY_OF(DOCUMENT, "response", XF_JSON_OBJECT, WRAPPER), /* OpenAI's events */
    XF_JSON_KEY_OF(DOCUMENT, "message", XF_JSON_OBJECT, WRAPPER),  /* Anthropic's */
    XF_JSON_KEY_OF(DOCUMENT, "x_groq", XF_JSON_OBJECT, WRAPPER),
    XF_JSON_KEY_OF(WRAPPER, "usage", XF_JSON_ALL_ANEW, USAGE),
    XF_JSON_KEY_OF(WRAPPER, "usageMetadata", XF_JSON_ALL_ANEW, USAGE),
    XF_JSON_KEY_OF(USAGE, "input_tokens", XF_JSON_WHOLE, INPUT),
    XF_JSON_KEY_OF(USAGE, "prompt_tokens", XF_JSON_WHOLE, INPUT + 1),
    XF_JSON_KEY_OF(USAGE, "promptTokenCount", XF_JSON_WHOLE, INPUT + 2),
    XF_JSON_KEY_OF(USAGE, "prompt_token_count", XF_JSON_WHOLE, INPUT + 3),
    XF_JSON_KEY_OF(USAGE, "output_tokens", XF_JSON_WHOLE, OUTPUT),
    XF_JSON_KEY_OF(USAGE, "completion_tokens", XF_JSON_WHOLE, OUTPUT + 1),
    XF_JSON_KEY_OF(USAGE, "candidatesTokenCount", XF_JSON_WHOLE, OUTPUT + 2),
    XF_JSON_KEY_OF(USAGE, "candidates_token_count", XF_JSON_WHOLE, OUTPUT + 3),
    XF_JSON_KEY_OF(USAGE, "total_tokens", XF_JSON_WHOLE, TOTAL),
    XF_JSON_KEY_OF(USAGE, "totalTokenCount", XF_JSON_WHOLE, TOTAL + 1),
    XF_JSON_KEY_OF(USAGE, "total_token_count", XF_JSON_WHOLE, TOTAL + 2),
    XF_JSON_KEY_OF(USAGE, "thoughtsTokenCount", XF_JSON_WHOLE, THOUGHTS),
    XF_JSON_KEY_OF(USAGE, "thoughts_token_count", XF_JSON_WHOLE, THOUGHTS + 1),
    XF_JSON_KEY_OF(USAGE, "prompt_cache_hit_tokens", XF_JSON_WHOLE, CACHED),
    XF_JSON_KEY_OF(USAGE, "cachedContentTokenCount", XF_JSON_WHOLE, CACHED + 1),
    XF_JSON_KEY_OF(USAGE, "cached_content_token_count", XF_JSON_WHOLE, CACHED + 2),
    XF_JSON_KEY_OF(USAGE, "cache_read_input_tokens", XF_JSON_WHOLE, CACHE_READ),
    XF_JSON_KEY_OF(USAGE, "cache_creation_input_tokens", XF_JSON_WHOLE, CACHE_WRITTEN),
    XF_JSON_KEY_OF(USAGE, "prompt_tokens_details", XF_JSON_OBJECT, DETAILS),
    XF_JSON_KEY_OF(USAGE, "input_tokens_details", XF_JSON_OBJECT, DETAILS),
    XF_JSON_KEY_OF(DETAILS, "cached_tokens", XF_JSON_WHOLE, CACHED + 3),
    XF_JSON_KEY_OF(DETAILS, "cache_write_tokens", XF_JSON_WHOLE, KEPT),
};
static const xf_json_keys usage_table = {usage_keys, sizeof usage_keys / sizeof *usage_keys};

void xf_usage_begin(xf_usage_scan *s)
{
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < XF_JSON_NUMBERS; i++) {
        s->told[i] = -1;
    }
    xf_json_begin(&s->json, &usage_table);
}

static void note_document(xf_usage_scan *s)
{
    for (size_t i = 0; i < USAGE_NUMBERS; i++) {
        if (s->json.numbers[i] >= 0 && s->json.numbers[i] <= XF_MOST_TOKENS) {
            s->told[i] = s->json.numbers[i];
        }
    }
}

/* Reads up to `end`, or up to the end of the text. */
static xf_json_result read_text(xf_usage_scan *s, const char **at, const char *end)
{
    xf_json_result result;
    while ((result = xf_json_push(&s->json, at, end)) == XF_JSON_DOCUMENT) {
        note_document(s);
    }
    return result;
}

/* JSON, or JSON in lines. */
static void read_lines_of_json(xf_usage_scan *s, const char *at, const char *end)
{
    xf_json_result result;
    while ((result = read_text(s, &at, end)) == XF_JSON_OVER) {
        xf_json_begin(&s->json, &usage_table);
    }
    if (result == XF_JSON_BROKEN) {
        s->form = XF_LINES_STRANGE;
    }
}

/* Up to the end of a line, or as far as the bytes go. */
static const char *line_end(const char *at, const char *end)
{
    const char *lf = memchr(at, '\n', (size_t)(end - at));
    const char *stop = lf != NULL ? lf : end;
    const char *cr = memchr(at, '\r', (size_t)(stop - at));
    return cr != NULL ? cr : stop;
}

/* Reads a character at the start of an event's line. Returns how many it has read: one or none. */
static size_t begin_line(xf_usage_scan *s, char c)
{
    static const char name[] = "data:";
    bool second = s->after_cr && c == '\n';
    s->after_cr = false;
    if (second) {
        return 1;
    }
    if (c == name[s->matched]) {
        if (!name[++s->matched]) {
            s->line = XF_LINE_DATA;
        }
        return 1;
    }
    if (!s->matched && (c == '\n' || c == '\r')) { /* the event has ended */
        xf_json_begin(&s->json, &usage_table);
        s->after_cr = c == '\r';
        return 1;
    }
    s->line = XF_LINE_OTHER;
    return 0;
}

static void read_lines_of_events(xf_usage_scan *s, const char *at, const char *end)
{
    while (at < end) {
        if (s->line == XF_LINE_START) {
            at += begin_line(s, *at);
            continue;
        }
        const char *stop = line_end(at, end);
        if (s->line == XF_LINE_DATA) {
            read_text(s, &at, stop);
        }
        at = stop;
        if (at < end) {
            s->after_cr = *at++ == '\r';
            s->line = XF_LINE_START;
            s->matched = 0;
        }
    }
}

/* Passes over blanks and a byte order mark, up to what tells the form. */
static const char *find_form(xf_usage_scan *s, const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n\xef\xbb\xbf", *at) != NULL && *at) {
        at++;
    }
    if (at < end) {
        s->form = *at == '{' || *at == '[' ? XF_LINES_JSON : XF_LINES_EVENTS;
    }
    return at;
}

void xf_usage_push(xf_usage_scan *s, const char *bytes, size_t size)
{
    const char *at = bytes, *end = bytes + size;
    if (s->form == XF_LINES_UNKNOWN) {
        at = find_form(s, at, end);
    }
    if (s->form == XF_LINES_JSON) {
        read_lines_of_json(s, at, end);
    } else if (s->form == XF_LINES_EVENTS) {
        read_lines_of_events(s, at, end);
    }
}

void xf_usage_event(xf_usage_scan *s, const char *data, size_t size)
{
    xf_json_begin(&s->json, &usage_table);
    read_text(s, &data, data + size);
}

/* The largest of a group, since gateways between two APIs give the names of both, one of them with
 * 0. */
static int64_t most_of(const int64_t *numbers, int from, int to)
{
    int64_t most = -1;
    for (int i = from; i < to; i++) {
        if (numbers[i] > most) {
            most = numbers[i];
        }
    }
    return most;
}

static int64_t or_none(int64_t tokens)
{
    return tokens > 0 ? tokens : 0;
}

bool xf_usage_read(const xf_usage_scan *s, xf_usage *usage)
{
    const int64_t *told = s->told;
    int64_t input = most_of(told, INPUT, OUTPUT), output = most_of(told, OUTPUT, TOTAL);
    int64_t total = most_of(told, TOTAL, THOUGHTS);
    if (input < 0 && output < 0 && total < 0) {
        return false;
    }
    usage->input = or_none(input) + or_none(told[CACHE_READ]) + or_none(told[CACHE_WRITTEN]);
    usage->output = or_none(output) + or_none(most_of(told, THOUGHTS, CACHED));
    if (total > usage->input + usage->output) {
        usage->output = total - usage->input;
    }
    usage->cached = or_none(most_of(told, CACHED, CACHE_READ)) + or_none(told[CACHE_READ]);
    usage->kept = or_none(told[CACHE_WRITTEN]) + or_none(told[KEPT]);
    return true;
}

/* ---- what a request asks for ---- */

enum { ASKED_FOR, ANSWERS = ASKED_FOR + 7 };
enum { CONFIG = 1, CONFIG_TOO }; /* Gemini's, in either spelling */
enum { LONGEST_MODEL = 200 };    /* bytes */

static const xf_json_key asked_keys[] = {
    XF_JSON_KEY_OF(DOCUMENT, "model", XF_JSON_TEXT, 0),
    XF_JSON_KEY_OF(DOCUMENT, "max_completion_tokens", XF_JSON_WHOLE, ASKED_FOR),
    XF_JSON_KEY_OF(DOCUMENT, "max_output_tokens", XF_JSON_WHOLE, ASKED_FOR + 1),
    XF_JSON_KEY_OF(DOCUMENT, "max_tokens", XF_JSON_WHOLE, ASKED_FOR + 2),
    XF_JSON_KEY_OF(DOCUMENT, "n", XF_JSON_WHOLE, ANSWERS),
    XF_JSON_KEY_OF(DOCUMENT, "generationConfig", XF_JSON_OBJECT, CONFIG),
    XF_JSON_KEY_OF(DOCUMENT, "generation_config", XF_JSON_OBJECT, CONFIG_TOO),
    XF_JSON_KEY_OF(CONFIG, "maxOutputTokens", XF_JSON_WHOLE, ASKED_FOR + 3),
    XF_JSON_KEY_OF(CONFIG, "max_output_tokens", XF_JSON_WHOLE, ASKED_FOR + 4),
    XF_JSON_KEY_OF(CONFIG_TOO, "maxOutputTokens", XF_JSON_WHOLE, ASKED_FOR + 5),
    XF_JSON_KEY_OF(CONFIG_TOO, "max_output_tokens", XF_JSON_WHOLE, ASKED_FOR + 6),
};
static const xf_json_keys asked_table = {asked_keys, sizeof asked_keys / sizeof *asked_keys};

void xf_asked_read(xf_asked *asked, const char *text, size_t size)
{
    xf_json json;
    const char *at = text;
    *asked = (xf_asked){.most = -1};
    xf_json_begin(&json, &asked_table);
    if (xf_json_push(&json, &at, text + size) != XF_JSON_DOCUMENT) {
        return;
    }
    if (json.text != NULL && json.text_size <= LONGEST_MODEL &&
        memchr(json.text, '\\', json.text_size) == NULL) {
        asked->model = json.text;
        asked->model_size = json.text_size;
    }
    int64_t most = -1, answers = json.numbers[ANSWERS];
    for (int i = ASKED_FOR; i < ANSWERS && most < 0; i++) {
        if (json.numbers[i] <= XF_MOST_TOKENS) {
            most = json.numbers[i];
        }
    }
    if (most > 0 && answers > 1 && answers <= XF_MOST_TOKENS) {
        most *= answers;
    }
    asked->most = most <= XF_MOST_TOKENS ? most : -1;
}
