//go:build ignore

// The guard and the steer as an XDP program, for native and generic XDP: the ring's packets go to the
// AF_XDP socket of their queue, or where there is none to the stack.

#include "headers.h"

#define context xdp_md

static __always_inline int load(struct xdp_md *ctx, __u32 at, void *to, const __u32 bytes)
{
	// Read each time: what clang keeps in half a register is no pointer to the verifier.
	void *data = (void *)(long)*(volatile __u32 *)&ctx->data, *end = (void *)(long)*(volatile __u32 *)&ctx->data_end;

	if (at > 128 || data + at + bytes > end) // 128: the longest headers, for the verifier
		return -1;
	__builtin_memcpy(to, data + at, bytes);
	return 0;
}

#include "ring.h"
#ifdef TOKEN_PASS
#include "passxdp.h"
#endif

static __always_inline int single(struct xdp_md *ctx) { return config.whole; }

#include "held.h"

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

// length is that of a frame, of which only the first piece can be seen.
static __always_inline __u64 length(struct xdp_md *ctx)
{
	return config.frags ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
}

SEC("xdp")
int ring_xdp(struct xdp_md *ctx)
{
	struct seen s = {};
	enum verdict v = judge(ctx, &s);

	if (v == FOREIGN)
		return XDP_PASS;
	count(v, &s);
	if (v >= DROP_LENGTH)
		return config.drop ? XDP_DROP : XDP_PASS;
#ifdef TOKEN_PASS
	int answer = v == RING ? token_pass(ctx, &s) : XDP_PASS;

	if (answer != XDP_PASS)
		return answer;
#endif
	// Generic XDP sees aggregates, which no socket takes.
	if ((v == RING || v == OTHER_RING) && length(ctx) <= config.longest)
		return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
	return XDP_PASS;
}

char _license[] SEC("license") = "Apache-2.0";
