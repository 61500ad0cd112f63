/*
 * The content of messages: pieces of one long pattern, at a place that follows from sender and number.
 * A receiver compares every byte, which costs less than any checksum and misses nothing.
 */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

void pattern_make(void);
/* Valid for BENCH_SIZE_MAX bytes. */
const unsigned char *pattern_of(uint32_t nodeid, uint64_t number);

#endif
