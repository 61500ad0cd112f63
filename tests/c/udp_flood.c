/*
 * Sends datagrams at a rate, whatever becomes of them:
 *
 *     udp_flood FROM PORT TO PORT RATE < DATAGRAMS
 *
 * FROM and TO are IPv4 addresses, RATE is datagrams a second.  Standard input has the datagrams, sent in
 * turn again and again until SIGTERM, each behind its length as u32 of this machine.
 * Prints `ready` when it begins and `sent NUMBER SECONDS` at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define DATAGRAMS_MAX 4096
#define BATCH 32

static struct iovec datagrams[DATAGRAMS_MAX];
static int count;
static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void read_datagrams(void)
{
	uint32_t length;

	while (count < DATAGRAMS_MAX && fread(&length, sizeof length, 1, stdin) == 1) {
		datagrams[count].iov_base = malloc(length);
		datagrams[count].iov_len = length;
		if (fread(datagrams[count].iov_base, 1, length, stdin) != length)
			die("datagram");
		count++;
	}
	if (count == 0)
		die("no datagrams");
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, host, &result.sin_addr) != 1)
		die(host);
	return result;
}

int main(int argc, char **argv)
{
	if (argc != 6)
		die("arguments");
	struct sockaddr_in from = address(argv[1], argv[2]), to = address(argv[3], argv[4]);
	double rate = atof(argv[5]);
	struct mmsghdr batch[BATCH] = {0};
	int flood = socket(AF_INET, SOCK_DGRAM, 0);
	unsigned long sent = 0;

	read_datagrams();
	if (flood < 0 || bind(flood, (struct sockaddr *)&from, sizeof from) != 0)
		die("bind");
	if (connect(flood, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	signal(SIGTERM, stop);
	printf("ready\n");
	fflush(stdout);
	double start = now(), at = start;
	while (!stopped) {
		unsigned long due = (unsigned long)((at - start) * rate);
		while (sent < due) {
			int size = due - sent < BATCH ? (int)(due - sent) : BATCH;
			for (int i = 0; i < size; i++) {
				batch[i].msg_hdr.msg_iov = &datagrams[(sent + i) % count];
				batch[i].msg_hdr.msg_iovlen = 1;
			}
			/* Refused ones count as well: the target may not listen for a moment. */
			(void)sendmmsg(flood, batch, size, 0);
			sent += size;
		}
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		at = now();
	}
	printf("sent %lu %.3f\n", sent, at - start);
	return 0;
}
