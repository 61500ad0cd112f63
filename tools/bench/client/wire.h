/*
 * What the members of a benchmark's group send each other.  Numbers are in the byte order of the
 * machine, times in nanoseconds of CLOCK_MONOTONIC; python_client.py speaks the same.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdint.h>

#define BENCH_MAGIC 0x48434e42u
#define BENCH_SIZE_MAX 1000000u
#define BENCH_MEMBERS_MAX 128

enum kind {
	KIND_RUN = 1, /* + struct plan: begin, all of you */
	KIND_DATA = 2, /* + bytes of the pattern, up to the size */
	KIND_END = 3, /* number: how many DATA this sender has sent */
	KIND_REPORT = 4, /* + struct report: what this member has seen of the run */
};

/* Begins every message. */
struct head {
	uint32_t magic;
	uint16_t kind;
	uint16_t check; /* head_check() of the rest */
	uint32_t run;
	uint32_t size; /* of the whole message */
	uint64_t number; /* DATA: from 0, per sender and run */
	uint64_t time; /* when it was sent, or by the plan should have been */
};

enum mode {
	MODE_FLOOD = 0, /* as much as flow control takes */
	MODE_PING = 1, /* the next one `interval` after the delivery of the one before */
	MODE_RATE = 2, /* one each `interval` */
};

enum senders {
	SENDERS_ONE = 0, /* the member that sent the RUN */
	SENDERS_ALL = 1,
};

struct plan {
	uint32_t mode;
	uint32_t senders;
	uint32_t size;
	uint32_t unused;
	uint64_t warmup; /* not measured */
	uint64_t duration; /* of sending, right after it */
	uint64_t interval;
};

/*
 * messages: DATA delivered in the whole run; window_*: those after the warm-up, without the first, and
 * the time from first to last, so that what a slow member delivers late counts as late; lost, duplicated: numbers skipped and seen again; corrupt: DATA or
 * heads that are not what was sent; digest: of senders and numbers in their order; cpu: this program's;
 * try_again: refusals; behind: of MODE_RATE, due and not sent; boot: equal where clocks are the same;
 * samples and following: latency of DATA after the warm-up, not of a flood.
 */
#define REPORT_FIELDS(FIELD)                                                                        \
	FIELD(messages) FIELD(window_messages) FIELD(window_time) FIELD(elapsed) FIELD(lost)        \
	FIELD(duplicated) FIELD(corrupt) FIELD(digest) FIELD(cpu) FIELD(try_again) FIELD(behind)    \
	FIELD(boot) FIELD(samples) FIELD(p50) FIELD(p90) FIELD(p99) FIELD(p999) FIELD(longest)

struct report {
#define FIELD(name) uint64_t name;
	REPORT_FIELDS(FIELD)
#undef FIELD
};

#define BENCH_MULTIPLIER 0x9e3779b97f4a7c15u

static inline uint16_t head_check(const struct head *head)
{
	uint64_t hash = head->number * BENCH_MULTIPLIER ^ head->time;

	hash = hash * BENCH_MULTIPLIER ^ ((uint64_t)head->run << 32 | head->size);
	hash = hash * BENCH_MULTIPLIER ^ head->kind;
	return hash * BENCH_MULTIPLIER >> 48;
}

#endif
