cdef list receive_frames(int fd, bytearray buffer, dict names, judge, Py_ssize_t frames_max,
                         Py_ssize_t bytes_max, bint until_token, Py_ssize_t *bytes_read, int *trouble)

cdef int send_one(int fd, bytes frame, bytes address)
