/*
 * One libqb 2.0.6 ring buffer: a header file and a data file in shared memory, the data mapped twice
 * back to back, a process-shared semaphore counting the chunks.  Plain C, no Python: the executive
 * uses it as creator, client libraries as opener.
 *
 * One process writes a ring, one process reads it.  A handle keeps its own end of the ring privately
 * and believes only what it has range-checked of the other end, so that a hostile peer can spoil
 * nothing but its own connection.  A peer that truncates the files makes an access fault; the fault
 * is caught (SIGBUS) and reported as IPC_RING_GONE.
 *
 * All functions return 0 or a count, or a negative errno value.  Not thread-safe for two threads on
 * the same end; one writer thread and one reader thread are fine.
 */
#ifndef IPC_RING_H
#define IPC_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define IPC_RING_CORRUPT (-EBADMSG) /* pointer, magic, length or semaphore out of range */
#define IPC_RING_GONE (-EIDRM)      /* files truncated, or semaphore set removed, under us */

typedef struct ipc_ring ipc_ring;

/* Creates <base>-header and <base>-data (must not exist; base absolute, shorter than 248 bytes), owned
 * by uid:gid (-1: leave).  `sysv` takes a System V semaphore set instead of a sem_t, for platforms
 * without process-shared ones; only ipc_ring_open() understands such a ring, libqb does not. */
int ipc_ring_create(ipc_ring **out, const char *base, uint32_t max_msg_size, uint32_t user_data,
                    uid_t uid, gid_t gid, int sysv);

/* Opens an existing ring and adds one to its ref_count.  The files are not resized. */
int ipc_ring_open(ipc_ring **out, const char *base, uint32_t max_msg_size);

/* Stores ref_count 0, unmaps, removes a System V set this handle created, and frees the handle.
 * unlink_files: also remove both files.  In a forked child it only unmaps and frees. */
void ipc_ring_close(ipc_ring *ring, int unlink_files);

/* One chunk from several pieces, then one semaphore post.  -EAGAIN: no room.  -EMSGSIZE: longer than
 * max_msg_size. */
int ipc_ring_writev(ipc_ring *ring, const struct iovec *parts, int count);

/* Takes one semaphore count and shows the chunk, which stays in place until ipc_ring_reclaim() or
 * ipc_ring_unpeek(); returns its length.  timeout_ms: <0 for ever, 0 try.  -ETIMEDOUT: nothing came;
 * -EINTR: a signal came.  Only a peer one trusts may be read in place: see ipc_ring_take(). */
ssize_t ipc_ring_peek(ipc_ring *ring, const void **chunk, int timeout_ms);
int ipc_ring_reclaim(ipc_ring *ring);
int ipc_ring_unpeek(ipc_ring *ring); /* gives the semaphore count back; the chunk is the next again */

/* Copies the peeked chunk out, guarded, and reclaims it; `size` must be what peek returned. */
int ipc_ring_take(ipc_ring *ring, void *buffer, size_t size);

/* peek + take into a buffer of `size` bytes.  -ENOBUFS: chunk longer than that; it stays. */
ssize_t ipc_ring_read(ipc_ring *ring, void *buffer, size_t size, int timeout_ms);

int64_t ipc_ring_pending(ipc_ring *ring); /* chunks written and not read yet */
int64_t ipc_ring_free(ipc_ring *ring);    /* bytes; a chunk needs its length + 12 */

int ipc_ring_ref_count(ipc_ring *ring, int32_t *value);
int ipc_ring_set_ref_count(ipc_ring *ring, int32_t value);
/* The i32 of user data: flow-control level in a request ring. */
int ipc_ring_user_data(ipc_ring *ring, int32_t *value);
int ipc_ring_set_user_data(ipc_ring *ring, int32_t value);

uint32_t ipc_ring_max_msg_size(const ipc_ring *ring);
int ipc_ring_is_sysv(const ipc_ring *ring);

/* Removes the System V set of a ring whose creator died, given its header file; 0 if it has none, or
 * if it is not a private set that our user made. */
int ipc_ring_remove_stale_semaphore(int header_fd);

#endif
