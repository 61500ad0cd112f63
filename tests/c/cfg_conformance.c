/*
 * Goes through the whole of <corosync/cfg.h> and prints what every call answered and every callback
 * brought, so that the output against two executives can be compared byte for byte:
 *
 *     cfg_conformance queries        calls that leave the node as it is; nodes 1 and 2 are in the ring
 *     cfg_conformance votes          shutdowns that the programs of the node do not agree to
 *     cfg_conformance plain          a shutdown when nobody tracks            } the executive
 *     cfg_conformance agreed         a shutdown that all trackers agree to    } ends
 *     cfg_conformance regardless     one that goes on against a no            }
 *     cfg_conformance immediate      one that nobody is asked about           }
 *     cfg_conformance kill           node 2 is killed
 *
 * Requesters of shutdowns are processes of their own, for the call blocks; what they print comes in its
 * turn, for the program waits for them.  Descriptors and handles are not printed.
 *
 * Libraries: cfg cmap
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <corosync/cfg.h>
#include <corosync/cmap.h>

#include "conformance.h"

#define SHORT_MS 300
#define ADDRESSES 8

static unsigned asked;

static void told(corosync_cfg_handle_t handle, corosync_cfg_shutdown_flags_t flags)
{
	(void)handle;
	asked++;
	printf("  asked to shut down, flags %d\n", flags);
}

static corosync_cfg_callbacks_t callbacks = { .corosync_cfg_shutdown_callback = told };

static corosync_cfg_handle_t connect_cfg(void)
{
	corosync_cfg_handle_t handle;

	if (PATIENTLY(corosync_cfg_initialize(&handle, &callbacks)) != CS_OK)
		fail("corosync_cfg_initialize");
	return handle;
}

/* Dispatch until `count` callbacks have come since the last call of forget(). */
static void expect(corosync_cfg_handle_t handle, unsigned count)
{
	while (asked < count) {
		if (!comes(corosync_cfg_fd_get, handle, PATIENCE_MS))
			fail("no callback");
		if (corosync_cfg_dispatch(handle, CS_DISPATCH_ALL) != CS_OK)
			fail("corosync_cfg_dispatch");
	}
}

static void forget(void)
{
	asked = 0;
}

static void expect_silence(corosync_cfg_handle_t handle, const char *who)
{
	printf("%s has nothing: %s\n", who, error_name(corosync_cfg_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING)));
}

/* A process that asks for a shutdown and prints the answer. */
struct requester {
	pid_t pid;
	int answer;
};

static struct requester request(corosync_cfg_shutdown_flags_t flags, int tracks)
{
	struct requester made;
	int pipes[2];

	fflush(stdout);
	if (pipe(pipes) != 0)
		fail("pipe");
	made.pid = fork();
	if (made.pid < 0)
		fail("fork");
	if (made.pid == 0) {
		corosync_cfg_handle_t handle = connect_cfg();
		char text[256];
		int size;
		cs_error_t error, decision;

		if (tracks && corosync_cfg_trackstart(handle, 0) != CS_OK)
			_exit(2);
		decision = corosync_cfg_try_shutdown(handle, flags);
		size = snprintf(text, sizeof text, "%s", error_name(decision));
		if (tracks) {
			/* The last word about a vote that took too long comes after the answer. */
			pause_ms(SHORT_MS);
			fflush(stdout);
			if (freopen("/dev/null", "w", stdout) == NULL)
				_exit(3);
			asked = 0;
			error = corosync_cfg_dispatch(handle, CS_DISPATCH_ALL);
			size = snprintf(text, sizeof text, "%s", error_name(decision));
			size += snprintf(text + size, sizeof text - size, ", dispatch %s, asked %u", error_name(error), asked);
		}
		if (write(pipes[1], text, size) != size)
			_exit(1);
		_exit(0);
	}
	close(pipes[1]);
	made.answer = pipes[0];
	return made;
}

static void answer(struct requester from)
{
	char text[256] = "";
	struct pollfd at = { .fd = from.answer, .events = POLLIN };
	ssize_t size;

	if (poll(&at, 1, PATIENCE_MS) != 1)
		fail("no answer to corosync_cfg_try_shutdown");
	size = read(from.answer, text, sizeof text - 1);
	close(from.answer);
	waitpid(from.pid, NULL, 0);
	printf("try_shutdown: %s\n", size > 0 ? text : "nothing");
}

