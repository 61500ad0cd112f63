/*
 * Accesses to memory shared with a peer that may truncate the file behind it: the fault (SIGBUS)
 * becomes a return value.  Faults elsewhere go to whoever had the signal before.
 */
#ifndef IPC_GUARD_H
#define IPC_GUARD_H

#include <setjmp.h>
#include <stddef.h>

/* What a guarded function returns after a fault. */
#define IPC_GUARD_FAULT (-EIDRM)

struct ipc_guard {
    sigjmp_buf jump;
    const char *map[2];
    size_t map_bytes[2];
    struct ipc_guard *outer;
};

/* initial-exec: the handler must not be the first to allocate thread-local storage. */
extern __thread struct ipc_guard *volatile ipc_guard_top __attribute__((tls_model("initial-exec")));

/* Between BEGIN and END an access inside one of the two ranges that faults makes the enclosing
 * function return IPC_GUARD_FAULT.  The function must not change its locals in between: put the work
 * into a function of its own. */
#define GUARD_BEGIN(map0, bytes0, map1, bytes1)                                                        \
    struct ipc_guard guard_frame;                                                                      \
    guard_frame.map[0] = (const char *)(map0);                                                         \
    guard_frame.map_bytes[0] = (bytes0);                                                               \
    guard_frame.map[1] = (const char *)(map1);                                                         \
    guard_frame.map_bytes[1] = (bytes1);                                                               \
    guard_frame.outer = ipc_guard_top;                                                                 \
    if (sigsetjmp(guard_frame.jump, 0)) {                                                              \
        ipc_guard_top = guard_frame.outer;                                                             \
        return IPC_GUARD_FAULT;                                                                        \
    }                                                                                                  \
    ipc_guard_top = &guard_frame;                                                                      \
    __atomic_signal_fence(__ATOMIC_SEQ_CST)

#define GUARD_END()                                                                                    \
    __atomic_signal_fence(__ATOMIC_SEQ_CST);                                                           \
    ipc_guard_top = guard_frame.outer

/* memcpy where [map, map + map_size) is shared; IPC_GUARD_FAULT when the peer truncated it. */
int ipc_guarded_copy(const void *map, size_t map_size, void *to, const void *from, size_t size);

/* Puts the SIGBUS handler in place if it is not: call it before mapping, so that it survives another
 * library taking the signal. */
int ipc_guard_install(void);

#endif
