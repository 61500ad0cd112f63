#define _GNU_SOURCE
#include "ring_internal.h"

#include <string.h>

#define MAGIC_COMMIT 0xA1A1A1A1u
#define MAGIC_ALLOC 0xA110CED0u
#define MAGIC_DEAD 0xD0D0D0D0u

/* ------------------------------------------------------------------ chunks */

static uint32_t words_for(uint32_t bytes)
{
    return bytes / 4 + (bytes % 4 != 0);
}

static uint32_t next_chunk(const ipc_ring *r, uint32_t at, uint32_t bytes)
{
    return (uint32_t)(((uint64_t)at + 2 + words_for(bytes)) % r->word_count);
}

static uint32_t *magic_of(const ipc_ring *r, uint32_t at)
{
    return &r->words[(at + 1) % r->word_count];
}

static int64_t ring_free(ipc_ring *r)
{
    uint32_t peer = __atomic_load_n(&r->header->read_pt, __ATOMIC_ACQUIRE);
    uint64_t n = r->word_count;

    if (peer >= n)
        return IPC_RING_CORRUPT;
    if (r->write_pt > peer)
        return (int64_t)((peer + n - r->write_pt - 1) * 4);
    if (r->write_pt < peer)
        return (int64_t)(peer - r->write_pt - 1) * 4;
    int64_t pending = ipc_semaphore_value(r);
    if (pending < 0)
        return pending;
    return pending > 0 ? 0 : (int64_t)n * 4;
}

static int ring_writev(ipc_ring *r, const struct iovec *parts, int count, uint32_t bytes)
{
    uint32_t at = r->write_pt;
    char *to = (char *)&r->words[at + 2]; /* may run into the mirror */
    int64_t room = ring_free(r);
    int result;

    if (room < 0)
        return (int)room;
    if ((uint64_t)room < (uint64_t)bytes + IPC_RING_CHUNK_MARGIN)
        return -EAGAIN;
    r->words[at] = 0;
    __atomic_store_n(magic_of(r, at), MAGIC_ALLOC, __ATOMIC_RELEASE);
    for (int i = 0; i < count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
    r->words[at] = bytes;
    r->write_pt = next_chunk(r, at, bytes);
    __atomic_store_n(&r->header->write_pt, r->write_pt, __ATOMIC_RELAXED);
    __atomic_store_n(magic_of(r, at), MAGIC_COMMIT, __ATOMIC_RELEASE);
    result = ipc_semaphore_post(r);
    if (result == 0)
        return 0;
    /* Not announced, so no reader can have come here yet: take it back. */
    __atomic_store_n(magic_of(r, at), MAGIC_ALLOC, __ATOMIC_RELEASE);
    r->write_pt = at;
    __atomic_store_n(&r->header->write_pt, at, __ATOMIC_RELAXED);
    return result == -ERANGE ? -EAGAIN : result; /* ERANGE: a System V counter ends at 32767 */
}

static int guarded_writev(ipc_ring *ring, const struct iovec *parts, int count, uint32_t bytes)
{
    GUARDED(int, ring, ring_writev(ring, parts, count, bytes));
}

int ipc_ring_writev(ipc_ring *ring, const struct iovec *parts, int count)
{
    size_t bytes = 0;

    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > ring->max_msg_size - bytes)
            return -EMSGSIZE;
        bytes += parts[i].iov_len;
    }
    return guarded_writev(ring, parts, count, (uint32_t)bytes);
}

static ssize_t ring_peek(ipc_ring *r, int timeout_ms)
{
    uint32_t length;
    int result = ipc_semaphore_wait(r, timeout_ms);

    if (result != 0)
        return result;
    if (__atomic_load_n(magic_of(r, r->read_pt), __ATOMIC_ACQUIRE) != MAGIC_COMMIT) {
        (void)ipc_semaphore_post(r);
        return IPC_RING_CORRUPT;
    }
    length = __atomic_load_n(&r->words[r->read_pt], __ATOMIC_RELAXED);
    if (length > r->max_msg_size) {
        (void)ipc_semaphore_post(r);
        return IPC_RING_CORRUPT;
    }
    r->peeked = length;
    r->is_peeked = 1;
    return (ssize_t)length;
}

