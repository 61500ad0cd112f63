# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What each visit of the token looks at, side by side in memory (see _state.pyi)."""


cdef class FlowState:
    pass


cdef class CoreState:
    @property
    def settings(self):
        return self.chosen

    @settings.setter
    def settings(self, settings):
        self.chosen = settings
        self.token = settings.token
        self.token_warning = settings.token * settings.token_warning / 100
        self.token_retransmit = settings.token_retransmit
        self.hold = settings.hold
        self.merge = settings.merge
        self.pause = settings.token / 2
        self.fail_recv_const = settings.fail_recv_const
        self.seqno_unchanged_const = settings.seqno_unchanged_const
        self.miss_count_const = settings.miss_count_const
        self.window_size = settings.window_size
        self.max_messages = settings.max_messages
        self.accelerated_window = settings.accelerated_window
        self.heartbeat = settings.heartbeat_failures_allowed > 0
        self.cancel_token_hold_on_retransmit = settings.cancel_token_hold_on_retransmit
