from aisexec.totem._state cimport CoreState

cdef int receive_frames(CoreState core, list frames, visit, one_frame, own_frames) except -1
cdef bint token_among(list frames) except -1