static void reply(corosync_cfg_handle_t handle, int yes)
{
	cs_error_t error = corosync_cfg_replyto_shutdown(
		handle, yes ? COROSYNC_CFG_SHUTDOWN_FLAG_YES : COROSYNC_CFG_SHUTDOWN_FLAG_NO);

	printf("reply %s: %s\n", yes ? "yes" : "no", error_name(error));
}

static corosync_cfg_handle_t tracker(void)
{
	corosync_cfg_handle_t handle = connect_cfg();

	printf("trackstart: %s\n", error_name(corosync_cfg_trackstart(handle, 0)));
	return handle;
}

/* The library does not disconnect a handle that has replied once. */
static void done(corosync_cfg_handle_t handle)
{
	printf("trackstop: %s\n", error_name(corosync_cfg_trackstop(handle)));
	printf("finalize: %s\n", error_name(corosync_cfg_finalize(handle)));
}

static void shutdown_timeout(uint32_t milliseconds)
{
	cmap_handle_t map;

	if (cmap_initialize(&map) != CS_OK)
		fail("cmap_initialize");
	if (cmap_set_uint32(map, "cfg.shutdown_timeout", milliseconds) != CS_OK)
		fail("cmap_set_uint32");
	cmap_finalize(map);
}

static void print_node_status(corosync_cfg_handle_t handle, unsigned nodeid)
{
	struct corosync_cfg_node_status_v1 status;
	cs_error_t error;

	memset(&status, 0xee, sizeof status);
	error = corosync_cfg_node_status_get(handle, nodeid, CFG_NODE_STATUS_V1, &status);
	printf("node_status %u: %s\n", nodeid, error_name(error));
	if (error != CS_OK)
		return;
	printf("  version %d nodeid %u reachable %u remote %u external %u onwire %u %u %u\n", status.version,
	       status.nodeid, status.reachable, status.remote, status.external, status.onwire_min,
	       status.onwire_max, status.onwire_ver);
	for (int i = 0; i < CFG_MAX_LINKS; i++) {
		struct corosync_knet_link_status_v1 *link = &status.link_status[i];

		printf("  link %d: enabled %u connected %u dynconnected %u mtu %u from '%s' to '%s'\n", i,
		       link->enabled, link->connected, link->dynconnected, link->mtu, link->src_ipaddr,
		       link->dst_ipaddr);
	}
}

static void print_addresses(corosync_cfg_handle_t handle, unsigned nodeid)
{
	corosync_cfg_node_address_t addresses[ADDRESSES];
	int count = -1;
	cs_error_t error;

	memset(addresses, 0, sizeof addresses);
	error = corosync_cfg_get_node_addrs(handle, nodeid, ADDRESSES, &count, addresses);
	printf("get_node_addrs %u: %s", nodeid, error_name(error));
	if (error == CS_OK) {
		printf(", %d addresses:", count);
		for (int i = 0; i < count; i++) {
			struct sockaddr_in *at = (struct sockaddr_in *)addresses[i].address;
			char text[INET6_ADDRSTRLEN] = "";

			inet_ntop(at->sin_family, &at->sin_addr, text, sizeof text);
			printf(" length %d family %d %s", addresses[i].address_length, at->sin_family, text);
		}
	}
	printf("\n");
}

