/* What has arrived in a run: is it complete, unharmed and in order, how much, how late. */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stddef.h>

#include "wire.h"

struct origin {
	uint32_t nodeid;
	uint32_t pid;
	uint64_t next; /* number expected */
	int sends;
	int ended;
};

struct tally {
	struct origin origins[BENCH_MEMBERS_MAX];
	size_t count;
	int timed; /* are latencies taken? */
	uint64_t window_from, window_first, window_last;
	struct report report; /* percentiles only after tally_finish */
};

/* The origins are the caller's to fill in, then. */
void tally_begin(struct tally *tally, const struct plan *plan, uint64_t now);
/* NULL when the sender takes no part. */
struct origin *tally_origin(struct tally *tally, uint32_t nodeid, uint32_t pid);
void tally_data(struct tally *tally, struct origin *origin, const struct head *head, uint64_t now);
void tally_end(struct tally *tally, struct origin *origin, uint64_t sent);
int tally_all_ended(const struct tally *tally);
void tally_finish(struct tally *tally);

#endif
