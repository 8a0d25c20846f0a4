/* Durations, counted in buckets that are at most 1/64 wide of what they hold: no list of them is kept. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_BITS = 6, /* 64 buckets an octave: a percentile is right within 1.6 % */
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS,
};

struct histogram {
    uint64_t count;
    uint64_t largest;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The upper end of the bucket below or in which `share` (0 to 1) of all values lie; 0 without values. */
uint64_t histogram_at(const struct histogram *histogram, double share);

#endif
