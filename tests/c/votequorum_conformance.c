/*
 * Goes through the whole of <corosync/votequorum.h> and prints what every call answered and every
 * callback brought, so that the output against two executives can be compared byte for byte:
 *
 *     votequorum_conformance alone           all of it, on a node in a ring of its own
 *     votequorum_conformance device          a quorum device's life on such a node
 *     votequorum_conformance pair            orders that concern both nodes of a ring
 *     votequorum_conformance state N         what is known of nodes 0 to N
 *     votequorum_conformance watch           prints changes as they come until SIGTERM
 *     votequorum_conformance poll NAME       a quorum device that votes until SIGTERM
 *     votequorum_conformance absent          where there is no such service
 *     votequorum_conformance orphan          prints `waiting` and goes on when the executive has ended
 *
 * Ring numbers, handles and descriptors differ from run to run and are not printed.
 * Libraries: votequorum
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <corosync/votequorum.h>

#include "quorum_changes.h"

#define QUIET_MS 80
#define POLL_MS 100
#define CONTEXT 0x1122334455667788u

static votequorum_ring_id_t ring_id;

static void on_quorum(votequorum_handle_t handle, uint64_t context, uint32_t quorate, uint32_t count,
		      votequorum_node_t nodes[])
{
	char line[LINE_MAX_BYTES];
	size_t at = (size_t)sprintf(line, "  quorum: context=%llx quorate=%u", (unsigned long long)context, quorate);

	(void)handle;
	for (uint32_t i = 0; i < count; i++)
		at += (size_t)sprintf(line + at, " %u/%u", nodes[i].nodeid, nodes[i].state);
	say(0, line);
}

static void on_expected(votequorum_handle_t handle, uint64_t context, uint32_t votes)
{
	char line[LINE_MAX_BYTES];

	(void)handle;
	sprintf(line, "  expected: context=%llx votes=%u", (unsigned long long)context, votes);
	say(1, line);
}

static void on_nodes(votequorum_handle_t handle, uint64_t context, votequorum_ring_id_t id, uint32_t count,
		     uint32_t nodes[])
{
	char line[LINE_MAX_BYTES];
	size_t at = (size_t)sprintf(line, "  nodes: context=%llx ring of %u:", (unsigned long long)context, id.nodeid);

	(void)handle;
	ring_id = id;
	for (uint32_t i = 0; i < count; i++)
		at += (size_t)sprintf(line + at, " %u", nodes[i]);
	say(2, line);
}

static votequorum_callbacks_t callbacks = {on_quorum, on_expected, on_nodes};

static int readable(votequorum_handle_t handle, int timeout)
{
	return comes(votequorum_fd_get, handle, timeout);
}

static void settle(votequorum_handle_t handle)
{
	while (readable(handle, QUIET_MS))
		if (votequorum_dispatch(handle, CS_DISPATCH_ALL) != CS_OK)
			break;
}

static void info(votequorum_handle_t handle, unsigned nodeid)
{
	struct votequorum_info it;
	cs_error_t error = votequorum_getinfo(handle, nodeid, &it);

	printf(" info of %u: %d", nodeid, error);
	if (error == CS_OK)
		printf(" node=%u state=%u votes=%u expected=%u highest=%u total=%u quorum=%u flags=%u device=%u '%s'",
		       it.node_id, it.node_state, it.node_votes, it.node_expected_votes, it.highest_expected,
		       it.total_votes, it.quorum, it.flags, it.qdevice_votes, it.qdevice_name);
	puts("");
	fflush(stdout);
}

static votequorum_handle_t opened(votequorum_callbacks_t *with)
{
	votequorum_handle_t handle = 0;

	print_error("initialize", votequorum_initialize(&handle, with));
	return handle;
}

static void tracks(votequorum_handle_t handle)
{
	static const unsigned flags[] = {0, CS_TRACK_CURRENT, CS_TRACK_CHANGES_ONLY, CS_TRACK_CHANGES,
					 CS_TRACK_CURRENT | CS_TRACK_CHANGES, 8, 0xffffffff};

	print_error("trackstop without track", votequorum_trackstop(handle));
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		printf("track %u\n", flags[i]);
		print_error(" trackstart", votequorum_trackstart(handle, CONTEXT + i, flags[i]));
		print_error(" dispatch", votequorum_dispatch(handle, CS_DISPATCH_ALL));
		print_error(" again", votequorum_trackstart(handle, 7, flags[i]));
		print_error(" dispatch", votequorum_dispatch(handle, CS_DISPATCH_ALL));
		print_error(" trackstop", votequorum_trackstop(handle));
	}
}

static void dispatches(votequorum_handle_t handle)
{
	print_error("nothing there, nonblocking", votequorum_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	print_error("nothing there, all", votequorum_dispatch(handle, CS_DISPATCH_ALL));
	print_error("no such way", votequorum_dispatch(handle, 77));
	votequorum_trackstart(handle, 5, CS_TRACK_CURRENT);
	print_error("one", votequorum_dispatch(handle, CS_DISPATCH_ONE));
	print_error("the rest", votequorum_dispatch(handle, CS_DISPATCH_ALL));
}

/* Everything that changes votes, with a track that sees it. */
static void orders(votequorum_handle_t handle, const unsigned *expected, size_t expected_count,
		   const unsigned (*votes)[2], size_t votes_count)
{
	print_error("trackstart", votequorum_trackstart(handle, 1, CS_TRACK_CURRENT | CS_TRACK_CHANGES));
	settle(handle);
	for (size_t i = 0; i < expected_count; i++) {
		printf("setexpected %u: %d\n", expected[i], votequorum_setexpected(handle, expected[i]));
		settle(handle);
		info(handle, 0);
	}
	for (size_t i = 0; i < votes_count; i++) {
		printf("setvotes of %u to %u: %d\n", votes[i][0], votes[i][1],
		       votequorum_setvotes(handle, votes[i][0], votes[i][1]));
		settle(handle);
		info(handle, votes[i][0]);
	}
	print_error("trackstop", votequorum_trackstop(handle));
}

