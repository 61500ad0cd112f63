/*
 * Goes through the whole of <corosync/cpg.h> and prints what every call answered and every callback
 * brought, so that the output against two executives can be compared byte for byte:
 *
 *     cpg_conformance alone              all of it, on a node that has no other programs in groups
 *     cpg_conformance first GROUP        the two ends of a conversation between two nodes; they talk
 *     cpg_conformance second GROUP       through the group, so their order is fixed
 *     cpg_conformance orphan             prints `waiting` and goes on when the executive has ended
 *
 * Process ids, the ring's number, handles and descriptors differ from run to run and are printed by
 * name (self, other) or not at all.  Joining again on a handle that has left is left out: stock
 * corosync never lets it.
 */
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <corosync/cpg.h>

#include "conformance.h"

#define ATOMIC_MAX 1047552
#define LONG_SIZE 2500000
#define KINDS_MAX 3

enum kind { DELIVERY, CHANGE, RING };

static unsigned long seen[KINDS_MAX];
static uint32_t own_nodeid;
static pid_t own_pid;
static unsigned char long_message[LONG_SIZE];
static char last_text[256];

static uint32_t sum(const void *bytes, size_t count)
{
	const unsigned char *at = bytes;
	uint32_t hash = 0x811c9dc5;

	while (count-- > 0)
		hash = (hash ^ *at++) * 0x01000193;
	return hash;
}

/* Who: the only processes that may appear are this one, its own children and those of another node. */
static const char *who(uint32_t nodeid, uint32_t pid)
{
	static char text[4][32];
	static unsigned next;
	char *to = text[next++ % 4];

	snprintf(to, 32, "%u:%s", nodeid, nodeid != own_nodeid ? "remote" : pid == (uint32_t)own_pid ? "self" : "other");
	return to;
}

static void print_name(const struct cpg_name *name)
{
	printf("%u:", name->length);
	if (name->length <= 40)
		fwrite(name->value, 1, name->length, stdout);
	else
		printf("#%08x", sum(name->value, name->length));
}

static void print_addresses(const char *label, const struct cpg_address *list, size_t count, int reasons)
{
	printf(" %s=[", label);
	for (size_t i = 0; i < count; i++) {
		printf("%s%s", i ? " " : "", who(list[i].nodeid, list[i].pid));
		if (reasons)
			printf("/%u", list[i].reason);
	}
	printf("]");
}

static void deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid,
		    void *message, size_t size)
{
	void *context = NULL;

	cpg_context_get(handle, &context);
	printf("  deliver [%s] group=", context ? (char *)context : "-");
	print_name(group);
	printf(" from=%s size=%zu sum=%08x\n", who(nodeid, pid), size, sum(message, size));
	snprintf(last_text, sizeof last_text, "%.*s", (int)(size < 200 ? size : 200), (char *)message);
	seen[DELIVERY]++;
}

static void change(cpg_handle_t handle, const struct cpg_name *group, const struct cpg_address *members,
		   size_t member_count, const struct cpg_address *left, size_t left_count,
		   const struct cpg_address *joined, size_t joined_count)
{
	(void)handle;
	printf("  change group=");
	print_name(group);
	print_addresses("members", members, member_count, 1);
	print_addresses("left", left, left_count, 1);
	print_addresses("joined", joined, joined_count, 1);
	printf("\n");
	seen[CHANGE]++;
}

static void ring(cpg_handle_t handle, struct cpg_ring_id id, uint32_t count, const uint32_t *members)
{
	(void)handle;
	printf("  ring representative=%u sequence=%s members=[", id.nodeid, id.seq ? "some" : "0");
	for (uint32_t i = 0; i < count; i++)
		printf("%s%u", i ? " " : "", members[i]);
	printf("]\n");
	seen[RING]++;
}

/* One line: the call as it is written here, and its answer. */
#define SHOW(call) show(#call, (call))

static cs_error_t show(const char *text, cs_error_t error)
{
	printf("%s -> %s\n", text, error_name(error));
	return error;
}

#define SHOW_PATIENTLY(call) show(#call, PATIENTLY(call))