static void queries(void)
{
	corosync_cfg_handle_t handle, other, bad = 0x7777777777777777ULL;
	corosync_cfg_node_address_t address;
	struct corosync_cfg_node_status_v1 status;
	char **names, **states;
	char reason[400];
	unsigned count = 99, nodeid = 0;
	int fd = -1, number;

	printf("== handles\n");
	printf("initialize without callbacks: %s\n", error_name(corosync_cfg_initialize(&other, NULL)));
	printf("dispatch: %s\n", error_name(corosync_cfg_dispatch(other, CS_DISPATCH_ALL)));
	printf("finalize: %s\n", error_name(corosync_cfg_finalize(other)));
	printf("finalize again: %s\n", error_name(corosync_cfg_finalize(other)));
	printf("bad handle: fd_get %s", error_name(corosync_cfg_fd_get(bad, &fd)));
	printf(" dispatch %s", error_name(corosync_cfg_dispatch(bad, CS_DISPATCH_ALL)));
	printf(" finalize %s", error_name(corosync_cfg_finalize(bad)));
	printf(" ring_status %s", error_name(corosync_cfg_ring_status_get(bad, &names, &states, &count)));
	printf(" node_status %s", error_name(corosync_cfg_node_status_get(bad, 1, CFG_NODE_STATUS_V1, &status)));
	printf(" kill_node %s", error_name(corosync_cfg_kill_node(bad, 9, "no")));
	printf(" trackstart %s", error_name(corosync_cfg_trackstart(bad, 0)));
	printf(" trackstop %s", error_name(corosync_cfg_trackstop(bad)));
	printf(" try_shutdown %s", error_name(corosync_cfg_try_shutdown(bad, COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST)));
	printf(" reply %s", error_name(corosync_cfg_replyto_shutdown(bad, COROSYNC_CFG_SHUTDOWN_FLAG_YES)));
	printf(" addrs %s", error_name(corosync_cfg_get_node_addrs(bad, 1, 1, &number, &address)));
	printf(" local_get %s", error_name(corosync_cfg_local_get(bad, &nodeid)));
	printf(" reload %s", error_name(corosync_cfg_reload_config(bad)));
	printf(" reopen %s\n", error_name(corosync_cfg_reopen_log_files(bad)));
	handle = connect_cfg();
	printf("fd_get: %s", error_name(corosync_cfg_fd_get(handle, &fd)));
	printf(", %s\n", fd >= 0 ? "a descriptor" : "none");
	expect_silence(handle, "a new handle");

	printf("== this node and others\n");
	printf("local_get: %s", error_name(corosync_cfg_local_get(handle, &nodeid)));
	printf(", %u\n", nodeid);
	printf("ring_status: %s", error_name(corosync_cfg_ring_status_get(handle, &names, &states, &count)));
	printf(", %u interfaces", count);
	for (unsigned i = 0; i < count; i++) {
		printf(" '%s' is '%s'", names[i], states[i]);
		free(names[i]);
		free(states[i]);
	}
	free(names);
	free(states);
	printf("\n");
	print_node_status(handle, 1);
	print_node_status(handle, 2);
	print_node_status(handle, 77);
	print_node_status(handle, 0);
	printf("node_status of version 9: %s", error_name(corosync_cfg_node_status_get(handle, 1, 9, &status)));
	printf(", without a place for it: %s\n", error_name(corosync_cfg_node_status_get(handle, 1, CFG_NODE_STATUS_V1, NULL)));
	print_addresses(handle, 0);
	print_addresses(handle, 1);
	print_addresses(handle, 2);
	print_addresses(handle, 77);

	printf("== orders\n");
	printf("reopen_log_files: %s\n", error_name(corosync_cfg_reopen_log_files(handle)));
	printf("reload: %s\n", error_name(corosync_cfg_reload_config(handle)));
	printf("reload: %s\n", error_name(corosync_cfg_reload_config(handle)));
	printf("kill_node 77: %s\n", error_name(corosync_cfg_kill_node(handle, 77, "nobody")));
	printf("kill_node 0: %s\n", error_name(corosync_cfg_kill_node(handle, 0, "nobody")));
	memset(reason, 'x', sizeof reason);
	reason[CS_MAX_NAME_LENGTH] = '\0';
	printf("kill_node for a long reason: %s\n", error_name(corosync_cfg_kill_node(handle, 77, reason)));
	reason[CS_MAX_NAME_LENGTH - 1] = '\0';
	printf("kill_node for the longest reason: %s\n", error_name(corosync_cfg_kill_node(handle, 77, reason)));

	printf("== tracking\n");
	printf("trackstop: %s\n", error_name(corosync_cfg_trackstop(handle)));
	printf("trackstart: %s\n", error_name(corosync_cfg_trackstart(handle, 0)));
	printf("trackstart: %s\n", error_name(corosync_cfg_trackstart(handle, 255)));
	printf("reply to nothing: %s\n",
	       error_name(corosync_cfg_replyto_shutdown(handle, COROSYNC_CFG_SHUTDOWN_FLAG_YES)));
	printf("trackstop: %s\n", error_name(corosync_cfg_trackstop(handle)));
	printf("trackstop: %s\n", error_name(corosync_cfg_trackstop(handle)));
	expect_silence(handle, "the handle");
	printf("finalize: %s\n", error_name(corosync_cfg_finalize(handle)));
}