static void bad_handles(votequorum_handle_t handle)
{
	struct votequorum_info it;
	void *context;
	int number;

	print_error("finalize", votequorum_finalize(handle));
	print_error("finalize again", votequorum_finalize(handle));
	print_error("getinfo", votequorum_getinfo(handle, 1, &it));
	print_error("setexpected", votequorum_setexpected(handle, 1));
	print_error("setvotes", votequorum_setvotes(handle, 1, 1));
	print_error("trackstart", votequorum_trackstart(handle, 0, CS_TRACK_CURRENT));
	print_error("trackstop", votequorum_trackstop(handle));
	print_error("fd_get", votequorum_fd_get(handle, &number));
	print_error("context_get", votequorum_context_get(handle, &context));
	print_error("context_set", votequorum_context_set(handle, NULL));
	print_error("dispatch", votequorum_dispatch(handle, CS_DISPATCH_ALL));
	print_error("register", votequorum_qdevice_register(handle, "x"));
	print_error("unregister", votequorum_qdevice_unregister(handle, "x"));
	print_error("update", votequorum_qdevice_update(handle, "x", "y"));
	print_error("poll", votequorum_qdevice_poll(handle, "x", 1, ring_id));
	print_error("master_wins", votequorum_qdevice_master_wins(handle, "x", 1));
}

