/*
 * A member of a group that sends messages whose content is known beforehand, checks every message that
 * it gets, and writes down all that happens, in order:
 *
 *     cpg_history GROUP FILE
 *
 * FILE gets a line for each event, behind the time (CLOCK_MONOTONIC, seconds):
 *     D node pid number size hash        a message; number is - where it is too short to hold it
 *     C members left joined              node:pid lists; with reasons in left and joined; - for none
 *     T ring members                     totem's configuration, ring as in the executive's log
 *     E text                             something that must not be
 *
 * Commands on standard input, one a line:
 *     send COUNT MIN MAX SEED [PAUSE]    sizes between MIN and MAX (their logarithm evenly spread);
 *                                        PAUSE microseconds between two; COUNT 0: until stop
 *     stop                               send no more
 *     quit                               leave and end
 * Lines on standard output: `ready NODE PID`, `sent TOTAL` after a send is done, `hash HASH EVENTS` over
 * all events without their times at the end, `lost ERROR` when the executive is gone (exit status 3).
 * Exit status 1: the group or the arguments cannot be used; 4: an E line was written.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <corosync/cpg.h>

#define MESSAGE_MAX 1047552
#define SENDERS_MAX 1024
#define CONNECT_TRIES 1000
#define CONNECT_PAUSE_MS 20
#define RETRY_MS 2

static const uint32_t magic = 0x41495348;

/* What a message begins with when it is long enough. */
struct head {
	uint32_t magic, nodeid, pid, number, size;
};

struct sender {
	uint32_t nodeid, pid, next;
};

struct job {
	uint64_t left;
	int endless, active;
	uint32_t min, max, pause_us;
	uint64_t random;
	double next_at;
};

