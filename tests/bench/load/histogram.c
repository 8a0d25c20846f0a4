#include "histogram.h"

/* Values below 2^BITS have a bucket each; of larger ones the highest BITS + 1 bits count. */
static unsigned bucket_of(uint64_t value)
{
    if (value >> HISTOGRAM_BITS == 0)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_BITS;
    return ((shift + 1) << HISTOGRAM_BITS) + (unsigned)((value >> shift) & ((1U << HISTOGRAM_BITS) - 1));
}

static uint64_t last_of(unsigned bucket)
{
    if (bucket >> HISTOGRAM_BITS == 0)
        return bucket;
    unsigned shift = (bucket >> HISTOGRAM_BITS) - 1;
    uint64_t first = (uint64_t)((1U << HISTOGRAM_BITS) + (bucket & ((1U << HISTOGRAM_BITS) - 1))) << shift;
    return first + (((uint64_t)1 << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->largest)
        histogram->largest = value;
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > 0 && (double)seen >= share * (double)histogram->count) {
            uint64_t value = last_of(bucket);
            return value < histogram->largest ? value : histogram->largest;
        }
    }
    return histogram->largest;
}
