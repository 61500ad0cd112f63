/* libcpg, with what a benchmark needs of it. */
#ifndef BENCH_GROUP_H
#define BENCH_GROUP_H

#include <corosync/cpg.h>

#include "wire.h"

typedef void (*group_deliver_fn)(uint32_t nodeid, uint32_t pid, const void *message, size_t size);
typedef void (*group_change_fn)(const struct cpg_address *members, size_t count);

/* Connects and joins; ends the program with an explanation when that does not work. */
void group_join(const char *name, group_deliver_fn deliver, group_change_fn change);
int group_fd(void);
uint32_t group_nodeid(void);
/* Delivers all there is; ends the program when the executive is gone. */
void group_dispatch(void);
/* Fills in magic and check.  True when it was taken, false when it is to be tried again. */
int group_send(struct head *head, const void *body);
void group_leave(void);

#endif
