/*
 * Goes through the whole of <corosync/sam.h> and prints what every call answered, what became of the
 * supervised processes, and what they left in cmap:
 *
 *     sam_conformance alone      all policies on one node that is quorate
 *     sam_conformance quorum     prints `waiting` when it wants the quorum to go, `waiting again` for it to
 *                                come back
 *
 * Libraries: sam cmap
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <corosync/cmap.h>
#include <corosync/sam.h>

#include "conformance.h"

#define INTERVAL_MS 400

/* Runs a scenario in a process of its own, which becomes the supervisor. */
static void supervised(const char *name, void (*scenario)(void))
{
	pid_t pid;
	int status;

	printf("== %s\n", name);
	pid = fork();
	if (pid == 0) {
		scenario();
		exit(0);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		printf("supervisor ended by signal %d\n", WTERMSIG(status));
	else
		printf("supervisor ended with %d\n", WEXITSTATUS(status));
}

/* What the supervisor `pid`, or whoever has been one, has in cmap; times are not shown. */
static void show_keys(int pid)
{
	cmap_handle_t handle;
	cmap_iter_handle_t iter;
	cmap_value_types_t type;
	char prefix[64], key[CMAP_KEYNAME_MAXLEN + 1], *text;
	uint64_t number;
	size_t size;
	cs_error_t error = PATIENTLY(cmap_initialize(&handle));

	if (error != CS_OK) {
		printf("no cmap: %s\n", error_name(error));
		return;
	}
	snprintf(prefix, sizeof prefix, pid == 0 ? "resources.process." : "resources.process.%d.", pid);
	cmap_iter_init(handle, prefix, &iter);
	while (cmap_iter_next(handle, iter, key, &size, &type) == CS_OK) {
		const char *name = strrchr(key, '.') + 1;

		if (type == CMAP_VALUETYPE_STRING && cmap_get_string(handle, key, &text) == CS_OK) {
			printf("  %s '%s'\n", name, text);
			free(text);
		} else if (cmap_get_uint64(handle, key, &number) == CS_OK)
			printf("  %s %s\n", name, strcmp(name, "last_updated") == 0
			       ? (number ? "set" : "0") : number == INTERVAL_MS ? "interval" : "other");
		if (pid == 0)
			cmap_delete(handle, key);
	}
	cmap_iter_finalize(handle, iter);
	cmap_finalize(handle);
}

static void without_library(void)
{
	char data[8];
	size_t size;
	unsigned int instance;

	CHECK(sam_finalize());
	CHECK(sam_register(&instance));
	CHECK(sam_start());
	CHECK(sam_stop());
	CHECK(sam_hc_send());
	CHECK(sam_hc_callback_register(NULL));
	CHECK(sam_data_getsize(&size));
	CHECK(sam_data_getsize(NULL));
	CHECK(sam_data_store("x", 1));
	CHECK(sam_data_restore(data, sizeof data));
	CHECK(sam_data_restore(NULL, sizeof data));
	CHECK(sam_mark_failed());
	CHECK(sam_warn_signal_set(SIGUSR1));
	CHECK(sam_initialize(INTERVAL_MS, 0));
	CHECK(sam_initialize(INTERVAL_MS, 3));
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_QUORUM));
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_CMAP));

	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART));
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART));
	CHECK(sam_start());
	CHECK(sam_stop());
	CHECK(sam_hc_send());
	CHECK(sam_hc_callback_register(NULL));
	CHECK(sam_mark_failed());
	CHECK(sam_warn_signal_set(SIGUSR1));
	CHECK(sam_data_store("abc", 4));
	CHECK(sam_data_getsize(&size));
	printf("%zu\n", size);
	CHECK(sam_data_restore(data, 3));
	CHECK(sam_data_restore(data, sizeof data));
	printf("'%s'\n", data);
	CHECK(sam_data_store(NULL, 7));
	CHECK(sam_data_getsize(&size));
	printf("%zu\n", size);
	CHECK(sam_data_restore(data, 0));
	CHECK(sam_finalize());
	CHECK(sam_finalize());
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART));
}

static void restart(void)
{
	unsigned int instance = 0;
	char data[16] = "";
	size_t size = 0;

	CHECK(sam_initialize(0, SAM_RECOVERY_POLICY_RESTART));
	CHECK(sam_data_store("from before", 12));
	CHECK(sam_register(&instance));
	printf("instance %u\n", instance);
	CHECK(sam_register(&instance));
	CHECK(sam_mark_failed());
	CHECK(sam_data_getsize(&size));
	CHECK(sam_data_restore(data, sizeof data));
	printf("%zu '%s'\n", size, data);
	CHECK(sam_hc_send());
	CHECK(sam_stop());
	CHECK(sam_start());
	CHECK(sam_start());
	CHECK(sam_hc_send());
	snprintf(data, sizeof data, "instance %u", instance);
	CHECK(sam_data_store(data, strlen(data) + 1));
	CHECK(sam_stop());
	CHECK(sam_start());
	if (instance == 1)
		exit(3);
	if (instance == 2)
		raise(SIGKILL);
	CHECK(sam_finalize());
	CHECK(sam_finalize());
	exit(4);
}

