/* Printing what the two quorum libraries tell, until SIGTERM. */
#ifndef QUORUM_CHANGES_H
#define QUORUM_CHANGES_H

#include <signal.h>
#include <string.h>

#include "conformance.h"

#define LINE_MAX_BYTES 4096

static volatile sig_atomic_t stopped;
static int once;

static inline void print_error(const char *what, cs_error_t error)
{
	printf("%s: %d\n", what, error);
	fflush(stdout);
}

/* kind: 0 to 2, for which the same line twice is printed once when `once` is set. */
static inline void say(int kind, const char *line)
{
	static char last_line[3][LINE_MAX_BYTES];

	if (once && strcmp(line, last_line[kind]) == 0)
		return;
	strcpy(last_line[kind], line);
	puts(line);
	fflush(stdout);
}

static inline void stop(int number)
{
	(void)number;
	stopped = 1;
}

/* From now on only news are printed, and SIGTERM sets `stopped`. */
static inline void watch_until_stopped(void)
{
	struct sigaction action = { .sa_handler = stop };

	once = 1;
	sigaction(SIGTERM, &action, NULL);
}

/* Tells the test that it is its turn. */
static inline void print_waiting(void)
{
	puts("waiting");
	fflush(stdout);
}

#endif