static long milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Dispatch one by one until `count` more callbacks of that kind came. */
static void await(cpg_handle_t handle, enum kind kind, unsigned long count)
{
	unsigned long target = seen[kind] + count;
	long end = milliseconds() + PATIENCE_MS;

	while (seen[kind] < target) {
		cs_error_t error;

		if (milliseconds() > end)
			fail("an expected callback does not come");
		comes(cpg_fd_get, handle, 100);
		error = cpg_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING);
		if (error != CS_OK && error != CS_ERR_TRY_AGAIN)
			fail(error_name(error));
	}
}

static struct cpg_name named(const char *text)
{
	struct cpg_name name;

	memset(&name, 0, sizeof name);
	name.length = strlen(text);
	memcpy(name.value, text, name.length);
	return name;
}

static cs_error_t mcast(cpg_handle_t handle, cpg_guarantee_t guarantee, const char *text)
{
	struct iovec part = { (void *)text, strlen(text) };

	return cpg_mcast_joined(handle, guarantee, &part, 1);
}

static cpg_model_v1_data_t with_ring = { CPG_MODEL_V1, deliver, change, ring,
					 CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF };
static cpg_model_v1_data_t without_ring = { CPG_MODEL_V1, deliver, change, NULL, 0 };

static void open_handles(cpg_handle_t *handle, cpg_handle_t *watcher)
{
	cpg_callbacks_t callbacks = { deliver, change };
	cpg_model_v1_data_t unknown_flags = with_ring;
	static char context[] = "first context", other_context[] = "second context";
	void *got = NULL;
	unsigned int nodeid = 0;
	int fd = -1;

	printf("== initialise\n");
	SHOW_PATIENTLY(cpg_model_initialize(handle, CPG_MODEL_V1, (cpg_model_data_t *)&with_ring, context));
	SHOW(cpg_initialize(watcher, &callbacks));
	unknown_flags.flags = 0x10;
	SHOW(cpg_model_initialize(&(cpg_handle_t){ 0 }, CPG_MODEL_V1, (cpg_model_data_t *)&unknown_flags, NULL));
	SHOW(cpg_model_initialize(&(cpg_handle_t){ 0 }, 99, (cpg_model_data_t *)&with_ring, NULL));
	SHOW(cpg_fd_get(*handle, &fd));
	printf("descriptor %s\n", fd >= 0 ? "is open" : "is missing");
	SHOW(cpg_context_get(*handle, &got));
	printf("context: %s\n", (char *)got);
	SHOW(cpg_context_set(*handle, other_context));
	SHOW(cpg_context_get(*handle, &got));
	printf("context: %s\n", (char *)got);
	SHOW(cpg_context_get(*watcher, &got));
	printf("context: %s\n", got ? (char *)got : "none");
	SHOW(cpg_local_get(*handle, &nodeid));
	own_nodeid = nodeid;
	printf("node %u\n", nodeid);
}

static void membership(cpg_handle_t handle, const char *text)
{
	struct cpg_address members[CPG_MEMBERS_MAX];
	struct cpg_name group = named(text);
	int count = -1;

	memset(members, 0, sizeof members);
	printf("%s: ", text);
	SHOW(cpg_membership_get(handle, &group, members, &count));
	printf("  %d", count);
	print_addresses("members", members, count > 0 ? count : 0, 1);
	printf("\n");
}

/* The library sends fields that its caller left out as they lie on the stack: let that be garbage. */
static __attribute__((noinline)) void dirty_stack(void)
{
	volatile unsigned char garbage[16384];

	for (size_t i = 0; i < sizeof garbage; i++)
		garbage[i] = 0xd7;
}

static void iterate(cpg_handle_t handle, cpg_iteration_type_t type, const char *text)
{
	struct cpg_iteration_description_t description;
	struct cpg_name group = named(text ? text : "");
	cpg_iteration_handle_t iteration = 0;
	cs_error_t error;

	printf("iteration of type %d over %s\n", type, text ? text : "all");
	dirty_stack();
	error = SHOW(cpg_iteration_initialize(handle, type, text ? &group : NULL, &iteration));
	if (error != CS_OK)
		return;
	for (;;) {
		memset(&description, 0, sizeof description);
		error = cpg_iteration_next(iteration, &description);
		printf("  next -> %s", error_name(error));
		if (error != CS_OK)
			break;
		printf(" group=");
		print_name(&description.group);
		if (type == CPG_ITERATION_NAME_ONLY)
			printf(" node=%u process=%u\n", description.nodeid, description.pid);
		else
			printf(" %s\n", who(description.nodeid, description.pid));
	}
	printf("\n");
	SHOW(cpg_iteration_finalize(iteration));
	SHOW(cpg_iteration_finalize(iteration));
	SHOW(cpg_iteration_next(iteration, &description));
}