static void quit(void)
{
	unsigned int instance = 0;

	CHECK(sam_initialize(0, SAM_RECOVERY_POLICY_QUIT));
	CHECK(sam_register(&instance));
	printf("instance %u\n", instance);
	CHECK(sam_start());
	exit(5);
}

static void leaves_unstarted(void)
{
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART));
	CHECK(sam_register(NULL));
	exit(6);
}

static void warned(int number)
{
	static const char text[] = "warned\n";

	if (write(1, text, sizeof text - 1) < 0 || number == SIGUSR1)
		_exit(7);
}

static void hangs(void)
{
	unsigned int instance;

	signal(SIGUSR1, warned);
	signal(SIGTERM, warned);
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART));
	CHECK(sam_register(&instance));
	printf("instance %u\n", instance);
	if (instance == 2)
		CHECK(sam_warn_signal_set(SIGUSR1));
	CHECK(sam_start());
	for (int beat = 0; beat < 5; beat++) {
		pause_ms(INTERVAL_MS / 5);
		sam_hc_send();
	}
	if (instance == 3) {
		CHECK(sam_finalize());
		exit(8);
	}
	printf("hangs\n");
	for (;;)
		pause_ms(1000);
}

static int asked;

static int well(void)
{
	return ++asked < 4 ? 0 : 1;
}

static void watched(void)
{
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_QUIT));
	CHECK(sam_register(NULL));
	CHECK(sam_hc_callback_register(well));
	CHECK(sam_start());
	CHECK(sam_hc_callback_register(well));
	for (;;)
		pause_ms(1000);
}

static void with_cmap(void)
{
	unsigned int instance;
	int supervisor = (int)getpid();

	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART | SAM_RECOVERY_POLICY_CMAP));
	CHECK(sam_register(&instance));
	printf("instance %u\n", instance);
	show_keys(supervisor);
	CHECK(sam_start());
	show_keys(supervisor);
	if (instance == 1)
		exit(9);
	CHECK(sam_stop());
	show_keys(supervisor);
	CHECK(sam_start());
	CHECK(sam_finalize());
	show_keys(supervisor);
	exit(0);
}

static void fails(void)
{
	CHECK(sam_initialize(INTERVAL_MS, SAM_RECOVERY_POLICY_RESTART | SAM_RECOVERY_POLICY_CMAP));
	CHECK(sam_register(NULL));
	CHECK(sam_start());
	sam_mark_failed(); /* which is the end of us, at once or a little later */
	for (;;)
		pause_ms(1000);
}

static void quits_with_cmap(void)
{
	CHECK(sam_initialize(0, SAM_RECOVERY_POLICY_QUIT | SAM_RECOVERY_POLICY_CMAP));
	CHECK(sam_register(NULL));
	CHECK(sam_start());
	exit(10);
}

static void with_quorum(void)
{
	int supervisor = (int)getpid();

	/* No more than one call behind sam_start(): with both policies the library answers it twice. */
	CHECK(sam_initialize(0, SAM_RECOVERY_POLICY_QUORUM_QUIT | SAM_RECOVERY_POLICY_CMAP));
	CHECK(sam_register(NULL));
	CHECK(sam_start());
	show_keys(supervisor);
	exit(11);
}

static void quorum_quit(void)
{
	CHECK(sam_initialize(0, SAM_RECOVERY_POLICY_QUORUM_QUIT));
	CHECK(sam_register(NULL));
	CHECK(sam_start());
	CHECK(sam_stop());
	CHECK(sam_start());
	exit(13);
}

static void waits_for_quorum(void)
{
	unsigned int instance;

	CHECK(sam_initialize(0, SAM_RECOVERY_POLICY_QUORUM_RESTART));
	CHECK(sam_register(&instance));
	printf("instance %u\n", instance);
	if (instance == 2)
		printf("waiting again\n");
	CHECK(sam_start());
	if (instance == 2) {
		CHECK(sam_finalize());
		exit(14);
	}
	printf("waiting\n");
	for (;;)
		pause_ms(1000);
}

int main(int count, char **arguments)
{
	const char *mode = count > 1 ? arguments[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(mode, "alone") == 0) {
		supervised("calls without a supervisor", without_library);
		supervised("restart", restart);
		supervised("quit", quit);
		supervised("leaves before it has started", leaves_unstarted);
		supervised("hangs", hangs);
		supervised("watched by a callback", watched);
		supervised("cmap", with_cmap);
		show_keys(0);
		supervised("marks itself as failed", fails);
		show_keys(0);
		supervised("quits with cmap", quits_with_cmap);
		show_keys(0);
		supervised("quorum", with_quorum);
		show_keys(0);
		supervised("quorum, quit", quorum_quit);
	} else if (strcmp(mode, "quorum") == 0) {
		supervised("waits for quorum", waits_for_quorum);
	} else {
		fprintf(stderr, "usage: sam_conformance alone | quorum\n");
		return 2;
	}
	printf("== end\n");
	return 0;
}
