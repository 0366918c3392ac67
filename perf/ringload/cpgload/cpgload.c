// cpgload puts load on a corosync group, as ringload does on a ring of ours; doc.go there says
// what both take and print. It is built by the benchmark: cc -O2 -o cpgload cpgload.c -lcpg
#define _GNU_SOURCE
#include <corosync/cpg.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static cpg_handle_t cpg;
static unsigned self;
static int watching;
static size_t members;
static uint64_t messages, bytes;
static uint64_t *latencies;
static size_t measured, wanted;
static char body[1 << 20];

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *data, size_t n) {
	(void)h, (void)g;
	messages++;
	bytes += n;
	if (node != self || pid != (uint32_t)getpid() || measured >= wanted)
		return;
	uint64_t sent;
	memcpy(&sent, data, sizeof sent);
	latencies[measured++] = now() - sent;
}

static void change(cpg_handle_t h, const struct cpg_name *g, const struct cpg_address *m, size_t nm,
                   const struct cpg_address *l, size_t nl, const struct cpg_address *j, size_t nj) {
	(void)h, (void)g, (void)m, (void)l, (void)nl, (void)j, (void)nj;
	members = nm;
	if (watching)
		printf("view %zu %llu\n", nm, (unsigned long long)now());
}

static void dispatch(int milliseconds) {
	int fd;
	cpg_fd_get(cpg, &fd);
	struct pollfd p = {fd, POLLIN, 0};
	if (poll(&p, 1, milliseconds) > 0) {
		cs_error_t e = cpg_dispatch(cpg, CS_DISPATCH_ALL);
		if (e != CS_OK && e != CS_ERR_TRY_AGAIN) {
			fprintf(stderr, "cpg_dispatch: %d\n", e);
			exit(1);
		}
	}
}

static int multicast(size_t size) {
	struct iovec v = {body, size};
	cs_error_t e = cpg_mcast_joined(cpg, CPG_TYPE_AGREED, &v, 1);
	if (e != CS_OK && e != CS_ERR_TRY_AGAIN) {
		fprintf(stderr, "cpg_mcast_joined: %d\n", e);
		exit(1);
	}
	return e == CS_OK;
}

static void flood(size_t size, uint64_t warm, uint64_t measure, int sending) {
	uint64_t begin = now() + warm, end = 0, m = 0, b = 0;
	for (int state = 0; state < 3;) {
		int sent = 0;
		while (sending && sent < 16 && multicast(size))
			sent++;
		dispatch(sent ? 0 : 1);
		uint64_t t = now();
		if (state == 0 && t >= begin) {
			state = 1, begin = t, end = t + measure, m = messages, b = bytes;
			puts("begin");
		} else if (state == 1 && t >= end) {
			state = 2;
			printf("end {\"messages\":%llu,\"bytes\":%llu,\"nanoseconds\":%llu}\n", (unsigned long long)(messages - m),
			       (unsigned long long)(bytes - b), (unsigned long long)(t - begin));
			end = t + warm; // the others measure still
		} else if (state == 2 && t >= end) {
			state = 3;
		}
	}
}

static int ascending(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void latency(size_t size, size_t count, uint64_t interval, uint64_t warm) {
	latencies = calloc(count, sizeof *latencies);
	wanted = count;
	uint64_t due = now() + warm;
	puts("begin");
	for (size_t sent = 0; measured < count;) {
		uint64_t t = now();
		if (sent < count && t >= due) {
			memcpy(body, &t, sizeof t);
			if (multicast(size))
				sent++, due += interval;
		}
		t = now();
		int fd;
		cpg_fd_get(cpg, &fd);
		struct pollfd p = {fd, POLLIN, 0};
		struct timespec wait = {0, sent < count ? (due > t ? due - t : 0) : 50000000};
		if (ppoll(&p, 1, &wait, NULL) > 0)
			dispatch(0);
	}
	qsort(latencies, count, sizeof *latencies, ascending);
	printf("end {\"p50\":%llu,\"p99\":%llu,\"max\":%llu}\n", (unsigned long long)latencies[count / 2],
	       (unsigned long long)latencies[count * 99 / 100], (unsigned long long)latencies[count - 1]);
}

int main(int argc, char **argv) {
	if (argc != 7) {
		fputs("usage: cpgload MEMBERS flood|latency|watch SIZE WARM-NS MEASURE-NS|INTERVAL-NS SENDING|COUNT\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	cpg_callbacks_t calls = {.cpg_deliver_fn = deliver, .cpg_confchg_fn = change};
	cs_error_t e = CS_OK;
	for (int i = 0; i < 100 && (e = cpg_initialize(&cpg, &calls)) != CS_OK; i++)
		usleep(50000);
	struct cpg_name group = {.length = 4, .value = "load"};
	while (e == CS_OK && (e = cpg_join(cpg, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (e != CS_OK) {
		fprintf(stderr, "cannot join the group: %d\n", e);
		return 1;
	}
	cpg_local_get(cpg, &self);
	size_t want = atoi(argv[1]), size = atoi(argv[3]), n = atoi(argv[6]);
	uint64_t warm = strtoull(argv[4], NULL, 10), time = strtoull(argv[5], NULL, 10);
	watching = !strcmp(argv[2], "watch");
	uint32_t most = 0;
	cpg_max_atomic_msgsize_get(cpg, &most);
	if (size > most || size > sizeof body) {
		fprintf(stderr, "messages of %zu bytes are longer than corosync takes whole, %u\n", size, most);
		return 1;
	}
	while (members < want)
		dispatch(100);
	if (!strcmp(argv[2], "flood"))
		flood(size, warm, time, n);
	else if (!strcmp(argv[2], "latency") && n > 0)
		latency(size, n, time, warm);
	else
		for (;;) {
			dispatch(1000);
		}
	return 0;
}