static FILE *history;
static uint64_t history_hash = 0xcbf29ce484222325u;
static unsigned long events, errors;
static struct sender senders[SENDERS_MAX];
static size_t sender_count;
static unsigned char expected[MESSAGE_MAX], outgoing[MESSAGE_MAX];
static uint32_t own_nodeid, own_pid, own_number;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* FNV-1a, 64 bits, on words of 8 bytes where there are any: a megabyte should not take a millisecond. */
static uint64_t hash_bytes(uint64_t hash, const unsigned char *bytes, size_t count)
{
	uint64_t word;

	for (; count >= sizeof word; count -= sizeof word, bytes += sizeof word) {
		memcpy(&word, bytes, sizeof word);
		hash = (hash ^ word) * 0x100000001b3u;
		hash ^= hash >> 29;
	}
	for (; count > 0; count--)
		hash = (hash ^ *bytes++) * 0x100000001b3u;
	return hash;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* The content of message `number` of a sender. */
static void fill(unsigned char *to, uint32_t nodeid, uint32_t pid, uint32_t number, uint32_t size)
{
	struct head head = { magic, nodeid, pid, number, size };
	uint64_t state = ((uint64_t)nodeid << 40 ^ (uint64_t)pid << 20 ^ number) * 0x9e3779b97f4a7c15u + 1;
	size_t at = 0;

	if (size >= sizeof head) {
		memcpy(to, &head, sizeof head);
		at = sizeof head;
	}
	while (at < size) {
		uint64_t word = next_random(&state);
		size_t some = size - at < sizeof word ? size - at : sizeof word;

		memcpy(to + at, &word, some);
		at += some;
	}
}

static void record(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void record(const char *format, ...)
{
	char line[65536];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	fprintf(history, "%.6f %s\n", now(), line);
	history_hash = hash_bytes(history_hash, (const unsigned char *)line, strlen(line));
	events++;
	if (line[0] == 'E')
		errors++;
}

static struct sender *find_sender(uint32_t nodeid, uint32_t pid)
{
	for (size_t i = 0; i < sender_count; i++)
		if (senders[i].nodeid == nodeid && senders[i].pid == pid)
			return &senders[i];
	return NULL;
}

/* From the first numbered message on, or from the join on, no number of a sender may be missing. */
static void check_message(uint32_t nodeid, uint32_t pid, const unsigned char *message, uint32_t size)
{
	struct sender *sender = find_sender(nodeid, pid);
	struct head head;
	uint32_t number;

	if (size >= sizeof head) {
		memcpy(&head, message, sizeof head);
		number = head.number;
		if (head.magic != magic || head.nodeid != nodeid || head.pid != pid || head.size != size) {
			record("E head of a message of %u:%u is wrong", nodeid, pid);
			return;
		}
		if (sender == NULL) {
			if (sender_count == SENDERS_MAX) {
				record("E too many senders");
				return;
			}
			sender = &senders[sender_count++];
			*sender = (struct sender){ nodeid, pid, number };
		}
		if (number != sender->next)
			record("E message %u of %u:%u where %u was due", number, nodeid, pid, sender->next);
		sender->next = number;
	} else if (sender == NULL) {
		return;
	}
	fill(expected, nodeid, pid, sender->next, size);
	if (memcmp(expected, message, size) != 0)
		record("E content of message %u of %u:%u is wrong", sender->next, nodeid, pid);
	sender->next++;
}

static void deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid,
		    void *message, size_t size)
{
	struct head head;
	uint64_t hash = hash_bytes(0xcbf29ce484222325u, message, size);

	(void)handle;
	(void)group;
	if (size >= sizeof head) {
		memcpy(&head, message, sizeof head);
		record("D %u %u %u %zu %016" PRIx64, nodeid, pid, head.number, size, hash);
	} else {
		record("D %u %u - %zu %016" PRIx64, nodeid, pid, size, hash);
	}
	if (size > MESSAGE_MAX)
		record("E message of %zu bytes", size);
	else
		check_message(nodeid, pid, message, size);
}

static void list(char *to, size_t room, const struct cpg_address *addresses, size_t count, int reasons)
{
	size_t used = 0;

	snprintf(to, room, "-");
	for (size_t i = 0; i < count && used < room; i++) {
		const char *comma = i ? "," : "";

		if (reasons)
			used += snprintf(to + used, room - used, "%s%u:%u:%u", comma, addresses[i].nodeid,
					 addresses[i].pid, addresses[i].reason);
		else
			used += snprintf(to + used, room - used, "%s%u:%u", comma, addresses[i].nodeid,
					 addresses[i].pid);
	}
}

static void confchg(cpg_handle_t handle, const struct cpg_name *group,
		    const struct cpg_address *members, size_t member_count,
		    const struct cpg_address *left, size_t left_count,
		    const struct cpg_address *joined, size_t joined_count)
{
	char text[3][8192];

	(void)handle;
	(void)group;
	list(text[0], sizeof text[0], members, member_count, 0);
	list(text[1], sizeof text[1], left, left_count, 1);
	list(text[2], sizeof text[2], joined, joined_count, 1);
	record("C %s %s %s", text[0], text[1], text[2]);
	/* Who comes back may have sent what we did not see. */
	for (size_t i = 0; i < left_count; i++) {
		struct sender *sender = find_sender(left[i].nodeid, left[i].pid);

		if (sender != NULL)
			*sender = senders[--sender_count];
	}
}

static void totem_confchg(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t count, const uint32_t *members)
{
	char text[4096] = "-";
	size_t used = 0;

	(void)handle;
	for (uint32_t i = 0; i < count && used < sizeof text; i++)
		used += snprintf(text + used, sizeof text - used, "%s%u", i ? "," : "", members[i]);
	record("T %u.%" PRIx64 " %s", ring.nodeid, ring.seq, text);
}

static int finish(int status)
{
	fflush(history);
	printf("hash %016" PRIx64 " %lu\n", history_hash, events);
	return errors ? 4 : status;
}

static int lost(cs_error_t error)
{
	printf("lost %d\n", error);
	return finish(3);
}

/* Repeats what an executive that is starting or in a change of membership refuses. */
#define PATIENTLY(result, call)                                                     \
	for (int tries = 0; tries < CONNECT_TRIES; tries++) {                       \
		result = (call);                                                    \
		if (result != CS_ERR_TRY_AGAIN && result != CS_ERR_LIBRARY)         \
			break;                                                      \
		poll(NULL, 0, CONNECT_PAUSE_MS);                                    \
	}

static void choose_job(struct job *job, const char *line)
{
	unsigned count, min, max, seed, pause_us = 0;

	if (strncmp(line, "stop", 4) == 0) {
		if (job->active)
			printf("sent %u\n", own_number);
		job->active = 0;
	} else if (sscanf(line, "send %u %u %u %u %u", &count, &min, &max, &seed, &pause_us) >= 4 &&
		   min >= 1 && min <= max && max <= MESSAGE_MAX) {
		job->left = count;
		job->endless = count == 0;
		job->active = 1;
		job->min = min;
		job->max = max;
		job->pause_us = pause_us;
		job->random = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
		job->next_at = 0;
	} else {
		printf("error cannot be understood: %s", line);
	}
}

static uint32_t choose_size(struct job *job)
{
	double part = (next_random(&job->random) >> 11) / 9007199254740992.0;
	double size = exp(log(job->min) + part * (log(job->max + 1.0) - log(job->min)));

	return size > job->max ? job->max : size < job->min ? job->min : (uint32_t)size;
}

/* Send what is due; returns milliseconds until it has to be called again, -1 for never. */
static int work(struct job *job, cpg_handle_t handle, cs_error_t *error)
{
	static uint32_t size; /* of the message to come, 0: not chosen */

	*error = CS_OK;
	if (!job->active)
		return -1;
	if (job->pause_us && now() < job->next_at)
		return (int)((job->next_at - now()) * 1000) + 1;
	if (size == 0) {
		/* The first one has a number, so that receivers know what comes behind it. */
		size = own_number == 0 ? sizeof(struct head) : choose_size(job);
		fill(outgoing, own_nodeid, own_pid, own_number, size);
	}
	struct iovec part = { outgoing, size };
	*error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1);
	if (*error == CS_ERR_TRY_AGAIN) {
		*error = CS_OK;
		return RETRY_MS;
	}
	if (*error != CS_OK)
		return -1;
	size = 0;
	own_number++;
	job->next_at = now() + job->pause_us / 1e6;
	if (!job->endless && --job->left == 0) {
		job->active = 0;
		printf("sent %u\n", own_number);
		return -1;
	}
	return 0;
}