static void votes(void)
{
	corosync_cfg_handle_t first, second, third;
	struct requester asker, rival;

	printf("== one tracker says no\n");
	first = tracker();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	reply(first, 0);
	answer(asker);
	expect_silence(first, "the tracker");

	printf("== two trackers, one no\n");
	second = tracker();
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	expect(second, 2);
	printf("a rival\n");
	rival = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	answer(rival);
	rival = request(COROSYNC_CFG_SHUTDOWN_FLAG_REGARDLESS, 0);
	answer(rival);
	reply(second, 1);
	reply(first, 0);
	answer(asker);

	printf("== a tracker goes, the other says no\n");
	done(second);
	second = tracker();
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	expect(second, 2);
	printf("finalize: %s\n", error_name(corosync_cfg_finalize(second)));
	reply(first, 0);
	answer(asker);

	printf("== a tracker stops tracking, the other says no\n");
	second = tracker();
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	expect(second, 2);
	done(second);
	reply(first, 0);
	answer(asker);

	printf("== one comes during the vote\n");
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	third = tracker();
	expect(third, 2);
	reply(first, 1);
	reply(third, 0);
	answer(asker);

	printf("== the requester dies\n");
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	expect(third, 2);
	kill(asker.pid, SIGKILL);
	answer(asker);
	/* Once the executive has noticed, a new vote is not in the way of the old one. */
	forget();
	for (int tries = 0; asked == 0; tries++) {
		if (tries == 100)
			fail("the dead requester's vote goes on");
		asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
		for (int waits = 0; waits < 20 && asked == 0; waits++) {
			pause_ms(20);
			corosync_cfg_dispatch(first, CS_DISPATCH_ALL);
		}
	}
	expect(third, 2);
	reply(first, 0);
	reply(third, 1);
	answer(asker);

	printf("== nobody says anything\n");
	shutdown_timeout(SHORT_MS);
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 0);
	expect(first, 1);
	expect(third, 2);
	answer(asker);
	pause_ms(100);
	expect_silence(first, "the first tracker");
	expect_silence(third, "the third tracker");

	printf("== the requester tracks too\n");
	forget();
	asker = request(COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST, 1);
	expect(first, 1);
	expect(third, 2);
	reply(first, 1);
	answer(asker);
	done(third);
	done(first);
}

static void ended(corosync_cfg_handle_t handle)
{
	unsigned nodeid;
	cs_error_t error;

	if (!comes(corosync_cfg_fd_get, handle, PATIENCE_MS))
		fail("the executive does not end");
	error = corosync_cfg_dispatch(handle, CS_DISPATCH_BLOCKING);
	printf("dispatch: %s\n", error_name(error));
	printf("local_get: %s\n", error_name(corosync_cfg_local_get(handle, &nodeid)));
	printf("finalize: %s\n", error_name(corosync_cfg_finalize(handle)));
}

static void shut_down(const char *how)
{
	corosync_cfg_handle_t watcher = connect_cfg(), first = 0, second = 0;
	corosync_cfg_shutdown_flags_t flags = COROSYNC_CFG_SHUTDOWN_FLAG_REQUEST;
	struct requester asker;

	if (strcmp(how, "plain") != 0) {
		first = tracker();
		second = tracker();
	}
	if (strcmp(how, "regardless") == 0)
		flags = COROSYNC_CFG_SHUTDOWN_FLAG_REGARDLESS;
	if (strcmp(how, "immediate") == 0)
		flags = COROSYNC_CFG_SHUTDOWN_FLAG_IMMEDIATE;
	asker = request(flags, 0);
	if (strcmp(how, "agreed") == 0 || strcmp(how, "regardless") == 0) {
		expect(first, 1);
		expect(second, 2);
		reply(first, 1);
		reply(second, strcmp(how, "agreed") == 0);
	}
	answer(asker);
	ended(watcher);
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(what, "queries") == 0) {
		queries();
	} else if (strcmp(what, "votes") == 0) {
		votes();
	} else if (strcmp(what, "kill") == 0) {
		corosync_cfg_handle_t handle = connect_cfg();

		printf("kill_node 2: %s\n", error_name(corosync_cfg_kill_node(handle, 2, "it is in the way")));
		printf("finalize: %s\n", error_name(corosync_cfg_finalize(handle)));
	} else {
		shut_down(what);
	}
	printf("== end\n");
	return 0;
}
