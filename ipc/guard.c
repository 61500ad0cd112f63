#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

__thread struct ipc_guard *volatile ipc_guard_top __attribute__((tls_model("initial-exec")));
static __thread volatile int guard_chaining __attribute__((tls_model("initial-exec")));
static struct sigaction guard_previous;
static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER;

static int guard_covers(const struct ipc_guard *g, const char *address)
{
    for (int i = 0; i < 2; i++)
        if (address >= g->map[i] && address < g->map[i] + g->map_bytes[i])
            return 1;
    return 0;
}

static void guard_default(int signo, const siginfo_t *info)
{
    signal(signo, SIG_DFL);
    if (info->si_code <= 0) /* sent by someone: nothing will fault again by itself */
        raise(signo);
}

static void guard_handler(int signo, siginfo_t *info, void *context)
{
    struct ipc_guard *g = ipc_guard_top;

    if (g != NULL && info->si_code > 0 && guard_covers(g, info->si_addr))
        siglongjmp(g->jump, 1);
    if (guard_chaining || guard_previous.sa_handler == SIG_DFL) {
        guard_default(signo, info);
        return;
    }
    if (guard_previous.sa_handler == SIG_IGN) {
        if (info->si_code > 0)
            guard_default(signo, info);
        return;
    }
    guard_chaining = 1;
    if (guard_previous.sa_flags & SA_SIGINFO)
        guard_previous.sa_sigaction(signo, info, context);
    else
        guard_previous.sa_handler(signo);
    guard_chaining = 0;
}

int ipc_guard_install(void)
{
    struct sigaction now, ours;
    int result = 0;

    pthread_mutex_lock(&guard_lock);
    if (sigaction(SIGBUS, NULL, &now) != 0) {
        result = -errno;
    } else if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != guard_handler) {
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = guard_handler;
        /* NODEFER: siglongjmp leaves without unblocking, and saving the mask costs a system call. */
        ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
        sigemptyset(&ours.sa_mask);
        guard_previous = now;
        if (sigaction(SIGBUS, &ours, NULL) != 0)
            result = -errno;
    }
    pthread_mutex_unlock(&guard_lock);
    return result;
}

static __attribute__((noinline)) void copy_bytes(void *to, const void *from, size_t size)
{
    memcpy(to, from, size);
}

int ipc_guarded_copy(const void *map, size_t map_size, void *to, const void *from, size_t size)
{
    GUARD_BEGIN(map, map_size, NULL, 0);
    copy_bytes(to, from, size);
    GUARD_END();
    return 0;
}
