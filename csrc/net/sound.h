/* Whether a text is sound: one line of strict JSON in UTF-8, an object without an error.
 *
 * Most answers are, and then need no decoding to be passed on. A text that is not sound may still
 * be JSON, which only decoding it tells.
 */
#ifndef XF_NET_SOUND_H
#define XF_NET_SOUND_H

#include <stdbool.h>
#include <stddef.h>

enum {
    XF_SOUND_LEVELS = 500, /* nested arrays and objects; other programs give up at some 900 */
    XF_SOUND_DIGITS = 1000 /* characters of a number; Python gives up at 4,300 digits */
};

/* Whether a text is sound. Half of a surrogate pair is not, nor is a line end or a blank around the
 * object. Its key "error" must be null. */
bool xf_is_sound(const char *text, size_t size);

#endif
