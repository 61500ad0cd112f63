/* What this member has to send in a run, and when it may. */
#ifndef BENCH_OUTBOX_H
#define BENCH_OUTBOX_H

#include "wire.h"

#define OUTBOX_WAIT_FOREVER UINT64_MAX

void outbox_begin(uint32_t nodeid, uint32_t run, const struct plan *plan, uint64_t now);
/* A DATA of ours has come back. */
void outbox_delivered(uint64_t now);
/* Sends this as soon as it can, behind what waits already: RUN, END, REPORT. */
void outbox_control(const struct head *head, const void *body);
/*
 * Sends what may be sent now, a burst at most.  Returns for how long there is nothing to do here but
 * wait for deliveries, in nanoseconds; 0 when there is more.
 */
uint64_t outbox_pump(void);
/* No further DATA, and no END. */
void outbox_stop(void);
uint64_t outbox_try_again(void);
uint64_t outbox_behind(void);
uint64_t monotonic(void);

#endif