static void wrong_arguments(cpg_handle_t handle)
{
	struct cpg_name group = named("nobody"), too_long = named("x");
	cpg_handle_t bad = 0x1234567812345678;
	cpg_flow_control_state_t state;
	cpg_iteration_handle_t iteration;
	struct cpg_address members[CPG_MEMBERS_MAX];
	struct iovec part = { "x", 1 };
	void *pointer;
	unsigned int number;
	int count, fd;

	printf("== errors\n");
	too_long.length = CPG_MAX_NAME_LENGTH + 1;
	SHOW(cpg_join(handle, &too_long));
	SHOW(cpg_leave(handle, &too_long));
	SHOW(cpg_leave(handle, &group));
	SHOW(cpg_membership_get(handle, &too_long, members, &count));
	SHOW(cpg_iteration_initialize(handle, 17, &group, &iteration));
	SHOW(cpg_iteration_initialize(handle, CPG_ITERATION_ONE_GROUP, &too_long, &iteration));
	SHOW(cpg_iteration_initialize(handle, CPG_ITERATION_ONE_GROUP, NULL, &iteration));
	SHOW(cpg_iteration_initialize(handle, CPG_ITERATION_ALL, &group, NULL));
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ALL));
	SHOW(cpg_finalize(bad));
	SHOW(cpg_fd_get(bad, &fd));
	SHOW(cpg_context_get(bad, &pointer));
	SHOW(cpg_context_set(bad, NULL));
	SHOW(cpg_dispatch(bad, CS_DISPATCH_ALL));
	SHOW(cpg_join(bad, &group));
	SHOW(cpg_leave(bad, &group));
	SHOW(cpg_mcast_joined(bad, CPG_TYPE_AGREED, &part, 1));
	SHOW(cpg_membership_get(bad, &group, members, &count));
	SHOW(cpg_local_get(bad, &number));
	SHOW(cpg_flow_control_state_get(bad, &state));
	SHOW(cpg_max_atomic_msgsize_get(bad, &number));
	SHOW(cpg_zcb_alloc(bad, 100, &pointer));
	SHOW(cpg_zcb_free(bad, long_message + 4096));
	SHOW(cpg_zcb_mcast_joined(bad, CPG_TYPE_AGREED, long_message + 4096, 1));
	SHOW(cpg_iteration_initialize(bad, CPG_ITERATION_ALL, NULL, &iteration));
	SHOW(cpg_iteration_next(bad, &(struct cpg_iteration_description_t){ 0 }));
	SHOW(cpg_iteration_finalize(bad));
}

static void not_joined(cpg_handle_t handle)
{
	struct iovec part = { "x", 1 }, large = { long_message, LONG_SIZE };
	void *buffer = NULL;

	printf("== sending without having joined\n");
	SHOW(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1));
	SHOW(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &large, 1));
	SHOW(cpg_zcb_alloc(handle, 100, &buffer));
	SHOW(cpg_zcb_mcast_joined(handle, CPG_TYPE_AGREED, buffer, 100));
	SHOW(cpg_zcb_free(handle, buffer));
}

static void join_twice(cpg_handle_t handle, cpg_handle_t watcher, const char *text)
{
	struct cpg_name group = named(text), other = named("another");

	printf("== join\n");
	SHOW_PATIENTLY(cpg_join(handle, &group));
	await(handle, RING, 1);
	SHOW(cpg_join(handle, &group));
	SHOW(cpg_join(handle, &other));
	SHOW(cpg_join(watcher, &group));
	SHOW(cpg_leave(watcher, &group));
}

static void flow(cpg_handle_t handle)
{
	cpg_flow_control_state_t state = 77;
	uint32_t size = 0;

	SHOW(cpg_flow_control_state_get(handle, &state));
	printf("flow control: %d\n", state);
	SHOW(cpg_max_atomic_msgsize_get(handle, &size));
	printf("largest atomic message: %u\n", size);
}

