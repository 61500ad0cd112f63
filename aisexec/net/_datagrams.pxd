cdef list receive_frames(int fd, bytearray buffer, dict names, judge, Py_ssize_t frames_max,
                         Py_ssize_t bytes_max, bint until_token, bint wait, Py_ssize_t *bytes_read,
                         int *trouble)

cdef int send_one(int fd, bytes frame, bytes address)

cdef struct Sent:
    Py_ssize_t frames
    Py_ssize_t bytes
    int trouble
    Py_ssize_t failed

cdef int send_run(int fd, list frames, Py_ssize_t start, bytes address, bint in_runs, Sent *sent) except -1
