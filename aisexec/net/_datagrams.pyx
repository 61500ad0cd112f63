# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Many frames in one system call (see _datagrams.pyi)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, uint16_t
from libc.string cimport memcpy

from aisexec.totem._wire cimport ORF_TOKEN, VERSION

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct sockaddr_storage:
        pass
    struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    ssize_t recvmsg(int fd, msghdr *message, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *control)
    unsigned char *CMSG_DATA(cmsghdr *control)
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef enum:
    C_SOL_UDP = 17
    C_UDP_SEGMENT = 103
    C_UDP_GRO = 104
    # The limit of kernels before 6.9; newer ones take 128.
    C_SEGMENTS_MAX = 64
    C_CALL_BYTES_MAX = 65507
    CONTROL_WORDS = 8
    CONTROL_SIZE = CONTROL_WORDS * sizeof(size_t)

SOL_UDP = C_SOL_UDP
UDP_SEGMENT = C_UDP_SEGMENT
UDP_GRO = C_UDP_GRO
SEGMENTS_MAX = C_SEGMENTS_MAX
CALL_BYTES_MAX = C_CALL_BYTES_MAX


def receive(int fd, bytearray buffer not None, dict names not None, judge, *,
            Py_ssize_t frames_max, Py_ssize_t bytes_max):
    cdef Py_ssize_t total = 0
    cdef int trouble = 0
    frames = receive_frames(fd, buffer, names, judge, frames_max, bytes_max, False, False, &total, &trouble)
    return frames, total, trouble


cdef list receive_frames(int fd, bytearray buffer, dict names, judge, Py_ssize_t frames_max,
                         Py_ssize_t bytes_max, bint until_token, bint wait, Py_ssize_t *bytes_read,
                         int *trouble):
    """until_token: a token is mostly the last that there is; to look for more would cost a call.
    wait: for the first one, as long as the socket's own time-out says.
    """
    cdef unsigned char *data = buffer
    cdef Py_ssize_t room = len(buffer)
    cdef list frames = []
    cdef size_t control[CONTROL_WORDS]
    cdef sockaddr_storage address
    cdef iovec part
    cdef msghdr message
    cdef Py_ssize_t size, step, at, total = 0
    cdef Py_ssize_t calls
    cdef bytes raw
    cdef object name
    part.iov_base = data
    part.iov_len = room
    message.msg_name = &address
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    for calls in range(frames_max):
        message.msg_namelen = sizeof(address)
        message.msg_controllen = CONTROL_SIZE
        if wait:
            wait = False
            with nogil:
                size = recvmsg(fd, &message, 0)
        else:
            size = recvmsg(fd, &message, MSG_DONTWAIT)
        if size < 0:
            if errno != EAGAIN and errno != EINTR:
                trouble[0] = errno
            break
        step = segment_size(&message, size)
        raw = PyBytes_FromStringAndSize(<char *>&address, message.msg_namelen)
        name = names.get(raw) if step < room else None
        if name is None:
            name = judge(raw, step)
            if name is None:
                continue
        if step >= size:
            frames.append((PyBytes_FromStringAndSize(<char *>data, size), name))
        else:
            for at in range(0, size, step):
                frames.append((PyBytes_FromStringAndSize(<char *>data + at, min(step, size - at)), name))
        total += size
        if total >= bytes_max or len(frames) >= frames_max:
            break
        if until_token and size > 0:
            at = (size - 1) // step * step
            if is_token(data + at, size - at):
                break
    bytes_read[0] = total
    return frames


cdef inline bint is_token(const unsigned char *frame, Py_ssize_t size) noexcept:
    return size > 3 and frame[2] == VERSION and frame[3] == ORF_TOKEN


cdef int send_one(int fd, bytes frame, bytes address):
    """One frame; 0 or the errno of what failed."""
    cdef iovec part
    cdef msghdr message
    part.iov_base = PyBytes_AS_STRING(frame)
    part.iov_len = PyBytes_GET_SIZE(frame)
    message.msg_name = PyBytes_AS_STRING(address)
    message.msg_namelen = <unsigned int>PyBytes_GET_SIZE(address)
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = NULL
    message.msg_controllen = 0
    message.msg_flags = 0
    while sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0:
        if errno != EINTR:
            return errno
    return 0


