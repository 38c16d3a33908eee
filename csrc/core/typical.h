/*
 * The typical usage of a model's calls, from which the usage of the next one is estimated.
 *
 * The input is measured, in characters or in the tokens of a tokenizer; the tokens of a unit of
 * measure are learned. Of the output the mean and the variance are learned. A usage counts half
 * after XF_TYPICAL_MEMORY others, since later calls may differ.
 */
#ifndef XF_TYPICAL_H
#define XF_TYPICAL_H

#include <stdint.h>

#define XF_TYPICAL_MEMORY 500.0
#define XF_TYPICAL_FIRST INT64_C(256) /* tokens of output, until a usage is known */

typedef struct xf_typical {
    double tokens, measure; /* of the inputs: tokens, and units of measure */
    double reports;         /* usages so far */
    double mean, variance;  /* of the outputs, in tokens */
} xf_typical;

/* Learns from the usage of a call whose input measured `size`. */
void xf_typical_note(xf_typical *t, int64_t size, int64_t input, int64_t output);

/* The expected tokens of an input that measures `size`. */
int64_t xf_typical_input(const xf_typical *t, int64_t size);

/* The expected tokens of an output, and a share of twice the spread of all calls in flight: the sum
   of n outputs is off by about spread * sqrt(n). */
int64_t xf_typical_output(const xf_typical *t, uint32_t in_flight);

#endif
