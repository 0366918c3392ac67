// cpgnode is a member of a corosync group. Package interop says what it takes and prints.
#include <corosync/cpg.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DATA = 200000, MAX_HUGE = 4 << 20, TRICKLE_MS = 20 };
static const uint64_t FNV = 0xcbf29ce484222325u;

static cpg_handle_t cpg;
static unsigned self;
static int started, ends;
static unsigned count;
static uint64_t order, sent, own;

static char pending[MAX_HUGE];
static size_t pending_bytes;
static long left, made; // left below 0: a flood
static long every, last; // ms between messages
static uint64_t seed;

static uint64_t fnv(uint64_t h, const void *data, size_t n) {
	for (const uint8_t *p = data; n > 0; n--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

static uint64_t next_random(void) {
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *data, size_t n) {
	const uint8_t *b = data;
	(void)h, (void)g;
	if (n == 2 && b[0] == 's') {
		order = sent = own = FNV;
		started = 1, count = 0, ends = b[1];
		puts("started");
		return;
	}
	if (!started)
		return;
	uint32_t head[2] = {node, n};
	order = fnv(fnv(order, head, sizeof head), data, n);
	count++;
	if (b[0] == 'd') {
		if (node == self && pid == (uint32_t)getpid())
			own = fnv(own, data, n);
	} else if (--ends == 0) {
		printf("report %u %016llx %s\n", count, (unsigned long long)order, own == sent ? "own" : "own-differs");
	}
}

static void change(cpg_handle_t h, const struct cpg_name *g, const struct cpg_address *m, size_t nm,
		   const struct cpg_address *l, size_t nl, const struct cpg_address *j, size_t nj) {
	(void)h, (void)g, (void)j, (void)nj;
	printf("view");
	for (size_t i = 0; i < nm; i++)
		printf(" %u", m[i].nodeid);
	puts("");
	for (size_t i = 0; i < nl; i++)
		printf("left %u %u\n", l[i].nodeid, l[i].reason);
}

static void fail(const char *what, int error) {
	printf("gone %s %d\n", what, error);
	exit(1);
}

// flush multicasts the pending message; 0: there is no room yet.
static int flush(void) {
	struct iovec v = {pending, pending_bytes};
	if (pending_bytes == 0)
		return 1;
	int error = cpg_mcast_joined(cpg, CPG_TYPE_AGREED, &v, 1);
	if (error == CS_ERR_TRY_AGAIN)
		return 0;
	if (error != CS_OK)
		fail("mcast", error);
	pending_bytes = 0;
	return 1;
}

static void fill(size_t n) {
	for (size_t i = 0; i < n; i++)
		pending[i] = next_random();
	pending[0] = 'd';
	pending_bytes = n;
	sent = fnv(sent, pending, n);
}

static void make_data(void) {
	size_t n = 1;
	if (made == 1)
		n = MAX_DATA;
	else if (made > 1)
		n = 1 + next_random() % (2ull << next_random() % 18);
	if (n > MAX_DATA)
		n = MAX_DATA;
	fill(n);
	made++;
}

static long now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// send works on the burst; 0: there is nothing to do now, or no room.
static int send_some(void) {
	for (int i = 0; i < 16; i++) {
		if (!flush() || left == 0 || (every > 0 && now_ms() - last < every))
			return 0;
		last = every > 0 ? now_ms() : 0;
		make_data();
		if (left > 0 && --left == 0) {
			while (!flush())
				cpg_dispatch(cpg, CS_DISPATCH_ALL), usleep(1000);
			pending[0] = 'e', pending_bytes = 1;
		}
	}
	return 1;
}

static void command(const char *line) {
	int n;
	long k;
	unsigned long long s;
	if (!strcmp(line, "leave")) {
		cpg_leave(cpg, &(struct cpg_name){.length = 7, .value = "interop"});
		cpg_finalize(cpg);
		exit(0);
	} else if (sscanf(line, "start %d", &n) == 1) {
		pending[0] = 's', pending[1] = n, pending_bytes = 2;
	} else if (sscanf(line, "burst %ld %llu", &k, &s) == 2) {
		left = k, made = 0, every = 0, seed = s | 1;
	} else if (sscanf(line, "huge %d", &n) == 1 && n <= MAX_HUGE) {
		seed |= 1;
		fill(n);
	} else if (sscanf(line, "flood %llu", &s) == 1) {
		left = -1, made = 0, every = 0, seed = s | 1;
	} else if (sscanf(line, "trickle %llu", &s) == 1) {
		left = -1, made = 0, every = TRICKLE_MS, seed = s | 1;
	} else {
		fail(line, 0);
	}
}

static void commands(void) {
	static char line[256];
	static size_t used;
	char c;
	while (read(0, &c, 1) == 1) {
		if (c != '\n') {
			line[used++ % sizeof line] = c;
			continue;
		}
		line[used % sizeof line] = 0, used = 0;
		command(line);
	}
}

int main(void) {
	cpg_callbacks_t calls = {.cpg_deliver_fn = deliver, .cpg_confchg_fn = change};
	struct cpg_name group = {.length = 7, .value = "interop"};
	int error = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	fcntl(0, F_SETFL, O_NONBLOCK);
	// corosync may not have come up.
	for (int i = 0; i < 1000 && (error = cpg_initialize(&cpg, &calls)) != CS_OK; i++)
		usleep(20000);
	if (error != CS_OK)
		fail("initialize", error);
	while ((error = cpg_join(cpg, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (error != CS_OK)
		fail("join", error);
	cpg_local_get(cpg, &self);
	struct pollfd fds[] = {{.events = POLLIN}, {.fd = 0, .events = POLLIN}};
	cpg_fd_get(cpg, &fds[0].fd);
	for (;;) {
		int more = send_some();
		poll(fds, 2, more ? 0 : left != 0 || pending_bytes ? 1 : -1);
		if (fds[1].revents & POLLIN)
			commands();
		else if (fds[1].revents & POLLHUP)
			exit(0); // the test has ended
		error = cpg_dispatch(cpg, CS_DISPATCH_ALL);
		if (error != CS_OK && error != CS_ERR_TRY_AGAIN)
			fail("dispatch", error);
	}
}