static void alone(void)
{
	static const unsigned expected[] = {0, 2, 3, 1, 4, 1};
	static const unsigned votes[][2] = {{1, 3}, {1, 0}, {1, 1}, {0, 5}, {0, 0}, {77, 1}, {1, 2}, {1, 1}};
	votequorum_handle_t handle = opened(&callbacks), silent = opened(NULL);
	void *context = NULL;

	for (unsigned nodeid = 0; nodeid < 3; nodeid++)
		info(handle, nodeid);
	info(handle, 0xffffffff);
	tracks(handle);
	tracks(silent);
	dispatches(handle);
	orders(handle, expected, sizeof expected / sizeof *expected, votes, sizeof votes / sizeof *votes);
	print_error("context_set", votequorum_context_set(handle, &ring_id));
	print_error("context_get", votequorum_context_get(handle, &context));
	printf("context is %s\n", context == &ring_id ? "ours" : "another");
	bad_handles(handle);
	print_error("finalize", votequorum_finalize(silent));
}

static void poll_as(votequorum_handle_t handle, const char *name, unsigned vote, votequorum_ring_id_t id)
{
	printf("poll as %s with %u: %d\n", name, vote, votequorum_qdevice_poll(handle, name, vote, id));
	settle(handle);
	info(handle, 0);
}

static void device(void)
{
	char long_name[300];
	votequorum_handle_t handle = opened(&callbacks), second = opened(&callbacks);
	votequorum_ring_id_t wrong;

	memset(long_name, 'x', sizeof long_name);
	long_name[255] = 0;
	print_error("trackstart", votequorum_trackstart(handle, 1, CS_TRACK_CURRENT | CS_TRACK_CHANGES));
	settle(handle);
	wrong = ring_id;
	wrong.seq++;
	info(handle, 0);
	puts("== not registered");
	poll_as(handle, "one", 1, ring_id);
	print_error("master_wins", votequorum_qdevice_master_wins(handle, "one", 1));
	print_error("update", votequorum_qdevice_update(handle, "one", "two"));
	print_error("unregister", votequorum_qdevice_unregister(handle, "one"));
	puts("== names");
	print_error("empty", votequorum_qdevice_register(handle, ""));
	print_error("long", votequorum_qdevice_register(handle, long_name));
	print_error("update to empty", votequorum_qdevice_update(handle, "one", ""));
	puts("== registered");
	print_error("register", votequorum_qdevice_register(handle, "one"));
	settle(handle);
	info(handle, 0);
	print_error("again", votequorum_qdevice_register(handle, "one"));
	print_error("from elsewhere", votequorum_qdevice_register(second, "one"));
	print_error("another", votequorum_qdevice_register(second, "two"));
	poll_as(handle, "one", 1, wrong);
	poll_as(handle, "two", 1, ring_id);
	poll_as(handle, "one", 0, ring_id);
	poll_as(handle, "one", 1, ring_id);
	poll_as(handle, "one", 1, ring_id);
	print_error("master_wins of another", votequorum_qdevice_master_wins(handle, "two", 1));
	print_error("master_wins", votequorum_qdevice_master_wins(handle, "one", 1));
	settle(handle);
	info(handle, 0);
	print_error("master_wins not", votequorum_qdevice_master_wins(handle, "one", 0));
	settle(handle);
	info(handle, 0);
	puts("== renamed");
	print_error("update of another", votequorum_qdevice_update(handle, "two", "three"));
	print_error("update", votequorum_qdevice_update(handle, "one", "three"));
	settle(handle);
	info(handle, 0);
	poll_as(handle, "one", 1, ring_id);
	poll_as(handle, "three", 1, ring_id);
	puts("== silent");
	for (int i = 0; i < 50 && (readable(handle, POLL_MS) == 0); i++)
		;
	settle(handle);
	info(handle, 0);
	poll_as(handle, "three", 1, ring_id);
	puts("== unregistered");
	print_error("unregister another", votequorum_qdevice_unregister(handle, "one"));
	print_error("unregister", votequorum_qdevice_unregister(handle, "three"));
	settle(handle);
	info(handle, 0);
	print_error("register another", votequorum_qdevice_register(second, "four"));
	settle(handle);
	info(handle, 0);
	print_error("its owner goes", votequorum_finalize(second));
	print_error("unregister", votequorum_qdevice_unregister(handle, "four"));
	settle(handle);
	info(handle, 0);
	print_error("finalize", votequorum_finalize(handle));
}

