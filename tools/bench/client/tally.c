#include "tally.h"

#include <stdlib.h>
#include <string.h>

#include "pattern.h"

/* Later ones are not sampled: a run with that many has no need of them. */
#define SAMPLES_MAX 4000000u

static uint32_t samples[SAMPLES_MAX];

void tally_begin(struct tally *tally, const struct plan *plan, uint64_t now)
{
	memset(tally, 0, sizeof *tally);
	/* Of a flood they would only tell how long our own queues are. */
	tally->timed = plan->mode != MODE_FLOOD;
	tally->window_from = now + plan->warmup;
}

struct origin *tally_origin(struct tally *tally, uint32_t nodeid, uint32_t pid)
{
	for (size_t i = 0; i < tally->count; i++)
		if (tally->origins[i].nodeid == nodeid && tally->origins[i].pid == pid)
			return &tally->origins[i];
	return NULL;
}

static void in_window(struct tally *tally, const struct head *head, uint64_t now)
{
	uint64_t latency = now - head->time;

	if (!tally->window_first)
		tally->window_first = now;
	else
		tally->report.window_messages++;
	tally->window_last = now;
	if (tally->timed && tally->report.samples < SAMPLES_MAX)
		samples[tally->report.samples++] = latency < UINT32_MAX ? latency : UINT32_MAX;
}

void tally_data(struct tally *tally, struct origin *origin, const struct head *head, uint64_t now)
{
	struct report *report = &tally->report;

	if (memcmp(head + 1, pattern_of(origin->nodeid, head->number), head->size - sizeof *head) != 0)
		report->corrupt++;
	if (head->number < origin->next) {
		report->duplicated++;
	} else {
		report->lost += head->number - origin->next;
		origin->next = head->number + 1;
	}
	report->digest = (report->digest ^ origin->nodeid) * BENCH_MULTIPLIER;
	report->digest = (report->digest ^ head->number) * BENCH_MULTIPLIER;
	report->digest ^= report->digest >> 32;
	report->messages++;
	if (now >= tally->window_from)
		in_window(tally, head, now);
}

void tally_end(struct tally *tally, struct origin *origin, uint64_t sent)
{
	if (sent > origin->next)
		tally->report.lost += sent - origin->next;
	origin->ended = 1;
}

int tally_all_ended(const struct tally *tally)
{
	for (size_t i = 0; i < tally->count; i++)
		if (tally->origins[i].sends && !tally->origins[i].ended)
			return 0;
	return 1;
}

static int ascending(const void *one, const void *other)
{
	uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

	return (a > b) - (a < b);
}

/* Nearest rank: the smallest sample that `thousandth` of 1000 do not exceed. */
static uint64_t percentile(size_t count, unsigned int thousandth)
{
	size_t rank = (count * thousandth + 999) / 1000;

	return count ? samples[rank ? rank - 1 : 0] : 0;
}

void tally_finish(struct tally *tally)
{
	struct report *report = &tally->report;
	size_t count = report->samples;

	report->window_time = tally->window_last - tally->window_first;
	qsort(samples, count, sizeof *samples, ascending);
	report->p50 = percentile(count, 500);
	report->p90 = percentile(count, 900);
	report->p99 = percentile(count, 990);
	report->p999 = percentile(count, 999);
	report->longest = percentile(count, 1000);
}