ssize_t ipc_ring_peek(ipc_ring *ring, const void **chunk, int timeout_ms)
{
    if (ring->is_peeked)
        return -EBUSY;
    *chunk = &ring->words[ring->read_pt + 2];
    GUARDED(ssize_t, ring, ring_peek(ring, timeout_ms));
}

static int ring_reclaim(ipc_ring *r)
{
    uint32_t at = r->read_pt;

    r->words[at] = 0;
    __atomic_store_n(magic_of(r, at), MAGIC_DEAD, __ATOMIC_RELEASE);
    r->read_pt = next_chunk(r, at, r->peeked);
    r->is_peeked = 0;
    __atomic_store_n(&r->header->read_pt, r->read_pt, __ATOMIC_RELEASE);
    return 0;
}

int ipc_ring_reclaim(ipc_ring *ring)
{
    if (!ring->is_peeked)
        return -EINVAL;
    GUARDED(int, ring, ring_reclaim(ring));
}

static int ring_unpeek(ipc_ring *r)
{
    r->is_peeked = 0;
    return ipc_semaphore_post(r);
}

int ipc_ring_unpeek(ipc_ring *ring)
{
    if (!ring->is_peeked)
        return -EINVAL;
    GUARDED(int, ring, ring_unpeek(ring));
}

static int ring_take(ipc_ring *r, void *buffer, size_t size)
{
    memcpy(buffer, &r->words[r->read_pt + 2], size);
    return ring_reclaim(r);
}

int ipc_ring_take(ipc_ring *ring, void *buffer, size_t size)
{
    if (!ring->is_peeked || size != ring->peeked)
        return -EINVAL;
    GUARDED(int, ring, ring_take(ring, buffer, size));
}

ssize_t ipc_ring_read(ipc_ring *ring, void *buffer, size_t size, int timeout_ms)
{
    const void *chunk;
    ssize_t length = ipc_ring_peek(ring, &chunk, timeout_ms);
    int result;

    if (length < 0)
        return length;
    if ((size_t)length > size) {
        result = ipc_ring_unpeek(ring);
        return result != 0 ? result : -ENOBUFS;
    }
    result = ipc_ring_take(ring, buffer, (size_t)length);
    return result != 0 ? result : length;
}

int64_t ipc_ring_pending(ipc_ring *ring)
{
    GUARDED(int64_t, ring, ipc_semaphore_value(ring));
}

int64_t ipc_ring_free(ipc_ring *ring)
{
    GUARDED(int64_t, ring, ring_free(ring));
}

/* ------------------------------------------------------------------ words of the header */

static int load_word(const int32_t *word, int32_t *value)
{
    *value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return 0;
}

static int store_word(int32_t *word, int32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    return 0;
}

int ipc_ring_ref_count(ipc_ring *ring, int32_t *value)
{
    GUARDED(int, ring, load_word(&ring->header->ref_count, value));
}

int ipc_ring_set_ref_count(ipc_ring *ring, int32_t value)
{
    GUARDED(int, ring, store_word(&ring->header->ref_count, value));
}

int ipc_ring_user_data(ipc_ring *ring, int32_t *value)
{
    GUARDED(int, ring, load_word(&ring->header->user_data, value));
}

int ipc_ring_set_user_data(ipc_ring *ring, int32_t value)
{
    GUARDED(int, ring, store_word(&ring->header->user_data, value));
}

uint32_t ipc_ring_max_msg_size(const ipc_ring *ring)
{
    return ring->max_msg_size;
}

int ipc_ring_is_sysv(const ipc_ring *ring)
{
    return ring->sysv_set >= 0;
}
