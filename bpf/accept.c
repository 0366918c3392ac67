//go:build ignore

// Which of several acceptors of one port gets a new connection: each in turn. Connections of clients are
// few and long, so that their hash, which is even among many, would leave some acceptor with twice as
// much as another; and the processor that received a connection is, where a card has few queues or the
// client is on this host, always the same.
//
// What waits for an acceptor that stops goes to another one: finished connections, and those in the midst
// of their handshake.

#include "headers.h"

#define ACCEPTORS 64

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, ACCEPTORS);
	__type(key, __u32);
	__type(value, __u64);
} acceptors SEC(".maps");

volatile const __u32 number = 1; // of acceptors

__u32 turn; // whose it is

struct given {
	__u64 connections;
	__u64 inherited; // of them, from one that stopped
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ACCEPTORS);
	__type(key, __u32);
	__type(value, struct given);
} given SEC(".maps");

SEC("sk_reuseport/migrate")
int next_acceptor(struct sk_reuseport_md *ctx)
{
	for (int i = 0; i < ACCEPTORS; i++) {
		__u32 key = __sync_fetch_and_add(&turn, 1) % number;

		if (bpf_sk_select_reuseport(ctx, &acceptors, &key, 0))
			continue; // it has stopped, and the next one's turn is used
		struct given *g = bpf_map_lookup_elem(&given, &key);

		if (g) {
			g->connections++;
			if (ctx->migrating_sk)
				g->inherited++;
		}
		break;
	}
	return SK_PASS; // with none selected the kernel takes one by hash
}

char _license[] SEC("license") = "Apache-2.0";
