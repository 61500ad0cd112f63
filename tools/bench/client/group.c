#include "group.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define TRIES 1000
#define PAUSE_MS 20
#define EXIT_LOST 3

static cpg_handle_t handle;
static group_deliver_fn on_deliver;
static group_change_fn on_change;

static const char *explain(cs_error_t error)
{
	switch (error) {
	case CS_ERR_LIBRARY:
		return "no executive runs on this machine, or it has ended";
	case CS_ERR_ACCESS:
		return "not allowed: be root, or named in uidgid{} of corosync.conf";
	case CS_ERR_TRY_AGAIN:
		return "the executive is not ready";
	default:
		return "see cs_error_t in corosync/corotypes.h";
	}
}

static void check(cs_error_t error, const char *what)
{
	if (error == CS_OK)
		return;
	printf("{\"event\": \"error\", \"text\": \"%s: error %d: %s\"}\n", what, error, explain(error));
	exit(EXIT_LOST);
}

static void deliver(cpg_handle_t of, const struct cpg_name *group, uint32_t nodeid, uint32_t pid, void *message,
		    size_t size)
{
	(void)of, (void)group;
	on_deliver(nodeid, pid, message, size);
}

static void change(cpg_handle_t of, const struct cpg_name *group, const struct cpg_address *members, size_t count,
		   const struct cpg_address *left, size_t left_count, const struct cpg_address *joined,
		   size_t joined_count)
{
	(void)of, (void)group, (void)left, (void)left_count, (void)joined, (void)joined_count;
	on_change(members, count);
}

void group_join(const char *name, group_deliver_fn deliver_fn, group_change_fn change_fn)
{
	cpg_callbacks_t callbacks = { deliver, change };
	struct cpg_name group = { .length = strlen(name) };
	cs_error_t error = CS_ERR_TRY_AGAIN;

	on_deliver = deliver_fn;
	on_change = change_fn;
	check(group.length > CPG_MAX_NAME_LENGTH ? CS_ERR_NAME_TOO_LONG : CS_OK, "name of the group");
	memcpy(group.value, name, group.length);
	for (int i = 0; i < TRIES && (error = cpg_initialize(&handle, &callbacks)) == CS_ERR_TRY_AGAIN; i++)
		poll(NULL, 0, PAUSE_MS);
	check(error, "cpg_initialize");
	for (int i = 0; i < TRIES && (error = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN; i++)
		poll(NULL, 0, PAUSE_MS);
	check(error, "cpg_join");
}

int group_fd(void)
{
	int fd = -1;

	check(cpg_fd_get(handle, &fd), "cpg_fd_get");
	return fd;
}

uint32_t group_nodeid(void)
{
	unsigned int nodeid = 0;

	check(cpg_local_get(handle, &nodeid), "cpg_local_get");
	return nodeid;
}

void group_dispatch(void)
{
	cs_error_t error = cpg_dispatch(handle, CS_DISPATCH_ALL);

	if (error != CS_ERR_TRY_AGAIN)
		check(error, "cpg_dispatch");
}

int group_send(struct head *head, const void *body)
{
	struct iovec parts[2] = { { head, sizeof *head }, { (void *)body, head->size - sizeof *head } };
	cs_error_t error;

	head->magic = BENCH_MAGIC;
	head->check = head_check(head);
	error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, parts, parts[1].iov_len ? 2 : 1);
	if (error == CS_ERR_TRY_AGAIN)
		return 0;
	check(error, "cpg_mcast_joined");
	return 1;
}

void group_leave(void)
{
	cpg_finalize(handle);
}
