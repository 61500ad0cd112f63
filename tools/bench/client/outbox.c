#include "outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "group.h"
#include "pattern.h"

#define MILLISECOND 1000000u
/* Messages between two looks at what has arrived. */
#define BURST 16
/* Sent and not yet delivered: enough to keep every buffer on the way full, without growing queues. */
#define AHEAD_BYTES (8 * 1024 * 1024)
#define AHEAD_MESSAGES 20000
/* RUN, END, REPORT, and a second RUN that the user was quick with. */
#define CONTROLS_MAX 4

static struct {
	struct head head;
	unsigned char body[sizeof(struct report)];
} controls[CONTROLS_MAX];
static unsigned int control_count;

static struct plan plan;
static uint32_t nodeid, run;
static int sending;
static uint64_t sent, delivered, due, stop_at, try_again, behind;

uint64_t monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

void outbox_begin(uint32_t of, uint32_t number, const struct plan *what, uint64_t now)
{
	plan = *what;
	nodeid = of;
	run = number;
	sent = delivered = try_again = behind = 0;
	due = now;
	stop_at = now + plan.warmup + plan.duration;
	sending = 1;
}

void outbox_delivered(uint64_t now)
{
	delivered++;
	if (plan.mode == MODE_PING)
		due = now + plan.interval;
}

void outbox_control(const struct head *head, const void *body)
{
	size_t size = head->size - sizeof *head;

	if (control_count == CONTROLS_MAX || size > sizeof controls->body)
		abort();
	controls[control_count].head = *head;
	if (size)
		memcpy(controls[control_count].body, body, size);
	control_count++;
}

void outbox_stop(void)
{
	sending = 0;
}

uint64_t outbox_try_again(void)
{
	return try_again;
}

uint64_t outbox_behind(void)
{
	return behind;
}

static int refused(void)
{
	try_again++;
	return 0;
}

static int send_controls(void)
{
	while (control_count) {
		if (!group_send(&controls[0].head, controls[0].body))
			return refused();
		memmove(&controls[0], &controls[1], --control_count * sizeof *controls);
	}
	return 1;
}

static void end(uint64_t now)
{
	struct head head = { .kind = KIND_END, .run = run, .size = sizeof head, .number = sent, .time = now };

	if (plan.mode == MODE_RATE && plan.interval && due < stop_at)
		behind = (stop_at - due) / plan.interval;
	sending = 0;
	outbox_control(&head, NULL);
}

static int has_room(void)
{
	uint64_t ahead = sent - delivered;

	if (plan.mode == MODE_PING)
		return ahead == 0;
	return ahead < AHEAD_MESSAGES && ahead * plan.size < AHEAD_BYTES;
}

/* When a rate is asked for, the time is the planned one: what had to wait for its turn counts as late. */
static int send_data(uint64_t now)
{
	struct head head = { .kind = KIND_DATA,
			     .run = run,
			     .size = plan.size,
			     .number = sent,
			     .time = plan.mode == MODE_RATE ? due : now };

	if (!group_send(&head, pattern_of(nodeid, sent)))
		return refused();
	sent++;
	due += plan.mode == MODE_RATE ? plan.interval : 0;
	return 1;
}

uint64_t outbox_pump(void)
{
	if (!send_controls())
		return MILLISECOND;
	for (int i = 0; sending && i < BURST; i++) {
		uint64_t now = monotonic();

		if (now >= stop_at) {
			end(now);
			return 0;
		}
		if (plan.mode != MODE_FLOOD && now < due)
			return (due < stop_at ? due : stop_at) - now;
		if (!has_room())
			return stop_at - now;
		if (!send_data(now))
			return MILLISECOND;
	}
	return sending ? 0 : OUTBOX_WAIT_FOREVER;
}
