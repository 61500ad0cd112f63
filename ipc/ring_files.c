#define _GNU_SOURCE
#include "ring_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIRROR_MARK 5u
#define USER_DATA_BYTES 4


/* libqb's formula; its client resizes the file to this, so another size would be cut under us.  The
 * one byte more keeps the pointers of a full ring apart. */
static size_t data_bytes_for(uint32_t max_msg_size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t need = (size_t)max_msg_size + IPC_RING_CHUNK_MARGIN + 1;

    return (need + page - 1) / page * page;
}

static int make_file(const char *path, size_t bytes, uid_t uid, gid_t gid)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result = 0;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)bytes) != 0)
        result = -errno;
    if (result == 0) {
        do
            result = -posix_fallocate(fd, 0, (off_t)bytes);
        while (result == -EINTR);
    }
    if (result == 0 && (uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(fd, uid, gid) != 0)
        result = -errno;
    if (result == 0 && fchmod(fd, 0600) != 0)
        result = -errno;
    if (result != 0) {
        close(fd);
        unlink(path);
        return result;
    }
    return fd;
}

static int map_header(ipc_ring *r, int fd)
{
    void *map = mmap(NULL, r->header_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED)
        return -errno;
    r->header = map;
    return 0;
}

static int map_data_twice(ipc_ring *r, int fd)
{
    const int shared = MAP_FIXED | MAP_SHARED;
    char *base = mmap(NULL, 2 * r->data_bytes, PROT_NONE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

    if (base == MAP_FAILED)
        return -errno;
    r->words = (uint32_t *)base;
    if (mmap(base, r->data_bytes, PROT_READ | PROT_WRITE, shared, fd, 0) == MAP_FAILED ||
        mmap(base + r->data_bytes, r->data_bytes, PROT_READ | PROT_WRITE, shared, fd, 0) == MAP_FAILED)
        return -errno;
    return 0;
}

static void release(ipc_ring *r)
{
    if (r->words != NULL)
        munmap(r->words, 2 * r->data_bytes);
    if (r->header != NULL)
        munmap(r->header, r->header_bytes);
    if (r->creator && r->process == getpid() && r->sysv_set >= 0)
        (void)semctl(r->sysv_set, 0, IPC_RMID);
    free(r);
}

static ipc_ring *allocate(const char *base, uint32_t max_msg_size, int *error)
{
    ipc_ring *r;

    *error = -EINVAL;
    if (base[0] != '/' || max_msg_size == 0 || max_msg_size > INT32_MAX / 2)
        return NULL;
    *error = -ENAMETOOLONG;
    if (strlen(base) >= IPC_RING_BASE_BYTES_MAX)
        return NULL;
    *error = -ENOMEM;
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    stpcpy(stpcpy(r->hdr_path, base), "-header");
    r->max_msg_size = max_msg_size;
    r->data_bytes = data_bytes_for(max_msg_size);
    r->word_count = (uint32_t)(r->data_bytes / 4);
    r->sysv_set = -1;
    r->process = getpid();
    *error = ipc_guard_install();
    if (*error != 0) {
        free(r);
        return NULL;
    }
    ipc_semaphore_probe();
    return r;
}

static int fill_header(ipc_ring *r, uint32_t user_data, uid_t uid, gid_t gid, int sysv)
{
    struct ipc_ring_header *h = r->header;

    h->word_size = r->word_count;
    h->write_pt = 0;
    h->read_pt = 0;
    strcpy(h->hdr_path, r->hdr_path);
    strcpy(h->data_path, r->data_path);
    h->user_data = (int32_t)user_data;
    return ipc_semaphore_create(r, uid, gid, sysv);
}

static int start_data(ipc_ring *r)
{
    r->words[r->word_count] = MIRROR_MARK;
    __atomic_store_n(&r->header->ref_count, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static int fill_header_guarded(ipc_ring *r, uint32_t user_data, uid_t uid, gid_t gid, int sysv)
{
    GUARDED(int, r, fill_header(r, user_data, uid, gid, sysv));
}

static int start_data_guarded(ipc_ring *r)
{
    GUARDED(int, r, start_data(r));
}

static int create_files(ipc_ring *r, uint32_t user_data, uid_t uid, gid_t gid, int sysv)
{
    int result, fd = make_file(r->hdr_path, r->header_bytes, uid, gid);

    if (fd < 0)
        return fd;
    result = map_header(r, fd);
    close(fd);
    if (result == 0)
        result = fill_header_guarded(r, user_data, uid, gid, sysv);
    if (result == 0) {
        fd = make_file(r->data_path, r->data_bytes, uid, gid);
        result = fd;
    }
    if (result >= 0) {
        result = map_data_twice(r, fd);
        close(fd);
        if (result == 0)
            result = start_data_guarded(r);
        if (result != 0)
            unlink(r->data_path);
    }
    if (result != 0)
        unlink(r->hdr_path);
    return result;
}

int ipc_ring_create(ipc_ring **out, const char *base, uint32_t max_msg_size, uint32_t user_data,
                    uid_t uid, gid_t gid, int sysv)
{
    int result;
    ipc_ring *r = allocate(base, max_msg_size, &result);

    if (r == NULL)
        return result;
    r->creator = 1;
    r->header_bytes = IPC_RING_HEADER_BYTES + USER_DATA_BYTES;
    stpcpy(stpcpy(r->data_path, base), "-data");
    result = create_files(r, user_data, uid, gid, sysv);
    if (result != 0) {
        release(r);
        return result;
    }
    *out = r;
    return 0;
}

static int open_file(const char *path, size_t bytes)
{
    struct stat status;
    int result = 0, fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) != 0)
        result = -errno;
    else if ((size_t)status.st_size < bytes)
        result = -EINVAL;
    if (result != 0) {
        close(fd);
        return result;
    }
    return fd;
}

static int read_header(ipc_ring *r)
{
    struct ipc_ring_header *h = r->header;

    if (h->word_size != r->word_count || h->write_pt >= r->word_count || h->read_pt >= r->word_count)
        return -EINVAL;
    if (memchr(h->data_path, 0, IPC_RING_PATH_BYTES) == NULL)
        return -EINVAL;
    strcpy(r->data_path, h->data_path); /* libqb finds the data by this path, not by the base name */
    r->write_pt = h->write_pt;
    r->read_pt = h->read_pt;
    ipc_semaphore_open(r);
    return 0;
}

static int read_header_guarded(ipc_ring *r)
{
    GUARDED(int, r, read_header(r));
}

static int add_reference(ipc_ring *r)
{
    __atomic_add_fetch(&r->header->ref_count, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static int add_reference_guarded(ipc_ring *r)
{
    GUARDED(int, r, add_reference(r));
}

static int open_files(ipc_ring *r)
{
    int result, fd = open_file(r->hdr_path, IPC_RING_HEADER_BYTES);

    if (fd < 0)
        return fd;
    result = map_header(r, fd);
    close(fd);
    if (result == 0)
        result = read_header_guarded(r);
    if (result != 0)
        return result;
    fd = open_file(r->data_path, r->data_bytes);
    if (fd < 0)
        return fd;
    result = map_data_twice(r, fd);
    close(fd);
    return result != 0 ? result : add_reference_guarded(r);
}

int ipc_ring_open(ipc_ring **out, const char *base, uint32_t max_msg_size)
{
    int result;
    ipc_ring *r = allocate(base, max_msg_size, &result);

    if (r == NULL)
        return result;
    r->header_bytes = IPC_RING_HEADER_BYTES;
    result = open_files(r);
    if (result != 0) {
        release(r);
        return result;
    }
    *out = r;
    return 0;
}

void ipc_ring_close(ipc_ring *ring, int unlink_files)
{
    if (ring == NULL)
        return;
    if (ring->process == getpid()) {
        (void)ipc_ring_set_ref_count(ring, 0);
        if (unlink_files) {
            unlink(ring->data_path);
            unlink(ring->hdr_path);
        }
    }
    release(ring);
}
