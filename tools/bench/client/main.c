/*
 * A member of a benchmark's group:   aisexec-bench-client GROUP
 *
 * All members are alike.  Whoever reads a command from its standard input
 *
 *     run flood|ping|rate SIZE SECONDS WARMUP INTERVAL_US one|all
 *
 * multicasts it, all take part, and in the end each multicasts what it has seen; the one that was asked
 * prints it.  `quit`, or the end of the input, ends this member.  Output: a JSON object a line, with the
 * key `event`: ready, members, started, result, error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "group.h"
#include "outbox.h"
#include "pattern.h"
#include "tally.h"

#define SECOND 1000000000u
#define LINE_MAX_BYTES 256
/* Deliveries after which sending has its turn, though there may be more to deliver. */
#define DELIVERIES_A_TURN 16

enum state { IDLE, RUNNING, REPORTING };

static uint32_t me, my_pid;
static uint64_t boot;
static struct cpg_address members[BENCH_MEMBERS_MAX];
static size_t member_count;

static enum state state;
static uint32_t run;
static int mine; /* the run is one that we were asked for */
static int asked; /* and our RUN is not delivered yet */
static struct plan plan;
static struct tally tally;
static struct report reports[BENCH_MEMBERS_MAX];
static size_t report_count;
static int reported[BENCH_MEMBERS_MAX];
static uint64_t began, cpu_before;

static const char *const mode_names[] = { "flood", "ping", "rate" };
static const char *const sender_names[] = { "one", "all" };

