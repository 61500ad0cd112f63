/* What the ring's translation units share: libqb's header file, the handle, the semaphore. */
#ifndef IPC_RING_INTERNAL_H
#define IPC_RING_INTERNAL_H

#include "guard.h"
#include "ring.h"

#include <errno.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>

#define IPC_RING_PATH_BYTES 4096
#define IPC_RING_BASE_BYTES_MAX 248
#define IPC_RING_CHUNK_MARGIN 12u
/* Stands where a sem_t holds 128 or 0; what precedes it stays 0, so that a stock client that strays
 * here sees an empty semaphore. */
#define IPC_SYSV_MARK 0x56737953u

union ipc_semaphore {
    sem_t posix;
    struct {
        uint64_t zero;
        uint32_t mark;
        int32_t set;
    } sysv;
};

struct ipc_ring_header {
    uint32_t write_pt;
    uint32_t read_pt;
    uint32_t word_size;
    char hdr_path[IPC_RING_PATH_BYTES];
    char data_path[IPC_RING_PATH_BYTES];
    int32_t ref_count;
    union ipc_semaphore sem;
    int32_t user_data;
} __attribute__((aligned(8)));

#define IPC_RING_HEADER_BYTES (offsetof(struct ipc_ring_header, user_data) + 8)

#if defined(__x86_64__) && defined(__GLIBC__)
_Static_assert(offsetof(struct ipc_ring_header, ref_count) == 8204, "libqb layout");
_Static_assert(offsetof(struct ipc_ring_header, sem) == 8208, "libqb layout");
_Static_assert(offsetof(struct ipc_ring_header, user_data) == 8240, "libqb layout");
_Static_assert(IPC_RING_HEADER_BYTES == 8248, "libqb layout");
#endif

struct ipc_ring {
    struct ipc_ring_header *header;
    uint32_t *words; /* 2 * data_bytes of address space, the second half mirrors the first */
    size_t header_bytes;
    size_t data_bytes;
    uint32_t word_count;
    uint32_t max_msg_size;
    uint32_t write_pt; /* our own ends; the shared copies are for the peer */
    uint32_t read_pt;
    uint32_t peeked;
    int is_peeked;
    int creator;
    pid_t process; /* whose handle it is: a forked child must not end its parent's connection */
    int sysv_set; /* -1: sem_t */
    char hdr_path[IPC_RING_BASE_BYTES_MAX + 8];
    char data_path[IPC_RING_PATH_BYTES];
};

#define RING_GUARD_BEGIN(r) GUARD_BEGIN((r)->header, (r)->header_bytes, (r)->words, 2 * (r)->data_bytes)

/* Runs the unguarded function `call` under the guard.  It has a frame of its own, so no local of it
 * can be clobbered by the jump. */
#define GUARDED(type, r, call)                                                                         \
    type guarded_result;                                                                               \
    RING_GUARD_BEGIN(r);                                                                               \
    guarded_result = (call);                                                                           \
    GUARD_END();                                                                                       \
    return guarded_result

/* The semaphore of a ring: the slot in its header or, if sysv_set is not -1, a System V set.  Nothing
 * here is guarded. */
void ipc_semaphore_probe(void);
int ipc_semaphore_create(ipc_ring *ring, uid_t uid, gid_t gid, int sysv);
void ipc_semaphore_open(ipc_ring *ring);
int ipc_semaphore_post(ipc_ring *ring); /* -ERANGE: a System V counter ends at 32767 */
int ipc_semaphore_wait(ipc_ring *ring, int timeout_ms);
int64_t ipc_semaphore_value(ipc_ring *ring);

#endif
