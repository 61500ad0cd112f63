/*
 * How many messages a ring orders in a second, as a program sees it:
 *
 *     cpg_bench receive GROUP                   a member that only receives; ends with standard input
 *     cpg_bench send GROUP SECONDS SIZE...      sends as fast as it can for SECONDS with each size
 *
 * Lines on standard output: `ready` after the join; from the sender, for each size,
 *     throughput SIZE MESSAGES SECONDS          from the first send to the last own delivery
 *     latency SIZE MICROSECONDS                 median from a send to its delivery, one at a time
 * and from a receiver at its end `received MESSAGES BYTES`.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include <corosync/cpg.h>

#define SIZE_MAX_BYTES 1000000
#define CONNECT_TRIES 1000
#define CONNECT_PAUSE_MS 20
#define RETRY_MS 1
#define PINGS 301
/* Sent and not yet delivered: enough to keep every buffer on the way full, without growing queues. */
#define AHEAD_BYTES (8 * 1024 * 1024)
#define AHEAD_MESSAGES 20000

static unsigned long messages, bytes;
static unsigned char content[SIZE_MAX_BYTES];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid,
		    void *message, size_t size)
{
	(void)handle, (void)group, (void)nodeid, (void)pid, (void)message;
	messages++;
	bytes += size;
}

static void change(cpg_handle_t handle, const struct cpg_name *group, const struct cpg_address *members,
		   size_t member_count, const struct cpg_address *left, size_t left_count,
		   const struct cpg_address *joined, size_t joined_count)
{
	(void)handle, (void)group, (void)members, (void)member_count;
	(void)left, (void)left_count, (void)joined, (void)joined_count;
}

static void check(cs_error_t error, const char *what)
{
	if (error != CS_OK) {
		fprintf(stderr, "cpg_bench: %s: error %d\n", what, error);
		exit(1);
	}
}

static int descriptor(cpg_handle_t handle)
{
	int fd = -1;

	check(cpg_fd_get(handle, &fd), "cpg_fd_get");
	return fd;
}

static void dispatch(cpg_handle_t handle, int fd, int wait_ms)
{
	struct pollfd watched = { .fd = fd, .events = POLLIN };
	cs_error_t error;

	if (wait_ms && poll(&watched, 1, wait_ms) <= 0)
		return;
	error = cpg_dispatch(handle, CS_DISPATCH_ALL);
	if (error != CS_ERR_TRY_AGAIN)
		check(error, "cpg_dispatch");
}

/* True when the message was taken. */
static int send_one(cpg_handle_t handle, size_t size)
{
	struct iovec part = { content, size };
	cs_error_t error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1);

	if (error == CS_ERR_TRY_AGAIN)
		return 0;
	check(error, "cpg_mcast_joined");
	return 1;
}

static void throughput(cpg_handle_t handle, int fd, size_t size, double seconds)
{
	unsigned long sent = 0, before = messages;
	double start = now(), stop = start + seconds;

	while (now() < stop) {
		unsigned long ahead = sent - (messages - before);

		if (ahead < AHEAD_MESSAGES && ahead * size < AHEAD_BYTES && send_one(handle, size)) {
			sent++;
			if (sent % 16 == 0)
				dispatch(handle, fd, 0);
		} else {
			dispatch(handle, fd, RETRY_MS);
		}
	}
	while (messages - before < sent)
		dispatch(handle, fd, 1000);
	printf("throughput %zu %lu %.6f\n", size, sent, now() - start);
}

static int ascending(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

static void latency(cpg_handle_t handle, int fd, size_t size)
{
	static double times[PINGS];

	for (int i = 0; i < PINGS; i++) {
		unsigned long before = messages;
		double start = now();

		while (!send_one(handle, size))
			dispatch(handle, fd, RETRY_MS);
		while (messages == before)
			dispatch(handle, fd, 1000);
		times[i] = now() - start;
	}
	qsort(times, PINGS, sizeof *times, ascending);
	printf("latency %zu %.1f\n", size, times[PINGS / 2] * 1e6);
}

static cpg_handle_t join(const char *text)
{
	cpg_callbacks_t callbacks = { deliver, change };
	struct cpg_name group = { .length = strlen(text) };
	cs_error_t error = CS_ERR_TRY_AGAIN;
	cpg_handle_t handle = 0;

	if (group.length > CPG_MAX_NAME_LENGTH)
		check(CS_ERR_NAME_TOO_LONG, text);
	memcpy(group.value, text, group.length);
	for (int i = 0; i < CONNECT_TRIES && (error = cpg_initialize(&handle, &callbacks)) != CS_OK; i++)
		poll(NULL, 0, CONNECT_PAUSE_MS);
	check(error, "cpg_initialize");
	while ((error = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN)
		poll(NULL, 0, CONNECT_PAUSE_MS);
	check(error, "cpg_join");
	printf("ready\n");
	return handle;
}

static int receive(const char *group)
{
	cpg_handle_t handle = join(group);
	struct pollfd watched[2] = { { .fd = 0, .events = POLLIN }, { .fd = descriptor(handle), .events = POLLIN } };

	while (poll(watched, 2, -1) >= 0 && !watched[0].revents)
		dispatch(handle, watched[1].fd, 0);
	printf("received %lu %lu\n", messages, bytes);
	cpg_finalize(handle);
	return 0;
}

static int send_sizes(const char *group, double seconds, char **sizes)
{
	cpg_handle_t handle = join(group);
	int fd = descriptor(handle);

	for (; *sizes; sizes++) {
		size_t size = strtoul(*sizes, NULL, 10);

		if (size == 0 || size > SIZE_MAX_BYTES)
			check(CS_ERR_INVALID_PARAM, *sizes);
		latency(handle, fd, size);
		throughput(handle, fd, size, seconds);
	}
	cpg_finalize(handle);
	return 0;
}

int main(int count, char **arguments)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	memset(content, 'x', sizeof content);
	if (count == 3 && strcmp(arguments[1], "receive") == 0)
		return receive(arguments[2]);
	if (count >= 5 && strcmp(arguments[1], "send") == 0)
		return send_sizes(arguments[2], strtod(arguments[3], NULL), arguments + 4);
	fprintf(stderr, "usage: cpg_bench receive GROUP | send GROUP SECONDS SIZE...\n");
	return 2;
}