static int serve(cpg_handle_t handle, const struct cpg_name *group)
{
	struct pollfd watched[2] = { { .fd = 0, .events = POLLIN }, { .events = POLLIN } };
	struct job job = { 0 };
	char input[4096];
	size_t filled = 0;
	cs_error_t error;

	if (cpg_fd_get(handle, &watched[1].fd) != CS_OK)
		return lost(CS_ERR_BAD_HANDLE);
	for (;;) {
		int wait = work(&job, handle, &error);

		if (error != CS_OK)
			return lost(error);
		if (wait != 0)
			fflush(history);
		if (poll(watched, 2, wait) < 0 && errno != EINTR)
			return 1;
		if (watched[1].revents) {
			error = cpg_dispatch(handle, CS_DISPATCH_ALL);
			if (error != CS_OK && error != CS_ERR_TRY_AGAIN)
				return lost(error);
		}
		if (!watched[0].revents)
			continue;
		ssize_t got = read(0, input + filled, sizeof input - 1 - filled);
		if (got <= 0)
			return finish(0);
		input[filled += got] = '\0';
		char *line = input;
		for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			if (strncmp(line, "quit", 4) == 0) {
				cpg_leave(handle, group);
				cpg_finalize(handle);
				return finish(0);
			}
			*end = '\0';
			choose_job(&job, line);
		}
		filled = strlen(line);
		memmove(input, line, filled + 1);
	}
}

int main(int count, char **arguments)
{
	cpg_model_v1_data_t model = { CPG_MODEL_V1, deliver, confchg, totem_confchg,
				      CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF };
	struct cpg_name group;
	cpg_handle_t handle;
	cs_error_t error = CS_OK;
	unsigned nodeid = 0;

	if (count != 3 || strlen(arguments[1]) > CPG_MAX_NAME_LENGTH ||
	    (history = fopen(arguments[2], "w")) == NULL) {
		fprintf(stderr, "usage: cpg_history GROUP FILE\n");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	group.length = strlen(arguments[1]);
	memcpy(group.value, arguments[1], group.length);
	PATIENTLY(error, cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL));
	if (error == CS_OK)
		PATIENTLY(error, cpg_local_get(handle, &nodeid));
	own_nodeid = nodeid;
	own_pid = getpid();
	if (error == CS_OK)
		PATIENTLY(error, cpg_join(handle, &group));
	if (error != CS_OK) {
		fprintf(stderr, "cpg_history: cannot join: error %d\n", error);
		return 1;
	}
	printf("ready %u %u\n", own_nodeid, own_pid);
	return serve(handle, &group);
}
