#define _GNU_SOURCE
#include "ring_internal.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec deadline_in(clockid_t clock, int timeout_ms)
{
    struct timespec limit;

    clock_gettime(clock, &limit);
    limit.tv_sec += timeout_ms / 1000;
    limit.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (limit.tv_nsec >= 1000000000L) {
        limit.tv_nsec -= 1000000000L;
        limit.tv_sec++;
    }
    return limit;
}

/* glibc's 64-bit sem_t: value in the low half of one u64, number of sleepers in the high half. */
#if defined(__GLIBC__) && defined(__LP64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define GLIBC_SEM64 1

static int sem64_known;
static pthread_once_t sem64_once = PTHREAD_ONCE_INIT;

static void sem64_probe(void)
{
    sem_t probe;
    uint64_t word;

    memset(&probe, 0, sizeof probe);
    if (sem_init(&probe, 1, 3) != 0)
        return;
    (void)sem_post(&probe);
    memcpy(&word, &probe, sizeof word);
    sem64_known = word == 4;
    sem_destroy(&probe);
}

/* sem_post() hands the futex flags found in the semaphore to the kernel and aborts the process when
 * the kernel refuses them: a peer that scribbles over its semaphore would kill us. */
static int sem64_post(sem_t *sem)
{
    uint64_t *word = (uint64_t *)sem;
    uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

    do {
        if ((uint32_t)old >= SEM_VALUE_MAX)
            return IPC_RING_CORRUPT;
    } while (!__atomic_compare_exchange_n(word, &old, old + 1, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    if (old >> 32)
        (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    return 0;
}

static int sem64_trywait(sem_t *sem)
{
    uint64_t *word = (uint64_t *)sem;
    uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

    while ((uint32_t)old != 0)
        if (__atomic_compare_exchange_n(word, &old, old - 1, 1, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return 0;
    return -ETIMEDOUT;
}

/* sem_clockwait() aborts like sem_post(). */
static int sem64_wait(sem_t *sem, int timeout_ms)
{
    const uint64_t one_sleeper = (uint64_t)1 << 32;
    struct timespec limit = deadline_in(CLOCK_MONOTONIC, timeout_ms < 0 ? 0 : timeout_ms);
    uint64_t *word = (uint64_t *)sem;
    uint64_t old = __atomic_add_fetch(word, one_sleeper, __ATOMIC_RELAXED);
    int result = 0;

    while (result == 0) {
        if ((uint32_t)old != 0) {
            if (__atomic_compare_exchange_n(word, &old, old - 1 - one_sleeper, 1, __ATOMIC_ACQUIRE,
                                            __ATOMIC_RELAXED))
                return 0;
            continue;
        }
        if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, 0, timeout_ms < 0 ? NULL : &limit, NULL,
                    FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno != EAGAIN)
            result = -errno;
        old = __atomic_load_n(word, __ATOMIC_RELAXED);
    }
    (void)__atomic_fetch_sub(word, one_sleeper, __ATOMIC_RELAXED);
    return result;
}
#endif

static int sysv_op(int set, short delta, int timeout_ms)
{
    struct sembuf op = {.sem_num = 0, .sem_op = delta, .sem_flg = timeout_ms == 0 ? IPC_NOWAIT : 0};
    struct timespec limit = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000L};

    if (semtimedop(set, &op, 1, timeout_ms > 0 ? &limit : NULL) == 0)
        return 0;
    if (errno == EAGAIN)
        return -ETIMEDOUT;
    if (errno == EINVAL)
        return IPC_RING_GONE;
    return -errno;
}

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 30)
#define HAVE_SEM_CLOCKWAIT 1
#endif
#endif

static int posix_wait(sem_t *sem, int timeout_ms)
{
    struct timespec limit;
    int result;

    if (timeout_ms < 0) {
        result = sem_wait(sem);
    } else {
#ifdef HAVE_SEM_CLOCKWAIT
        const clockid_t clock = CLOCK_MONOTONIC; /* a stepped wall clock must not stretch the wait */
#else
        const clockid_t clock = CLOCK_REALTIME;
#endif
        limit = deadline_in(clock, timeout_ms);
#ifdef HAVE_SEM_CLOCKWAIT
        result = sem_clockwait(sem, clock, &limit);
#else
        result = sem_timedwait(sem, &limit);
#endif
    }
    return result == 0 ? 0 : -errno;
}

static int semaphore_trywait(ipc_ring *r)
{
    if (r->sysv_set >= 0)
        return sysv_op(r->sysv_set, -1, 0);
#ifdef GLIBC_SEM64
    if (sem64_known)
        return sem64_trywait(&r->header->sem.posix);
#endif
    if (sem_trywait(&r->header->sem.posix) == 0)
        return 0;
    return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

int ipc_semaphore_wait(ipc_ring *r, int timeout_ms)
{
    int result = semaphore_trywait(r);

    if (result != -ETIMEDOUT || timeout_ms == 0)
        return result;
    if (r->sysv_set >= 0)
        return sysv_op(r->sysv_set, -1, timeout_ms);
#ifdef GLIBC_SEM64
    if (sem64_known)
        return sem64_wait(&r->header->sem.posix, timeout_ms);
#endif
    return posix_wait(&r->header->sem.posix, timeout_ms);
}

int ipc_semaphore_post(ipc_ring *r)
{
    if (r->sysv_set >= 0)
        return sysv_op(r->sysv_set, 1, 0);
#ifdef GLIBC_SEM64
    if (sem64_known)
        return sem64_post(&r->header->sem.posix);
#endif
    if (sem_post(&r->header->sem.posix) == 0)
        return 0;
    return errno == EOVERFLOW ? IPC_RING_CORRUPT : -errno;
}

int64_t ipc_semaphore_value(ipc_ring *r)
{
    int value;

    if (r->sysv_set >= 0) {
        value = semctl(r->sysv_set, 0, GETVAL);
        if (value < 0)
            return errno == EINVAL || errno == EIDRM ? IPC_RING_GONE : -errno;
        return value;
    }
    if (sem_getvalue(&r->header->sem.posix, &value) != 0)
        return -errno;
    return value < 0 ? 0 : value;
}

void ipc_semaphore_probe(void)
{
#ifdef GLIBC_SEM64
    pthread_once(&sem64_once, sem64_probe);
#endif
}

int ipc_semaphore_create(ipc_ring *r, uid_t uid, gid_t gid, int sysv)
{
    struct semid_ds owner;
    union {
        int val;
        struct semid_ds *buf;
    } arg;

    if (!sysv)
        return sem_init(&r->header->sem.posix, 1, 0) == 0 ? 0 : -errno;
    r->sysv_set = semget(IPC_PRIVATE, 1, IPC_CREAT | IPC_EXCL | 0600);
    if (r->sysv_set < 0)
        return -errno;
    arg.val = 0;
    if (semctl(r->sysv_set, 0, SETVAL, arg) != 0)
        return -errno;
    arg.buf = &owner;
    if (semctl(r->sysv_set, 0, IPC_STAT, arg) != 0)
        return -errno;
    if (uid != (uid_t)-1)
        owner.sem_perm.uid = uid;
    if (gid != (gid_t)-1)
        owner.sem_perm.gid = gid;
    owner.sem_perm.mode = 0600;
    if (semctl(r->sysv_set, 0, IPC_SET, arg) != 0)
        return -errno;
    r->header->sem.sysv.mark = IPC_SYSV_MARK;
    r->header->sem.sysv.set = r->sysv_set;
    return 0;
}

void ipc_semaphore_open(ipc_ring *r)
{
    if (r->header->sem.sysv.mark == IPC_SYSV_MARK)
        r->sysv_set = r->header->sem.sysv.set;
}

int ipc_ring_remove_stale_semaphore(int header_fd)
{
    union ipc_semaphore slot;
    struct semid_ds owner;
    union {
        struct semid_ds *buf;
    } arg = {.buf = &owner};
    off_t at = offsetof(struct ipc_ring_header, sem);

    if (pread(header_fd, &slot, sizeof slot, at) != (ssize_t)sizeof slot || slot.sysv.mark != IPC_SYSV_MARK)
        return 0;
    /* The number comes from a file that a client could write. */
    if (semctl(slot.sysv.set, 0, IPC_STAT, arg) != 0 || owner.sem_perm.cuid != geteuid() ||
        owner.sem_nsems != 1)
        return 0;
#ifdef __GLIBC__
    if (owner.sem_perm.__key != IPC_PRIVATE)
        return 0;
#endif
    return semctl(slot.sysv.set, 0, IPC_RMID) == 0 ? 1 : -errno;
}
