/*
 * Goes through the whole of <corosync/quorum.h> and prints what every call answered and every callback
 * brought, so that the output against two executives can be compared byte for byte:
 *
 *     quorum_conformance alone     all of it, on a node whose ring does not change meanwhile
 *     quorum_conformance watch     prints the views as they come until SIGTERM, the same one only once
 *     quorum_conformance orphan    prints `waiting` and goes on when the executive has ended
 *
 * Ring numbers, handles and descriptors differ from run to run and are not printed.
 * Libraries: quorum
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <corosync/quorum.h>

#include "quorum_changes.h"

#define QUIET_MS 150

static uint64_t ring_seq;

static size_t add_list(char *line, size_t at, const char *name, uint32_t count, const uint32_t *list)
{
	at += (size_t)sprintf(line + at, " %s=[", name);
	for (uint32_t i = 0; i < count; i++)
		at += (size_t)sprintf(line + at, "%s%u", i ? " " : "", list[i]);
	return at + (size_t)sprintf(line + at, "]");
}

static const char *ring(uint64_t seq)
{
	if (seq == 0)
		return "none";
	if (ring_seq == 0)
		ring_seq = seq;
	return seq == ring_seq ? "first" : seq > ring_seq ? "later" : "EARLIER";
}

static void quorum_v0(quorum_handle_t handle, uint32_t quorate, uint64_t seq, uint32_t count, uint32_t *list)
{
	char line[LINE_MAX_BYTES];
	size_t at = (size_t)sprintf(line, "  model 0: quorate=%u ring=%s", quorate, ring(seq));

	(void)handle;
	add_list(line, at, "view", count, list);
	say(0, line);
}

static void quorum_v1(quorum_handle_t handle, uint32_t quorate, struct quorum_ring_id id, uint32_t count,
		      const uint32_t *list)
{
	char line[LINE_MAX_BYTES];
	size_t at = (size_t)sprintf(line, "  model 1: quorate=%u ring=%u.%s", quorate, id.nodeid, ring(id.seq));

	(void)handle;
	add_list(line, at, "members", count, list);
	say(1, line);
}

static void nodelist_v1(quorum_handle_t handle, struct quorum_ring_id id, uint32_t member_count,
			const uint32_t *members, uint32_t joined_count, const uint32_t *joined,
			uint32_t left_count, const uint32_t *left)
{
	char line[LINE_MAX_BYTES];
	size_t at = (size_t)sprintf(line, "  nodes: ring=%u.%s", id.nodeid, ring(id.seq));

	(void)handle;
	at = add_list(line, at, "members", member_count, members);
	at = add_list(line, at, "joined", joined_count, joined);
	add_list(line, at, "left", left_count, left);
	say(2, line);
}

static int readable(quorum_handle_t handle, int timeout)
{
	return comes(quorum_fd_get, handle, timeout);
}

static void settle(quorum_handle_t handle)
{
	while (readable(handle, QUIET_MS))
		if (quorum_dispatch(handle, CS_DISPATCH_ALL) != CS_OK)
			break;
}

static void print_quorate(quorum_handle_t handle)
{
	int quorate = -1;
	cs_error_t error = quorum_getquorate(handle, &quorate);

	printf("getquorate: %d %d\n", error, quorate);
}

static void tracks(quorum_handle_t handle)
{
	static const unsigned flags[] = {0, CS_TRACK_CURRENT, CS_TRACK_CHANGES_ONLY, CS_TRACK_CHANGES,
					 CS_TRACK_CURRENT | CS_TRACK_CHANGES, 8, 0xffffffff};

	print_error("trackstop without track", quorum_trackstop(handle));
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		printf("track %u\n", flags[i]);
		print_error(" trackstart", quorum_trackstart(handle, flags[i]));
		print_error(" dispatch", quorum_dispatch(handle, CS_DISPATCH_ALL));
		print_error(" again", quorum_trackstart(handle, flags[i]));
		print_error(" dispatch", quorum_dispatch(handle, CS_DISPATCH_ALL));
		print_error(" trackstop", quorum_trackstop(handle));
	}
}

static void dispatches(quorum_handle_t handle)
{
	print_error("nothing there, nonblocking", quorum_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	print_error("nothing there, all", quorum_dispatch(handle, CS_DISPATCH_ALL));
	print_error("no such way", quorum_dispatch(handle, 77));
	quorum_trackstart(handle, CS_TRACK_CURRENT);
	print_error("one", quorum_dispatch(handle, CS_DISPATCH_ONE));
	quorum_trackstart(handle, CS_TRACK_CURRENT);
	readable(handle, PATIENCE_MS);
	print_error("one, nonblocking", quorum_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING));
	settle(handle);
}

static void contexts(quorum_handle_t handle)
{
	const void *context = NULL;

	print_error("context_set", quorum_context_set(handle, &ring_seq));
	print_error("context_get", quorum_context_get(handle, &context));
	printf("context is %s\n", context == &ring_seq ? "ours" : "another");
}

static void bad_handles(quorum_handle_t handle)
{
	const void *context;
	int number;

	print_error("finalize", quorum_finalize(handle));
	print_error("finalize again", quorum_finalize(handle));
	print_error("getquorate", quorum_getquorate(handle, &number));
	print_error("fd_get", quorum_fd_get(handle, &number));
	print_error("context_get", quorum_context_get(handle, &context));
	print_error("context_set", quorum_context_set(handle, NULL));
	print_error("trackstart", quorum_trackstart(handle, CS_TRACK_CURRENT));
	print_error("trackstop", quorum_trackstop(handle));
	print_error("dispatch", quorum_dispatch(handle, CS_DISPATCH_ALL));
}

static void whole_model(quorum_handle_t handle, const char *name)
{
	printf("== %s\n", name);
	print_quorate(handle);
	tracks(handle);
	dispatches(handle);
	contexts(handle);
	bad_handles(handle);
}

static quorum_model_v0_data_t v0 = {QUORUM_MODEL_V0, quorum_v0};
static quorum_model_v1_data_t v1 = {QUORUM_MODEL_V1, quorum_v1, nodelist_v1};
static quorum_model_v1_data_t deaf = {QUORUM_MODEL_V1, NULL, NULL};

static quorum_handle_t opened(quorum_model_t model, void *data)
{
	quorum_handle_t handle = 0;
	uint32_t type = 99;
	const void *context = NULL;
	cs_error_t error = quorum_model_initialize(&handle, model, data, &type, &v0);

	printf("model %d: %d type %u\n", model, error, type);
	if (error == CS_OK && quorum_context_get(handle, &context) == CS_OK)
		printf("context is %s\n", context == &v0 ? "ours" : "another");
	return handle;
}

static void alone(void)
{
	quorum_callbacks_t callbacks = {quorum_v0};
	quorum_handle_t handle = 0;
	uint32_t type = 99;

	print_error("initialize", quorum_initialize(&handle, &callbacks, &type));
	printf("type %u\n", type);
	whole_model(handle, "initialize");
	print_error("initialize without callbacks", quorum_initialize(&handle, NULL, &type));
	whole_model(handle, "without callbacks");
	whole_model(opened(QUORUM_MODEL_V0, &v0), "model 0");
	whole_model(opened(QUORUM_MODEL_V1, &v1), "model 1");
	whole_model(opened(QUORUM_MODEL_V1, &deaf), "model 1 without callbacks");
	whole_model(opened(QUORUM_MODEL_V1, NULL), "model 1 without data");
	opened(7, &v1);
}

static void watch(void)
{
	quorum_handle_t handles[] = {opened(QUORUM_MODEL_V0, &v0), opened(QUORUM_MODEL_V1, &v1)};

	watch_until_stopped();
	for (int i = 0; i < 2; i++)
		print_error("trackstart", quorum_trackstart(handles[i], CS_TRACK_CURRENT | CS_TRACK_CHANGES));
	print_waiting();
	while (!stopped) {
		struct pollfd wait[2] = {{.events = POLLIN}, {.events = POLLIN}};

		for (int i = 0; i < 2; i++)
			quorum_fd_get(handles[i], &wait[i].fd);
		if (poll(wait, 2, PATIENCE_MS) > 0)
			for (int i = 0; i < 2; i++)
				if (wait[i].revents)
					quorum_dispatch(handles[i], CS_DISPATCH_ALL);
	}
	for (int i = 0; i < 2; i++)
		print_error("finalize", quorum_finalize(handles[i]));
}

static void orphan(void)
{
	quorum_handle_t handle = opened(QUORUM_MODEL_V1, &v1);
	int quorate;

	quorum_trackstart(handle, CS_TRACK_CHANGES_ONLY);
	print_waiting();
	readable(handle, PATIENCE_MS);
	print_error("dispatch", quorum_dispatch(handle, CS_DISPATCH_ALL));
	print_error("getquorate", quorum_getquorate(handle, &quorate));
	print_error("trackstop", quorum_trackstop(handle));
	print_error("finalize", quorum_finalize(handle));
	print_error("initialize", quorum_model_initialize(&handle, QUORUM_MODEL_V1, (void *)&v1, NULL, NULL));
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";

	if (strcmp(mode, "alone") == 0)
		alone();
	else if (strcmp(mode, "watch") == 0)
		watch();
	else if (strcmp(mode, "orphan") == 0)
		orphan();
	else
		return 2;
	puts("== end");
	return 0;
}
