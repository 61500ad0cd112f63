#include "pattern.h"

#include "wire.h"

/* A prime, so that the places of consecutive messages differ for long. */
#define PLACES 4093
#define WORDS ((BENCH_SIZE_MAX + PLACES + 7) / 8)

static uint64_t words[WORDS];

void pattern_make(void)
{
	uint64_t word = 1;

	for (size_t i = 0; i < WORDS; i++) {
		/* Knuth's MMIX generator. */
		word = word * 6364136223846793005u + 1442695040888963407u;
		words[i] = word;
	}
}

const unsigned char *pattern_of(uint32_t nodeid, uint64_t number)
{
	return (const unsigned char *)words + (number * 8 + nodeid) % PLACES;
}
