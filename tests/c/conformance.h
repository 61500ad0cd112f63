/* What the conformance programs of all libraries have in common. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <corosync/corotypes.h>

#define PATIENCE_MS 20000
#define RETRY_MS 10

static inline const char *error_name(cs_error_t error)
{
	static char other[16];

	switch (error) {
	case CS_OK: return "OK";
	case CS_ERR_LIBRARY: return "LIBRARY";
	case CS_ERR_TIMEOUT: return "TIMEOUT";
	case CS_ERR_TRY_AGAIN: return "TRY_AGAIN";
	case CS_ERR_INVALID_PARAM: return "INVALID_PARAM";
	case CS_ERR_BAD_HANDLE: return "BAD_HANDLE";
	case CS_ERR_BUSY: return "BUSY";
	case CS_ERR_ACCESS: return "ACCESS";
	case CS_ERR_NOT_EXIST: return "NOT_EXIST";
	case CS_ERR_NAME_TOO_LONG: return "NAME_TOO_LONG";
	case CS_ERR_EXIST: return "EXIST";
	case CS_ERR_INTERRUPT: return "INTERRUPT";
	case CS_ERR_NOT_SUPPORTED: return "NOT_SUPPORTED";
	case CS_ERR_TOO_BIG: return "TOO_BIG";
	case CS_ERR_NO_SECTIONS: return "NO_SECTIONS";
	default:
		snprintf(other, sizeof other, "%d", error);
		return other;
	}
}

/* One line: the call as it is written in the program, and its answer. */
#define CHECK(call) printf("%s: %s\n", #call, error_name(call))

static inline void fail(const char *text)
{
	printf("FAILED: %s\n", text);
	fflush(stdout);
	exit(1);
}

static inline void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* An executive that is starting, or whose queue is full, asks to try again. */
#define PATIENTLY(call)                                                        \
	({                                                                     \
		cs_error_t answer_;                                            \
		int tries_ = PATIENCE_MS / RETRY_MS;                           \
		while ((answer_ = (call)) == CS_ERR_TRY_AGAIN && tries_-- > 0) \
			pause_ms(RETRY_MS);                                    \
		answer_;                                                       \
	})

/* Whether something comes for the handle within so many milliseconds; all libraries' handles are numbers. */
static inline int comes(cs_error_t (*fd_get)(uint64_t, int *), uint64_t handle, int timeout)
{
	struct pollfd watched = { .events = POLLIN };

	if (fd_get(handle, &watched.fd) != CS_OK)
		fail("no descriptor to wait for");
	return poll(&watched, 1, timeout) == 1;
}

#endif