static uint64_t cpu(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * (uint64_t)SECOND +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

/* Programs that were started after the same boot have the same CLOCK_MONOTONIC. */
static uint64_t boot_number(void)
{
	char text[64] = "";
	uint64_t hash = 0;
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");

	if (file) {
		if (!fgets(text, sizeof text, file))
			text[0] = 0;
		fclose(file);
	}
	for (char *c = text; *c && *c != '\n'; c++)
		hash = (hash ^ (unsigned char)*c) * BENCH_MULTIPLIER;
	return hash;
}

static void print_error(const char *text)
{
	printf("{\"event\": \"error\", \"text\": \"%s\"}\n", text);
}

static void give_up(const char *text)
{
	if (mine)
		print_error(text);
	outbox_stop();
	state = IDLE;
	mine = 0;
}

static void print_result(void)
{
	printf("{\"event\": \"result\", \"mode\": \"%s\", \"senders\": \"%s\", \"size\": %u, \"members\": [",
	       mode_names[plan.mode], sender_names[plan.senders], plan.size);
	for (size_t i = 0; i < tally.count; i++) {
		printf("%s{\"node\": %u, \"pid\": %u", i ? ", " : "", tally.origins[i].nodeid, tally.origins[i].pid);
#define FIELD(name) printf(", \"" #name "\": %llu", (unsigned long long)reports[i].name);
		REPORT_FIELDS(FIELD)
#undef FIELD
		putchar('}');
	}
	printf("]}\n");
}

static void begin_run(const struct head *head, uint32_t nodeid, uint32_t pid)
{
	uint64_t now = monotonic();
	int ours = nodeid == me && pid == my_pid;

	memcpy(&plan, head + 1, sizeof plan);
	if (plan.mode > MODE_RATE || plan.senders > SENDERS_ALL || plan.size < sizeof *head ||
	    plan.size > BENCH_SIZE_MAX)
		return;
	run = head->run;
	mine = ours;
	state = RUNNING;
	tally_begin(&tally, &plan, now);
	tally.count = member_count;
	for (size_t i = 0; i < member_count; i++) {
		struct origin *origin = &tally.origins[i];

		origin->nodeid = members[i].nodeid;
		origin->pid = members[i].pid;
		origin->sends = plan.senders == SENDERS_ALL || (origin->nodeid == nodeid && origin->pid == pid);
	}
	report_count = 0;
	memset(reported, 0, sizeof reported);
	began = now;
	cpu_before = cpu();
	if (ours)
		printf("{\"event\": \"started\"}\n");
	outbox_begin(me, run, &plan, now);
	if (!ours && plan.senders != SENDERS_ALL)
		outbox_stop();
}

static void report(void)
{
	struct head head = { .kind = KIND_REPORT, .run = run, .size = sizeof head + sizeof(struct report) };

	state = REPORTING;
	tally.report.elapsed = monotonic() - began;
	tally.report.cpu = cpu() - cpu_before;
	tally_finish(&tally);
	tally.report.try_again = outbox_try_again();
	tally.report.behind = outbox_behind();
	tally.report.boot = boot;
	outbox_control(&head, &tally.report);
}

static void take_report(const struct head *head, struct origin *origin)
{
	size_t index = origin - tally.origins;

	if (reported[index])
		return;
	reported[index] = 1;
	memcpy(&reports[index], head + 1, sizeof *reports);
	if (++report_count < tally.count)
		return;
	if (mine)
		print_result();
	state = IDLE;
	mine = 0;
}

static void deliver_of_run(const struct head *head, struct origin *origin)
{
	uint64_t now = monotonic();

	if (head->kind == KIND_DATA && state == RUNNING && head->size == plan.size) {
		tally_data(&tally, origin, head, now);
		if (origin->nodeid == me && origin->pid == my_pid)
			outbox_delivered(now);
	} else if (head->kind == KIND_END && state == RUNNING) {
		tally_end(&tally, origin, head->number);
		if (tally_all_ended(&tally))
			report();
	} else if (head->kind == KIND_REPORT && state != IDLE &&
		   head->size == sizeof *head + sizeof(struct report)) {
		take_report(head, origin);
	}
}

static void deliver(uint32_t nodeid, uint32_t pid, const void *message, size_t size)
{
	static unsigned int deliveries;
	const struct head *head = message;
	struct origin *origin;

	if (size < sizeof *head || head->magic != BENCH_MAGIC || head->size != size ||
	    head->check != head_check(head)) {
		tally.report.corrupt++;
		return;
	}
	if (head->kind == KIND_RUN && size == sizeof *head + sizeof plan) {
		int ours = nodeid == me && pid == my_pid;

		asked = asked && !ours;
		if (state == IDLE)
			begin_run(head, nodeid, pid);
		else if (ours)
			print_error("another run is under way in this group");
		return;
	}
	origin = state == IDLE ? NULL : tally_origin(&tally, nodeid, pid);
	if (origin && head->run == run)
		deliver_of_run(head, origin);
	if (++deliveries % DELIVERIES_A_TURN == 0)
		outbox_pump();
}

static int is_member(const struct origin *origin)
{
	for (size_t i = 0; i < member_count; i++)
		if (members[i].nodeid == origin->nodeid && members[i].pid == origin->pid)
			return 1;
	return 0;
}

static void change(const struct cpg_address *list, size_t count)
{
	static int ready;

	member_count = count < BENCH_MEMBERS_MAX ? count : BENCH_MEMBERS_MAX;
	memcpy(members, list, member_count * sizeof *members);
	if (!ready) {
		ready = 1;
		printf("{\"event\": \"ready\", \"node\": %u, \"pid\": %u}\n", me, my_pid);
	}
	printf("{\"event\": \"members\", \"time\": %llu, \"members\": [", (unsigned long long)monotonic());
	for (size_t i = 0; i < member_count; i++)
		printf("%s[%u, %u]", i ? ", " : "", members[i].nodeid, members[i].pid);
	printf("]}\n");
	for (size_t i = 0; state != IDLE && i < tally.count; i++)
		if (!is_member(&tally.origins[i]))
			give_up("a member left during the run");
}

static int word(const char *text, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -1;
}

static int ask(const char *line)
{
	char mode[16], senders[16];
	double seconds, warmup, interval;
	unsigned int size;
	struct plan wanted;
	struct head head = { .kind = KIND_RUN, .size = sizeof head + sizeof wanted, .time = monotonic() };

	memset(&wanted, 0, sizeof wanted);
	if (sscanf(line, "run %15s %u %lf %lf %lf %15s", mode, &size, &seconds, &warmup, &interval, senders) != 6)
		return 0;
	if (word(mode, mode_names, 3) < 0 || word(senders, sender_names, 2) < 0 || size < sizeof head ||
	    size > BENCH_SIZE_MAX || !(seconds > 0 && seconds < 1e5) || !(warmup >= 0 && warmup < 1e5) ||
	    !(interval >= 0 && interval < 1e9))
		return 0;
	if (asked || mine) {
		print_error("the run before has not ended");
		return 1;
	}
	wanted.mode = word(mode, mode_names, 3);
	wanted.senders = word(senders, sender_names, 2);
	wanted.size = size;
	wanted.warmup = warmup * SECOND;
	wanted.duration = seconds * SECOND;
	wanted.interval = interval * 1000;
	head.run = (uint32_t)head.time ^ my_pid << 16;
	asked = 1;
	outbox_control(&head, &wanted);
	return 1;
}

/* False at the end. */
static int read_commands(void)
{
	static char line[LINE_MAX_BYTES];
	static size_t used;
	ssize_t got = read(0, line + used, sizeof line - 1 - used);
	char *end;

	if (got <= 0)
		return got < 0 && errno == EINTR;
	used += got;
	line[used] = 0;
	while ((end = strchr(line, '\n'))) {
		*end = 0;
		if (strcmp(line, "quit") == 0)
			return 0;
		if (!ask(line))
			print_error("command not understood");
		used -= end + 1 - line;
		memmove(line, end + 1, used + 1);
	}
	return used < sizeof line - 1;
}

int main(int count, char **arguments)
{
	struct pollfd watched[2] = { { .fd = 0, .events = POLLIN }, { .events = POLLIN } };

	if (count != 2) {
		fprintf(stderr, "usage: %s GROUP\n", arguments[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* The kernel may not delay our timers to save wake-ups. */
	prctl(PR_SET_TIMERSLACK, 1);
	pattern_make();
	my_pid = getpid();
	boot = boot_number();
	group_join(arguments[1], deliver, change);
	me = group_nodeid();
	watched[1].fd = group_fd();
	for (;;) {
		uint64_t wait = outbox_pump();
		struct timespec timeout = { .tv_sec = wait / SECOND, .tv_nsec = wait % SECOND };
		int ready = ppoll(watched, 2, wait == OUTBOX_WAIT_FOREVER ? NULL : &timeout, NULL);

		if (ready < 0 && errno != EINTR)
			return 1;
		if (ready > 0 && watched[0].revents && !read_commands())
			break;
		if (ready > 0 && watched[1].revents)
			group_dispatch();
	}
	group_leave();
	return 0;
}