static void pair(void)
{
	static const unsigned expected[] = {1, 3, 5, 2, 4, 2};
	static const unsigned votes[][2] = {{2, 3}, {1, 0}, {2, 1}, {1, 1}, {3, 1}, {2, 0}, {2, 1}};
	votequorum_handle_t handle = opened(&callbacks);

	for (unsigned nodeid = 0; nodeid < 4; nodeid++)
		info(handle, nodeid);
	orders(handle, expected, sizeof expected / sizeof *expected, votes, sizeof votes / sizeof *votes);
	print_error("finalize", votequorum_finalize(handle));
}

static void state(unsigned last)
{
	votequorum_handle_t handle;

	if (votequorum_initialize(&handle, NULL) != CS_OK)
		exit(1);
	for (unsigned nodeid = 0; nodeid <= last; nodeid++)
		info(handle, nodeid);
	votequorum_finalize(handle);
}

static void watch(void)
{
	votequorum_handle_t handle = opened(&callbacks);

	watch_until_stopped();
	print_error("trackstart", votequorum_trackstart(handle, CONTEXT, CS_TRACK_CURRENT | CS_TRACK_CHANGES));
	print_waiting();
	while (!stopped)
		if (readable(handle, POLL_MS))
			votequorum_dispatch(handle, CS_DISPATCH_ALL);
	print_error("finalize", votequorum_finalize(handle));
}

/* Asks for the ring before each poll, as the vote must be for the ring that there is. */
static void poll_on(const char *name)
{
	votequorum_handle_t handle = opened(&callbacks);

	watch_until_stopped();
	print_error("register", votequorum_qdevice_register(handle, name));
	print_error("trackstart", votequorum_trackstart(handle, 0, CS_TRACK_CURRENT | CS_TRACK_CHANGES));
	votequorum_dispatch(handle, CS_DISPATCH_ALL);
	print_waiting();
	while (!stopped) {
		if (votequorum_qdevice_poll(handle, name, 1, ring_id) != CS_OK && stopped)
			break;
		if (readable(handle, POLL_MS))
			votequorum_dispatch(handle, CS_DISPATCH_ALL);
	}
	print_error("unregister", votequorum_qdevice_unregister(handle, name));
	print_error("finalize", votequorum_finalize(handle));
}

static void orphan(void)
{
	votequorum_handle_t handle = opened(&callbacks);
	struct votequorum_info it;

	votequorum_trackstart(handle, 0, CS_TRACK_CHANGES_ONLY);
	print_waiting();
	readable(handle, PATIENCE_MS);
	print_error("dispatch", votequorum_dispatch(handle, CS_DISPATCH_ALL));
	print_error("getinfo", votequorum_getinfo(handle, 0, &it));
	print_error("setexpected", votequorum_setexpected(handle, 1));
	print_error("trackstop", votequorum_trackstop(handle));
	print_error("finalize", votequorum_finalize(handle));
	print_error("initialize", votequorum_initialize(&handle, &callbacks));
}

int main(int argc, char **argv)
{
	const char *mode = argc >= 2 ? argv[1] : "";

	if (strcmp(mode, "alone") == 0)
		alone();
	else if (strcmp(mode, "device") == 0)
		device();
	else if (strcmp(mode, "pair") == 0)
		pair();
	else if (strcmp(mode, "watch") == 0)
		watch();
	else if (strcmp(mode, "orphan") == 0)
		orphan();
	else if (strcmp(mode, "absent") == 0)
		opened(&callbacks);
	else if (strcmp(mode, "state") == 0 && argc == 3)
		state((unsigned)atoi(argv[2]));
	else if (strcmp(mode, "poll") == 0 && argc == 3)
		poll_on(argv[2]);
	else
		return 2;
	puts("== end");
	return 0;
}