static void send_sizes(cpg_handle_t handle)
{
	static const size_t sizes[] = { 0, 1, 2, 3, 64, 1400, 1401, 65535, 65536, 100000, ATOMIC_MAX - 1, ATOMIC_MAX };

	printf("== sizes\n");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct iovec part = { long_message, sizes[i] };

		printf("%zu: ", sizes[i]);
		SHOW_PATIENTLY(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1));
		await(handle, DELIVERY, 1);
	}
}

static void send_all_ways(cpg_handle_t handle)
{
	struct iovec parts[5] = { { "one ", 4 }, { "", 0 }, { "two ", 4 }, { long_message, 3000 }, { "end", 3 } };

	printf("== guarantees and parts\n");
	for (int guarantee = CPG_TYPE_UNORDERED; guarantee <= CPG_TYPE_SAFE; guarantee++) {
		printf("guarantee %d: ", guarantee);
		SHOW_PATIENTLY(mcast(handle, guarantee, "with a guarantee"));
		await(handle, DELIVERY, 1);
	}
	SHOW(cpg_mcast_joined(handle, 99, parts, 1));
	await(handle, DELIVERY, 1);
	for (unsigned count = 0; count <= 5; count++) {
		printf("%u parts: ", count);
		SHOW_PATIENTLY(cpg_mcast_joined(handle, CPG_TYPE_FIFO, parts, count));
		await(handle, DELIVERY, 1);
	}
}

static void send_long(cpg_handle_t handle)
{
	struct iovec whole = { long_message, LONG_SIZE };
	struct iovec parts[3] = { { long_message, 700000 }, { long_message + 700000, 1500000 },
				  { long_message + 2200000, 300000 } };

	printf("== longer than one request\n");
	SHOW_PATIENTLY(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &whole, 1));
	await(handle, DELIVERY, 1);
	SHOW_PATIENTLY(cpg_mcast_joined(handle, CPG_TYPE_AGREED, parts, 3));
	await(handle, DELIVERY, 1);
	whole.iov_len = ATOMIC_MAX + 1;
	SHOW_PATIENTLY(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &whole, 1));
	await(handle, DELIVERY, 1);
}

static void send_zero_copy(cpg_handle_t handle)
{
	void *one = NULL, *two = NULL;

	printf("== zero copy\n");
	SHOW(cpg_zcb_alloc(handle, 1000, &one));
	SHOW(cpg_zcb_alloc(handle, 500000, &two));
	memset(one, 'z', 1000);
	memcpy(two, long_message, 500000);
	SHOW_PATIENTLY(cpg_zcb_mcast_joined(handle, CPG_TYPE_AGREED, one, 1000));
	await(handle, DELIVERY, 1);
	SHOW_PATIENTLY(cpg_zcb_mcast_joined(handle, CPG_TYPE_SAFE, two, 500000));
	await(handle, DELIVERY, 1);
	SHOW_PATIENTLY(cpg_zcb_mcast_joined(handle, CPG_TYPE_AGREED, one, 10));
	await(handle, DELIVERY, 1);
	SHOW(cpg_zcb_mcast_joined(handle, CPG_TYPE_AGREED, one, 2000000));
	SHOW(cpg_zcb_free(handle, one));
	SHOW(cpg_zcb_free(handle, two));
}

static void dispatch_each_way(cpg_handle_t handle)
{
	unsigned long before;

	printf("== dispatch\n");
	for (int i = 0; i < 3; i++)
		SHOW_PATIENTLY(mcast(handle, CPG_TYPE_AGREED, "to be dispatched"));
	before = seen[DELIVERY];
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ONE));
	printf("%lu\n", seen[DELIVERY] - before);
	await(handle, DELIVERY, 2);
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ALL));
	SHOW_PATIENTLY(mcast(handle, CPG_TYPE_AGREED, "all of it"));
	for (long end = milliseconds() + PATIENCE_MS; seen[DELIVERY] < before + 4 && milliseconds() < end;) {
		cs_error_t error = cpg_dispatch(handle, CS_DISPATCH_ALL);

		if (error != CS_OK)
			fail(error_name(error));
	}
	printf("%lu\n", seen[DELIVERY] - before);
}