cdef Py_ssize_t segment_size(msghdr *message, Py_ssize_t size) noexcept:
    """Bytes of each frame in a buffer of `size` bytes; the last one may be shorter."""
    cdef cmsghdr *control = CMSG_FIRSTHDR(message)
    cdef int32_t step
    while control is not NULL:
        if (control.cmsg_level == C_SOL_UDP and control.cmsg_type == C_UDP_GRO
                and control.cmsg_len >= CMSG_LEN(sizeof(int32_t))):
            memcpy(&step, CMSG_DATA(control), sizeof(step))
            return step if 0 < step < size else size
        control = CMSG_NXTHDR(message, control)
    return size


def send(int fd, list frames not None, Py_ssize_t start, bytes address not None, bint in_runs):
    cdef Sent sent
    send_run(fd, frames, start, address, in_runs, &sent)
    return sent.frames, sent.bytes, sent.trouble, sent.failed


cdef int send_run(int fd, list frames, Py_ssize_t start, bytes address, bint in_runs, Sent *sent) except -1:
    """frames: the place of the first one that was not sent; failed: how many of them with `trouble`."""
    cdef Py_ssize_t count = len(frames)
    cdef Py_ssize_t done = max(start, 0)
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t size
    cdef iovec parts[C_SEGMENTS_MAX]
    cdef size_t control[CONTROL_WORDS]
    cdef msghdr message
    cdef cmsghdr *segment
    cdef uint16_t step
    sent.bytes = 0
    sent.trouble = 0
    sent.failed = 0
    message.msg_name = PyBytes_AS_STRING(address)
    message.msg_namelen = <unsigned int>PyBytes_GET_SIZE(address)
    message.msg_iov = parts
    message.msg_flags = 0
    while done < count:
        length = gather(frames, done, parts, C_SEGMENTS_MAX if in_runs else 1)
        message.msg_iovlen = length
        message.msg_control = NULL
        message.msg_controllen = 0
        if length > 1:
            step = <uint16_t>parts[0].iov_len
            message.msg_control = control
            message.msg_controllen = CMSG_SPACE(sizeof(step))
            segment = CMSG_FIRSTHDR(&message)
            segment.cmsg_level = C_SOL_UDP
            segment.cmsg_type = C_UDP_SEGMENT
            segment.cmsg_len = CMSG_LEN(sizeof(step))
            memcpy(CMSG_DATA(segment), &step, sizeof(step))
        size = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if size < 0:
            if errno == EINTR:
                continue
            sent.trouble = errno
            sent.failed = length
            break
        sent.bytes += size
        done += length
    sent.frames = done
    return 0


def runs(list frames not None):
    cdef iovec parts[C_SEGMENTS_MAX]
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t length
    cdef list lengths = []
    while start < len(frames):
        length = gather(frames, start, parts, C_SEGMENTS_MAX)
        lengths.append(length)
        start += length
    return lengths


cdef Py_ssize_t gather(list frames, Py_ssize_t start, iovec *parts, Py_ssize_t most) except -1:
    """A run: frames of one size, of which the last may be shorter; how many they are."""
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t size
    cdef Py_ssize_t first = 0
    cdef object frame
    most = min(<Py_ssize_t>len(frames) - start, most)
    while length < most:
        frame = <object>PyList_GET_ITEM(frames, start + length)
        if not PyBytes_CheckExact(frame):
            raise TypeError("frames are bytes")
        size = PyBytes_GET_SIZE(frame)
        if length == 0:
            first = size
            most = min(most, max(1, C_CALL_BYTES_MAX // max(1, first)))
        elif size > first or size == 0:
            break  # an empty one would vanish in a run
        parts[length].iov_base = PyBytes_AS_STRING(frame)
        parts[length].iov_len = size
        length += 1
        if size < first:
            break
    return length