static void finalize_in_callback(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid,
				 void *message, size_t size)
{
	deliver(handle, group, nodeid, pid, message, size);
	SHOW(cpg_finalize(handle));
}

static void dispatch_until_finalized(void)
{
	cpg_model_v1_data_t model = { CPG_MODEL_V1, finalize_in_callback, change, NULL, 0 };
	struct cpg_name group = named("to be finalized");
	cpg_handle_t handle;

	printf("== blocking dispatch, ended by finalize\n");
	SHOW(cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL));
	SHOW_PATIENTLY(cpg_join(handle, &group));
	SHOW_PATIENTLY(mcast(handle, CPG_TYPE_AGREED, "the end"));
	SHOW(cpg_dispatch(handle, CS_DISPATCH_BLOCKING));
	SHOW(cpg_finalize(handle));
}

/* What a child does to the group of its parent. */
static pid_t child(const char *text, int dies)
{
	int from_child[2], to_child[2];
	struct cpg_name group = named(text);
	cpg_handle_t handle;
	char byte;
	pid_t pid;

	fflush(stdout);
	if (pipe(from_child) != 0 || pipe(to_child) != 0 || (pid = fork()) < 0)
		fail("no child");
	if (pid > 0)
		return pid;
	/* The library is used for the first time in this process only now: nothing is shared. */
	if (cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&without_ring, NULL) != CS_OK)
		_exit(9);
	PATIENTLY(cpg_join(handle, &group));
	PATIENTLY(mcast(handle, CPG_TYPE_AGREED, "from a child"));
	if (dies) {
		/* Until the parent kills it. */
		(void)!read(to_child[0], &byte, 1);
		_exit(9);
	}
	PATIENTLY(cpg_leave(handle, &group));
	cpg_finalize(handle);
	_exit(0);
}

static void other_processes(cpg_handle_t handle, const char *text)
{
	pid_t pid;

	printf("== another process joins, sends, leaves\n");
	pid = child(text, 0);
	await(handle, CHANGE, 2);
	waitpid(pid, NULL, 0);
	printf("== another process joins, sends, is killed\n");
	pid = child(text, 1);
	await(handle, DELIVERY, 1);
	membership(handle, text);
	iterate(handle, CPG_ITERATION_NAME_ONLY, NULL);
	iterate(handle, CPG_ITERATION_ONE_GROUP, text);
	iterate(handle, CPG_ITERATION_ONE_GROUP, "nobody");
	iterate(handle, CPG_ITERATION_ALL, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	await(handle, CHANGE, 1);
	membership(handle, text);
}

static void second_group(cpg_handle_t watcher)
{
	char longest[CPG_MAX_NAME_LENGTH + 1];
	struct cpg_name group;
	cpg_iteration_handle_t iteration;

	printf("== a second group with the longest name\n");
	memset(longest, 'n', CPG_MAX_NAME_LENGTH);
	longest[CPG_MAX_NAME_LENGTH] = '\0';
	group = named(longest);
	SHOW_PATIENTLY(cpg_join(watcher, &group));
	await(watcher, CHANGE, 1);
	membership(watcher, longest);
	SHOW_PATIENTLY(mcast(watcher, CPG_TYPE_AGREED, "in the second group"));
	await(watcher, DELIVERY, 1);
	iterate(watcher, CPG_ITERATION_NAME_ONLY, NULL);
	iterate(watcher, CPG_ITERATION_ALL, NULL);
	printf("an iteration that is left open\n");
	SHOW(cpg_iteration_initialize(watcher, CPG_ITERATION_ALL, NULL, &iteration));
	SHOW(cpg_finalize(watcher));
	SHOW(cpg_finalize(watcher));
}

static int alone(void)
{
	const char *text = "conformance";
	struct cpg_name group = named(text);
	cpg_handle_t handle, watcher;

	open_handles(&handle, &watcher);
	flow(handle);
	membership(handle, "nobody");
	iterate(handle, CPG_ITERATION_NAME_ONLY, NULL);
	wrong_arguments(handle);
	not_joined(handle);
	join_twice(handle, watcher, text);
	membership(handle, text);
	send_all_ways(handle);
	send_sizes(handle);
	send_long(handle);
	send_zero_copy(handle);
	dispatch_each_way(handle);
	flow(handle);
	other_processes(handle, text);
	second_group(watcher);
	dispatch_until_finalized();
	printf("== leave\n");
	SHOW_PATIENTLY(cpg_leave(handle, &group));
	await(handle, CHANGE, 1);
	SHOW(cpg_leave(handle, &group));
	membership(handle, text);
	SHOW(cpg_finalize(handle));
	SHOW(cpg_finalize(handle));
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ALL));
	printf("== end\n");
	return 0;
}

static void say(cpg_handle_t handle, const char *text)
{
	cs_error_t error = PATIENTLY(mcast(handle, CPG_TYPE_AGREED, text));

	if (error != CS_OK)
		fail(error_name(error));
}

/* Until that very text was delivered. */
static void hear(cpg_handle_t handle, const char *text)
{
	do
		await(handle, DELIVERY, 1);
	while (strcmp(last_text, text) != 0);
}

static int conversation(const char *text, int first)
{
	struct cpg_name group = named(text);
	struct iovec long_part = { long_message, LONG_SIZE };
	cpg_handle_t handle;
	unsigned int nodeid = 0;

	SHOW_PATIENTLY(cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&with_ring, NULL));
	SHOW(cpg_local_get(handle, &nodeid));
	own_nodeid = nodeid;
	SHOW_PATIENTLY(cpg_join(handle, &group));
	await(handle, CHANGE, 1);
	if (first) {
		/* Tells the test that the other may start. */
		printf("waiting\n");
		fflush(stdout);
		await(handle, CHANGE, 1);
		membership(handle, text);
		say(handle, "hello second");
		hear(handle, "hello first");
		SHOW_PATIENTLY(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &long_part, 1));
		await(handle, DELIVERY, 1);
		iterate(handle, CPG_ITERATION_ALL, NULL);
		say(handle, "leave now");
		await(handle, CHANGE, 1);
	} else {
		hear(handle, "hello second");
		membership(handle, text);
		say(handle, "hello first");
		hear(handle, "leave now");
		SHOW_PATIENTLY(cpg_leave(handle, &group));
		await(handle, CHANGE, 1);
	}
	SHOW(cpg_finalize(handle));
	printf("== end\n");
	return 0;
}

static int orphan(void)
{
	struct cpg_name group = named("orphan");
	struct pollfd watched = { .events = POLLIN };
	struct iovec part = { "x", 1 };
	cpg_handle_t handle;
	cs_error_t error;

	SHOW_PATIENTLY(cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&with_ring, NULL));
	own_nodeid = 1;
	SHOW_PATIENTLY(cpg_join(handle, &group));
	await(handle, RING, 1);
	printf("waiting\n");
	if (cpg_fd_get(handle, &watched.fd) != CS_OK)
		fail("no descriptor to wait for");
	for (long end = milliseconds() + PATIENCE_MS;;) {
		if (poll(&watched, 1, 100) > 0 && (watched.revents & POLLHUP))
			break;
		if (milliseconds() > end)
			fail("the executive does not end");
		error = cpg_dispatch(handle, CS_DISPATCH_ALL);
		if (error != CS_OK)
			break;
	}
	SHOW(cpg_dispatch(handle, CS_DISPATCH_ALL));
	SHOW(cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1));
	SHOW(cpg_leave(handle, &group));
	membership(handle, "orphan");
	SHOW(cpg_finalize(handle));
	SHOW(cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&with_ring, NULL));
	printf("== end\n");
	return 0;
}

int main(int count, char **arguments)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	own_pid = getpid();
	for (size_t i = 0; i < LONG_SIZE; i++)
		long_message[i] = (unsigned char)(i * 2654435761u >> 13);
	if (count == 2 && strcmp(arguments[1], "alone") == 0)
		return alone();
	if (count == 2 && strcmp(arguments[1], "orphan") == 0)
		return orphan();
	if (count == 3 && strcmp(arguments[1], "first") == 0)
		return conversation(arguments[2], 1);
	if (count == 3 && strcmp(arguments[1], "second") == 0)
		return conversation(arguments[2], 0);
	fprintf(stderr, "usage: cpg_conformance alone | orphan | first GROUP | second GROUP\n");
	return 2;
}
